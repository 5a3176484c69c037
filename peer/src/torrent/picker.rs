//! Which piece to begin next. Sees the world as piece counts alone: it knows nothing of peers, blocks or time.
//!
//! Open pieces (neither had nor begun) stand in one array, ordered by how many peers have them, in random order
//! within a bucket of equals. A piece moves to a neighbouring bucket by one swap, so `have` costs O(1), and beginning a
//! piece costs one swap per bucket. Peers that came with everything are only counted.

#![expect(
    clippy::indexing_slicing,
    reason = "positions and buckets are this module's own books, checked by tests"
)]

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{Geometry, PieceIndex};

/// The position of a piece that is not open.
const NOWHERE: usize = usize::MAX;

/// How to choose among the open pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The fewest peers have it.
    Rarest,
    /// Any: while we have little, a piece that many have comes sooner.
    Random,
}

/// The open pieces, rarest first.
#[derive(Debug)]
pub struct Picker {
    geometry: Geometry,
    /// Per piece: how many peers have it, not counting `seeds`.
    availability: Vec<u32>,
    seeds: u32,
    /// Pieces whose availability is 0.
    absent: u32,
    order: Vec<PieceIndex>,
    /// Per piece: where it stands in `order`.
    position: Vec<usize>,
    /// Per availability: where its bucket ends in `order`.
    ends: Vec<usize>,
}

impl Picker {
    /// Every piece that is not in `had` is open, and nobody has any.
    pub fn new(geometry: Geometry, had: &Bitfield) -> Self {
        let mut position = vec![NOWHERE; geometry.piece_count() as usize];
        let order: Vec<_> = geometry.pieces().filter(|&piece| !had.contains(piece)).collect();
        for (at, piece) in order.iter().enumerate() {
            position[piece.as_usize()] = at;
        }
        let ends = vec![order.len()];
        Self {
            geometry,
            availability: vec![0; geometry.piece_count() as usize],
            seeds: 0,
            absent: geometry.piece_count(),
            order,
            position,
            ends,
        }
    }

    /// Number of open pieces.
    pub const fn open(&self) -> usize {
        self.order.len()
    }

    /// Number of open pieces that some peer has.
    pub fn obtainable(&self) -> usize {
        if self.seeds > 0 { self.order.len() } else { self.order.len() - self.ends[0] }
    }

    /// The piece is neither had nor begun.
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
        if !self.is_open(piece) {
            return;
        }
        // To the end of its bucket, and the border moves over it.
        self.ensure_bucket(old + 1);
        let bucket = old as usize;
        self.ends[bucket] -= 1;
        let border = self.ends[bucket];
        self.swap(self.position[piece.as_usize()], border);
        self.shuffle_in(border, old + 1, random);
    }

    /// One peer fewer has the piece.
    pub fn went(&mut self, piece: PieceIndex, random: &mut fastrand::Rng) {
        let old = self.availability[piece.as_usize()];
        debug_assert!(old > 0, "{piece:?} left a peer that did not have it");
        self.availability[piece.as_usize()] = old.saturating_sub(1);
        self.absent += u32::from(old == 1);
        if old == 0 || !self.is_open(piece) {
            return;
        }
        let below = old as usize - 1;
        let border = self.ends[below];
        self.swap(self.position[piece.as_usize()], border);
        self.ends[below] += 1;
        self.shuffle_in(border, old - 1, random);
    }

    /// The piece is begun: not open any more.
    pub fn begin(&mut self, piece: PieceIndex) {
        let mut hole = self.position[piece.as_usize()];
        if hole == NOWHERE {
            return;
        }
        for bucket in self.availability[piece.as_usize()] as usize..self.ends.len() {
            self.ends[bucket] -= 1;
            let last = self.ends[bucket];
            self.swap(hole, last);
            hole = last;
        }
        self.order.pop();
        self.position[piece.as_usize()] = NOWHERE;
    }

    /// The piece is to be fetched again.
    pub fn reopen(&mut self, piece: PieceIndex, random: &mut fastrand::Rng) {
        if self.is_open(piece) {
            return;
        }
        let availability = self.availability[piece.as_usize()];
        self.ensure_bucket(availability);
        let mut at = self.order.len();
        self.order.push(piece);
        self.position[piece.as_usize()] = at;
        for bucket in (availability as usize + 1..self.ends.len()).rev() {
            let first = self.ends[bucket - 1];
            self.swap(at, first);
            self.ends[bucket] += 1;
            at = first;
        }
        self.ends[availability as usize] += 1;
        self.shuffle_in(at, availability, random);
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
        // What a peer has that is no seed, one peer has at least.
        let from = if is_seed { 0 } else { self.ends[0] };
        let count = self.order.len() - from;
        if count == 0 {
            return None;
        }
        let start = match order {
            Order::Rarest => 0,
            Order::Random => random.usize(..count),
        };
        let at = |step: usize| self.order[from + (start + step) % count];
        // Most peers have one of the first few. For one that has not, its bits are gone through once instead.
        let patience = (self.position.len() / 64 + 64).min(count);
        if let Some(piece) = (0..patience).map(at).find(|&piece| has.contains(piece)) {
            return Some(piece);
        }
        if patience == count {
            return None;
        }
        let steps = |piece: &PieceIndex| (self.position[piece.as_usize()] + count - from - start) % count;
        has.iter(&self.geometry).filter(|&piece| self.is_open(piece)).min_by_key(steps)
    }

    fn ensure_bucket(&mut self, availability: u32) {
        while self.ends.len() <= availability as usize {
            self.ends.push(self.order.len());
        }
    }

    /// Random order among equals: the newcomer to a bucket changes places with any of it.
    fn shuffle_in(&mut self, at: usize, availability: u32, random: &mut fastrand::Rng) {
        let bucket = availability as usize;
        let start = if bucket == 0 { 0 } else { self.ends[bucket - 1] };
        self.swap(at, random.usize(start..self.ends[bucket]));
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.order.swap(a, b);
        self.position[self.order[a].as_usize()] = a;
        self.position[self.order[b].as_usize()] = b;
    }

    /// Puts the open pieces in random order. Once, before any peer has come.
    pub fn shuffle(&mut self, random: &mut fastrand::Rng) {
        for at in 1..self.ends[0] {
            self.swap(at, random.usize(..=at));
        }
    }

    /// Checks the books against each other.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        let mut start = 0;
        for (bucket, &end) in self.ends.iter().enumerate() {
            assert!(start <= end, "bucket {bucket} ends before it begins");
            for at in start..end {
                let piece = self.order[at];
                assert_eq!(self.position[piece.as_usize()], at, "{piece:?} stands elsewhere");
                assert_eq!(
                    self.availability[piece.as_usize()] as usize,
                    bucket,
                    "{piece:?} is in a wrong bucket"
                );
            }
            start = end;
        }
        assert_eq!(start, self.order.len(), "pieces beyond the last bucket");
        assert_eq!(self.absent as usize, self.availability.iter().filter(|&&count| count == 0).count());
        assert_eq!(self.position.iter().filter(|&&at| at != NOWHERE).count(), self.order.len());
    }
}

#[cfg(test)]
mod tests;
