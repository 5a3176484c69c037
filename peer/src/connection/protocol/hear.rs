//! What messages mean: checks everything a peer names, answers its requests, tells the torrent what changes something.

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{BlockRef, PieceIndex, Span};
use torrent_common::wire::Message;
use torrent_common::wire::message::RawBlock;

use super::Protocol;
use crate::connection::Violation;
use crate::connection::asked::Run;
use crate::connection::extended::Told;
use crate::connection::inbox::Receiver;
use crate::storage::blocks::BlockBuf;
use crate::torrent::event::PeerEvent;

/// Blocks handed to the torrent at once at the most: bounds what waits here while it is busy.
const MAX_BATCH: usize = 64;
/// Pieces that a peer has now, handed to the torrent at once at the most.
const MAX_HAVES: usize = 256;
/// Bitfields a peer may send. One is due; aria2 sends more, each in place of `have` messages that would be longer together:
/// since a `have` takes 9 bytes and a bitfield an eighth of a byte per piece, these are at most 72.
const MAX_BITFIELDS: u32 = 80;
/// A block that is asked for has at least so many bytes, or the request is counted as a message.
const LEAST_BLOCK_LEN: u32 = 1024;

/// What the torrent knows of the peer's state.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    choking: bool,
    interested: bool,
}

impl Default for State {
    fn default() -> Self {
        Self { choking: true, interested: false }
    }
}

impl Protocol {
    /// A choke, an unchoke: of no use unless it is news.
    fn chokes(&mut self, choking: bool, len: usize) {
        if std::mem::replace(&mut self.state.choking, choking) == choking {
            return self.brake.useless(len);
        }
        self.brake.changed();
        if choking && !self.fast {
            self.asked.forget_all();
        }
        self.report(if choking { PeerEvent::Choked } else { PeerEvent::Unchoked });
    }

    /// Interested, or not: of no use unless it is news.
    fn wants(&mut self, interested: bool, len: usize) {
        if std::mem::replace(&mut self.state.interested, interested) == interested {
            return self.brake.useless(len);
        }
        self.brake.changed();
        self.report(if interested { PeerEvent::Interested } else { PeerEvent::NotInterested });
    }

    fn has(&mut self, index: u32, len: usize) -> Result<(), Violation> {
        let piece = self.piece(index)?;
        match self.free_haves.checked_sub(1) {
            Some(left) => self.free_haves = left,
            None => self.brake.useless(len),
        }
        self.haves.push(piece);
        if self.haves.len() >= MAX_HAVES {
            self.flush();
        }
        Ok(())
    }

    fn bitfield(&mut self, bits: Bitfield) -> Result<(), Violation> {
        self.bitfields += 1;
        if self.bitfields > MAX_BITFIELDS {
            return Err(Violation::TooManyBitfields);
        }
        if self.bitfields > 1 {
            // Even in the shortest form it is looked through piece by piece.
            self.brake.useless(bits.as_bytes().len());
        }
        self.report(PeerEvent::Bitfield(bits));
        Ok(())
    }

    fn piece(&self, index: u32) -> Result<PieceIndex, Violation> {
        self.link.geometry.piece(index).ok_or(Violation::NoSuchPiece(index))
    }

    fn span(&self, request: RawBlock) -> Result<Span, Violation> {
        let span = self.link.geometry.span(request.index, request.begin, request.len);
        span.ok_or(Violation::NoSuchBytes)
    }

    fn requested(&mut self, request: RawBlock, len: usize) -> Result<(), Violation> {
        let span = self.span(request)?;
        if self.choking || request.len < LEAST_BLOCK_LEN {
            self.brake.useless(len);
        }
        if self.choking {
            // Sent before our choke arrived there, usually: not worth a closed connection.
            if self.fast {
                self.outbox.push(&Message::Reject(request));
            }
            return Ok(());
        }
        if !self.link.have.contains(span.piece()) {
            return Err(Violation::NotHad);
        }
        self.outbox.upload(span)
    }

    fn cancelled(&mut self, request: RawBlock, len: usize) -> Result<(), Violation> {
        let span = self.span(request)?;
        self.brake.useless(len);
        if self.outbox.cancel(span) && self.fast {
            self.outbox.push(&Message::Reject(request));
        }
        Ok(())
    }

    fn rejected(&mut self, request: RawBlock, len: usize) {
        let Some(run) = self.asked.strike(request) else { return self.brake.useless(len) };
        for block in self.asked.blocks(run) {
            self.report(PeerEvent::Rejected(block));
        }
    }

    fn allows_fast(&mut self, index: u32) {
        self.brake.changed();
        // BEP 6 lets a peer name pieces without regard to the torrent's size.
        if let Some(piece) = self.link.geometry.piece(index) {
            self.report(PeerEvent::AllowedFast(piece));
        }
    }

    fn extended(&mut self, id: u8, payload: &[u8], len: usize) -> Result<(), Violation> {
        if !self.extended {
            return Err(Violation::NotNegotiated(20));
        }
        self.brake.useless(len);
        if id == 0 {
            self.told = Told::read(payload);
        }
        Ok(())
    }

    fn fast_only(&self, id: u8) -> Result<(), Violation> {
        if self.fast { Ok(()) } else { Err(Violation::NotNegotiated(id)) }
    }
}

impl Receiver for Protocol {
    fn message(&mut self, message: Message, len: usize) -> Result<(), Violation> {
        match message {
            Message::KeepAlive | Message::Unknown(_) | Message::Port(_) => self.brake.useless(len),
            Message::Extended { id, payload } => self.extended(id, &payload, len)?,
            Message::Choke => self.chokes(true, len),
            Message::Unchoke => self.chokes(false, len),
            Message::Interested => self.wants(true, len),
            Message::NotInterested => self.wants(false, len),
            Message::Have(index) => self.has(index, len)?,
            Message::Bitfield(bytes) => self.bitfield(Bitfield::from_bytes(&bytes, &self.link.geometry)?)?,
            Message::HaveAll => {
                self.fast_only(14)?;
                self.bitfield(Bitfield::full(&self.link.geometry))?;
            }
            Message::HaveNone => {
                self.fast_only(15)?;
                self.bitfield(Bitfield::empty(&self.link.geometry))?;
            }
            Message::Request(request) => self.requested(request, len)?,
            Message::Cancel(request) => self.cancelled(request, len)?,
            Message::Reject(request) => {
                self.fast_only(16)?;
                self.rejected(request, len);
            }
            Message::AllowedFast(index) => {
                self.fast_only(17)?;
                self.allows_fast(index);
            }
            Message::SuggestPiece(index) => {
                self.fast_only(13)?;
                self.piece(index)?;
                // Only a hint, and rarest first knows better for the swarm.
                self.brake.useless(len);
            }
        }
        Ok(())
    }

    fn has_enough(&self) -> bool {
        self.brake.is_pulled()
    }

    fn expected(&self, nth: usize) -> Option<Run> {
        self.asked.nth(nth)
    }

    fn begin(&mut self, header: RawBlock) -> Result<Option<Run>, Violation> {
        match self.asked.strike(header) {
            // One that we took back, or lost to a choke, may have been under way.
            None if !self.asked.excuse() => Err(Violation::Unasked),
            run => Ok(run),
        }
    }

    fn buffers(&self, run: Run) -> impl Iterator<Item = (BlockRef, BlockBuf)> {
        self.asked.blocks(run).map(|block| (block, self.link.pool.take(block.len())))
    }

    fn block(&mut self, block: BlockRef, bytes: BlockBuf) {
        self.ready.push((block, bytes));
        if self.ready.len() >= MAX_BATCH {
            self.flush();
        }
    }
}
