//! Pieces turn out good or bad, and what follows for those who sent them.

use std::collections::BTreeSet;

use torrent_common::geometry::PieceIndex;

use super::{Context, Core};
use crate::torrent::event::{BanReason, Effect, PeerKey};
use crate::torrent::evidence::{BlockDigest, Sent};
use crate::torrent::requests::Stage;
use crate::torrent::suspects::{Identity, Verdict};

/// What the blocks are of a piece whose hash comes next.
#[derive(Debug)]
pub(super) struct Digests {
    piece: PieceIndex,
    digests: Vec<BlockDigest>,
}

impl Core {
    /// This piece failed before: should it be good, [`Event::Digests`](crate::torrent::event::Event::Digests) tells who
    /// sent something else.
    pub fn compares(&self, piece: PieceIndex) -> bool {
        self.evidence.covers(piece)
    }

    pub(super) fn digests(&mut self, piece: PieceIndex, digests: Vec<BlockDigest>) {
        self.digests = Some(Digests { piece, digests });
    }

    pub(super) fn hashed(&mut self, piece: PieceIndex, good: bool, cx: &mut Context<'_>) {
        let digests = self.digests.take().filter(|digests| digests.piece == piece);
        if self.pieces.requests.get(piece).is_none_or(|begun| begun.stage() != Stage::Hashing) {
            return;
        }
        let digests = digests.map(|digests| digests.digests).unwrap_or_default();
        if good {
            self.good_piece(piece, &digests, cx);
        } else {
            self.bad_piece(piece, &digests, cx);
        }
    }

    fn good_piece(&mut self, piece: PieceIndex, digests: &[BlockDigest], cx: &mut Context<'_>) {
        self.pieces.requests.advance(piece, Stage::Hashing, Stage::Writing);
        cx.effects.push(Effect::Write(piece));
        if self.suspects.is_empty() && !self.evidence.covers(piece) {
            return;
        }
        let senders = self.pieces.requests.contributors(piece);
        for &key in &senders {
            if let Some(identity) = self.identity(key) {
                self.suspects.good(identity, senders.len() == 1);
                self.update_parole(identity);
            }
        }
        // Compared with what each sent when it was bad.
        let findings = self.evidence.good(piece, digests);
        for who in findings.innocent {
            self.suspects.cleared(who);
            self.update_parole(who);
        }
        for who in findings.guilty {
            self.ban(who, BanReason::Poison, cx);
        }
    }

    fn bad_piece(&mut self, piece: PieceIndex, digests: &[BlockDigest], cx: &mut Context<'_>) {
        let len = self.pieces.geometry().piece_len(piece);
        self.totals.wasted = self.totals.wasted.saturating_add(len.into());
        let keys = self.pieces.requests.contributors(piece);
        let unknown = keys.iter().any(|&key| self.identity(key).is_none());
        let senders: BTreeSet<Identity> = keys.iter().filter_map(|&key| self.identity(key)).collect();
        let sent = self.sent(piece, digests);
        self.pieces.failed(piece, senders.iter().copied(), cx);
        if let Some(&only) = senders.first().filter(|_| senders.len() == 1 && !unknown) {
            self.ban(only, BanReason::CorruptPiece, cx);
        } else {
            self.evidence.failed(piece, sent);
            for sender in senders {
                match self.suspects.shared_failure(sender) {
                    Verdict::Ban => self.ban(sender, BanReason::Suspect, cx),
                    Verdict::Parole => self.update_parole(sender),
                }
            }
        }
        self.refill_all = true;
    }

    /// Who sent which block of a piece, and what that was.
    fn sent(&self, piece: PieceIndex, digests: &[BlockDigest]) -> Vec<Sent> {
        let senders = self.pieces.requests.senders(piece).zip(0u32..).zip(digests);
        let sent = senders.filter_map(|((key, block), &digest)| {
            let by = self.identity(key?)?;
            Some(Sent { block, by, digest })
        });
        sent.collect()
    }

    fn identity(&self, key: PeerKey) -> Option<Identity> {
        self.peers.get(&key).map(|peer| peer.identity).or_else(|| self.departed.get(key))
    }

    fn update_parole(&mut self, who: Identity) {
        let parole = self.suspects.on_parole(who);
        for (&key, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.identity == who) {
            if parole && !peer.parole {
                self.pieces.requests.disown(key);
            }
            peer.parole = parole;
        }
    }
}
