//! Gets verified pieces to disk and keeps the record of them: write jobs, and a checkpoint now and then.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use torrent_common::geometry::PieceIndex;

use super::Active;
use super::input::Input;
use crate::options::TorrentOptions;
use crate::resume::{Details, Journal, ResumeError};
use crate::storage::blocks::BlockBuf;
use crate::storage::disk::{CheckpointJob, DiskJob, Place, WriteJob};
use crate::storage::files::Storage;

/// A journal of this size is worth a checkpoint, in bytes.
const LONG_JOURNAL_LEN: u64 = 1 << 20;
/// When the disk's queue was full.
const RETRY: Duration = Duration::from_millis(20);

/// The durable side of one torrent.
#[derive(Debug)]
pub struct Record {
    /// Notes each write, and makes checkpoints.
    pub journal: Arc<Journal>,
    /// The payload.
    pub storage: Arc<Storage>,
    /// What was saved when the torrent became active.
    pub details: Details,
}

/// What the torrent's thread knows of the disk.
pub struct Saving {
    /// Jobs that the disk's queue had no room for. Bounded by the budget of pieces in flight.
    backlog: VecDeque<DiskJob>,
    writing: usize,
    /// Files that are to get their own bytes before anything else is written.
    to_place: Vec<usize>,
    /// That is under way, with the checkpoint.
    placing: bool,
    /// That failed, so nobody knows where what is written now would be looked for; or flushing did.
    broken: bool,
    /// Pieces that wait for it. Bounded as the backlog is.
    held: Vec<(PieceIndex, Vec<BlockBuf>)>,
    /// Pieces came, or totals changed, since the last checkpoint.
    dirty: bool,
    checkpointing: bool,
    /// A checkpoint is wanted at once.
    urgent: bool,
    /// The last one failed: the next comes when it is due, not before, however long the journal is.
    failed: bool,
    due: Instant,
    /// What the next checkpoint says of the torrent.
    details: Details,
}

impl Saving {
    /// Nothing to save yet.
    pub fn new(active: &Active, now: Instant) -> Self {
        Self {
            backlog: VecDeque::new(),
            writing: 0,
            to_place: Vec::new(),
            placing: false,
            broken: false,
            held: Vec::new(),
            dirty: false,
            checkpointing: false,
            urgent: false,
            failed: false,
            due: now + active.checkpoint_every,
            details: active.record.details.clone(),
        }
    }

    /// Begins to write a good piece; ends in [`Input::Written`].
    pub fn write(&mut self, active: &Active, piece: PieceIndex, blocks: Vec<BlockBuf>, now: Instant) {
        if self.broken {
            return;
        }
        if self.is_placing() {
            self.held.push((piece, blocks));
            return;
        }
        let inputs = active.link.inputs.clone();
        self.writing += 1;
        if !self.dirty {
            self.dirty = true;
            self.due = now + active.checkpoint_every;
        }
        self.submit(
            active,
            DiskJob::Write(WriteJob {
                storage: Arc::clone(&active.record.storage),
                journal: Arc::clone(&active.record.journal),
                piece,
                blocks,
                reply: Box::new(move |outcome| {
                    // Fails only when the torrent has ended.
                    let _ = inputs.send(Input::Written(piece, outcome));
                }),
            }),
        );
    }

    /// A write is over. A checkpoint that was begun before it ended does not know of it.
    pub fn written(&mut self) {
        self.writing = self.writing.saturating_sub(1);
        self.dirty = true;
    }

    /// The torrent is complete: worth a checkpoint at once.
    pub fn completed(&mut self) {
        (self.dirty, self.urgent) = (true, true);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.details.completed_s.get_or_insert(now);
    }

    /// The user has set something else: worth a checkpoint at once.
    pub fn set_options(&mut self, options: &TorrentOptions) {
        (self.dirty, self.urgent) = (true, true);
        self.details.options = options.clone();
    }

    /// These files, in order, are to get their own bytes: when the writes under way are over, and before any other. Ends
    /// in [`Saving::done`]. Takes the place of what was asked for before and has not begun.
    pub fn place(&mut self, files: Vec<usize>) {
        self.to_place = files;
    }

    /// More is wanted: it is not complete any more.
    pub const fn incomplete(&mut self) {
        (self.dirty, self.urgent) = (true, true);
        self.details.completed_s = None;
    }

    /// A checkpoint is over. Gives back whether files got their own bytes with it; or that they did not, or that what was
    /// written could not be flushed: nothing more may be written then.
    pub fn done(&mut self, active: &Active, outcome: Result<(), ResumeError>) -> Result<bool, ResumeError> {
        self.checkpointing = false;
        let failed_before = std::mem::replace(&mut self.failed, outcome.is_err());
        if std::mem::take(&mut self.placing) {
            if let Err(error) = outcome {
                self.broken = true;
                self.held.clear();
                return Err(error);
            }
            self.release(active);
            // This checkpoint says that they have not.
            self.dirty = true;
            return Ok(true);
        }
        if let Err(error @ (ResumeError::Storage(_) | ResumeError::Doubtful)) = outcome {
            // Nobody knows what the device has of what was written: no more of it until somebody has looked.
            self.broken = true;
            return Err(error);
        }
        if let Err(error) = outcome {
            // Tried again when it is due; the journal holds what was written meanwhile.
            self.dirty = true;
            if !failed_before {
                log::warn!("{}: progress is not saved for now: {error}", active.name);
            }
        } else if failed_before {
            log::info!("{}: progress is saved again", active.name);
        }
        Ok(false)
    }

    /// Writes what was held for files that have their own bytes now, or are not wanted any more.
    fn release(&mut self, active: &Active) {
        if !self.is_placing() {
            for (piece, blocks) in std::mem::take(&mut self.held) {
                self.write(active, piece, blocks, Instant::now());
            }
        }
    }

    /// Files are waiting to get their own bytes, or getting them.
    pub const fn is_placing(&self) -> bool {
        self.placing || !self.to_place.is_empty()
    }

    /// Writes or a checkpoint are under way.
    pub fn is_busy(&self) -> bool {
        let waiting = !self.broken && (!self.held.is_empty() || !self.to_place.is_empty());
        self.writing > 0 || self.checkpointing || !self.backlog.is_empty() || waiting
    }

    /// When [`Saving::turn`] has something to do.
    pub fn next_wake(&self) -> Option<Instant> {
        if !self.backlog.is_empty() {
            return Some(Instant::now() + RETRY);
        }
        (self.dirty && !self.checkpointing && !self.broken && !self.is_placing()).then_some(self.due)
    }

    /// Does what is due.
    pub fn turn(&mut self, active: &Active, now: Instant) {
        while let Some(job) = self.backlog.pop_front() {
            if let Err(job) = active.room.disk.try_submit(job) {
                self.backlog.push_front(job);
                return;
            }
        }
        if self.broken {
            return;
        }
        self.release(active);
        if !self.to_place.is_empty() {
            self.begin_place(active, now);
        } else if self.wants_checkpoint(active.record.journal.len_bytes(), now) {
            self.begin_checkpoint(active, None, now);
        }
    }

    fn wants_checkpoint(&self, journal_len: u64, now: Instant) -> bool {
        let early = !self.failed && (self.urgent || journal_len > LONG_JOURNAL_LEN);
        self.dirty && !self.checkpointing && (early || now >= self.due)
    }

    /// A last checkpoint, if one is needed; true if it was begun.
    pub fn begin_last(&mut self, active: &Active) -> bool {
        let moved = self.details.uploaded != active.stats.uploaded.load(Ordering::Relaxed)
            || self.details.downloaded != active.stats.downloaded.load(Ordering::Relaxed);
        if self.broken || !self.dirty && !moved {
            return false;
        }
        self.begin_checkpoint(active, None, Instant::now());
        true
    }

    /// Lets files get their own bytes, if nothing is under way.
    fn begin_place(&mut self, active: &Active, now: Instant) {
        if self.writing > 0 || self.checkpointing {
            return;
        }
        let layout = active.record.storage.layout();
        let mut files = std::mem::take(&mut self.to_place);
        // Some may have theirs since they were asked for.
        files.retain(|&index| layout.is_parted(index));
        self.placing = true;
        let (had, own) = (active.link.have.snapshot(), self.details.options.preallocation);
        let preallocation = own.unwrap_or(active.preallocation);
        self.begin_checkpoint(active, Some(Place { files, had, preallocation }), now);
    }

    fn begin_checkpoint(&mut self, active: &Active, place: Option<Place>, now: Instant) {
        (self.dirty, self.urgent, self.checkpointing) = (false, false, true);
        self.due = now + active.checkpoint_every;
        self.details.uploaded = active.stats.uploaded.load(Ordering::Relaxed);
        self.details.downloaded = active.stats.downloaded.load(Ordering::Relaxed);
        self.details.wanted = active.stats.wanted_if_not_all();
        let inputs = active.link.inputs.clone();
        self.submit(
            active,
            CheckpointJob {
                storage: Arc::clone(&active.record.storage),
                journal: Arc::clone(&active.record.journal),
                details: Box::new(self.details.clone()),
                place,
                reply: Box::new(move |outcome| {
                    let _ = inputs.send(Input::Checkpointed(outcome));
                }),
            }
            .into(),
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

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);

    #[test]
    fn a_checkpoint_that_fails_is_not_tried_again_at_once() {
        let now = Instant::now();
        let details = crate::resume::saved::tests::details();
        let mut saving = Saving {
            backlog: VecDeque::new(),
            writing: 0,
            to_place: Vec::new(),
            placing: false,
            broken: false,
            held: Vec::new(),
            dirty: true,
            checkpointing: false,
            urgent: false,
            failed: false,
            due: now + CHECKPOINT_EVERY,
            details,
        };
        assert!(!saving.wants_checkpoint(LONG_JOURNAL_LEN, now));
        assert!(saving.wants_checkpoint(LONG_JOURNAL_LEN + 1, now));
        saving.urgent = true;
        assert!(saving.wants_checkpoint(0, now));
        saving.failed = true;
        assert!(!saving.wants_checkpoint(LONG_JOURNAL_LEN + 1, now));
        assert!(saving.wants_checkpoint(0, now + CHECKPOINT_EVERY));
        saving.checkpointing = true;
        assert!(!saving.wants_checkpoint(0, now + CHECKPOINT_EVERY));
    }
}
