//! What all threads of a tracker share.

use std::sync::Arc;

use torrent_common::config::MetricsFor;
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
