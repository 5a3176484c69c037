//! What the core decides, carried out: commands to connections, dialling, hashing, writing, bans.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use torrent_common::geometry::PieceIndex;

use super::Runner;
use crate::connection::dial;
use crate::connection::registry::Origin;
use crate::torrent::Notice;
use crate::torrent::event::{BanReason, CloseReason, Command, Effect, Event, PeerKey};
use crate::torrent::hashing::Whole;
use crate::torrent::late::Passage;

impl Runner {
    pub(super) fn feed(&mut self, event: Event) {
        let now = Instant::now();
        let mut effects = std::mem::take(&mut self.effects);
        self.core.handle(event, now, &mut self.random, &*self.active.room.pool, &mut effects);
        #[cfg(debug_assertions)]
        if self.geometry.piece_count() <= 64 {
            self.core.check_invariants();
        }
        effects.drain(..).for_each(|effect| self.carry_out(effect, now));
        self.effects = effects;
    }

    pub(super) fn carry_out(&mut self, effect: Effect, now: Instant) {
        match effect {
            Effect::Send(key, command) => self.send(key, command),
            Effect::Dial(address) => self.dial(address),
            Effect::Hash(piece) => self.hash(piece, now),
            Effect::Write(piece) => {
                if let Some(blocks) = self.assembly.take_verified(piece) {
                    self.saving.write(&self.active, piece, blocks, now);
                }
            }
            Effect::Discard(piece) => self.assembly.discard(piece),
            Effect::Had(piece) => {
                self.active.link.have.insert(piece);
                self.active.stats.add_piece(self.geometry.piece_len(piece));
                self.active.stats.transfer.lacking.store(self.core.lacking(), Ordering::Relaxed);
                self.news = true;
            }
            Effect::Completed => self.completed(),
            Effect::Incomplete => self.incomplete(),
            Effect::Ban(key, reason) => self.ban(key, reason),
            Effect::BanAbsent(who, reason) => {
                log::warn!("{}: banned {who}, who is gone: {reason}", self.active.name);
                self.active.room.bans.add_absent(who);
            }
            Effect::Snubbed(key, time) => self.tell_of_silence(key, time),
            Effect::WantPeers => self.unsaid.push_back(Notice::WantPeers(self.active.link.info_hash)),
        }
    }

    pub(super) fn send(&mut self, key: PeerKey, command: Command) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let is_listed = peer.outlet.is_late();
        match peer.outlet.send(command) {
            Passage::Through => {}
            Passage::Late if is_listed => {}
            Passage::Late => self.late.push(key),
            // Dropping the outlet ends the connection; its Gone comes by itself.
            Passage::Lost => drop(self.peers.remove(&key)),
        }
    }

    /// Tries again what found no room.
    pub(super) fn send_late(&mut self) {
        for key in std::mem::take(&mut self.late) {
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            match peer.outlet.send_late() {
                Passage::Through => {}
                Passage::Late => self.late.push(key),
                Passage::Lost => drop(self.peers.remove(&key)),
            }
        }
    }

    pub(super) fn dial(&mut self, address: SocketAddr) {
        let link = Arc::clone(&self.active.link);
        let origin = Origin::Ours { ip: address.ip(), dialling: self.dialling };
        match self.active.room.connections.spawn(origin, move |lease| dial::run(lease, &link, address)) {
            Ok(()) => self.dialling += 1,
            Err(error) => {
                log::debug!("{address}: not dialled: {error}");
                self.again.push_back(Event::NoRoom(address));
            }
        }
    }

    pub(super) fn hash(&mut self, piece: PieceIndex, now: Instant) {
        let Some(blocks) = self.assembly.take_whole(piece) else {
            // Our own books disagree: a bug, but not one that may cost the user the download.
            log::error!("{}: {piece:?} is incomplete in memory; it is fetched again", self.active.name);
            self.again.push_back(Event::Hashed(piece, false));
            return;
        };
        let len = blocks.iter().map(|block| block.len() as u64).sum();
        self.active.stats.add_downloaded(len);
        let whole = Whole { piece, blocks, compare: self.core.compares(piece) };
        self.hashing.add(whole, self.core.is_receiving(), now);
    }

    /// So that a user may see why a download stands still: an honest peer may have lost its line, a stranger may send one byte
    /// a second.
    fn tell_of_silence(&self, key: PeerKey, time: Duration) {
        let Some(peer) = self.peers.get(&key) else { return };
        let why = format!(
            "no whole block has come from {} for {} s: it is silent, or very slow",
            peer.name,
            time.as_secs()
        );
        let what = format!("others are asked for what it was to send of {}", self.active.name);
        self.active.room.connections.blame.tell(peer.address, &what, &why);
    }

    pub(super) fn ban(&mut self, key: PeerKey, reason: BanReason) {
        if let Some(peer) = self.peers.get(&key) {
            log::warn!("{}: banned {} ({}): {reason}", self.active.name, peer.address, peer.name);
            self.active.room.bans.add(peer.address, peer.name);
        }
        self.send(key, Command::Close(CloseReason::Banned));
    }
}
