//! What all threads of a tracker share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use torrent_common::network::Network;
use torrent_common::secret::Secret;

use crate::announce::Desk;
use crate::catalogue::Catalogue;
use crate::clock::Clock;
use crate::health::Health;
use crate::http::Quota;

/// The rooms behind the front ends, and what they count.
pub(crate) struct Shared {
    pub(crate) desk: Desk,
    pub(crate) catalogue: Catalogue,
    pub(crate) clock: Clock,
    /// Where announces over UDP are answered, if anywhere.
    pub(crate) udp_port: Option<u16>,
    pub(crate) max_scrape: usize,
    pub(crate) full_scrape: bool,
    pub(crate) max_torrent_len: usize,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) upload_token: Option<Secret>,
    pub(crate) quota: Quota,
    pub(crate) served: Served,
    pub(crate) health: Arc<Health>,
}

/// Requests answered since the start. They wrap around on machines of 32 bits.
#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) announces: Counter,
    pub(crate) refused: Counter,
    pub(crate) scrapes: Counter,
    pub(crate) uploads: Counter,
    /// Connection ids given.
    pub(crate) udp_connects: Counter,
    /// Those among the announces that came over UDP.
    pub(crate) udp_announces: Counter,
    /// Packets without an answer: without a good connection id, or without sense.
    pub(crate) udp_dropped: Counter,
}

/// A number that many threads add to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicUsize);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_many(&self, count: usize) {
        if count > 0 {
            self.0.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
