//! What users set while torrents run: entered in the table, kept for the next start, and told to the torrent at work.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam_channel::SendTimeoutError;
use torrent_common::bitfield::Bitfield;
use torrent_common::ids::InfoHash;

use super::activity::now_s;
use super::start;
use super::{Shared, bytes_of};
use crate::control::api::TorrentState;
use crate::control::engine::Refusal;
use crate::options::{OptionsPatch, Priority, TorrentOptions};
use crate::settings::{SessionSettings, SettingsPatch};
use crate::torrent::input::Input;
use crate::torrent::selection::{Selection, Wanted};

/// For a torrent with a full queue: one that begins may be waiting for the session meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

impl Shared {
    /// Sets something for one torrent, of `files` files if the change names any. When it is done, it survives a kill.
    pub(super) fn change_options(
        self: &Arc<Self>,
        info_hash: &InfoHash,
        patch: &OptionsPatch,
        files: usize,
    ) -> Result<(), Refusal> {
        self.there_to_stay(info_hash)?;
        let before = {
            let table = self.table();
            Arc::clone(&table.entries.get(info_hash).ok_or(Refusal::NotFound)?.options)
        };
        let next =
            patch.applied_to(&before, files).map_err(|error| Refusal::BadRequest(error.to_string()))?;
        let has_thread = self.table().entries.get(info_hash).is_some_and(|entry| entry.running.is_some());
        // Its thread may not have heard of it the last time, for want of room in its queue.
        if next == *before && !has_thread {
            return Ok(());
        }
        let reselected = before.priorities != next.priorities;
        let options = Arc::new(next);
        // Not with its checkpoint: a torrent at work makes that when what it has written is flushed, which may take long.
        if options != before {
            self.keep_options(info_hash, &options)?;
        }
        let (inputs, patience) = {
            let mut table = self.table();
            let entry = table.entries.get_mut(info_hash).ok_or(Refusal::NotFound)?;
            entry.options = Arc::clone(&options);
            let is_at_work = entry.gate().is_some_and(|gate| gate.link().is_some());
            // One that looks at its files first takes no input meanwhile: if its disk does not answer, never.
            (entry.inputs(), if is_at_work { PATIENCE } else { Duration::ZERO })
        };
        if reselected {
            self.count_anew(info_hash, &before.priorities)?;
        }
        let asked = self.table().entries.get(info_hash).map_or(0, |entry| entry.stats.asked());
        // One whose thread has ended gives the input back.
        let kept = match inputs.map(|inputs| inputs.send_timeout(Input::Options(options, asked), patience)) {
            Some(Ok(())) => Ok(()),
            Some(Err(SendTimeoutError::Timeout(_))) => {
                Err(Refusal::Unavailable("the torrent has too much to do to hear of it: try again".into()))
            }
            None | Some(Err(SendTimeoutError::Disconnected(_))) => {
                let saved = start::save_wishes(self, info_hash);
                // What is set is kept by itself, and shown.
                if reselected {
                    self.wake(info_hash);
                }
                saved
            }
        };
        self.aim(info_hash);
        kept
    }

    /// Keeps what is set for a torrent, whether it has a thread or not.
    pub(super) fn keep_options(&self, info_hash: &InfoHash, options: &TorrentOptions) -> Result<(), Refusal> {
        self.store.save_options(info_hash, options).map_err(|error| Refusal::Internal(error.to_string()))
    }

    /// Shows at once what is lacking of what is selected now; the torrent's thread may take a while to go about it.
    fn count_anew(&self, info_hash: &InfoHash, before: &[Priority]) -> Result<(), Refusal> {
        let internal = |error: String| Refusal::Internal(error);
        let metainfo = self.metainfo_now(info_hash).map_err(|error| internal(error.to_string()))?;
        let geometry = &metainfo.geometry;
        let (has_thread, active, priorities) = {
            let table = self.table();
            let entry = table.entries.get(info_hash).ok_or(Refusal::NotFound)?;
            (entry.running.is_some(), entry.had(), entry.options.priorities.clone())
        };
        let selection = Selection::of(&metainfo, &priorities);
        let (had, to_move) = if has_thread {
            // It knows what is in its place, and may be saying what was true of the selection before.
            (
                active.unwrap_or_else(|| self.had_at_checkpoint(info_hash, &metainfo)),
                more(before, &priorities),
            )
        } else {
            let saved = self.store.load(info_hash).map_err(|error| internal(error.to_string()))?;
            let had = saved.had(geometry).unwrap_or_else(|| Bitfield::empty(geometry));
            (had, saved.parts_any(&metainfo, &Wanted::of(&metainfo, &priorities)))
        };
        let mut table = self.table();
        let entry = table.entries.get_mut(info_hash).ok_or(Refusal::NotFound)?;
        let lacking = bytes_of(&selection.lacking(geometry, &had), geometry);
        if !entry.is_complete() && lacking == 0 && !to_move {
            // Less is wanted, and all of that is had: what it is seeded for begins now.
            entry.complete_since_s = now_s();
        }
        entry.stats.set_wanted(selection.wanted_len(geometry), lacking);
        if to_move {
            entry.stats.ask();
        } else if !has_thread {
            // What was asked for before may have been more than is asked for now.
            entry.stats.carried_out(entry.stats.asked());
        }
        if lacking > 0 || to_move {
            entry.finished = false;
            if matches!(entry.stats.state(), TorrentState::Seeding | TorrentState::Finished) {
                entry.stats.set_state(TorrentState::Downloading);
            }
        }
        // What it waits for may be a place of the other kind now.
        if entry.queued {
            let (kind, rank) = (entry.kind(), entry.rank);
            table.places.wait(*info_hash, kind, rank);
        }
        Ok(())
    }

    /// Sets something for all torrents, until the daemon ends.
    pub(super) fn change_settings(
        self: &Arc<Self>,
        patch: &SettingsPatch,
    ) -> Result<SessionSettings, Refusal> {
        let configured = SessionSettings::configured(&self.config);
        let next = patch
            .applied_to(&self.settings(), &configured)
            .map_err(|error| Refusal::BadRequest(error.to_string()))?;
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = next.clone();
        self.aim_all();
        // Who is told that it is done finds it done.
        self.fill_places();
        self.room.rates.set(next.rates());
        Ok(next)
    }
}

/// Whether a file is wanted that was not: one for each in payload order, empty: all normal.
fn more(before: &[Priority], now: &[Priority]) -> bool {
    let skipped = |list: &[Priority], index: usize| list.get(index) == Some(&Priority::Skip);
    (0..before.len()).any(|index| skipped(before, index) && !skipped(now, index))
}
