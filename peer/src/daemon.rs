//! Puts the daemon together, and takes it apart again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use torrent_common::config::PeerConfig;
use torrent_common::ids::PeerId;

use crate::announcer::{Announcer, AnnouncerConfig};
use crate::connection::registry::Connections;
use crate::control::api::Status;
use crate::control::engine::Engine;
use crate::control::server::{self, ControlError, ControlServer};
use crate::limits::RateClock;
use crate::listen::Listener;
use crate::resume::{ResumeError, ResumeStore};
use crate::session::{RunningSession, SessionError, SessionParts};
use crate::settings::SessionSettings;
use crate::storage::blocks::BlockPool;
use crate::storage::disk::DiskThreads;
use crate::torrent::Room;
use crate::torrent::bans::Bans;

/// Writes that may wait for a disk thread.
const DISK_QUEUE_LEN: usize = 64;

/// Makes daemons.
pub struct Daemon;

/// A daemon at work. Call [`Running::stop`]: dropping it alone saves nothing.
pub struct Running {
    control: ControlServer,
    listener: Listener,
    session: RunningSession,
    connections: Arc<Connections>,
    /// For trackers to hear that we stop, and for what is on its way to disk.
    patience: Duration,
    /// Ends when it is dropped.
    _rate_clock: RateClock,
}

/// Why the daemon did not start, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder cannot be made.
    #[error("cannot make the folder {path} ({source}): set {key} in config.ini to one that you may write", path = path.display())]
    Folder {
        /// The setting that names it.
        key: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// STATE_DIR.
    #[error(transparent)]
    State(#[from] ResumeError),
    /// The control port.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The port for peers.
    #[error(
        "cannot listen on port {port} for peers ({source}): is another client running? Set PEER_PORT or say --peer-port"
    )]
    Peers {
        /// The port asked for.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// The system has no room for our threads.
    #[error("cannot start threads: {0}")]
    Threads(String),
}

impl Daemon {
    /// Starts a daemon: when this returns, it takes commands and peers.
    ///
    /// # Errors
    /// [`StartError`] tells the user what to do.
    pub fn start(config: PeerConfig) -> Result<Running, StartError> {
        for (key, path) in [
            ("DOWNLOAD_DIR", &config.download_dir),
            ("TORRENT_DIR", &config.torrent_dir),
            ("STATE_DIR", &config.state_dir),
        ] {
            std::fs::create_dir_all(path).map_err(|source| StartError::Folder {
                key,
                path: path.clone(),
                source,
            })?;
        }
        let mut config = config;
        if let Ok(absolute) = std::path::absolute(&config.download_dir) {
            // What is saved must hold after a start from another folder.
            config.download_dir = absolute;
        }
        let store = ResumeStore::open(&config.state_dir)?;
        let mut random = fastrand::Rng::new();
        let own_peer_id = PeerId::generate(&mut random);
        let key = random.u32(..);
        let connections = Connections::new(config.max_connections, config.max_half_open);
        let room = Arc::new(make_room(&config, &connections)?);
        room.rates.set(SessionSettings::configured(&config).rates());
        let rate_clock = RateClock::start(Arc::clone(&room.rates)).map_err(threads)?;
        let parts = SessionParts { config: config.clone(), room, store, own_peer_id, key };
        let session = RunningSession::start(parts).map_err(|error| match error {
            SessionError::State(error) => StartError::State(error),
            SessionError::Thread(error) => threads(error),
        })?;
        Self::open(&config, own_peer_id, key, session, connections, rate_clock)
    }

    fn open(
        config: &PeerConfig,
        own_peer_id: PeerId,
        key: u32,
        session: RunningSession,
        connections: Arc<Connections>,
        rate_clock: RateClock,
    ) -> Result<Running, StartError> {
        let handle = session.session();
        let handshake = Duration::from_secs(config.connect_timeout_s.into());
        let patience = Duration::from_secs(config.stop_timeout_s.into()) / 2;
        let directory = Arc::new(handle.clone());
        let started = Listener::start(
            config.peer_host,
            config.peer_port,
            Arc::clone(&connections),
            directory,
            handshake,
        )
        .map_err(|source| StartError::Peers { port: config.peer_port, source })
        .and_then(|listener| {
            let control =
                ControlServer::start(config.port, server::DEFAULT_WORKERS, Arc::new(handle.clone()))?;
            let announcer_config = AnnouncerConfig {
                peer_id: own_peer_id,
                key,
                listen_port: listener.address().port(),
                min_interval: Duration::from_secs(config.interval_s.into()),
                timeout: Duration::from_secs(config.announce_timeout_s.into()),
                threads: config.announce_threads,
            };
            let announcer =
                Announcer::start(announcer_config, move |answer| handle.answered(answer)).map_err(threads)?;
            Ok((listener, control, announcer))
        });
        match started {
            Ok((listener, control, announcer)) => {
                session.open(listener.address().port(), announcer);
                Ok(Running { control, listener, session, connections, patience, _rate_clock: rate_clock })
            }
            Err(error) => {
                session.tell_to_stop(Duration::ZERO);
                session.join();
                Err(error)
            }
        }
    }
}

impl Running {
    /// Where commands are taken.
    pub fn control_address(&self) -> SocketAddr {
        self.control.address()
    }

    /// Where peers are taken.
    pub fn peer_address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Every torrent.
    pub fn status(&self) -> Status {
        self.session.session().status()
    }

    /// The same, for a thread of its own.
    pub fn watcher(&self) -> impl Fn() -> Status + Send + use<> {
        let session = self.session.session();
        move || session.status()
    }

    /// Torrents are told to stop first of all, and are saved, whatever keeps others: then no more commands, no more strangers,
    /// trackers told, every thread joined. Takes longer than STOP_TIMEOUT only where a disk hangs.
    pub fn stop(self) {
        self.session.tell_to_stop(self.patience);
        self.control.stop();
        drop(self.listener);
        self.session.join();
        self.connections.stop();
    }
}

fn make_room(config: &PeerConfig, connections: &Arc<Connections>) -> Result<Room, StartError> {
    let hashers = |kind: &'static str| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(config.hash_threads)
            .thread_name(move |number| format!("{kind}-{number}"))
            .build()
            .map_err(|error| StartError::Threads(error.to_string()))
    };
    Ok(Room {
        pool: BlockPool::new(config.block_len, config.buffer_len_bytes),
        disk: DiskThreads::start(config.disk_threads, DISK_QUEUE_LEN).map_err(threads)?,
        hashers: hashers("hash")?,
        checkers: hashers("check")?,
        connections: Arc::clone(connections),
        bans: Bans::default(),
        rates: Arc::default(),
    })
}

fn threads(error: std::io::Error) -> StartError {
    StartError::Threads(error.to_string())
}
