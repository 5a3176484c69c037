//! A swarm on a virtual clock: many cores, links in memory, one seed. What the torrent's thread, the connections,
//! the disk and the tracker do is imitated here as simply as can be; what the cores decide is theirs.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{BlockRef, Geometry, PieceIndex};
use torrent_common::ids::PeerId;
use torrent_peer::torrent::core::{Budget, Core, CoreConfig};
use torrent_peer::torrent::event::{Command, Direction, Effect, Event, PeerEvent, PeerInfo, PeerKey};

/// How long hashing or writing a piece takes.
const DISK: Duration = Duration::from_millis(3);

/// Bytes reserved, and how many may be.
pub struct TestBudget {
    pub reserved: Cell<u64>,
    pub limit: u64,
}

impl Budget for TestBudget {
    fn try_reserve(&self, len: u64) -> bool {
        let fits = self.reserved.get() + len <= self.limit;
        if fits {
            self.reserve_first(len);
        }
        fits
    }

    fn has_room(&self, len: u64) -> bool {
        self.reserved.get() + len <= self.limit
    }

    fn reserve_first(&self, len: u64) {
        self.reserved.set(self.reserved.get() + len);
    }

    fn release(&self, len: u64) {
        self.reserved.set(self.reserved.get().checked_sub(len).expect("released more than was reserved"));
    }
}

/// What a node is like.
#[derive(Clone)]
pub struct Nature {
    pub seeder: bool,
    /// Bytes per second up.
    pub upload: u64,
    pub slots: usize,
    /// Fetches in order.
    pub sequential: bool,
    /// Shows its pieces one after the other if it is the only seeder.
    pub super_seeding: bool,
    pub fast: bool,
    /// One in so many blocks it sends is corrupt; 0: none.
    pub corrupts: u32,
    /// Sends nothing in this time, and then goes on as if nothing had been.
    pub stalls: Option<(Duration, Duration)>,
    /// One in so many writes fails; 0: none.
    pub write_errors: u32,
    pub budget: u64,
    pub joins: Duration,
    pub leaves: Option<Duration>,
    /// Bytes per second down.
    pub download: u64,
    /// Takes and never gives: nobody hears that it unchokes them.
    pub free_rides: bool,
    /// Leaves when it has sent so many bytes.
    pub leaves_after: Option<u64>,
}

pub struct Node {
    pub nature: Nature,
    pub core: Core,
    pub budget: TestBudget,
    pub had: Bitfield,
    pub completed: Option<Duration>,
    pub uploaded: u64,
    id: PeerId,
    present: bool,
    /// Blocks of begun pieces, and whether they are corrupt.
    store: BTreeMap<PieceIndex, BTreeMap<BlockRef, bool>>,
    hashing: BTreeSet<PieceIndex>,
    /// What is to be uploaded, per link, and whom it was the turn of.
    queues: BTreeMap<PeerKey, VecDeque<BlockRef>>,
    last_served: PeerKey,
    /// Its links that are open.
    links: BTreeSet<PeerKey>,
    busy: bool,
    /// When the last block that is under way will have come down.
    down_until: Duration,
    wake: Option<Instant>,
}

/// A connection between two nodes. Both know it by the same key.
struct Link {
    ends: [usize; 2],
    open: bool,
    fast: bool,
    unchoked: [bool; 2],
    asked: [BTreeSet<BlockRef>; 2],
}

enum What {
    Join(usize),
    Leave(usize),
    Event(usize, Event),
    Dial(usize, SocketAddr),
    /// A block leaves the uplink of this node.
    Sent(usize, PeerKey, BlockRef),
    /// A block arrives at this node; whether it is corrupt.
    Block(usize, PeerKey, BlockRef, bool),
}

pub struct World {
    pub geometry: Geometry,
    pub nodes: Vec<Node>,
    pub now: Duration,
    start: Instant,
    latency: Duration,
    links: Vec<Link>,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    pending: BTreeMap<u64, What>,
    sequence: u64,
    random: fastrand::Rng,
    check: bool,
}

fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (node >> 8) as u8, node as u8], 6881))
}

impl World {
    pub fn new(geometry: Geometry, latency: Duration, natures: Vec<Nature>, seed: u64, check: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let start = Instant::now();
        let mut this = Self {
            geometry,
            nodes: Vec::new(),
            now: Duration::ZERO,
            start,
            latency,
            links: Vec::new(),
            queue: BinaryHeap::new(),
            pending: BTreeMap::new(),
            sequence: 0,
            random: random.fork(),
            check,
        };
        for (index, nature) in natures.into_iter().enumerate() {
            let had = if nature.seeder { Bitfield::full(&geometry) } else { Bitfield::empty(&geometry) };
            let id = PeerId::generate(&mut random);
            let config = CoreConfig {
                upload_slots: nature.slots,
                sequential: nature.sequential,
                super_seeding: nature.super_seeding,
                ..CoreConfig::new(id)
            };
            this.at(nature.joins, What::Join(index));
            if let Some(leaves) = nature.leaves {
                this.at(leaves, What::Leave(index));
            }
            this.nodes.push(Node {
                core: Core::new(geometry, had.clone(), config, start),
                budget: TestBudget { reserved: Cell::new(0), limit: nature.budget },
                nature,
                had,
                completed: None,
                uploaded: 0,
                id,
                present: false,
                store: BTreeMap::new(),
                hashing: BTreeSet::new(),
                queues: BTreeMap::new(),
                last_served: PeerKey(0),
                links: BTreeSet::new(),
                busy: false,
                down_until: Duration::ZERO,
                wake: None,
            });
        }
        this
    }

    /// Runs until every leecher that stays is complete. False if that is not so at `deadline`.
    pub fn run(&mut self, deadline: Duration) -> bool {
        let waited_for =
            |node: &Node| node.nature.leaves.is_none() && node.completed.is_none() && !node.nature.seeder;
        while self.now < deadline && self.nodes.iter().any(waited_for) {
            let Some(Reverse((at, sequence))) = self.queue.pop() else { return false };
            self.now = at;
            match self.pending.remove(&sequence).unwrap() {
                What::Join(node) => {
                    self.nodes[node].present = true;
                    self.announce(node);
                }
                What::Leave(node) => self.leave(node),
                What::Event(node, event) => self.event(node, event),
                What::Dial(node, to) => self.dial(node, to),
                What::Sent(node, key, block) => self.sent(node, key, block),
                What::Block(node, key, block, corrupt) => self.block(node, key, block, corrupt),
            }
        }
        !self.nodes.iter().any(waited_for)
    }

    fn at(&mut self, when: Duration, what: What) {
        self.sequence += 1;
        self.queue.push(Reverse((when, self.sequence)));
        self.pending.insert(self.sequence, what);
    }

    fn after(&mut self, wait: Duration, what: What) {
        self.at(self.now + wait, what);
    }

    fn tell(&mut self, node: usize, key: PeerKey, event: PeerEvent) {
        self.after(self.latency, What::Event(node, Event::Peer(key, event)));
    }

    fn announce(&mut self, node: usize) {
        let others =
            (0..self.nodes.len()).filter(|&other| other != node && self.nodes[other].present).map(address);
        let found = Event::Found(others.collect());
        self.after(self.latency, What::Event(node, found));
    }

    /// One event into one core, and its effects out into the world.
    fn event(&mut self, index: usize, event: Event) {
        let now = self.start + self.now;
        let node = &mut self.nodes[index];
        let ticks = matches!(event, Event::Tick);
        if ticks && node.wake != Some(now) || !node.present {
            return;
        }
        if let Event::Peer(key, _) = &event
            && !self.links[key.0 as usize].open
        {
            return;
        }
        let mut effects = Vec::new();
        node.core.handle(event, now, &mut self.random, &node.budget, &mut effects);
        if self.check {
            node.core.check_invariants();
        }
        let wake = node.core.next_wake();
        assert!(wake.is_none_or(|wake| wake > now), "a timer that was due is still due");
        if wake != node.wake {
            node.wake = wake;
            if let Some(wake) = wake {
                self.at(wake - self.start, What::Event(index, Event::Tick));
            }
        }
        for effect in effects {
            self.effect(index, effect);
        }
    }

    fn effect(&mut self, index: usize, effect: Effect) {
        let node = &mut self.nodes[index];
        match effect {
            Effect::Send(key, Command::Close(_)) | Effect::Ban(key, _) => self.close(key),
            Effect::Send(key, command) => self.command(index, key, command),
            Effect::Dial(to) => self.after(self.latency * 2, What::Dial(index, to)),
            Effect::Hash(piece) => {
                let blocks = &node.store[&piece];
                assert_eq!(
                    blocks.len(),
                    self.geometry.block_count(piece) as usize,
                    "{piece:?} hashed with holes"
                );
                assert!(node.hashing.insert(piece), "{piece:?} hashed twice");
                let good = blocks.values().all(|corrupt| !corrupt);
                if !good || node.core.compares(piece) {
                    let digests = blocks.values().map(|&corrupt| [u8::from(corrupt); 8]).collect();
                    self.after(DISK, What::Event(index, Event::Digests(piece, digests)));
                }
                self.after(DISK, What::Event(index, Event::Hashed(piece, good)));
            }
            Effect::Write(piece) => {
                assert!(
                    node.store[&piece].values().all(|corrupt| !corrupt),
                    "{piece:?} is corrupt and written"
                );
                let errors = node.nature.write_errors;
                let ok = errors == 0 || self.random.u32(..errors) > 0;
                self.after(DISK, What::Event(index, Event::Written(piece, ok)));
            }
            Effect::Discard(piece) => {
                assert!(node.store.remove(&piece).is_some(), "{piece:?} discarded and not begun");
                node.hashing.remove(&piece);
            }
            Effect::Had(piece) => {
                assert!(node.store.remove(&piece).is_some() && node.hashing.remove(&piece));
                assert!(node.had.insert(piece), "{piece:?} had twice");
                for key in self.links_of(index) {
                    let other = self.other(index, key);
                    self.tell(other, key, PeerEvent::Have(piece));
                }
            }
            Effect::Completed => {
                assert!(node.had.is_full() && node.completed.is_none() && node.core.is_complete());
                assert_eq!(node.budget.reserved.get(), 0, "complete, and something is reserved");
                node.completed = Some(self.now);
            }
            Effect::Incomplete => panic!("nobody wants more than before"),
            Effect::BanAbsent(..) => {}
            Effect::WantPeers => self.announce(index),
        }
    }

    fn command(&mut self, index: usize, key: PeerKey, command: Command) {
        let (other, end) = (self.other(index, key), self.end(index, key));
        let node = &mut self.nodes[index];
        let link = &mut self.links[key.0 as usize];
        if !link.open {
            return;
        }
        match command {
            Command::Choke => {
                link.unchoked[end] = false;
                let dropped = node.queues.remove(&key).unwrap_or_default();
                let fast = link.fast;
                self.tell(other, key, PeerEvent::Choked);
                for block in dropped.into_iter().filter(|_| fast) {
                    self.tell(other, key, PeerEvent::Rejected(block));
                }
            }
            Command::Unchoke if node.nature.free_rides => {}
            Command::Unchoke => {
                link.unchoked[end] = true;
                self.tell(other, key, PeerEvent::Unchoked);
            }
            Command::Interested => self.tell(other, key, PeerEvent::Interested),
            Command::NotInterested => self.tell(other, key, PeerEvent::NotInterested),
            Command::Request(blocks) => {
                assert!(!blocks.is_empty() && blocks.len() <= 256);
                for &block in &blocks {
                    node.store.entry(block.piece()).or_default();
                    link.asked[end].insert(block);
                    assert!(!node.had.contains(block.piece()), "{block:?} asked for and had");
                }
                blocks.into_iter().for_each(|block| self.requested(other, key, block));
            }
            Command::Show(pieces) => {
                pieces.into_iter().for_each(|piece| self.tell(other, key, PeerEvent::Have(piece)));
            }
            Command::ShowAll => {
                let all = node.had.iter(&self.geometry).collect::<Vec<_>>();
                all.into_iter().for_each(|piece| self.tell(other, key, PeerEvent::Have(piece)));
            }
            // Not sent: the worst case of a cancel that comes too late.
            Command::Cancel(_) if key.0.is_multiple_of(2) => {}
            Command::Cancel(blocks) => {
                if let Some(queue) = self.nodes[other].queues.get_mut(&key) {
                    queue.retain(|block| !blocks.contains(block));
                }
            }
            Command::Close(_) => unreachable!("handled by the caller"),
        }
    }

    fn requested(&mut self, uploader: usize, key: PeerKey, block: BlockRef) {
        let end = self.end(uploader, key);
        let link = &self.links[key.0 as usize];
        if link.unchoked[end] {
            assert!(self.nodes[uploader].had.contains(block.piece()), "asked for what it has not");
            self.nodes[uploader].queues.entry(key).or_default().push_back(block);
            self.upload(uploader);
        } else if link.fast {
            let other = self.other(uploader, key);
            self.tell(other, key, PeerEvent::Rejected(block));
        }
    }

    /// Begins to send the next block, if the uplink is free: the links take turns.
    fn upload(&mut self, index: usize) {
        let now = self.now;
        let node = &mut self.nodes[index];
        if node.busy || !node.present {
            return;
        }
        let waiting = |from: PeerKey| {
            node.queues.range(from..).find(|(_, queue)| !queue.is_empty()).map(|(&key, _)| key)
        };
        let Some(key) = waiting(PeerKey(node.last_served.0 + 1)).or_else(|| waiting(PeerKey(0))) else {
            return;
        };
        let block = node.queues.get_mut(&key).and_then(VecDeque::pop_front).unwrap();
        node.busy = true;
        node.last_served = key;
        let mut time = Duration::from_micros(u64::from(block.len()) * 1_000_000 / node.nature.upload);
        if let Some((from, to)) = node.nature.stalls
            && (from..to).contains(&now)
        {
            time += to - now;
        }
        self.after(time, What::Sent(index, key, block));
    }

    fn sent(&mut self, index: usize, key: PeerKey, block: BlockRef) {
        let node = &mut self.nodes[index];
        node.busy = false;
        if self.links[key.0 as usize].open {
            node.uploaded += u64::from(block.len());
            let corrupt = node.nature.corrupts > 0 && self.random.u32(..node.nature.corrupts) == 0;
            let other = self.other(index, key);
            let taker = &mut self.nodes[other];
            let time = Duration::from_nanos(u64::from(block.len()) * 1_000_000_000 / taker.nature.download);
            taker.down_until = taker.down_until.max(self.now) + time;
            let arrives = taker.down_until + self.latency;
            self.at(arrives, What::Block(other, key, block, corrupt));
            self.event(index, Event::Peer(key, PeerEvent::Uploaded(block.len().into())));
        }
        let node = &self.nodes[index];
        if node.present && node.nature.leaves_after.is_some_and(|bytes| node.uploaded >= bytes) {
            self.leave(index);
        }
        self.upload(index);
    }

    fn block(&mut self, index: usize, key: PeerKey, block: BlockRef, corrupt: bool) {
        let end = self.end(index, key);
        let link = &mut self.links[key.0 as usize];
        if !link.open || !link.asked[end].remove(&block) {
            return;
        }
        let node = &mut self.nodes[index];
        if node.core.wants(block) {
            node.store.entry(block.piece()).or_default().insert(block, corrupt);
        }
        self.event(index, Event::Peer(key, PeerEvent::Blocks(vec![block])));
    }

    fn dial(&mut self, from: usize, to: SocketAddr) {
        let Some(target) =
            (0..self.nodes.len()).find(|&node| address(node) == to && self.nodes[node].present)
        else {
            self.event(from, Event::DialFailed(to));
            return;
        };
        let key = PeerKey(self.links.len() as u64);
        let fast = self.nodes[from].nature.fast && self.nodes[target].nature.fast;
        let now = self.start + self.now;
        let (unchoked, asked) = ([false; 2], [BTreeSet::new(), BTreeSet::new()]);
        self.links.push(Link { ends: [from, target], open: true, fast, unchoked, asked });
        self.nodes[from].links.insert(key);
        self.nodes[target].links.insert(key);
        for (me, other, direction) in
            [(from, target, Direction::Outgoing), (target, from, Direction::Incoming)]
        {
            let mut address = address(other);
            if direction == Direction::Incoming {
                address.set_port(40_000);
            }
            let hidden = fast && self.nodes[me].core.hides(now);
            let bits = if hidden { Bitfield::empty(&self.geometry) } else { self.nodes[me].had.clone() };
            let info = PeerInfo { address, peer_id: self.nodes[other].id, direction, fast, hidden };
            self.tell(other, key, PeerEvent::Bitfield(bits));
            self.event(me, Event::Connected(key, info));
        }
    }

    fn close(&mut self, key: PeerKey) {
        let link = &mut self.links[key.0 as usize];
        if !std::mem::replace(&mut link.open, false) {
            return;
        }
        for node in link.ends {
            self.nodes[node].queues.remove(&key);
            self.nodes[node].links.remove(&key);
            self.after(self.latency, What::Event(node, Event::Gone(key)));
        }
    }

    fn leave(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let mut effects = Vec::new();
        for piece in node.core.shutdown(&node.budget, &mut effects) {
            node.budget.release(self.geometry.piece_len(piece).into());
        }
        assert_eq!(node.budget.reserved.get(), 0, "gone, and something is reserved");
        assert_eq!(node.core.next_wake(), None);
        for key in self.links_of(index) {
            self.close(key);
        }
        self.nodes[index].present = false;
    }

    fn links_of(&self, node: usize) -> Vec<PeerKey> {
        self.nodes[node].links.iter().copied().collect()
    }

    fn end(&self, node: usize, key: PeerKey) -> usize {
        usize::from(self.links[key.0 as usize].ends[0] != node)
    }

    fn other(&self, node: usize, key: PeerKey) -> usize {
        self.links[key.0 as usize].ends[1 - self.end(node, key)]
    }
}
