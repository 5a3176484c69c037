//! The disk threads. Each device has a few that write pieces, and one that makes checkpoints, whose flushes take seconds
//! when much was written: one that is slow, or hangs, holds up nobody on another. Each kind of job has one bounded queue.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::PieceIndex;
use torrent_common::worker::{Shutdown, Worker};

use super::StorageError;
use super::blocks::BlockBuf;
use super::files::Storage;
use super::room::RoomJob;
use super::writing;
use crate::options::Preallocation;
use crate::resume::{Details, Journal, ResumeError};

/// What a disk thread does. Every `reply` is called exactly once, on a disk thread: it may wait for a torrent, never for
/// the disk. Of jobs that are given up nothing is told.
pub enum DiskJob {
    /// Writes a piece.
    Write(WriteJob),
    /// Makes a checkpoint.
    Checkpoint(CheckpointJob),
    /// Looks whether there is room.
    Room(RoomJob),
}

/// Writes a whole verified piece, and notes it.
pub struct WriteJob {
    /// Where to.
    pub storage: Arc<Storage>,
    /// Notes the write before and after, so that a killed process knows what it had.
    pub journal: Arc<Journal>,
    /// Which piece.
    pub piece: PieceIndex,
    /// Its bytes, whole and verified. Given back to their pool before the reply.
    pub blocks: Vec<BlockBuf>,
    /// Told the outcome: on `Ok` the piece is had.
    pub reply: Box<dyn FnOnce(Result<(), StorageError>) + Send>,
}

/// Flushes what was written and puts a checkpoint on disk. A torrent submits one at a time.
pub struct CheckpointJob {
    /// What to flush.
    pub storage: Arc<Storage>,
    /// Knows what was written.
    pub journal: Arc<Journal>,
    /// The rest of the checkpoint.
    pub details: Box<Details>,
    /// Files that get their own bytes with it.
    pub place: Option<Place>,
    /// Told the outcome.
    pub reply: Box<dyn FnOnce(Result<(), ResumeError>) + Send>,
}

/// Parted files that are wanted now. No [`WriteJob`] of the torrent may be under way.
pub struct Place {
    /// Which, in order.
    pub files: Vec<usize>,
    /// The pieces had.
    pub had: Bitfield,
    /// How room for them is made.
    pub preallocation: Preallocation,
}

/// Devices that have threads of their own. More share theirs.
const MAX_DEVICES: usize = 8;

/// The threads and their queues. Dropping it finishes what is queued, unless that is given up, then joins.
pub struct DiskThreads {
    threads: usize,
    queue_len: usize,
    given_up: Shutdown,
    lanes: Mutex<Lanes>,
}

/// Which device has which threads.
struct Lanes {
    /// The first is there from the beginning, for the first device that comes.
    all: Vec<Arc<Lane>>,
    of: HashMap<u64, usize>,
}

/// The threads of one device, and their queues.
struct Lane {
    // Before the workers: dropped first, which ends them.
    /// One for each thread. A torrent's pieces go to one of them alone: two threads that write to one file wait for each
    /// other in the kernel.
    writes: Vec<Sender<WriteJob>>,
    checkpoints: Sender<DiskJob>,
    _workers: Vec<Worker>,
}

impl DiskThreads {
    /// Starts for each device `threads` threads that write (at least 1) and one for checkpoints, with queues of `queue_len`
    /// jobs: for the first at once, for others when they come.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread.
    pub fn start(threads: usize, queue_len: usize) -> io::Result<Self> {
        let (threads, queue_len) = (threads.max(1), queue_len.max(1));
        let given_up = Shutdown::new();
        let first = Arc::new(Lane::start(0, threads, queue_len, &given_up)?);
        let lanes = Mutex::new(Lanes { all: vec![first], of: HashMap::new() });
        Ok(Self { threads, queue_len, given_up, lanes })
    }

    /// Gives up what is queued: nobody waits for it any more. Pieces that were not written are fetched again, and instead of
    /// a checkpoint that was not made the journal holds. Never waits.
    pub fn give_up(&self) {
        self.given_up.set();
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.all.iter().any(|lane| !lane.is_idle()) {
            log::warn!(
                "a disk was too slow for the last pieces and checkpoints: the journals hold what was written"
            );
        }
    }

    /// The threads of a device.
    fn lane(&self, device: u64) -> Option<Arc<Lane>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lanes.of.len();
        let nth = match lanes.of.get(&device) {
            Some(&nth) => nth,
            // Disks come and go, and each time as another device.
            None if known >= MAX_DEVICES => usize::try_from(device).unwrap_or_default() % MAX_DEVICES,
            None => {
                if known >= lanes.all.len() {
                    match Lane::start(known, self.threads, self.queue_len, &self.given_up) {
                        Ok(lane) => lanes.all.push(Arc::new(lane)),
                        Err(error) => {
                            log::warn!("another disk gets no threads of its own: {error}");
                            return lanes.all.first().cloned();
                        }
                    }
                }
                lanes.of.insert(device, known);
                known
            }
        };
        lanes.all.get(nth).cloned()
    }

    /// Queues a job; gives it back when the queue is full (try again after the next reply). Never waits.
    ///
    /// # Errors
    /// The job itself.
    pub fn try_submit(&self, job: DiskJob) -> Result<(), DiskJob> {
        let Some(lane) = self.lane(job.device()) else { return Err(job) };
        match job {
            DiskJob::Write(job) => {
                let threads = lane.writes.len().max(1) as u64;
                let nth = usize::try_from(job.storage.id() % threads).unwrap_or_default();
                match lane.writes.get(nth) {
                    Some(writes) => {
                        writes.try_send(job).map_err(|refused| DiskJob::Write(take_back(refused)))
                    }
                    None => Err(DiskJob::Write(job)),
                }
            }
            job @ (DiskJob::Checkpoint(_) | DiskJob::Room(_)) => {
                lane.checkpoints.try_send(job).map_err(take_back)
            }
        }
    }
}

impl Lane {
    /// The threads of the nth device.
    fn start(nth: usize, threads: usize, queue_len: usize, given_up: &Shutdown) -> io::Result<Self> {
        let mut writes = Vec::new();
        let (checkpoints, checkpoint_jobs) = crossbeam_channel::bounded(queue_len);
        let mut workers = Vec::new();
        for number in 0..threads {
            let (sender, jobs) = crossbeam_channel::bounded(queue_len);
            writes.push(sender);
            let name = format!("disk-{}", nth * threads + number);
            let given_up = given_up.clone();
            workers.push(Worker::spawn(name, move || writing::run(&jobs, &given_up))?);
        }
        let name = if nth == 0 { "disk-sync".into() } else { format!("disk-sync-{nth}") };
        let given_up = given_up.clone();
        workers.push(Worker::spawn(name, move || run(&checkpoint_jobs, &given_up))?);
        Ok(Self { writes, checkpoints, _workers: workers })
    }

    /// Nothing waits for its threads.
    fn is_idle(&self) -> bool {
        self.checkpoints.is_empty() && self.writes.iter().all(Sender::is_empty)
    }
}

fn take_back<T>(refused: TrySendError<T>) -> T {
    match refused {
        TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
    }
}

/// Until the other end is dropped and the queue is empty, or it is given up. A job that panics takes no other with it.
fn run(jobs: &Receiver<DiskJob>, given_up: &Shutdown) {
    for job in jobs.iter().take_while(|_| !given_up.is_set()) {
        if catch_unwind(AssertUnwindSafe(|| job.run())).is_err() {
            log::error!("a disk job's reply panicked: this is a bug, please report it with the lines above");
        }
    }
}

impl DiskJob {
    /// Which threads are to do it.
    fn device(&self) -> u64 {
        match self {
            Self::Write(job) => job.storage.device(),
            Self::Checkpoint(job) => job.storage.device(),
            Self::Room(job) => job.device,
        }
    }

    /// On the thread that flushes.
    fn run(self) {
        match self {
            Self::Checkpoint(job) => job.run(),
            Self::Room(job) => job.run(),
            // Has threads of its own.
            Self::Write(job) => drop(job),
        }
    }
}

impl CheckpointJob {
    fn run(self) {
        let Self { storage, journal, details, place, reply } = self;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let Some(Place { files, had, preallocation }) = place else {
                // Not together with what made it needless: somebody may have been about to read it.
                journal.forget_part(&storage);
                let (is_complete, writes) = (details.completed_s.is_some(), storage.writes());
                journal.checkpoint(&storage, *details, SystemTime::now())?;
                if is_complete {
                    storage.trust(writes, journal.saved().stamps());
                }
                return Ok(());
            };
            let placed = storage.place(&files, &had, preallocation)?;
            journal.checkpoint_with(&storage, *details, SystemTime::now(), &placed)?;
            storage.placed(&files);
            Ok(())
        }));
        reply(outcome.unwrap_or(Err(ResumeError::Storage(StorageError::Panicked))));
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{bounded, unbounded};

    use super::super::cache::FileCache;
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
        fn write(
            &self,
            index: u32,
            reply: impl FnOnce(Result<(), StorageError>) + Send + 'static,
        ) -> DiskJob {
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
        let job = DiskJob::Checkpoint(CheckpointJob {
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
        assert!(
            disk.try_submit(world.write(1, move |outcome| second.send(outcome.is_ok()).unwrap())).is_ok()
        );
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
            DiskJob::Checkpoint(CheckpointJob {
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
        assert_eq!(
            told,
            [("checkpoint", true), ("write", true)],
            "what was under way is finished, and no more"
        );
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
        go_on.send(()).unwrap();
        // However many come and go.
        (100..200).for_each(|device| assert!(disk.lane(device).is_some()));
        assert_eq!(disk.lanes.lock().unwrap().all.len(), MAX_DEVICES);
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
        assert_eq!(
            told.iter().collect::<Vec<_>>(),
            (1..10).map(|index| (index, index != 4)).collect::<Vec<_>>()
        );
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
}
