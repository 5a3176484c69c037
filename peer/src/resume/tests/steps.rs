//! One kill each.

use std::fs;
use std::time::{Duration, SystemTime};

use super::super::ResumeError;
use super::*;

const MOMENT: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Ten pieces: 0 to 4 in the first file, 4 to 9 in the third.
fn disk() -> Disk {
    Disk::new(&TestFile::list(&[("a", 450), ("empty", 0), ("d/b", 550)]), 100)
}

fn all() -> Vec<u32> {
    (0..10).collect()
}

#[test]
fn what_is_there_of_a_new_torrent_is_checked() {
    let disk = disk();
    fs::create_dir_all(disk.path(2).parent().unwrap()).unwrap();
    fs::write(disk.path(0), &disk.bytes[..450]).unwrap();
    let process = disk.start(1);
    assert_eq!((&process.had, &process.suspect), (&vec![], &(0..4).collect()));
    assert_eq!(process.settled, [0, 1, 2, 3]);
    assert!(disk.path(1).exists());
    drop(process);
    // What was found by hashing is known from then on.
    let process = disk.start(2);
    assert_eq!((&process.had, &process.suspect), (&vec![0, 1, 2, 3], &vec![]));
}

#[test]
fn killed_at_each_step_of_a_write() {
    let disk = disk();
    let process = disk.start(1);
    process.write(&disk, 4);
    process.write(&disk, 1);
    process.begin(&disk, 2);
    drop(process);
    let process = disk.start(1);
    assert_eq!((&process.had, &process.suspect), (&vec![1, 4], &vec![]));
    process.begin(&disk, 3);
    process.write_payload(&disk, 3);
    drop(process);
    let process = disk.start(1);
    assert_eq!((&process.had, &process.suspect), (&vec![1, 4], &vec![]));
    process.write(&disk, 3);
    drop(process);
    assert_eq!(disk.start(1).had, [1, 3, 4]);
}

#[test]
fn killed_at_each_step_of_a_checkpoint() {
    let disk = disk();
    let process = disk.start(1);
    process.write(&disk, 0);
    process.begin(&disk, 9);
    process.half_a_checkpoint();
    process.write(&disk, 1);
    process.write_payload(&disk, 9);
    drop(process);
    let process = disk.start(1);
    assert_eq!((&process.had, &process.suspect), (&vec![0, 1], &vec![]));

    // Checkpoints that cannot be put on disk, and then one that can; writes before, between and after.
    process.write(&disk, 2);
    process.failed_checkpoint(&disk);
    process.write(&disk, 3);
    process.failed_checkpoint(&disk);
    process.write(&disk, 4);
    let before = ["journal0", "journal1", "resume"].map(|kind| fs::read(disk.state(kind)).unwrap());
    process.checkpoint();
    drop(process);
    let process = disk.start(1);
    assert_eq!((&process.had, &process.suspect), (&vec![0, 1, 2, 3, 4], &vec![]));
    drop(process);

    // As if killed before the first that could: both journals continue the older checkpoint.
    for (kind, bytes) in ["journal0", "journal1", "resume"].iter().zip(before) {
        fs::write(disk.state(kind), bytes).unwrap();
    }
    assert_eq!(disk.start(1).had, [0, 1, 2, 3, 4]);
}

#[test]
fn a_checkpoint_needs_no_journal_and_an_old_journal_is_not_read() {
    let disk = disk();
    let process = disk.start(1);
    process.write(&disk, 0);
    let old = fs::read(disk.state("journal0")).or_else(|_| fs::read(disk.state("journal1"))).unwrap();
    process.checkpoint();
    drop(process);
    for kind in ["journal0", "journal1"] {
        fs::write(disk.state(kind), &old).unwrap();
    }
    assert_eq!(disk.start(1).had, [0]);
}

#[test]
fn after_a_power_cut_the_journal_is_hashed_and_the_checkpoint_believed() {
    let disk = disk();
    let process = disk.start(1);
    process.write(&disk, 0);
    process.write(&disk, 5);
    process.checkpoint();
    process.write(&disk, 1);
    process.write(&disk, 6);
    process.begin(&disk, 7);
    process.write_payload(&disk, 7);
    drop(process);
    // 6 did not reach the device.
    let mut b = fs::read(disk.path(2)).unwrap();
    b[150..250].fill(0);
    fs::write(disk.path(2), b).unwrap();
    let process = disk.start(2);
    assert_eq!((&process.had, &process.suspect), (&vec![0, 5], &vec![1, 6, 7]));
    assert_eq!(process.settled, [0, 1, 5, 7]);
}

#[test]
fn after_a_power_cut_that_took_the_journal_the_checkpoint_is_believed() {
    let disk = disk();
    let process = disk.start(1);
    process.write(&disk, 0);
    process.checkpoint();
    process.write(&disk, 1);
    drop(process);
    for kind in ["journal0", "journal1"] {
        drop(fs::remove_file(disk.state(kind)));
    }
    let process = disk.start(2);
    assert_eq!((&process.had, &process.suspect), (&vec![0], &vec![]));
}

#[test]
fn what_somebody_else_wrote_to_is_hashed_again() {
    for (boot, later) in [(1, MOMENT), (2, HOUR)] {
        let disk = disk();
        let process = disk.start(1);
        for piece in [0, 1, 4, 8] {
            process.write(&disk, piece);
        }
        drop(process);
        disk.meddle(0, 50, later);
        let process = disk.start(boot);
        assert!(process.had.iter().all(|piece| [8].contains(piece)), "{boot}");
        assert!((0..=4).all(|piece| process.suspect.contains(&piece)), "{boot}");
        assert_eq!(process.settled, [1, 4, 8], "{boot}");
    }
}

#[test]
fn a_complete_torrent_is_not_hashed_again_unless_it_was_touched() {
    let disk = disk();
    let process = disk.start(1);
    all().iter().for_each(|&piece| process.write(&disk, piece));
    process.checkpoint();
    drop(process);
    for boot in [1, 2] {
        let process = disk.start(boot);
        assert_eq!((&process.had, &process.suspect), (&all(), &vec![]), "{boot}");
    }
    // A power cut takes nothing from it, so here a moment's difference is told even then.
    disk.meddle(2, 549, MOMENT);
    let process = disk.start(3);
    assert_eq!((&process.had, &process.suspect), (&vec![0, 1, 2, 3], &(4..10).collect()));
    assert_eq!(process.settled, (0..9).collect::<Vec<_>>());
}

#[test]
fn missing_and_cut_files_are_hashed_again() {
    let disk = disk();
    let process = disk.start(1);
    all().iter().for_each(|&piece| process.write(&disk, piece));
    drop(process);
    let mtime = fs::metadata(disk.path(2)).unwrap().modified().unwrap();
    fs::File::options().write(true).open(disk.path(2)).unwrap().set_len(300).unwrap();
    set_mtime(&disk.path(2), mtime);
    fs::remove_file(disk.path(0)).unwrap();
    let process = disk.start(1);
    // Of the missing file there is nothing to hash.
    assert_eq!((&process.had, &process.suspect), (&vec![], &(5..10).collect()));
    assert_eq!(process.settled, [5, 6]);
}

#[test]
fn data_that_was_hashed_elsewhere_is_taken_as_it_is() {
    let disk = disk();
    let store = ResumeStore::open(&disk.folder.path().join("state")).unwrap();
    let storage = disk.storage();
    let mut saved =
        Saved::new(disk.metainfo.info_hash, super::super::saved::tests::details(), SystemTime::now());
    assert!(!saved.set_complete(storage.layout(), storage.stamps().unwrap()));
    storage.prepare(|_| true, Preallocation::Sparse).unwrap();
    assert!(saved.set_complete(storage.layout(), storage.stamps().unwrap()));
    assert!(saved.is_complete());
    let look = Look::take(&store, saved, &storage).unwrap();
    assert!(look.had.is_full() && look.suspect.is_empty());
}

#[test]
fn after_a_failed_flush_there_is_no_checkpoint_and_a_restart_hashes() {
    let disk = disk();
    let process = disk.start(1);
    process.write(&disk, 0);
    process.checkpoint();
    process.write(&disk, 1);
    process.storage.close();
    let aside = disk.path(0).with_extension("aside");
    fs::rename(disk.path(0), &aside).unwrap();
    std::os::unix::fs::symlink(&aside, disk.path(0)).unwrap();
    let checkpoint = || {
        process.journal.checkpoint(&process.storage, super::super::saved::tests::details(), SystemTime::now())
    };
    assert!(matches!(checkpoint(), Err(ResumeError::Storage(_))));
    fs::rename(&aside, disk.path(0)).unwrap();
    assert!(matches!(checkpoint(), Err(ResumeError::Doubtful)));
    assert_eq!(process.journal.saved().pieces_had(), 1);
    process.write(&disk, 2);
    drop(process);
    let process = disk.start(1);
    assert_eq!((&process.had, &process.suspect), (&vec![0], &vec![1, 2]));
    assert_eq!(process.settled, [0, 1, 2]);
}

#[test]
fn the_end_that_only_a_journal_has_keeps_its_time() {
    let disk = disk();
    let process = disk.start(1);
    all().iter().for_each(|&piece| process.write(&disk, piece));
    drop(process);
    let state = disk.folder.path().join("state");
    let store = ResumeStore::open_in(&state, Some(BootId::new(1))).unwrap();
    let look = || Look::take(&store, store.load(&disk.metainfo.info_hash).unwrap(), &disk.storage()).unwrap();
    let mut first = look();
    let written_s = fs::metadata(disk.path(2)).unwrap().modified().unwrap();
    let written_s = u64::try_from(super::super::nanos(written_s)).unwrap() / 1_000_000_000;
    let completed_s = first.complete();
    assert!(completed_s.is_some_and(|at| at.abs_diff(written_s) <= 1), "{completed_s:?}, not {written_s}");
    first.settle(&store, &disk.storage(), Preallocation::Sparse, SystemTime::now()).unwrap();
    assert_eq!(store.load(&disk.metainfo.info_hash).unwrap().details.completed_s, completed_s);
    assert_eq!(look().complete(), None, "known");
}

#[test]
fn a_stamp_that_is_noted_after_a_checkpoint_and_is_older_does_no_harm() {
    let disk = disk();
    let process = disk.start(1);
    let write = |piece: u32| {
        let blocks = blocks(&disk.metainfo, piece, &disk.bytes);
        process.storage.write_piece(disk.piece(piece), &blocks).unwrap()
    };
    process.begin(&disk, 0);
    process.begin(&disk, 1);
    let early = write(0);
    // The clock of files ticks every few milliseconds.
    let late = std::iter::repeat_with(|| write(1)).find(|late| *late != early).unwrap();
    process.journal.written(&[(disk.piece(1), late.as_slice())]).unwrap();
    process.checkpoint();
    process.journal.written(&[(disk.piece(0), early.as_slice())]).unwrap();
    drop(process);
    let process = disk.start(1);
    assert_eq!((&process.had, &process.suspect), (&vec![0, 1], &vec![]));
    drop(process);
}

#[test]
fn one_state_folder_serves_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = ResumeStore::open(folder.path()).unwrap();
    assert!(matches!(ResumeStore::open(folder.path()), Err(ResumeError::InUse { .. })));
    drop(store);
    ResumeStore::open(folder.path()).unwrap();
}

#[test]
fn one_damaged_checkpoint_is_set_aside_and_the_others_load() {
    let disk = disk();
    let process = disk.start(1);
    process.store.save_torrent(&disk.metainfo.info_hash, b"bytes").unwrap();
    let state = disk.folder.path().join("state");
    let bad = state.join(format!("{}.resume", "0".repeat(40)));
    fs::write(&bad, b"de").unwrap();
    fs::write(state.join("notes.resume"), b"not ours").unwrap();
    let left = state.join(format!("{}.torrent.tmp", "0".repeat(40)));
    fs::write(&left, b"").unwrap();
    fs::write(state.join("notes.tmp"), b"not ours").unwrap();
    let all = process.store.load_all().unwrap();
    assert_eq!(all.len(), 2);
    assert!(all.iter().any(|saved| matches!(saved, Ok(saved) if saved.info_hash == disk.metainfo.info_hash)));
    assert!(
        all.iter().any(|saved| matches!(saved, Err((path, ResumeError::Damaged { .. })) if *path == bad))
    );
    assert!(!bad.exists() && bad.with_extension("resume.bad").exists());
    assert!(!left.exists() && state.join("notes.tmp").exists() && state.join("notes.resume").exists());
    assert_eq!(process.store.load_all().unwrap().len(), 1);

    assert_eq!(process.store.load_torrent(&disk.metainfo.info_hash, 5).unwrap(), b"bytes");
    assert!(matches!(
        process.store.load_torrent(&disk.metainfo.info_hash, 4),
        Err(ResumeError::TooLong { .. })
    ));
    process.write(&disk, 0);
    process.store.remove(&disk.metainfo.info_hash).unwrap();
    process.store.remove(&disk.metainfo.info_hash).unwrap();
    let left = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name());
    let ours = disk.metainfo.info_hash.to_string();
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with(&ours)));
}
