//! The disk threads. Each device has a few that write pieces, and one that makes checkpoints, whose flushes take seconds
//! when much was written: one that is slow, or hangs, holds up nobody on another.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::PieceIndex;
use torrent_common::worker::Shutdown;

use super::StorageError;
use super::blocks::BlockBuf;
use super::files::Storage;
use super::lanes::Lanes;
use super::room::RoomJob;
use crate::options::Preallocation;
use crate::resume::{Details, Journal, ResumeError};

/// What a disk thread does. Every `reply` is called exactly once, on a disk thread: it may wait for a torrent, never for
/// the disk. Of jobs that are given up nothing is told.
pub enum DiskJob {
    /// For a thread that writes: a piece.
    Write(WriteJob),
    /// For the thread that flushes.
    Flush(FlushJob),
}

/// What takes long, and holds up no piece.
pub enum FlushJob {
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

/// The threads and their queues. Dropping it finishes what is queued, unless that is given up, then joins.
pub struct DiskThreads {
    given_up: Shutdown,
    lanes: Mutex<Lanes>,
}

impl DiskThreads {
    /// Starts for each device `threads` threads that write (at least 1) and one that flushes, with queues of `queue_len`
    /// jobs: for the first at once, for others when they come.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread.
    pub fn start(threads: usize, queue_len: usize) -> io::Result<Self> {
        let given_up = Shutdown::new();
        let lanes = Mutex::new(Lanes::start(threads, queue_len, given_up.clone())?);
        Ok(Self { given_up, lanes })
    }

    /// Gives up what is queued: nobody waits for it any more. Pieces that were not written are fetched again, and instead of
    /// a checkpoint that was not made the journal holds. Never waits.
    pub fn give_up(&self) {
        self.given_up.set();
        if !self.lanes().are_idle() {
            log::warn!(
                "a disk was too slow for the last pieces and checkpoints: the journals hold what was written"
            );
        }
    }

    /// Queues a job; gives it back when the queue is full (try again after the next reply). Never waits.
    ///
    /// # Errors
    /// The job itself.
    pub fn try_submit(&self, job: DiskJob) -> Result<(), DiskJob> {
        let lane = self.lanes().of(job.device());
        match lane {
            Some(lane) => lane.try_submit(job),
            None => Err(job),
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskJob {
    /// Which threads are to do it.
    fn device(&self) -> u64 {
        match self {
            Self::Write(job) => job.storage.device(),
            Self::Flush(FlushJob::Checkpoint(job)) => job.storage.device(),
            Self::Flush(FlushJob::Room(job)) => job.device,
        }
    }
}

impl From<CheckpointJob> for DiskJob {
    fn from(job: CheckpointJob) -> Self {
        Self::Flush(FlushJob::Checkpoint(job))
    }
}

impl From<RoomJob> for DiskJob {
    fn from(job: RoomJob) -> Self {
        Self::Flush(FlushJob::Room(job))
    }
}

impl FlushJob {
    pub(super) fn run(self) {
        match self {
            Self::Checkpoint(job) => job.run(),
            Self::Room(job) => job.run(),
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
mod tests;
