//! What peers say. Nothing here trusts that it makes sense at this moment: a stranger chose it.

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{BlockRef, PieceIndex};

use super::{Context, Core};
use crate::torrent::event::{CloseReason, Command, PeerEvent, PeerKey};

impl Core {
    pub(super) fn message(&mut self, key: PeerKey, event: PeerEvent, cx: &mut Context<'_>) {
        match event {
            PeerEvent::Choked => self.choked(key, cx),
            PeerEvent::Unchoked => self.unchoked(key, cx),
            PeerEvent::Interested => self.they_want(key, true, cx),
            PeerEvent::NotInterested => self.they_want(key, false, cx),
            PeerEvent::Bitfield(have) => self.bitfield(key, have, cx),
            PeerEvent::Have(piece) => self.learn(key, std::iter::once(piece), cx),
            PeerEvent::Haves(pieces) => self.learn(key, pieces.into_iter(), cx),
            PeerEvent::Blocks(blocks) => self.blocks(key, &blocks, cx),
            PeerEvent::Rejected(block) => self.rejected(key, block, cx),
            PeerEvent::AllowedFast(piece) => self.allowed_fast(key, piece, cx),
            PeerEvent::Uploaded(bytes) => self.uploaded(key, bytes, cx),
            PeerEvent::Held => self.held(key, cx),
            PeerEvent::KeptWaiting(until) => self.kept_waiting(key, until),
        }
    }

    fn held(&mut self, key: PeerKey, cx: &Context<'_>) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.active = cx.now;
        }
    }

    fn choked(&mut self, key: PeerKey, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.choking = peer.choking.or(Some(cx.now));
        if !peer.info.fast {
            // What it owed us is lost. With BEP 6 it rejects each request, or answers it.
            peer.lost.clear();
            self.free_requests(key, false, cx);
        }
        self.pieces.requests.disown(key);
        self.refill_all = true;
    }

    fn unchoked(&mut self, key: PeerKey, cx: &mut Context<'_>) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.choking = None;
            self.refill(key, cx);
        }
    }

    fn bitfield(&mut self, key: PeerKey, have: Bitfield, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if !peer.have.is_empty() {
            let geometry = *self.pieces.geometry();
            self.learn(key, have.iter(&geometry), cx);
            return;
        }
        peer.wanted = self.pieces.wanted_of(&have);
        peer.counted_as_seed = have.is_full();
        peer.have = have;
        if peer.counted_as_seed {
            self.pieces.picker.seed_came();
        } else {
            for piece in peer.have.iter(self.pieces.geometry()) {
                self.pieces.picker.came(piece, cx.random);
                self.show.has(key, piece, &self.pieces.picker);
            }
        }
        self.after_have(key, cx);
    }

    /// It has these pieces besides. A bitfield in place of many `have` comes here too; what that leaves out is not taken
    /// back: nobody loses pieces.
    fn learn(&mut self, key: PeerKey, pieces: impl Iterator<Item = PieceIndex>, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let before = peer.have.count();
        for piece in pieces {
            if !peer.have.insert(piece) {
                continue;
            }
            self.pieces.picker.came(piece, cx.random);
            self.show.has(key, piece, &self.pieces.picker);
            if self.pieces.lacking().contains(piece) {
                peer.wanted += 1;
                peer.dry = None;
            }
        }
        if peer.have.count() > before {
            self.after_have(key, cx);
        }
    }

    fn after_have(&mut self, key: PeerKey, cx: &mut Context<'_>) {
        if self.is_complete() && self.peers.get(&key).is_some_and(|peer| peer.have.is_full()) {
            self.heard_of_seeder(cx.now);
            self.close(key, CloseReason::BothSeed, cx);
            return;
        }
        self.update_interest(key, cx);
        if self.peers.get(&key).is_some_and(|peer| peer.starved) {
            self.refill(key, cx);
        }
    }

    /// Says so when we begin to want something of a peer, or have all it has.
    pub(super) fn update_interest(&mut self, key: PeerKey, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let want = peer.wanted > 0;
        if peer.we_want == want {
            return;
        }
        peer.we_want = want;
        cx.send(key, if want { Command::Interested } else { Command::NotInterested });
        if want {
            // It may have left us unchoked.
            self.refill(key, cx);
        }
    }

    fn rejected(&mut self, key: PeerKey, block: BlockRef, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if peer.settle(block).is_none() {
            return;
        }
        self.pieces.requests.give_back(block, key);
        if peer.choking.is_none() {
            // Asking again at once would be answered alike: a circle at the speed of the line.
            peer.lose(block, cx.now);
        }
        peer.allowed_fast.retain(|&piece| piece != block.piece());
        self.refill_all = true;
    }

    fn allowed_fast(&mut self, key: PeerKey, piece: PieceIndex, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.allow_fast(piece);
        if peer.choking.is_some() {
            self.refill(key, cx);
        }
    }

    fn uploaded(&mut self, key: PeerKey, bytes: u64, cx: &mut Context<'_>) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.up.add(bytes, cx.now);
            peer.turn_bytes = peer.turn_bytes.saturating_add(bytes);
            if bytes > 0 {
                (peer.taken, peer.idled, peer.idle_turns) = (cx.now, false, 0);
                self.show_takes(key);
            }
        }
    }
}
