//! The core by hand: one torrent, events in, effects out. Every event is followed by a check of the books.

mod connect;
mod download;
mod endgame;
mod guilt;
mod idle;
mod nonsense;
mod select;
mod show;
mod upload;

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use torrent_common::geometry::{BlockRef, PieceIndex};

use super::*;
use crate::torrent::event::{Direction, PeerEvent, PeerInfo};

struct TestBudget {
    reserved: Cell<u64>,
    limit: Cell<u64>,
    /// How often it was asked for room.
    tries: Cell<u32>,
}

impl Budget for TestBudget {
    fn try_reserve(&self, len: u64) -> bool {
        self.tries.set(self.tries.get() + 1);
        let fits = self.reserved.get() + len <= self.limit.get();
        if fits {
            self.reserve_first(len);
        }
        fits
    }

    fn has_room(&self, len: u64) -> bool {
        self.tries.set(self.tries.get() + 1);
        self.reserved.get() + len <= self.limit.get()
    }

    fn reserve_first(&self, len: u64) {
        self.reserved.set(self.reserved.get() + len);
    }

    fn release(&self, len: u64) {
        self.reserved.set(self.reserved.get().checked_sub(len).expect("released more than was reserved"));
    }
}

struct Test {
    core: Core,
    now: Instant,
    random: fastrand::Rng,
    budget: TestBudget,
    geometry: Geometry,
}

const OWN: PeerId = PeerId::new([100; 20]);

/// A torrent of `pieces` pieces of four blocks.
fn torrent(pieces: u64) -> Test {
    torrent_with(pieces, &[], CoreConfig::new(OWN))
}

fn torrent_with(pieces: u64, had: &[u32], config: CoreConfig) -> Test {
    let geometry = Geometry::new(pieces * 40, 40, 10).unwrap();
    let now = Instant::now();
    let mut bits = Bitfield::empty(&geometry);
    had.iter().for_each(|&piece| assert!(bits.insert(geometry.piece(piece).unwrap())));
    Test {
        core: Core::new(geometry, bits, config, now),
        now,
        random: fastrand::Rng::with_seed(1),
        budget: TestBudget { reserved: Cell::new(0), limit: Cell::new(u64::MAX), tries: Cell::new(0) },
        geometry,
    }
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 6881))
}

fn info(number: u8, direction: Direction) -> PeerInfo {
    PeerInfo {
        address: address(number),
        peer_id: PeerId::new([number; 20]),
        direction,
        fast: false,
        hidden: false,
    }
}

fn key(number: u8) -> PeerKey {
    PeerKey(number.into())
}

impl Test {
    fn event(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.core.handle(event, self.now, &mut self.random, &self.budget, &mut effects);
        self.core.check_invariants();
        assert!(self.core.next_wake().is_none_or(|wake| wake > self.now), "what was due is still due");
        effects
    }

    fn peer(&mut self, number: u8, event: PeerEvent) -> Vec<Effect> {
        self.event(Event::Peer(key(number), event))
    }

    fn connect(&mut self, number: u8) -> Vec<Effect> {
        self.event(Event::Connected(key(number), info(number, Direction::Incoming)))
    }

    /// Connects a peer with these pieces that unchokes us. What it is asked for.
    fn giver(&mut self, number: u8, pieces: &[u32]) -> Vec<BlockRef> {
        self.connect(number);
        let have = self.bits(pieces);
        self.peer(number, PeerEvent::Bitfield(have));
        let effects = self.peer(number, PeerEvent::Unchoked);
        asked(&effects, number)
    }

    /// Connects a peer that has nothing and wants something.
    fn taker(&mut self, number: u8) -> Vec<Effect> {
        self.connect(number);
        self.peer(number, PeerEvent::Interested)
    }

    fn bits(&self, pieces: &[u32]) -> Bitfield {
        let mut bits = Bitfield::empty(&self.geometry);
        pieces.iter().for_each(|&piece| assert!(bits.insert(self.piece(piece))));
        bits
    }

    fn piece(&self, index: u32) -> PieceIndex {
        self.geometry.piece(index).unwrap()
    }

    /// These blocks arrive.
    fn send(&mut self, number: u8, blocks: &[BlockRef]) -> Vec<Effect> {
        self.peer(number, PeerEvent::Blocks(blocks.to_vec()))
    }

    /// All pieces being hashed are good, and written.
    fn finish(&mut self, effects: &[Effect]) -> Vec<Effect> {
        let mut all = Vec::new();
        for piece in hashed(effects) {
            all.extend(self.event(Event::Hashed(piece, true)));
            all.extend(self.event(Event::Written(piece, true)));
        }
        all
    }

    fn pass(&mut self, seconds: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        let until = self.now + Duration::from_secs(seconds);
        while let Some(wake) = self.core.next_wake().filter(|&wake| wake <= until) {
            self.now = wake;
            effects.extend(self.event(Event::Tick));
        }
        self.now = until;
        effects
    }
}

fn commands(effects: &[Effect], number: u8) -> Vec<&Command> {
    let mut found = Vec::new();
    for effect in effects {
        if let Effect::Send(to, command) = effect
            && *to == key(number)
        {
            found.push(command);
        }
    }
    found
}

fn asked(effects: &[Effect], number: u8) -> Vec<BlockRef> {
    let blocks =
        |command: &Command| if let Command::Request(blocks) = command { blocks.clone() } else { Vec::new() };
    commands(effects, number).into_iter().flat_map(blocks).collect()
}

fn cancelled(effects: &[Effect], number: u8) -> Vec<BlockRef> {
    let blocks =
        |command: &Command| if let Command::Cancel(blocks) = command { blocks.clone() } else { Vec::new() };
    commands(effects, number).into_iter().flat_map(blocks).collect()
}

fn hashed(effects: &[Effect]) -> Vec<PieceIndex> {
    let piece = |effect: &Effect| if let Effect::Hash(piece) = effect { Some(*piece) } else { None };
    effects.iter().filter_map(piece).collect()
}

fn closed(effects: &[Effect], number: u8) -> Option<CloseReason> {
    commands(effects, number)
        .into_iter()
        .find_map(|command| if let Command::Close(reason) = command { Some(*reason) } else { None })
}
