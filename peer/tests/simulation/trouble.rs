//! What befalls a swarm: nodes leave and come back, links are cut and freeze, strangers lie and rave.

use std::time::Duration;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::PieceIndex;
use torrent_common::ids::PeerId;
use torrent_peer::torrent::core::Budget as _;
use torrent_peer::torrent::event::{PeerEvent, PeerKey};

use super::nature::{Ending, Lie, Restart, TestBudget};
use super::world::{What, World, fresh_core};

/// What was written within so long before a power cut may be lost.
const SYNC: Duration = Duration::from_secs(5);
/// A link on which nothing is heard for so long is closed.
const SILENCE: Duration = Duration::from_secs(150);
/// From then on links are left alone, so that an end comes in sight.
const CALM: Duration = Duration::from_secs(1_200);

/// How often what happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub bans: u64,
    pub bad_pieces: u64,
    pub write_errors: u64,
    pub stalls: u64,
    pub left: u64,
    pub stopped: u64,
    pub killed: u64,
    pub power_cuts: u64,
    pub lost_pieces: u64,
    pub cut: u64,
    pub frozen: u64,
    pub vanished: u64,
    pub silent_lies: u64,
    pub rejections: u64,
    pub garbage: u64,
    pub raved: u64,
}

impl Seen {
    const fn all(&self) -> [(&'static str, u64); 16] {
        [
            ("bans", self.bans),
            ("bad pieces", self.bad_pieces),
            ("write errors", self.write_errors),
            ("stalls", self.stalls),
            ("left", self.left),
            ("stopped", self.stopped),
            ("killed", self.killed),
            ("power cuts", self.power_cuts),
            ("lost pieces", self.lost_pieces),
            ("cut", self.cut),
            ("frozen", self.frozen),
            ("vanished", self.vanished),
            ("silent lies", self.silent_lies),
            ("rejections", self.rejections),
            ("garbage", self.garbage),
            ("raved", self.raved),
        ]
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        self.all().into_iter().filter(|&(_, count)| count == 0).map(|(name, _)| name).collect()
    }

    pub fn add(&mut self, other: &Self) {
        self.bans += other.bans;
        self.bad_pieces += other.bad_pieces;
        self.write_errors += other.write_errors;
        self.stalls += other.stalls;
        self.left += other.left;
        self.stopped += other.stopped;
        self.killed += other.killed;
        self.power_cuts += other.power_cuts;
        self.lost_pieces += other.lost_pieces;
        self.cut += other.cut;
        self.frozen += other.frozen;
        self.vanished += other.vanished;
        self.silent_lies += other.silent_lies;
        self.rejections += other.rejections;
        self.garbage += other.garbage;
        self.raved += other.raved;
    }
}

impl World {
    /// Links are cut, freeze or vanish, about so often.
    pub fn troubles_every(&mut self, mean: Duration) {
        self.troubles = Some(mean);
        self.next_trouble();
    }

    fn next_trouble(&mut self) {
        if let Some(mean) = self.troubles
            && self.now < CALM
        {
            let wait = mean.mul_f64(self.random.f64() * 2.0);
            self.after(wait, 0, What::Trouble);
        }
    }

    pub(super) fn trouble(&mut self) {
        self.next_trouble();
        let open = (0..self.links.len()).filter(|&link| self.links[link].open).collect::<Vec<_>>();
        let Some(&link) = self.random.choice(&open) else { return };
        let key = PeerKey(link as u64);
        match self.random.u32(..3) {
            0 => {
                self.seen.cut += 1;
                self.close(key);
            }
            1 => {
                self.seen.frozen += 1;
                let wait = Duration::from_millis(self.random.u64(100..100_000));
                self.freeze(key, wait);
            }
            _ => self.vanish(key),
        }
    }

    /// Nothing that is sent from now on arrives before then.
    fn freeze(&mut self, key: PeerKey, wait: Duration) {
        let until = self.now + wait;
        let link = &mut self.links[key.0 as usize];
        link.arrives.iter_mut().for_each(|arrives| *arrives = until.max(*arrives));
    }

    /// The network forgets a link, and nobody is told.
    fn vanish(&mut self, key: PeerKey) {
        self.seen.vanished += 1;
        self.freeze(key, SILENCE * 100);
        self.after(SILENCE, 0, What::Silent(key));
    }

    pub(super) fn leave(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.present {
            return;
        }
        let mut effects = Vec::new();
        for piece in node.core.shutdown(&node.budget, &mut effects) {
            node.budget.release(self.geometry.piece_len(piece).into());
        }
        assert_eq!(node.budget.reserved.get(), 0, "gone, and something is reserved");
        assert_eq!(node.core.next_wake(), None);
        for key in self.links_of(index) {
            self.close(key);
        }
        self.nodes[index].present = false;
        self.seen.left += 1;
    }

    pub(super) fn restart(&mut self, index: usize, restart: Restart) {
        if !self.nodes[index].present {
            return;
        }
        match restart.ending {
            Ending::Stopped => {
                self.seen.stopped += 1;
                self.leave(index);
            }
            Ending::Killed => {
                self.seen.killed += 1;
                self.links_of(index).into_iter().for_each(|key| self.close(key));
            }
            Ending::PowerCut => {
                self.seen.power_cuts += 1;
                self.links_of(index).into_iter().for_each(|key| self.vanish_from(index, key));
                self.lose_the_last(index);
            }
        }
        let (geometry, now) = (self.geometry, self.start + self.now);
        let id = if restart.same_name { self.nodes[index].id } else { PeerId::generate(&mut self.random) };
        let node = &mut self.nodes[index];
        node.present = false;
        node.life += 1;
        node.id = id;
        node.core = fresh_core(geometry, &node.nature, &node.had, id, now);
        node.budget = TestBudget::new(node.nature.budget);
        node.store.clear();
        node.hashing.clear();
        node.writing.clear();
        node.guilty.clear();
        node.queues.clear();
        node.links.clear();
        (node.busy, node.wake) = (false, None);
        if !node.had.is_full() {
            node.completed = None;
        }
        self.after(restart.down, index, What::Join);
    }

    /// The other end of a link goes on as if nothing had been, until it has heard nothing for long.
    fn vanish_from(&mut self, index: usize, key: PeerKey) {
        self.vanish(key);
        self.nodes[index].queues.remove(&key);
    }

    /// A power cut: any of what was written last may be missing.
    fn lose_the_last(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        for (when, piece) in std::mem::take(&mut node.written) {
            if when + SYNC > self.now && self.random.bool() {
                node.had.remove(piece);
                self.seen.lost_pieces += 1;
            }
        }
    }

    /// What a node does about a piece that it only said it has.
    pub(super) fn lie_about(&mut self, index: usize, piece: PieceIndex) -> Option<Lie> {
        let node = &self.nodes[index];
        let lie = match node.nature.lies {
            Some((lie, about)) if piece.get().is_multiple_of(about) => Some(lie),
            _ => (node.nature.raves.is_some() && !node.had.contains(piece)).then_some(Lie::Silence),
        };
        match lie? {
            Lie::Silence => self.seen.silent_lies += 1,
            Lie::Rejection => self.seen.rejections += 1,
            Lie::Garbage => self.seen.garbage += 1,
        }
        lie
    }

    /// Says something to somebody.
    pub(super) fn rave(&mut self, index: usize) {
        let Some(every) = self.nodes[index].nature.raves else { return };
        self.after(every, index, What::Rave);
        let links = self.links_of(index);
        let Some(&key) = self.random.choice(&links) else { return };
        self.seen.raved += 1;
        let event = self.any_message(key);
        let other = self.other(index, key);
        self.tell(other, key, event);
    }

    fn any_message(&mut self, key: PeerKey) -> PeerEvent {
        let random = &mut self.random;
        let piece = self.geometry.piece(random.u32(..self.geometry.piece_count())).unwrap();
        let block = random.u32(..self.geometry.block_count(piece));
        let block = self.geometry.block(piece, block).unwrap();
        let fast = self.links[key.0 as usize].fast;
        match random.u32(..10) {
            0 => PeerEvent::Choked,
            1 | 2 => PeerEvent::Unchoked,
            3 => PeerEvent::Interested,
            4 => PeerEvent::NotInterested,
            5 => {
                let mut bits = Bitfield::empty(&self.geometry);
                let pieces = self.geometry.pieces().filter(|_| random.bool());
                pieces.for_each(|piece| _ = bits.insert(piece));
                PeerEvent::Bitfield(bits)
            }
            6 => PeerEvent::Haves(vec![piece, piece]),
            7 if fast => PeerEvent::Rejected(block),
            8 if fast => PeerEvent::AllowedFast(piece),
            _ => PeerEvent::Have(piece),
        }
    }
}
