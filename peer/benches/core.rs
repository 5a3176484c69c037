//! The core of a leeching torrent with a million pieces and two hundred peers: what its thread spends on each block, from
//! its arrival to the next request. `cargo bench -p torrent-peer --bench core`
#![allow(clippy::unwrap_used, reason = "a benchmark's inputs are its own")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{BlockRef, DEFAULT_BLOCK_LEN, Geometry};
use torrent_common::ids::PeerId;
use torrent_peer::torrent::core::{Budget, Core, CoreConfig};
use torrent_peer::torrent::event::{Command, Direction, Effect, Event, PeerEvent, PeerInfo, PeerKey};

const PIECES: u64 = 1_000_000;
const PEERS: u8 = 200;
/// The others have half of the pieces.
const SEEDS: u8 = 180;
/// Blocks in one measurement.
const BATCH: u32 = 1000;

fn main() {
    divan::main();
}

/// All the memory there could be.
struct Unlimited;

impl Budget for Unlimited {
    fn try_reserve(&self, _len: u64) -> bool {
        true
    }
    fn has_room(&self, _len: u64) -> bool {
        true
    }
    fn reserve_first(&self, _len: u64) {}
    fn release(&self, _len: u64) {}
}

/// A core whose peers answer everything, in turn.
struct Swarm {
    core: Core,
    now: Instant,
    random: fastrand::Rng,
    /// What peers were asked for, the longest ago first.
    asked: VecDeque<(PeerKey, Vec<BlockRef>)>,
    effects: Vec<Effect>,
}

impl Swarm {
    /// Pieces of so many blocks each.
    fn new(blocks: u32) -> Self {
        let piece_len = u64::from(blocks * DEFAULT_BLOCK_LEN);
        let geometry = Geometry::new(PIECES * piece_len, piece_len, DEFAULT_BLOCK_LEN).unwrap();
        let (now, config) = (Instant::now(), CoreConfig::new(PeerId::new([0; 20])));
        let mut this = Self {
            core: Core::new(geometry, Bitfield::empty(&geometry), config, now),
            now,
            random: fastrand::Rng::with_seed(1),
            asked: VecDeque::new(),
            effects: Vec::new(),
        };
        let (all, mut half) = (Bitfield::full(&geometry), Bitfield::empty(&geometry));
        geometry.pieces().step_by(2).for_each(|piece| {
            half.insert(piece);
        });
        for number in 0..PEERS {
            let key = PeerKey(number.into());
            this.handle(Event::Connected(key, peer(number)));
            let have = if number < SEEDS { all.clone() } else { half.clone() };
            this.handle(Event::Peer(key, PeerEvent::Bitfield(have)));
            this.handle(Event::Peer(key, PeerEvent::Unchoked));
        }
        this
    }

    /// One event and all that follows from it at once: pieces are good, and written.
    fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.core.handle(event, self.now, &mut self.random, &Unlimited, &mut self.effects);
            for effect in self.effects.drain(..) {
                match effect {
                    Effect::Send(key, Command::Request(blocks)) => self.asked.push_back((key, blocks)),
                    Effect::Hash(piece) => events.push_back(Event::Hashed(piece, true)),
                    Effect::Write(piece) => events.push_back(Event::Written(piece, true)),
                    _ => {}
                }
            }
        }
    }

    /// At least this many blocks arrive.
    fn receive(&mut self, blocks: u32) {
        let mut rest = blocks as usize;
        while rest > 0 {
            let (key, blocks) = self.asked.pop_front().unwrap();
            rest = rest.saturating_sub(blocks.len());
            self.now += Duration::from_micros(100);
            self.handle(Event::Peer(key, PeerEvent::Blocks(blocks)));
        }
    }
}

fn peer(number: u8) -> PeerInfo {
    PeerInfo {
        address: SocketAddr::from(([10, 0, 0, number], 6881)),
        peer_id: PeerId::new([number + 1; 20]),
        direction: Direction::Incoming,
        fast: true,
        hidden: false,
    }
}

/// By blocks in a piece: of 16 KiB, 256 KiB and 1 MiB.
#[divan::bench(args = [1, 16, 64], sample_count = 50, sample_size = 1)]
fn block(bencher: Bencher<'_, '_>, blocks: u32) {
    let swarm = RefCell::new(Swarm::new(blocks));
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| swarm.borrow_mut().receive(BATCH));
}
