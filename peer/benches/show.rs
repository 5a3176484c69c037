//! A super-seeding core: what its thread spends on each `have` of the leechers it hides from, by how many they are.
//! `cargo bench -p torrent-peer --bench show`
#![allow(clippy::unwrap_used, reason = "a benchmark's inputs are its own")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{DEFAULT_BLOCK_LEN, Geometry, PieceIndex};
use torrent_common::ids::PeerId;
use torrent_peer::torrent::core::{Budget, Core, CoreConfig};
use torrent_peer::torrent::event::{Command, Direction, Effect, Event, PeerEvent, PeerInfo, PeerKey};

const PIECES: u64 = 65_536;
/// How many leechers get each piece from the one that was shown it.
const COPIES: u64 = 20;
/// Messages in one measurement.
const BATCH: u32 = 1000;

fn main() {
    divan::main();
}

/// A seeder reserves nothing.
struct Nothing;

impl Budget for Nothing {
    fn try_reserve(&self, _len: u64) -> bool {
        false
    }
    fn has_room(&self, _len: u64) -> bool {
        false
    }
    fn reserve_first(&self, _len: u64) {}
    fn release(&self, _len: u64) {}
}

/// A seeder, and leechers that pass on what they are shown.
struct Swarm {
    core: Core,
    peers: u64,
    now: Instant,
    random: fastrand::Rng,
    /// Who is to say next that it has what.
    haves: VecDeque<(u64, PieceIndex)>,
    /// What was shown, and whom.
    shown: VecDeque<(u64, PieceIndex)>,
    effects: Vec<Effect>,
}

impl Swarm {
    fn new(peers: u64) -> Self {
        let piece_len = u64::from(DEFAULT_BLOCK_LEN);
        let geometry = Geometry::new(PIECES * piece_len, piece_len, DEFAULT_BLOCK_LEN).unwrap();
        let now = Instant::now();
        let config = CoreConfig {
            max_connections: 10_000,
            max_per_host: 10_000,
            ..CoreConfig::new(PeerId::new([0; 20]))
        };
        let mut this = Self {
            core: Core::new(geometry, Bitfield::full(&geometry), config, now),
            peers,
            now,
            random: fastrand::Rng::with_seed(1),
            haves: VecDeque::new(),
            shown: VecDeque::new(),
            effects: Vec::new(),
        };
        for number in 0..peers {
            this.handle(Event::Connected(PeerKey(number), peer(number)));
            this.handle(Event::Peer(PeerKey(number), PeerEvent::Interested));
        }
        this
    }

    fn handle(&mut self, event: Event) {
        self.core.handle(event, self.now, &mut self.random, &Nothing, &mut self.effects);
        for effect in self.effects.drain(..) {
            if let Effect::Send(key, Command::Show(pieces)) = effect {
                self.shown.extend(pieces.into_iter().map(|piece| (key.0, piece)));
            }
        }
    }

    fn have(&mut self) {
        if self.haves.is_empty() {
            let (number, piece) = self.shown.pop_front().unwrap();
            let copies = COPIES.min(self.peers);
            self.haves.extend((0..copies).map(|next| ((number + next) % self.peers, piece)));
        }
        let (number, piece) = self.haves.pop_front().unwrap();
        self.now += Duration::from_micros(10);
        self.handle(Event::Peer(PeerKey(number), PeerEvent::Have(piece)));
    }
}

fn peer(number: u64) -> PeerInfo {
    let mut id = [1; 20];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let [.., a, b] = number.to_be_bytes();
    PeerInfo {
        address: SocketAddr::from(([10, 0, a, b], 6881)),
        peer_id: PeerId::new(id),
        direction: Direction::Incoming,
        fast: true,
        hidden: true,
    }
}

#[divan::bench(args = [10, 100, 1000], sample_count = 50, sample_size = 1)]
fn have(bencher: Bencher<'_, '_>, peers: u64) {
    let swarm = RefCell::new(Swarm::new(peers));
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let swarm = &mut *swarm.borrow_mut();
        (0..BATCH).for_each(|_| swarm.have());
    });
}
