//! A check that the disk failed, and the next one: what was judged then is not read again, as long as the files are the
//! same. Kept in memory, while the torrent stands still.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::Geometry;

use super::bytes_of;
use super::entry::log_name;
use super::error::StartupError;
use super::start::Start;
use crate::control::api::TorrentState;
use crate::resume::Look;
use crate::storage::Stamp;
use crate::storage::check::{CheckProgress, check};
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
    unreadable: Bitfield,
}

/// Files that are named of those that cannot be read.
const MAX_NAMED: usize = 3;

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
        let Judged { mut good, mut bad, unreadable: before, .. } = self.judged(look, geometry);
        self.gate.checking();
        let done = bytes_of(&union(&good, &bad, geometry), geometry);
        stats.checked.store(done, Ordering::Relaxed);
        stats.set_state(TorrentState::Checking);
        let progress = CheckProgress {
            done: Arc::clone(&stats.checked),
            hashed: Arc::clone(&stats.pieces_checked),
            cancel: self.cancel.clone(),
        };
        let order = device::read_order(self.shared.config.check_reads, storage.folder());
        let known = union(&union(&good, &bad, geometry), &before, geometry);
        let untried = minus(&look.suspect, &known, geometry);
        let (mut unreadable, mut error) = (before.clone(), None);
        // What could not be read comes last: a disk takes its time over it.
        for left in [untried, before] {
            let checked = self.shared.room.checkers.install(|| check(storage, &left, order, &progress))?;
            let Some((checked, failed)) = checked else { return Ok(None) };
            (good, bad) = (union(&good, &checked.good, geometry), union(&bad, &checked.bad, geometry));
            unreadable = union(&unreadable, &checked.unreadable, geometry);
            error = error.or(failed);
        }
        let Some(error) = error else { return Ok(Some(good)) };
        unreadable = minus(&unreadable, &union(&good, &bad, geometry), geometry);
        let count = unreadable.count();
        let all = good.count() + bad.count() + count == look.suspect.count();
        if give_up && all {
            let name = log_name(&storage.metainfo().name);
            log::warn!("{name}: {count} pieces are fetched again, which cannot be read: {error}");
            return Ok(Some(good));
        }
        let files = names_of(&unreadable, storage);
        if let Some(entry) = self.shared.table().entries.get_mut(&self.info_hash) {
            entry.judged = Some(Box::new(Judged { stamps: look.stamps().to_vec(), good, bad, unreadable }));
        }
        Err(StartupError::Unreadable { error, count, files })
    }

    /// What was judged of these files before, and is suspect.
    fn judged(&self, look: &Look, geometry: &Geometry) -> Judged {
        let before =
            self.shared.table().entries.get_mut(&self.info_hash).and_then(|entry| entry.judged.take());
        match before {
            Some(mut before) if before.stamps == look.stamps() => {
                for judged in [&mut before.good, &mut before.bad, &mut before.unreadable] {
                    *judged = both(judged, &look.suspect, geometry);
                }
                *before
            }
            _ => {
                let empty = || Bitfield::empty(geometry);
                Judged { stamps: Vec::new(), good: empty(), bad: empty(), unreadable: empty() }
            }
        }
    }
}

/// The files that these pieces are in, as many as are worth reading.
fn names_of(pieces: &Bitfield, storage: &Storage) -> String {
    let layout = storage.layout();
    let segments = pieces.iter(&storage.metainfo().geometry).flat_map(|piece| layout.piece_segments(piece));
    let files: BTreeSet<usize> = segments.filter_map(|segment| segment.file).collect();
    let named = files.iter().take(MAX_NAMED).map(|&index| storage.path(index).display().to_string());
    let named = named.collect::<Vec<_>>().join(", ");
    match files.len().saturating_sub(MAX_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
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

fn minus(one: &Bitfield, other: &Bitfield, geometry: &Geometry) -> Bitfield {
    let mut rest = Bitfield::empty(geometry);
    for piece in one.iter(geometry).filter(|&piece| !other.contains(piece)) {
        rest.insert(piece);
    }
    rest
}
