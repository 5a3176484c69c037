//! What a peer was asked for and still owes us, in the order asked.
//!
//! Neighbouring blocks may be asked for by one request, where the peer said that it takes such (see
//! [`extended`](super::extended)): the payload of a run of four comes with one header and leaves the peer by one system
//! call, not four. To the torrent they remain blocks.

use std::collections::VecDeque;

use torrent_common::geometry::{BlockRef, Geometry, MAX_BLOCK_LEN};
use torrent_common::wire::message::RawBlock;

/// Blocks in a run at the most: one bit each.
const MAX_RUN: usize = 32;
/// Runs that are expected at the most: several times what the torrent ever has outstanding. It gives requests up without
/// telling us, for they may be answered yet; a peer that answers none would make the list longer for ever.
const MAX_EXPECTED: usize = 1024;

/// Neighbouring blocks of one piece that were asked for by one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    first: BlockRef,
    count: u32,
    /// Bytes.
    len: u32,
    /// Blocks that the torrent does not want any more: one bit each, the first is the lowest.
    unwanted: u32,
}

impl Run {
    const fn of(first: BlockRef) -> Self {
        Self { first, count: 1, len: first.len(), unwanted: 0 }
    }

    /// As it stands on the wire.
    pub const fn raw(&self) -> RawBlock {
        RawBlock { index: self.first.piece().get(), begin: self.first.begin(), len: self.len }
    }

    /// Its blocks, in order.
    pub fn blocks(self, geometry: &Geometry) -> impl Iterator<Item = BlockRef> + use<> {
        let (geometry, piece, first) = (*geometry, self.first.piece(), self.first.index());
        (first..first.saturating_add(self.count)).filter_map(move |index| geometry.block(piece, index))
    }

    /// Adds a block if it is the next one and there is room for it.
    fn add(&mut self, block: BlockRef, longest: usize) -> bool {
        let end = self.first.begin().saturating_add(self.len);
        let next = block.piece() == self.first.piece() && block.begin() == end;
        let len = self.len.saturating_add(block.len());
        let fits = (self.count as usize) < longest.min(MAX_RUN) && len <= MAX_BLOCK_LEN;
        if next && fits {
            self.count += 1;
            self.len = len;
        }
        next && fits
    }

    /// The bit of a block of this run.
    fn bit(&self, block: BlockRef) -> Option<u32> {
        let nth = block.index().checked_sub(self.first.index()).filter(|&nth| nth < self.count)?;
        (block.piece() == self.first.piece()).then(|| 1 << nth)
    }
}

/// The runs that one peer owes us.
#[derive(Debug)]
pub struct Asked {
    geometry: Geometry,
    runs: VecDeque<Run>,
    /// Where the next one that is due stands: those before it were passed over, and may come yet or never. At most the
    /// number of runs.
    next: usize,
    /// Runs that may still arrive although they are not expected any more.
    excused: u32,
}

impl Asked {
    /// Nothing was asked for.
    pub const fn new(geometry: Geometry) -> Self {
        Self { geometry, runs: VecDeque::new(), next: 0, excused: 0 }
    }

    /// Enters blocks, up to `longest` neighbours in a run (at least 1), and gives the requests to send for them.
    pub fn ask(&mut self, blocks: &[BlockRef], longest: usize) -> impl Iterator<Item = RawBlock> + '_ {
        let over = (self.runs.len() + blocks.len()).saturating_sub(MAX_EXPECTED);
        self.forget(over);
        let before = self.runs.len();
        for &block in blocks {
            let last = if self.runs.len() > before { self.runs.back_mut() } else { None };
            if !last.is_some_and(|run| run.add(block, longest)) {
                self.runs.push_back(Run::of(block));
            }
        }
        self.runs.range(before..).map(Run::raw)
    }

    /// The `nth` run, from 0, of those that are due in this order: what was asked for after what came last.
    pub fn nth(&self, nth: usize) -> Option<Run> {
        self.runs.get(self.next.saturating_add(nth)).copied()
    }

    /// Strikes the run that a peer names, if it is expected.
    pub fn strike(&mut self, raw: RawBlock) -> Option<Run> {
        // Nearly always the next.
        let is_it = |run: &Run| run.raw() == raw;
        let after = self.runs.range(self.next..).position(is_it).map(|at| self.next + at);
        let at = after.or_else(|| self.runs.range(..self.next).position(is_it))?;
        self.next = at;
        self.runs.remove(at)
    }

    /// The torrent does not want this block any more. The request to take back, once it wants none of a run; that may
    /// be under way all the same.
    pub fn cancel(&mut self, block: BlockRef) -> Option<RawBlock> {
        let (at, bit) = self.runs.iter().enumerate().find_map(|(at, run)| {
            let bit = run.bit(block).filter(|bit| run.unwanted & bit == 0)?;
            Some((at, bit))
        })?;
        let run = self.runs.get_mut(at)?;
        run.unwanted |= bit;
        if run.unwanted.count_ones() < run.count {
            return None;
        }
        self.excused = self.excused.saturating_add(1);
        self.next -= usize::from(at < self.next);
        self.runs.remove(at).map(|run| run.raw())
    }

    /// By BEP 3 a choke means that nothing will be answered; some may be under way all the same.
    pub fn forget_all(&mut self) {
        self.forget(self.runs.len());
    }

    /// The oldest so many runs are not expected any more; they may be under way all the same.
    fn forget(&mut self, count: usize) {
        let gone = self.runs.drain(..count.min(self.runs.len())).len();
        self.next = self.next.saturating_sub(gone);
        self.excused = self.excused.saturating_add(u32::try_from(gone).unwrap_or(u32::MAX));
    }

    /// A run came that is not expected: whether it may have been under way when it was taken back.
    pub const fn excuse(&mut self) -> bool {
        let excused = self.excused > 0;
        self.excused = self.excused.saturating_sub(1);
        excused
    }

    /// Something of it may arrive.
    pub fn expects_any(&self) -> bool {
        !self.runs.is_empty() || self.excused > 0
    }

    /// The blocks of a run.
    pub fn blocks(&self, run: Run) -> impl Iterator<Item = BlockRef> + use<> {
        run.blocks(&self.geometry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry() -> Geometry {
        Geometry::new(1000, 160, 16).unwrap()
    }

    fn blocks(piece: u32, indices: &[u32]) -> Vec<BlockRef> {
        let geometry = geometry();
        let piece = geometry.piece(piece).unwrap();
        indices.iter().map(|&index| geometry.block(piece, index).unwrap()).collect()
    }

    const fn raw(index: u32, begin: u32, len: u32) -> RawBlock {
        RawBlock { index, begin, len }
    }

    #[test]
    fn neighbours_share_a_request_and_others_do_not() {
        let mut asked = Asked::new(geometry());
        let all = [blocks(0, &[7, 8, 9]), blocks(1, &[0, 1, 2, 3, 4, 6]), blocks(6, &[0, 1, 2])].concat();
        let sent: Vec<_> = asked.ask(&all, 4).collect();
        let due = [raw(0, 112, 48), raw(1, 0, 64), raw(1, 64, 16), raw(1, 96, 16), raw(6, 0, 40)];
        assert_eq!(sent, due);
        let last = asked.nth(4).unwrap();
        assert_eq!(asked.blocks(last).collect::<Vec<_>>(), blocks(6, &[0, 1, 2]));
        // The next batch begins a new run even where it goes on.
        assert_eq!(asked.ask(&blocks(1, &[7]), 4).collect::<Vec<_>>(), [raw(1, 112, 16)]);
        assert_eq!(asked.ask(&blocks(2, &[0, 1]), 1).count(), 2);
        assert!(asked.strike(raw(1, 0, 64)).is_some());
        assert!(asked.strike(raw(1, 0, 64)).is_none() && asked.strike(raw(1, 64, 17)).is_none());
    }

    #[test]
    fn a_run_is_taken_back_when_none_of_it_is_wanted() {
        let mut asked = Asked::new(geometry());
        assert_eq!(asked.ask(&blocks(0, &[0, 1, 2, 3]), 3).count(), 2);
        let [a, b, c, d] = blocks(0, &[0, 1, 2, 3])[..] else { panic!() };
        assert_eq!(asked.cancel(b), None);
        assert_eq!(asked.cancel(b), None);
        assert_eq!(asked.cancel(a), None);
        assert_eq!(asked.cancel(c), Some(raw(0, 0, 48)));
        assert_eq!(asked.cancel(c), None);
        assert_eq!(asked.cancel(d), Some(raw(0, 48, 16)));
        assert!(asked.excuse() && asked.excuse() && !asked.excuse());
    }

    #[test]
    fn a_peer_that_answers_nothing_costs_bounded_memory() {
        let mut asked = Asked::new(geometry());
        let (old, new) = (blocks(0, &[0, 2, 4]), blocks(1, &[0, 2, 4]));
        assert_eq!(asked.ask(&old, 1).count(), 3);
        for _ in 0..MAX_EXPECTED {
            assert_eq!(asked.ask(&new, 1).count(), 3);
            assert!(asked.runs.len() <= MAX_EXPECTED);
        }
        assert_eq!(asked.strike(raw(0, 0, 16)), None);
        assert!(asked.excuse() && asked.strike(raw(1, 64, 16)).is_some());
    }

    #[test]
    fn what_a_peer_passed_over_is_not_due_any_more_and_may_come_all_the_same() {
        let mut asked = Asked::new(geometry());
        let all = [raw(0, 0, 16), raw(0, 32, 16), raw(0, 64, 16), raw(0, 96, 16), raw(0, 128, 16)];
        assert_eq!(asked.ask(&blocks(0, &[0, 2, 4, 6, 8]), 1).collect::<Vec<_>>(), all);
        let due = |asked: &Asked| asked.nth(0).map(|run| run.raw());
        assert!(asked.strike(all[2]).is_some());
        assert_eq!((due(&asked), asked.nth(1).map(|run| run.raw())), (Some(all[3]), Some(all[4])));
        // One that it passed over is taken back, and what is due remains.
        assert_eq!(asked.cancel(blocks(0, &[0])[0]), Some(all[0]));
        assert_eq!(due(&asked), Some(all[3]));
        assert!(asked.strike(all[3]).is_some() && asked.strike(all[4]).is_some());
        assert_eq!(due(&asked), None);
        assert_eq!(asked.ask(&blocks(1, &[0]), 1).count(), 1);
        assert_eq!(due(&asked), Some(raw(1, 0, 16)));
        // It comes back to what it passed over, and goes on from there.
        assert!(asked.strike(all[1]).is_some());
        assert_eq!(due(&asked), Some(raw(1, 0, 16)));
        asked.forget_all();
        assert_eq!((asked.next, asked.nth(0)), (0, None));
    }

    #[test]
    fn a_choke_excuses_what_was_asked() {
        let mut asked = Asked::new(geometry());
        assert_eq!(asked.ask(&blocks(0, &[0, 1, 5]), 8).count(), 2);
        asked.forget_all();
        assert_eq!(asked.nth(0), None);
        assert!(asked.excuse() && asked.excuse() && !asked.excuse());
    }
}
