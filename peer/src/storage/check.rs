//! Hashing what is on disk.

use std::fs::File;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rayon::prelude::*;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use sha1::{Digest, Sha1};
use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::PieceIndex;
use torrent_common::metainfo::Metainfo;
use torrent_common::worker::Shutdown;

use super::StorageError;
use super::blocks::BlockBuf;
use super::files::{Storage, read_at};
use super::layout::Segment;

/// Bytes read at once, and the memory of each thread.
const BUFFER_LEN: usize = 256 * 1024;
/// A thread takes about so many bytes of adjacent pieces at a time.
const STRETCH_LEN: u64 = 32 << 20;

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

/// Hashes the pieces in `suspect` on the current rayon pool and gives back those that are right. Missing and short files
/// simply fail their pieces; holes of sparse files are skipped without reading. Bounded memory: one small buffer per
/// thread, whatever the piece length.
///
/// # Errors
/// [`StorageError`] when a file cannot be read for another reason than not being there; `Ok(None)` when cancelled.
pub fn check(
    storage: &Storage,
    suspect: &Bitfield,
    progress: &CheckProgress,
) -> Result<Option<Bitfield>, StorageError> {
    let geometry = storage.metainfo().geometry;
    let pieces: Vec<PieceIndex> = suspect.iter(&geometry).collect();
    let zeros = Zeros::default();
    let stretch = STRETCH_LEN.div_ceil(u64::from(geometry.nominal_piece_len()));
    let stretch = usize::try_from(stretch).unwrap_or(usize::MAX).max(1);
    let judged: Vec<Vec<PieceIndex>> = pieces
        .par_chunks(stretch)
        .map_init(|| Reader::new(storage, progress, &zeros), |reader, pieces| reader.good_of(pieces))
        .collect::<Result<_, _>>()?;
    if progress.cancel.is_set() {
        return Ok(None);
    }
    let mut good = Bitfield::empty(&geometry);
    for piece in judged.into_iter().flatten() {
        good.insert(piece);
    }
    Ok(Some(good))
}

/// Whether the blocks of a piece have this SHA-1.
pub fn piece_is_good(blocks: &[BlockBuf], hash: &[u8; 20]) -> bool {
    let mut sha1 = Sha1::new();
    for block in blocks {
        sha1.update(&**block);
    }
    <[u8; 20]>::from(sha1.finalize()) == *hash
}

/// The hash of a piece of zeros, which a piece in a hole must have: computed once, for the length that most pieces have.
#[derive(Default)]
struct Zeros(OnceLock<[u8; 20]>);

impl Zeros {
    fn hash(&self, metainfo: &Metainfo, piece: PieceIndex) -> [u8; 20] {
        let len = metainfo.geometry.piece_len(piece);
        if len == metainfo.geometry.nominal_piece_len() {
            *self.0.get_or_init(|| hash_of_zeros(len))
        } else {
            hash_of_zeros(len)
        }
    }
}

fn hash_of_zeros(len: u32) -> [u8; 20] {
    const ZEROS: &[u8] = &[0; 4096];
    let mut sha1 = Sha1::new();
    let mut left = len as usize;
    while left > 0 {
        let part = ZEROS.get(..left).unwrap_or(ZEROS);
        sha1.update(part);
        left -= part.len();
    }
    sha1.finalize().into()
}

/// One thread's work.
struct Reader<'a> {
    storage: &'a Storage,
    progress: &'a CheckProgress,
    zeros: &'a Zeros,
    buffer: Box<[u8]>,
    /// The file read last, as adjacent pieces are mostly of one file; `None` in it: not there.
    file: Option<(usize, Option<Opened>)>,
}

struct Opened {
    file: File,
    len: u64,
    /// No data lies in this range: the last hole found.
    hole: std::ops::Range<u64>,
}

impl<'a> Reader<'a> {
    fn new(storage: &'a Storage, progress: &'a CheckProgress, zeros: &'a Zeros) -> Self {
        Self { storage, progress, zeros, buffer: vec![0; BUFFER_LEN].into(), file: None }
    }

    /// Those of `pieces` that are right, or none when cancelled.
    fn good_of(&mut self, pieces: &[PieceIndex]) -> Result<Vec<PieceIndex>, StorageError> {
        let mut good = Vec::new();
        for &piece in pieces {
            if self.progress.cancel.is_set() {
                break;
            }
            if self.is_good(piece)? {
                good.push(piece);
            }
            let len = self.storage.metainfo().geometry.piece_len(piece);
            self.progress.done.fetch_add(u64::from(len), Ordering::Relaxed);
        }
        Ok(good)
    }

    fn is_good(&mut self, piece: PieceIndex) -> Result<bool, StorageError> {
        let metainfo = self.storage.metainfo();
        let mut empty = true;
        for segment in self.storage.layout().piece_segments(piece) {
            let Some(index) = segment.file else { continue };
            let Some(opened) = self.open(index)? else { return Ok(false) };
            if segment.offset.saturating_add(segment.len) > opened.len {
                return Ok(false);
            }
            empty = empty && opened.is_hole(segment);
        }
        if empty {
            return Ok(self.zeros.hash(metainfo, piece) == *metainfo.piece_hash(piece));
        }
        self.progress.hashed.fetch_add(1, Ordering::Relaxed);
        let mut sha1 = Sha1::new();
        for segment in self.storage.layout().piece_segments(piece) {
            if !self.feed(segment, &mut sha1)? {
                return Ok(false);
            }
        }
        Ok(<[u8; 20]>::from(sha1.finalize()) == *metainfo.piece_hash(piece))
    }

    /// Hashes a segment; false if it is not there or the check was cancelled.
    fn feed(&mut self, segment: Segment, sha1: &mut Sha1) -> Result<bool, StorageError> {
        let mut offset = segment.offset;
        let mut left = segment.len;
        if segment.file.is_none() {
            self.buffer.fill(0);
        }
        while left > 0 {
            if self.progress.cancel.is_set() {
                return Ok(false);
            }
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            if let Some(index) = segment.file {
                self.open(index)?;
                let Some((_, Some(opened))) = &self.file else { return Ok(false) };
                let Some(part) = self.buffer.get_mut(..len) else { return Ok(false) };
                let error = |errno| StorageError::io(self.storage.path(index), errno);
                if read_at(&opened.file, part, offset).map_err(error)? < len {
                    return Ok(false);
                }
            }
            sha1.update(self.buffer.get(..len).unwrap_or_default());
            offset += len as u64;
            left -= len as u64;
        }
        Ok(true)
    }

    fn open(&mut self, index: usize) -> Result<Option<&mut Opened>, StorageError> {
        if self.file.as_ref().is_none_or(|&(open, _)| open != index) {
            let opened = self.storage.open_as_is(index)?;
            let opened = opened.map(|(file, stamp)| Opened { file, len: stamp.len, hole: 0..0 });
            self.file = Some((index, opened));
        }
        Ok(self.file.as_mut().and_then(|(_, opened)| opened.as_mut()))
    }
}

impl Opened {
    /// Whether all of a segment is a hole. Where the file system knows no holes, nothing is.
    fn is_hole(&mut self, segment: Segment) -> bool {
        let end = segment.offset.saturating_add(segment.len);
        if !(self.hole.start <= segment.offset && segment.offset < self.hole.end) {
            let data = match rustix::fs::seek(&self.file, SeekFrom::Data(segment.offset)) {
                Ok(data) => data,
                // No data from there to the end.
                Err(Errno::NXIO) => self.len,
                Err(_) => segment.offset,
            };
            self.hole = segment.offset..data;
        }
        end <= self.hole.end
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use torrent_common::geometry::PieceIndex;

    use super::super::cache::FileCache;
    use super::super::testing::{TestFile, blocks, payload, torrent};
    use super::*;

    fn good(metainfo: &Arc<Metainfo>, folder: &std::path::Path) -> Vec<u32> {
        let storage = Storage::new(Arc::clone(metainfo), folder, None, FileCache::new(1)).unwrap();
        let all = Bitfield::full(&metainfo.geometry);
        let progress = CheckProgress::default();
        let good = check(&storage, &all, &progress).unwrap().unwrap();
        assert_eq!(progress.done.load(Ordering::Relaxed), metainfo.total_len());
        good.iter(&metainfo.geometry).map(PieceIndex::get).collect()
    }

    fn hashed(metainfo: &Arc<Metainfo>, folder: &std::path::Path) -> u32 {
        let storage = Storage::new(Arc::clone(metainfo), folder, None, FileCache::new(1)).unwrap();
        let progress = CheckProgress::default();
        check(&storage, &Bitfield::full(&metainfo.geometry), &progress).unwrap().unwrap();
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
        let len = BUFFER_LEN as u64 * 5 / 2;
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
        assert_eq!(check(&storage, &Bitfield::full(&metainfo.geometry), &progress).unwrap(), None);
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
        assert_eq!(check(&storage, &suspect, &progress).unwrap(), Some(suspect));
        assert_eq!(progress.done.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn blocks_are_judged_by_their_hash() {
        let files = TestFile::list(&[("", 100)]);
        let metainfo = torrent("t", &files, 32, None);
        let mut piece = blocks(&metainfo, 1, &payload(&files));
        let hash = metainfo.piece_hash(metainfo.geometry.piece(1).unwrap());
        assert!(piece_is_good(&piece, hash));
        piece[1][0] ^= 1;
        assert!(!piece_is_good(&piece, hash));
    }
}
