//! What users set while torrents run: entered in the table, kept for the next start, and told to the torrent at work.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam_channel::SendTimeoutError;
use torrent_common::ids::InfoHash;

use super::entry::Entry;
use super::start;
use super::{Shared, bytes_of};
use crate::control::api::TorrentState;
use crate::control::engine::Refusal;
use crate::options::OptionsPatch;
use crate::settings::{SessionSettings, SettingsPatch};
use crate::torrent::input::Input;
use crate::torrent::selection::Selection;

/// For a torrent with a full queue: one that begins may be waiting for the session meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

impl Shared {
    /// Sets something for one torrent, of `files` files if the change names any.
    pub(super) fn change_options(
        self: &Arc<Self>,
        info_hash: &InfoHash,
        patch: &OptionsPatch,
        files: usize,
    ) -> Result<(), Refusal> {
        let (options, inputs, reselected) = {
            let mut table = self.table();
            let entry = table.entries.get_mut(info_hash).ok_or(Refusal::NotFound)?;
            let next = patch
                .applied_to(&entry.options, files)
                .map_err(|error| Refusal::BadRequest(error.to_string()))?;
            if next == *entry.options {
                return Ok(());
            }
            let reselected = next.priorities != entry.options.priorities;
            entry.options = Arc::new(next);
            (Arc::clone(&entry.options), entry.inputs(), reselected)
        };
        if reselected {
            self.count_anew(info_hash)?;
        }
        // A torrent at work keeps them with its next checkpoint, which it makes at once. One whose thread has ended gives
        // the input back.
        let kept = match inputs.map(|inputs| inputs.send_timeout(Input::Options(options), PATIENCE)) {
            Some(Ok(())) => Ok(()),
            Some(Err(SendTimeoutError::Timeout(_))) => {
                Err(Refusal::Unavailable("the torrent has too much to do to hear of it: try again".into()))
            }
            None | Some(Err(SendTimeoutError::Disconnected(_))) => {
                let saved = start::save_wishes(self, info_hash);
                if reselected && saved.is_ok() {
                    self.wake(info_hash);
                }
                saved
            }
        };
        self.aim(info_hash);
        kept
    }

    /// Shows at once what is lacking of what is selected now; the torrent's thread may take a while to go about it.
    fn count_anew(&self, info_hash: &InfoHash) -> Result<(), Refusal> {
        let metainfo = self.metainfo(info_hash).map_err(|error| Refusal::Internal(error.to_string()))?;
        let geometry = &metainfo.geometry;
        let active = self.table().entries.get(info_hash).and_then(Entry::had);
        let had = active.unwrap_or_else(|| self.had_at_checkpoint(info_hash, &metainfo));
        let mut table = self.table();
        let entry = table.entries.get_mut(info_hash).ok_or(Refusal::NotFound)?;
        let selection = Selection::of(&metainfo, &entry.options.priorities);
        let lacking = bytes_of(&selection.lacking(geometry, &had), geometry);
        entry.stats.set_wanted(selection.wanted_len(geometry), lacking);
        if lacking > 0 {
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
