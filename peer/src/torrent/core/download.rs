//! Blocks arrive, pieces are written.

use std::collections::BTreeMap;

use torrent_common::geometry::{BlockRef, PieceIndex};

use super::endgame::Owed;
use super::{Context, Core};
use crate::torrent::event::{CloseReason, Command, Effect, PeerKey};
use crate::torrent::requests::{Arrival, Stage};

/// Under a limit, all peers together owe us this part of a second's worth: more than a round trip on most ways.
const LIMITED_PART: u64 = 2;

impl Core {
    /// Blocks came. Those of peers closed meanwhile count too: the torrent's thread keeps the first buffer of each
    /// block of a begun piece, whoever sent it, and the books must say the same.
    pub(super) fn blocks(&mut self, key: PeerKey, blocks: &[BlockRef], cx: &mut Context<'_>) {
        let mut cancel: BTreeMap<PeerKey, Vec<BlockRef>> = BTreeMap::new();
        for &block in blocks {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.delivered(block.len().into(), cx.now);
                let asked_at = peer.settle(block);
                peer.answered = peer.answered.max(asked_at);
            }
            match self.pieces.requests.arrived(block, key) {
                Arrival::Useless => {
                    self.totals.wasted = self.totals.wasted.saturating_add(block.len().into())
                }
                Arrival::Counted { cancel: others, complete } => {
                    others.into_iter().for_each(|other| cancel.entry(other).or_default().push(block));
                    if complete {
                        cx.effects.push(Effect::Hash(block.piece()));
                    }
                }
            }
        }
        for (other, blocks) in cancel {
            self.cancel(other, blocks, cx);
            self.refill(other, cx);
        }
        self.refill(key, cx);
    }

    /// Takes back requests that are off the requests' books already.
    pub(super) fn take_back(&mut self, asked: Vec<(PeerKey, BlockRef)>, cx: &mut Context<'_>) {
        let mut cancel: BTreeMap<PeerKey, Vec<BlockRef>> = BTreeMap::new();
        asked.into_iter().for_each(|(key, block)| cancel.entry(key).or_default().push(block));
        for (key, blocks) in cancel {
            self.cancel(key, blocks, cx);
        }
        self.refill_all = true;
    }

    fn cancel(&mut self, key: PeerKey, blocks: Vec<BlockRef>, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        for &block in &blocks {
            peer.settle(block);
        }
        cx.send(key, Command::Cancel(blocks));
    }

    /// Gives up what a peer owes us. `lost`: it may come yet, so it is not asked again soon.
    pub(super) fn free_requests(&mut self, key: PeerKey, lost: bool, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        for request in std::mem::take(&mut peer.outstanding) {
            self.pieces.requests.give_back(request.block, key);
            if lost {
                peer.lose(request.block, cx.now);
            }
        }
        self.pieces.requests.disown(key);
        self.refill_all = true;
    }

    /// Asks a peer for more, if it has room for more and there is more.
    pub(super) fn refill(&mut self, key: PeerKey, cx: &mut Context<'_>) {
        self.refill_within(key, self.most_requests(), &mut None, cx);
    }

    /// `owed` is found out when it is first needed.
    fn refill_within(
        &mut self,
        key: PeerKey,
        most: usize,
        owed: &mut Option<Vec<Owed>>,
        cx: &mut Context<'_>,
    ) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let need = peer.refill(self.pieces.geometry().nominal_block_len(), most, cx.now);
        if need == 0 {
            peer.starved = false;
            return;
        }
        let mut batch = self.pieces.assign(key, peer, need, cx);
        if batch.is_empty() && self.pieces.is_endgame() {
            let mut all = owed.take().unwrap_or_else(|| self.owed(cx.now));
            batch = self.endgame(key, need, &mut all, cx.now);
            *owed = Some(all);
        }
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.starved = batch.len() < need;
        if !batch.is_empty() {
            peer.asked(&batch, cx.now);
            cx.send(key, Command::Request(batch));
        }
    }

    /// Requests that a peer may owe us because of a limit of ours. What it sends beyond the limit fills the socket's
    /// buffer: it has come over the network all the same, too fast and in bursts.
    fn most_requests(&self) -> usize {
        if self.download_limit == 0 {
            return usize::MAX;
        }
        let answering = self.peers.values().filter(|peer| peer.we_want && peer.choking.is_none()).count();
        let block_len = u64::from(self.pieces.geometry().nominal_block_len());
        let blocks = self.download_limit / LIMITED_PART / block_len.max(1);
        (usize::try_from(blocks).unwrap_or(usize::MAX) / answering.max(1)).max(1)
    }

    pub(super) fn refill_everybody(&mut self, cx: &mut Context<'_>) {
        if self.is_complete() {
            return;
        }
        // Others have enough, and are looked at when their own blocks come.
        let hungry = self.peers.iter().filter(|(_, peer)| peer.starved || peer.outstanding.is_empty());
        let mut hungry: Vec<_> = hungry.map(|(&key, peer)| (peer.snubbed, key)).collect();
        // Who kept a piece until it was given up would else be the first to have it again, while others wait.
        hungry.sort_unstable();
        // The same for all of them: with a thousand, each looking at all others would take a million steps.
        let (most, mut owed) = (self.most_requests(), None);
        for (_, key) in hungry {
            if self.pieces.is_spent(cx.budget) {
                // What frees blocks or budget brings us here again.
                return;
            }
            self.refill_within(key, most, &mut owed, cx);
        }
    }

    pub(super) fn written(&mut self, piece: PieceIndex, ok: bool, cx: &mut Context<'_>) {
        if self.pieces.requests.get(piece).is_none_or(|begun| begun.stage() != Stage::Writing) {
            return;
        }
        self.refill_all = true;
        if !ok {
            self.pieces.not_written(piece, cx);
            return;
        }
        let lacked = self.pieces.lacking().contains(piece);
        if !self.pieces.written(piece, cx) {
            return;
        }
        cx.effects.push(Effect::Had(piece));
        if lacked {
            self.lacks_less(piece, cx);
        }
        if self.is_complete() && (lacked || self.pieces.had().is_full()) {
            self.completed(cx);
        }
    }

    /// A wanted piece is had.
    fn lacks_less(&mut self, piece: PieceIndex, cx: &mut Context<'_>) {
        let mut sated = Vec::new();
        for (&key, peer) in &mut self.peers {
            // Of those that have everything the bits need not be fetched from far away.
            if peer.have.is_full() || peer.have.contains(piece) {
                peer.wanted = peer.wanted.saturating_sub(1);
                if peer.wanted == 0 {
                    sated.push(key);
                }
            }
        }
        sated.into_iter().for_each(|key| self.update_interest(key, cx));
    }

    /// Nothing is wanted any more.
    pub(super) fn completed(&mut self, cx: &mut Context<'_>) {
        cx.effects.push(Effect::Completed);
        let seeds = self.peers.iter().filter(|(_, peer)| peer.have.is_full()).map(|(&key, _)| key);
        for key in seeds.collect::<Vec<_>>() {
            self.heard_of_seeder(cx.now);
            self.close(key, CloseReason::BothSeed, cx);
        }
        self.fill_slots(cx);
    }
}
