//! What the disk did to a torrent may be over by itself: a disk is taken out and put back, room is made, rights are given.
//! So a torrent that stands still for such an error is tried again, less and less often. It goes on saying why it stands
//! still meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use torrent_common::ids::InfoHash;

use super::{Shared, start};
use crate::control::api::TorrentState;

/// Until the first try.
const FIRST: Duration = Duration::from_secs(2);
/// Between two later ones, at the most.
const LAST: Duration = Duration::from_secs(300);
/// Who has been well for so long fails for the first time again.
const WELL: Duration = Duration::from_secs(900);

/// Who is tried again, and when.
#[derive(Debug, Default)]
pub(super) struct Retries {
    order: BTreeSet<(Instant, InfoHash)>,
    /// When each failed last, and how long it was to wait then.
    failed: HashMap<InfoHash, (Instant, Duration)>,
}

impl Retries {
    /// Enters one that failed. Gives back how long it waits.
    fn add(&mut self, info_hash: InfoHash, now: Instant) -> Duration {
        let before = self.failed.get(&info_hash).copied();
        if let Some((at, wait)) = before {
            self.order.remove(&(at + wait, info_hash));
        }
        let again = before.filter(|(at, wait)| now.duration_since(*at) < *wait + WELL);
        let wait = again.map_or(FIRST, |(_, wait)| (wait * 2).min(LAST));
        self.failed.insert(info_hash, (now, wait));
        self.order.insert((now + wait, info_hash));
        wait
    }

    /// Forgets one.
    pub(super) fn remove(&mut self, info_hash: &InfoHash) {
        if let Some((at, wait)) = self.failed.remove(info_hash) {
            self.order.remove(&(at + wait, *info_hash));
        }
    }

    fn pop_due(&mut self, now: Instant) -> Option<InfoHash> {
        self.order.first().filter(|(at, _)| *at <= now)?;
        self.order.pop_first().map(|(_, info_hash)| info_hash)
    }

    fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
}

impl Shared {
    /// A torrent that stands still may be well again by itself.
    pub(super) fn try_again_later(&self, info_hash: &InfoHash) {
        let mut table = self.table();
        let wait = table.retries.add(*info_hash, Instant::now());
        if let Some(entry) = table.entries.get(info_hash) {
            entry.stats.try_again_in(wait);
        }
    }

    /// How long until somebody is tried again.
    pub(super) fn next_try(&self) -> Option<Duration> {
        let at = self.table().retries.next()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Tries those again whose time has come.
    pub(super) fn try_again(self: &Arc<Self>) {
        loop {
            let due = self.table().retries.pop_due(Instant::now());
            let Some(info_hash) = due else { return };
            let stands = {
                let table = self.table();
                let stands = table.entries.get(&info_hash).map(|entry| {
                    let wanted = !entry.paused && !entry.finished && !entry.removing;
                    wanted && entry.stats.state() == TorrentState::Error
                });
                stands.unwrap_or(false)
            };
            if stands {
                self.try_once_more(&info_hash);
            }
        }
    }

    /// Gives it a thread, with its state as it is: that says that it stands still until it does not.
    fn try_once_more(self: &Arc<Self>, info_hash: &InfoHash) {
        if !self.halt(info_hash) || !self.take_place(info_hash) {
            return self.try_again_later(info_hash);
        }
        match start::spawn(self, info_hash) {
            Ok(running) => {
                if let Some(entry) = self.table().entries.get_mut(info_hash) {
                    entry.running = Some(running);
                }
            }
            Err(error) => {
                log::debug!("{info_hash}: {error}");
                self.halt(info_hash);
                self.try_again_later(info_hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_again_and_again_is_tried_less_and_less_often() {
        let mut retries = Retries::default();
        let one = InfoHash::new([1; 20]);
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..10 {
            let wait = retries.add(one, now);
            let next = retries.next().unwrap();
            assert_eq!(next, now + wait);
            assert_eq!(retries.pop_due(next - Duration::from_millis(1)), None);
            assert_eq!(retries.pop_due(next), Some(one));
            waits.push(next.duration_since(now).as_secs());
            now = next;
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        // Well for a while.
        retries.add(one, now + LAST + WELL);
        assert_eq!(retries.next(), Some(now + LAST + WELL + FIRST));
        retries.remove(&one);
        assert_eq!(retries.next(), None);
    }
}
