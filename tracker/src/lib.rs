//! The tracker: swarms, a catalogue of published torrents, HTTP in front of both, and UDP in front of the swarms.
//!
//! [`Tracker::start`] opens everything and returns; threads do the rest until [`Running::stop`].
#![forbid(unsafe_code)]

pub mod access;
pub mod address;
pub mod announce;
mod aside;
pub mod catalogue;
mod clock;
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod housekeeping;
mod http;
mod metrics;
pub mod near;
mod shared;
pub mod snapshot;
mod startable;
pub mod swarm;
mod udp;

use std::fs::{File, TryLockError};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use torrent_common::config::TrackerConfig;
use torrent_common::worker::Worker;

use access::{Access, AccessError};
use announce::Desk;
use catalogue::{Catalogue, CatalogueError};
use clock::Clock;
use health::{Health, Part};
use housekeeping::{Housekeeping, keep_downloads, sweep_interval};
use http::{Http, Limits};
use shared::Shared;
use snapshot::{Found, Loaded, SnapshotError};
use udp::Udp;

/// Times that the system is asked for another port when it chose one that is free for HTTP alone.
const PORT_TRIES: usize = 16;

/// Why a tracker did not start, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody listens there already.
    #[error("{0} is in use: is a tracker running already? Choose another with --port, or PORT in config.ini")]
    InUse(SocketAddr),
    /// Another tracker keeps its torrents there.
    #[error("{} is in use by another tracker: this one needs a TORRENT_DIR, TORRENT_FILE and PEER_FILE of its own", .0.display())]
    FolderInUse(PathBuf),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source} (see --host and --port, or HOST and PORT in config.ini)")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// Somebody gets what is sent there over UDP.
    #[error(
        "{0} is in use over UDP: choose another port with --port, or PORT in config.ini, or do without UDP (UDP = no)"
    )]
    UdpInUse(SocketAddr),
    /// The address cannot be used for UDP.
    #[error("cannot receive over UDP at {address}: {source} (see HOST, PORT and UDP in config.ini)")]
    Udp {
        /// Which one.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The list of torrents cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The catalogue cannot be used.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The snapshot of the swarms cannot be used.
    #[error("{0} (PEER_FILE in config.ini)")]
    Snapshot(#[from] SnapshotError),
    /// No thread could be started.
    #[error("cannot start threads: {0}")]
    Threads(io::Error),
}

/// The tracker.
pub struct Tracker;

/// A tracker at work. It stops when this is dropped.
pub struct Running {
    address: SocketAddr,
    shared: Arc<Shared>,
    http: Option<Http>,
    udp: Option<Udp>,
    housekeeper: Option<(Sender<()>, Worker)>,
    keeper: Option<(Sender<()>, Worker)>,
    peer_file: PathBuf,
    /// Given back when everything else has ended, or with the process.
    lock: Option<File>,
}

impl Tracker {
    /// Opens the port, the catalogue and the snapshot, and begins to answer.
    ///
    /// # Errors
    /// [`StartError`], in words for the user.
    pub fn start(config: &TrackerConfig) -> Result<Running, StartError> {
        // The port first: a second tracker with the same configuration must not touch the first one's files.
        let Listening { listener, sockets, address } = listen(config)?;
        let wall_s = Clock::wall_s();
        let access = Access::load(config)?;
        let lock = lock(&config.torrent_dir)?;
        let health = Arc::new(Health::default());
        let catalogue = Catalogue::open(
            &config.torrent_file,
            &config.torrent_dir,
            config.max_torrent_len,
            i64::try_from(wall_s).unwrap_or(i64::MAX),
            Arc::clone(&health),
        )?;
        let desk = Desk::new(config, &mut fastrand::Rng::new()).with_access(access);
        let udp_port = config.udp.then(|| address.port());
        let shared = Arc::new(Shared::new(config, desk, catalogue, health, udp_port));
        let swarms = shared.desk.swarms();
        snapshot::remove_leftovers(&config.peer_file);
        let mut found = Found::default();
        load(&shared, &config.peer_file, wall_s, &mut found)?;
        // Swarms of before the list was made.
        swarms.retain(|info_hash| shared.desk.access().permits(info_hash), &mut found.retired);
        if found.has_loopback {
            shared.desk.note_local_peers();
        }
        // Proves now, not at the end, that the file can be written; a disk that is full is no reason not to serve.
        if let Err(error) = snapshot::save(swarms, &config.peer_file, shared.clock.now_s(), wall_s) {
            shared.health.trouble(Part::Swarms, error.disk_trouble().ok_or(error)?);
        }
        // Now that they are not in the file any more, so that no restart adds them again.
        keep_downloads(&shared.catalogue, &found.retired);
        shared.catalogue.add_waiting_downloads();
        let housekeeper = Housekeeping {
            shared: Arc::clone(&shared),
            peer_file: config.peer_file.clone(),
            snapshot_interval: Duration::from_secs(config.snapshot_interval_s.max(1).into()),
            sweep_interval: sweep_interval(config.interval_s),
        };
        let udp = Udp::start(sockets, &shared).map_err(StartError::Threads)?;
        let limits = Limits {
            connections: config.max_connections,
            request: Duration::from_secs(config.request_timeout_s.into()),
            idle: Duration::from_secs(config.idle_timeout_s.into()),
        };
        let http = Http::start(listener, Arc::clone(&shared), config.workers, limits)
            .map_err(StartError::Threads)?;
        let mut running = Running {
            address,
            shared: Arc::clone(&shared),
            http: Some(http),
            udp: Some(udp),
            housekeeper: None,
            keeper: None,
            peer_file: config.peer_file.clone(),
            lock,
        };
        running.housekeeper = Some(begin("housekeeper", move |stopped| housekeeper.run(stopped))?);
        running.keeper = Some(begin("catalogue-keeper", move |stopped| shared.catalogue.keep(stopped))?);
        Ok(running)
    }
}

/// Takes the swarms from the snapshot. A disk that fails is no reason not to serve: peers announce again.
fn load(shared: &Shared, peer_file: &Path, wall_s: u64, found: &mut Found) -> Result<(), SnapshotError> {
    let path = peer_file.display();
    match snapshot::load(shared.desk.swarms(), peer_file, shared.clock.now_s(), wall_s, found) {
        Ok(Loaded::None | Loaded::Whole) => {}
        Ok(Loaded::Damaged(Some(kept))) => log::warn!(
            "{path} was damaged or of another version: what could be read is used, the file is now {}",
            kept.display()
        ),
        Ok(Loaded::Damaged(None)) => log::warn!(
            "{path} was damaged or of another version, and cannot be renamed: what could be read is used, and it is \
             written over as soon as that is possible"
        ),
        Err(error) if error.disk_trouble().is_some() => {
            log::warn!("{error}: the swarms begin with what was read, and fill with the next announces");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Starts a thread that runs until the channel is closed.
fn begin(
    name: &str,
    run: impl FnOnce(&Receiver<()>) + Send + 'static,
) -> Result<(Sender<()>, Worker), StartError> {
    let (stop, stopped) = crossbeam_channel::bounded(0);
    let worker = Worker::spawn(name, move || run(&stopped)).map_err(StartError::Threads)?;
    Ok((stop, worker))
}

/// The tracker's port.
struct Listening {
    listener: TcpListener,
    /// None without UDP.
    sockets: Vec<UdpSocket>,
    address: SocketAddr,
}

/// Opens the port for HTTP, and the same for UDP.
fn listen(config: &TrackerConfig) -> Result<Listening, StartError> {
    let mut tries = PORT_TRIES;
    loop {
        let listener = http::listen(SocketAddr::new(config.host, config.port))?;
        let address = listener.local_addr().map_err(StartError::Threads)?;
        if !config.udp {
            return Ok(Listening { listener, sockets: Vec::new(), address });
        }
        match udp::listen(address, config.workers) {
            Ok(sockets) => return Ok(Listening { listener, sockets, address }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tries -= 1;
                if config.port != 0 || tries == 0 {
                    return Err(StartError::UdpInUse(address));
                }
            }
            Err(source) => return Err(StartError::Udp { address, source }),
        }
    }
}

/// Takes the folder of torrent files for this tracker alone: two with the same files on different ports would write over
/// each other's PEER_FILE. Where that is not possible (some network file systems) it goes without.
fn lock(folder: &Path) -> Result<Option<File>, StartError> {
    let locked = std::fs::create_dir_all(folder).and_then(|()| File::open(folder)).map(|file| {
        let taken = file.try_lock();
        (file, taken)
    });
    match locked {
        Ok((file, Ok(()))) => Ok(Some(file)),
        Ok((_, Err(TryLockError::WouldBlock))) => Err(StartError::FolderInUse(folder.to_owned())),
        // A folder that cannot be made or opened is told by the catalogue.
        Ok((_, Err(TryLockError::Error(error)))) | Err(error) => {
            log::debug!("{} is not locked: {error}", folder.display());
            Ok(None)
        }
    }
}

impl Running {
    /// Where HTTP and UDP are answered: with the real port when the configured one was 0.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads the list of torrents again (ACCESS_FILE), while everything goes on.
    pub fn reload(&self) {
        let mut retired = Vec::new();
        match self.shared.desk.reload_access(&mut retired) {
            Ok(Some(count)) => log::info!("read again: the list has {count} torrents"),
            Ok(None) => log::info!("nothing to read again: ACCESS is open"),
            Err(error) => log::error!("the list of torrents stays as it was: {error}"),
        }
        keep_downloads(&self.shared.catalogue, &retired);
    }

    /// From now on that is called when strangers have worn this process out: so many of their requests could not be got
    /// rid of that descriptors would run out. It must not wait. Only a new process helps, or the same one executed again
    /// after [`Self::stop`]. It is called again, seconds later, if nothing comes of it.
    pub fn when_worn(&self, call: impl Fn() + Send + Sync + 'static) {
        if let Some(http) = &self.http {
            http.when_worn(Box::new(call));
        }
    }

    /// Stops answering, saves the swarms, and waits for every thread.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(http) = self.http.take() {
            http.stop();
        }
        if let Some(udp) = self.udp.take() {
            udp.stop();
        }
        // The keeper last: the housekeeper has downloads for it.
        for (stop, worker) in [self.housekeeper.take(), self.keeper.take()].into_iter().flatten() {
            drop(stop);
            worker.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
