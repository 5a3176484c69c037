//! Who is active: places are given and taken, and seeding ends when its goal is reached.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use torrent_common::ids::InfoHash;

use super::Shared;
use super::entry::Entry;
use super::errands::{Errand, Errands, Seen};
use super::goals::Goals;
use super::places::{Kind, Limits};
use super::start;
use crate::control::api::TorrentState;
use crate::options::TorrentOptions;
use crate::resume::Saved;
use crate::settings::SessionSettings;

/// A goal of time is looked at so often at the least: the clock may have been set meanwhile.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(3600);

impl Shared {
    /// Enters that a torrent is to be active; false if there is no place for it.
    pub(super) fn take_place(&self, info_hash: &InfoHash) -> bool {
        let mut table = self.table();
        let Some(entry) = table.entries.get(info_hash) else { return false };
        let (kind, rank) = (entry.kind(), entry.rank);
        let free = table.places.has_room(kind);
        if free {
            table.places.take(*info_hash, kind, rank);
        }
        free
    }

    /// Lets a torrent wait for a place: without a thread, and not announced.
    pub(super) fn queue(&self, info_hash: &InfoHash) {
        self.halt(info_hash);
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(info_hash) else { return };
        let (kind, rank) = (entry.kind(), entry.rank);
        entry.queued = true;
        entry.stats.set_state(TorrentState::Queued);
        table.places.wait(*info_hash, kind, rank);
    }

    /// Who is too many waits, and who waits gets what is free.
    pub(super) fn fill_places(self: &Arc<Self>) {
        loop {
            let surplus = self.table().places.surplus();
            if let Some((info_hash, _)) = surplus {
                self.queue(&info_hash);
                continue;
            }
            let (info_hash, kind) = {
                let mut table = self.table();
                let Some(next) = table.places.pop_next() else { return };
                if let Some(entry) = table.entries.get_mut(&next.0) {
                    entry.queued = false;
                    entry.stats.set_state(TorrentState::Checking);
                }
                next
            };
            if kind == Kind::Seed && self.settings().max_active_seeds == 0 {
                match self.store.load(&info_hash) {
                    Ok(saved) => self.begin(saved),
                    Err(error) => self.failed(&info_hash, &error.to_string(), false),
                }
            } else {
                // With a thread it holds its place until it is seen whether somebody comes.
                self.wake(&info_hash);
            }
        }
    }

    /// Lets a torrent seed without a thread if it can, or gives it one: when somebody has looked at its files.
    pub(super) fn begin(self: &Arc<Self>, saved: Saved) {
        let (info_hash, output) = (saved.info_hash, saved.details.output.clone());
        if self.wake_later(&info_hash) {
            return;
        }
        let number = self.next_number();
        if let Some(entry) = self.table().entries.get_mut(&info_hash) {
            entry.looking = Some(number);
        }
        if let Err((_, error)) = Errands::add(self, &output, Errand::Look(Box::new(saved), number)) {
            self.seen(&info_hash, number, Err(error.into()));
        }
    }

    /// Somebody has looked at the files of a torrent that may seed without a thread.
    pub(super) fn seen(self: &Arc<Self>, info_hash: &InfoHash, number: u64, seen: Seen) {
        {
            let mut table = self.table();
            let Some(entry) = table.entries.get_mut(info_hash) else { return };
            // Stopped, or given a thread meanwhile: what was seen is of no use.
            if entry.looking != Some(number) || !entry.may_run() {
                return;
            }
            entry.looking = None;
            if let Ok(Some(resting)) = &seen {
                entry.stats.set_had(resting.had.0, resting.had.1, resting.total_len);
                entry.stats.set_wanted(resting.wanted_len, 0);
            }
        }
        match seen {
            Ok(Some(resting)) => self.rest(resting.target),
            Ok(None) => drop(self.wake(info_hash)),
            Err(error) => {
                self.failed(info_hash, &error.to_string(), error.may_pass());
                if error.may_pass() {
                    self.try_again_later(info_hash);
                }
            }
        }
    }

    /// A torrent at work knows what it has: perhaps its place is of the other kind than was thought.
    pub(super) fn looked(&self, info_hash: &InfoHash) {
        {
            let mut table = self.table();
            let Some(entry) = table.entries.get(info_hash).filter(|entry| entry.running.is_some()) else {
                return;
            };
            let (kind, rank) = (entry.kind(), entry.rank);
            table.places.take(*info_hash, kind, rank);
        }
        self.aim(info_hash);
    }

    /// A download is complete.
    pub(super) fn completed(&self, info_hash: &InfoHash) {
        if let Some(entry) = self.table().entries.get_mut(info_hash) {
            entry.complete_since_s = now_s();
        }
        self.looked(info_hash);
    }

    /// Looks anew at what ends the seeding of a torrent; true if that is reached, and it has ended.
    pub(super) fn aim(&self, info_hash: &InfoHash) -> bool {
        let settings = self.settings();
        let reached = {
            let mut table = self.table();
            let Some(entry) = table.entries.get_mut(info_hash) else { return false };
            let goals = Goals::of(&entry.options, &settings, entry.selected_len());
            entry.stats.upload_goal.store(goals.uploaded.unwrap_or(u64::MAX), Ordering::Relaxed);
            let seeds = entry.is_complete() && entry.is_wanted();
            let reached = seeds && is_reached(entry, &goals);
            let end_s = goals.end_s(entry.complete_since_s).filter(|_| seeds && !reached);
            let before = std::mem::replace(&mut entry.end_s, end_s);
            if let Some(before) = before {
                table.ends.remove(&(before, *info_hash));
            }
            if let Some(end_s) = end_s {
                table.ends.insert((end_s, *info_hash));
            }
            reached
        };
        if reached {
            self.finish(info_hash);
        }
        reached
    }

    /// The settings were changed: they may end the seeding of any torrent, and make or take places.
    pub(super) fn aim_all(&self) {
        let limits = Limits::of(&self.settings());
        let all: Vec<InfoHash> = {
            let mut table = self.table();
            table.places.set_limits(limits);
            table.order.values().copied().collect()
        };
        for info_hash in &all {
            self.aim(info_hash);
        }
    }

    /// How long until the seeding of a torrent ends by time, if any does.
    pub(super) fn next_end(&self) -> Option<Duration> {
        let (end_s, _) = *self.table().ends.first()?;
        Some(Duration::from_secs(end_s.saturating_sub(now_s())).min(LOOK_AT_CLOCK))
    }

    /// Ends the seeding of those whose time is over.
    pub(super) fn end_in_time(&self) {
        let over: Vec<InfoHash> = {
            let table = self.table();
            let now_s = now_s();
            table
                .ends
                .iter()
                .take_while(|(end_s, _)| *end_s <= now_s)
                .map(|(_, info_hash)| *info_hash)
                .collect()
        };
        for info_hash in &over {
            self.aim(info_hash);
        }
    }

    /// Ends the seeding of a torrent, until the user resumes it.
    fn finish(&self, info_hash: &InfoHash) {
        if let Some(entry) = self.table().entries.get_mut(info_hash) {
            log::info!("{}: seeded as long as it was to be", entry.log_name());
            (entry.finished, entry.queued) = (true, false);
        }
        if self.halt(info_hash) {
            self.keep_finished(info_hash);
        } else {
            self.finish_later(info_hash);
        }
    }

    /// Shows and keeps that a torrent without a thread is finished, if it is.
    pub(super) fn keep_finished(&self, info_hash: &InfoHash) {
        let name = match self.table().entries.get(info_hash) {
            Some(entry) if entry.finished => {
                entry.stats.set_state(TorrentState::Finished);
                entry.log_name()
            }
            _ => return,
        };
        if let Err(error) = start::save_wishes(self, info_hash) {
            log::error!("{name}: that it is finished is not kept: {error}");
        }
    }

    /// The options of a finished torrent that the user wants to be seeded on: the goals that it has reached do not hold for
    /// it any more.
    pub(super) fn beyond_goals(entry: &Entry, settings: &SessionSettings) -> TorrentOptions {
        let goals = Goals::of(&entry.options, settings, entry.selected_len());
        let mut options = TorrentOptions::clone(&entry.options);
        if goals.is_uploaded(entry.stats.uploaded.load(Ordering::Relaxed)) {
            options.seed_ratio = Some(0.0);
        }
        if goals.is_over(entry.complete_since_s, now_s()) {
            options.seed_time_s = Some(0);
        }
        options
    }
}

fn is_reached(entry: &Entry, goals: &Goals) -> bool {
    goals.is_uploaded(entry.stats.uploaded.load(Ordering::Relaxed))
        || goals.is_over(entry.complete_since_s, now_s())
}

/// Seconds since 1970.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
