//! Commands that found a connection's queue full: they wait here, in order, requests joined with requests. A torrent of
//! small pieces asks for a block at a time while its budget is spent; a connection that is being slow for a moment would
//! otherwise be dropped for the number of its commands, not for anything it failed to do.

use crossbeam_channel::{Sender, TrySendError};

use super::event::Command;
use crate::connection::link::{CommandQueue, ConnectionHandle};
use crate::wake::{Ring, Waker};

/// Commands that may wait beyond the queue. Joined, even a busy connection has a few.
const MAX_LATE: usize = 64;

/// How a torrent reaches a connection: what the connection's queue has no room for waits here, in order. Dropped, the
/// connection ends.
#[derive(Debug)]
pub struct Outlet<Q = Sender<Command>, W: Ring = Waker> {
    handle: ConnectionHandle<Q, W>,
    late: Late,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "who does not keep up is to be dropped"]
pub enum Passage {
    /// All that was to be said is in the connection's queue.
    Through,
    /// Something waits: [`Outlet::send_late`] tries again.
    Late,
    /// Nobody listens, or too much waits: drop the outlet.
    Lost,
}

impl<Q: CommandQueue, W: Ring> Outlet<Q, W> {
    /// Nothing waits yet.
    pub fn new(handle: ConnectionHandle<Q, W>) -> Self {
        Self { handle, late: Late::default() }
    }

    /// Something waits.
    pub const fn is_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Says something to the connection, behind what waits. Never waits itself.
    pub fn send(&mut self, command: Command) -> Passage {
        let refused = if self.late.is_empty() {
            match self.handle.offer(command) {
                Ok(()) => return Passage::Through,
                Err(TrySendError::Full(command)) => command,
                Err(TrySendError::Disconnected(_)) => return Passage::Lost,
            }
        } else {
            command
        };
        if self.late.push(refused) { Passage::Late } else { Passage::Lost }
    }

    /// Tries again what found no room.
    pub fn send_late(&mut self) -> Passage {
        match self.late.flush(|command| self.handle.offer(command)) {
            false => Passage::Lost,
            true if self.late.is_empty() => Passage::Through,
            true => Passage::Late,
        }
    }

    /// Makes the connection look at what is new in [`Have`](super::have::Have).
    pub fn ring(&self) {
        self.handle.ring();
    }
}

/// What waits for one connection.
#[derive(Debug, Default)]
struct Late(Vec<Command>);

impl Late {
    /// Nothing waits.
    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a command behind the others. False when there are too many: give the connection up.
    fn push(&mut self, command: Command) -> bool {
        match (self.0.last_mut(), command) {
            (Some(Command::Request(blocks)), Command::Request(more))
            | (Some(Command::Cancel(blocks)), Command::Cancel(more)) => blocks.extend(more),
            (Some(Command::Show(pieces)), Command::Show(more)) => pieces.extend(more),
            (_, command) => self.0.push(command),
        }
        self.0.len() <= MAX_LATE
    }

    /// Gives `offer` the commands in order until it has no room. False when nobody listens any more.
    fn flush(&mut self, mut offer: impl FnMut(Command) -> Result<(), TrySendError<Command>>) -> bool {
        let mut waiting = std::mem::take(&mut self.0).into_iter();
        while let Some(command) = waiting.next() {
            match offer(command) {
                Ok(()) => {}
                Err(TrySendError::Full(command)) => self.0.push(command),
                Err(TrySendError::Disconnected(_)) => return false,
            }
            if !self.0.is_empty() {
                self.0.extend(waiting);
                return true;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;
    use torrent_common::geometry::{BlockRef, Geometry};

    use super::*;

    fn block(piece: u32) -> BlockRef {
        let geometry = Geometry::new(10_000, 10, 10).unwrap();
        geometry.block(geometry.piece(piece).unwrap(), 0).unwrap()
    }

    #[test]
    fn a_thousand_single_requests_are_one_command_and_nothing_is_lost_or_overtaken() {
        let mut late = Late::default();
        assert!(late.push(Command::Interested));
        assert!((0..1000).all(|piece| late.push(Command::Request(vec![block(piece)]))));
        assert!(late.push(Command::Cancel(vec![block(3)])) && late.push(Command::Cancel(vec![block(4)])));
        assert!(late.push(Command::Request(vec![block(3)])));
        let (sender, receiver) = bounded(2);
        let mut heard = Vec::new();
        while !late.is_empty() {
            assert!(late.flush(|command| sender.try_send(command)));
            heard.extend(receiver.try_iter());
        }
        let all = (0..1000).map(block).collect();
        let expected = [
            Command::Interested,
            Command::Request(all),
            Command::Cancel(vec![block(3), block(4)]),
            Command::Request(vec![block(3)]),
        ];
        assert_eq!(heard, expected);
    }

    #[test]
    fn what_cannot_be_joined_is_bounded_and_a_connection_that_is_gone_is_noticed() {
        let mut late = Late::default();
        let mut pushed = 0;
        while late.push(if pushed % 2 == 0 { Command::Choke } else { Command::Unchoke }) {
            pushed += 1;
        }
        assert_eq!(pushed, MAX_LATE);
        let (sender, receiver) = bounded(2);
        drop(receiver);
        assert!(!late.flush(|command| sender.try_send(command)));
    }
}
