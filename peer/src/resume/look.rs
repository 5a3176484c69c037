//! The way back to work after a restart: look, hash what is suspect, settle.

use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::Geometry;

use super::reconcile::{latest_ns, reconcile};
use super::{Journal, ResumeError, ResumeStore, Saved, nanos};
use crate::options::Preallocation;
use crate::storage::files::Storage;
use crate::storage::{Stamp, StorageError};
use crate::torrent::selection::{Selection, Wanted};

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
    /// The latest time in them, in nanoseconds since 1970.
    latest_ns: Option<i64>,
}

impl Look {
    /// Compares a checkpoint, its journals, and the files as they are. Reads no payload; costs one look at every file.
    ///
    /// # Errors
    /// [`ResumeError`] when a file or journal is there and cannot be looked at.
    pub fn take(store: &ResumeStore, mut saved: Saved, storage: &Storage) -> Result<Self, ResumeError> {
        let parts = store.journals(&saved)?;
        saved.no_journals = false;
        let stamps = storage.stamps()?;
        saved.part(storage, &stamps);
        let verdict = reconcile(&saved, &parts, &stamps, storage.layout(), store.boot);
        let journalled = parts.iter().any(|part| !part.records.is_empty());
        let latest_ns = latest_ns(&parts);
        Ok(Self { had: verdict.had, suspect: verdict.suspect, stamps, saved, journalled, latest_ns })
    }

    /// There were files, with something in them, and now there is none: a disk was taken out, perhaps.
    pub fn is_gone(&self) -> bool {
        let had = self.journalled || self.saved.pieces_had() > 0;
        let were = self.saved.stamps.iter().any(Option::is_some);
        had && were && self.stamps.iter().all(Option::is_none)
    }

    /// The files as they are: one for each of the layout, and one for the part file.
    pub fn stamps(&self) -> &[Option<Stamp>] {
        &self.stamps
    }

    /// The suspect pieces that turned out `good` are had.
    pub fn accept(&mut self, good: &Bitfield, geometry: &Geometry) {
        for piece in good.iter(geometry).filter(|&piece| self.suspect.contains(piece)) {
            self.had.insert(piece);
        }
    }

    /// All that is wanted is had. If it became so after the checkpoint, and a kill came before the next, gives back when:
    /// in seconds since 1970; and keeps that.
    pub fn complete(&mut self) -> Option<u64> {
        if self.saved.details.completed_s.is_some() {
            return None;
        }
        let completed_s = u64::try_from(self.latest_ns? / 1_000_000_000).ok();
        self.saved.details.completed_s = completed_s;
        completed_s
    }

    /// Makes ready for work: makes or extends the wanted files if wanted pieces are missing, and puts a checkpoint on disk
    /// if anything is different from the last. Gives back what is had.
    ///
    /// # Errors
    /// [`ResumeError`].
    pub fn settle(
        mut self,
        store: &Arc<ResumeStore>,
        storage: &Storage,
        preallocation: Preallocation,
        now: SystemTime,
    ) -> Result<(Arc<Journal>, Bitfield), ResumeError> {
        self.prepare(storage, preallocation)?;
        storage.find_device();
        let part_is_left = self.forget_part(storage);
        let mut saved = self.saved;
        let same = saved.had == self.had.as_bytes() && saved.stamps == self.stamps;
        // In a new boot the old checkpoint would be taken for one before a power cut again and again.
        let other_boot = saved.boot != store.boot && !self.had.is_full();
        if !same || self.journalled || other_boot {
            if !self.had.is_empty() {
                storage.mark_unsynced(&self.stamps);
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
        store.doubtful.lock().unwrap_or_else(PoisonError::into_inner).remove(&saved.info_hash);
        if part_is_left && let Err(error) = storage.remove_part() {
            log::warn!("{error}");
        }
        storage.trust(storage.writes(), &saved.stamps);
        Ok((Journal::new(Arc::clone(store), saved), self.had))
    }

    /// Makes the wanted files, and moves to them what waited in the part file.
    fn prepare(&mut self, storage: &Storage, preallocation: Preallocation) -> Result<(), StorageError> {
        let metainfo = storage.metainfo();
        let priorities = &self.saved.details.options.priorities;
        let wanted = Wanted::of(metainfo, priorities);
        let complete = Selection::of(metainfo, priorities).is_satisfied_by(&metainfo.geometry, &self.had);
        let is_there = |stamp: Option<&Option<Stamp>>| matches!(stamp, Some(Some(_)));
        let (mut waiting, mut empty_missing) = (Vec::new(), false);
        for (index, file) in metainfo.files.iter().enumerate().filter(|(_, file)| !file.padding) {
            match (wanted.contains(index), storage.layout().is_parted(index)) {
                (true, true) => waiting.push(index),
                (true, false) => {
                    empty_missing |= file.len == 0 && !is_there(self.stamps.get(index));
                }
                // Somebody deleted it: nothing is made of it that nobody wants.
                (false, false) if !is_there(self.stamps.get(index)) => {
                    storage.layout().set_parted(index, true);
                }
                (false, _) => {}
            }
        }
        let made = if complete && waiting.is_empty() && !empty_missing {
            Ok(())
        } else {
            self.make(storage, &wanted, &waiting, preallocation)
        };
        for index in storage.layout().all_parted() {
            if let Some(slot) = self.stamps.get_mut(index) {
                *slot = None;
            }
        }
        storage.expect_growth(
            metainfo
                .files
                .iter()
                .zip(&self.stamps)
                .any(|(file, stamp)| stamp.is_some_and(|stamp| stamp.len < file.len)),
        );
        match made {
            // A seeder's folder may be read-only: an empty file less is no reason not to seed.
            Err(error) if complete => {
                log::warn!("{error}");
                Ok(())
            }
            made => made,
        }
    }

    fn make(
        &mut self,
        storage: &Storage,
        wanted: &Wanted,
        waiting: &[usize],
        preallocation: Preallocation,
    ) -> Result<(), StorageError> {
        let layout = storage.layout();
        // All at once, so that too little room is seen before anything is made.
        let mut changed = storage.prepare(|index| wanted.contains(index), preallocation)?;
        if !waiting.is_empty() {
            changed.extend(storage.place(waiting, &self.had, preallocation)?);
            waiting.iter().for_each(|&index| layout.set_parted(index, false));
        }
        for (index, stamp) in changed {
            if let Some(slot) = self.stamps.get_mut(index) {
                *slot = Some(stamp);
            }
        }
        Ok(())
    }

    /// Whether there is a part file and nothing is in it that anybody needs. If so, the next checkpoint knows of none.
    fn forget_part(&mut self, storage: &Storage) -> bool {
        let needed = storage.layout().all_parted().next().is_some();
        self.stamps.last_mut().filter(|_| !needed).and_then(Option::take).is_some()
    }
}
