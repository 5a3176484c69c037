//! The last blocks: every missing one is asked for, so a peer with nothing to do is asked for blocks that others owe
//! us and will send later than it could. The first copy wins, and the other requests are taken back.

use std::time::{Duration, Instant};

use torrent_common::geometry::BlockRef;

use super::Core;
use crate::torrent::event::PeerKey;
use crate::torrent::peers::Peer;
use crate::torrent::requests::MAX_ASKED;

/// A second copy must come sooner by this much at least, or it only wastes the swarm's upload.
const WORTH_IT: Duration = Duration::from_millis(500);
/// No peer is taken to be slower, in bytes per second: the rate may not be known yet. One that sends nothing shows
/// by its silence.
const UNKNOWN_RATE: u64 = 16 * 1024;

/// A block that a peer owes us and that another may be asked for too.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owed {
    /// How long it will probably take.
    theirs: Duration,
    block: BlockRef,
    by: PeerKey,
}

impl Core {
    /// What may be asked of another peer too, the latest expected first. Costs a look at everything that is owed: made
    /// once for all peers that are to be asked at a time.
    pub(super) fn owed(&self, now: Instant) -> Vec<Owed> {
        let mut owed = Vec::new();
        for (&by, peer) in self.peers.iter().filter(|(_, peer)| !peer.outstanding.is_empty()) {
            let open = expected(peer, now).filter(|&(_, block)| self.may_ask_too(block));
            owed.extend(open.map(|(theirs, block)| Owed { theirs, block, by }));
        }
        owed.sort_unstable_by(|a, b| b.cmp(a));
        owed
    }

    fn may_ask_too(&self, block: BlockRef) -> bool {
        self.pieces.requests.asked(block) < MAX_ASKED
    }

    /// Up to `need` blocks of those `owed` to us by others, the latest expected first. Those that nobody else may be
    /// asked for then are taken out.
    pub(super) fn endgame(
        &mut self,
        key: PeerKey,
        need: usize,
        owed: &mut Vec<Owed>,
        now: Instant,
    ) -> Vec<BlockRef> {
        let Some(peer) = self.peers.get(&key) else { return Vec::new() };
        if peer.parole || peer.choking.is_some() || peer.snubbed {
            return Vec::new();
        }
        // A place is kept for one that has sent something: strangers who never do would take all, by turns.
        let most = if peer.down.total() > 0 { MAX_ASKED } else { MAX_ASKED - 1 };
        let own_rate = peer.down.at(now).max(UNKNOWN_RATE);
        let mut batch = Vec::new();
        let mut bytes: u64 = peer.outstanding.iter().map(|request| u64::from(request.block.len())).sum();
        for &Owed { theirs, block, by } in &*owed {
            let ours = duration(bytes + u64::from(block.len()), own_rate);
            if batch.len() >= need || theirs <= ours * 2 + WORTH_IT {
                break;
            }
            let may = by != key
                && peer.have.contains(block.piece())
                && peer.lost.iter().all(|lost| lost.block != block);
            if may && self.pieces.requests.asked(block) < most && self.pieces.requests.ask_too(block, key) {
                bytes += u64::from(block.len());
                batch.push(block);
            }
        }
        if !batch.is_empty() {
            owed.retain(|owed| self.may_ask_too(owed.block));
        }
        batch
    }
}

/// What a peer owes us, and how long it will probably take for each.
fn expected(peer: &Peer, now: Instant) -> impl Iterator<Item = (Duration, BlockRef)> {
    let rate = peer.down.at(now).max(UNKNOWN_RATE);
    let silent = now.saturating_duration_since(peer.active);
    let mut bytes = 0;
    peer.outstanding.iter().map(move |request| {
        bytes += u64::from(request.block.len());
        (duration(bytes, rate).max(silent), request.block)
    })
}

fn duration(bytes: u64, rate: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1000) / rate.max(1))
}
