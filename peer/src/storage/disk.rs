//! The disk threads: a fixed few, one bounded queue.

use std::sync::Arc;

use torrent_common::geometry::PieceIndex;

use super::blocks::BlockBuf;
use super::files::{Storage, StorageError};
use crate::resume::Journal;

/// What a disk thread does. `reply` runs on the disk thread and may wait for a torrent, never for the disk.
pub struct WriteJob {
    /// Where to.
    pub storage: Arc<Storage>,
    /// Notes the write before and after, so that a killed process knows what it had.
    pub journal: Arc<Journal>,
    /// Which piece.
    pub piece: PieceIndex,
    /// Its bytes, whole and verified.
    pub blocks: Vec<BlockBuf>,
    /// Told the outcome.
    pub reply: Box<dyn FnOnce(Result<(), StorageError>) + Send>,
}

/// The threads and their queue. Dropping it finishes what is queued, then joins.
pub struct DiskThreads {
    _private: (),
}

impl DiskThreads {
    /// Starts `threads` threads with a queue of `queue_len` jobs.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread.
    pub fn start(threads: usize, queue_len: usize) -> std::io::Result<Self> {
        let _ = (threads, queue_len);
        todo!()
    }

    /// Queues a job; gives it back when the queue is full (try again later).
    ///
    /// # Errors
    /// The job itself.
    pub fn try_submit(&self, job: WriteJob) -> Result<(), WriteJob> {
        Err(job)
    }
}
