//! Decides for one torrent: whom to ask for what, whom to answer, whom to dial, whom to drop. A pure function of
//! (state, event, time, random source): it opens nothing and never sleeps, so a swarm of them runs on a virtual clock.
//!
//! One file per concern, one function per event:
//! - `connect`: peers come and go, addresses are dialled;
//! - `messages`: what peers say;
//! - `download`: blocks arrive, pieces are written;
//! - `guilt`: pieces are good or bad, and who is to blame;
//! - `pieces`: which blocks to ask a peer for;
//! - `endgame`: the last blocks, asked of several peers;
//! - `select`: what is wanted;
//! - `slots`: who is unchoked;
//! - `idle`: who takes nothing of what others wait for;
//! - `options`: what the user set;
//! - `show`: super-seeding;
//! - `timers`: what happens because time passed.

mod config;
mod connect;
mod download;
mod endgame;
mod guilt;
mod idle;
#[cfg(any(test, debug_assertions))]
mod invariants;
mod messages;
mod options;
mod pieces;
mod select;
mod show;
mod slots;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{BlockRef, Geometry, PieceIndex};
use torrent_common::ids::PeerId;

pub use config::{Budget, CoreConfig, CoreStats};

use self::connect::Departed;
use self::guilt::Digests;
use self::idle::Idle;
use self::pieces::Pieces;
use self::show::Show;
use self::slots::Slots;
use self::timers::Timers;
use super::dial::Dialler;
use super::event::{CloseReason, Command, Effect, Event, PeerKey};
use super::evidence::Evidence;
use super::peers::Peers;
use super::requests::Stage;
use super::suspects::Suspects;
use crate::options::TorrentOptions;

/// The state of one torrent's swarm.
#[derive(Debug)]
pub struct Core {
    config: CoreConfig,
    options: Arc<TorrentOptions>,
    pieces: Pieces,
    peers: Peers,
    by_id: BTreeMap<PeerId, PeerKey>,
    departed: Departed,
    dialler: Dialler,
    suspects: Suspects,
    evidence: Evidence,
    digests: Option<Digests>,
    slots: Slots,
    idle: Idle,
    show: Show,
    timers: Timers,
    totals: Totals,
    /// Blocks or budget became free: every peer that wants for requests is looked at.
    refill_all: bool,
    /// Bytes per second that may be downloaded; 0: no limit.
    download_limit: u64,
}

/// Bytes of peers that are gone, and of what was of no use.
#[derive(Debug, Default)]
struct Totals {
    downloaded: u64,
    uploaded: u64,
    wasted: u64,
}

/// What an event is handled with.
struct Context<'a> {
    now: Instant,
    random: &'a mut fastrand::Rng,
    budget: &'a dyn Budget,
    effects: &'a mut Vec<Effect>,
}

impl Context<'_> {
    fn send(&mut self, key: PeerKey, command: Command) {
        self.effects.push(Effect::Send(key, command));
    }
}

impl Core {
    /// A torrent that has the pieces `had` and knows nobody.
    pub fn new(geometry: Geometry, had: Bitfield, config: CoreConfig, now: Instant) -> Self {
        let mut pieces = Pieces::new(geometry, had, config.selection.clone());
        pieces.sequential = config.sequential;
        Self {
            config,
            options: Arc::default(),
            pieces,
            peers: Peers::new(),
            by_id: BTreeMap::new(),
            departed: Departed::default(),
            dialler: Dialler::default(),
            suspects: Suspects::default(),
            evidence: Evidence::default(),
            digests: None,
            slots: Slots::default(),
            idle: Idle::default(),
            show: Show::default(),
            timers: Timers::new(now),
            totals: Totals::default(),
            refill_all: false,
            download_limit: 0,
        }
    }

    /// Takes one event at time `now` and appends what is to be done about it, in order. Timers that are due run too,
    /// whatever the event: a busy torrent need not send itself ticks.
    pub fn handle(
        &mut self,
        event: Event,
        now: Instant,
        random: &mut fastrand::Rng,
        budget: &dyn Budget,
        effects: &mut Vec<Effect>,
    ) {
        let cx = &mut Context { now, random, budget, effects };
        match event {
            Event::Connected(key, info) => self.connected(key, info, cx),
            Event::Peer(key, event) => self.message(key, event, cx),
            Event::Gone(key) => self.gone(key, cx),
            Event::DialFailed(address) => self.dialler.failed(address, cx.now, cx.random),
            Event::NoRoom(address) => self.dialler.no_room(address, cx.now),
            Event::Found(addresses) => self.found(addresses, cx),
            Event::Digests(piece, digests) => self.digests(piece, digests),
            Event::Hashed(piece, good) => self.hashed(piece, good, cx),
            Event::Written(piece, ok) => self.written(piece, ok, cx),
            Event::Options(options) => self.set_options(options, cx),
            Event::Selected(selection) => self.select(selection, cx),
            Event::Tick => {}
        }
        self.run_timers(cx);
        if std::mem::take(&mut self.refill_all) {
            self.refill_everybody(cx);
        }
        self.run_show(cx);
        self.arm_check(now);
    }

    /// No more than so many bytes per second may be downloaded; 0: no limit. The connections keep to it, the core asks
    /// for no more ahead than that is worth.
    pub const fn limit_download(&mut self, rate: u64) {
        self.download_limit = rate;
    }

    /// Begins no piece as long as there is no room for it on disk; or again, from the next event on. What is begun is
    /// fetched, so that it does not hold the memory that others may use, and what is had is uploaded.
    pub const fn hold(&mut self, held: bool) {
        self.refill_all |= self.pieces.held && !held;
        self.pieces.held = held;
    }

    /// Whether this block belongs to a begun piece and has not arrived: its bytes are to be kept.
    pub fn wants(&self, block: BlockRef) -> bool {
        self.pieces.requests.wants(block)
    }

    /// Pieces are begun whose blocks are not all here.
    pub fn is_receiving(&self) -> bool {
        self.pieces.requests.iter().any(|(_, begun)| begun.stage() == Stage::Receiving)
    }

    /// The torrent at a glance.
    pub fn stats(&self, now: Instant) -> CoreStats {
        let sum = |of: fn(&super::peers::Peer, Instant) -> u64| -> u64 {
            self.peers.values().map(|peer| of(peer, now)).fold(0, u64::saturating_add)
        };
        CoreStats {
            peers: self.peers.len(),
            seeds: self.peers.values().filter(|peer| peer.have.is_full()).count(),
            download_rate: sum(|peer, now| peer.down.at(now)),
            upload_rate: sum(|peer, now| peer.up.at(now)),
            pieces_had: self.pieces.had().count(),
            bytes_left: self.pieces.bytes_left(),
            lacking: self.pieces.lacking_len(),
            downloaded: self.totals.downloaded.saturating_add(sum(|peer, _| peer.down.total())),
            uploaded: self.totals.uploaded.saturating_add(sum(|peer, _| peer.up.total())),
            wasted: self.totals.wasted,
        }
    }

    /// Every wanted piece is had.
    pub const fn is_complete(&self) -> bool {
        self.pieces.lacking().is_empty()
    }

    /// Bytes of the pieces that are wanted and not had.
    pub const fn lacking(&self) -> u64 {
        self.pieces.lacking_len()
    }

    /// Closes every peer and gives back what is reserved, but for pieces that are being hashed or written: whoever does that
    /// pays back what is reserved for these. The core is of no use afterwards.
    pub fn shutdown(&mut self, budget: &dyn Budget, effects: &mut Vec<Effect>) -> BTreeSet<PieceIndex> {
        effects.extend(self.peers.keys().map(|&key| Effect::Send(key, Command::Close(CloseReason::Stopped))));
        self.peers.clear();
        self.by_id.clear();
        self.slots = Slots::default();
        self.idle = Idle::default();
        self.show = Show::default();
        self.timers.stop();
        self.pieces.end_all(budget, effects)
    }
}
