//! What arrives: a small staging buffer for messages; payload goes straight to the buffer of its block.

use std::io::{self, IoSliceMut, Read};
use std::net::TcpStream;

use torrent_common::geometry::BlockRef;
use torrent_common::wire::decoder::PIECE_HEADER_LEN;
use torrent_common::wire::{Decoded, Decoder, Message};

use super::{End, Violation};
use crate::storage::blocks::BlockBuf;

/// Bytes staged: a few hundred small messages, or the beginning of the next block.
const STAGING_LEN: usize = 4096;
/// Bytes received before anything else is looked at.
const TURN_LEN: usize = 1 << 20;
/// Bytes received at once between blocks when no payload is allowed: a few messages. What is payload of them is little.
const GLANCE_LEN: usize = 64;

/// Where the payload of a `piece` message goes.
#[derive(Debug)]
pub enum Body {
    /// Into the buffer of a block that was asked for.
    Block(BlockRef, BlockBuf),
    /// Nowhere: so many bytes of a block that was taken back meanwhile.
    Skip(u32),
}

/// Makes sense of what arrives.
pub trait Receiver {
    /// A message.
    ///
    /// # Errors
    /// [`Violation`]: hang up.
    fn message(&mut self, message: Message) -> Result<(), Violation>;
    /// A block begins.
    ///
    /// # Errors
    /// [`Violation`]: hang up.
    fn begin_block(&mut self, index: u32, begin: u32, len: u32) -> Result<Body, Violation>;
    /// A block is whole.
    fn block(&mut self, block: BlockRef, bytes: BlockBuf);
}

/// The receiving side of one connection.
#[derive(Debug)]
pub struct Inbox {
    decoder: Decoder,
    staging: Vec<u8>,
    start: usize,
    end: usize,
    body: Option<(Body, usize)>,
    /// Bytes of payload received, in all.
    payload: u64,
    /// Bytes that the message which is staged in part takes, as far as is known.
    need: usize,
}

/// What one turn of receiving did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes of any kind.
    pub bytes: usize,
    /// Bytes of payload.
    pub payload: u64,
    /// The socket had no more: wait until it has.
    pub drained: bool,
    /// Payload waits for an allowance, and whatever is behind it.
    pub held: bool,
}

impl Inbox {
    /// For messages within the decoder's limits.
    pub fn new(decoder: Decoder) -> Self {
        Self { decoder, staging: vec![0; STAGING_LEN], start: 0, end: 0, body: None, payload: 0, need: 0 }
    }

    /// A block has begun and is not whole.
    pub const fn is_in_block(&self) -> bool {
        self.body.is_some()
    }

    /// Receives until the socket has no more or a turn's worth has come; payload up to about `allowance` bytes. Messages
    /// between blocks need no allowance.
    ///
    /// # Errors
    /// [`End`]: the network's (an orderly close is `UnexpectedEof`), or a violation.
    pub fn receive(
        &mut self,
        stream: &TcpStream,
        receiver: &mut impl Receiver,
        allowance: u64,
    ) -> Result<Received, End> {
        let mut received = Received::default();
        let before = self.payload;
        while received.bytes < TURN_LEN && !received.drained {
            let left = allowance.saturating_sub(received.payload);
            if left == 0 && self.body.is_some() {
                received.held = true;
                break;
            }
            let most = if self.body.is_some() { left } else { left.max(self.glance()) };
            match self.read(stream, usize::try_from(most).unwrap_or(usize::MAX)) {
                Ok((0, _)) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok((got, room)) => {
                    received.bytes += got;
                    // A short read: asking again would only be told so.
                    received.drained = got < room;
                    self.digest(receiver)?;
                    received.payload = self.payload - before;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => received.drained = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(received)
    }

    /// What may be received between blocks when no payload is allowed: a long message that has begun, to its end.
    fn glance(&self) -> u64 {
        self.need.saturating_sub(self.end - self.start).max(GLANCE_LEN) as u64
    }

    /// One system call for `most` bytes at the most: bytes read, and bytes there was room for.
    fn read(&mut self, mut stream: &TcpStream, most: usize) -> io::Result<(usize, usize)> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            // A bitfield is long and comes once: its room is not kept.
            if self.staging.len() > STAGING_LEN {
                self.staging.truncate(STAGING_LEN);
                self.staging.shrink_to_fit();
            }
        }
        let Some((Body::Block(_, block), filled)) = &mut self.body else {
            let staging = prefix(self.staging.get_mut(self.end..), most);
            let room = staging.len();
            let got = stream.read(staging)?;
            self.end += got;
            return Ok((got, room));
        };
        let payload = prefix(block.get_mut(*filled..), most);
        let staging = prefix(self.staging.get_mut(self.end..), most - payload.len());
        let (want, room) = (payload.len(), payload.len() + staging.len());
        let got = stream.read_vectored(&mut [IoSliceMut::new(payload), IoSliceMut::new(staging)])?;
        self.payload += got.min(want) as u64;
        *filled += got.min(want);
        self.end += got.saturating_sub(want);
        Ok((got, room))
    }

    /// Hands on everything that is complete.
    fn digest(&mut self, receiver: &mut impl Receiver) -> Result<(), Violation> {
        loop {
            if let Some(body) = self.body.take() {
                self.body = self.fill(body, receiver);
                if self.body.is_some() {
                    return Ok(());
                }
            }
            let staged = self.staging.get(self.start..self.end).unwrap_or_default();
            self.need = 0;
            if staged.is_empty() {
                return Ok(());
            }
            match self.decoder.decode(staged)? {
                Decoded::Need(total) => {
                    self.need = total;
                    self.make_room(total);
                    return Ok(());
                }
                Decoded::Message { consumed, message } => {
                    self.start += consumed;
                    receiver.message(message)?;
                }
                Decoded::Piece { index, begin, len } => {
                    self.start += PIECE_HEADER_LEN;
                    self.body = Some((receiver.begin_block(index, begin, len)?, 0));
                }
            }
        }
    }

    /// Moves staged bytes into `body`; gives it back if it is not whole yet.
    fn fill(
        &mut self,
        (mut body, filled): (Body, usize),
        receiver: &mut impl Receiver,
    ) -> Option<(Body, usize)> {
        let staged = self.staging.get(self.start..self.end).unwrap_or_default();
        let (want, took) = match &mut body {
            Body::Block(_, bytes) => {
                let rest = bytes.get_mut(filled..).unwrap_or_default();
                (rest.len(), copy_prefix(rest, staged))
            }
            Body::Skip(len) => {
                let want = (*len as usize).saturating_sub(filled);
                (want, want.min(staged.len()))
            }
        };
        self.start += took;
        self.payload += took as u64;
        if took < want {
            return Some((body, filled + took));
        }
        if let Body::Block(block, bytes) = body {
            receiver.block(block, bytes);
        }
        None
    }

    /// Makes the staging buffer hold `total` bytes from `start` on: the decoder's limits bound it. Shrinks it again when
    /// a long message is over.
    fn make_room(&mut self, total: usize) {
        self.staging.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let wanted = total.max(STAGING_LEN).max(self.end);
        self.staging.resize(wanted, 0);
        self.staging.shrink_to(wanted);
    }
}

/// The first `len` bytes of `buffer`, or all of it.
fn prefix(buffer: Option<&mut [u8]>, len: usize) -> &mut [u8] {
    let buffer = buffer.unwrap_or_default();
    let len = len.min(buffer.len());
    buffer.get_mut(..len).unwrap_or_default()
}

/// Copies as much of `from` as fits, and says how much that is.
fn copy_prefix(to: &mut [u8], from: &[u8]) -> usize {
    let len = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..len), from.get(..len)) {
        to.copy_from_slice(from);
    }
    len
}
