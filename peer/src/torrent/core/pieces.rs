//! Which blocks to ask a peer for: the pieces had, begun and open, and the budget between them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{BlockRef, Geometry, PieceIndex};

use super::{Budget, Context};
use crate::torrent::event::{Effect, PeerKey};
use crate::torrent::peers::Peer;
use crate::torrent::picker::{Order, Picker};
use crate::torrent::requests::{Begun, Requests, Scope, Stage};
use crate::torrent::selection::Selection;
use crate::torrent::suspects::Identity;

/// Until so many pieces are had, the next is any that the peer has: something to give matters more than rarity.
const RANDOM_FIRST: u32 = 4;
/// A peer that needs longer for a piece helps others with theirs before it begins its own.
const SLOW: Duration = Duration::from_secs(10);
/// How long a peer may take for a piece that it fetches alone, the first time. It doubles each time.
const ALONE: Duration = Duration::from_secs(60);
/// The wait before a piece that could not be written is fetched again.
const AFTER_WRITE_ERROR: Duration = Duration::from_secs(10);

/// A piece that failed, and is to be fetched from a single peer.
#[derive(Debug, Default)]
struct Taint {
    /// Who sent a part of it: others are asked first.
    by: BTreeSet<Identity>,
    /// Times it was given up because a peer took too long for it.
    given_up: u32,
}

/// Every piece is had, begun, delayed, open (in the picker), or not wanted.
#[derive(Debug)]
pub(super) struct Pieces {
    geometry: Geometry,
    had: Bitfield,
    bytes_left: u64,
    /// Wanted, and not had.
    lacking: Bitfield,
    /// Bytes of the pieces lacking.
    lacking_len: u64,
    pub(super) picker: Picker,
    pub(super) requests: Requests,
    tainted: BTreeMap<PieceIndex, Taint>,
    delayed: Vec<(Instant, PieceIndex)>,
    /// Counts up when a piece becomes open: a peer that found nothing need not look again before.
    generation: u64,
    shuffled: bool,
    /// Pieces are begun in order.
    pub(super) sequential: bool,
    /// No piece is begun: there is no room for it on disk.
    pub(super) held: bool,
}

impl Pieces {
    pub(super) fn new(geometry: Geometry, had: Bitfield, selection: Selection) -> Self {
        let lacking = selection.lacking(&geometry, &had);
        Self {
            geometry,
            bytes_left: geometry.total_len().saturating_sub(len_of(&had, &geometry)),
            lacking_len: len_of(&lacking, &geometry),
            lacking,
            picker: Picker::new(geometry, &had, selection),
            requests: Requests::new(geometry),
            tainted: BTreeMap::new(),
            delayed: Vec::new(),
            generation: 0,
            shuffled: false,
            sequential: false,
            held: false,
            had,
        }
    }

    pub(super) const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(super) const fn had(&self) -> &Bitfield {
        &self.had
    }

    pub(super) const fn bytes_left(&self) -> u64 {
        self.bytes_left
    }

    /// The pieces that are wanted and not had.
    pub(super) const fn lacking(&self) -> &Bitfield {
        &self.lacking
    }

    /// Bytes of the pieces lacking.
    pub(super) const fn lacking_len(&self) -> u64 {
        self.lacking_len
    }

    /// How many of these pieces are lacking.
    pub(super) fn wanted_of(&self, have: &Bitfield) -> u32 {
        let pairs = self.lacking.as_bytes().iter().zip(have.as_bytes());
        pairs.map(|(ours, theirs)| (ours & theirs).count_ones()).sum()
    }

    /// Something else is wanted. What is being received and is not wanted any more is dropped: who was asked for what.
    pub(super) fn select(&mut self, selection: Selection, cx: &mut Context<'_>) -> Vec<(PeerKey, BlockRef)> {
        self.lacking = selection.lacking(&self.geometry, &self.had);
        self.lacking_len = len_of(&self.lacking, &self.geometry);
        let begun = self.requests.iter().filter(|(_, begun)| begun.stage() == Stage::Receiving);
        let unwanted: Vec<_> =
            begun.map(|(piece, _)| piece).filter(|&piece| !selection.wants(piece)).collect();
        let asked = unwanted.into_iter().flat_map(|piece| self.drop_begun(piece, cx)).collect();
        let (had, requests, delayed) = (&self.had, &self.requests, &self.delayed);
        let missing = |piece| {
            let waits = delayed.iter().any(|&(_, delayed)| delayed == piece);
            !had.contains(piece) && requests.get(piece).is_none() && !waits
        };
        self.picker.select(selection, missing, cx.random);
        (self.shuffled, self.generation) = (true, self.generation + 1);
        asked
    }

    /// Every missing block that can be had is asked for.
    pub(super) fn is_endgame(&self) -> bool {
        self.picker.obtainable() == 0 && self.requests.all_asked() && !self.requests.is_empty()
    }

    /// There is nothing to ask anybody for: every block of the begun pieces is asked for, and the budget has no room for
    /// another piece. So a thousand peers that wait need not be tried one by one.
    pub(super) fn is_spent(&self, budget: &dyn Budget) -> bool {
        if self.requests.is_empty() || !self.requests.all_asked() || self.is_endgame() {
            return false;
        }
        let len = u64::from(self.geometry.nominal_piece_len());
        !budget.has_room(len)
    }

    /// Blocks to ask this peer for, up to `need` of them.
    pub(super) fn assign(
        &mut self,
        key: PeerKey,
        peer: &mut Peer,
        need: usize,
        cx: &mut Context<'_>,
    ) -> Vec<BlockRef> {
        let (mut batch, mut fruitless) = (Vec::new(), Vec::new());
        while batch.len() < need {
            let idle = batch.is_empty() && peer.outstanding.is_empty();
            let Some(piece) = self.next_piece(key, peer, idle, &fruitless, cx) else { break };
            let before = batch.len();
            let alone = self.alone_until(piece, peer, cx.now);
            let lost = &peer.lost;
            let skip = |block| lost.iter().any(|lost| lost.block == block);
            self.requests.ask(piece, key, alone, need - before, skip, &mut batch);
            if batch.len() == before {
                fruitless.push(piece);
            }
        }
        batch
    }

    /// A begun piece with blocks for this peer; one is begun if need be.
    fn next_piece(
        &mut self,
        key: PeerKey,
        peer: &mut Peer,
        idle: bool,
        fruitless: &[PieceIndex],
        cx: &mut Context<'_>,
    ) -> Option<PieceIndex> {
        if peer.choking.is_some() {
            return self.next_allowed_fast(key, peer, fruitless, cx);
        }
        let own = if peer.parole { Scope::Alone } else { Scope::Own };
        if let Some(piece) = self.requests.choose(key, &peer.have, own, fruitless) {
            return Some(piece);
        }
        if self.is_slow(peer, cx.now)
            && let Some(piece) = self.next_shared(key, peer, fruitless)
        {
            return Some(piece);
        }
        let open = self.next_open(peer, cx).filter(|&piece| !self.is_all_lost(piece, peer));
        if let Some(piece) = open
            && self.begin(piece, key, cx)
        {
            return Some(piece);
        }
        if let Some(piece) = self.next_shared(key, peer, fruitless) {
            return Some(piece);
        }
        if idle { self.next_instead(key, peer, open, cx) } else { None }
    }

    /// A peer would be idle, because of begun pieces that nobody is asked for: one of them gives way. Either they
    /// hold the budget that an `open` piece needs, or others sent a part and this peer must fetch alone.
    fn next_instead(
        &mut self,
        key: PeerKey,
        peer: &Peer,
        open: Option<PieceIndex>,
        cx: &mut Context<'_>,
    ) -> Option<PieceIndex> {
        let its = |piece| peer.parole && peer.have.contains(piece) && !self.is_all_lost(piece, peer);
        let stalled = self.requests.stalled(|piece| open.is_some() || its(piece))?;
        self.give_up(stalled, cx);
        let piece = open.unwrap_or(stalled);
        self.begin(piece, key, cx).then_some(piece)
    }

    /// A piece that another peer fetches.
    fn next_shared(&self, key: PeerKey, peer: &Peer, fruitless: &[PieceIndex]) -> Option<PieceIndex> {
        let may = !peer.parole;
        may.then(|| self.requests.choose(key, &peer.have, Scope::Shared, fruitless)).flatten()
    }

    /// While it chokes us a peer sends pieces that it named (BEP 6).
    fn next_allowed_fast(
        &mut self,
        key: PeerKey,
        peer: &Peer,
        fruitless: &[PieceIndex],
        cx: &mut Context<'_>,
    ) -> Option<PieceIndex> {
        let candidates = peer
            .allowed_fast
            .iter()
            .filter(|piece| peer.have.contains(**piece) && !fruitless.contains(piece));
        for &piece in candidates {
            let mine = |begun: &Begun| {
                begun.owner().is_none_or(|owner| owner == key) || begun.alone_until().is_none()
            };
            if !peer.parole && self.requests.has_free(piece) && self.requests.get(piece).is_some_and(mine) {
                return Some(piece);
            }
            if self.picker.is_open(piece) && !self.is_all_lost(piece, peer) && self.begin(piece, key, cx) {
                return Some(piece);
            }
        }
        None
    }

    /// An open piece for this peer: one that failed and that it had no part in, else what the picker says.
    fn next_open(&mut self, peer: &mut Peer, cx: &mut Context<'_>) -> Option<PieceIndex> {
        let fresh = |(piece, taint): (&PieceIndex, &Taint)| {
            let fits = peer.have.contains(*piece)
                && self.picker.is_open(*piece)
                && !taint.by.contains(&peer.identity);
            fits.then_some(*piece)
        };
        if let Some(piece) = self.tainted.iter().find_map(fresh) {
            return Some(piece);
        }
        if peer.dry == Some(self.generation) {
            return None;
        }
        if !std::mem::replace(&mut self.shuffled, true) {
            self.picker.shuffle(cx.random);
        }
        let order = match self.had.count() {
            _ if self.sequential => Order::Sequential,
            0..RANDOM_FIRST => Order::Random,
            _ => Order::Rarest,
        };
        let piece = self.picker.pick(&peer.have, peer.counted_as_seed, order, cx.random);
        if piece.is_none() {
            peer.dry = Some(self.generation);
        }
        piece
    }

    /// We gave up waiting for all of this piece lately. It may come yet, and is not asked for again so soon.
    fn is_all_lost(&self, piece: PieceIndex, peer: &Peer) -> bool {
        let lost = peer.lost.iter().filter(|lost| lost.block.piece() == piece).count();
        lost > 0 && lost >= self.geometry.block_count(piece) as usize
    }

    fn begin(&mut self, piece: PieceIndex, key: PeerKey, cx: &mut Context<'_>) -> bool {
        if self.held {
            return false;
        }
        let len = u64::from(self.geometry.piece_len(piece));
        if self.requests.is_empty() {
            cx.budget.reserve_first(len);
        } else if !cx.budget.try_reserve(len) {
            return false;
        }
        self.picker.begin(piece);
        self.requests.begin(piece, key, None);
        true
    }

    /// Until when this peer must fetch the piece alone, if it must.
    fn alone_until(&self, piece: PieceIndex, peer: &Peer, now: Instant) -> Option<Instant> {
        let taint = self.tainted.get(&piece);
        (peer.parole || taint.is_some()).then(|| {
            let times = taint.map_or(0, |taint| taint.given_up).min(10);
            now + ALONE.saturating_mul(1 << times)
        })
    }

    fn is_slow(&self, peer: &Peer, now: Instant) -> bool {
        let within = peer.down.at(now).saturating_mul(SLOW.as_secs());
        peer.down.total() > 0 && within < u64::from(self.geometry.nominal_piece_len())
    }

    /// A piece was bad: it is fetched again, alone by a peer that is not one of `by` if there is one.
    pub(super) fn failed(
        &mut self,
        piece: PieceIndex,
        by: impl Iterator<Item = Identity>,
        cx: &mut Context<'_>,
    ) {
        self.tainted.entry(piece).or_default().by.extend(by);
        self.give_up(piece, cx);
    }

    /// A piece that was fetched alone takes too long: somebody else shall try. Who was still asked for what.
    pub(super) fn took_too_long(
        &mut self,
        piece: PieceIndex,
        cx: &mut Context<'_>,
    ) -> Vec<(PeerKey, BlockRef)> {
        let taint = self.tainted.entry(piece).or_default();
        taint.given_up = taint.given_up.saturating_add(1);
        self.give_up(piece, cx)
    }

    /// Drops what is here of a begun piece and opens it. Who was still asked for what.
    pub(super) fn give_up(&mut self, piece: PieceIndex, cx: &mut Context<'_>) -> Vec<(PeerKey, BlockRef)> {
        let asked = self.drop_begun(piece, cx);
        self.reopen(piece, cx);
        asked
    }

    fn reopen(&mut self, piece: PieceIndex, cx: &mut Context<'_>) {
        self.picker.reopen(piece, cx.random);
        self.generation += 1;
    }

    fn drop_begun(&mut self, piece: PieceIndex, cx: &mut Context<'_>) -> Vec<(PeerKey, BlockRef)> {
        let asked = self.requests.end(piece);
        cx.effects.push(Effect::Discard(piece));
        cx.budget.release(u64::from(self.geometry.piece_len(piece)));
        asked
    }

    /// A piece is written. False if it was had.
    pub(super) fn written(&mut self, piece: PieceIndex, cx: &mut Context<'_>) -> bool {
        self.requests.end(piece);
        let len = u64::from(self.geometry.piece_len(piece));
        cx.budget.release(len);
        self.tainted.remove(&piece);
        let new = self.had.insert(piece);
        if new {
            self.bytes_left = self.bytes_left.saturating_sub(len);
        }
        if self.lacking.remove(piece) {
            self.lacking_len = self.lacking_len.saturating_sub(len);
        }
        new
    }

    /// A piece could not be written. It is fetched again after a while.
    pub(super) fn not_written(&mut self, piece: PieceIndex, cx: &mut Context<'_>) {
        self.drop_begun(piece, cx);
        self.delayed.push((cx.now + AFTER_WRITE_ERROR, piece));
    }

    /// When the first delayed piece is due.
    pub(super) fn next_delayed(&self) -> Option<Instant> {
        self.delayed.iter().map(|&(due, _)| due).min()
    }

    /// Opens the delayed pieces that are due.
    pub(super) fn open_delayed(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        for (_, piece) in self.delayed.extract_if(.., |(due, _)| *due <= now).collect::<Vec<_>>() {
            self.reopen(piece, cx);
        }
    }

    /// Drops every begun piece, for good. Those that are being hashed or written, and hold what is reserved for them.
    pub(super) fn end_all(&mut self, budget: &dyn Budget, effects: &mut Vec<Effect>) -> BTreeSet<PieceIndex> {
        let begun: Vec<_> = self.requests.iter().map(|(piece, begun)| (piece, begun.stage())).collect();
        let mut in_flight = BTreeSet::new();
        for (piece, stage) in begun {
            self.requests.end(piece);
            if stage == Stage::Receiving {
                budget.release(u64::from(self.geometry.piece_len(piece)));
                effects.push(Effect::Discard(piece));
            } else {
                in_flight.insert(piece);
            }
        }
        in_flight
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self, owed: &BTreeSet<(PeerKey, BlockRef)>) {
        self.picker.check_invariants();
        self.requests.check_invariants(owed);
        let mut left = 0;
        for piece in self.geometry.pieces() {
            let delayed = self.delayed.iter().any(|&(_, delayed)| delayed == piece);
            let begun = self.requests.get(piece).is_some();
            let states = [self.had.contains(piece), begun, delayed, self.picker.is_open(piece)];
            let count = states.iter().filter(|&&is| is).count();
            let wanted = self.picker.selection().wants(piece);
            assert!(
                count == 1 || count == 0 && !wanted,
                "{piece:?}: had, begun, delayed, open: {states:?}, wanted: {wanted}"
            );
            assert_eq!(self.lacking.contains(piece), wanted && !self.had.contains(piece), "{piece:?}");
            left += if self.had.contains(piece) { 0 } else { u64::from(self.geometry.piece_len(piece)) };
        }
        assert_eq!(left, self.bytes_left);
        assert_eq!(len_of(&self.lacking, &self.geometry), self.lacking_len);
    }
}

/// Bytes of these pieces.
fn len_of(pieces: &Bitfield, geometry: &Geometry) -> u64 {
    pieces.iter(geometry).map(|piece| u64::from(geometry.piece_len(piece))).sum()
}
