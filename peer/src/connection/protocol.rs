//! What messages mean: checks everything a peer names, answers its requests, keeps the books of ours.

use std::sync::Arc;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{BlockRef, PieceIndex};
use torrent_common::wire::Message;
use torrent_common::wire::message::RawBlock;

use super::asked::{Asked, Run};
use super::extended::{self, Told};
use super::inbox::Receiver;
use super::link::TorrentLink;
use super::outbox::{Outbox, raw};
use super::{End, Violation};
use crate::storage::blocks::BlockBuf;
use crate::torrent::event::{Command, PeerEvent, PeerKey};
use crate::torrent::input::Input;

/// Blocks handed to the torrent at once at the most: bounds what waits here while it is busy.
const MAX_BATCH: usize = 64;
/// So many blocks are asked for at once of those who send fast alone: a second's worth of requests is being filled up.
const FAST_BATCH: usize = 64;
/// Bytes in a request to those who send fast: seven blocks of 16 KiB, which with their header fill two of the largest packets
/// that Linux hands to a network card. Sent at about two thirds of the cost of seven blocks asked for singly.
const RUN_LEN: u32 = 112 * 1024;
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
    /// What the peer told of itself.
    told: Told,
    /// What we asked for and still expect.
    asked: Asked,
    /// Whole blocks, for the next batch.
    ready: Vec<(BlockRef, BlockBuf)>,
    /// How much of [`Have`](crate::torrent::have::Have)'s log the peer was told.
    have_cursor: u32,
    /// What the peer was shown, while we hide what we have (BEP 16): from those alone who understand that we have nothing
    /// (BEP 6), since others wait for a bitfield.
    shown: Option<Bitfield>,
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
            told: Told::default(),
            asked: Asked::new(link.geometry),
            ready: Vec::new(),
            have_cursor,
            shown: (fast && link.have.is_hidden()).then(|| Bitfield::empty(&link.geometry)),
            torrent_gone: false,
            link,
        };
        this.introduce();
        this
    }

    fn introduce(&mut self) {
        let bits =
            if self.is_hiding() { Bitfield::empty(&self.link.geometry) } else { self.link.have.snapshot() };
        if self.fast && bits.is_full() {
            self.outbox.push(&Message::HaveAll);
        } else if self.fast && bits.is_empty() {
            self.outbox.push(&Message::HaveNone);
        } else if !bits.is_empty() {
            self.outbox.push(&Message::Bitfield(bits.as_bytes().into()));
        }
        if self.extended {
            self.outbox.push(&Message::Extended { id: 0, payload: extended::ours().into() });
        }
    }

    /// The peer was told that we have nothing.
    pub const fn is_hiding(&self) -> bool {
        self.shown.is_some()
    }

    fn show(&mut self, piece: PieceIndex) {
        if self.shown.as_mut().is_some_and(|shown| shown.insert(piece)) {
            self.outbox.push(&Message::Have(piece.get()));
        }
    }

    fn show_all(&mut self) {
        let Some(shown) = self.shown.take() else { return };
        for piece in self.link.geometry.pieces().filter(|&piece| !shown.contains(piece)) {
            self.outbox.push(&Message::Have(piece.get()));
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
            Command::Request(blocks) => self.request(&blocks),
            Command::Show(pieces) => pieces.into_iter().for_each(|piece| self.show(piece)),
            Command::ShowAll => self.show_all(),
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

    fn request(&mut self, blocks: &[BlockRef]) {
        let len = if blocks.len() >= FAST_BATCH { self.told.max_request_len.min(RUN_LEN) } else { 0 };
        let longest = (len / self.link.geometry.nominal_block_len()).max(1) as usize;
        for request in self.asked.ask(blocks, longest) {
            self.outbox.push(&Message::Request(request));
        }
    }

    fn cancel(&mut self, block: BlockRef) {
        if let Some(request) = self.asked.cancel(block) {
            self.outbox.push(&Message::Cancel(request));
        }
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
        self.asked.expects_any()
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
        let Some(run) = self.asked.strike(request) else { return };
        for block in self.asked.blocks(run) {
            self.report(PeerEvent::Rejected(block));
        }
    }

    fn choked(&mut self) {
        if !self.fast {
            self.asked.forget_all();
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
            Message::Extended { id: 0, payload } if self.extended => self.told = Told::read(&payload),
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
            self.flush_blocks();
        }
    }
}
