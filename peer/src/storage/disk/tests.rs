//! Disk threads with jobs of every kind.

use std::time::SystemTime;

use torrent_common::geometry::PieceIndex;

use crossbeam_channel::{bounded, unbounded};

use super::super::cache::FileCache;
use super::super::lanes::MAX_DEVICES;
use super::super::testing::{TestFile, blocks, payload, torrent};
use super::*;
use crate::resume::{Look, ResumeStore, Saved};

struct World {
    _folder: tempfile::TempDir,
    store: Arc<ResumeStore>,
    storage: Arc<Storage>,
    journal: Arc<Journal>,
    bytes: Vec<u8>,
}

fn details() -> Details {
    Details {
        name: "t".into(),
        total_len: 1000,
        piece_count: 10,
        private: false,
        output: "/".into(),
        root: None,
        downloaded: 0,
        uploaded: 0,
        paused: false,
        finished: false,
        made: false,
        added_ns: 0,
        completed_s: None,
        wanted: None,
        options: crate::options::TorrentOptions::default(),
    }
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let files = TestFile::list(&[("a", 990), ("b", 10)]);
    let metainfo = torrent("t", &files, 100, None);
    let store = ResumeStore::open(&folder.path().join("state")).unwrap();
    let storage = Storage::new(Arc::clone(&metainfo), folder.path(), None, FileCache::new(2)).unwrap();
    let saved = Saved::new(metainfo.info_hash, details(), SystemTime::now());
    let look = Look::take(&store, saved, &storage).unwrap();
    let (journal, had) = look.settle(&store, &storage, Preallocation::Sparse, SystemTime::now()).unwrap();
    assert!(had.is_empty());
    World { _folder: folder, store, storage, journal, bytes: payload(&files) }
}

impl World {
    fn write(&self, index: u32, reply: impl FnOnce(Result<(), StorageError>) + Send + 'static) -> DiskJob {
        let metainfo = self.storage.metainfo();
        DiskJob::Write(WriteJob {
            storage: Arc::clone(&self.storage),
            journal: Arc::clone(&self.journal),
            piece: metainfo.geometry.piece(index).unwrap(),
            blocks: blocks(metainfo, index, &self.bytes),
            reply: Box::new(reply),
        })
    }

    /// What a restart would find had.
    fn had(&self) -> Vec<u32> {
        let saved = self.store.load_all().unwrap().remove(0).unwrap();
        let look = Look::take(&self.store, saved, &self.storage).unwrap();
        assert!(look.suspect.is_empty());
        look.had.iter(&self.storage.metainfo().geometry).map(PieceIndex::get).collect()
    }
}

#[test]
fn pieces_are_had_when_the_reply_says_so_and_checkpoints_keep_them() {
    let world = world();
    let disk = DiskThreads::start(2, 100).unwrap();
    let (replies, told) = unbounded();
    for index in 0..10 {
        let replies = replies.clone();
        let job = world.write(index, move |outcome| replies.send(outcome.is_ok()).unwrap());
        assert!(disk.try_submit(job).is_ok());
    }
    assert!(told.iter().take(10).all(|ok| ok));
    assert_eq!(world.had(), (0..10).collect::<Vec<_>>());
    assert!(world.journal.len_bytes() > 0);
    let (reply, told) = bounded(1);
    let job = DiskJob::from(CheckpointJob {
        storage: Arc::clone(&world.storage),
        journal: Arc::clone(&world.journal),
        details: Box::new(Details { paused: true, ..details() }),
        place: None,
        reply: Box::new(move |outcome| reply.send(outcome.is_ok()).unwrap()),
    });
    assert!(disk.try_submit(job).is_ok());
    assert_eq!(told.recv(), Ok(true));
    assert_eq!(world.journal.len_bytes(), 0);
    assert_eq!(world.had(), (0..10).collect::<Vec<_>>());
    assert!(world.store.load_all().unwrap().remove(0).unwrap().details.paused);
}

#[test]
fn a_checkpoint_knows_the_latest_stamp_although_threads_overtook_each_other() {
    let world = world();
    let geometry = world.storage.metainfo().geometry;
    let piece = |index| geometry.piece(index).unwrap();
    let write = |index| {
        world.storage.write_piece(piece(index), &blocks(world.storage.metainfo(), index, &world.bytes))
    };
    for index in [0, 1] {
        world.journal.begin(&[piece(index)], SystemTime::now()).unwrap();
    }
    let early = write(0).unwrap();
    // The clock of files ticks every few milliseconds.
    let late = std::iter::repeat_with(|| write(1).unwrap()).find(|late| *late != early).unwrap();
    world.journal.written(&[(piece(1), late.as_slice())]).unwrap();
    world.journal.written(&[(piece(0), early.as_slice())]).unwrap();
    assert_eq!(world.had(), [0, 1]);
    world.journal.checkpoint(&world.storage, details(), SystemTime::now()).unwrap();
    assert_eq!(world.had(), [0, 1]);
}

#[test]
fn a_full_queue_gives_the_job_back_and_dropping_finishes_what_is_queued() {
    let world = world();
    let disk = DiskThreads::start(1, 1).unwrap();
    let (started, has_started) = bounded(0);
    let (go_on, may_go_on) = bounded::<()>(0);
    let (replies, told) = unbounded();
    let (first, second) = (replies.clone(), replies);
    let busy = world.write(0, move |outcome| {
        started.send(()).unwrap();
        may_go_on.recv().unwrap();
        first.send(outcome.is_ok()).unwrap();
    });
    assert!(disk.try_submit(busy).is_ok());
    has_started.recv().unwrap();
    assert!(disk.try_submit(world.write(1, move |outcome| second.send(outcome.is_ok()).unwrap())).is_ok());
    assert!(
        matches!(disk.try_submit(world.write(2, |_| ())), Err(DiskJob::Write(job)) if job.piece.get() == 2)
    );
    go_on.send(()).unwrap();
    drop(disk);
    assert_eq!(told.iter().collect::<Vec<_>>(), [true, true]);
}

#[test]
fn what_is_queued_can_be_given_up() {
    let world = world();
    let disk = DiskThreads::start(1, 4).unwrap();
    let (started, has_started) = bounded(0);
    let (go_on, may_go_on) = bounded::<()>(0);
    let (replies, told) = unbounded();
    let busy = |name: &'static str| {
        let (started, may_go_on, replies) = (started.clone(), may_go_on.clone(), replies.clone());
        move |is_ok: bool| {
            started.send(()).unwrap();
            may_go_on.recv().unwrap();
            replies.send((name, is_ok)).unwrap();
        }
    };
    let checkpoint = |reply: Box<dyn FnOnce(Result<(), ResumeError>) + Send>| {
        DiskJob::from(CheckpointJob {
            storage: Arc::clone(&world.storage),
            journal: Arc::clone(&world.journal),
            details: Box::new(Details { paused: true, ..details() }),
            place: None,
            reply,
        })
    };
    let (write, save) = (busy("write"), busy("checkpoint"));
    assert!(disk.try_submit(world.write(0, move |outcome| write(outcome.is_ok()))).is_ok());
    assert!(disk.try_submit(checkpoint(Box::new(move |outcome| save(outcome.is_ok())))).is_ok());
    has_started.iter().take(2).for_each(drop);
    let late = replies.clone();
    assert!(disk.try_submit(world.write(1, move |_| late.send(("late write", true)).unwrap())).is_ok());
    let late = checkpoint(Box::new(move |_| replies.send(("late checkpoint", true)).unwrap()));
    assert!(disk.try_submit(late).is_ok());
    disk.give_up();
    (0..2).for_each(|_| go_on.send(()).unwrap());
    drop((disk, started));
    let mut told: Vec<_> = told.try_iter().collect();
    told.sort_unstable();
    assert_eq!(told, [("checkpoint", true), ("write", true)], "what was under way is finished, and no more");
    assert_eq!(world.had(), [0]);
}

#[test]
fn a_device_that_hangs_holds_up_no_other() {
    let (hanging, well) = (world(), world());
    hanging.storage.set_device(7);
    well.storage.set_device(8);
    let disk = DiskThreads::start(1, 4).unwrap();
    let (go_on, may_go_on) = bounded::<()>(0);
    let hang = hanging.write(0, move |_| may_go_on.recv().unwrap());
    assert!(disk.try_submit(hang).is_ok());
    let (replies, told) = unbounded();
    for index in 0..3 {
        let replies = replies.clone();
        let job = well.write(index, move |outcome| replies.send(outcome.is_ok()).unwrap());
        assert!(disk.try_submit(job).is_ok());
        assert_eq!(told.recv_timeout(std::time::Duration::from_secs(30)), Ok(true));
    }
    // However many come and go: none gets the threads that wait for the one that hangs.
    let mut lanes = disk.lanes.lock().unwrap();
    let hung = lanes.of(7).unwrap();
    assert!((100..200).all(|device| !Arc::ptr_eq(&lanes.of(device).unwrap(), &hung)));
    assert!(Arc::ptr_eq(&lanes.of(7).unwrap(), &hung));
    assert_eq!(lanes.len(), MAX_DEVICES);
    drop(lanes);
    go_on.send(()).unwrap();
}

#[test]
fn what_waits_is_written_together_and_one_failure_is_its_own() {
    let world = world();
    let disk = DiskThreads::start(1, 20).unwrap();
    let (started, has_started) = bounded(0);
    let (go_on, may_go_on) = bounded::<()>(0);
    let busy = world.write(0, move |outcome| {
        started.send(outcome.is_ok()).unwrap();
        may_go_on.recv().unwrap();
    });
    assert!(disk.try_submit(busy).is_ok());
    assert_eq!(has_started.recv(), Ok(true));
    let (replies, told) = unbounded();
    for index in 1..10 {
        let replies = replies.clone();
        let mut job = world.write(index, move |outcome| {
            replies.send((index, outcome.is_ok())).unwrap();
            assert_ne!(index, 7, "on purpose");
        });
        if let DiskJob::Write(job) = &mut job
            && index == 4
        {
            job.blocks.pop();
        }
        assert!(disk.try_submit(job).is_ok());
    }
    go_on.send(()).unwrap();
    drop((replies, disk));
    assert_eq!(told.iter().collect::<Vec<_>>(), (1..10).map(|index| (index, index != 4)).collect::<Vec<_>>());
    assert_eq!(world.had(), [0, 1, 2, 3, 5, 6, 7, 8, 9]);
}

#[test]
fn an_error_is_told_and_a_panic_stops_nobody() {
    let world = world();
    let disk = DiskThreads::start(1, 10).unwrap();
    let (reply, told) = bounded(1);
    assert!(disk.try_submit(world.write(0, |_| panic!("on purpose"))).is_ok());
    std::fs::remove_file(world.storage.path(1)).unwrap();
    let job = world.write(9, move |outcome| reply.send(outcome).unwrap());
    assert!(disk.try_submit(job).is_ok());
    assert!(matches!(told.recv().unwrap(), Err(StorageError::Missing { .. })));
    let mut cut_short = world.write(1, |_| ());
    let (reply, told) = bounded(1);
    if let DiskJob::Write(job) = &mut cut_short {
        job.blocks.pop();
        job.reply = Box::new(move |outcome| reply.send(outcome).unwrap());
    }
    assert!(disk.try_submit(cut_short).is_ok());
    assert!(matches!(told.recv().unwrap(), Err(StorageError::PieceLength { got: 96, expected: 100 })));
}
