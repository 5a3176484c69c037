//! The handshake, for whoever dialled: one set of steps, in the order that each side takes them.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::PollFlags;
use torrent_common::ids::{InfoHash, PeerId};
use torrent_common::wire::Handshake;
use torrent_common::wire::handshake::{HANDSHAKE_HEAD_LEN, HANDSHAKE_LEN};

use super::registry::Lease;
use super::{End, Violation};
use crate::torrent::event::CloseReason;

/// A connection before its handshake is done: reads and writes whole things, within a deadline.
pub struct Greeter<'a> {
    stream: &'a TcpStream,
    lease: &'a Lease,
    deadline: Instant,
}

/// The part of a handshake that names the torrent.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    reserved: [u8; 8],
    /// Which torrent.
    pub info_hash: InfoHash,
}

impl<'a> Greeter<'a> {
    /// `stream` does not block. Everything must be over by `deadline`: a peer that drips gains nothing.
    pub const fn new(stream: &'a TcpStream, lease: &'a Lease, deadline: Instant) -> Self {
        Self { stream, lease, deadline }
    }

    /// Sends our handshake.
    ///
    /// # Errors
    /// [`End`].
    pub fn say(&self, info_hash: InfoHash, own: PeerId) -> Result<(), End> {
        let bytes = Handshake::new(info_hash, own).encode();
        let mut rest: &[u8] = &bytes;
        while !rest.is_empty() {
            let mut stream = self.stream;
            match stream.write(rest) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) => self.sleep(error, PollFlags::OUT)?,
            }
        }
        Ok(())
    }

    /// Receives theirs up to the info-hash, which decides whether there is anything to answer.
    ///
    /// # Errors
    /// [`End`]: another protocol, or the network's.
    pub fn hear_head(&self) -> Result<Head, End> {
        let mut bytes = [0; HANDSHAKE_HEAD_LEN];
        self.hear(&mut bytes)?;
        let (reserved, info_hash) = Handshake::decode_head(&bytes).map_err(Violation::from)?;
        Ok(Head { reserved, info_hash })
    }

    /// Receives the rest of theirs.
    ///
    /// # Errors
    /// [`End`].
    pub fn hear_rest(&self, head: &Head) -> Result<Handshake, End> {
        let mut peer_id = [0; HANDSHAKE_LEN - HANDSHAKE_HEAD_LEN];
        self.hear(&mut peer_id)?;
        Ok(Handshake { reserved: head.reserved, info_hash: head.info_hash, peer_id: PeerId::new(peer_id) })
    }

    fn hear(&self, buffer: &mut [u8]) -> Result<(), End> {
        let mut rest = buffer;
        while !rest.is_empty() {
            let mut stream = self.stream;
            match stream.read(rest) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(read) => rest = rest.get_mut(read..).unwrap_or_default(),
                Err(error) => self.sleep(error, PollFlags::IN)?,
            }
        }
        Ok(())
    }

    /// Waits until the socket is ready again after `error`, if that only said that it is not.
    fn sleep(&self, error: io::Error, interest: PollFlags) -> Result<(), End> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock => self.wait(interest),
            _ => Err(error.into()),
        }
    }

    /// Waits for the socket.
    ///
    /// # Errors
    /// [`End`]: the deadline, or the daemon stops.
    pub fn wait(&self, interest: PollFlags) -> Result<(), End> {
        loop {
            let ready = self.lease.waker.wait(self.stream.as_fd(), interest, Some(self.deadline))?;
            if self.lease.shutdown.is_set() {
                return Err(End::Closed(CloseReason::Stopped));
            }
            if self.lease.is_evicted() {
                return Err(End::TimedOut);
            }
            if ready.readable || ready.writable {
                return Ok(());
            }
            if !ready.rung && Instant::now() >= self.deadline {
                return Err(End::TimedOut);
            }
        }
    }
}
