//! Which piece to begin next. Sees the world as piece counts and priorities alone: it knows nothing of peers, blocks or
//! time.
//!
//! Open pieces (wanted, and neither had nor begun) stand in one array for each priority, ordered by how many peers have
//! them, in random order within a bucket of equals. A piece moves to a neighbouring bucket by one swap, so `have` costs
//! O(1), and beginning a piece costs one swap per bucket. Peers that came with everything are only counted. Beside each
//! array the same pieces are a bit set, for what goes by index: sequential order, and peers that have little.

#![expect(
    clippy::indexing_slicing,
    reason = "positions and buckets are this module's own books, checked by tests"
)]

mod tier;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{Geometry, PieceIndex};

use self::tier::{NOWHERE, Tier};
use super::selection::Selection;
use crate::options::Priority;

/// In sequential order, the rarest of about so many bytes from the first open piece on: leechers that all took the very
/// first would have nothing for each other. A seeder that does not super-seed sends eight of them eight copies then; with
/// 8 pieces of 256 KiB ahead 3.3, with 32 2.1, with 64 1.7; rarest first 1.3 (`tests/simulation`).
const AHEAD_LEN: u32 = 16 << 20;
/// The same in pieces, at least and at most.
const AHEAD: std::ops::RangeInclusive<u32> = 8..=64;

/// How to choose among the open pieces of a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The fewest peers have it.
    Rarest,
    /// Any: while we have little, a piece that many have comes sooner.
    Random,
    /// By index, from the first on.
    Sequential,
}

/// The open pieces: those of the highest priority first, and of these the rarest.
#[derive(Debug)]
pub struct Picker {
    geometry: Geometry,
    /// Per piece: how many peers have it, not counting `seeds`.
    availability: Vec<u32>,
    seeds: u32,
    /// Pieces whose availability is 0.
    absent: u32,
    selection: Selection,
    /// Per piece: where it stands in the order of its tier.
    position: Vec<u32>,
    /// High, normal, low.
    tiers: [Tier; 3],
}

/// The tier of a priority; none for what is not wanted.
const fn tier_of(priority: Priority) -> Option<usize> {
    match priority {
        Priority::High => Some(0),
        Priority::Normal => Some(1),
        Priority::Low => Some(2),
        Priority::Skip => None,
    }
}

impl Picker {
    /// Every wanted piece that is not in `had` is open, and nobody has any.
    pub fn new(geometry: Geometry, had: &Bitfield, selection: Selection) -> Self {
        let count = geometry.piece_count() as usize;
        let mut this = Self {
            geometry,
            availability: vec![0; count],
            seeds: 0,
            absent: geometry.piece_count(),
            selection,
            position: vec![NOWHERE; count],
            tiers: Default::default(),
        };
        this.fill(|piece| !had.contains(piece));
        this
    }

    /// Something else is wanted. Open are then the wanted pieces that are `missing`: neither had nor begun.
    /// Costs one pass over all pieces.
    pub fn select(
        &mut self,
        selection: Selection,
        missing: impl Fn(PieceIndex) -> bool,
        random: &mut fastrand::Rng,
    ) {
        self.selection = selection;
        self.fill(missing);
        self.shuffle(random);
    }

    /// Enters the open pieces anew.
    fn fill(&mut self, missing: impl Fn(PieceIndex) -> bool) {
        self.position.fill(NOWHERE);
        let mut open: [Vec<PieceIndex>; 3] = Default::default();
        for piece in self.geometry.pieces() {
            if let Some(tier) = self.tier(piece)
                && missing(piece)
            {
                open[tier].push(piece);
            }
        }
        for (tier, open) in self.tiers.iter_mut().zip(open) {
            *tier = Tier::new(open, &self.availability, &mut self.position);
        }
    }

    /// What is wanted.
    pub const fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Where the piece stands while it is open; `None` if it is not wanted.
    fn tier(&self, piece: PieceIndex) -> Option<usize> {
        tier_of(self.selection.priority(piece))
    }

    /// Number of open pieces that some peer has.
    pub fn obtainable(&self) -> usize {
        let of = |tier: &Tier| if self.seeds > 0 { tier.len() } else { tier.len() - tier.unavailable() };
        self.tiers.iter().map(of).sum()
    }

    /// The piece is wanted, and neither had nor begun.
    pub fn is_open(&self, piece: PieceIndex) -> bool {
        self.position[piece.as_usize()] != NOWHERE
    }

    /// How many peers have the piece.
    pub fn availability(&self, piece: PieceIndex) -> u32 {
        self.availability[piece.as_usize()].saturating_add(self.seeds)
    }

    /// Pieces that no peer has, but for those that came with everything.
    pub const fn absent(&self) -> u32 {
        self.absent
    }

    /// A peer that has everything came.
    pub const fn seed_came(&mut self) {
        self.seeds += 1;
    }

    /// A peer that was counted by [`Picker::seed_came`] is gone.
    pub const fn seed_went(&mut self) {
        self.seeds -= 1;
    }

    /// One more peer has the piece.
    pub fn came(&mut self, piece: PieceIndex, random: &mut fastrand::Rng) {
        let old = self.availability[piece.as_usize()];
        self.availability[piece.as_usize()] = old + 1;
        self.absent -= u32::from(old == 0);
        if let Some((tier, position)) = self.place(piece) {
            tier.rise(piece, old, position, random);
        }
    }

    /// One peer fewer has the piece.
    pub fn went(&mut self, piece: PieceIndex, random: &mut fastrand::Rng) {
        let old = self.availability[piece.as_usize()];
        debug_assert!(old > 0, "{piece:?} left a peer that did not have it");
        self.availability[piece.as_usize()] = old.saturating_sub(1);
        self.absent += u32::from(old == 1);
        if old > 0
            && let Some((tier, position)) = self.place(piece)
        {
            tier.sink(piece, old, position, random);
        }
    }

    /// The piece is begun: not open any more.
    pub fn begin(&mut self, piece: PieceIndex) {
        let availability = self.availability[piece.as_usize()];
        if let Some((tier, position)) = self.place(piece) {
            tier.remove(piece, availability, position);
        }
    }

    /// The piece is to be fetched again, if it is wanted.
    pub fn reopen(&mut self, piece: PieceIndex, random: &mut fastrand::Rng) {
        if self.is_open(piece) {
            return;
        }
        let availability = self.availability[piece.as_usize()];
        if let Some(tier) = self.tier(piece) {
            self.tiers[tier].insert(piece, availability, &mut self.position, random);
        }
    }

    /// The tier of an open piece, and all positions.
    fn place(&mut self, piece: PieceIndex) -> Option<(&mut Tier, &mut [u32])> {
        if !self.is_open(piece) {
            return None;
        }
        let tier = self.tier(piece)?;
        Some((&mut self.tiers[tier], &mut self.position))
    }

    /// An open piece out of `has`, or None if there is none. `is_seed`: the peer was counted by
    /// [`Picker::seed_came`].
    pub fn pick(
        &self,
        has: &Bitfield,
        is_seed: bool,
        order: Order,
        random: &mut fastrand::Rng,
    ) -> Option<PieceIndex> {
        self.tiers.iter().find_map(|tier| match order {
            Order::Sequential => self.pick_early(tier, has, random),
            Order::Rarest | Order::Random => self.pick_rare(tier, has, is_seed, order, random),
        })
    }

    fn pick_early(&self, tier: &Tier, has: &Bitfield, random: &mut fastrand::Rng) -> Option<PieceIndex> {
        let mut candidates = tier.out_of(has, &self.geometry);
        let first = candidates.next()?;
        let ahead = AHEAD_LEN / self.geometry.nominal_piece_len().max(1);
        let ahead = ahead.clamp(*AHEAD.start(), *AHEAD.end());
        let near = candidates.take_while(|piece| piece.get() - first.get() < ahead);
        let rarity = |piece: &PieceIndex| (self.availability[piece.as_usize()], random.u32(..));
        std::iter::once(first).chain(near).min_by_key(rarity)
    }

    fn pick_rare(
        &self,
        tier: &Tier,
        has: &Bitfield,
        is_seed: bool,
        order: Order,
        random: &mut fastrand::Rng,
    ) -> Option<PieceIndex> {
        // What a peer has that is no seed, one peer has at least.
        let from = if is_seed { 0 } else { tier.unavailable() };
        let count = tier.len() - from;
        if count == 0 {
            return None;
        }
        let start = if order == Order::Random { random.usize(..count) } else { 0 };
        let at = |step: usize| tier.at(from + (start + step) % count);
        // Most peers have one of the first few. For one that has not, the bits are gone through once instead.
        let patience = (self.position.len() / 64 + 64).min(count);
        if let Some(piece) = (0..patience).map(at).find(|&piece| has.contains(piece)) {
            return Some(piece);
        }
        if patience == count {
            return None;
        }
        let steps =
            |piece: &PieceIndex| (self.position[piece.as_usize()] as usize + count - from - start) % count;
        tier.out_of(has, &self.geometry).min_by_key(steps)
    }

    /// Puts the open pieces in random order among equals. Once, before any peer has come.
    pub fn shuffle(&mut self, random: &mut fastrand::Rng) {
        for tier in &mut self.tiers {
            tier.shuffle(&mut self.position, random);
        }
    }

    /// Checks the books against each other.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        let open: usize = self.tiers.iter().map(Tier::len).sum();
        assert_eq!(self.position.iter().filter(|&&at| at != NOWHERE).count(), open);
        for (number, tier) in self.tiers.iter().enumerate() {
            tier.check_invariants(&self.geometry, &self.availability, &self.position);
            assert!(tier.iter().all(|piece| self.tier(piece) == Some(number)), "pieces in a wrong tier");
        }
        assert_eq!(self.absent as usize, self.availability.iter().filter(|&&count| count == 0).count());
    }
}

#[cfg(test)]
mod tests;
