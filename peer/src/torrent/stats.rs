//! What a torrent shows of itself: written by its thread, read by anyone, without a lock on the way.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::announcer::Transfer;
use crate::control::api::TorrentState;

/// Rates older than this are no rates: the torrent's thread sleeps when nothing moves.
const STALE: Duration = Duration::from_secs(3);

/// No time.
const NEVER: u64 = u64::MAX;

const STATES: [TorrentState; 7] = [
    TorrentState::Checking,
    TorrentState::Downloading,
    TorrentState::Seeding,
    TorrentState::Paused,
    TorrentState::Error,
    TorrentState::Queued,
    TorrentState::Finished,
];

/// The shared numbers of one torrent.
#[derive(Debug)]
pub struct Stats {
    started: Instant,
    state: AtomicU8,
    /// Pieces had.
    pub pieces_had: AtomicU32,
    /// Bytes of the pieces had.
    pub bytes_had: AtomicU64,
    /// Bytes of the pieces that are wanted.
    pub wanted_len: AtomicU64,
    /// Selections of files that were asked for, and which of them is carried out: its files are in their places, and the
    /// numbers here are of it.
    asked: AtomicU64,
    carried_out: AtomicU64,
    /// Pieces hashed from disk since the daemon started.
    pub pieces_checked: Arc<AtomicU32>,
    /// Bytes of payload downloaded, in all sessions.
    pub downloaded: AtomicU64,
    /// Bytes of payload uploaded, in all sessions.
    pub uploaded: AtomicU64,
    /// Bytes uploaded at which seeding ends, as the session sees it; `u64::MAX`: never.
    pub upload_goal: AtomicU64,
    /// What announces tell.
    pub transfer: Arc<Transfer>,
    /// Seeders that a tracker counted last.
    pub seeders: AtomicU32,
    /// Bytes looked at by a check.
    pub checked: Arc<AtomicU64>,
    live: Live,
    error: Mutex<Option<String>>,
    /// When a torrent that stands still is tried again, in milliseconds since `started`; [`NEVER`]: not by itself.
    again_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct Live {
    download_rate: AtomicU64,
    upload_rate: AtomicU64,
    peers: AtomicU32,
    seeds: AtomicU32,
    updated_ms: AtomicU64,
}

/// What is true only for a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// Bytes per second.
    pub download_rate: u64,
    /// Bytes per second.
    pub upload_rate: u64,
    /// Connections.
    pub peers: u32,
    /// Connections to seeders.
    pub seeds: u32,
}

impl Stats {
    /// A torrent of which `bytes_had` bytes in `pieces_had` pieces are there.
    pub fn new(total_len: u64, state: TorrentState, pieces_had: u32, bytes_had: u64) -> Self {
        Self {
            started: Instant::now(),
            state: AtomicU8::new(state as u8),
            pieces_had: AtomicU32::new(pieces_had),
            bytes_had: AtomicU64::new(bytes_had),
            wanted_len: AtomicU64::new(total_len),
            asked: AtomicU64::new(0),
            carried_out: AtomicU64::new(0),
            pieces_checked: Arc::default(),
            downloaded: AtomicU64::new(0),
            uploaded: AtomicU64::new(0),
            upload_goal: AtomicU64::new(u64::MAX),
            transfer: Arc::new(Transfer::new(total_len.saturating_sub(bytes_had))),
            seeders: AtomicU32::new(0),
            checked: Arc::default(),
            live: Live::default(),
            error: Mutex::new(None),
            again_ms: AtomicU64::new(NEVER),
        }
    }

    /// What the torrent does.
    pub fn state(&self) -> TorrentState {
        let number = self.state.load(Ordering::Acquire);
        STATES.into_iter().find(|&state| state as u8 == number).unwrap_or(TorrentState::Error)
    }

    /// Says what the torrent does now. Any state but [`TorrentState::Error`] forgets an earlier error.
    pub fn set_state(&self, state: TorrentState) {
        if state != TorrentState::Error {
            *self.error.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        self.state.store(state as u8, Ordering::Release);
    }

    /// Says what went wrong, and that the torrent stands still for it; and whether it may be over by itself, so that it is
    /// tried again.
    pub fn fail(&self, error: String, may_pass: bool) {
        let again_ms = if may_pass { self.now_ms() } else { NEVER };
        self.again_ms.store(again_ms, Ordering::Release);
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.set_state(TorrentState::Error);
    }

    /// A torrent that stands still is tried again in so long.
    pub fn try_again_in(&self, wait: Duration) {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(NEVER);
        self.again_ms.store(self.now_ms().saturating_add(wait_ms), Ordering::Release);
    }

    /// How long until a torrent that stands still is tried again, in seconds: 0 while it is. `None`: it does not stand
    /// still, or only a user starts it again.
    pub fn again_s(&self) -> Option<u64> {
        if self.state() != TorrentState::Error {
            return None;
        }
        let again_ms = self.again_ms.load(Ordering::Acquire);
        (again_ms != NEVER).then(|| again_ms.saturating_sub(self.now_ms()).div_ceil(1000))
    }

    /// Says what keeps the torrent from doing all that its state says, or that nothing does.
    pub fn set_trouble(&self, trouble: Option<String>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// What went wrong.
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A piece of `len` bytes is had.
    pub fn add_piece(&self, len: u32) {
        self.pieces_had.fetch_add(1, Ordering::Relaxed);
        self.bytes_had.fetch_add(u64::from(len), Ordering::Relaxed);
        let left = &self.transfer.left;
        left.store(left.load(Ordering::Relaxed).saturating_sub(u64::from(len)), Ordering::Relaxed);
    }

    /// What is had was counted anew.
    pub fn set_had(&self, pieces: u32, bytes: u64, total: u64) {
        self.pieces_had.store(pieces, Ordering::Relaxed);
        self.bytes_had.store(bytes, Ordering::Relaxed);
        self.transfer.left.store(total.saturating_sub(bytes), Ordering::Relaxed);
    }

    /// So many bytes are wanted, and so many of them lacking.
    pub fn set_wanted(&self, wanted_len: u64, lacking: u64) {
        self.wanted_len.store(wanted_len, Ordering::Relaxed);
        self.transfer.lacking.store(lacking, Ordering::Relaxed);
    }

    /// A wanted piece of `len` bytes is had, and nobody counts anew what is lacking.
    pub fn lacks_less(&self, len: u32) {
        let lacking = self.transfer.lacking.load(Ordering::Relaxed);
        self.transfer.lacking.store(lacking.saturating_sub(len.into()), Ordering::Relaxed);
    }

    /// Other files are wanted, some of them perhaps not in their places: until somebody has seen to it,
    /// [`Stats::carried_out`] with the number given back, the torrent is not complete.
    pub fn ask(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The number of the last selection asked for.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// The selection of this number is carried out, and the numbers here are of it.
    pub fn carried_out(&self, asked: u64) {
        self.carried_out.fetch_max(asked, Ordering::AcqRel);
    }

    /// The last selection is carried out. To be looked at before any other number: those are as new then.
    pub fn is_as_asked(&self) -> bool {
        self.carried_out.load(Ordering::Acquire) >= self.asked()
    }

    /// Bytes of what is wanted that are not where they should be; at least 1 while that is not known for sure.
    pub fn lacking(&self) -> u64 {
        let least = u64::from(!self.is_as_asked());
        self.transfer.lacking.load(Ordering::Relaxed).max(least)
    }

    /// What is wanted and what is lacking of it, in bytes; `None` when everything is wanted, and lacking is what is not had.
    pub fn wanted_if_not_all(&self) -> Option<(u64, u64)> {
        let (lacking, wanted) = (self.lacking(), self.wanted_len.load(Ordering::Relaxed));
        let left = self.transfer.left.load(Ordering::Relaxed);
        let total = left.saturating_add(self.bytes_had.load(Ordering::Relaxed));
        (wanted < total || lacking != left).then_some((wanted, lacking))
    }

    /// Payload arrived.
    pub fn add_downloaded(&self, bytes: u64) {
        self.downloaded.fetch_add(bytes, Ordering::Relaxed);
        self.transfer.downloaded.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Payload left.
    pub fn add_uploaded(&self, bytes: u64) {
        self.uploaded.fetch_add(bytes, Ordering::Relaxed);
        self.transfer.uploaded.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Shows the moment.
    pub fn set_moment(&self, moment: Moment) {
        self.live.download_rate.store(moment.download_rate, Ordering::Relaxed);
        self.live.upload_rate.store(moment.upload_rate, Ordering::Relaxed);
        self.live.peers.store(moment.peers, Ordering::Relaxed);
        self.live.seeds.store(moment.seeds, Ordering::Relaxed);
        self.live.updated_ms.store(self.now_ms(), Ordering::Release);
    }

    /// The last moment shown; without rates when that was a while ago.
    pub fn moment(&self) -> Moment {
        let age =
            Duration::from_millis(self.now_ms().saturating_sub(self.live.updated_ms.load(Ordering::Acquire)));
        let rate = |rate: &AtomicU64| if age > STALE { 0 } else { rate.load(Ordering::Relaxed) };
        Moment {
            download_rate: rate(&self.live.download_rate),
            upload_rate: rate(&self.live.upload_rate),
            peers: self.live.peers.load(Ordering::Relaxed),
            seeds: self.live.seeds.load(Ordering::Relaxed),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_the_atomic() {
        let stats = Stats::new(10, TorrentState::Checking, 0, 0);
        for state in STATES {
            stats.set_state(state);
            assert_eq!(stats.state(), state);
        }
        stats.fail("disk".into(), true);
        assert_eq!((stats.error().as_deref(), stats.again_s()), (Some("disk"), Some(0)));
        stats.try_again_in(Duration::from_secs(500));
        assert!((499..=500).contains(&stats.again_s().unwrap()));
        stats.fail("link".into(), false);
        assert_eq!((stats.error().as_deref(), stats.again_s()), (Some("link"), None));
        stats.try_again_in(Duration::from_secs(500));
        stats.set_state(TorrentState::Downloading);
        assert_eq!((stats.error(), stats.again_s()), (None, None));
    }

    #[test]
    fn nothing_is_complete_before_the_last_selection_is_carried_out() {
        let stats = Stats::new(10, TorrentState::Seeding, 1, 10);
        assert_eq!((stats.lacking(), stats.wanted_if_not_all()), (0, None));
        let (first, second) = (stats.ask(), stats.ask());
        assert_eq!((stats.lacking(), stats.wanted_if_not_all()), (1, Some((10, 1))));
        stats.carried_out(first);
        assert!(!stats.is_as_asked());
        stats.carried_out(second);
        // Somebody who was slow.
        stats.carried_out(first);
        assert_eq!((stats.is_as_asked(), stats.lacking()), (true, 0));
    }

    #[test]
    fn left_goes_down_with_every_piece() {
        let stats = Stats::new(10, TorrentState::Downloading, 0, 0);
        stats.add_piece(5);
        assert_eq!(stats.transfer.read().2, 5);
        assert_eq!(stats.bytes_had.load(Ordering::Relaxed), 5);
    }
}
