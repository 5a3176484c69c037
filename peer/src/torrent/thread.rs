//! Runs [`Core`] for one active torrent: feeds it what happens, and carries out what it decides. It waits for nothing
//! but its own queue of [`Input`]s, so everybody else may wait for it.

mod select;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TrySendError};
use torrent_common::geometry::{Geometry, PieceIndex};
use torrent_common::ids::PeerId;

use super::assembly::Assembly;
use super::core::Core;
use super::event::{BanReason, CloseReason, Command, Effect, Event, PeerEvent, PeerInfo, PeerKey};
use super::hashing::Hashing;
use super::input::Input;
use super::late::Late;
use super::saving::Saving;
use super::selection::Selection;
use super::stats::Moment;
use super::{Active, Notice};
use crate::connection::dial;
use crate::connection::link::ConnectionHandle;
use crate::connection::registry::Origin;
use crate::control::api::TorrentState;
use crate::options::TorrentOptions;
use crate::storage::StorageError;
use crate::storage::blocks::BlockBuf;

/// Inputs handled before effects are carried out: many small ones share the rings and the look at the clock.
const MAX_TURN: usize = 128;
/// Of a new piece every connection hears, but all together at most once in so long for each of them: a thousand wake-ups a
/// piece would cost more than the piece.
const NEWS_PER_PEER: Duration = Duration::from_micros(250);
/// So long after a connection's queue was full it is tried again.
const RETRY: Duration = Duration::from_millis(5);
/// How often the shared numbers are brought up to date while something happens.
const SHOW: Duration = Duration::from_millis(250);

/// Runs a torrent until it is told to stop.
pub fn run(active: Active, inputs: &Receiver<Input>) {
    Runner::new(active).run(inputs);
}

/// The torrent's own limits are as the user set them.
fn limit(active: &Active, options: &TorrentOptions) {
    let none = 0;
    active.link.limits.own.set(options.download_limit.unwrap_or(none), options.upload_limit.unwrap_or(none));
}

struct Peer {
    handle: ConnectionHandle,
    /// What the connection's queue had no room for.
    late: Late,
    address: SocketAddr,
    name: PeerId,
}

struct Runner {
    geometry: Geometry,
    core: Core,
    peers: HashMap<PeerKey, Peer>,
    assembly: Assembly,
    saving: Saving,
    effects: Vec<Effect>,
    /// What we caused ourselves, to be handled before anything new.
    again: VecDeque<Event>,
    /// Notices that the session had no room for yet.
    unsaid: VecDeque<Notice>,
    hashing: Hashing,
    /// Addresses being dialled.
    dialling: usize,
    random: fastrand::Rng,
    shown: Instant,
    /// The shared numbers are not what they would be if they were shown now.
    stale: bool,
    /// Since when it is of no use to have a thread.
    idle_since: Option<Instant>,
    /// What is wanted.
    selection: Selection,
    /// The core has not heard of it yet.
    selecting: bool,
    /// Connections whose queue had no room.
    late: Vec<PeerKey>,
    /// New pieces that the connections were not rung for.
    news: bool,
    /// When they were last rung for new pieces.
    rung: Instant,
    /// The last goal of uploading that was told to be reached.
    goal_told: u64,
    /// Told to stop, and how long it may take.
    stopping: Option<Duration>,
    active: Active,
}

impl Runner {
    fn new(active: Active) -> Self {
        let now = Instant::now();
        let geometry = active.link.geometry;
        limit(&active, &active.options);
        let core = Core::new(geometry, active.link.have.snapshot(), active.core_config.clone(), now);
        Self {
            geometry,
            core,
            peers: HashMap::new(),
            assembly: Assembly::default(),
            saving: Saving::new(&active, now),
            effects: Vec::new(),
            again: VecDeque::from([Event::Options(Arc::clone(&active.options))]),
            unsaid: VecDeque::new(),
            hashing: Hashing::new(&active),
            dialling: 0,
            random: fastrand::Rng::new(),
            shown: now,
            stale: true,
            idle_since: None,
            late: Vec::new(),
            selection: active.core_config.selection.clone(),
            selecting: false,
            news: false,
            rung: now,
            goal_told: u64::MAX,
            stopping: None,
            active,
        }
    }

    fn run(&mut self, inputs: &Receiver<Input>) {
        // A complete torrent may wait for ever for its first input: begin to count now.
        self.turn(Instant::now());
        let patience = loop {
            if let Some(patience) = self.stopping {
                break patience;
            }
            let next = match self.deadline() {
                Some(deadline) => inputs.recv_deadline(deadline),
                None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(input) => {
                    self.take(input);
                    inputs.try_iter().take(MAX_TURN).for_each(|input| self.take(input));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.turn(Instant::now());
        };
        self.wind_down(inputs, patience);
    }

    fn deadline(&self) -> Option<Instant> {
        let retry = (!self.unsaid.is_empty()).then(|| Instant::now() + SHOW);
        let linger = self.idle_since.map(|since| since + self.active.linger);
        let show = self.stale.then(|| self.shown + SHOW);
        let news = self.news.then(|| self.next_news());
        let late = (!self.late.is_empty()).then(|| Instant::now() + RETRY);
        let room = [self.core.next_wake(), self.hashing.next_wake(), self.saving.next_wake()];
        let all = room.into_iter().chain([retry, linger, show, news, late]);
        all.flatten().min()
    }

    /// When the connections may be rung for new pieces: at once while they are few.
    fn next_news(&self) -> Instant {
        let peers = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        self.rung + NEWS_PER_PEER.saturating_mul(peers)
    }

    /// What is to be done after inputs or a deadline.
    fn turn(&mut self, now: Instant) {
        self.core.limit_download(self.active.link.limits.download_rate());
        if self.core.next_wake().is_some_and(|wake| wake <= now) {
            self.feed(Event::Tick);
        }
        while let Some(event) = self.again.pop_front() {
            self.feed(event);
        }
        self.active.link.have.hide(self.core.hides(now));
        self.send_late();
        if self.news && self.next_news() <= now {
            (self.news, self.rung) = (false, now);
            self.peers.values().for_each(|peer| peer.handle.ring());
        }
        self.hashing.turn(now);
        self.saving.turn(&self.active, now);
        if now.duration_since(self.shown) >= SHOW {
            self.show(now);
        } else {
            self.stale = true;
        }
        self.consider_rest(now);
        self.speak();
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Opened(key, info, handle) => self.opened(key, info, handle),
            Input::Peer(key, event) => self.heard(key, event),
            Input::Blocks(key, blocks) => self.received(key, blocks),
            Input::Gone(key) => {
                self.peers.remove(&key);
                self.feed(Event::Gone(key));
            }
            Input::DialFailed(address) => {
                self.dialling = self.dialling.saturating_sub(1);
                self.feed(Event::DialFailed(address));
            }
            Input::Found(mut addresses) => {
                addresses.retain(|&address| !self.active.room.bans.has_address(address));
                self.feed(Event::Found(addresses));
            }
            Input::Hashed(piece, good, blocks) => self.hashed(piece, good, blocks),
            Input::Written(piece, outcome) => self.written(piece, outcome),
            Input::Checkpointed(outcome) => self.checkpointed(outcome),
            Input::ReadFailed(error) => self.fail(&error),
            Input::Options(options) => {
                self.saving.set_options(&options);
                limit(&self.active, &options);
                self.select(&options);
                self.active.options = Arc::clone(&options);
                self.feed(Event::Options(options));
            }
            Input::Stop(patience) => self.stopping = Some(patience),
        }
    }

    fn opened(&mut self, key: PeerKey, info: PeerInfo, handle: ConnectionHandle) {
        if info.direction == super::event::Direction::Outgoing {
            self.dialling = self.dialling.saturating_sub(1);
        }
        if self.active.room.bans.has(info.address, info.peer_id) {
            handle.send(Command::Close(CloseReason::Banned));
        }
        log::debug!("{}: connected: {} ({:?})", info.address, info.peer_id, info.direction);
        let peer = Peer { handle, late: Late::default(), address: info.address, name: info.peer_id };
        self.peers.insert(key, peer);
        self.feed(Event::Connected(key, info));
    }

    fn heard(&mut self, key: PeerKey, event: PeerEvent) {
        if let PeerEvent::Uploaded(bytes) = event {
            self.active.stats.add_uploaded(bytes);
            self.consider_goal();
        }
        self.feed(Event::Peer(key, event));
    }

    /// Enough was uploaded: the session decides, and is told once for each goal.
    fn consider_goal(&mut self) {
        let goal = self.active.stats.upload_goal.load(Ordering::Relaxed);
        let reached = self.active.stats.uploaded.load(Ordering::Relaxed) >= goal;
        if reached && goal != self.goal_told && self.core.is_complete() {
            self.goal_told = goal;
            self.unsaid.push_back(Notice::Goal(self.active.link.info_hash));
        }
    }

    fn received(&mut self, key: PeerKey, blocks: Vec<(torrent_common::geometry::BlockRef, BlockBuf)>) {
        let refs = blocks.iter().map(|&(block, _)| block).collect();
        for (block, bytes) in blocks {
            if self.core.wants(block) {
                self.assembly.keep(&self.geometry, block, bytes);
            }
        }
        self.feed(Event::Peer(key, PeerEvent::Blocks(refs)));
    }

    fn hashed(&mut self, piece: PieceIndex, good: bool, blocks: Vec<BlockBuf>) {
        self.hashing.answered();
        if good {
            self.assembly.keep_verified(piece, blocks);
        }
        self.feed(Event::Hashed(piece, good));
    }

    fn written(&mut self, piece: PieceIndex, outcome: Result<(), StorageError>) {
        self.saving.written();
        self.feed(Event::Written(piece, outcome.is_ok()));
        if let Err(error) = outcome {
            self.fail(&error);
        }
    }

    /// The disk is not as it must be: stand still and say why. The user resumes when it is mended.
    fn fail(&mut self, error: &impl ToString) {
        if self.active.stats.state() != TorrentState::Error {
            let error = error.to_string();
            log::error!("{}: {error}", self.active.name);
            self.active.stats.fail(error);
            self.unsaid.push_back(Notice::Failed(self.active.link.info_hash));
        }
    }

    fn feed(&mut self, event: Event) {
        let now = Instant::now();
        let mut effects = std::mem::take(&mut self.effects);
        self.core.handle(event, now, &mut self.random, &*self.active.room.pool, &mut effects);
        #[cfg(debug_assertions)]
        if self.geometry.piece_count() <= 64 {
            self.core.check_invariants();
        }
        effects.drain(..).for_each(|effect| self.carry_out(effect, now));
        self.effects = effects;
    }

    fn carry_out(&mut self, effect: Effect, now: Instant) {
        match effect {
            Effect::Send(key, command) => self.send(key, command),
            Effect::Dial(address) => self.dial(address),
            Effect::Hash(piece) => self.hash(piece, now),
            Effect::Write(piece) => {
                if let Some(blocks) = self.assembly.take_verified(piece) {
                    self.saving.write(&self.active, piece, blocks, now);
                }
            }
            Effect::Discard(piece) => self.assembly.discard(piece),
            Effect::Had(piece) => {
                self.active.link.have.insert(piece);
                self.active.stats.add_piece(self.geometry.piece_len(piece));
                self.active.stats.lacking.store(self.core.lacking(), Ordering::Relaxed);
                self.news = true;
            }
            Effect::Completed => self.completed(),
            Effect::Incomplete => self.incomplete(),
            Effect::Ban(key, reason) => self.ban(key, reason),
            Effect::WantPeers => self.unsaid.push_back(Notice::WantPeers(self.active.link.info_hash)),
        }
    }

    fn send(&mut self, key: PeerKey, command: Command) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let keeps_up = if peer.late.is_empty() {
            match peer.handle.offer(command) {
                Ok(()) => true,
                Err(TrySendError::Full(command)) => {
                    self.late.push(key);
                    peer.late.push(command)
                }
                Err(TrySendError::Disconnected(_)) => false,
            }
        } else {
            peer.late.push(command)
        };
        if !keeps_up {
            // Dropping the handle ends the connection; its Gone comes by itself.
            self.peers.remove(&key);
        }
    }

    /// Tries again what found no room.
    fn send_late(&mut self) {
        for key in std::mem::take(&mut self.late) {
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            if !peer.late.flush(|command| peer.handle.offer(command)) {
                self.peers.remove(&key);
            } else if !peer.late.is_empty() {
                self.late.push(key);
            }
        }
    }

    fn dial(&mut self, address: SocketAddr) {
        let link = Arc::clone(&self.active.link);
        match self
            .active
            .room
            .connections
            .spawn(Origin::Ours(address.ip()), move |lease| dial::run(lease, &link, address))
        {
            Ok(()) => self.dialling += 1,
            Err(error) => {
                log::debug!("{address}: not dialled: {error}");
                self.again.push_back(Event::NoRoom(address));
            }
        }
    }

    fn hash(&mut self, piece: PieceIndex, now: Instant) {
        let Some(blocks) = self.assembly.take_whole(piece) else {
            // Our own books disagree: a bug, but not one that may cost the user the download.
            log::error!("{}: {piece:?} is incomplete in memory; it is fetched again", self.active.name);
            self.again.push_back(Event::Hashed(piece, false));
            return;
        };
        let len = blocks.iter().map(|block| block.len() as u64).sum();
        self.active.stats.add_downloaded(len);
        self.hashing.add(piece, blocks, self.core.is_receiving(), now);
    }

    fn ban(&mut self, key: PeerKey, reason: BanReason) {
        if let Some(peer) = self.peers.get(&key) {
            log::warn!("{}: banned {} ({}): {reason}", self.active.name, peer.address, peer.name);
            self.active.room.bans.add(peer.address, peer.name);
        }
        self.send(key, Command::Close(CloseReason::Banned));
    }

    fn show(&mut self, now: Instant) {
        self.shown = now;
        self.core.told_of_seeders(self.active.stats.seeders.load(Ordering::Relaxed), now);
        let stats = self.core.stats(now);
        // Rates fade while nothing happens.
        self.stale = stats.download_rate > 0 || stats.upload_rate > 0;
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        self.active.stats.set_moment(Moment {
            download_rate: stats.download_rate,
            upload_rate: stats.upload_rate,
            peers: count(stats.peers),
            seeds: count(stats.seeds),
        });
    }

    /// A complete torrent that nobody talks to needs no thread: the session ends it, and wakes it when somebody comes.
    fn consider_rest(&mut self, now: Instant) {
        let busy = self.selecting
            || !self.core.is_complete()
            || !self.peers.is_empty()
            || self.dialling > 0
            || self.saving.is_busy();
        if busy {
            self.idle_since = None;
            return;
        }
        let since = *self.idle_since.get_or_insert(now);
        if now.duration_since(since) >= self.active.linger {
            self.show(now);
            self.unsaid.push_back(Notice::Idle(self.active.link.info_hash));
            self.idle_since = Some(now);
        }
    }

    /// Passes notices on. A session that has no room is asked again a little later: it may be waiting for us.
    fn speak(&mut self) {
        while let Some(notice) = self.unsaid.pop_front() {
            match (self.active.notify)(notice) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(notice)) => {
                    self.unsaid.push_front(notice);
                    return;
                }
            }
        }
    }

    /// Closes every connection, and lets what is in flight get to disk, within `patience`.
    fn wind_down(&mut self, inputs: &Receiver<Input>, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut effects = Vec::new();
        self.core.shutdown(&*self.active.room.pool, &mut effects);
        for effect in effects {
            if let Effect::Send(key, command) = effect {
                self.send(key, command);
            }
        }
        // Handles dropped: even a connection whose queue was full ends.
        self.peers.clear();
        self.hashing.flush();
        let mut checkpoint_begun = false;
        loop {
            if !self.hashing.is_busy() && !self.saving.is_busy() {
                if checkpoint_begun || !self.saving.begin_last(&self.active) {
                    break;
                }
                checkpoint_begun = true;
            }
            match inputs.recv_deadline(deadline) {
                Ok(Input::Hashed(piece, good, blocks)) => {
                    self.hashing.answered();
                    if good {
                        self.saving.write(&self.active, piece, blocks, Instant::now());
                    }
                }
                Ok(Input::Written(piece, outcome)) => {
                    self.saving.written();
                    if outcome.is_ok() {
                        self.active.link.have.insert(piece);
                        self.active.stats.add_piece(self.geometry.piece_len(piece));
                    }
                }
                Ok(Input::Checkpointed(outcome)) => {
                    if let Err(error) = self.saving.done(&self.active, outcome) {
                        log::error!("{}: {error}", self.active.name);
                        break;
                    }
                }
                Ok(Input::Peer(_, PeerEvent::Uploaded(bytes))) => self.active.stats.add_uploaded(bytes),
                Ok(_) => {}
                Err(_) => break,
            }
            self.saving.turn(&self.active, Instant::now());
        }
        self.active.stats.set_moment(Moment::default());
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use crossbeam_channel::bounded;
    use torrent_common::bitfield::Bitfield;

    use super::super::core::CoreConfig;
    use super::super::have::Have;
    use super::super::saving::Record;
    use super::super::stats::Stats;
    use super::super::{Bans, Room};
    use super::*;
    use crate::connection::link::{Timeouts, TorrentLink};
    use crate::connection::registry::Connections;
    use crate::options::{Preallocation, TorrentOptions};
    use crate::resume::{Details, Look, ResumeStore, Saved};
    use crate::storage::blocks::BlockPool;
    use crate::storage::cache::FileCache;
    use crate::storage::disk::DiskThreads;
    use crate::storage::files::Storage;
    use crate::storage::testing::{BLOCK_LEN, TestFile, torrent};

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_complete_torrent_that_hears_nothing_gives_its_thread_back() {
        let folder = tempfile::tempdir().unwrap();
        let metainfo = torrent("t", &TestFile::list(&[("", 1000)]), 100, None);
        let store = ResumeStore::open(&folder.path().join("state")).unwrap();
        let storage = Storage::new(Arc::clone(&metainfo), folder.path(), None, FileCache::new(2)).unwrap();
        let details = Details {
            name: "t".into(),
            total_len: 1000,
            piece_count: 10,
            private: false,
            output: folder.path().into(),
            root: None,
            downloaded: 0,
            uploaded: 0,
            paused: false,
            finished: false,
            added_ns: 0,
            completed_s: None,
            wanted: None,
            options: TorrentOptions::default(),
        };
        let saved = Saved::new(metainfo.info_hash, details.clone(), SystemTime::now());
        let had = Bitfield::full(&metainfo.geometry);
        let look = Look::take(&store, saved, &storage).unwrap();
        let (journal, _) =
            look.settle(&store, &storage, &had, Preallocation::Sparse, SystemTime::now()).unwrap();
        let (inputs, receiver) = bounded(4);
        let (notices, told) = bounded(4);
        let own_peer_id = PeerId::new([1; 20]);
        let active = Active {
            name: "t".into(),
            link: Arc::new(TorrentLink {
                info_hash: metainfo.info_hash,
                own_peer_id,
                geometry: metainfo.geometry,
                have: Arc::new(Have::new(metainfo.geometry, &had)),
                storage: Arc::clone(&storage),
                pool: BlockPool::new(BLOCK_LEN, 1000),
                inputs: inputs.clone(),
                timeouts: Timeouts { connect: PATIENCE, silence: PATIENCE },
                limits: crate::limits::TorrentLimits::default(),
            }),
            metainfo,
            core_config: CoreConfig::new(own_peer_id),
            options: Arc::default(),
            preallocation: Preallocation::Sparse,
            stats: Arc::new(Stats::new(1000, TorrentState::Seeding, 10, 1000)),
            record: Arc::new(Record { journal, storage, details }),
            room: Arc::new(Room {
                pool: BlockPool::new(BLOCK_LEN, 1000),
                disk: DiskThreads::start(1, 4).unwrap(),
                hashers: rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap(),
                connections: Connections::new(4),
                bans: Bans::default(),
                rates: Arc::default(),
            }),
            notify: Box::new(move |notice| notices.try_send(notice)),
            linger: Duration::from_millis(20),
        };
        let hash = active.link.info_hash;
        std::thread::scope(|scope| {
            scope.spawn(move || run(active, &receiver));
            let notice = told.recv_timeout(PATIENCE);
            // Ended before anything is asserted: the scope waits for the thread.
            inputs.send(Input::Stop(Duration::from_secs(20))).unwrap();
            assert_eq!(notice, Ok(Notice::Idle(hash)));
        });
    }
}
