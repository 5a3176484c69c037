//! The way back to work after a restart: look, hash what is suspect, settle.

use std::sync::Arc;
use std::time::SystemTime;

use torrent_common::bitfield::Bitfield;

use super::reconcile::reconcile;
use super::{Journal, ResumeError, ResumeStore, Saved, nanos};
use crate::storage::files::Storage;
use crate::storage::{Stamp, StorageError};

/// What is known of a torrent's payload before any hashing.
#[derive(Debug)]
pub struct Look {
    /// These pieces are on disk and right.
    pub had: Bitfield,
    /// These may be: [`check`](crate::storage::check::check) them. None after a clean stop, or a kill, with files that
    /// nobody else wrote to.
    pub suspect: Bitfield,
    /// The files before the check, so that what changes meanwhile is noticed the next time.
    stamps: Vec<Option<Stamp>>,
    saved: Saved,
    /// The journals have records, so they are of use until the next checkpoint.
    journalled: bool,
}

impl Look {
    /// Compares a checkpoint, its journals, and the files as they are. Reads no payload; costs one look at every file.
    ///
    /// # Errors
    /// [`ResumeError`] when a file or journal is there and cannot be looked at.
    pub fn take(store: &ResumeStore, saved: Saved, storage: &Storage) -> Result<Self, ResumeError> {
        let parts = store.journals(&saved)?;
        let stamps = storage.stamps()?;
        let verdict = reconcile(&saved, &parts, &stamps, storage.layout(), store.boot);
        let journalled = parts.iter().any(|part| !part.records.is_empty());
        Ok(Self { had: verdict.had, suspect: verdict.suspect, stamps, saved, journalled })
    }

    /// Makes ready for work: with the suspect pieces that turned out `good`, makes or extends files if pieces are missing,
    /// and puts a checkpoint on disk if anything is different from the last. Gives back what is had.
    ///
    /// # Errors
    /// [`ResumeError`].
    pub fn settle(
        mut self,
        store: &Arc<ResumeStore>,
        storage: &Storage,
        good: &Bitfield,
        now: SystemTime,
    ) -> Result<(Arc<Journal>, Bitfield), ResumeError> {
        let geometry = storage.metainfo().geometry;
        for piece in good.iter(&geometry).filter(|&piece| self.suspect.contains(piece)) {
            self.had.insert(piece);
        }
        self.prepare(storage)?;
        let mut saved = self.saved;
        let same = saved.had == self.had.as_bytes() && saved.stamps == self.stamps;
        // In a new boot the old checkpoint would be taken for one before a power cut again and again.
        let other_boot = saved.boot != store.boot && !self.had.is_full();
        if !same || self.journalled || other_boot {
            if !self.had.is_empty() {
                storage.mark_all_unsynced();
                storage.sync()?;
            }
            // Above both journals that may be there.
            saved.generation = saved.generation.wrapping_add(2);
            saved.boot = store.boot;
            saved.saved_ns = nanos(now);
            saved.had = self.had.as_bytes().into();
            saved.stamps = self.stamps;
            store.save(&saved)?;
        }
        Ok((Journal::new(Arc::clone(store), saved), self.had))
    }

    fn prepare(&mut self, storage: &Storage) -> Result<(), StorageError> {
        let complete = self.had.is_full();
        let empty_files = || {
            storage
                .layout()
                .files()
                .iter()
                .zip(&self.stamps)
                .filter(|(file, _)| !file.padding && file.len == 0)
        };
        if complete && empty_files().all(|(_, stamp)| stamp.is_some()) {
            return Ok(());
        }
        match storage.prepare() {
            Ok(changed) => {
                for (index, stamp) in changed {
                    if let Some(slot) = self.stamps.get_mut(index) {
                        *slot = Some(stamp);
                    }
                }
                Ok(())
            }
            // A seeder's folder may be read-only: an empty file less is no reason not to seed.
            Err(error) if complete => {
                log::warn!("{error}");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
