//! A torrent of which not all is wanted, and one whose files grow.

use super::*;
use crate::options::Priority::{Normal, Skip};

/// Ten pieces: 0 to 4 in the first file, 4 and 5 in the third, 5 to 9 in the last.
fn disk(priorities: &[Priority]) -> Disk {
    let mut disk = Disk::new(&TestFile::list(&[("a", 450), ("empty", 0), ("d/b", 100), ("c", 450)]), 100);
    disk.priorities = priorities.to_vec();
    disk
}

fn part(process: &Process) -> PathBuf {
    process.storage.path(process.storage.layout().part())
}

fn had(disk: &Disk, pieces: &[u32]) -> Bitfield {
    let mut had = Bitfield::empty(&disk.geometry());
    pieces.iter().for_each(|&piece| assert!(had.insert(disk.piece(piece))));
    had
}

#[test]
fn pieces_that_share_a_file_that_is_not_wanted_survive_a_kill() {
    let disk = disk(&[Skip, Skip, Normal, Skip]);
    let process = disk.start(1);
    process.write(&disk, 4);
    process.write(&disk, 5);
    assert!(part(&process).exists());
    for file in [0, 1, 3] {
        assert!(!disk.path(file).exists());
    }
    drop(process);
    let process = disk.start(1);
    assert_eq!((&process.had, &process.suspect), (&vec![4, 5], &vec![]));
    process.checkpoint();
    drop(process);
    let process = disk.start(2);
    assert_eq!((&process.had, &process.suspect), (&vec![4, 5], &vec![]));
    // More is wanted: at once, or at the next start.
    process.select(&disk, &[Normal, Skip, Normal, Skip], &had(&disk, &[4, 5]));
    assert!(disk.path(0).exists() && !disk.path(1).exists() && !disk.path(3).exists());
    process.write(&disk, 3);
    drop(process);
    let process = disk.start(2);
    assert_eq!((&process.had, &process.suspect), (&vec![3, 4, 5], &vec![]));
    *process.priorities.borrow_mut() = vec![];
    process.checkpoint();
    let part = part(&process);
    assert!(part.exists());
    drop(process);
    let process = disk.start(2);
    assert_eq!((&process.had, &process.suspect), (&vec![3, 4, 5], &vec![]));
    assert!(!part.exists() && disk.path(1).exists() && disk.path(3).exists());
    assert_eq!(&fs::read(disk.path(3)).unwrap()[..50], &disk.bytes[550..600]);
}

#[test]
fn what_somebody_did_to_the_part_file_costs_only_the_pieces_in_it() {
    let disk = disk(&[Normal, Normal, Skip, Skip]);
    let process = disk.start(1);
    process.write(&disk, 4);
    process.write(&disk, 0);
    process.checkpoint();
    let path = part(&process);
    drop(process);
    fs::write(&path, "other").unwrap();
    let process = disk.start(1);
    assert_eq!((&process.had, process.suspect.contains(&4)), (&vec![0], true));
    assert_eq!(process.settled, [0]);
    drop(process);
    fs::remove_file(&path).unwrap();
    let process = disk.start(1);
    assert_eq!((&process.had, &process.suspect), (&vec![0], &vec![]));
    process.write(&disk, 4);
    drop(process);
    assert_eq!(disk.start(1).had, [0, 4]);
}

#[test]
fn what_is_not_wanted_any_more_stays_and_may_be_deleted() {
    let disk = disk(&[]);
    let process = disk.start(1);
    for piece in [3, 4, 5] {
        process.write(&disk, piece);
    }
    process.select(&disk, &[Skip, Skip, Normal, Normal], &had(&disk, &[3, 4, 5]));
    assert!(disk.path(0).exists() && !part(&process).exists());
    drop(process);
    let process = disk.start(1);
    assert_eq!((&process.had, &process.suspect), (&vec![3, 4, 5], &vec![]));
    drop(process);
    // The user wants the room back.
    fs::remove_file(disk.path(0)).unwrap();
    let process = disk.start(1);
    assert_eq!((&process.had, &process.suspect), (&vec![5], &vec![]));
    process.write(&disk, 4);
    assert!(!disk.path(0).exists() && part(&process).exists());
    drop(process);
    assert_eq!(disk.start(1).had, [4, 5]);
}

#[test]
fn a_whole_file_of_a_new_torrent_counts_although_nobody_wants_it() {
    let disk = disk(&[Skip, Skip, Normal, Skip]);
    fs::create_dir_all(disk.path(0).parent().unwrap()).unwrap();
    fs::write(disk.path(0), &disk.bytes[..450]).unwrap();
    fs::write(disk.path(3), "another").unwrap();
    let process = disk.start(1);
    assert_eq!(process.settled, [0, 1, 2, 3]);
    assert_eq!(fs::read(disk.path(3)).unwrap(), b"another", "not ours");
}

#[test]
fn files_that_grow_are_believed_while_only_we_write() {
    let disk = disk(&[]);
    let grown = |boot| disk.start_with(boot, Preallocation::None);
    let process = grown(1);
    assert_eq!(fs::metadata(disk.path(0)).unwrap().len(), 0);
    process.write(&disk, 1);
    assert_eq!(fs::metadata(disk.path(0)).unwrap().len(), 200);
    process.checkpoint();
    process.write(&disk, 3);
    drop(process);
    let process = grown(1);
    assert_eq!((&process.had, &process.suspect), (&vec![1, 3], &vec![]));
    process.write(&disk, 0);
    drop(process);
    // After a power cut the checkpoint is believed, and what came later is hashed.
    let process = grown(2);
    assert_eq!((&process.had, &process.suspect), (&vec![1, 3], &vec![0]));
    drop(process);
    fs::File::options().write(true).open(disk.path(0)).unwrap().set_len(100).unwrap();
    let process = grown(2);
    assert_eq!((&process.had, process.settled), (&vec![], vec![0]));
}
