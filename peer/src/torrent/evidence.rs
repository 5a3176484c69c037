//! What was sent of pieces that failed, block by block. A hash says that a piece is bad, not which block of it: so what
//! each peer sent is noted by its digest, and when the piece is good at last, who sent something else is known.
//!
//! Threat: a peer that puts a bad block among others' good ones now and then, and sends whole pieces rightly. Parole
//! ([`suspects`](super::suspects)) does not convict it, and lets whole pieces be fetched again and again. Cost: at most
//! [`MAX_BLOCKS`] digests a torrent, less than a MiB, and each block of a piece that fails is hashed once more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use torrent_common::geometry::PieceIndex;

use super::suspects::Identity;

/// The first bytes of a block's SHA-1. To send a bad block with the digest of the good one would take 2^64 attempts.
pub type BlockDigest = [u8; 8];

/// Blocks noted for one torrent: 256 MiB of bad pieces. Beyond that the piece that failed first is forgotten.
pub const MAX_BLOCKS: usize = 16_384;

/// Who sent which block, and what that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sent {
    /// Its number in the piece.
    pub block: u32,
    /// The sender.
    pub by: Identity,
    /// What it sent.
    pub digest: BlockDigest,
}

/// What a good piece says of those who sent it before, when it was bad.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Sent something else.
    pub guilty: BTreeSet<Identity>,
    /// Sent nothing else, and have no part in another piece that is still bad.
    pub innocent: BTreeSet<Identity>,
}

/// What was sent of the pieces of one torrent that failed and are not good yet.
#[derive(Debug, Default)]
pub struct Evidence {
    failed: BTreeMap<PieceIndex, BTreeSet<Sent>>,
    /// The same pieces; the one that failed first in front.
    order: VecDeque<PieceIndex>,
    /// Entries in all.
    blocks: usize,
}

impl Evidence {
    /// This piece failed before: its blocks are worth comparing when it is good.
    pub fn covers(&self, piece: PieceIndex) -> bool {
        self.failed.contains_key(&piece)
    }

    /// A piece failed, of which this was `sent`. Not noted if it alone is more than may be.
    pub fn failed(&mut self, piece: PieceIndex, sent: impl IntoIterator<Item = Sent>) {
        let mut all = self.take(piece);
        all.extend(sent);
        if all.is_empty() || all.len() > MAX_BLOCKS {
            return;
        }
        while self.blocks + all.len() > MAX_BLOCKS
            && let Some(oldest) = self.order.front().copied()
        {
            self.take(oldest);
        }
        self.blocks += all.len();
        self.failed.insert(piece, all);
        self.order.push_back(piece);
    }

    /// A piece is good, and its blocks have these digests.
    pub fn good(&mut self, piece: PieceIndex, digests: &[BlockDigest]) -> Findings {
        let mut findings = Findings::default();
        for Sent { block, by, digest } in self.take(piece) {
            let right = digests.get(block as usize).is_none_or(|good| *good == digest);
            if right {
                findings.innocent.insert(by)
            } else {
                findings.guilty.insert(by)
            };
        }
        let open: BTreeSet<_> = self.failed.values().flatten().map(|sent| sent.by).collect();
        findings.innocent.retain(|who| !findings.guilty.contains(who) && !open.contains(who));
        findings
    }

    fn take(&mut self, piece: PieceIndex) -> BTreeSet<Sent> {
        let Some(sent) = self.failed.remove(&piece) else { return BTreeSet::new() };
        self.blocks = self.blocks.saturating_sub(sent.len());
        self.order.retain(|&other| other != piece);
        sent
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use torrent_common::geometry::Geometry;

    use super::*;

    fn piece(index: u32) -> PieceIndex {
        Geometry::new(1 << 20, 64, 16).unwrap().piece(index).unwrap()
    }

    fn who(last: u8) -> Identity {
        Identity::Address(IpAddr::from([10, 0, 0, last]))
    }

    fn sent(block: u32, by: u8, digest: u8) -> Sent {
        Sent { block, by: who(by), digest: [digest; 8] }
    }

    const GOOD: [BlockDigest; 3] = [[0; 8], [1; 8], [2; 8]];

    fn set(of: &[u8]) -> BTreeSet<Identity> {
        of.iter().map(|&last| who(last)).collect()
    }

    #[test]
    fn who_sent_another_block_is_guilty_and_the_rest_are_not() {
        let mut evidence = Evidence::default();
        evidence.failed(piece(0), [sent(0, 1, 0), sent(1, 2, 1), sent(2, 3, 9)]);
        // Again, with another bad block.
        evidence.failed(piece(0), [sent(0, 1, 0), sent(1, 4, 9), sent(2, 2, 2)]);
        assert!(evidence.covers(piece(0)) && !evidence.covers(piece(1)));
        let findings = evidence.good(piece(0), &GOOD);
        assert_eq!(findings, Findings { guilty: set(&[3, 4]), innocent: set(&[1, 2]) });
        assert!(!evidence.covers(piece(0)));
        assert_eq!(evidence.good(piece(0), &GOOD), Findings::default());
    }

    #[test]
    fn nobody_is_cleared_who_has_a_part_in_another_bad_piece() {
        let mut evidence = Evidence::default();
        evidence.failed(piece(0), [sent(0, 1, 0), sent(1, 2, 9)]);
        evidence.failed(piece(1), [sent(0, 1, 0), sent(1, 3, 1)]);
        assert_eq!(evidence.good(piece(0), &GOOD), Findings { guilty: set(&[2]), innocent: set(&[]) });
        assert_eq!(evidence.good(piece(1), &GOOD), Findings { guilty: set(&[]), innocent: set(&[1, 3]) });
    }

    #[test]
    fn memory_is_bounded_and_the_latest_is_kept() {
        let mut evidence = Evidence::default();
        for index in 0..10 {
            evidence.failed(piece(index), (0..4000).map(|block| sent(block, 1, 9)));
            evidence.failed(piece(index), (0..4000).map(|block| sent(block, 1, 9)));
            assert!(evidence.blocks <= MAX_BLOCKS && evidence.covers(piece(index)));
        }
        let covered: Vec<_> = (0..10).filter(|&index| evidence.covers(piece(index))).collect();
        assert_eq!(covered, [6, 7, 8, 9]);
        assert_eq!((evidence.blocks, evidence.order.len()), (16_000, 4));
        evidence.failed(piece(20), (0..20_000).map(|block| sent(block, 1, 9)));
        assert!(!evidence.covers(piece(20)) && evidence.covers(piece(6)));
    }
}
