//! A swarm on a virtual clock: many cores, links in memory, one seed. What the torrent's thread, the connections,
//! the disk and the tracker do is imitated here and in its neighbours as simply as can be; what the cores decide is theirs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{BlockRef, Geometry, PieceIndex};
use torrent_common::ids::PeerId;
use torrent_peer::torrent::core::{Core, CoreConfig};
use torrent_peer::torrent::event::{BanReason, Command, Effect, Event, PeerEvent, PeerKey};
use torrent_peer::torrent::suspects::Identity;

use super::links::Link;
use super::nature::{Nature, Restart, TestBudget};
use super::runs::WindDown;
use super::seen::Seen;

/// How long hashing a piece takes.
const HASHING: Duration = Duration::from_millis(3);
/// Trackers are asked at least so often.
const ANNOUNCE: Duration = Duration::from_secs(600);

pub struct Node {
    pub nature: Nature,
    pub core: Core,
    pub budget: TestBudget,
    pub had: Bitfield,
    pub completed: Option<Duration>,
    pub uploaded: u64,
    pub id: PeerId,
    pub present: bool,
    /// Which run this is: what was meant for an earlier one comes to nothing.
    pub life: u32,
    /// Blocks of begun pieces: whether they are corrupt, and who sent them.
    pub store: BTreeMap<PieceIndex, BTreeMap<BlockRef, (bool, usize)>>,
    pub hashing: BTreeSet<PieceIndex>,
    /// Good pieces that are being written.
    pub writing: BTreeSet<PieceIndex>,
    /// What was written, and when: a power cut may take the last of it back.
    pub written: Vec<(Duration, PieceIndex)>,
    /// Sent a corrupt block of a piece that failed, in this run.
    pub guilty: BTreeSet<usize>,
    /// Whom it banned in this run.
    pub banned: BTreeSet<usize>,
    /// Whom the tracker told it of in this run.
    pub told: BTreeSet<SocketAddr>,
    /// It was told to stop, and its disk is busy.
    pub winding: Option<WindDown>,
    /// Number of the youngest message that it heard.
    pub heard: u64,
    /// What is to be uploaded, per link, and whom it was the turn of.
    pub queues: BTreeMap<PeerKey, VecDeque<BlockRef>>,
    pub last_served: PeerKey,
    /// Its links that are open.
    pub links: BTreeSet<PeerKey>,
    pub busy: bool,
    /// When the last block that is under way will have come down.
    pub down_until: Duration,
    pub wake: Option<Instant>,
}

impl Node {
    /// An honest leecher that stays, and has not everything.
    fn is_awaited(&self) -> bool {
        self.nature.leaves.is_none()
            && self.completed.is_none()
            && !self.nature.seeder
            && self.nature.is_honest()
    }
}

pub enum What {
    Join,
    Leave,
    Restart(Restart),
    Announce,
    Event(Event),
    Dial(SocketAddr),
    /// It is asked for blocks.
    Request(PeerKey, Vec<BlockRef>),
    /// It is told that these are not wanted any more.
    Cancel(PeerKey, Vec<BlockRef>),
    /// A block leaves the uplink of this node.
    Sent(PeerKey, BlockRef),
    /// A block arrives at this node; whether it is corrupt.
    Block(PeerKey, BlockRef, bool),
    /// Time for this node to say any thing.
    Rave,
    /// Something happens to a link.
    Trouble,
    /// Nothing was heard on this link for too long.
    Silent(PeerKey),
    /// A stop has waited long enough.
    OutOfTime,
}

impl What {
    /// The link that it came on, if it is something that a node hears.
    const fn came_on(&self) -> Option<PeerKey> {
        match self {
            Self::Event(Event::Peer(key, _))
            | Self::Request(key, _)
            | Self::Cancel(key, _)
            | Self::Block(key, ..) => Some(*key),
            _ => None,
        }
    }
}

/// Something that will happen to a node, in that life of it or in any.
struct Planned {
    node: usize,
    life: Option<u32>,
    what: What,
}

pub struct World {
    pub geometry: Geometry,
    pub nodes: Vec<Node>,
    pub now: Duration,
    /// Events that cores were given.
    pub events: u64,
    pub seen: Seen,
    /// Each message takes up to so much longer; on one link none overtakes another.
    pub jitter: Duration,
    pub(super) start: Instant,
    pub(super) latency: Duration,
    pub(super) links: Vec<Link>,
    pub(super) random: fastrand::Rng,
    /// Links are troubled so often.
    pub(super) troubles: Option<Duration>,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    pending: BTreeMap<u64, Planned>,
    sequence: u64,
    check: bool,
}

pub fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (node >> 8) as u8, node as u8], 6881))
}

/// A core as a process begins it.
pub fn fresh_core(geometry: Geometry, nature: &Nature, had: &Bitfield, id: PeerId, now: Instant) -> Core {
    let config = CoreConfig {
        upload_slots: nature.slots,
        sequential: nature.sequential,
        super_seeding: nature.super_seeding,
        ..CoreConfig::new(id)
    };
    Core::new(geometry, had.clone(), config, now)
}

impl World {
    pub fn new(geometry: Geometry, latency: Duration, natures: Vec<Nature>, seed: u64, check: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let start = Instant::now();
        let mut this = Self {
            geometry,
            nodes: Vec::new(),
            now: Duration::ZERO,
            events: 0,
            seen: Seen::default(),
            jitter: Duration::ZERO,
            start,
            latency,
            links: Vec::new(),
            random: random.fork(),
            troubles: None,
            queue: BinaryHeap::new(),
            pending: BTreeMap::new(),
            sequence: 0,
            check,
        };
        for (index, nature) in natures.into_iter().enumerate() {
            let had = if nature.seeder { Bitfield::full(&geometry) } else { Bitfield::empty(&geometry) };
            let id = PeerId::generate(&mut random);
            let (joins, leaves, restarts) = (nature.joins, nature.leaves, nature.restarts.clone());
            this.nodes.push(Node {
                core: fresh_core(geometry, &nature, &had, id, start),
                budget: TestBudget::new(nature.budget),
                nature,
                had,
                completed: None,
                uploaded: 0,
                id,
                present: false,
                life: 0,
                store: BTreeMap::new(),
                hashing: BTreeSet::new(),
                writing: BTreeSet::new(),
                written: Vec::new(),
                guilty: BTreeSet::new(),
                banned: BTreeSet::new(),
                told: BTreeSet::new(),
                winding: None,
                heard: 0,
                queues: BTreeMap::new(),
                last_served: PeerKey(0),
                links: BTreeSet::new(),
                busy: false,
                down_until: Duration::ZERO,
                wake: None,
            });
            this.at(joins, index, What::Join);
            if let Some(leaves) = leaves {
                this.at(leaves, index, What::Leave);
            }
            restarts.into_iter().for_each(|restart| this.at(restart.at, index, What::Restart(restart)));
        }
        this
    }

    /// Runs until every honest leecher that stays is complete. False if that is not so at `deadline`.
    pub fn run(&mut self, deadline: Duration) -> bool {
        while self.now < deadline && self.nodes.iter().any(Node::is_awaited) {
            let Some(Reverse((at, sequence))) = self.queue.pop() else { return false };
            self.now = at;
            let Planned { node, life, what } = self.pending.remove(&sequence).unwrap();
            if life.is_none_or(|life| life == self.nodes[node].life) {
                if let Some(key) = what.came_on() {
                    self.note_order(node, key, sequence);
                }
                self.happen(node, what);
            }
        }
        !self.nodes.iter().any(Node::is_awaited)
    }

    /// On one link nothing overtakes; on different ones it may.
    fn note_order(&mut self, node: usize, key: PeerKey, sequence: u64) {
        let end = self.end(node, key);
        let before = std::mem::replace(&mut self.links[key.0 as usize].heard[end], sequence);
        assert!(before < sequence, "a link is a stream");
        let youngest = &mut self.nodes[node].heard;
        self.seen.overtook += u64::from(*youngest > sequence);
        *youngest = sequence.max(*youngest);
    }

    fn happen(&mut self, node: usize, what: What) {
        match what {
            What::Join => self.join(node),
            What::Leave => self.leave(node),
            What::Restart(restart) => self.restart(node, restart),
            What::Announce => self.announce(node),
            What::Event(event) => self.event(node, event),
            What::Dial(to) => self.dial(node, to),
            What::Request(key, blocks) => {
                blocks.into_iter().for_each(|block| self.requested(node, key, block));
            }
            What::Cancel(key, blocks) => self.cancelled(node, key, &blocks),
            What::Sent(key, block) => self.sent(node, key, block),
            What::Block(key, block, corrupt) => self.block(node, key, block, corrupt),
            What::Rave => self.rave(node),
            What::Trouble => self.trouble(),
            What::Silent(key) => self.close(key),
            What::OutOfTime => self.out_of_time(node),
        }
    }

    /// The state of whoever is not complete.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let others: Vec<_> = node.links.iter().map(|&key| self.other(index, key)).collect();
            let stats = node.core.stats(self.start + self.now);
            writeln!(
                text,
                "{index}: completed {:?}, present {}, links with {others:?}, {stats:?}, {:?}",
                node.completed, node.present, node.nature
            )
            .unwrap();
        }
        text
    }

    pub(super) fn at(&mut self, when: Duration, node: usize, what: What) {
        let outlives =
            matches!(what, What::Join | What::Leave | What::Restart(_) | What::Trouble | What::Silent(_));
        let life = (!outlives).then(|| self.nodes[node].life);
        self.sequence += 1;
        self.queue.push(Reverse((when, self.sequence)));
        self.pending.insert(self.sequence, Planned { node, life, what });
    }

    pub(super) fn after(&mut self, wait: Duration, node: usize, what: What) {
        self.at(self.now + wait, node, what);
    }

    fn join(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.present = true;
        if let Some(every) = node.nature.raves {
            self.after(every, index, What::Rave);
        }
        self.announce(index);
    }

    fn announce(&mut self, node: usize) {
        self.ask_tracker(node);
        self.after(ANNOUNCE, node, What::Announce);
    }

    fn ask_tracker(&mut self, node: usize) {
        let others = (0..self.nodes.len()).filter(|&other| other != node && self.nodes[other].present);
        let others: Vec<_> = others.map(address).collect();
        self.nodes[node].told.extend(&others);
        self.after(self.latency, node, What::Event(Event::Found(others)));
    }

    /// One event into one core, and its effects out into the world.
    pub(super) fn event(&mut self, index: usize, event: Event) {
        let now = self.start + self.now;
        let node = &mut self.nodes[index];
        let ticks = matches!(event, Event::Tick);
        if node.winding.is_some() {
            return self.wind_down(index, &event);
        }
        if ticks && node.wake != Some(now) || !node.present {
            return;
        }
        if let Event::Peer(key, event) = &event
            && !self.hears(index, *key, event)
        {
            return;
        }
        let node = &mut self.nodes[index];
        self.events += 1;
        let mut effects = Vec::new();
        node.core.handle(event, now, &mut self.random, &node.budget, &mut effects);
        if self.check {
            node.core.check_invariants();
        }
        self.seen.refusals += node.budget.refusals.take();
        let wake = node.core.next_wake();
        assert!(wake.is_none_or(|wake| wake > now), "a timer that was due is still due");
        if wake != node.wake {
            node.wake = wake;
            if let Some(wake) = wake {
                self.at(wake - self.start, index, What::Event(Event::Tick));
            }
        }
        for effect in effects {
            self.effect(index, effect);
        }
    }

    fn effect(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Send(key, Command::Close(_)) => self.close(key),
            Effect::Ban(key, reason) => {
                self.banned(index, self.other(index, key), reason);
                self.close(key);
            }
            Effect::BanAbsent(who, reason) => {
                let is_it = |node: &usize| Identity::Address(address(*node).ip()) == who;
                let other = (0..self.nodes.len()).find(is_it).expect("a node");
                self.banned(index, other, reason);
                self.seen.bans_of_absent += 1;
            }
            Effect::Send(key, command) => self.command(index, key, command),
            Effect::Dial(to) => self.after(self.latency * 2, index, What::Dial(to)),
            Effect::Hash(piece) => self.hash(index, piece),
            Effect::Write(piece) => self.write(index, piece),
            Effect::Discard(piece) => {
                let node = &mut self.nodes[index];
                assert!(node.store.remove(&piece).is_some(), "{piece:?} discarded and not begun");
                node.hashing.remove(&piece);
                node.writing.remove(&piece);
            }
            Effect::Had(piece) => self.had(index, piece),
            Effect::Completed => self.completed(index),
            Effect::Incomplete => panic!("nobody wants more than before"),
            Effect::Snubbed(..) => {}
            Effect::WantPeers => self.ask_tracker(index),
        }
    }

    fn banned(&mut self, by: usize, who: usize, reason: BanReason) {
        let node = &mut self.nodes[by];
        assert!(node.guilty.contains(&who), "{by} banned {who}, which sent it no wrong byte: {reason}");
        node.banned.insert(who);
        assert!(self.nodes[who].nature.poisons());
        self.seen.bans += 1;
    }

    fn hash(&mut self, index: usize, piece: PieceIndex) {
        let count = self.geometry.block_count(piece) as usize;
        let node = &mut self.nodes[index];
        let blocks = &node.store[&piece];
        assert_eq!(blocks.len(), count, "{piece:?} hashed with holes");
        assert!(node.hashing.insert(piece), "{piece:?} hashed twice");
        let guilty: Vec<_> =
            blocks.values().filter(|(corrupt, _)| *corrupt).map(|&(_, sender)| sender).collect();
        self.seen.bad_pieces += u64::from(!guilty.is_empty());
        if !guilty.is_empty() || node.core.compares(piece) {
            let digests = blocks.values().map(|&(corrupt, _)| [u8::from(corrupt); 8]).collect();
            self.after(HASHING, index, What::Event(Event::Digests(piece, digests)));
        }
        self.after(HASHING, index, What::Event(Event::Hashed(piece, guilty.is_empty())));
        self.nodes[index].guilty.extend(guilty);
    }

    pub(super) fn write(&mut self, index: usize, piece: PieceIndex) {
        let node = &mut self.nodes[index];
        assert!(node.store[&piece].values().all(|(corrupt, _)| !corrupt), "{piece:?} is corrupt and written");
        assert!(node.writing.insert(piece), "{piece:?} written twice");
        let errors = node.nature.write_errors;
        let ok = errors == 0 || self.random.u32(..errors) > 0;
        self.seen.write_errors += u64::from(!ok);
        let wait = node.nature.writing;
        self.after(wait, index, What::Event(Event::Written(piece, ok)));
    }

    fn had(&mut self, index: usize, piece: PieceIndex) {
        let now = self.now;
        let node = &mut self.nodes[index];
        assert!(node.store.remove(&piece).is_some() && node.hashing.remove(&piece));
        assert!(node.writing.remove(&piece), "{piece:?} had and not written");
        assert!(node.had.insert(piece), "{piece:?} had twice");
        node.written.push((now, piece));
        for key in self.links_of(index) {
            let other = self.other(index, key);
            self.tell(other, key, PeerEvent::Have(piece));
        }
    }

    fn completed(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        assert!(node.had.is_full() && node.completed.is_none() && node.core.is_complete());
        assert_eq!(node.budget.reserved.get(), 0, "complete, and something is reserved");
        node.completed = Some(self.now);
        // A good copy of every piece is here: whose was another is known.
        let free: Vec<_> = node.guilty.difference(&node.banned).collect();
        assert!(free.is_empty(), "{index} is complete at {:?}, and {free:?} sent it wrong bytes", self.now);
        let banned = node.banned.clone();
        let kept = self.links_of(index).into_iter().map(|key| self.other(index, key));
        let kept: Vec<_> = kept.filter(|other| banned.contains(other)).collect();
        assert!(kept.is_empty(), "{index} is complete, and in touch with {kept:?} whom it banned");
    }
}
