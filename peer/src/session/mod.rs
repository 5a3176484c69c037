//! Owns the torrents: what is known, what is active, what survives a restart. One thread changes things (`actor`);
//! everybody reads the table, and reaches active torrents by their own queues.

mod activity;
mod actor;
mod adopt;
mod engine;
mod entry;
mod errands;
mod error;
mod gate;
mod goals;
mod jobs;
mod leaving;
mod outside;
mod overlap;
mod places;
mod recheck;
mod request;
mod reserved;
mod retry;
mod start;
#[cfg(test)]
mod tests;
mod wishes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use torrent_common::config::PeerConfig;
use torrent_common::ids::{InfoHash, PeerId};
use torrent_common::metainfo::MetainfoLimits;
use torrent_common::worker::{Shutdown, Worker};

use crate::announcer::{Announcer, Answer};
use crate::connection::link::{Directory, TorrentLink};
use crate::queue::{self, Sender};
use crate::resume::{ResumeError, ResumeStore};
use crate::settings::SessionSettings;
use crate::storage::cache::FileCache;
use crate::torrent::Room;
use crate::torrent::input::Input;

use self::entry::Entry;
use self::errands::Errands;
use self::jobs::Jobs;
use self::outside::Outside;
use self::places::{Limits, Places, Rank};
use self::request::Request;
use self::retry::Retries;

/// Requests that may wait for the session's thread.
const REQUEST_QUEUE_LEN: usize = 1024;
/// How long a stranger waits for an idle torrent to be woken.
const WAKE_PATIENCE: Duration = Duration::from_secs(5);

/// The session: cheap to share.
pub struct Session {
    shared: Arc<Shared>,
}

/// What the session's thread, the control server, the listener and the announcer have in common.
pub struct Shared {
    config: PeerConfig,
    room: Arc<Room>,
    store: Arc<ResumeStore>,
    cache: Arc<FileCache>,
    own_peer_id: PeerId,
    key: u32,
    started: Instant,
    peer_port: OnceLock<u16>,
    /// There while the session is open. Its calls never wait, so the lock may be held across them.
    announcer: Mutex<Option<Announcer>>,
    table: Mutex<Table>,
    jobs: Jobs,
    /// What holds for all torrents. Changed by the session's thread alone.
    settings: Mutex<SessionSettings>,
    requests: Sender<Request>,
    /// What waits for disks.
    errands: Errands,
    outside: Outside,
    /// Numbers of threads and errands given so far.
    numbers: AtomicU64,
    /// Torrents are told to stop: none begins any more, and nobody is promised anything.
    closing: Shutdown,
}

/// Every torrent known.
#[derive(Default)]
struct Table {
    entries: HashMap<InfoHash, Entry>,
    /// As they were added.
    order: BTreeMap<Rank, InfoHash>,
    /// Who is active, and who waits for it.
    places: Places,
    /// When the seeding of those ends that have a goal of time, in seconds since 1970.
    ends: BTreeSet<(u64, InfoHash)>,
    /// Who stands still for an error that may be over by itself.
    retries: Retries,
}

impl Table {
    /// Adds a torrent behind the others.
    fn insert(&mut self, mut entry: Entry) {
        entry.rank = self.order.last_key_value().map_or(0, |(last, _)| last + 1);
        self.order.insert(entry.rank, entry.info_hash);
        self.entries.insert(entry.info_hash, entry);
    }

    /// Forgets a torrent.
    fn remove(&mut self, info_hash: &InfoHash) -> Option<Entry> {
        let entry = self.entries.remove(info_hash)?;
        self.order.remove(&entry.rank);
        self.places.leave(info_hash, entry.rank);
        self.retries.remove(info_hash);
        if let Some(end_s) = entry.end_s {
            self.ends.remove(&(end_s, *info_hash));
        }
        Some(entry)
    }

    /// Every torrent, as they were added.
    fn in_order(&self) -> impl Iterator<Item = &Entry> {
        self.order.values().filter_map(|info_hash| self.entries.get(info_hash))
    }
}

/// The running session. Stop it: dropping alone leaves its threads to the end of the process.
pub struct RunningSession {
    shared: Arc<Shared>,
    worker: Worker,
}

/// Why a session did not start.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// STATE_DIR.
    #[error(transparent)]
    State(#[from] ResumeError),
    /// The system has no room for its thread.
    #[error(transparent)]
    Thread(#[from] std::io::Error),
}

/// What a session is made of.
pub struct SessionParts {
    /// Settings.
    pub config: PeerConfig,
    /// What torrents share.
    pub room: Arc<Room>,
    /// STATE_DIR.
    pub store: Arc<ResumeStore>,
    /// Our name.
    pub own_peer_id: PeerId,
    /// Our proof of identity to trackers.
    pub key: u32,
}

impl RunningSession {
    /// Starts the session with what was saved. Torrents begin to move with [`RunningSession::open`].
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn start(parts: SessionParts) -> Result<Self, SessionError> {
        let (requests, receiver) = queue::bounded(REQUEST_QUEUE_LEN);
        let settings = SessionSettings::configured(&parts.config);
        let places = Places::new(Limits::of(&settings));
        let shared = Arc::new(Shared {
            cache: FileCache::on(parts.store.backend.clone(), parts.config.open_files),
            config: parts.config,
            room: parts.room,
            store: parts.store,
            own_peer_id: parts.own_peer_id,
            key: parts.key,
            started: Instant::now(),
            peer_port: OnceLock::new(),
            announcer: Mutex::new(None),
            table: Mutex::new(Table { places, ..Table::default() }),
            jobs: Jobs::default(),
            settings: Mutex::new(settings),
            requests,
            errands: Errands::default(),
            outside: Outside::default(),
            numbers: AtomicU64::new(0),
            closing: Shutdown::new(),
        });
        let actor = Arc::clone(&shared);
        let (loaded, outcome) = crossbeam_channel::bounded(1);
        let worker = Worker::spawn("session", move || actor::run(&actor, receiver, &loaded))?;
        // Its thread loads what was saved, so that the memory this takes is used again for what it makes of it.
        match outcome.recv() {
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(())) | Err(_) => Ok(Self { shared, worker }),
        }
    }

    /// The session is reachable for peers on `peer_port`: torrents may start.
    pub fn open(&self, peer_port: u16, announcer: Announcer) {
        // Set once, here.
        let _ = self.shared.peer_port.set(peer_port);
        *self.shared.announcer.lock().unwrap_or_else(PoisonError::into_inner) = Some(announcer);
        self.shared.ask(Request::Open);
    }

    /// For those who look things up and give orders.
    pub fn session(&self) -> Session {
        Session { shared: Arc::clone(&self.shared) }
    }

    /// Tells all torrents to stop, to be saved and to say goodbye to trackers within `patience`, and waits for none.
    pub fn tell_to_stop(&self, patience: Duration) {
        self.shared.jobs.tell_to_stop();
        self.shared.ask(Request::Stop(patience));
    }

    /// Waits until all have stopped; after [`RunningSession::tell_to_stop`].
    pub fn join(self) {
        self.worker.join();
        // Torrents have ended, with what got to disk in time.
        self.shared.room.disk.give_up();
        // Last: nothing is lost with these, and what they read may hang.
        self.shared.jobs.join();
    }
}

impl Clone for Session {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl Session {
    /// What the announcer has heard. Called on its threads: never waits.
    pub fn answered(&self, answer: Answer) {
        match answer {
            Answer::Peers { info_hash, peers, complete, incomplete, .. } => {
                self.shared.counted(&info_hash, complete);
                self.shared.found(info_hash, peers, incomplete)
            }
            Answer::Failed { info_hash, reason } => log::debug!("{info_hash}: no tracker answered: {reason}"),
        }
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What holds for all torrents now.
    fn settings(&self) -> SessionSettings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for room in the queue: not to be called by a torrent's or the announcer's threads.
    fn ask(&self, request: Request) {
        // Fails only when the session has ended.
        let _ = self.requests.send(request);
    }

    /// A number that no other thread or errand has.
    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn limits(&self) -> MetainfoLimits {
        MetainfoLimits::new(self.config.max_torrent_len, self.config.block_len)
    }

    /// Does something with the announcer, while there is one.
    fn with_announcer<T>(&self, act: impl FnOnce(&Announcer) -> T) -> Option<T> {
        self.announcer.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(act)
    }

    fn take_announcer(&self) -> Option<Announcer> {
        self.announcer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A tracker counts so many seeders.
    fn counted(&self, info_hash: &InfoHash, seeders: u32) {
        if let Some(entry) = self.table().entries.get(info_hash) {
            entry.stats.seeders.store(seeders, Ordering::Relaxed);
        }
    }

    /// Hands addresses to a torrent; wakes an idle one if somebody may want its pieces.
    fn found(&self, info_hash: InfoHash, peers: Vec<SocketAddr>, incomplete: u32) {
        if peers.is_empty() {
            return;
        }
        let (inputs, ourselves) = {
            let table = self.table();
            let Some(entry) = table.entries.get(&info_hash) else { return };
            if !entry.may_run() {
                return;
            }
            // Trackers count us among those who lack something, if we do not want all of it.
            let left = entry.stats.transfer.left.load(Ordering::Relaxed);
            (entry.inputs(), u32::from(left > 0))
        };
        match inputs {
            // A full queue: the torrent has more to do than to dial.
            Some(inputs) => drop(inputs.try_send(Input::Found(peers))),
            None if incomplete > ourselves => drop(self.requests.try_send(Request::Found(info_hash, peers))),
            None => {}
        }
    }

    fn torrent_file_path(&self, info_hash: &InfoHash) -> PathBuf {
        self.store.torrent_path(info_hash)
    }
}

impl Directory for Session {
    fn find(&self, info_hash: &InfoHash) -> Option<Arc<TorrentLink>> {
        let gate = {
            let table = self.shared.table();
            let entry = table.entries.get(info_hash).filter(|entry| entry.may_run())?;
            entry.gate()
        };
        if let Some(gate) = gate {
            return gate.wait(WAKE_PATIENCE);
        }
        if self.shared.closing.is_set() {
            return None;
        }
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.shared.ask(Request::Wake(*info_hash, reply));
        answer.recv_timeout(WAKE_PATIENCE).ok().flatten()?.wait(WAKE_PATIENCE)
    }
}

/// Bytes of the pieces in a bitfield.
fn bytes_of(had: &torrent_common::bitfield::Bitfield, geometry: &torrent_common::geometry::Geometry) -> u64 {
    let last = geometry.pieces().next_back();
    let full = u64::from(had.count()) * u64::from(geometry.nominal_piece_len());
    let missing = last
        .filter(|&last| had.contains(last))
        .map_or(0, |last| u64::from(geometry.nominal_piece_len()) - u64::from(geometry.piece_len(last)));
    full.saturating_sub(missing)
}
