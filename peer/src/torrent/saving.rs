//! Gets verified pieces to disk and keeps the record of them: write jobs, and a checkpoint now and then.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use torrent_common::geometry::PieceIndex;

use super::Active;
use super::have::Have;
use super::input::Input;
use super::stats::Stats;
use crate::resume::{Journal, ResumeError, ResumeStore, Saved};
use crate::storage::blocks::BlockBuf;
use crate::storage::disk::DiskJob;
use crate::storage::files::Storage;

/// Between two checkpoints while pieces come in: what a power cut makes us hash again at the most.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);
/// A journal of this size is worth a checkpoint, in bytes.
const LONG_JOURNAL_LEN: u64 = 1 << 20;
/// When the disk's queue was full.
const RETRY: Duration = Duration::from_millis(20);

/// The durable side of one torrent.
#[derive(Debug)]
pub struct Record {
    /// STATE_DIR.
    pub store: Arc<ResumeStore>,
    /// What was saved last, and what does not change.
    pub saved: Mutex<Saved>,
    /// Notes each write.
    pub journal: Arc<Journal>,
    /// The payload.
    pub storage: Arc<Storage>,
}

impl Record {
    /// Flushes the payload, then saves what is had. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// The disk's, in words.
    pub fn checkpoint(&self, have: &Have, stats: &Stats) -> Result<(), CheckpointError> {
        // In this order: every piece in the snapshot was written before it, so the sync covers it.
        let had = have.snapshot();
        self.storage.sync()?;
        let stamps = self.storage.stamps()?;
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner).clone();
        saved.had = had;
        saved.stamps = stamps;
        saved.downloaded = stats.downloaded.load(Ordering::Relaxed);
        saved.uploaded = stats.uploaded.load(Ordering::Relaxed);
        let saved = self.store.save(saved, &self.journal)?;
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = saved;
        Ok(())
    }
}

/// Why nothing was saved.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The payload.
    #[error(transparent)]
    Storage(#[from] crate::storage::files::StorageError),
    /// The record of it.
    #[error(transparent)]
    Resume(#[from] ResumeError),
}

/// What the torrent's thread knows of the disk.
pub struct Saving {
    /// Jobs that the disk's queue had no room for. Bounded by the budget of pieces in flight.
    backlog: VecDeque<DiskJob>,
    writing: usize,
    /// Pieces came, or totals changed, since the last checkpoint.
    dirty: bool,
    checkpointing: bool,
    /// A checkpoint is wanted at once.
    urgent: bool,
    due: Instant,
    have: Arc<Have>,
}

impl Saving {
    /// Nothing to save yet.
    pub fn new(active: &Active, now: Instant) -> Self {
        Self {
            backlog: VecDeque::new(),
            writing: 0,
            dirty: false,
            checkpointing: false,
            urgent: false,
            due: now + CHECKPOINT_EVERY,
            have: Arc::clone(&active.link.have),
        }
    }

    /// Begins to write a good piece; ends in [`Input::Written`].
    pub fn write(&mut self, active: &Active, piece: PieceIndex, blocks: Vec<BlockBuf>, now: Instant) {
        let inputs = active.link.inputs.clone();
        self.writing += 1;
        if !self.dirty {
            self.dirty = true;
            self.due = now + CHECKPOINT_EVERY;
        }
        self.submit(
            active,
            DiskJob::Write {
                storage: Arc::clone(&active.record.storage),
                journal: Arc::clone(&active.record.journal),
                piece,
                blocks,
                reply: Box::new(move |outcome| {
                    // Fails only when the torrent has ended.
                    let _ = inputs.send(Input::Written(piece, outcome));
                }),
            },
        );
    }

    /// A write is over.
    pub fn written(&mut self) {
        self.writing = self.writing.saturating_sub(1);
    }

    /// The torrent is complete: worth a checkpoint at once.
    pub fn completed(&mut self) {
        (self.dirty, self.urgent) = (true, true);
    }

    /// A checkpoint is over.
    pub fn done(&mut self, active: &Active, outcome: Result<(), String>) {
        self.checkpointing = false;
        if let Err(error) = outcome {
            log::warn!("{}: progress is not saved: {error}", active.name);
        }
    }

    /// Writes or a checkpoint are under way.
    pub fn is_busy(&self) -> bool {
        self.writing > 0 || self.checkpointing || !self.backlog.is_empty()
    }

    /// When [`Saving::turn`] has something to do.
    pub fn next_wake(&self) -> Option<Instant> {
        if !self.backlog.is_empty() {
            return Some(Instant::now() + RETRY);
        }
        (self.dirty && !self.checkpointing).then_some(self.due)
    }

    /// Does what is due.
    pub fn turn(&mut self, active: &Active, now: Instant) {
        while let Some(job) = self.backlog.pop_front() {
            if let Err(job) = active.room.disk.try_submit(job) {
                self.backlog.push_front(job);
                return;
            }
        }
        let due = self.urgent || now >= self.due || active.record.journal.len_bytes() > LONG_JOURNAL_LEN;
        if self.dirty && !self.checkpointing && due {
            self.begin_checkpoint(active, now);
        }
    }

    /// A last checkpoint, if one is needed; true if it was begun.
    pub fn begin_last(&mut self, active: &Active) -> bool {
        let saved = active.record.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let (uploaded, downloaded) = (saved.uploaded, saved.downloaded);
        drop(saved);
        let moved = uploaded != active.stats.uploaded.load(Ordering::Relaxed)
            || downloaded != active.stats.downloaded.load(Ordering::Relaxed);
        if !self.dirty && !moved {
            return false;
        }
        self.begin_checkpoint(active, Instant::now());
        true
    }

    fn begin_checkpoint(&mut self, active: &Active, now: Instant) {
        (self.dirty, self.urgent, self.checkpointing) = (false, false, true);
        self.due = now + CHECKPOINT_EVERY;
        let (record, have) = (Arc::clone(&active.record), Arc::clone(&self.have));
        let (stats, inputs) = (Arc::clone(&active.stats), active.link.inputs.clone());
        self.submit(
            active,
            DiskJob::Run(Box::new(move || {
                let outcome = record.checkpoint(&have, &stats).map_err(|error| error.to_string());
                let _ = inputs.send(Input::Checkpointed(outcome));
            })),
        );
    }

    fn submit(&mut self, active: &Active, job: DiskJob) {
        if self.backlog.is_empty() {
            if let Err(job) = active.room.disk.try_submit(job) {
                self.backlog.push_back(job);
            }
        } else {
            self.backlog.push_back(job);
        }
    }
}
