//! What users set while torrents run: entered in the table, kept for the next start, and told to the torrent at work.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam_channel::SendTimeoutError;
use torrent_common::ids::InfoHash;

use super::Shared;
use super::start;
use crate::control::engine::Refusal;
use crate::options::OptionsPatch;
use crate::settings::{SessionSettings, SettingsPatch};
use crate::torrent::input::Input;

/// For a torrent with a full queue: one that begins may be waiting for the session meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

impl Shared {
    /// Sets something for one torrent, of `files` files if the change names any.
    pub(super) fn change_options(
        &self,
        info_hash: &InfoHash,
        patch: &OptionsPatch,
        files: usize,
    ) -> Result<(), Refusal> {
        let (options, inputs) = {
            let mut table = self.table();
            let entry = table.entries.get_mut(info_hash).ok_or(Refusal::NotFound)?;
            let next = patch
                .applied_to(&entry.options, files)
                .map_err(|error| Refusal::BadRequest(error.to_string()))?;
            if next == *entry.options {
                return Ok(());
            }
            entry.options = Arc::new(next);
            (Arc::clone(&entry.options), entry.inputs())
        };
        // A torrent at work keeps them with its next checkpoint, which it makes at once. One whose thread has ended gives
        // the input back.
        let kept = match inputs.map(|inputs| inputs.send_timeout(Input::Options(options), PATIENCE)) {
            Some(Ok(())) => Ok(()),
            Some(Err(SendTimeoutError::Timeout(_))) => {
                Err(Refusal::Unavailable("the torrent has too much to do to hear of it: try again".into()))
            }
            None | Some(Err(SendTimeoutError::Disconnected(_))) => start::save_wishes(self, info_hash),
        };
        self.aim(info_hash);
        kept
    }

    /// Sets something for all torrents, until the daemon ends.
    pub(super) fn change_settings(&self, patch: &SettingsPatch) -> Result<SessionSettings, Refusal> {
        let configured = SessionSettings::configured(&self.config);
        let next = patch
            .applied_to(&self.settings(), &configured)
            .map_err(|error| Refusal::BadRequest(error.to_string()))?;
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = next.clone();
        self.aim_all();
        self.room.rates.set(next.rates());
        Ok(next)
    }
}
