//! What arrives: a small staging buffer for messages; payload goes straight to the buffers of its blocks.

use std::io::{self, IoSliceMut, Read};
use std::net::TcpStream;

use torrent_common::geometry::BlockRef;
use torrent_common::wire::decoder::PIECE_HEADER_LEN;
use torrent_common::wire::message::RawBlock;
use torrent_common::wire::{Decoded, Decoder, Message};

use super::ahead::Ahead;
use super::asked::Run;
use super::due::Due;
use super::{End, Violation};
use crate::storage::blocks::BlockBuf;

/// Bytes staged: a few hundred small messages, or the beginning of the next block.
const STAGING_LEN: usize = 4096;
/// Bytes received before anything else is looked at.
const TURN_LEN: usize = 1 << 20;
/// Bytes received at once between blocks when no payload is allowed: a few messages. What is payload of them is little.
const GLANCE_LEN: usize = 64;

/// Makes sense of what arrives.
pub trait Receiver {
    /// A message, of `len` bytes on the wire.
    ///
    /// # Errors
    /// [`Violation`]: hang up.
    fn message(&mut self, message: Message, len: usize) -> Result<(), Violation>;
    /// Nothing more is to be read now.
    fn has_enough(&self) -> bool;
    /// The `nth` run, from 0, of those that are due if the peer answers in the order it was asked.
    fn expected(&self, nth: usize) -> Option<Run>;
    /// Payload begins, of a run that was asked for: what it is, or None if it is not wanted any more.
    ///
    /// # Errors
    /// [`Violation`]: hang up.
    fn begin(&mut self, header: RawBlock) -> Result<Option<Run>, Violation>;
    /// Memory for the blocks of a run.
    fn buffers(&self, run: Run) -> impl Iterator<Item = (BlockRef, BlockBuf)>;
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
    due: Due,
    /// Bytes under way that nobody wants any more.
    skip: usize,
    ahead: Ahead,
    /// Bytes of payload that went nowhere, in all, and of messages that may be as long as payload.
    skipped: u64,
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
        Self {
            decoder,
            staging: vec![0; STAGING_LEN],
            start: 0,
            end: 0,
            due: Due::default(),
            skip: 0,
            ahead: Ahead::default(),
            skipped: 0,
            need: 0,
        }
    }

    /// A block has begun and is not whole.
    pub fn is_in_block(&self) -> bool {
        !self.due.is_empty() || self.skip > 0
    }

    /// Receives until the socket has no more, the receiver has enough, or a turn's worth has come; payload up to about `allowance` bytes. Messages
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
        let before = self.payload();
        while received.bytes < TURN_LEN && !received.drained && !receiver.has_enough() {
            let left = allowance.saturating_sub(received.payload);
            if left == 0 && self.is_in_block() {
                received.held = true;
                break;
            }
            let most = if self.is_in_block() { left } else { left.max(self.glance()) };
            match self.read(stream, usize::try_from(most).unwrap_or(usize::MAX), receiver) {
                Ok((got, room)) => {
                    received.bytes += got;
                    // A short read: asking again would only be told so.
                    received.drained = got < room;
                    self.digest(receiver)?;
                    received.payload = self.payload() - before;
                }
                Err(End::Network(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    received.drained = true;
                }
                Err(End::Network(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(end) => return Err(end),
            }
        }
        Ok(received)
    }

    /// What may be received between blocks when no payload is allowed: a long message that has begun, to its end.
    fn glance(&self) -> u64 {
        self.need.saturating_sub(self.end - self.start).max(GLANCE_LEN) as u64
    }

    /// One system call for `most` bytes at the most: bytes read, and bytes there was room for.
    fn read(
        &mut self,
        mut stream: &TcpStream,
        most: usize,
        receiver: &mut impl Receiver,
    ) -> Result<(usize, usize), End> {
        let mixed = self.end > 0 || self.skip > 0;
        if !mixed {
            self.ahead.prepare(receiver, most.saturating_sub(self.due.missing()));
        }
        let staging = self.staging.get_mut(self.end..).unwrap_or_default();
        let slices = self.due.slices().chain(self.ahead.slices()).chain(std::iter::once(staging));
        let mut slices = limited(slices, most);
        let room = slices.iter().map(|slice| slice.len()).sum();
        let got = match stream.read_vectored(&mut slices) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            got => got,
        };
        let got = got.inspect_err(|_| self.ahead.clear())?;
        if mixed {
            self.end += got;
        } else {
            self.scattered(got, receiver)?;
        }
        Ok((got, room))
    }

    /// `got` bytes were read into what is due, the room ahead, and the staging buffer.
    fn scattered(&mut self, got: usize, receiver: &mut impl Receiver) -> Result<(), Violation> {
        let got = self.due.advance(got, receiver);
        let (astray, beyond) = self.ahead.filled(got, &mut self.due, receiver)?;
        self.end = beyond;
        if astray > 0 {
            let mut spilt = Vec::with_capacity((astray + beyond).max(STAGING_LEN));
            self.ahead.spill(astray, &mut spilt);
            spilt.extend_from_slice(self.staging.get(..beyond).unwrap_or_default());
            self.end = spilt.len();
            spilt.resize(self.end.max(STAGING_LEN), 0);
            self.staging = spilt;
        }
        Ok(())
    }

    /// Hands on everything that is complete.
    fn digest(&mut self, receiver: &mut impl Receiver) -> Result<(), Violation> {
        loop {
            self.fill(receiver);
            let staged = self.staging.get(self.start..self.end).unwrap_or_default();
            self.need = 0;
            if staged.is_empty() {
                self.clear_staging();
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
                    if matches!(message, Message::Extended { .. } | Message::Unknown(_)) {
                        // A way around the limit, if they were for nothing.
                        self.skipped += consumed as u64;
                    }
                    receiver.message(message, consumed)?;
                }
                Decoded::Piece { index, begin, len } => {
                    self.start += PIECE_HEADER_LEN;
                    let header = RawBlock { index, begin, len };
                    self.ahead.hint(receiver, header);
                    match receiver.begin(header)? {
                        Some(run) => self.due.begin(receiver.buffers(run)),
                        None => self.skip = len as usize,
                    }
                }
            }
        }
    }

    /// Moves staged bytes to where they belong.
    fn fill(&mut self, receiver: &mut impl Receiver) {
        let staged = self.staging.get(self.start..self.end).unwrap_or_default();
        let skipped = self.skip.min(staged.len());
        self.skip -= skipped;
        let rest = staged.get(skipped..).unwrap_or_default();
        let took = skipped + self.due.copy_from(rest, receiver);
        self.start += took;
        self.skipped += skipped as u64;
    }

    /// Bytes of payload received, in all.
    const fn payload(&self) -> u64 {
        self.skipped + self.due.received()
    }

    /// A long message, or a wrong guess, comes seldom: its room is not kept.
    fn clear_staging(&mut self) {
        (self.start, self.end) = (0, 0);
        if self.staging.len() > STAGING_LEN {
            self.staging.truncate(STAGING_LEN);
            self.staging.shrink_to_fit();
        }
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

/// The first `most` bytes of `slices`, for one system call.
fn limited<'a>(slices: impl Iterator<Item = &'a mut [u8]>, mut most: usize) -> Vec<IoSliceMut<'a>> {
    let mut within = Vec::new();
    for slice in slices {
        let len = slice.len().min(most);
        most -= len;
        within.push(IoSliceMut::new(slice.get_mut(..len).unwrap_or_default()));
        if most == 0 {
            break;
        }
    }
    within
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use torrent_common::geometry::Geometry;
    use torrent_common::wire::message::piece_header;

    use super::super::asked::Asked;
    use super::*;
    use crate::storage::blocks::BlockPool;

    const BLOCK_LEN: u32 = 4096;

    /// Writes down what it is told.
    struct Notes {
        geometry: Geometry,
        pool: Arc<BlockPool>,
        asked: Asked,
        heard: Vec<Heard>,
    }

    #[derive(Debug, PartialEq)]
    enum Heard {
        Message(Message),
        Block(BlockRef, Vec<u8>),
    }

    impl Receiver for Notes {
        fn message(&mut self, message: Message, _: usize) -> Result<(), Violation> {
            self.heard.push(Heard::Message(message));
            Ok(())
        }

        fn has_enough(&self) -> bool {
            false
        }

        fn expected(&self, nth: usize) -> Option<Run> {
            self.asked.nth(nth)
        }

        fn begin(&mut self, header: RawBlock) -> Result<Option<Run>, Violation> {
            Ok(self.asked.strike(header))
        }

        fn buffers(&self, run: Run) -> impl Iterator<Item = (BlockRef, BlockBuf)> {
            self.asked.blocks(run).map(|block| (block, self.pool.take(block.len())))
        }

        fn block(&mut self, block: BlockRef, bytes: BlockBuf) {
            self.heard.push(Heard::Block(block, bytes.to_vec()));
        }
    }

    /// What a peer may answer: mostly what is due, now and then a message between, blocks out of turn, blocks that
    /// nobody waits for any more. The bytes, and what is to be heard of them.
    fn conversation(notes: &mut Notes, random: &mut fastrand::Rng) -> (Vec<u8>, Vec<Heard>) {
        let blocks: Vec<_> = notes.geometry.pieces().flat_map(|piece| notes.geometry.blocks(piece)).collect();
        let mut runs: Vec<_> = notes.asked.ask(&blocks, random.usize(1..7)).collect();
        for _ in 0..random.usize(..4) {
            let (a, b) = (random.usize(..runs.len()), random.usize(..runs.len()));
            runs.swap(a, b);
        }
        let chatty = random.u32(1..60);
        let (mut bytes, mut due) = (Vec::new(), Vec::new());
        for raw in runs {
            if random.u32(..chatty) == 0 {
                let message = Message::Have(raw.index);
                message.encode(&mut bytes);
                due.push(Heard::Message(message));
            }
            let payload: Vec<u8> = (0..raw.len).map(|_| random.u8(..)).collect();
            bytes.extend(piece_header(raw.index, raw.begin, raw.len));
            bytes.extend(&payload);
            if random.u32(..40) == 0 {
                notes.asked.strike(raw);
                continue;
            }
            let here = blocks.iter().filter(|block| {
                let (begin, end) = (raw.begin, raw.begin + raw.len);
                block.piece().get() == raw.index && (begin..end).contains(&block.begin())
            });
            let at = |block: &BlockRef| (block.begin() - raw.begin) as usize;
            due.extend(here.map(|block| {
                Heard::Block(*block, payload[at(block)..at(block) + block.len() as usize].to_vec())
            }));
        }
        (bytes, due)
    }

    #[test]
    fn what_was_sent_is_heard_however_it_is_cut() {
        for seed in 0..40 {
            let random = &mut fastrand::Rng::with_seed(seed);
            let geometry = Geometry::new(600_000 - random.u64(..9_000), 40_000, BLOCK_LEN).unwrap();
            let pool = BlockPool::new(BLOCK_LEN, 1 << 20);
            let asked = Asked::new(geometry);
            let mut notes = Notes { geometry, pool, asked, heard: Vec::new() };
            let (bytes, due) = conversation(&mut notes, random);
            // No port that somebody else's daemon might connect to.
            let (mut peer, stream) = UnixStream::pair().unwrap();
            let stream = TcpStream::from(OwnedFd::from(stream));
            let limits = Decoder { max_message_len: 1000, max_block_len: 8 * BLOCK_LEN };
            let mut inbox = Inbox::new(limits);
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let len = if random.bool() { random.usize(1..30) } else { random.usize(1..60_000) };
                let (now, later) = rest.split_at(len.min(rest.len()));
                peer.write_all(now).unwrap();
                rest = later;
                // What was written is there to be read, if perhaps not all at once.
                let mut got = 0;
                while got < now.len() {
                    got += inbox.receive(&stream, &mut notes, u64::MAX).unwrap().bytes;
                }
            }
            assert_eq!(notes.heard.len(), due.len(), "seed {seed}");
            assert!(notes.heard == due, "seed {seed}");
            assert_eq!(inbox.staging.len(), STAGING_LEN, "seed {seed}");
        }
    }
}
