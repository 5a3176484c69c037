//! What messages mean: checks everything a peer names, answers its requests, keeps the books of ours.

use std::collections::VecDeque;
use std::sync::Arc;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{BlockRef, PieceIndex};
use torrent_common::wire::Message;
use torrent_common::wire::message::RawBlock;

use super::inbox::{Body, Receiver};
use super::link::TorrentLink;
use super::outbox::{MAX_QUEUED_REQUESTS, Outbox, raw};
use super::{End, Violation};
use crate::storage::blocks::BlockBuf;
use crate::torrent::event::{Command, PeerEvent, PeerKey};
use crate::torrent::input::Input;

/// Blocks handed to the torrent at once at the most: bounds what waits here while it is busy.
const MAX_BATCH: usize = 64;
/// Bitfields a peer may send. One is due; aria2 sends more, each in place of `have` messages that would be longer together:
/// since a `have` takes 9 bytes and a bitfield an eighth of a byte per piece, these are at most 72.
const MAX_BITFIELDS: u32 = 80;

/// The state of the conversation with one peer.
pub struct Protocol {
    link: Arc<TorrentLink>,
    key: PeerKey,
    /// Both sides speak BEP 6.
    fast: bool,
    /// Both sides speak BEP 10.
    extended: bool,
    /// What waits to be sent.
    pub outbox: Outbox,
    choking: bool,
    /// How often it has told what it has as a whole.
    bitfields: u32,
    /// What we asked for and still expect, in the order asked.
    asked: VecDeque<BlockRef>,
    /// Blocks that may still arrive although we do not expect them any more.
    excused: u32,
    /// Whole blocks, for the next batch.
    ready: Vec<(BlockRef, BlockBuf)>,
    /// How much of [`Have`](crate::torrent::have::Have)'s log the peer was told.
    have_cursor: u32,
    torrent_gone: bool,
}

impl Protocol {
    /// A conversation that begins, with what each side supports. Queues our first messages.
    pub fn new(link: Arc<TorrentLink>, key: PeerKey, fast: bool, extended: bool) -> Self {
        let have_cursor = link.have.logged();
        let mut this = Self {
            key,
            fast,
            extended,
            outbox: Outbox::default(),
            choking: true,
            bitfields: 0,
            asked: VecDeque::new(),
            excused: 0,
            ready: Vec::new(),
            have_cursor,
            torrent_gone: false,
            link,
        };
        this.introduce();
        this
    }

    fn introduce(&mut self) {
        let bits = self.link.have.snapshot();
        if self.fast && bits.is_full() {
            self.outbox.push(&Message::HaveAll);
        } else if self.fast && bits.is_empty() {
            self.outbox.push(&Message::HaveNone);
        } else if !bits.is_empty() {
            self.outbox.push(&Message::Bitfield(bits.as_bytes().into()));
        }
        if self.extended {
            self.outbox.push(&Message::Extended { id: 0, payload: extended_handshake().into() });
        }
    }

    /// Tells the peer of pieces that came since it was last told.
    pub fn announce_haves(&mut self) {
        let until = self.link.have.logged();
        if until == self.have_cursor {
            return;
        }
        for piece in self.link.have.since(self.have_cursor) {
            self.outbox.push(&Message::Have(piece.get()));
        }
        self.have_cursor = until;
    }

    /// Carries out a command of the torrent.
    ///
    /// # Errors
    /// [`End::Closed`] when it says so.
    pub fn obey(&mut self, command: Command) -> Result<(), End> {
        match command {
            Command::Choke => self.choke(),
            Command::Unchoke => {
                self.choking = false;
                self.outbox.push(&Message::Unchoke);
            }
            Command::Interested => self.outbox.push(&Message::Interested),
            Command::NotInterested => self.outbox.push(&Message::NotInterested),
            Command::Request(blocks) => {
                for block in blocks {
                    self.outbox.push(&Message::Request(raw(block.span())));
                    self.asked.push_back(block);
                }
            }
            Command::Cancel(blocks) => blocks.into_iter().for_each(|block| self.cancel(block)),
            Command::Close(reason) => return Err(End::Closed(reason)),
        }
        Ok(())
    }

    fn choke(&mut self) {
        self.choking = true;
        self.outbox.push(&Message::Choke);
        for span in self.outbox.cancel_all() {
            if self.fast {
                self.outbox.push(&Message::Reject(raw(span)));
            }
        }
    }

    fn cancel(&mut self, block: BlockRef) {
        if self.forget(block) {
            self.outbox.push(&Message::Cancel(raw(block.span())));
            self.excused = self.excused.saturating_add(1);
        }
    }

    /// Strikes a block from what is expected; true if it was.
    fn forget(&mut self, block: BlockRef) -> bool {
        let found = self.asked.iter().position(|&asked| asked == block);
        found.and_then(|at| self.asked.remove(at)).is_some()
    }

    /// Gives the torrent the whole blocks that wait here.
    pub fn flush_blocks(&mut self) {
        if !self.ready.is_empty() {
            let blocks = std::mem::take(&mut self.ready);
            self.tell(Input::Blocks(self.key, blocks));
        }
    }

    /// Tells the torrent, in order with the blocks that came before.
    pub fn report(&mut self, event: PeerEvent) {
        self.flush_blocks();
        self.tell(Input::Peer(self.key, event));
    }

    fn tell(&mut self, input: Input) {
        self.torrent_gone |= self.link.inputs.send(input).is_err();
    }

    /// Blocks may arrive: others end the connection.
    pub fn expects_blocks(&self) -> bool {
        !self.asked.is_empty() || self.excused > 0
    }

    /// The torrent's thread has ended: so must we.
    pub const fn torrent_gone(&self) -> bool {
        self.torrent_gone
    }

    fn bitfield(&mut self, bits: Bitfield) -> Result<(), Violation> {
        self.bitfields += 1;
        if self.bitfields > MAX_BITFIELDS {
            return Err(Violation::TooManyBitfields);
        }
        self.report(PeerEvent::Bitfield(bits));
        Ok(())
    }

    fn piece(&self, index: u32) -> Result<PieceIndex, Violation> {
        self.link.geometry.piece(index).ok_or(Violation::NoSuchPiece(index))
    }

    fn requested(&mut self, request: RawBlock) -> Result<(), Violation> {
        let span = self
            .link
            .geometry
            .span(request.index, request.begin, request.len)
            .ok_or(Violation::NoSuchBytes)?;
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

    fn cancelled(&mut self, request: RawBlock) -> Result<(), Violation> {
        let span = self
            .link
            .geometry
            .span(request.index, request.begin, request.len)
            .ok_or(Violation::NoSuchBytes)?;
        if self.outbox.cancel(span) && self.fast {
            self.outbox.push(&Message::Reject(request));
        }
        Ok(())
    }

    fn rejected(&mut self, request: RawBlock) {
        let block = self.link.geometry.block_at(request.index, request.begin, request.len);
        if let Some(block) = block.filter(|&block| self.forget(block)) {
            self.report(PeerEvent::Rejected(block));
        }
    }

    fn choked(&mut self) {
        if !self.fast {
            // By BEP 3 these will not be answered; some may be under way all the same.
            self.excused = self.excused.saturating_add(u32::try_from(self.asked.len()).unwrap_or(u32::MAX));
            self.asked.clear();
        }
        self.report(PeerEvent::Choked);
    }

    fn fast_only(&self, id: u8) -> Result<(), Violation> {
        if self.fast { Ok(()) } else { Err(Violation::NotNegotiated(id)) }
    }
}

impl Receiver for Protocol {
    fn message(&mut self, message: Message) -> Result<(), Violation> {
        match message {
            Message::KeepAlive | Message::Unknown(_) | Message::Port(_) => {}
            Message::Extended { .. } if self.extended => {}
            Message::Extended { .. } => return Err(Violation::NotNegotiated(20)),
            Message::Choke => self.choked(),
            Message::Unchoke => self.report(PeerEvent::Unchoked),
            Message::Interested => self.report(PeerEvent::Interested),
            Message::NotInterested => self.report(PeerEvent::NotInterested),
            Message::Have(index) => {
                let piece = self.piece(index)?;
                self.report(PeerEvent::Have(piece));
            }
            Message::Bitfield(bytes) => self.bitfield(Bitfield::from_bytes(&bytes, &self.link.geometry)?)?,
            Message::HaveAll => {
                self.fast_only(14)?;
                self.bitfield(Bitfield::full(&self.link.geometry))?;
            }
            Message::HaveNone => {
                self.fast_only(15)?;
                self.bitfield(Bitfield::empty(&self.link.geometry))?;
            }
            Message::Request(request) => self.requested(request)?,
            Message::Cancel(request) => self.cancelled(request)?,
            Message::Reject(request) => {
                self.fast_only(16)?;
                self.rejected(request);
            }
            Message::AllowedFast(index) => {
                self.fast_only(17)?;
                // BEP 6 lets a peer name pieces without regard to the torrent's size.
                if let Some(piece) = self.link.geometry.piece(index) {
                    self.report(PeerEvent::AllowedFast(piece));
                }
            }
            Message::SuggestPiece(index) => {
                self.fast_only(13)?;
                let piece = self.piece(index)?;
                self.report(PeerEvent::Suggested(piece));
            }
        }
        Ok(())
    }

    fn begin_block(&mut self, index: u32, begin: u32, len: u32) -> Result<Body, Violation> {
        let block = self.link.geometry.block_at(index, begin, len);
        if let Some(block) = block.filter(|&block| self.forget(block)) {
            return Ok(Body::Block(block, self.link.pool.take(len)));
        }
        // One that we took back, or lost to a choke, may have been under way.
        self.excused = self.excused.checked_sub(1).ok_or(Violation::Unasked)?;
        Ok(Body::Skip(len))
    }

    fn block(&mut self, block: BlockRef, bytes: BlockBuf) {
        self.ready.push((block, bytes));
        if self.ready.len() >= MAX_BATCH {
            self.flush_blocks();
        }
    }
}

/// BEP 10: no extensions of ours yet, but how many requests we queue, and who we are.
fn extended_handshake() -> Vec<u8> {
    let client = concat!("torrent-daemon ", env!("CARGO_PKG_VERSION"));
    format!("d1:mde4:reqqi{MAX_QUEUED_REQUESTS}e1:v{}:{client}e", client.len()).into_bytes()
}
