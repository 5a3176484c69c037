//! A full disk: nothing more is fetched until there is room, and then it goes on by itself. What is had is uploaded all
//! the time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Runner;
use crate::storage::StorageError;
use crate::storage::room::RoomJob;
use crate::torrent::event::Event;
use crate::torrent::input::Input;

/// Between two looks whether there is room.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The same, when writes fail again and again although there seems to be room (a quota): what is fetched for them is lost.
const LOOK_SELDOM: Duration = Duration::from_secs(300);
/// With so much room it is worth going on, in bytes, or with as much as is lacking.
const ENOUGH_LEN: u64 = 16 << 20;
/// The same where it is STATE_DIR that has none, which takes notes and no payload.
const ENOUGH_FOR_NOTES_LEN: u64 = 64 << 10;

/// Whether there is room on disk.
#[derive(Debug)]
pub(super) struct Full {
    /// Where there is none.
    path: Option<PathBuf>,
    /// That is STATE_DIR.
    notes: bool,
    /// When to look next; `None` while somebody does.
    next: Option<Instant>,
    /// Between a write that fails and the first look.
    wait: Duration,
}

impl Default for Full {
    fn default() -> Self {
        Self { path: None, notes: false, next: None, wait: LOOK_EVERY }
    }
}

impl Full {
    /// Something was written: there is room.
    pub(super) const fn written(&mut self) {
        if self.path.is_none() {
            self.wait = LOOK_EVERY;
        }
    }

    /// When [`Runner::look_for_room`] has something to do.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.path.as_ref().and(self.next)
    }
}

impl Runner {
    /// There is no room for a piece: no other is begun.
    pub(super) fn hold(&mut self, error: &StorageError) {
        self.core.hold(true);
        if self.full.path.is_some() {
            return;
        }
        let Some(path) = error.path().and_then(|path| path.parent()) else { return };
        let trouble = format!(
            "{error}. Nothing is fetched until there is room; then it goes on by itself, and what is here is seeded"
        );
        log::warn!("{}: {trouble}", self.active.name);
        self.active.stats.set_trouble(Some(trouble));
        self.full.path = Some(path.into());
        self.full.notes = matches!(error, StorageError::Journal { .. });
        self.full.next = Some(Instant::now() + self.full.wait);
        self.full.wait = (self.full.wait * 2).min(LOOK_SELDOM);
    }

    /// Asks a disk thread whether there is room, if that is due.
    pub(super) fn look_for_room(&mut self, now: Instant) {
        let (Some(path), Some(next)) = (&self.full.path, self.full.next) else { return };
        if next > now {
            return;
        }
        let inputs = self.active.link.inputs.clone();
        let two_pieces = 2 * u64::from(self.geometry.nominal_piece_len());
        let for_payload = self.core.lacking().min(ENOUGH_LEN.max(two_pieces));
        let job = RoomJob {
            path: path.clone(),
            device: self.active.record.storage.device(),
            needed: if self.full.notes { ENOUGH_FOR_NOTES_LEN } else { for_payload },
            reply: Box::new(move |there| {
                // Fails only when the torrent has ended.
                let _ = inputs.send(Input::Room(there));
            }),
        };
        self.full.next = match self.active.room.disk.try_submit(job.into()) {
            Ok(()) => None,
            Err(_) => Some(now + LOOK_EVERY),
        };
    }

    /// Somebody has looked.
    pub(super) fn room(&mut self, there: bool) {
        if !there {
            self.full.next = Some(Instant::now() + LOOK_EVERY);
            return;
        }
        if self.full.path.take().is_some() {
            log::info!("{}: there is room on disk again, it goes on", self.active.name);
            self.active.stats.set_trouble(None);
            self.core.hold(false);
            self.feed(Event::Tick);
        }
    }
}
