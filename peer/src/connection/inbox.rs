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
}

/// What one turn of receiving did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes of any kind.
    pub bytes: usize,
    /// The socket had no more: wait until it has.
    pub drained: bool,
}

impl Inbox {
    /// For messages within the decoder's limits.
    pub fn new(decoder: Decoder) -> Self {
        Self { decoder, staging: vec![0; STAGING_LEN], start: 0, end: 0, body: None }
    }

    /// Receives until the socket has no more or a turn's worth has come.
    ///
    /// # Errors
    /// [`End`]: the network's (an orderly close is `UnexpectedEof`), or a violation.
    pub fn receive(&mut self, stream: &TcpStream, receiver: &mut impl Receiver) -> Result<Received, End> {
        let mut received = Received::default();
        while received.bytes < TURN_LEN && !received.drained {
            match self.read(stream) {
                Ok((0, _)) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok((got, room)) => {
                    received.bytes += got;
                    // A short read: asking again would only be told so.
                    received.drained = got < room;
                    self.digest(receiver)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => received.drained = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(received)
    }

    /// One system call: bytes read, and bytes there was room for.
    fn read(&mut self, mut stream: &TcpStream) -> io::Result<(usize, usize)> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let staging = self.staging.get_mut(self.end..).unwrap_or_default();
        let Some((Body::Block(_, block), filled)) = &mut self.body else {
            let room = staging.len();
            let got = stream.read(staging)?;
            self.end += got;
            return Ok((got, room));
        };
        let payload = block.get_mut(*filled..).unwrap_or_default();
        let (want, room) = (payload.len(), payload.len() + staging.len());
        let got = stream.read_vectored(&mut [IoSliceMut::new(payload), IoSliceMut::new(staging)])?;
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
            if staged.is_empty() {
                return Ok(());
            }
            match self.decoder.decode(staged)? {
                Decoded::Need(total) => {
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

/// Copies as much of `from` as fits, and says how much that is.
fn copy_prefix(to: &mut [u8], from: &[u8]) -> usize {
    let len = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..len), from.get(..len)) {
        to.copy_from_slice(from);
    }
    len
}
