//! What the torrent tells others of itself: the shared numbers, and notices to the session.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_channel::TrySendError;

use super::Runner;
use crate::torrent::Notice;
use crate::torrent::stats::Moment;

impl Runner {
    pub(super) fn show(&mut self, now: Instant) {
        self.shown = now;
        self.core.told_of_seeders(self.active.stats.seeders.load(Ordering::Relaxed), now);
        let stats = self.core.stats(now);
        // Rates fade while nothing happens.
        self.stale = stats.download_rate > 0 || stats.upload_rate > 0;
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        self.active.stats.set_moment(Moment {
            download_rate: stats.download_rate,
            upload_rate: stats.upload_rate,
            peers: count(stats.peers),
            seeds: count(stats.seeds),
        });
    }

    /// A complete torrent that nobody talks to needs no thread: the session ends it, and wakes it when somebody comes.
    pub(super) fn consider_rest(&mut self, now: Instant) {
        let busy = self.selecting
            || !self.core.is_complete()
            || !self.peers.is_empty()
            || self.dialling > 0
            || self.saving.is_busy();
        if busy {
            self.idle_since = None;
            return;
        }
        let since = *self.idle_since.get_or_insert(now);
        if now.duration_since(since) >= self.active.linger {
            self.show(now);
            self.unsaid.push_back(Notice::Idle(self.active.link.info_hash));
            self.idle_since = Some(now);
        }
    }

    /// Passes notices on. A session that has no room is asked again a little later: it may be waiting for us.
    pub(super) fn speak(&mut self) {
        while let Some(notice) = self.unsaid.pop_front() {
            match (self.active.notify)(notice) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(notice)) => {
                    self.unsaid.push_front(notice);
                    return;
                }
            }
        }
    }
}
