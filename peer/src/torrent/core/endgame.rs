//! The last blocks: every missing one is asked for, so a peer with nothing to do is asked for blocks that others owe
//! us and will send later than it could. The first copy wins, and the other requests are taken back.

use std::time::{Duration, Instant};

use torrent_common::geometry::BlockRef;

use super::{Context, Core};
use crate::torrent::event::PeerKey;
use crate::torrent::peers::Peer;
use crate::torrent::requests::MAX_ASKED;

/// A second copy must come sooner by this much at least, or it only wastes the swarm's upload.
const WORTH_IT: Duration = Duration::from_millis(500);
/// No peer is taken to be slower, in bytes per second: the rate may not be known yet. One that sends nothing shows
/// by its silence.
const UNKNOWN_RATE: u64 = 16 * 1024;

impl Core {
    /// Up to `need` blocks that others owe us, the latest expected first.
    pub(super) fn endgame(&mut self, key: PeerKey, need: usize, cx: &Context<'_>) -> Vec<BlockRef> {
        let Some(peer) = self.peers.get(&key) else { return Vec::new() };
        if peer.parole || peer.choking.is_some() || peer.snubbed {
            return Vec::new();
        }
        let own_rate = peer.down.at(cx.now).max(UNKNOWN_RATE);
        let mut owed: Vec<(Duration, BlockRef)> = Vec::new();
        for (_, other) in self.peers.iter().filter(|&(&other, _)| other != key) {
            owed.extend(expected(other, cx.now).filter(|(_, block)| peer.have.contains(block.piece())));
        }
        owed.sort_unstable_by(|a, b| b.cmp(a));
        let mut batch = Vec::new();
        let mut bytes: u64 = peer.outstanding.iter().map(|request| u64::from(request.block.len())).sum();
        for (theirs, block) in owed {
            let ours = duration(bytes + u64::from(block.len()), own_rate);
            if batch.len() >= need || theirs <= ours * 2 + WORTH_IT {
                break;
            }
            let lost = peer.lost.iter().any(|lost| lost.block == block);
            if !lost
                && self.pieces.requests.asked(block) < MAX_ASKED
                && self.pieces.requests.ask_too(block, key)
            {
                bytes += u64::from(block.len());
                batch.push(block);
            }
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
