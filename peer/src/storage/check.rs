//! Hashing what is on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use rayon::prelude::*;
use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::PieceIndex;
use torrent_common::hash::{Buffers, ReadOrder, hash_in_order, hash_side_by_side, messages_per_run};
use torrent_common::worker::Shutdown;

use super::StorageError;
use super::files::Storage;
use super::judge::{Common, Pieces, Stop};

/// A disk takes its time over what it cannot read. After so long of that nothing more is tried.
const UNREADABLE: Duration = Duration::from_secs(300);

/// Shared with whoever shows progress and may cancel.
#[derive(Debug, Default)]
pub struct CheckProgress {
    /// Bytes looked at so far.
    pub done: Arc<AtomicU64>,
    /// Pieces read and hashed so far: not those that are missing or holes.
    pub hashed: Arc<AtomicU32>,
    /// Set to stop early.
    pub cancel: Shutdown,
}

/// What a check found. Of pieces in none of these nothing is known: others that could not be read took too long.
#[derive(Debug, PartialEq, Eq)]
pub struct Checked {
    /// These are right.
    pub good: Bitfield,
    /// These are not, or not there.
    pub bad: Bitfield,
    /// These could not be read.
    pub unreadable: Bitfield,
}

/// Hashes the pieces in `suspect` and tells which are right: on the current rayon pool, or in order on this
/// thread. Missing and short files simply fail their pieces; holes of sparse files are skipped without reading. Bounded
/// memory, whatever the piece length: 128 KiB per thread, or 8 MiB when read in order.
///
/// It goes on behind a piece that the disk cannot read; that gives the second value, its error. It ends when five minutes
/// went by in such reads.
///
/// # Errors
/// [`StorageError`] when a file cannot be read for another reason than that, or than not being there; `Ok(None)` when
/// cancelled.
pub fn check(
    storage: &Storage,
    suspect: &Bitfield,
    order: ReadOrder,
    progress: &CheckProgress,
) -> Result<Option<(Checked, Option<StorageError>)>, StorageError> {
    check_with(storage, suspect, order, progress, UNREADABLE)
}

fn check_with(
    storage: &Storage,
    suspect: &Bitfield,
    order: ReadOrder,
    progress: &CheckProgress,
    patience: Duration,
) -> Result<Option<(Checked, Option<StorageError>)>, StorageError> {
    let geometry = storage.metainfo().geometry;
    let pieces: Vec<PieceIndex> = suspect.iter(&geometry).collect();
    let common = Common::new(patience);
    let judge = |pieces| Pieces::new(storage, progress, &common, pieces);
    let judged: Result<Vec<Judged>, Stop> = match order {
        ReadOrder::Sequential => judge(&pieces).and_then(|mut pieces| {
            unless_hopeless(hash_in_order(&mut pieces))?;
            Ok(vec![(pieces.good, pieces.bad)])
        }),
        ReadOrder::Parallel => {
            let piece_len = u64::from(geometry.nominal_piece_len());
            let run = messages_per_run(pieces.len(), piece_len, rayon::current_num_threads());
            let judged = pieces.par_chunks(run).map_init(Buffers::default, |buffers, run| {
                let (a, b) = run.split_at(run.len().div_ceil(2));
                let (mut a, mut b) = (judge(a)?, judge(b)?);
                unless_hopeless(hash_side_by_side(&mut a, &mut b, buffers))?;
                a.good.append(&mut b.good);
                a.bad.append(&mut b.bad);
                Ok((a.good, a.bad))
            });
            judged.collect()
        }
    };
    let judged = match judged {
        Ok(judged) => judged,
        // Nobody passes on that it is hopeless.
        Err(Stop::Cancelled | Stop::Hopeless) => return Ok(None),
        Err(Stop::Storage(error)) => return Err(error),
    };
    let unreadable = common.unreadable();
    let empty = || Bitfield::empty(&geometry);
    let mut checked = Checked { good: empty(), bad: empty(), unreadable: empty() };
    let enter = |pieces: Vec<PieceIndex>, into: &mut Bitfield| {
        for piece in pieces {
            into.insert(piece);
        }
    };
    for (good, bad) in judged {
        enter(good, &mut checked.good);
        enter(bad, &mut checked.bad);
    }
    enter(unreadable.pieces, &mut checked.unreadable);
    Ok(Some((checked, unreadable.error)))
}

/// What is right and what is not, of some pieces.
type Judged = (Vec<PieceIndex>, Vec<PieceIndex>);

/// What was judged before it became hopeless holds.
fn unless_hopeless(outcome: Result<(), Stop>) -> Result<(), Stop> {
    match outcome {
        Err(Stop::Hopeless) => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use rustix::io::Errno;
    use torrent_common::geometry::PieceIndex;
    use torrent_common::metainfo::Metainfo;

    use super::super::backend::{Backend, Call, Watcher};
    use super::super::cache::FileCache;
    use super::super::testing::{TestFile, payload, torrent};
    use super::*;

    /// The same in both orders.
    fn good(metainfo: &Arc<Metainfo>, folder: &std::path::Path) -> Vec<u32> {
        let storage = Storage::new(Arc::clone(metainfo), folder, None, FileCache::new(1)).unwrap();
        let all = Bitfield::full(&metainfo.geometry);
        let [good, again] = [ReadOrder::Parallel, ReadOrder::Sequential].map(|order| {
            let progress = CheckProgress::default();
            let (Checked { good, .. }, _) = check(&storage, &all, order, &progress).unwrap().unwrap();
            assert_eq!(progress.done.load(Ordering::Relaxed), metainfo.total_len());
            good
        });
        assert_eq!(good, again);
        good.iter(&metainfo.geometry).map(PieceIndex::get).collect()
    }

    fn hashed(metainfo: &Arc<Metainfo>, folder: &std::path::Path) -> u32 {
        let storage = Storage::new(Arc::clone(metainfo), folder, None, FileCache::new(1)).unwrap();
        let progress = CheckProgress::default();
        check(&storage, &Bitfield::full(&metainfo.geometry), ReadOrder::Parallel, &progress)
            .unwrap()
            .unwrap();
        progress.hashed.load(Ordering::Relaxed)
    }

    #[test]
    fn only_right_pieces_pass() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = TestFile::list(&[("a", 100), ("none", 0), ("b", 100), ("gone", 10)]);
        files.insert(2, TestFile { path: "pad".into(), len: 28, padding: true });
        let metainfo = torrent("t", &files, 32, None);
        assert_eq!(good(&metainfo, folder.path()), [0_u32; 0]);
        assert_eq!(hashed(&metainfo, folder.path()), 0);
        let bytes = payload(&files);
        fs::create_dir(folder.path().join("t")).unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join("t").join(name), bytes).unwrap();
        write("a", &bytes[..100]);
        write("b", &bytes[128..228]);
        // 0 to 3 are of `a`, 3 with padding; 4 to 6 of `b`; 7 of `b` and `gone`.
        assert_eq!(good(&metainfo, folder.path()), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(hashed(&metainfo, folder.path()), 7);
        let mut wrong = bytes[..100].to_vec();
        wrong[40] ^= 1;
        write("a", &wrong);
        write("b", &bytes[128..200]);
        assert_eq!(good(&metainfo, folder.path()), [0, 2, 3, 4, 5]);
        write("gone", &[7; 99]);
        assert_eq!(good(&metainfo, folder.path()), [0, 2, 3, 4, 5]);
    }

    #[test]
    fn holes_are_zeros_and_zeros_may_be_right() {
        const PIECE: usize = 1 << 16;
        let folder = tempfile::tempdir().unwrap();
        let files = TestFile::list(&[("", 10 * PIECE as u64 + 5)]);
        let mut bytes = vec![0; 10 * PIECE + 5];
        bytes[4 * PIECE + 77] = 1;
        bytes[7 * PIECE] = 1;
        let metainfo = torrent("t", &files, PIECE as u64, Some(&bytes));
        let file = fs::File::create(folder.path().join("t")).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        assert_eq!(good(&metainfo, folder.path()), [0, 1, 2, 3, 5, 6, 8, 9, 10]);
        assert_eq!(hashed(&metainfo, folder.path()), 0);
        fs::write(folder.path().join("t"), &bytes).unwrap();
        assert_eq!(good(&metainfo, folder.path()), (0..=10).collect::<Vec<_>>());
    }

    #[test]
    fn pieces_longer_than_the_buffer_are_hashed_whole() {
        let folder = tempfile::tempdir().unwrap();
        let len = 64 * 1024 * 9 / 2;
        let files = TestFile::list(&[("a", len), ("b", len)]);
        let metainfo = torrent("t", &files, 2 * len - 100, None);
        let bytes = payload(&files);
        fs::create_dir(folder.path().join("t")).unwrap();
        fs::write(folder.path().join("t/a"), &bytes[..len as usize]).unwrap();
        fs::write(folder.path().join("t/b"), &bytes[len as usize..]).unwrap();
        assert_eq!(good(&metainfo, folder.path()), [0, 1]);
    }

    #[test]
    fn a_cancelled_check_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let metainfo = torrent("t", &TestFile::list(&[("", 100)]), 32, None);
        let storage = Storage::new(Arc::clone(&metainfo), folder.path(), None, FileCache::new(1)).unwrap();
        let progress = CheckProgress::default();
        progress.cancel.set();
        assert_eq!(
            check(&storage, &Bitfield::full(&metainfo.geometry), ReadOrder::Parallel, &progress)
                .unwrap()
                .map(drop),
            None
        );
    }

    #[test]
    fn only_suspect_pieces_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let files = TestFile::list(&[("", 100)]);
        let metainfo = torrent("t", &files, 32, None);
        fs::write(folder.path().join("t"), payload(&files)).unwrap();
        let storage = Storage::new(Arc::clone(&metainfo), folder.path(), None, FileCache::new(1)).unwrap();
        let mut suspect = Bitfield::empty(&metainfo.geometry);
        suspect.insert(metainfo.geometry.piece(3).unwrap());
        let progress = CheckProgress::default();
        let (checked, _) = check(&storage, &suspect, ReadOrder::Parallel, &progress).unwrap().unwrap();
        assert_eq!((checked.good, checked.bad.is_empty()), (suspect, true));
        assert_eq!(progress.done.load(Ordering::Relaxed), 4);
    }

    /// Cannot read one of the files.
    #[derive(Debug)]
    struct BadFile(PathBuf);

    impl Watcher for BadFile {
        fn before(&self, call: &Call<'_>) -> Result<usize, Errno> {
            let Call::Read { file } = call else { return Ok(usize::MAX) };
            let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
            if path == self.0 { Err(Errno::IO) } else { Ok(usize::MAX) }
        }
    }

    #[test]
    fn it_goes_on_behind_however_much_that_cannot_be_read_unless_that_takes_too_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let files = TestFile::list(&[("bad", 300 * 32), ("well", 50 * 32)]);
        let metainfo = torrent("t", &files, 32, None);
        fs::create_dir(path.join("t")).unwrap();
        let bytes = payload(&files);
        fs::write(path.join("t/bad"), &bytes[..300 * 32]).unwrap();
        fs::write(path.join("t/well"), &bytes[300 * 32..]).unwrap();
        let backend = Backend::watched(Arc::new(BadFile(path.join("t/bad"))));
        let cache = FileCache::on(backend, 1);
        let storage = Storage::new(Arc::clone(&metainfo), &path, None, cache).unwrap();
        let all = Bitfield::full(&metainfo.geometry);
        let check = |order, patience| {
            let progress = CheckProgress::default();
            let outcome = check_with(&storage, &all, order, &progress, patience);
            let (checked, error) = outcome.unwrap().unwrap();
            assert!(error.unwrap().to_string().contains("t/bad"));
            (checked.good.count(), checked.bad.count(), checked.unreadable.count())
        };
        for order in [ReadOrder::Parallel, ReadOrder::Sequential] {
            assert_eq!(check(order, UNREADABLE), (50, 0, 300));
        }
        // One piece is known to be unreadable before another is tried.
        assert_eq!(check(ReadOrder::Sequential, Duration::ZERO), (0, 0, 1));
    }
}
