//! Peers come and go, and addresses are dialled.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Context, Core};
use crate::torrent::dial::Ending;
use crate::torrent::event::{BanReason, CloseReason, Command, Direction, Effect, PeerInfo, PeerKey};
use crate::torrent::host::Host;
use crate::torrent::peers::Peer;
use crate::torrent::suspects::Identity;

/// Two connections between the same two peers within so long are a simultaneous open.
const SIMULTANEOUS: Duration = Duration::from_secs(10);
/// A peer that neither side wanted anything of for so long gives its place to a new one.
const USELESS: Duration = Duration::from_secs(60);
/// Peers remembered after they went, because blocks of theirs may be in a begun piece.
const MAX_DEPARTED: usize = 1_000;

/// Who the peers were that went, so that a bad piece convicts them all the same.
#[derive(Debug, Default)]
pub(super) struct Departed(BTreeMap<PeerKey, Identity>);

impl Departed {
    pub(super) fn get(&self, key: PeerKey) -> Option<Identity> {
        self.0.get(&key).copied()
    }

    fn add(&mut self, key: PeerKey, identity: Identity) {
        self.0.insert(key, identity);
        if self.0.len() > MAX_DEPARTED {
            // Keys are given in order: the first is the oldest.
            self.0.pop_first();
        }
    }
}

impl Core {
    pub(super) fn connected(&mut self, key: PeerKey, info: PeerInfo, cx: &mut Context<'_>) {
        if info.direction == Direction::Outgoing {
            self.dialler.connected(info.address, info.peer_id, cx.now);
        }
        if let Err((reason, ending)) = self.admit(&info, cx) {
            cx.send(key, Command::Close(reason));
            self.departed.add(key, Identity::of(&info));
            if info.direction == Direction::Outgoing {
                self.dialler.ended(info.address, ending, cx.now, cx.random);
            }
            return;
        }
        let parole = self.suspects.on_parole(Identity::of(&info));
        self.by_id.insert(info.peer_id, key);
        if info.hidden {
            self.show_came(key);
        }
        self.peers.insert(key, Peer::new(info, self.pieces.geometry(), parole, cx.now));
    }

    /// Whether a new peer may stay. May close another for it.
    fn admit(&mut self, info: &PeerInfo, cx: &mut Context<'_>) -> Result<(), (CloseReason, Ending)> {
        if info.peer_id == self.config.own_peer_id {
            return Err((CloseReason::SelfConnection, Ending::Never));
        }
        if self.suspects.is_banned(Identity::of(info)) {
            return Err((CloseReason::Banned, Ending::Never));
        }
        if let Some(&old) = self.by_id.get(&info.peer_id) {
            if !self.gives_way(old, info, cx.now) {
                return Err((CloseReason::Duplicate, Ending::Duplicate));
            }
            self.close(old, CloseReason::Duplicate, cx);
        }
        let host = Host::of(info.address.ip());
        let is_its = |peer: &Peer| Host::of(peer.info.address.ip()) == host;
        if self.peers.values().filter(|peer| is_its(peer)).count() >= self.config.max_per_host {
            self.make_room(is_its, CloseReason::Crowded, cx)
        } else if self.peers.len() >= self.max_connections() {
            self.make_room(|_| true, CloseReason::Full, cx)
        } else {
            Ok(())
        }
    }

    /// Closes a useless peer, one that `may` go. There may be none: the reason for the new one.
    fn make_room(
        &mut self,
        may: impl Fn(&Peer) -> bool,
        reason: CloseReason,
        cx: &mut Context<'_>,
    ) -> Result<(), (CloseReason, Ending)> {
        let goes = |peer: &Peer| may(peer) && self.is_useless(peer, cx.now);
        let useless = self.peers.iter().find(|(_, peer)| goes(peer)).map(|(&key, _)| key);
        self.close(useless.ok_or((reason, Ending::Lost))?, CloseReason::Useless, cx);
        Ok(())
    }

    /// Of two connections to the same peer the older stays. But when both sides dialled at the same time, each may
    /// see another one first: then both keep the one dialled by the greater peer id.
    fn gives_way(&self, old: PeerKey, new: &PeerInfo, now: Instant) -> bool {
        let Some(peer) = self.peers.get(&old) else { return true };
        if peer.info.direction == new.direction || now.saturating_duration_since(peer.since) > SIMULTANEOUS {
            return false;
        }
        let we_are_greater = self.config.own_peer_id > new.peer_id;
        (new.direction == Direction::Outgoing) == we_are_greater
    }

    fn is_useless(&self, peer: &Peer, now: Instant) -> bool {
        let idle = !peer.they_want && (!peer.we_want || peer.snubbed);
        idle && now.saturating_duration_since(peer.since) > USELESS
    }

    pub(super) fn gone(&mut self, key: PeerKey, cx: &mut Context<'_>) {
        self.forget(key, Ending::Lost, cx);
    }

    /// Closes a peer. What its connection still reports is ignored, but for blocks.
    pub(super) fn close(&mut self, key: PeerKey, reason: CloseReason, cx: &mut Context<'_>) {
        cx.send(key, Command::Close(reason));
        let ending = match reason {
            CloseReason::BothSeed => Ending::Sated,
            CloseReason::SelfConnection | CloseReason::Banned => Ending::Never,
            CloseReason::Duplicate => Ending::Duplicate,
            _ => Ending::Lost,
        };
        self.forget(key, ending, cx);
    }

    /// Bans whoever sent this, connected or not.
    pub(super) fn ban(&mut self, who: Identity, reason: BanReason, cx: &mut Context<'_>) {
        self.suspects.ban(who);
        let keys = self.peers.iter().filter(|(_, peer)| peer.identity == who).map(|(&key, _)| key);
        let keys: Vec<_> = keys.collect();
        if keys.is_empty() {
            cx.effects.push(Effect::BanAbsent(who, reason));
        }
        for key in keys {
            cx.effects.push(Effect::Ban(key, reason));
            self.forget(key, Ending::Never, cx);
        }
    }

    /// Takes a peer off all books.
    fn forget(&mut self, key: PeerKey, ending: Ending, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.remove(&key) else { return };
        if self.by_id.get(&peer.info.peer_id) == Some(&key) {
            self.by_id.remove(&peer.info.peer_id);
        }
        self.departed.add(key, peer.identity);
        for request in &peer.outstanding {
            self.pieces.requests.give_back(request.block, key);
        }
        self.pieces.requests.disown(key);
        self.end_alone(key, cx);
        if peer.counted_as_seed {
            self.pieces.picker.seed_went();
        } else {
            for piece in peer.have.iter(self.pieces.geometry()) {
                self.pieces.picker.went(piece, cx.random);
                self.show.lost(piece, &self.pieces.picker);
            }
        }
        if peer.info.direction == Direction::Outgoing {
            self.dialler.ended(peer.info.address, ending, cx.now, cx.random);
        }
        self.show_went(key);
        self.totals.downloaded = self.totals.downloaded.saturating_add(peer.down.total());
        self.totals.uploaded = self.totals.uploaded.saturating_add(peer.up.total());
        self.slot_freed(peer.unchoked, cx);
        self.refill_all = true;
    }

    /// What this peer was fetching alone is begun anew, by another.
    fn end_alone(&mut self, key: PeerKey, cx: &mut Context<'_>) {
        let alone = self.pieces.requests.iter().filter(|(_, begun)| begun.is_left_alone_by(key));
        for piece in alone.map(|(piece, _)| piece).collect::<Vec<_>>() {
            let asked = self.pieces.give_up(piece, cx);
            self.take_back(asked, cx);
        }
    }

    pub(super) fn found(&mut self, addresses: Vec<SocketAddr>, cx: &mut Context<'_>) {
        for address in addresses.into_iter().take(crate::torrent::dial::MAX_KNOWN) {
            let ip = address.ip().to_canonical();
            if !self.suspects.is_banned(Identity::Address(ip)) {
                self.dialler.found(address, cx.now, cx.random);
            }
        }
    }

    /// Whether another address may be dialled, now or when one is due.
    pub(super) fn may_dial(&self) -> bool {
        let dialling = self.dialler.dialling();
        let limit = self.max_connections().min(self.config.max_outgoing);
        dialling < self.config.max_half_open && self.peers.len() + dialling < limit
    }

    pub(super) fn dial(&mut self, cx: &mut Context<'_>) {
        while self.may_dial() {
            let by_id = &self.by_id;
            let Some(address) = self.dialler.next(cx.now, |id| by_id.contains_key(&id)) else { break };
            cx.effects.push(Effect::Dial(address));
        }
    }
}
