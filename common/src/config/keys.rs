//! Every key, in the order of config.ini, with what it takes and where that goes.

use super::ranges::{ACTIVE_TORRENTS, CONNECTIONS, SEED_RATIO, SEED_TIME};
use super::value::{Outcome, Value};
use super::{AccessMode, Config, MetricsFor, PeerConfig, Preallocation, TrackerConfig};

/// A key of one section.
pub(super) struct Key<T> {
    /// As it stands in the file.
    pub name: &'static str,
    /// Reads the value into its field.
    pub set: fn(&mut T, &Value) -> Outcome,
}

/// A day: more is no interval or time-out, but a mistake.
const DAY_S: u64 = 86_400;
/// 256 MiB: the metainfo of some hundred TiB.
const MAX_TORRENT_KIB: u64 = 256 << 10;

const fn key<T>(name: &'static str, set: fn(&mut T, &Value) -> Outcome) -> Key<T> {
    Key { name, set }
}

/// `[tracker]`.
pub(super) const TRACKER: &[Key<TrackerConfig>] = &[
    key("HOST", |c, v| v.address(&mut c.host)),
    key("PORT", |c, v| v.number("", 0..=65535, &mut c.port)),
    key("UDP", |c, v| v.one_of(&[("yes", true), ("no", false)], &mut c.udp)),
    key("TORRENT_DIR", |c, v| v.path(&mut c.torrent_dir)),
    key("TORRENT_FILE", |c, v| v.path(&mut c.torrent_file)),
    key("PEER_FILE", |c, v| v.path(&mut c.peer_file)),
    key("INTERVAL", |c, v| v.number("seconds", 1..=DAY_S, &mut c.interval_s)),
    key("MAX_INTERVAL", |c, v| v.number("seconds", 1..=DAY_S, &mut c.max_interval_s)),
    key("MIN_INTERVAL", |c, v| v.number("seconds", 0..=DAY_S, &mut c.min_interval_s)),
    key("MAX_ANNOUNCE_RATE", |c, v| {
        v.number("announces per second (0: no limit)", 0..=10_000_000, &mut c.max_announce_rate)
    }),
    key("WORKERS", |c, v| v.number("threads", 0..=256, &mut c.workers)),
    key("MAX_CONNECTIONS", |c, v| v.number("connections", 1..=100_000, &mut c.max_connections)),
    key("REQUEST_TIMEOUT", |c, v| v.number("seconds", 1..=3600, &mut c.request_timeout_s)),
    key("IDLE_TIMEOUT", |c, v| v.number("seconds", 1..=3600, &mut c.idle_timeout_s)),
    key("DEFAULT_PEERS", |c, v| v.number("peers", 1..=2000, &mut c.default_peers)),
    key("MAX_NUMWANT", |c, v| v.number("peers", 1..=2000, &mut c.max_numwant)),
    key("MAX_TORRENTS", |c, v| v.number("torrents", 1..=16_000_000, &mut c.max_torrents)),
    key("MAX_PEERS", |c, v| v.number("peers", 1..=1_000_000_000, &mut c.max_peers)),
    key("MAX_SCRAPE", |c, v| v.number("torrents", 1..=1000, &mut c.max_scrape)),
    key("FULL_SCRAPE", |c, v| v.one_of(&[("no", false), ("yes", true)], &mut c.full_scrape)),
    key("MAX_TORRENT_SIZE_KIB", |c, v| v.scaled("KiB", 1..=MAX_TORRENT_KIB, 1024, &mut c.max_torrent_len)),
    key("SNAPSHOT_INTERVAL", |c, v| v.number("seconds", 1..=DAY_S, &mut c.snapshot_interval_s)),
    key("TRUSTED_NETWORKS", |c, v| v.networks(&mut c.trusted_networks)),
    key("TRUSTED_PROXIES", |c, v| v.networks(&mut c.trusted_proxies)),
    key("PUBLIC_ADDRESS", |c, v| v.addresses(&mut c.public_addresses)),
    key("SITES", |c, v| v.sites(&mut c.sites)),
    key("ACCESS", |c, v| {
        let modes = [("open", AccessMode::Open), ("allow", AccessMode::Allow), ("deny", AccessMode::Deny)];
        v.one_of(&modes, &mut c.access)
    }),
    key("ACCESS_FILE", |c, v| v.path(&mut c.access_file)),
    key("UPLOAD_TOKEN", |c, v| v.secret(&mut c.upload_token)),
    key("UPLOAD_QUOTA", |c, v| v.number("torrents (0: no limit)", 0..=1_000_000, &mut c.upload_quota)),
    key("METRICS", |c, v| {
        let whom = [("local", MetricsFor::Local), ("all", MetricsFor::All), ("no", MetricsFor::No)];
        v.one_of(&whom, &mut c.metrics)
    }),
];

/// `[peer]`.
pub(super) const PEER: &[Key<PeerConfig>] = &[
    key("TRACKER_URL", |c, v| v.tracker_url(&mut c.tracker_url)),
    key("UPLOAD_TOKEN", |c, v| v.secret(&mut c.upload_token)),
    key("TORRENT_DIR", |c, v| v.path(&mut c.torrent_dir)),
    key("DOWNLOAD_DIR", |c, v| v.path(&mut c.download_dir)),
    key("SEQUENTIAL", |c, v| v.one_of(&[("no", false), ("yes", true)], &mut c.sequential)),
    key("PREALLOCATION", |c, v| v.one_of(&Preallocation::NAMES, &mut c.preallocation)),
    key("STATE_DIR", |c, v| v.path(&mut c.state_dir)),
    key("INTERVAL", |c, v| v.number("seconds", 1..=DAY_S, &mut c.interval_s)),
    key("PORT", |c, v| v.number("", 0..=65535, &mut c.port)),
    key("PEER_HOST", |c, v| v.address(&mut c.peer_host)),
    key("PEER_PORT", |c, v| v.number("", 0..=65535, &mut c.peer_port)),
    key("BLOCK_SIZE", |c, v| v.power_of_two(4096..=131_072, &mut c.block_len)),
    key("MAX_CONNECTIONS", |c, v| v.whole(&CONNECTIONS, 1, &mut c.max_connections)),
    key("MAX_CONNECTIONS_PER_TORRENT", |c, v| v.whole(&CONNECTIONS, 1, &mut c.max_connections_per_torrent)),
    key("MAX_CONNECTIONS_PER_ADDRESS", |c, v| v.whole(&CONNECTIONS, 1, &mut c.max_connections_per_address)),
    key("MAX_HALF_OPEN", |c, v| v.number("connections", 1..=1000, &mut c.max_half_open)),
    key("UPLOAD_SLOTS", |c, v| v.number("peers", 0..=1000, &mut c.upload_slots)),
    key("SUPER_SEEDING", |c, v| v.one_of(&[("auto", true), ("off", false)], &mut c.super_seeding)),
    key("MAX_ACTIVE_DOWNLOADS", |c, v| v.whole(&ACTIVE_TORRENTS, 1, &mut c.max_active_downloads)),
    key("MAX_ACTIVE_SEEDS", |c, v| v.whole(&ACTIVE_TORRENTS, 1, &mut c.max_active_seeds)),
    key("SEED_RATIO", |c, v| v.decimal(&SEED_RATIO, &mut c.seed_ratio)),
    key("SEED_TIME", |c, v| v.duration(&SEED_TIME, &mut c.seed_time_s)),
    key("DOWNLOAD_LIMIT_KIB", |c, v| v.rate(&mut c.download_limit)),
    key("UPLOAD_LIMIT_KIB", |c, v| v.rate(&mut c.upload_limit)),
    key("ALT_DOWNLOAD_LIMIT_KIB", |c, v| v.rate(&mut c.alt_download_limit)),
    key("ALT_UPLOAD_LIMIT_KIB", |c, v| v.rate(&mut c.alt_upload_limit)),
    key("ALT_SCHEDULE", |c, v| v.schedule(&mut c.alt_schedule)),
    key("BUFFER_MIB", |c, v| v.scaled("MiB", 1..=65536, 1 << 20, &mut c.buffer_len_bytes)),
    key("DISK_THREADS", |c, v| v.number("threads", 1..=64, &mut c.disk_threads)),
    key("HASH_THREADS", |c, v| v.number("threads", 0..=256, &mut c.hash_threads)),
    key("CHECKPOINT_INTERVAL", |c, v| v.number("seconds", 1..=3600, &mut c.checkpoint_interval_s)),
    key("CHECK_READS", |c, v| v.check_reads(&mut c.check_reads)),
    key("ANNOUNCE_THREADS", |c, v| v.number("threads", 1..=64, &mut c.announce_threads)),
    key("ANNOUNCE_TIMEOUT", |c, v| v.number("seconds", 1..=600, &mut c.announce_timeout_s)),
    key("OPEN_FILES", |c, v| v.number("files", 1..=65536, &mut c.open_files)),
    key("CONNECT_TIMEOUT", |c, v| v.number("seconds", 1..=600, &mut c.connect_timeout_s)),
    key("PEER_TIMEOUT", |c, v| v.number("seconds", 1..=DAY_S, &mut c.peer_timeout_s)),
    key("STOP_TIMEOUT", |c, v| v.number("seconds", 1..=600, &mut c.stop_timeout_s)),
    key("MAX_TORRENT_SIZE_KIB", |c, v| v.scaled("KiB", 1..=MAX_TORRENT_KIB, 1024, &mut c.max_torrent_len)),
];

/// A section of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Tracker,
    Peer,
}

impl Section {
    pub const ALL: [Self; 2] = [Self::Tracker, Self::Peer];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Tracker => "tracker",
            Self::Peer => "peer",
        }
    }

    /// The names of its keys, in the order of config.ini.
    pub fn keys(self) -> Vec<&'static str> {
        match self {
            Self::Tracker => TRACKER.iter().map(|key| key.name).collect(),
            Self::Peer => PEER.iter().map(|key| key.name).collect(),
        }
    }

    /// Reads a value into the field of the key called `name`; `None` if there is no such key. With the outcome comes the
    /// name as the program has it.
    pub fn set(self, config: &mut Config, name: &str, value: &Value) -> Option<(&'static str, Outcome)> {
        match self {
            Self::Tracker => set(TRACKER, &mut config.tracker, name, value),
            Self::Peer => set(PEER, &mut config.peer, name, value),
        }
    }
}

fn set<T>(keys: &[Key<T>], section: &mut T, name: &str, value: &Value) -> Option<(&'static str, Outcome)> {
    let key = keys.iter().find(|key| key.name == name)?;
    Some((key.name, (key.set)(section, value)))
}
