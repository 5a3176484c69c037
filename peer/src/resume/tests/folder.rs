//! STATE_DIR with one bad file of each kind among a thousand torrents: the others load, nothing is deleted.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use sha1::{Digest, Sha1};
use torrent_common::ids::InfoHash;

use super::*;
use crate::options::TorrentOptions;

const TORRENTS: u32 = 1000;

fn hash(number: u32) -> InfoHash {
    let mut bytes = [7; 20];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    InfoHash::new(bytes)
}

fn path(folder: &std::path::Path, number: u32, kind: &str) -> PathBuf {
    folder.join(format!("{}.{kind}", hash(number)))
}

/// A checkpoint as a newer program may write it.
fn newer() -> Vec<u8> {
    let mut bytes = b"d7:versioni9e3:newi1ee".to_vec();
    let check: [u8; 20] = Sha1::digest(&bytes).into();
    bytes.extend(check);
    bytes
}

#[test]
fn one_bad_file_of_each_kind_among_a_thousand_is_set_aside_and_the_others_load() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let folder = folder.path();
    let store = ResumeStore::open_in(folder, None).unwrap();
    for number in 0..TORRENTS {
        store.save(&Saved::new(hash(number), details(&[]), SystemTime::now())).unwrap();
    }
    let whole = fs::read(path(folder, 0, "resume")).unwrap();
    let cut = &whole[..whole.len() / 2];
    let mut flipped = whole.clone();
    flipped[30] ^= 1;
    // What is there, of which torrent, and what it is called after a start.
    let bad: &[(u32, &str, &[u8], &str)] = &[
        (1, "resume", cut, "resume.bad"),
        (2, "resume", b"", "resume.bad"),
        (3, "resume", &flipped, "resume.bad"),
        (4, "resume", &whole, "resume.bad"),
        (5, "resume", &newer(), "resume"),
        (6, "options", b"", "options.bad"),
        (7, "options", b"{\"sequential\":", "options.bad"),
        (8, "options", b"{\"of_a_newer_program\":1}", "options.bad"),
    ];
    for (number, kind, bytes, _) in bad {
        fs::write(path(folder, *number, kind), bytes).unwrap();
    }
    fs::write(path(folder, 1, "resume.bad"), "of an earlier time").unwrap();
    let start = || {
        let all = store.load_all().unwrap();
        let failed = all.iter().filter_map(|one| one.as_ref().err());
        let mut failed: Vec<_> = failed.map(|(path, error)| (path.clone(), error.to_string())).collect();
        failed.sort();
        (all.iter().filter(|one| one.is_ok()).count(), failed)
    };
    let (loaded, failed) = start();
    assert_eq!(loaded, TORRENTS as usize - 5);
    let told: Vec<&PathBuf> = failed.iter().map(|(path, _)| path).collect();
    assert_eq!(
        told,
        (1..=5).map(|number| path(folder, number, "resume")).collect::<Vec<_>>().iter().collect::<Vec<_>>()
    );
    assert!(failed[0].1.contains("damaged") && failed[4].1.contains("newer version"), "{failed:?}");
    for (number, _, bytes, after) in bad {
        let after = if *number == 1 { "resume.bad.2" } else { after };
        assert_eq!(fs::read(path(folder, *number, after)).unwrap(), *bytes, "{number}");
    }
    assert_eq!(fs::read(path(folder, 1, "resume.bad")).unwrap(), b"of an earlier time");
    // Told once, but for what another program may still read.
    let (loaded, failed) = start();
    assert_eq!((loaded, failed.len()), (TORRENTS as usize - 5, 1));
    // Added again, it does not go over what could not be read.
    store.set_aside_unread(&hash(5));
    store.save(&Saved::new(hash(5), details(&[]), SystemTime::now())).unwrap();
    assert_eq!(fs::read(path(folder, 5, "resume.bad")).unwrap(), newer());
    assert_eq!(start().0, TORRENTS as usize - 4);
}

#[test]
fn what_is_no_file_is_not_waited_for_and_what_is_too_long_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let store = ResumeStore::open_in(folder, None).unwrap();
    store.save(&Saved::new(hash(0), details(&[]), SystemTime::now())).unwrap();
    fs::create_dir(path(folder, 1, "resume")).unwrap();
    mknodat(CWD, path(folder, 2, "resume"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    symlink("/dev/zero", path(folder, 3, "resume")).unwrap();
    fs::File::create(path(folder, 4, "resume")).unwrap().set_len(1 << 40).unwrap();
    // Nobody writes to it: who opens it to read waits.
    mknodat(CWD, path(folder, 0, "options"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    mknodat(CWD, path(folder, 0, "torrent"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let all = store.load_all().unwrap();
    assert_eq!((all.len(), all.iter().filter(|one| one.is_ok()).count()), (5, 1));
    assert!(matches!(store.load_torrent(&hash(0), 9), Err(ResumeError::Io { .. })));
    assert!(matches!(store.load_torrent(&hash(1), 9), Err(ResumeError::NoTorrent { .. })));
    // They are somebody's, but for the last, which is set aside.
    assert!((1..4).all(|number| path(folder, number, "resume").symlink_metadata().is_ok()));
    assert!(path(folder, 4, "resume.bad").exists());
}

#[test]
fn options_that_say_nothing_new_go_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = ResumeStore::open_in(folder.path(), None).unwrap();
    let set = TorrentOptions { sequential: Some(true), ..TorrentOptions::default() };
    for number in [0, 1] {
        let mut details = details(&[]);
        details.options = if number == 0 { set.clone() } else { TorrentOptions::default() };
        store.save(&Saved::new(hash(number), details, SystemTime::now())).unwrap();
        store.save_options(&hash(number), &set).unwrap();
    }
    let all = store.load_all().unwrap();
    assert!(all.iter().all(|saved| saved.as_ref().unwrap().details.options == set));
    assert!(!path(folder.path(), 0, "options").exists() && path(folder.path(), 1, "options").exists());
}

#[test]
fn journals_that_are_cut_or_emptied_or_of_something_else_cost_hashing_and_no_more() {
    for damage in [&b""[..], b"tfjrnl", &[0; 5000]] {
        let disk = Disk::new(&TestFile::list(&[("a", 450), ("b", 550)]), 100);
        let process = disk.start(1);
        process.write(&disk, 0);
        process.checkpoint();
        process.write(&disk, 7);
        drop(process);
        for kind in ["journal0", "journal1"] {
            if disk.state(kind).exists() {
                fs::write(disk.state(kind), damage).unwrap();
            }
        }
        let process = disk.start(1);
        assert_eq!(process.had, [0], "{damage:?}");
        super::model::vouch_for(&disk, &process, &process.settled);
        assert_eq!(process.settled, [0, 7], "its file was written to, and nobody can say by whom");
    }
}
