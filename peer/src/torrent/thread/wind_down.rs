//! The end of a torrent's thread: connections are closed, and what is in flight gets to disk.

use std::collections::BTreeSet;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use torrent_common::geometry::PieceIndex;

use super::Runner;
use crate::torrent::event::{Effect, PeerEvent};
use crate::torrent::hashing::Judged;
use crate::torrent::input::Input;
use crate::torrent::stats::Moment;

impl Runner {
    /// Closes every connection, and lets what is in flight get to disk.
    ///
    /// With a thread of a torrent ends all that it has begun: no write, and no checkpoint, of it is queued or under way
    /// afterwards, so none can meet what others make of its files and its record. Only where the daemon itself ends there
    /// is a `deadline`, and nobody comes after.
    pub(super) fn wind_down(&mut self, inputs: &Receiver<Input>, mut deadline: Option<Instant>) {
        let mut effects = Vec::new();
        let mut in_flight = self.core.shutdown(&*self.active.room.pool, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send(key, command) => self.send(key, command),
                Effect::Discard(piece) => self.assembly.discard(piece),
                _ => {}
            }
        }
        // Handles dropped: even a connection whose queue was full ends.
        self.peers.clear();
        self.hashing.flush();
        let mut checkpoint_begun = false;
        loop {
            if !self.hashing.is_busy() && !self.saving.is_busy() {
                if checkpoint_begun || !self.saving.begin_last(&self.active) {
                    break;
                }
                checkpoint_begun = true;
            }
            // A queue that was full of what others write is tried again.
            let wake = self.saving.next_wake().into_iter().chain(deadline).min();
            let next = match wake {
                Some(wake) => inputs.recv_deadline(wake),
                None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(Input::Hashed(Judged { piece, good, blocks, .. })) => {
                    self.hashing.answered();
                    if !good {
                        self.pay_back(piece, &mut in_flight);
                    } else {
                        self.saving.write(&self.active, piece, blocks, Instant::now());
                    }
                }
                Ok(Input::Written(piece, outcome)) => {
                    self.saving.written();
                    self.pay_back(piece, &mut in_flight);
                    if outcome.is_ok() {
                        self.active.link.have.insert(piece);
                        let len = self.geometry.piece_len(piece);
                        self.active.stats.add_piece(len);
                        if self.selection.wants(piece) {
                            self.active.stats.lacks_less(len);
                        }
                    }
                }
                Ok(Input::Checkpointed(outcome)) => {
                    if let Err(error) = self.saving.done(&self.active, outcome) {
                        log::error!("{}: {error}", self.active.name);
                    }
                }
                // All are to stop meanwhile.
                Ok(Input::Stop(patience)) => {
                    let other = patience.map(|patience| Instant::now() + patience);
                    deadline = deadline.into_iter().chain(other).min();
                }
                Ok(Input::Peer(_, PeerEvent::Uploaded(bytes))) => self.active.stats.add_uploaded(bytes),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout)
                    if deadline.is_none_or(|deadline| Instant::now() < deadline) => {}
                Err(_) => break,
            }
            self.saving.turn(&self.active, Instant::now());
        }
        while let Some(&piece) = in_flight.first() {
            self.pay_back(piece, &mut in_flight);
        }
        self.active.stats.set_moment(Moment::default());
    }

    /// A piece is in flight no longer: others may use its room.
    fn pay_back(&self, piece: PieceIndex, in_flight: &mut BTreeSet<PieceIndex>) {
        if in_flight.remove(&piece) {
            self.active.room.pool.release(u64::from(self.geometry.piece_len(piece)));
        }
    }
}
