//! Making torrents of real files.

mod others;

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use sha1::{Digest, Sha1};

use super::*;
use crate::bencode;

mod limits;

fn options(input: &Path) -> CreateOptions {
    CreateOptions {
        input: input.to_owned(),
        name: None,
        piece_len: Some(MIN_PIECE_LEN),
        private: false,
        trackers: Vec::new(),
        comment: None,
        creation_date_s: None,
        order: ReadOrder::Parallel,
        limits: MetainfoLimits::default(),
    }
}

fn made(options: &CreateOptions) -> (Created, Metainfo) {
    let created = create(options, &Progress::default()).unwrap();
    let metainfo = Metainfo::parse(&created.bytes, &MetainfoLimits::default()).unwrap();
    (created, metainfo)
}

/// Writes files below `root`; content differs from file to file.
fn write_files(root: &Path, files: &[(&str, usize)]) {
    for (i, &(path, len)) in files.iter().enumerate() {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut random = fastrand::Rng::with_seed(i as u64);
        let content: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
        fs::write(path, content).unwrap();
    }
}

fn error(options: &CreateOptions) -> CreateError {
    create(options, &Progress::default()).unwrap_err()
}

#[test]
fn piece_lengths_are_chosen_for_one_to_two_thousand_pieces() {
    assert_eq!(choose_piece_len(1), MIN_PIECE_LEN);
    assert_eq!(choose_piece_len(2000 * MIN_PIECE_LEN), MIN_PIECE_LEN);
    assert_eq!(choose_piece_len(2000 * MIN_PIECE_LEN + 1), 2 * MIN_PIECE_LEN);
    assert_eq!(choose_piece_len(u64::MAX), MAX_CHOSEN_PIECE_LEN);
    for mib in (17_u64..30_000).step_by(7) {
        let total = mib << 20;
        let pieces = total.div_ceil(choose_piece_len(total));
        assert!((1000..=2000).contains(&pieces), "{mib} MiB in {pieces} pieces");
    }
}

#[test]
fn piece_lengths_that_make_no_sense_are_refused() {
    for len in [0, 1, 1000, 8192, 16_383, 16_385, 49_152, 512 << 20, u64::MAX] {
        assert!(matches!(piece_len(Some(len), 1), Err(CreateError::PieceLength(_))), "{len}");
    }
    for len in [16_384, 1 << 20, 256 << 20] {
        assert_eq!(piece_len(Some(len), 1).unwrap(), len);
    }
    let error = piece_len(Some(MIN_PIECE_LEN), 1 << 40).unwrap_err();
    assert!(matches!(error, CreateError::TooManyPieces { least: 1_048_576, .. }), "{error}");
    assert!(piece_len(Some(1 << 20), 1 << 40).is_ok());
    assert!(piece_len(None, 1 << 44).is_ok());
}

#[test]
fn a_file() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("a file.bin");
    write_files(folder.path(), &[("a file.bin", 100_000)]);
    let progress = Progress::default();
    let trackers = vec![vec!["http://a/".into(), "udp://b:1".into()], vec!["https://c/".into()]];
    let options = CreateOptions {
        private: true,
        trackers: trackers.clone(),
        comment: Some("text".into()),
        creation_date_s: Some(1_000_000_000),
        piece_len: Some(32 << 10),
        ..options(&input)
    };
    let created = create(&options, &progress).unwrap();
    let metainfo = Metainfo::parse(&created.bytes, &MetainfoLimits::default()).unwrap();
    assert_eq!(progress.get(), (100_000, 100_000));
    assert_eq!((metainfo.name.as_str(), metainfo.single_file), ("a file.bin", true));
    assert_eq!((metainfo.trackers, metainfo.private, metainfo.sorted), (trackers, true, true));
    assert_eq!((metainfo.comment.as_deref(), metainfo.creation_date_s), (Some("text"), Some(1_000_000_000)));
    assert_eq!(metainfo.info_hash, created.metainfo.info_hash);
    let content = fs::read(&input).unwrap();
    let hashes: Vec<u8> = content.chunks(32 << 10).flat_map(Sha1::digest).collect();
    assert_eq!(&*metainfo.piece_hashes, hashes);
    assert_eq!(created.stamps.len(), 1);
    assert_eq!(created.stamps[0].len, 100_000);
}

#[test]
fn keys_that_say_nothing_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("x", 1)]);
    let (created, _) = made(&options(&folder.path().join("x")));
    let document = bencode::scan(&created.bytes, &bencode::Limits::for_len(1 << 20)).unwrap();
    let keys = |value: bencode::Value<'_>| -> Vec<String> {
        value.as_dictionary().unwrap().map(|(key, _)| key.escape_ascii().to_string()).collect()
    };
    assert_eq!(keys(document.root), ["created by", "encoding", "info"]);
    assert_eq!(keys(document.root.get(b"info").unwrap()), ["length", "name", "piece length", "pieces"]);
}

#[test]
fn a_folder_is_read_in_the_order_of_paths() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    write_files(
        &root,
        &[("b", 10), ("a/x", 20_000), ("a.txt", 0), ("a-b/c", 5), ("Z", 1), ("é", 2), (".hidden", 3)],
    );
    fs::create_dir_all(root.join("empty/deeper")).unwrap();
    let (created, metainfo) = made(&options(&root));
    let paths: Vec<_> = metainfo.files.iter().map(|file| (file.path.as_str(), file.len)).collect();
    let expected = [
        ("root/.hidden", 3),
        ("root/Z", 1),
        ("root/a-b/c", 5),
        ("root/a.txt", 0),
        ("root/a/x", 20_000),
        ("root/b", 10),
        ("root/é", 2),
    ];
    assert_eq!(paths, expected);
    assert_eq!(created.stamps.len(), expected.len());
    // The same files under another name, given explicitly: the same torrent.
    fs::rename(&root, folder.path().join("moved")).unwrap();
    let options = CreateOptions { name: Some("root".into()), ..options(&folder.path().join("moved")) };
    assert_eq!(made(&options).0.metainfo.info_hash, created.metainfo.info_hash);
}

#[test]
fn a_folder_of_one_file_stays_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("root/x", 1)]);
    let (_, metainfo) = made(&options(&folder.path().join("root")));
    assert!(!metainfo.single_file);
    assert_eq!(metainfo.files[0].path.as_str(), "root/x");
}

#[test]
fn a_folder_of_very_many_files_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..20_000 {
        fs::write(folder.path().join(i.to_string()), if i == 4321 { &[1][..] } else { &[] }).unwrap();
    }
    assert_eq!(made(&options(folder.path())).1.files.len(), 20_000);
}

#[test]
fn links_inside_are_left_out_and_the_input_may_be_one() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("root/x", 1), ("secret", 5), ("outside/y", 5)]);
    let root = folder.path().join("root");
    symlink(folder.path().join("secret"), root.join("link")).unwrap();
    symlink(folder.path().join("outside"), root.join("folder-link")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink(&root, folder.path().join("alias")).unwrap();
    let (created, metainfo) = made(&options(&folder.path().join("alias")));
    let paths: Vec<_> = metainfo.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["alias/x"]);
    let root = root.canonicalize().unwrap();
    assert_eq!(created.left_out, Some(LinksLeftOut { count: 3, first: root.join("dangling") }));
    fs::remove_file(root.join("x")).unwrap();
    let error = error(&options(&root));
    assert!(
        matches!(&error, CreateError::OnlyLinks { links, .. } if Some(links) == created.left_out.as_ref())
    );
    assert!(error.to_string().contains("no content but links (3, the first is"), "{error}");
}

/// Data sets and caches are full of them. Who may read a file may share it, whatever its other names are.
#[test]
fn hard_links_are_files_like_others() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("root/a", 20_000)]);
    let root = folder.path().join("root");
    fs::hard_link(root.join("a"), root.join("b")).unwrap();
    let (created, metainfo) = made(&options(&root));
    assert_eq!((metainfo.files.len(), metainfo.total_len(), created.left_out), (2, 40_000, None));
}

#[test]
fn what_cannot_be_shared_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_files(
        folder.path(),
        &[("zero/a", 0), ("back/a\\b", 1), ("ok/x", 1), ("same/a*", 1), ("same/a?", 1)],
    );
    fs::create_dir(path("empty")).unwrap();
    fs::create_dir(path("bytes")).unwrap();
    fs::write(path("bytes").join(std::ffi::OsStr::from_bytes(b"\xff")), "x").unwrap();
    fs::create_dir(path("pipe")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, path("pipe/fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();

    assert!(matches!(error(&options(&path("empty"))), CreateError::Empty(p) if p == path("empty")));
    assert!(matches!(error(&options(&path("zero"))), CreateError::Empty(_)));
    assert!(matches!(error(&options(&path("zero/a"))), CreateError::Empty(_)));
    assert!(
        matches!(error(&options(&path("missing"))), CreateError::Io { path: p, .. } if p == path("missing"))
    );
    assert!(
        matches!(error(&options(&path("bytes"))), CreateError::NameNotText(p) if p.parent() == Some(&path("bytes")))
    );
    assert!(
        matches!(error(&options(&path("back"))), CreateError::Name { path: p, .. } if p == path("back/a\\b"))
    );
    for special in ["pipe", "pipe/fifo"] {
        assert!(matches!(error(&options(&path(special))), CreateError::Special(p) if p == path("pipe/fifo")));
    }
    let same = error(&options(&path("same")));
    assert!(
        matches!(&same, CreateError::SameName(MetainfoError::DuplicateFile(p)) if p.as_str() == "same/a_"),
        "{same}"
    );
    let named = |name: &str| CreateOptions { name: Some(name.into()), ..options(&path("ok")) };
    for name in ["", "..", "a/b"] {
        assert!(matches!(error(&named(name)), CreateError::Name { .. }), "{name:?}");
    }
    let with_tracker = CreateOptions { trackers: vec![vec!["ftp://x".into()]], ..options(&path("ok")) };
    assert!(matches!(error(&with_tracker), CreateError::Tracker(url) if url == "ftp://x"));
    assert!(matches!(
        error(&CreateOptions { piece_len: Some(1000), ..options(&path("ok")) }),
        CreateError::PieceLength(1000)
    ));
}

/// Runs on a thread that may not read every file: root may, so there it becomes another user (on Linux a thread can).
fn as_nobody<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let become_nobody = |_| {
        if rustix::process::geteuid().is_root() {
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).unwrap();
        }
    };
    rayon::ThreadPoolBuilder::new().num_threads(1).start_handler(become_nobody).build().unwrap().install(run)
}

#[test]
fn an_unreadable_file_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("root/a", 1), ("root/b", 1)]);
    let locked = folder.path().join("root/b");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let error = as_nobody(|| error(&options(&folder.path().join("root"))));
    assert!(
        matches!(&error, CreateError::Io { path, .. } if *path == locked.canonicalize().unwrap()),
        "{error}"
    );
    assert!(error.to_string().contains("root/b"));
}

/// Runs `change` between finding the files and hashing them, and gives the error and the changed file's name.
fn changed(change: impl FnOnce(&Path)) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    write_files(&root, &[("a", 20_000), ("b", 50_000), ("c", 10)]);
    let progress = Progress::default();
    let payload = walk::Payload::collect(&options(&root), &progress).unwrap();
    change(&root);
    let result = hash::hash(&payload, MIN_PIECE_LEN, ReadOrder::Parallel, &progress)
        .and_then(|_| payload.check_unchanged());
    match result {
        Ok(()) => None,
        Err(CreateError::Changed(path)) => Some(path.file_name().unwrap().to_str().unwrap().to_owned()),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_file_that_changes_is_an_error() {
    assert_eq!(changed(|_| {}), None);
    let cut =
        |root: &Path| File::options().write(true).open(root.join("b")).unwrap().set_len(49_999).unwrap();
    assert_eq!(changed(cut).as_deref(), Some("b"));
    let grow = |root: &Path| File::options().write(true).open(root.join("c")).unwrap().set_len(11).unwrap();
    assert_eq!(changed(grow).as_deref(), Some("c"));
    let touch = |root: &Path| {
        let later = SystemTime::now() + Duration::from_secs(10);
        File::options().write(true).open(root.join("a")).unwrap().set_modified(later).unwrap();
    };
    assert_eq!(changed(touch).as_deref(), Some("a"));
    assert_eq!(changed(|root| fs::remove_file(root.join("b")).unwrap()).as_deref(), Some("b"));
    let link = |root: &Path| {
        fs::rename(root.join("b"), root.join("elsewhere")).unwrap();
        symlink("elsewhere", root.join("b")).unwrap();
    };
    assert_eq!(changed(link).as_deref(), Some("b"));
}

/// A folder that is replaced by a link after it was found, or one above it, is not gone into.
#[test]
fn a_folder_that_becomes_a_link_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("root/x/y/a", 20_000), ("root/b", 5)]);
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    let progress = Progress::default();
    for replaced in ["x", "x/y"] {
        let payload = walk::Payload::collect(&options(&root), &progress).unwrap();
        // The very files, with the same stamps: only the way to them is another.
        fs::rename(root.join(replaced), &outside).unwrap();
        symlink(&outside, root.join(replaced)).unwrap();
        let hashed = hash::hash(&payload, MIN_PIECE_LEN, ReadOrder::Parallel, &progress).map(|_| ());
        for result in [hashed, payload.check_unchanged()] {
            assert!(matches!(result, Err(CreateError::Changed(_))), "{replaced}: {result:?}");
        }
        fs::remove_file(root.join(replaced)).unwrap();
        fs::rename(&outside, root.join(replaced)).unwrap();
    }
}

/// Somebody else swaps a folder and a file for links and back, as fast as he can: what is outside is never shared. It has
/// the names, lengths and times of what is inside, so that only the way to it gives it away.
#[test]
fn links_swapped_in_meanwhile_lead_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let files =
        [("root/f", 20_000), ("root/x/y/a", 20_000), ("outside/f", 20_000), ("outside/x/y/a", 20_000)];
    write_files(folder.path(), &files);
    for (name, _) in files {
        let file = File::options().write(true).open(path(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    }
    let root = path("root");
    let bytes = || made(&options(&root)).0.bytes;
    let without = |name: &str| {
        fs::rename(root.join(name), path("aside")).unwrap();
        let rest = bytes();
        fs::rename(path("aside"), root.join(name)).unwrap();
        rest
    };
    let honest = [bytes(), without("f"), without("x")];
    for name in ["f", "x"] {
        symlink(path("outside").join(name), path(&format!("{name}-link"))).unwrap();
    }
    let over = crate::worker::Shutdown::new();
    let swap = || {
        // A test that fails does not say that it is over.
        let begun = std::time::Instant::now();
        while !over.is_set() && begun.elapsed() < Duration::from_secs(30) {
            for name in ["x", "f"] {
                let (inside, link, aside) =
                    (root.join(name), path(&format!("{name}-link")), path(&format!("{name}-aside")));
                for (from, to) in [(&inside, &aside), (&link, &inside), (&inside, &link), (&aside, &inside)] {
                    fs::rename(from, to).unwrap();
                }
            }
        }
    };
    let (mut shared, mut refused) = ([0; 3], 0);
    std::thread::scope(|scope| {
        scope.spawn(swap);
        for round in 0..5_000 {
            match create(&options(&root), &Progress::default()) {
                Ok(created) => {
                    let which = honest.iter().position(|bytes| *bytes == created.bytes);
                    shared
                        [which.unwrap_or_else(|| panic!("not of what is inside: {:?}", created.metainfo))] +=
                        1;
                }
                Err(CreateError::Changed(_) | CreateError::Empty(_) | CreateError::OnlyLinks { .. }) => {
                    refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
            if round >= 100 && refused > 0 && shared.iter().all(|&times| times > 0) {
                break;
            }
        }
        over.set();
    });
    assert!(shared.iter().sum::<usize>() > 0 && refused > 0, "{shared:?} {refused}");
}

/// Not only when the last file was hashed, which may be an hour later.
#[test]
fn a_change_is_seen_when_the_file_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    write_files(&root, &[("a", 20_000)]);
    let progress = Progress::default();
    let payload = walk::Payload::collect(&options(&root), &progress).unwrap();
    File::options().append(true).open(root.join("a")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert!(matches!(
        hash::hash(&payload, MIN_PIECE_LEN, ReadOrder::Parallel, &progress),
        Err(CreateError::Changed(_))
    ));
    assert_eq!(progress.get().0, 0);
}

#[test]
fn a_change_after_the_last_byte_was_read_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    write_files(&root, &[("a", 20_000)]);
    let progress = Progress::default();
    let payload = walk::Payload::collect(&options(&root), &progress).unwrap();
    hash::hash(&payload, MIN_PIECE_LEN, ReadOrder::Parallel, &progress).unwrap();
    payload.check_unchanged().unwrap();
    File::options().append(true).open(root.join("a")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert!(matches!(payload.check_unchanged(), Err(CreateError::Changed(_))));
}

#[test]
fn cancelling_stops() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    write_files(&root, &[("a", 500_000)]);
    let progress = Progress::default();
    let payload = walk::Payload::collect(&options(&root), &progress).unwrap();
    progress.cancel.set();
    assert!(matches!(
        hash::hash(&payload, MIN_PIECE_LEN, ReadOrder::Parallel, &progress),
        Err(CreateError::Cancelled)
    ));
    assert_eq!(progress.get().0, 0);
    assert!(matches!(create(&options(&root), &progress), Err(CreateError::Cancelled)));
}

#[test]
fn large_pieces_are_read_in_small_parts() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("root/a", 700_000), ("root/b", 3), ("root/c", 900_000)]);
    let root = folder.path().join("root");
    let content: Vec<u8> =
        ["a", "b", "c"].iter().flat_map(|name| fs::read(root.join(name)).unwrap()).collect();
    for piece_len in [1 << 14, 1 << 19, 1 << 20, 256 << 20] {
        let hashes: Vec<u8> =
            content.chunks(usize::try_from(piece_len).unwrap()).flat_map(Sha1::digest).collect();
        for order in [ReadOrder::Parallel, ReadOrder::Sequential] {
            let options = CreateOptions { piece_len: Some(piece_len), order, ..options(&root) };
            assert_eq!(&*made(&options).1.piece_hashes, hashes, "{piece_len} {order:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_created_is_parsed(
        files in prop::collection::btree_map("[a-c]{1,2}(/[a-c:é. ]{1,3}x){0,2}", 0_usize..40_000, 1..8),
        exponent in 14_u32..18,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        for (path, len) in &files {
            let path = root.join(path);
            // A file may stand where this path needs a folder, or the other way round: then it is left out.
            if fs::create_dir_all(path.parent().unwrap()).is_ok() && !path.is_dir() {
                fs::write(path, vec![b'x'; *len]).unwrap();
            }
        }
        let options = CreateOptions { piece_len: Some(1 << exponent), ..options(&root) };
        let created = match create(&options, &Progress::default()) {
            Ok(created) => created,
            Err(CreateError::Empty(_)) => return Ok(()),
            // `a:` and `a_`, say, are the same file elsewhere.
            Err(CreateError::SameName(_)) => return Ok(()),
            // `c:`.
            Err(CreateError::Name { .. }) => return Ok(()),
            Err(other) => panic!("{other}"),
        };
        let metainfo = Metainfo::parse(&created.bytes, &MetainfoLimits::default()).unwrap();
        prop_assert_eq!(metainfo.files.len(), created.stamps.len());
        let mut content = Vec::new();
        for (file, stamp) in metainfo.files.iter().zip(&created.stamps) {
            let path = file.given.as_ref().unwrap_or(&file.path);
            let on_disk = fs::read(folder.path().join(path)).unwrap();
            prop_assert_eq!((file.offset, file.len, stamp.len), (content.len() as u64, on_disk.len() as u64, file.len));
            content.extend(on_disk);
        }
        for (piece, expected) in metainfo.geometry.pieces().zip(content.chunks(1 << exponent)) {
            prop_assert_eq!(&metainfo.piece_hash(piece)[..], &Sha1::digest(expected)[..]);
        }
    }
}
