//! A check that the disk failed, and the next one: what was judged then is not read again, as long as the files are the
//! same. Kept in memory, while the torrent stands still.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::Geometry;

use super::bytes_of;
use super::error::StartupError;
use super::start::Start;
use crate::control::api::TorrentState;
use crate::resume::Look;
use crate::storage::Stamp;
use crate::storage::check::{CheckProgress, Checked, check};
use crate::storage::device;
use crate::storage::files::Storage;
use crate::torrent::stats::Stats;

/// What a check has found before the disk failed it.
#[derive(Debug)]
pub struct Judged {
    /// The files were so.
    stamps: Vec<Option<Stamp>>,
    good: Bitfield,
    bad: Bitfield,
}

impl Start {
    /// Hashes what is suspect and was not judged before; gives back which of all suspect pieces are right. `None`: told to
    /// stop meanwhile. With `give_up`, what cannot be read is taken for not there.
    pub(super) fn check(
        &self,
        look: &Look,
        storage: &Storage,
        stats: &Stats,
        give_up: bool,
    ) -> Result<Option<Bitfield>, StartupError> {
        let geometry = &storage.metainfo().geometry;
        if look.suspect.is_empty() {
            return Ok(Some(Bitfield::empty(geometry)));
        }
        let before = self.judged(look, geometry);
        self.gate.checking();
        let done = bytes_of(&union(&before.good, &before.bad, geometry), geometry);
        stats.checked.store(done, Ordering::Relaxed);
        stats.set_state(TorrentState::Checking);
        let progress = CheckProgress {
            done: Arc::clone(&stats.checked),
            hashed: Arc::clone(&stats.pieces_checked),
            cancel: self.cancel.clone(),
        };
        let mut left = Bitfield::empty(geometry);
        for piece in look.suspect.iter(geometry) {
            if !before.good.contains(piece) && !before.bad.contains(piece) {
                left.insert(piece);
            }
        }
        let order = device::read_order(self.shared.config.check_reads, storage.folder());
        let checked = self.shared.room.checkers.install(|| check(storage, &left, order, &progress))?;
        let Some((Checked { good, bad, unreadable }, error)) = checked else { return Ok(None) };
        let (good, bad) = (union(&good, &before.good, geometry), union(&bad, &before.bad, geometry));
        let Some(error) = error else { return Ok(Some(good)) };
        let all = good.count() + bad.count() + unreadable.count() == look.suspect.count();
        if give_up && all {
            log::warn!(
                "{}: {} pieces are fetched again, which cannot be read: {error}",
                self.info_hash,
                unreadable.count()
            );
            return Ok(Some(good));
        }
        if let Some(entry) = self.shared.table().entries.get_mut(&self.info_hash) {
            entry.judged = Some(Box::new(Judged { stamps: look.stamps().to_vec(), good, bad }));
        }
        Err(StartupError::Unreadable { error, count: unreadable.count() })
    }

    /// What was judged of these files before, and is suspect.
    fn judged(&self, look: &Look, geometry: &Geometry) -> Judged {
        let before =
            self.shared.table().entries.get_mut(&self.info_hash).and_then(|entry| entry.judged.take());
        match before {
            Some(mut before) if before.stamps == look.stamps() => {
                before.good = both(&before.good, &look.suspect, geometry);
                before.bad = both(&before.bad, &look.suspect, geometry);
                *before
            }
            _ => {
                Judged { stamps: Vec::new(), good: Bitfield::empty(geometry), bad: Bitfield::empty(geometry) }
            }
        }
    }
}

fn union(one: &Bitfield, other: &Bitfield, geometry: &Geometry) -> Bitfield {
    let mut all = one.clone();
    for piece in other.iter(geometry) {
        all.insert(piece);
    }
    all
}

fn both(one: &Bitfield, other: &Bitfield, geometry: &Geometry) -> Bitfield {
    let mut both = Bitfield::empty(geometry);
    for piece in one.iter(geometry).filter(|&piece| other.contains(piece)) {
        both.insert(piece);
    }
    both
}
