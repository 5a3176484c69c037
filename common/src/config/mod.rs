//! `config.ini`: typed sections, every key with a default. An unknown key or a bad value is an error that names the file,
//! the line, and what was meant.

mod error;
mod hint;
mod keys;
pub mod ranges;
mod read;
mod schedule;
mod sites;
mod value;

pub use error::{ConfigError, Problem};
pub use ranges::parse_duration;
pub use schedule::{Schedule, ScheduleError};
pub use sites::{Site, SitesError, parse_sites};
pub use value::is_tracker_url;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::network::Network;
use crate::secret::Secret;

/// How room for a file is made when the file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preallocation {
    /// Not at all: it grows.
    None,
    /// It has its length at once, and takes room as it is written.
    #[default]
    Sparse,
    /// All its room is taken at once.
    Full,
}

impl Preallocation {
    /// Each by its name.
    pub const NAMES: [(&'static str, Self); 3] =
        [("none", Self::None), ("sparse", Self::Sparse), ("full", Self::Full)];
}

/// Which torrents a tracker tracks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessMode {
    /// All.
    #[default]
    Open,
    /// Those of a list.
    Allow,
    /// All but those of a list.
    Deny,
}

/// To whom a tracker shows what it counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MetricsFor {
    /// This machine, and trusted networks.
    #[default]
    Local,
    /// Everybody.
    All,
    /// Nobody.
    No,
}

/// Both programs' settings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// `[tracker]`.
    pub tracker: TrackerConfig,
    /// `[peer]`.
    pub peer: PeerConfig,
}

/// `[tracker]`: the keys in capitals, the same order as in config.ini.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerConfig {
    /// HOST: the address to listen on. Default 127.0.0.1.
    pub host: IpAddr,
    /// PORT: 0 lets the system choose. Default 8000.
    pub port: u16,
    /// UDP: announces over UDP too, on the same port. Default yes.
    pub udp: bool,
    /// TORRENT_DIR: where published .torrent files are kept.
    pub torrent_dir: PathBuf,
    /// TORRENT_FILE: the catalogue's database.
    pub torrent_file: PathBuf,
    /// PEER_FILE: the snapshot of the swarms.
    pub peer_file: PathBuf,
    /// INTERVAL: seconds between a peer's announces in a young swarm. Default 120.
    pub interval_s: u32,
    /// MAX_INTERVAL: the same in a swarm in which nothing changes. Default 1800.
    pub max_interval_s: u32,
    /// MIN_INTERVAL: seconds that a peer must wait in any case. Default 30.
    pub min_interval_s: u32,
    /// MAX_ANNOUNCE_RATE: announces per second of all peers; 0: no limit. Default 1000.
    pub max_announce_rate: u32,
    /// WORKERS: threads that answer requests; 0: one per core, at least 2. Default 0.
    pub workers: usize,
    /// MAX_CONNECTIONS: connections over HTTP at once. Default 1000.
    pub max_connections: usize,
    /// REQUEST_TIMEOUT: seconds for the head of a request. Default 10.
    pub request_timeout_s: u32,
    /// IDLE_TIMEOUT: seconds between an answer and the next request of a connection. Default 60.
    pub idle_timeout_s: u32,
    /// DEFAULT_PEERS: peers in an answer when the client does not say. Default 50.
    pub default_peers: u32,
    /// MAX_NUMWANT: peers in an answer at most. Default 200.
    pub max_numwant: u32,
    /// MAX_TORRENTS: torrents whose peers are remembered at most. Default 1,048,576.
    pub max_torrents: usize,
    /// MAX_PEERS: peers of all torrents that are remembered at most. Default 16,777,216.
    pub max_peers: usize,
    /// MAX_SCRAPE: info-hashes in a scrape at most. Default 64.
    pub max_scrape: usize,
    /// FULL_SCRAPE: a scrape that names no torrent is answered with all. Default no.
    pub full_scrape: bool,
    /// MAX_TORRENT_SIZE_KIB: the largest .torrent accepted by upload. Default 10240.
    pub max_torrent_len: usize,
    /// SNAPSHOT_INTERVAL: seconds between snapshots of the swarms. Default 60.
    pub snapshot_interval_s: u32,
    /// TRUSTED_NETWORKS: who may name an address in `ip=`, besides this machine. Default none.
    pub trusted_networks: Vec<Network>,
    /// TRUSTED_PROXIES: whose X-Forwarded-For is believed. Default none.
    pub trusted_proxies: Vec<Network>,
    /// PUBLIC_ADDRESS: where others reach peers of the tracker's own machine. Default auto (empty): as the system routes.
    pub public_addresses: Vec<IpAddr>,
    /// SITES: networks whose peers are near each other. Default none.
    pub sites: Vec<Site>,
    /// ACCESS: which torrents are tracked. Default open.
    pub access: AccessMode,
    /// ACCESS_FILE: the list of info-hashes for ACCESS.
    pub access_file: PathBuf,
    /// UPLOAD_TOKEN: who knows it may publish torrents and take them out again; `None`: all may publish. Default none.
    pub upload_token: Option<Secret>,
    /// UPLOAD_QUOTA: torrents that one address may publish in an hour; 0: no limit. Default 1000.
    pub upload_quota: u32,
    /// METRICS: who may see GET /metrics. Default local.
    pub metrics: MetricsFor,
}

/// `[peer]`: the keys in capitals, the same order as in config.ini.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerConfig {
    /// TRACKER_URL: the tracker used when a torrent is made, and its catalogue. Default http://127.0.0.1:8000/announce.
    pub tracker_url: String,
    /// UPLOAD_TOKEN: the tracker's, sent along when a torrent is published. Default none.
    pub upload_token: Option<Secret>,
    /// TORRENT_DIR: where .torrent files made and fetched are kept.
    pub torrent_dir: PathBuf,
    /// DOWNLOAD_DIR: where payload goes unless told otherwise.
    pub download_dir: PathBuf,
    /// SEQUENTIAL: pieces are fetched in order. Default no.
    pub sequential: bool,
    /// PREALLOCATION: how room for files is made. Default sparse.
    pub preallocation: Preallocation,
    /// STATE_DIR: what survives a restart.
    pub state_dir: PathBuf,
    /// INTERVAL: seconds between announces at the least, whatever the tracker says. Default 30.
    pub interval_s: u32,
    /// PORT: the control port, on 127.0.0.1; 0 lets the system choose. Default 5000.
    pub port: u16,
    /// PEER_HOST: the address to listen for peers on. Default `::`, which takes IPv4 as well.
    pub peer_host: IpAddr,
    /// PEER_PORT: the port for peers; 0: any. Default 6881.
    pub peer_port: u16,
    /// BLOCK_SIZE: bytes per request. Default 16384; a power of two from 4096 to 131072.
    pub block_len: u32,
    /// MAX_CONNECTIONS: of all torrents together. Default 1000.
    pub max_connections: usize,
    /// MAX_CONNECTIONS_PER_TORRENT. Default 200.
    pub max_connections_per_torrent: usize,
    /// MAX_CONNECTIONS_PER_ADDRESS: of one torrent, with one address. Default 100.
    pub max_connections_per_address: usize,
    /// MAX_HALF_OPEN: connections being dialled at once, of all torrents together. Default 100.
    pub max_half_open: usize,
    /// UPLOAD_SLOTS: peers of a torrent uploaded to at once; 0: as many as the uplink serves well. Default 0.
    pub upload_slots: usize,
    /// SUPER_SEEDING: the only seeder of a torrent sends each piece once before any twice. Default auto (true).
    pub super_seeding: bool,
    /// MAX_ACTIVE_DOWNLOADS: torrents that download or check at a time; 0: no limit. Default 0.
    pub max_active_downloads: usize,
    /// MAX_ACTIVE_SEEDS: complete torrents with connections at a time; 0: no limit. Default 0.
    pub max_active_seeds: usize,
    /// SEED_RATIO: seeding ends when so many times the size of what is selected were uploaded; 0: never. Default 0.
    pub seed_ratio: f64,
    /// SEED_TIME: seeding ends so many seconds after a torrent was complete; 0: never. In the file also as 12h. Default 0.
    pub seed_time_s: u64,
    /// DOWNLOAD_LIMIT_KIB: bytes of payload per second, of all torrents together; 0: no limit. Default 0.
    pub download_limit: u64,
    /// UPLOAD_LIMIT_KIB: the same for what is sent. Default 0.
    pub upload_limit: u64,
    /// ALT_DOWNLOAD_LIMIT_KIB: the same while the alternative limits hold. Default 0.
    pub alt_download_limit: u64,
    /// ALT_UPLOAD_LIMIT_KIB: the same for what is sent. Default 0.
    pub alt_upload_limit: u64,
    /// ALT_SCHEDULE: when the alternative limits hold. Default never.
    pub alt_schedule: Schedule,
    /// BUFFER_MIB: memory for pieces being received, of all torrents together. Default 16.
    pub buffer_len_bytes: u64,
    /// DISK_THREADS: threads that write. Default 2.
    pub disk_threads: usize,
    /// HASH_THREADS: threads that hash; 0: one per core. Default 0.
    pub hash_threads: usize,
    /// CHECKPOINT_INTERVAL: seconds between two checkpoints of a torrent that downloads. Default 30.
    pub checkpoint_interval_s: u32,
    /// CHECK_READS: how files are read to be hashed, when a torrent is made or checked. Default auto.
    pub check_reads: CheckReads,
    /// ANNOUNCE_THREADS: threads that talk to trackers. Default 4.
    pub announce_threads: usize,
    /// ANNOUNCE_TIMEOUT: seconds that a tracker has for its whole answer over HTTP. Default 15.
    pub announce_timeout_s: u32,
    /// OPEN_FILES: payload files held open. Default 256.
    pub open_files: usize,
    /// CONNECT_TIMEOUT: seconds for dialling and for the handshake. Default 10.
    pub connect_timeout_s: u32,
    /// PEER_TIMEOUT: seconds of silence after which a peer is dropped. Default 180.
    pub peer_timeout_s: u32,
    /// STOP_TIMEOUT: seconds that stopping may take, half of it for trackers and for what is on its way to disk. Default 3.
    pub stop_timeout_s: u32,
    /// MAX_TORRENT_SIZE_KIB: the largest .torrent read. Default 65536.
    pub max_torrent_len: usize,
}

/// How files are read to be hashed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CheckReads {
    /// As the disk they are on likes it.
    #[default]
    Auto,
    /// From the first byte to the last.
    Sequential,
    /// By all hashing threads at once.
    Parallel,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            host: IpAddr::from([127, 0, 0, 1]),
            port: 8000,
            udp: true,
            torrent_dir: "tracker-data/torrents".into(),
            torrent_file: "tracker-data/catalogue.db".into(),
            peer_file: "tracker-data/peers".into(),
            interval_s: 120,
            max_interval_s: 1800,
            min_interval_s: 30,
            max_announce_rate: 1000,
            workers: 0,
            max_connections: 1500,
            request_timeout_s: 10,
            idle_timeout_s: 60,
            default_peers: 50,
            max_numwant: 200,
            max_torrents: 1 << 20,
            max_peers: 1 << 24,
            max_scrape: 64,
            full_scrape: false,
            max_torrent_len: 10 << 20,
            snapshot_interval_s: 60,
            trusted_networks: Vec::new(),
            trusted_proxies: Vec::new(),
            public_addresses: Vec::new(),
            sites: Vec::new(),
            access: AccessMode::Open,
            access_file: "tracker-data/access".into(),
            upload_token: None,
            upload_quota: 1000,
            metrics: MetricsFor::Local,
        }
    }
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            tracker_url: "http://127.0.0.1:8000/announce".into(),
            upload_token: None,
            torrent_dir: "peer-data/torrents".into(),
            download_dir: "downloads".into(),
            sequential: false,
            preallocation: Preallocation::Sparse,
            state_dir: "peer-data/state".into(),
            interval_s: 30,
            port: 5000,
            peer_host: IpAddr::from([0; 16]),
            peer_port: 6881,
            block_len: 16384,
            max_connections: 1000,
            max_connections_per_torrent: 200,
            max_connections_per_address: 100,
            max_half_open: 100,
            upload_slots: 0,
            super_seeding: true,
            max_active_downloads: 0,
            max_active_seeds: 0,
            seed_ratio: 0.0,
            seed_time_s: 0,
            download_limit: 0,
            upload_limit: 0,
            alt_download_limit: 0,
            alt_upload_limit: 0,
            alt_schedule: Schedule::default(),
            buffer_len_bytes: 16 << 20,
            disk_threads: 2,
            hash_threads: 0,
            checkpoint_interval_s: 30,
            check_reads: CheckReads::Auto,
            announce_threads: 4,
            announce_timeout_s: 15,
            open_files: 256,
            connect_timeout_s: 10,
            peer_timeout_s: 180,
            stop_timeout_s: 3,
            max_torrent_len: 64 << 20,
        }
    }
}

impl Config {
    /// Finds and reads the configuration: `explicit` (from `--config`; must exist), else ./config.ini, else
    /// torrent/config.ini in the user's configuration folder (`XDG_CONFIG_HOME`, `~/.config`), else the defaults. With
    /// it comes the path of the file that was read.
    ///
    /// `env` and `read` stand for the process's environment and the file system, so that tests need neither.
    ///
    /// # Errors
    /// [`ConfigError`] names the file and the line.
    pub fn load(
        explicit: Option<&Path>,
        env: impl Fn(&str) -> Option<PathBuf>,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<(Self, Option<PathBuf>), ConfigError> {
        // As the XDG base directory specification has it, what is not absolute is as if not set.
        let folder = |name: &str| env(name).filter(|path| path.is_absolute());
        let home = folder("HOME");
        let user = folder("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
        let candidates = match explicit {
            Some(path) => vec![path.to_owned()],
            None => {
                let user = user.map(|folder| folder.join("torrent").join("config.ini"));
                [Some("config.ini".into()), user].into_iter().flatten().collect()
            }
        };
        for path in candidates {
            match read(&path) {
                Ok(text) => return Ok((Self::parse(&text, &path, home.as_deref())?, Some(path))),
                Err(error) if explicit.is_none() && is_absent(&error) => {}
                Err(source) => return Err(ConfigError::Read { path, source }),
            }
        }
        Ok((Self::default(), None))
    }

    /// Reads the text of a configuration file that stands at `path`. Relative paths are relative to its folder, those
    /// of the defaults as well, so that a key left out means the same as the key with its default. A path that begins
    /// with `~/` begins in `home`.
    ///
    /// # Errors
    /// [`ConfigError`] names the file and the line.
    pub fn parse(text: &str, path: &Path, home: Option<&Path>) -> Result<Self, ConfigError> {
        read::read(text, path, home)
    }

    /// Every path among the settings.
    fn paths_mut(&mut self) -> [&mut PathBuf; 7] {
        let Self { tracker, peer } = self;
        [
            &mut tracker.torrent_dir,
            &mut tracker.torrent_file,
            &mut tracker.peer_file,
            &mut tracker.access_file,
            &mut peer.torrent_dir,
            &mut peer.download_dir,
            &mut peer.state_dir,
        ]
    }
}

/// Whether there is no such file, rather than one that cannot be read.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests;
