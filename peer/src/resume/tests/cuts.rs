//! A download on a disk that fails, fills up, or loses what was not flushed, at each of the calls that change it. Started
//! again it completes, no piece that is vouched for is wrong, and what the last checkpoint has is not lost. A longer run:
//! `TORRENT_TORTURE_CUTS=1000 cargo test --release -p torrent-peer resume::tests::cuts`.

use std::fs;

use rustix::io::Errno;

use super::model::vouch_for;
use super::*;
use crate::options::Priority::{Normal, Skip};
use crate::storage::disk::WriteJob;
use crate::storage::lossy::{Fault, Left, LossyDisk};
use crate::storage::writing;
use torrent_common::worker::Shutdown;

/// Ways in which each cut loses.
fn rounds() -> u64 {
    std::env::var("TORRENT_TORTURE_CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// Ten pieces; `d/b` is not wanted at first, and has bytes in pieces of its neighbours.
fn disk() -> Disk {
    let mut disk = Disk::new(&TestFile::list(&[("a", 350), ("d/b", 260), ("d/c", 390)]), 100);
    disk.priorities = vec![Normal, Skip, Normal];
    disk
}

/// What a download knows of itself.
#[derive(Default)]
struct Book {
    /// The last checkpoint that was made: what had been done to the disk by then, and the pieces that are safe.
    safe: Vec<(usize, Vec<u32>)>,
}

impl Book {
    fn note(&mut self, lossy: &LossyDisk, had: &[u32]) {
        self.safe.push((lossy.now(), had.to_vec()));
    }

    /// What must be there after a cut then.
    fn safe_at(&self, now: usize) -> &[u32] {
        self.safe.iter().rev().find(|(then, _)| *then <= now).map_or(&[], |(_, had)| had)
    }
}

/// Downloads all that is lacking, as a torrent's thread and the disk threads do: first what is wanted, then the rest.
fn download(disk: &Disk, lossy: &LossyDisk, boot: u64, book: &mut Book) -> Result<(), ResumeError> {
    let process = disk.try_start(boot, Preallocation::Sparse)?;
    let mut had = process.settled.clone();
    book.note(lossy, &had);
    let count = disk.geometry().piece_count();
    let wanted = |piece: &u32| {
        let wanted = Wanted::of(&disk.metainfo, &process.priorities.borrow());
        let mut files = process.storage.layout().piece_segments(disk.piece(*piece));
        files.any(|segment| segment.file.is_some_and(|file| wanted.contains(file)))
    };
    for all in [false, true] {
        if all {
            let files: Vec<usize> = process.storage.layout().all_parted().collect();
            *process.priorities.borrow_mut() = vec![];
            let placed = process.storage.place(&files, &bits(disk, &had), Preallocation::Sparse)?;
            process.journal.checkpoint_with(
                &process.storage,
                process.details(),
                SystemTime::now(),
                &placed,
            )?;
            process.storage.placed(&files);
            book.note(lossy, &had);
        }
        let lacking: Vec<u32> = (0..count).filter(|piece| !had.contains(piece) && wanted(piece)).collect();
        // Two at a time, as they wait for the disk; a checkpoint after each second time.
        for (turn, pair) in lacking.chunks(2).enumerate() {
            write(disk, &process, pair)?;
            had.extend(pair);
            if turn % 2 == 1 {
                process.journal.checkpoint(&process.storage, process.details(), SystemTime::now())?;
                book.note(lossy, &had);
            }
        }
    }
    process.journal.forget_part(&process.storage);
    process.journal.checkpoint(&process.storage, process.details(), SystemTime::now())?;
    book.note(lossy, &had);
    assert_eq!(had.len() as u32, count);
    assert!(process.journal.saved().is_complete());
    Ok(())
}

fn write(disk: &Disk, process: &Process, pieces: &[u32]) -> Result<(), ResumeError> {
    let indices: Vec<PieceIndex> = pieces.iter().map(|&piece| disk.piece(piece)).collect();
    let (jobs, queue) = crossbeam_channel::unbounded();
    let (replies, outcomes) = crossbeam_channel::unbounded();
    for (piece, &index) in indices.into_iter().zip(pieces) {
        let replies = replies.clone();
        let job = WriteJob {
            storage: Arc::clone(&process.storage),
            journal: Arc::clone(&process.journal),
            piece,
            blocks: blocks(&disk.metainfo, index, &disk.bytes),
            reply: Box::new(move |outcome| replies.send(outcome).unwrap()),
        };
        jobs.send(job).unwrap();
    }
    drop((jobs, replies));
    writing::run(&queue, &Shutdown::new(), |_| ());
    Ok(outcomes.iter().collect::<Result<(), _>>()?)
}

fn bits(disk: &Disk, pieces: &[u32]) -> Bitfield {
    let mut bits = Bitfield::empty(&disk.geometry());
    pieces.iter().for_each(|&piece| assert!(bits.insert(disk.piece(piece))));
    bits
}

fn assert_whole(disk: &Disk) {
    let mut from = 0;
    for (index, file) in disk.metainfo.files.iter().enumerate() {
        let to = from + file.len as usize;
        assert_eq!(fs::read(disk.path(index)).unwrap(), &disk.bytes[from..to]);
        from = to;
    }
}

/// For whoever looks into a failure: what a start will find.
fn tell(left: &Disk) {
    let state = left.folder.path().join("state");
    if left.store.is_some() || !state.exists() {
        return;
    }
    let store = ResumeStore::open_in(&state, None).unwrap();
    if let Ok(saved) = store.load(&left.metainfo.info_hash) {
        println!("  {:?} of {} had, {:?}", saved.had, saved.generation, saved.stamps);
        println!("  journals: {:?}", store.journals(&saved));
    }
    println!("  files: {:?}", left.storage().stamps());
}

/// Starts on what a cut left: what is vouched for is right, and what was safe is there. Then completes, on a disk that is
/// watched: gives that back.
fn go_on(left: &mut Disk, boot: u64, safe: &[u32], hashes: bool) -> (Arc<LossyDisk>, Book) {
    tell(left);
    let lossy = LossyDisk::new(left.folder.path());
    left.backend = lossy.backend();
    let process = left.start(boot);
    vouch_for(left, &process, &process.had);
    vouch_for(left, &process, &process.settled);
    for piece in safe {
        let there = if hashes { &process.settled } else { &process.had };
        assert!(there.contains(piece), "{piece} was safe, and is not in {there:?}");
    }
    drop(process);
    let mut book = Book::default();
    download(left, &lossy, boot, &mut book).unwrap();
    assert_whole(left);
    (lossy, book)
}

#[test]
fn cut_at_every_call_it_goes_on_with_all_that_was_safe() {
    let mut disk = disk();
    let lossy = LossyDisk::new(disk.folder.path());
    disk.backend = lossy.backend();
    let mut book = Book::default();
    download(&disk, &lossy, 1, &mut book).unwrap();
    assert_whole(&disk);
    let all = lossy.now();
    assert!(all > 80, "{all}");
    for after in lossy.first()..=all {
        for round in 0..rounds() {
            let seed = after as u64 * 1_000_000 + round;
            let (mut left, boot) = match round {
                0 => (Left::All, 1),
                _ => (Left::Some(fastrand::Rng::with_seed(seed)), 2),
            };
            let mut image = disk.another();
            lossy.cut(after, &mut left, image.folder.path());
            println!("cut after {after} of {all}, round {round}");
            let (again, more) = go_on(&mut image, boot, book.safe_at(after), false);
            // And once more while it goes on.
            let mut random = fastrand::Rng::with_seed(seed);
            let after = random.usize(again.first()..=again.now());
            let mut second = image.another();
            again.cut(after, &mut Left::Some(random), second.folder.path());
            println!("then after {after} of {}", again.now());
            go_on(&mut second, boot + 1, more.safe_at(after), false);
        }
    }
}

#[test]
fn a_disk_that_fails_or_is_full_from_any_call_on_costs_nothing_that_was_safe() {
    for errno in [Errno::IO, Errno::NOSPC] {
        for from in 1.. {
            let mut disk = disk();
            let lossy = LossyDisk::new(disk.folder.path());
            disk.backend = lossy.backend();
            lossy.fail(Some(Fault { from, errno }));
            let mut book = Book::default();
            // What it cannot note on that disk, the daemon knows until it ends.
            let state = disk.folder.path().join("state");
            let store = ResumeStore::open_on(disk.backend.clone(), &state, Some(BootId::new(1)));
            disk.store = store.as_ref().ok().cloned();
            let outcome = store.and_then(|_| download(&disk, &lossy, 1, &mut book));
            println!("{errno:?} from call {from} on: {outcome:?}");
            if lossy.calls() < from {
                outcome.unwrap();
                break;
            }
            lossy.fail(None);
            // The same boot, and the disk is mended.
            go_on(&mut disk, 1, book.safe_at(lossy.now()), true);
        }
    }
}

/// The same process goes on once there is room again: what it writes then is known after a kill, whatever the call without
/// room left half done.
#[test]
fn a_disk_that_is_full_for_one_write_costs_nothing_that_is_written_later() {
    for from in 1.. {
        let mut disk = disk();
        let lossy = LossyDisk::new(disk.folder.path());
        disk.backend = lossy.backend();
        disk.priorities = vec![];
        let process = disk.start(1);
        let begun = lossy.calls();
        lossy.fail(Some(Fault { from: begun + from, errno: Errno::NOSPC }));
        let all: Vec<u32> = (0..disk.geometry().piece_count()).collect();
        for pair in all.chunks(2) {
            if write(&disk, &process, pair).is_err() {
                lossy.fail(None);
                write(&disk, &process, pair).unwrap();
            }
        }
        let over = lossy.calls() < begun + from;
        lossy.fail(None);
        drop(process);
        let process = disk.start(1);
        assert_eq!((&process.had, &process.suspect), (&all, &vec![]), "no room at call {from}");
        if over {
            break;
        }
    }
}

/// Its disk is torn out, nothing of it is open any more, and it comes back as the device has it.
#[test]
fn a_checkpoint_without_the_files_vouches_for_nothing() {
    let mut disk = disk();
    disk.priorities = vec![];
    let lossy = LossyDisk::new(disk.folder.path());
    disk.backend = lossy.backend();
    let process = disk.start(1);
    write(&disk, &process, &[0, 1, 2]).unwrap();
    process.checkpoint();
    write(&disk, &process, &[5, 6]).unwrap();
    process.storage.close();
    let (there, away) = (disk.folder.path().join("t"), disk.folder.path().join("away"));
    fs::rename(&there, &away).unwrap();
    let checkpoint = || process.journal.checkpoint(&process.storage, process.details(), SystemTime::now());
    assert!(matches!(checkpoint(), Err(ResumeError::Storage(StorageError::Missing { .. }))));
    assert!(matches!(checkpoint(), Err(ResumeError::Doubtful)));
    fs::rename(&away, &there).unwrap();
    drop(process);
    for seed in 0..20 {
        let mut image = disk.another();
        lossy.cut(lossy.now(), &mut Left::Some(fastrand::Rng::with_seed(seed)), image.folder.path());
        go_on(&mut image, 2, &[0, 1, 2], false);
    }
}
