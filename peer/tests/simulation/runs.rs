//! How a run of a node ends and the next begins: as it should, killed, or without power. At an orderly stop what is being
//! hashed or written gets to disk if there is time, as in `torrent/thread/wind_down.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use torrent_common::geometry::PieceIndex;
use torrent_common::ids::PeerId;
use torrent_peer::torrent::core::Budget as _;
use torrent_peer::torrent::event::{Effect, Event, PeerKey};

use super::nature::{Ending, Restart, TestBudget};
use super::world::{What, World, fresh_core};

/// What was written within so long before a power cut may be lost.
const SYNC: Duration = Duration::from_secs(5);
/// So long a stop waits for the disk.
const PATIENCE: Duration = Duration::from_secs(1);

/// A node that was told to stop and waits for its disk.
pub struct WindDown {
    in_flight: BTreeSet<PieceIndex>,
    /// `None`: it does not come back.
    then: Option<Restart>,
}

impl World {
    pub(super) fn leave(&mut self, index: usize) {
        if self.nodes[index].present {
            self.seen.left += 1;
            self.stop(index, None);
        }
    }

    pub(super) fn restart(&mut self, index: usize, restart: Restart) {
        if !self.nodes[index].present {
            return;
        }
        match restart.ending {
            Ending::Stopped => {
                self.seen.stopped += 1;
                return self.stop(index, Some(restart));
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
        self.nodes[index].present = false;
        self.begin_anew(index, restart);
    }

    fn stop(&mut self, index: usize, then: Option<Restart>) {
        let node = &mut self.nodes[index];
        let mut effects = Vec::new();
        let in_flight = node.core.shutdown(&node.budget, &mut effects);
        assert_eq!(node.core.next_wake(), None);
        node.present = false;
        for effect in effects {
            match effect {
                Effect::Discard(piece) => {
                    assert!(node.store.remove(&piece).is_some(), "{piece:?} was not begun")
                }
                Effect::Send(..) => {}
                effect => panic!("at the end of a run: {effect:?}"),
            }
        }
        let busy: BTreeSet<_> = node.hashing.iter().copied().collect();
        assert_eq!(busy, in_flight, "what is being hashed or written is in flight, and nothing else");
        node.winding = Some(WindDown { in_flight, then });
        for key in self.links_of(index) {
            self.close(key);
        }
        self.after(PATIENCE, index, What::OutOfTime);
        self.consider_end(index);
    }

    /// Something in flight is done, after the stop.
    pub(super) fn wind_down(&mut self, index: usize, event: &Event) {
        match *event {
            Event::Hashed(piece, true) => return self.write(index, piece),
            Event::Hashed(piece, false) => self.pay_back(index, piece),
            Event::Written(piece, ok) => {
                self.pay_back(index, piece);
                if ok {
                    self.seen.saved_pieces += 1;
                    self.keep(index, piece);
                }
            }
            _ => return,
        }
        self.consider_end(index);
    }

    /// A stop has waited long enough. What the disk does from now on is noted by it or not.
    pub(super) fn out_of_time(&mut self, index: usize) {
        let Some(winding) = &self.nodes[index].winding else { return };
        for piece in winding.in_flight.clone() {
            self.pay_back(index, piece);
            self.seen.given_up_pieces += 1;
            if self.nodes[index].writing.contains(&piece) && self.random.bool() {
                self.keep(index, piece);
            }
        }
        self.consider_end(index);
    }

    fn pay_back(&mut self, index: usize, piece: PieceIndex) {
        let len = self.geometry.piece_len(piece).into();
        let node = &mut self.nodes[index];
        if node.winding.as_mut().is_some_and(|winding| winding.in_flight.remove(&piece)) {
            node.budget.release(len);
        }
    }

    /// A piece is on disk.
    fn keep(&mut self, index: usize, piece: PieceIndex) {
        let node = &mut self.nodes[index];
        assert!(node.had.insert(piece), "{piece:?} had twice");
        node.written.push((self.now, piece));
    }

    fn consider_end(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(WindDown { then, .. }) = node.winding.take_if(|winding| winding.in_flight.is_empty()) else {
            return;
        };
        assert_eq!(node.budget.reserved.get(), 0, "gone, and something is reserved");
        if let Some(restart) = then {
            self.begin_anew(index, restart);
        }
    }

    /// The next run of a node, with what it has on disk.
    fn begin_anew(&mut self, index: usize, restart: Restart) {
        let (geometry, now) = (self.geometry, self.start + self.now);
        let id = if restart.same_name { self.nodes[index].id } else { PeerId::generate(&mut self.random) };
        let node = &mut self.nodes[index];
        node.life += 1;
        node.id = id;
        node.core = fresh_core(geometry, &node.nature, &node.had, id, now);
        node.budget = TestBudget::new(node.nature.budget);
        node.store.clear();
        node.hashing.clear();
        node.writing.clear();
        node.guilty.clear();
        node.banned.clear();
        node.told.clear();
        node.queues.clear();
        node.links.clear();
        (node.busy, node.wake) = (false, None);
        // What got to disk at the stop may have been the last of it.
        node.completed = node.had.is_full().then(|| node.completed.unwrap_or(self.now));
        self.seen.came_back += u64::from(!node.had.is_empty() && !node.had.is_full());
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
}
