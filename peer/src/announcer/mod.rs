//! Talking to trackers: [`schedule`] decides when and whom (pure), a small fixed pool of threads does it.

pub mod exchange;
mod pool;
pub mod queue;
pub mod schedule;
pub mod tiers;
pub mod udp;
pub mod words;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use torrent_common::ids::{InfoHash, PeerId};

use pool::Pool;

/// The counters of a torrent that announces tell, in bytes of payload. Shared: the torrent writes, the announcer reads.
#[derive(Debug, Default)]
pub struct Transfer {
    /// Uploaded since `started` was announced.
    pub uploaded: AtomicU64,
    /// Downloaded since `started` was announced.
    pub downloaded: AtomicU64,
    /// Still lacking: 0 is a seeder.
    pub left: AtomicU64,
    /// The same of what is wanted: 0 of a partial seed too (BEP 21).
    pub lacking: AtomicU64,
}

impl Transfer {
    /// Nothing transferred yet, `left` bytes lacking.
    pub const fn new(left: u64) -> Self {
        Self {
            uploaded: AtomicU64::new(0),
            downloaded: AtomicU64::new(0),
            left: AtomicU64::new(left),
            lacking: AtomicU64::new(left),
        }
    }

    /// Something is lacking, and nothing of it is wanted.
    pub fn is_partial_seed(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0 && self.lacking.load(Ordering::Relaxed) == 0
    }

    /// Uploaded, downloaded, left: as they are now.
    pub fn read(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.uploaded), read(&self.downloaded), read(&self.left))
    }
}

/// A torrent to announce.
#[derive(Debug, Clone)]
pub struct AnnounceTarget {
    /// Which.
    pub info_hash: InfoHash,
    /// Its trackers by tier (BEP 12).
    pub tiers: Vec<Vec<String>>,
    /// What to tell them.
    pub transfer: Arc<Transfer>,
}

/// How to announce.
#[derive(Debug, Clone)]
pub struct AnnouncerConfig {
    /// Who we are.
    pub peer_id: PeerId,
    /// Proves our identity to trackers when our address changes: random, and the same for the life of the process.
    pub key: u32,
    /// Where peers reach us.
    pub listen_port: u16,
    /// Between two announces of a torrent at the least, whatever its tracker says.
    pub min_interval: Duration,
    /// For one announce, from looking up the name to the last byte of the answer.
    pub timeout: Duration,
    /// Threads that talk to trackers; at least 1.
    pub threads: usize,
}

/// What the announcer tells its owner, on one of its threads. May come once more after [`Announcer::remove`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A tracker answered.
    Peers {
        /// For which torrent.
        info_hash: InfoHash,
        /// Peers to talk to: at most 500. A stranger's list: may hold anything, ourselves included.
        peers: Vec<SocketAddr>,
        /// Seeders in the swarm, as the tracker says.
        complete: u32,
        /// Leechers in the swarm, as the tracker says.
        incomplete: u32,
        /// Until the next announce, unless something happens before.
        interval: Duration,
    },
    /// No tracker of the torrent answered. Told once per round through its tiers; the announcer tries again by itself.
    Failed {
        /// For which torrent.
        info_hash: InfoHash,
        /// What the last one asked said, or why it said nothing. Safe to print: escaped, and at most 200 characters.
        reason: String,
    },
}

/// The announcer. Dropped without [`Announcer::stop`] it hangs up and tells trackers nothing.
#[derive(Debug)]
pub struct Announcer {
    pool: Pool,
}

impl Announcer {
    /// Starts the threads. `sink` is called on them: it may block (on a torrent), but not on the announcer.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread.
    pub fn start(config: AnnouncerConfig, sink: impl Fn(Answer) + Send + Sync + 'static) -> io::Result<Self> {
        Ok(Self { pool: Pool::start(config, Box::new(sink))? })
    }

    /// Announces `started` soon: at once, or, with `spread`, in turn after others added so, for when thousands are
    /// restored together. A torrent already there is replaced and announces `started` again. Never blocks.
    pub fn add(&self, target: AnnounceTarget, spread: bool) {
        let told = self.pool.change(|queue| queue.add(&target, spread, Instant::now()));
        pool::log_line(told.line);
    }

    /// Announces `completed`: the torrent has just become a seeder. Not for one that was complete when added. Never
    /// blocks.
    pub fn completed(&self, info_hash: InfoHash) {
        self.pool.change(|queue| queue.completed(info_hash, Instant::now()));
    }

    /// Announces earlier than planned, as soon as the tracker's and the configured minimum interval allow. Never
    /// blocks.
    pub fn want_peers(&self, info_hash: InfoHash) {
        self.pool.change(|queue| queue.want_peers(info_hash, Instant::now()));
    }

    /// Announces `stopped` to the trackers that know us, then forgets the torrent. Never blocks.
    pub fn remove(&self, info_hash: InfoHash) {
        self.pool.change(|queue| queue.remove(info_hash, Instant::now()));
    }

    /// Whether the torrent was added and not removed.
    pub fn knows(&self, info_hash: InfoHash) -> bool {
        self.pool.knows(info_hash)
    }

    /// The last answer of the torrent's tracker in words, or why there was none. Safe to print.
    pub fn message(&self, info_hash: InfoHash) -> Option<String> {
        self.pool.message(info_hash)
    }

    /// Announces `stopped` for every torrent, in parallel, for as long as `patience`; then hangs up and joins every
    /// thread; torrents added later are not announced. An [`Answer`] that is being told is waited for; no other is told.
    pub fn stop(&self, patience: Duration) {
        self.pool.stop(patience);
    }
}

#[cfg(test)]
mod tests;
