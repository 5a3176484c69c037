//! Reading, writing and making files.

mod links;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::PieceIndex;
use torrent_common::metainfo::Metainfo;

use super::StorageError;
use super::cache::FileCache;
use super::files::{Source, Storage};
use super::testing::{BLOCK_LEN, TestFile, blocks, payload, torrent};
use crate::options::Preallocation;

fn storage(metainfo: &Arc<Metainfo>, folder: &Path) -> Arc<Storage> {
    Storage::new(Arc::clone(metainfo), folder, None, FileCache::new(3)).unwrap()
}

fn write_all(storage: &Storage, bytes: &[u8]) {
    let metainfo = storage.metainfo();
    for piece in metainfo.geometry.pieces() {
        storage.write_piece(piece, &blocks(metainfo, piece.get(), bytes)).unwrap();
    }
}

fn piece(metainfo: &Metainfo, index: u32) -> PieceIndex {
    metainfo.geometry.piece(index).unwrap()
}

fn mixed() -> (Vec<TestFile>, Arc<Metainfo>) {
    let mut files = TestFile::list(&[("a/b/one", 70), ("a/empty", 0), ("a/two", 3), ("z", 500), ("end", 0)]);
    files.insert(3, TestFile { path: ".pad/7".into(), len: 7, padding: true });
    let metainfo = torrent("root", &files, 80, None);
    (files, metainfo)
}

#[test]
fn what_is_written_is_read_and_lies_in_the_right_files() {
    let folder = tempfile::tempdir().unwrap();
    let (files, metainfo) = mixed();
    let bytes = payload(&files);
    let storage = storage(&metainfo, folder.path());
    assert_eq!(storage.prepare(|_| true, Preallocation::Sparse).unwrap().len(), 5);
    assert_eq!(storage.prepare(|_| true, Preallocation::Sparse).unwrap(), []);
    write_all(&storage, &bytes);
    storage.sync().unwrap();
    let mut at = 0;
    for file in &files {
        let path = folder.path().join("root").join(&file.path);
        let end = at + file.len as usize;
        if file.padding {
            assert!(!path.exists());
        } else {
            assert_eq!(fs::read(path).unwrap(), &bytes[at..end], "{}", file.path);
        }
        at = end;
    }
    for index in 0..metainfo.geometry.piece_count() {
        let len = metainfo.geometry.piece_len(piece(&metainfo, index));
        for (begin, len) in [(0, len), (len / 2, len - len / 2), (len - 1, 1)] {
            let span = metainfo.geometry.span(index, begin, len).unwrap();
            let start = (u64::from(index) * 80 + u64::from(begin)) as usize;
            let mut buffer = vec![0xee; len as usize];
            storage.read(span, &mut buffer).unwrap();
            assert_eq!(buffer, &bytes[start..start + len as usize], "{span:?}");
            let lens: u64 = storage
                .layout()
                .segments(span)
                .map(|segment| source_len(&storage.source(segment).unwrap()))
                .sum();
            assert_eq!(lens, u64::from(span.len()));
        }
    }
}

fn source_len(source: &Source) -> u64 {
    match source {
        Source::File { file, offset, len, .. } => {
            assert!(offset + len <= file.metadata().unwrap().len());
            *len
        }
        Source::Zeros(len) => *len,
    }
}

#[test]
fn a_single_file_stands_in_the_folder_itself_under_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let files = TestFile::list(&[("", 100)]);
    let metainfo = torrent("its name", &files, 64, None);
    let cache = FileCache::new(1);
    let named = |root: &str| {
        Storage::new(Arc::clone(&metainfo), folder.path(), Some(OsStr::new(root)), Arc::clone(&cache))
    };
    for bad in ["", ".", "..", "a/b", "/", "a\0", &"x".repeat(256)] {
        assert!(matches!(named(bad), Err(StorageError::RootName { .. })), "{bad:?}");
    }
    for storage in [storage(&metainfo, folder.path()), named("another").unwrap()] {
        storage.prepare(|_| true, Preallocation::Sparse).unwrap();
        write_all(&storage, &payload(&files));
    }
    for name in ["its name", "another"] {
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), payload(&files));
    }
}

#[test]
fn more_slices_than_one_call_takes_are_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let files = TestFile::list(&[("a", 9_999), ("b", 1)]);
    let metainfo = torrent("t", &files, 10_000, None);
    assert!(metainfo.geometry.block_count(piece(&metainfo, 0)) > 600 && BLOCK_LEN == 16);
    let storage = storage(&metainfo, folder.path());
    storage.prepare(|_| true, Preallocation::Sparse).unwrap();
    write_all(&storage, &payload(&files));
    assert_eq!(fs::read(folder.path().join("t/a")).unwrap(), &payload(&files)[..9_999]);
    assert_eq!(fs::read(folder.path().join("t/b")).unwrap(), &payload(&files)[9_999..]);
}

#[test]
fn a_piece_of_a_wrong_length_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = TestFile::list(&[("a", 100)]);
    let metainfo = torrent("t", &files, 64, None);
    let storage = storage(&metainfo, folder.path());
    storage.prepare(|_| true, Preallocation::Sparse).unwrap();
    let short = blocks(&metainfo, 1, &payload(&files));
    let error = storage.write_piece(piece(&metainfo, 0), &short).unwrap_err();
    assert!(matches!(error, StorageError::PieceLength { got: 36, expected: 64 }));
}

#[test]
fn existing_files_are_extended_but_never_cut() {
    let folder = tempfile::tempdir().unwrap();
    let files = TestFile::list(&[("short", 10), ("long", 10)]);
    let metainfo = torrent("t", &files, 64, None);
    fs::create_dir(folder.path().join("t")).unwrap();
    fs::write(folder.path().join("t/short"), b"abc").unwrap();
    fs::write(folder.path().join("t/long"), b"more than ten").unwrap();
    let storage = storage(&metainfo, folder.path());
    assert!(matches!(
        storage.prepare(|_| true, Preallocation::Sparse),
        Err(StorageError::Longer { len: 13, expected: 10, .. })
    ));
    assert_eq!(fs::read(folder.path().join("t/long")).unwrap(), b"more than ten");
    assert_eq!(
        fs::read(folder.path().join("t/short")).unwrap(),
        b"abc",
        "nothing is changed before all is looked at"
    );
    fs::remove_file(folder.path().join("t/long")).unwrap();
    storage.prepare(|_| true, Preallocation::Sparse).unwrap();
    assert_eq!(fs::read(folder.path().join("t/short")).unwrap(), b"abc\0\0\0\0\0\0\0");
}

#[test]
fn a_file_that_goes_or_shrinks_is_an_error_and_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let files = TestFile::list(&[("a", 64), ("b", 64)]);
    let metainfo = torrent("t", &files, 64, None);
    let storage = storage(&metainfo, folder.path());
    let span = metainfo.geometry.span(0, 0, 1).unwrap();
    let write = || storage.write_piece(piece(&metainfo, 0), &blocks(&metainfo, 0, &payload(&files)));
    assert!(matches!(storage.read(span, &mut [0]), Err(StorageError::Missing { .. })));
    storage.prepare(|_| true, Preallocation::Sparse).unwrap();
    write().unwrap();
    storage.close();
    fs::File::options().write(true).open(folder.path().join("t/a")).unwrap().set_len(63).unwrap();
    assert!(matches!(write(), Err(StorageError::Short { .. })));
    assert!(matches!(storage.read(span, &mut [0]), Err(StorageError::Short { .. })));
    fs::remove_dir_all(folder.path().join("t")).unwrap();
    assert!(matches!(write(), Err(StorageError::Missing { .. })));
    assert!(!folder.path().join("t").exists());
}

#[test]
fn a_file_that_is_cut_while_it_is_open_is_not_written_on() {
    for preallocation in [Preallocation::Sparse, Preallocation::None] {
        let folder = tempfile::tempdir().unwrap();
        let files = TestFile::list(&[("a", 128)]);
        let metainfo = torrent("t", &files, 64, None);
        let storage = storage(&metainfo, folder.path());
        let write =
            |index| storage.write_piece(piece(&metainfo, index), &blocks(&metainfo, index, &payload(&files)));
        storage.prepare(|_| true, preallocation).unwrap();
        write(0).unwrap();
        let file = fs::File::options().write(true).open(folder.path().join("t/a")).unwrap();
        file.set_len(63).unwrap();
        assert!(matches!(write(1), Err(StorageError::Changed { .. })));
        // Nor is it once it was closed.
        storage.close();
        assert!(write(1).is_err());
        assert_eq!(file.metadata().unwrap().len(), 63);
    }
}

/// What we delete ourselves is not.
#[test]
fn a_part_file_that_is_made_anew_was_not_cut() {
    let folder = tempfile::tempdir().unwrap();
    let files = TestFile::list(&[("a", 100), ("b", 28)]);
    let metainfo = torrent("t", &files, 64, None);
    let storage = storage(&metainfo, folder.path());
    storage.set_parted(|index| index == 1);
    let write =
        |index| storage.write_piece(piece(&metainfo, index), &blocks(&metainfo, index, &payload(&files)));
    storage.prepare(|index| index == 0, Preallocation::Sparse).unwrap();
    write(1).unwrap();
    storage.remove_part().unwrap();
    write(1).unwrap();
}

/// One thread looks how long it is, another makes it longer meanwhile.
#[test]
fn a_file_that_two_threads_make_longer_was_not_cut() {
    const PIECES: u32 = 1000;
    let files = TestFile::list(&[("a", u64::from(PIECES) * 64)]);
    let (metainfo, bytes) = (torrent("t", &files, 64, None), payload(&files));
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(&metainfo, folder.path());
        storage.prepare(|_| true, Preallocation::None).unwrap();
        let write = |first: u32| {
            for index in (first..PIECES).step_by(2) {
                storage.write_piece(piece(&metainfo, index), &blocks(&metainfo, index, &bytes)).unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| write(0));
            write(1);
        });
    }
}

#[test]
fn a_file_that_goes_while_it_is_open_takes_no_bytes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = TestFile::list(&[("a", 64), ("b", 64)]);
    let metainfo = torrent("t", &files, 64, None);
    let storage = storage(&metainfo, folder.path());
    let write =
        |index| storage.write_piece(piece(&metainfo, index), &blocks(&metainfo, index, &payload(&files)));
    storage.prepare(|_| true, Preallocation::Sparse).unwrap();
    write(0).unwrap();
    write(1).unwrap();
    fs::remove_file(folder.path().join("t/a")).unwrap();
    assert!(matches!(write(0), Err(StorageError::Missing { .. })));
    fs::copy(folder.path().join("t/b"), folder.path().join("other")).unwrap();
    fs::rename(folder.path().join("other"), folder.path().join("t/b")).unwrap();
    assert!(matches!(write(1), Err(StorageError::Changed { .. })));
    // Looked at anew, it is as any other.
    write(1).unwrap();
    assert!(matches!(write(0), Err(StorageError::Missing { .. })));
}

#[test]
fn a_read_only_folder_can_be_seeded() {
    let folder = tempfile::tempdir().unwrap();
    let files = TestFile::list(&[("d/a", 64)]);
    let metainfo = torrent("t", &files, 64, None);
    let dir = folder.path().join("t/d");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("a"), payload(&files)).unwrap();
    fs::set_permissions(dir.join("a"), fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o555)).unwrap();
    let storage = storage(&metainfo, folder.path());
    let mut buffer = [0; 64];
    storage.read(metainfo.geometry.span(0, 0, 64).unwrap(), &mut buffer).unwrap();
    assert_eq!(buffer, *payload(&files));
    assert!(storage.stamps().unwrap()[0].is_some());
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn removing_takes_the_torrents_files_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (files, metainfo) = mixed();
    let storage = storage(&metainfo, folder.path());
    storage.remove_data().unwrap();
    storage.prepare(|_| true, Preallocation::Sparse).unwrap();
    write_all(&storage, &payload(&files));
    fs::write(folder.path().join("root/a/mine"), b"").unwrap();
    storage.remove_data().unwrap();
    assert!(folder.path().join("root/a/mine").exists());
    assert!(!folder.path().join("root/a/b").exists() && !folder.path().join("root/z").exists());
    fs::remove_file(folder.path().join("root/a/mine")).unwrap();
    storage.remove_data().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn files_are_closed_with_their_torrent_and_when_there_are_too_many() {
    let folder = tempfile::tempdir().unwrap();
    let (files, metainfo) = mixed();
    let cache = FileCache::new(2);
    let storage = Storage::new(Arc::clone(&metainfo), folder.path(), None, Arc::clone(&cache)).unwrap();
    storage.prepare(|_| true, Preallocation::Sparse).unwrap();
    write_all(&storage, &payload(&files));
    assert_eq!(cache.len(), 2);
    drop(storage);
    assert!(cache.is_empty());
}

#[test]
fn many_files_are_made_written_and_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..600).map(|i| format!("{}/{i}", i % 7)).collect();
    let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 3)).collect();
    let files = TestFile::list(&files);
    let metainfo = torrent("t", &files, 100, None);
    let storage = storage(&metainfo, folder.path());
    assert_eq!(storage.prepare(|_| true, Preallocation::Sparse).unwrap().len(), 600);
    write_all(&storage, &payload(&files));
    storage.sync().unwrap();
    assert_eq!(fs::read(folder.path().join("t/1/8")).unwrap(), &payload(&files)[24..27]);
    // None of them is missed: nobody knows what the device has of it.
    storage.mark_unsynced(&storage.stamps().unwrap());
    fs::remove_file(folder.path().join("t/1/8")).unwrap();
    assert!(matches!(storage.sync(), Err(StorageError::Missing { path }) if path.ends_with("t/1/8")));
    storage.remove_data().unwrap();
    storage.mark_unsynced(&storage.stamps().unwrap());
    storage.sync().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn stamps_tell_what_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (_, metainfo) = mixed();
    let storage = storage(&metainfo, folder.path());
    assert_eq!(storage.stamps().unwrap(), vec![None; 7]);
    let made = storage.prepare(|_| true, Preallocation::Sparse).unwrap();
    let stamps = storage.stamps().unwrap();
    assert_eq!(
        stamps.iter().map(|stamp| stamp.map(|stamp| stamp.len)).collect::<Vec<_>>(),
        [Some(70), Some(0), Some(3), None, Some(500), Some(0), None]
    );
    assert!(made.iter().all(|&(index, stamp)| stamps[index] == Some(stamp)));
}

#[test]
fn files_that_are_not_wanted_are_not_made_and_their_bytes_wait_in_the_part_file() {
    let folder = tempfile::tempdir().unwrap();
    let (files, metainfo) = mixed();
    let bytes = payload(&files);
    let storage = storage(&metainfo, folder.path());
    storage.set_parted(|index| matches!(index, 2 | 4 | 5));
    storage.prepare(|index| index < 2, Preallocation::Sparse).unwrap();
    for index in [0, 1] {
        let stamps = storage.write_piece(piece(&metainfo, index), &blocks(&metainfo, index, &bytes)).unwrap();
        assert_eq!(stamps.last().unwrap().0, storage.layout().part());
    }
    let (long, end) = (folder.path().join("root/z"), folder.path().join("root/end"));
    let part = storage.path(storage.layout().part());
    assert!(!long.exists() && !end.exists() && part.exists());
    assert!(part.file_name().unwrap().to_str().unwrap().starts_with('.'));
    let read = |index: u32| {
        let len = metainfo.geometry.piece_len(piece(&metainfo, index));
        let mut buffer = vec![0; len as usize];
        storage.read(metainfo.geometry.span(index, 0, len).unwrap(), &mut buffer).map(|()| buffer)
    };
    assert_eq!((read(0).unwrap(), read(1).unwrap()), (bytes[..80].to_vec(), bytes[80..160].to_vec()));
    assert!(matches!(read(2), Err(StorageError::Short { .. })));
    // Wanted after all: of piece 1 alone, since nobody vouches for 0.
    let mut had = Bitfield::empty(&metainfo.geometry);
    had.insert(piece(&metainfo, 1));
    storage.trust(storage.writes(), &storage.stamps().unwrap());
    let opened = fs::File::options().write(true).open(&part).unwrap();
    let mtime = opened.metadata().unwrap().modified().unwrap();
    opened.set_modified(mtime + Duration::from_secs(1)).unwrap();
    let written_by_others = storage.place(&[4, 5], &had, Preallocation::Full);
    assert!(
        matches!(written_by_others, Err(StorageError::Changed { path }) if path == part) && !long.exists()
    );
    opened.set_modified(mtime).unwrap();
    let stamps = storage.place(&[4, 5], &had, Preallocation::Full).unwrap();
    assert_eq!(
        stamps.iter().map(|(index, stamp)| (*index, stamp.len)).collect::<Vec<_>>(),
        [(4, 500), (5, 0)]
    );
    assert_eq!(&fs::read(&long).unwrap()[..90], [&[0; 0], &bytes[80..160], &[0; 10]].concat());
    storage.placed(&[4, 5]);
    assert_eq!(read(1).unwrap(), bytes[80..160]);
    storage.remove_part().unwrap();
    assert!(!part.exists());
    write_all(&storage, &bytes);
    assert_eq!(fs::read(&long).unwrap(), &bytes[80..]);
}

#[test]
fn data_that_is_not_the_torrents_own_is_not_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let (files, metainfo) = mixed();
    let storage = storage(&metainfo, folder.path());
    storage.set_parted(|index| index == 4);
    storage.prepare(|index| index != 4, Preallocation::Sparse).unwrap();
    storage.write_piece(piece(&metainfo, 1), &blocks(&metainfo, 1, &payload(&files))).unwrap();
    fs::write(folder.path().join("root/z"), "of somebody else").unwrap();
    storage.remove_data().unwrap();
    assert!(!storage.path(storage.layout().part()).exists());
    let left: Vec<_> =
        fs::read_dir(folder.path().join("root")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["z"]);
}

#[test]
fn room_is_made_as_asked_for() {
    use std::os::unix::fs::MetadataExt;
    let files = TestFile::list(&[("a", 1 << 20), ("b", 0)]);
    let metainfo = torrent("t", &files, 1 << 16, None);
    for (how, len, full) in [
        (Preallocation::None, 0, false),
        (Preallocation::Sparse, 1 << 20, false),
        (Preallocation::Full, 1 << 20, true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(&metainfo, folder.path());
        assert_eq!(storage.prepare(|_| true, how).unwrap().len(), 2);
        assert_eq!(storage.prepare(|_| true, how).unwrap(), []);
        let made = fs::metadata(folder.path().join("t/a")).unwrap();
        assert_eq!((made.len(), made.blocks() * 512 >= 1 << 20), (len, full), "{how:?}");
        assert!(folder.path().join("t/b").exists());
        // A file may grow from any end.
        let bytes = payload(&files);
        let mut buffer = vec![0; 1 << 16];
        for index in [9, 2] {
            storage.write_piece(piece(&metainfo, index), &blocks(&metainfo, index, &bytes)).unwrap();
            storage.close();
            storage.read(metainfo.geometry.span(index, 0, 1 << 16).unwrap(), &mut buffer).unwrap();
            let at = index as usize * (1 << 16);
            assert_eq!(buffer, &bytes[at..at + (1 << 16)]);
        }
    }
}

#[test]
fn too_little_room_is_seen_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&mixed().1, folder.path());
    let error = storage.check_room(1 << 62).unwrap_err();
    assert!(matches!(error, StorageError::NoRoom { needed, free, .. } if needed == 1 << 62 && free > 0));
    storage.check_room(0).unwrap();
}
