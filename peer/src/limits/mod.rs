//! Rate limits: of a torrent and of all torrents together, down and up. What is counted is payload: the bytes of blocks,
//! without the headers of messages and packets.
//!
//! A connection asks its [`Allowance`] once a turn. It is granted a part of the torrent's limit and of everybody's, or
//! told when to ask again, and sleeps until then without looking at its socket in that direction. A change of a rate
//! rings all who wait. Without a limit, all this costs a look at two numbers a turn.
//! The one thread here waits for the next change by ALT_SCHEDULE.

mod allowance;
mod bucket;
mod clock;
mod limiter;
mod rates;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

pub use allowance::{Allowance, Grant};
pub use clock::RateClock;
pub use limiter::Limiter;
pub use rates::{RateControl, Rates};

use crate::torrent::event::PeerKey;
use crate::wake::Waker;

/// The limits of one torrent, or of all together, in both directions.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Payload received.
    pub down: Arc<Limiter>,
    /// Payload sent.
    pub up: Arc<Limiter>,
}

impl Limits {
    /// Sets both, in bytes per second; 0: no limit.
    pub fn set(&self, down: u64, up: u64) {
        let now = Instant::now();
        self.down.set(down, now);
        self.up.set(up, now);
    }
}

/// The limits that hold for a torrent's connections.
#[derive(Debug, Clone, Default)]
pub struct TorrentLimits {
    /// Its own.
    pub own: Limits,
    /// Those of all torrents together.
    pub all: Limits,
}

impl TorrentLimits {
    /// The lower of the limits of downloading, in bytes per second; 0: there is none.
    pub fn download_rate(&self) -> u64 {
        let limited = [&self.own.down, &self.all.down].into_iter().filter(|limiter| limiter.epoch() != 0);
        limited.map(|limiter| limiter.rate()).filter(|&rate| rate > 0).min().unwrap_or(0)
    }

    /// For a connection that begins: what it may receive, and what it may send.
    pub fn allowances(&self, key: PeerKey, waker: &Waker) -> (Allowance, Allowance) {
        let allowance = |own: &Arc<Limiter>, all: &Arc<Limiter>| {
            Allowance::new([Arc::clone(own), Arc::clone(all)], key, waker.clone())
        };
        (allowance(&self.own.down, &self.all.down), allowance(&self.own.up, &self.all.up))
    }
}
