//! The pieces that are still to be shown.

use std::collections::{BTreeSet, VecDeque};

use torrent_common::geometry::PieceIndex;

/// Pieces in random order, each once: a peer that says it has everything, and goes, again and again, adds nothing. May name
/// some that need not be shown any more.
#[derive(Debug, Default)]
pub struct Pool {
    /// The next last.
    pub(super) order: VecDeque<PieceIndex>,
    all: BTreeSet<PieceIndex>,
}

impl Pool {
    /// Of these, the last first.
    pub fn new(pieces: Vec<PieceIndex>) -> Self {
        Self { all: pieces.iter().copied().collect(), order: pieces.into() }
    }

    /// To be shown before all others.
    pub fn add_next(&mut self, piece: PieceIndex) {
        if self.all.insert(piece) {
            self.order.push_back(piece);
        }
    }

    /// To be shown after all others.
    pub fn add_last(&mut self, piece: PieceIndex) {
        if self.all.insert(piece) {
            self.order.push_front(piece);
        }
    }

    /// Takes the next piece out that `may` be shown. What somebody has, as `copies` says, falls out on the way.
    pub fn draw(
        &mut self,
        copies: impl Fn(PieceIndex) -> u32,
        may: impl Fn(PieceIndex) -> bool,
    ) -> Option<PieceIndex> {
        let mut at = self.order.len();
        loop {
            at = at.checked_sub(1)?;
            let piece = *self.order.get(at)?;
            let has_some = copies(piece) > 0;
            if !has_some && !may(piece) {
                continue;
            }
            self.order.remove(at);
            self.all.remove(&piece);
            if !has_some {
                return Some(piece);
            }
        }
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        let known = self.order.iter().all(|piece| self.all.contains(piece));
        assert!(known && self.order.len() == self.all.len(), "pool");
    }
}
