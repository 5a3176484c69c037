//! The disk threads: a fixed few that write pieces, and one that makes checkpoints, whose flushes take seconds when much
//! was written. Each kind of job has one bounded queue.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use torrent_common::geometry::PieceIndex;
use torrent_common::worker::Worker;

use super::StorageError;
use super::blocks::BlockBuf;
use super::files::Storage;
use crate::resume::{Details, Journal, ResumeError};

/// What a disk thread does. Every `reply` is called exactly once, on a disk thread: it may wait for a torrent, never for
/// the disk.
pub enum DiskJob {
    /// Writes a piece.
    Write(WriteJob),
    /// Makes a checkpoint.
    Checkpoint(CheckpointJob),
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
    pub details: Details,
    /// Told the outcome.
    pub reply: Box<dyn FnOnce(Result<(), ResumeError>) + Send>,
}

/// The threads and their queues. Dropping it finishes what is queued, then joins.
pub struct DiskThreads {
    // Before the workers: dropped first, which ends them.
    writes: Sender<WriteJob>,
    checkpoints: Sender<CheckpointJob>,
    _workers: Vec<Worker>,
}

impl DiskThreads {
    /// Starts `threads` threads that write (at least 1) and one for checkpoints, with queues of `queue_len` jobs.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread.
    pub fn start(threads: usize, queue_len: usize) -> io::Result<Self> {
        let (writes, write_jobs) = crossbeam_channel::bounded(queue_len.max(1));
        let (checkpoints, checkpoint_jobs) = crossbeam_channel::bounded(queue_len.max(1));
        let mut workers = Vec::new();
        for number in 0..threads.max(1) {
            let jobs = write_jobs.clone();
            workers.push(Worker::spawn(format!("disk-{number}"), move || run(&jobs, WriteJob::run))?);
        }
        workers.push(Worker::spawn("disk-sync", move || run(&checkpoint_jobs, CheckpointJob::run))?);
        Ok(Self { writes, checkpoints, _workers: workers })
    }

    /// Queues a job; gives it back when the queue is full (try again after the next reply). Never waits.
    ///
    /// # Errors
    /// The job itself.
    #[expect(clippy::result_large_err, reason = "the caller keeps the job it gets back")]
    pub fn try_submit(&self, job: DiskJob) -> Result<(), DiskJob> {
        match job {
            DiskJob::Write(job) => {
                self.writes.try_send(job).map_err(|refused| DiskJob::Write(take_back(refused)))
            }
            DiskJob::Checkpoint(job) => {
                self.checkpoints.try_send(job).map_err(|refused| DiskJob::Checkpoint(take_back(refused)))
            }
        }
    }
}

fn take_back<T>(refused: TrySendError<T>) -> T {
    match refused {
        TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
    }
}

/// Until the other end is dropped and the queue is empty. A job that panics takes no other with it.
fn run<T>(jobs: &Receiver<T>, work: impl Fn(T)) {
    for job in jobs {
        if catch_unwind(AssertUnwindSafe(|| work(job))).is_err() {
            log::error!("a disk job's reply panicked: this is a bug, please report it with the lines above");
        }
    }
}

impl WriteJob {
    fn run(self) {
        let Self { storage, journal, piece, blocks, reply } = self;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            journal.begin(piece, SystemTime::now())?;
            let stamps = storage.write_piece(piece, &blocks)?;
            journal.written(piece, &stamps)
        }));
        drop(blocks);
        reply(outcome.unwrap_or(Err(StorageError::Panicked)));
    }
}

impl CheckpointJob {
    fn run(self) {
        let Self { storage, journal, details, reply } = self;
        let outcome =
            catch_unwind(AssertUnwindSafe(|| journal.checkpoint(&storage, details, SystemTime::now())));
        reply(outcome.unwrap_or(Err(ResumeError::Storage(StorageError::Panicked))));
    }
}
