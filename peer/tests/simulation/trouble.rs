//! What befalls the links of a swarm, and what strangers make up: links are cut, freeze and vanish, pieces that nobody has
//! are offered, any message is said at any time.

use std::time::Duration;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::PieceIndex;
use torrent_peer::torrent::event::{PeerEvent, PeerKey};

use super::nature::Lie;
use super::world::{What, World};

/// A link on which nothing is heard for so long is closed.
const SILENCE: Duration = Duration::from_secs(150);
/// From then on links are left alone, so that an end comes in sight.
const CALM: Duration = Duration::from_secs(1_200);

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
    pub(super) fn vanish(&mut self, key: PeerKey) {
        self.seen.vanished += 1;
        self.freeze(key, SILENCE * 100);
        self.after(SILENCE, 0, What::Silent(key));
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
