//! The open pieces of one priority, in the order of their rarity.

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{Geometry, PieceIndex};

/// The position of a piece that is not open.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Open pieces in buckets of equal availability, the rarest first; and the same as bits. `position` is the picker's: where
/// each open piece stands in the order of its tier.
#[derive(Debug, Default)]
pub(super) struct Tier {
    order: Vec<PieceIndex>,
    /// Per availability: where its bucket ends in `order`. Never empty but in a tier that never had a piece.
    ends: Vec<usize>,
    /// Bits as in a bitfield; as long as it need be.
    bits: Vec<u8>,
    /// No bit is set in bytes before this one.
    first_byte: usize,
}

impl Tier {
    /// These pieces, each of which so many peers have.
    pub(super) fn new(mut order: Vec<PieceIndex>, availability: &[u32], position: &mut [u32]) -> Self {
        let count = |piece: &PieceIndex| availability[piece.as_usize()];
        let most = order.iter().map(count).max().unwrap_or(0) as usize;
        let mut ends = vec![0; most + 1];
        order.iter().for_each(|piece| ends[count(piece) as usize] += 1);
        let mut sum = 0;
        for end in &mut ends {
            sum += *end;
            *end = sum;
        }
        let mut this = Self { order: Vec::new(), ends, bits: Vec::new(), first_byte: 0 };
        order.iter().for_each(|&piece| this.set_bit(piece));
        order.sort_by_key(count);
        for (at, piece) in (0..).zip(&order) {
            position[piece.as_usize()] = at;
        }
        this.order = order;
        this
    }

    /// Number of pieces.
    pub(super) const fn len(&self) -> usize {
        self.order.len()
    }

    /// Number of pieces that nobody has; seeds do not count. They come first.
    pub(super) fn unavailable(&self) -> usize {
        self.ends.first().copied().unwrap_or(0)
    }

    /// The piece that stands there.
    pub(super) fn at(&self, at: usize) -> PieceIndex {
        self.order[at]
    }

    /// All pieces, in no order that means anything.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.order.iter().copied()
    }

    /// The pieces that are in `has` too, by index. Costs one look at every eight pieces.
    pub(super) fn out_of<'a>(
        &'a self,
        has: &'a Bitfield,
        geometry: &'a Geometry,
    ) -> impl Iterator<Item = PieceIndex> + 'a {
        let bytes = self.bits.iter().zip(has.as_bytes()).zip((0_u32..).step_by(8)).skip(self.first_byte);
        let both = bytes.map(|((own, has), first)| (own & has, first)).filter(|&(byte, _)| byte != 0);
        both.flat_map(|(byte, first)| {
            (0..8).filter(move |bit| byte & 0x80 >> bit != 0).map(move |bit| first + bit)
        })
        .filter_map(|index| geometry.piece(index))
    }

    /// One more peer has a piece that `old` had.
    pub(super) fn rise(
        &mut self,
        piece: PieceIndex,
        old: u32,
        position: &mut [u32],
        random: &mut fastrand::Rng,
    ) {
        // To the end of its bucket, and the border moves over it.
        self.ensure_bucket(old + 1);
        self.ends[old as usize] -= 1;
        let border = self.ends[old as usize];
        self.swap(position[piece.as_usize()] as usize, border, position);
        self.shuffle_in(border, old + 1, position, random);
    }

    /// One peer fewer has a piece that `old` had, at least one.
    pub(super) fn sink(
        &mut self,
        piece: PieceIndex,
        old: u32,
        position: &mut [u32],
        random: &mut fastrand::Rng,
    ) {
        let below = old as usize - 1;
        let border = self.ends[below];
        self.swap(position[piece.as_usize()] as usize, border, position);
        self.ends[below] += 1;
        self.shuffle_in(border, old - 1, position, random);
    }

    /// Takes a piece out that so many peers have.
    pub(super) fn remove(&mut self, piece: PieceIndex, availability: u32, position: &mut [u32]) {
        let mut hole = position[piece.as_usize()] as usize;
        for bucket in availability as usize..self.ends.len() {
            self.ends[bucket] -= 1;
            let last = self.ends[bucket];
            self.swap(hole, last, position);
            hole = last;
        }
        self.order.pop();
        position[piece.as_usize()] = NOWHERE;
        self.bits[piece.as_usize() / 8] &= !mask(piece);
        while self.bits.get(self.first_byte) == Some(&0) {
            self.first_byte += 1;
        }
    }

    /// Enters a piece that so many peers have.
    pub(super) fn insert(
        &mut self,
        piece: PieceIndex,
        availability: u32,
        position: &mut [u32],
        random: &mut fastrand::Rng,
    ) {
        self.ensure_bucket(availability);
        self.set_bit(piece);
        let mut at = self.order.len();
        self.order.push(piece);
        self.swap(at, at, position);
        for bucket in (availability as usize + 1..self.ends.len()).rev() {
            let first = self.ends[bucket - 1];
            self.swap(at, first, position);
            self.ends[bucket] += 1;
            at = first;
        }
        self.ends[availability as usize] += 1;
        self.shuffle_in(at, availability, position, random);
    }

    /// Random order within every bucket.
    pub(super) fn shuffle(&mut self, position: &mut [u32], random: &mut fastrand::Rng) {
        let mut start = 0;
        for bucket in 0..self.ends.len() {
            for at in start..self.ends[bucket] {
                self.swap(at, random.usize(start..=at), position);
            }
            start = self.ends[bucket];
        }
    }

    fn ensure_bucket(&mut self, availability: u32) {
        while self.ends.len() <= availability as usize {
            self.ends.push(self.order.len());
        }
    }

    /// Random order among equals: the newcomer to a bucket changes places with any of it.
    fn shuffle_in(&mut self, at: usize, availability: u32, position: &mut [u32], random: &mut fastrand::Rng) {
        let bucket = availability as usize;
        let start = if bucket == 0 { 0 } else { self.ends[bucket - 1] };
        self.swap(at, random.usize(start..self.ends[bucket]), position);
    }

    #[expect(clippy::cast_possible_truncation, reason = "there are at most u32::MAX pieces")]
    fn swap(&mut self, a: usize, b: usize, position: &mut [u32]) {
        self.order.swap(a, b);
        position[self.order[a].as_usize()] = a as u32;
        position[self.order[b].as_usize()] = b as u32;
    }

    fn set_bit(&mut self, piece: PieceIndex) {
        let byte = piece.as_usize() / 8;
        if self.bits.len() <= byte {
            self.bits.resize(byte + 1, 0);
        }
        self.bits[byte] |= mask(piece);
        self.first_byte = self.first_byte.min(byte);
    }

    /// Checks the books against each other.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self, geometry: &Geometry, availability: &[u32], position: &[u32]) {
        let mut start = 0;
        for (bucket, &end) in self.ends.iter().enumerate() {
            assert!(start <= end, "bucket {bucket} ends before it begins");
            for at in start..end {
                let piece = self.order[at];
                assert_eq!(position[piece.as_usize()] as usize, at, "{piece:?} stands elsewhere");
                assert_eq!(availability[piece.as_usize()] as usize, bucket, "{piece:?} is in a wrong bucket");
            }
            start = end;
        }
        assert_eq!(start, self.order.len(), "pieces beyond the last bucket");
        let mut by_index: Vec<PieceIndex> = self.order.clone();
        by_index.sort();
        assert_eq!(self.out_of(&Bitfield::full(geometry), geometry).collect::<Vec<_>>(), by_index, "bits");
    }
}

const fn mask(piece: PieceIndex) -> u8 {
    0x80 >> (piece.get() % 8)
}
