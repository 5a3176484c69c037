//! Links, and other things that stand where a file should.

use super::*;

/// A world where every way in goes through a link, and a file outside that must stay as it is.
#[test]
fn nothing_goes_through_a_link() {
    let files = TestFile::list(&[("d/a", 64), ("d/b", 64)]);
    let metainfo = torrent("t", &files, 64, None);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("a"), b"precious").unwrap();
    fs::create_dir(outside.path().join("d")).unwrap();
    fs::write(outside.path().join("d/a"), [1; 64]).unwrap();
    for case in ["root", "folder", "file", "dangling"] {
        let folder = tempfile::tempdir().unwrap();
        let path = |below: &str| folder.path().join(below);
        match case {
            "root" => symlink(outside.path(), path("t")).unwrap(),
            "folder" => {
                fs::create_dir(path("t")).unwrap();
                symlink(outside.path().join("d"), path("t/d")).unwrap();
            }
            _ => {
                fs::create_dir_all(path("t/d")).unwrap();
                let target = if case == "file" { "d/a" } else { "new" };
                symlink(outside.path().join(target), path("t/d/a")).unwrap();
            }
        }
        let storage = storage(&metainfo, folder.path());
        let is_link = |error: StorageError| matches!(error, StorageError::Link { .. });
        let span = metainfo.geometry.span(0, 0, 64).unwrap();
        let bytes = blocks(&metainfo, 0, &payload(&files));
        assert!(is_link(storage.stamps().unwrap_err()), "{case}");
        assert!(is_link(storage.prepare(|_| true, Preallocation::Sparse).unwrap_err()), "{case}");
        assert!(is_link(storage.read(span, &mut [0; 64]).unwrap_err()), "{case}");
        assert!(is_link(storage.write_piece(piece(&metainfo, 0), &bytes).unwrap_err()), "{case}");
        drop(storage.remove_data());
        assert_eq!(fs::read(outside.path().join("d/a")).unwrap(), [1; 64], "{case}");
        assert!(!outside.path().join("new").exists() && !outside.path().join("d/b").exists(), "{case}");
    }
    assert_eq!(fs::read(outside.path().join("a")).unwrap(), b"precious");
}

/// Somebody else swaps a folder of the torrent for a link and back, as fast as he can, while it is made, written, read and
/// removed. What is outside has the names and lengths of what is inside.
#[test]
fn links_swapped_in_meanwhile_lead_nowhere() {
    let files = TestFile::list(&[("d/a", 64), ("d/b", 64)]);
    let metainfo = torrent("t", &files, 64, None);
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name);
    let (inside, link, aside) = (path("t/d"), path("link"), path("aside"));
    fs::create_dir_all(&inside).unwrap();
    fs::write(outside.path().join("a"), [1; 64]).unwrap();
    symlink(outside.path(), &link).unwrap();
    let over = torrent_common::worker::Shutdown::new();
    let swap = || {
        // A test that fails does not say that it is over.
        let begun = std::time::Instant::now();
        while !over.is_set() && begun.elapsed().as_secs() < 30 {
            // Between two of these the torrent may have removed its folders.
            let _ = fs::create_dir_all(&inside);
            for (from, to) in [(&inside, &aside), (&link, &inside), (&inside, &link), (&aside, &inside)] {
                let _ = fs::rename(from, to);
            }
        }
    };
    let bytes = blocks(&metainfo, 0, &payload(&files));
    let span = metainfo.geometry.span(0, 0, 64).unwrap();
    let (mut written, mut refused, mut read) = (0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(swap);
        for round in 0..5_000 {
            let storage = storage(&metainfo, folder.path());
            let _ = storage.prepare(|_| true, Preallocation::Sparse);
            match storage.write_piece(piece(&metainfo, 0), &bytes) {
                Ok(_) => written += 1,
                Err(StorageError::Link { .. }) => refused += 1,
                Err(_) => {}
            }
            storage.close();
            let mut buffer = [0; 64];
            if storage.read(span, &mut buffer).is_ok() {
                assert_ne!(buffer, [1; 64]);
                read += 1;
            }
            drop(storage.remove_data());
            if round >= 200 && [written, refused, read].iter().all(|&times| times > 0) {
                break;
            }
        }
        over.set();
    });
    assert!(written > 0, "{written} {refused} {read}");
    assert_eq!(fs::read(outside.path().join("a")).unwrap(), [1; 64]);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn the_download_folder_may_be_a_link() {
    let real = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    symlink(real.path(), &link).unwrap();
    let files = TestFile::list(&[("a", 64)]);
    let storage = storage(&torrent("t", &files, 64, None), &link);
    storage.prepare(|_| true, Preallocation::Sparse).unwrap();
    assert!(real.path().join("t/a").exists());
}

#[test]
fn what_is_no_file_is_in_the_way() {
    let files = TestFile::list(&[("d/a", 64)]);
    let metainfo = torrent("t", &files, 64, None);
    for case in ["pipe", "folder for file", "file for folder", "file for root"] {
        let folder = tempfile::tempdir().unwrap();
        let path = |below: &str| folder.path().join(below);
        match case {
            "pipe" => {
                fs::create_dir_all(path("t/d")).unwrap();
                rustix::fs::mknodat(
                    rustix::fs::CWD,
                    path("t/d/a"),
                    rustix::fs::FileType::Fifo,
                    rustix::fs::Mode::from_raw_mode(0o644),
                    0,
                )
                .unwrap();
            }
            "folder for file" => fs::create_dir_all(path("t/d/a")).unwrap(),
            "file for folder" => {
                fs::create_dir(path("t")).unwrap();
                fs::write(path("t/d"), b"").unwrap();
            }
            _ => fs::write(path("t"), b"").unwrap(),
        }
        let storage = storage(&metainfo, folder.path());
        let span = metainfo.geometry.span(0, 0, 64).unwrap();
        let in_the_way = |error: &StorageError| matches!(error, StorageError::Kind { .. });
        let errors =
            [storage.prepare(|_| true, Preallocation::Sparse).unwrap_err(), storage.stamps().unwrap_err()];
        assert!(errors.iter().all(in_the_way), "{case}: {errors:?}");
        assert!(in_the_way(&storage.read(span, &mut [0; 64]).unwrap_err()), "{case}");
        storage.remove_data().unwrap();
        assert!(path("t").exists(), "{case}");
    }
}
