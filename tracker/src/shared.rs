//! What all threads of a tracker share.

use std::sync::Arc;

use torrent_common::config::{MetricsFor, TrackerConfig};
use torrent_common::network::Network;
use torrent_common::secret::Secret;

use crate::announce::Desk;
use crate::catalogue::Catalogue;
use crate::clock::Clock;
use crate::health::Health;
use crate::http::Quota;
use crate::metrics::Metrics;

/// The rooms behind the front ends, and what is counted.
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
    pub(crate) metrics_for: MetricsFor,
    pub(crate) metrics: Metrics,
    pub(crate) health: Arc<Health>,
}

impl Shared {
    /// As configured; nothing was counted yet.
    pub(crate) fn new(
        config: &TrackerConfig,
        desk: Desk,
        catalogue: Catalogue,
        health: Arc<Health>,
        udp_port: Option<u16>,
    ) -> Self {
        Self {
            desk,
            catalogue,
            clock: Clock::new(),
            udp_port,
            max_scrape: config.max_scrape,
            full_scrape: config.full_scrape,
            max_torrent_len: config.max_torrent_len,
            trusted_proxies: config.trusted_proxies.clone(),
            upload_token: config.upload_token.clone(),
            quota: Quota::new(config.upload_quota),
            metrics_for: config.metrics,
            metrics: Metrics::new(),
            health,
        }
    }
}
