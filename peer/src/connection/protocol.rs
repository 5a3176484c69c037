//! The conversation with a peer: what we tell it, the books of our requests; `hear` is what its messages mean.

mod hear;

use std::sync::Arc;
use std::time::Instant;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{BlockRef, PieceIndex};
use torrent_common::wire::Message;

use self::hear::State;
use super::End;
use super::asked::Asked;
use super::brake::Brake;
use super::extended::{self, Told};
use super::link::TorrentLink;
use super::outbox::{Outbox, raw};
use crate::storage::blocks::BlockBuf;
use crate::torrent::event::{Command, PeerEvent, PeerKey};
use crate::torrent::input::Input;

/// So many blocks are asked for at once of those who send fast alone: a second's worth of requests is being filled up.
const FAST_BATCH: usize = 64;
/// Bytes in a request to those who send fast: seven blocks of 16 KiB, which with their header fill two of the largest packets
/// that Linux hands to a network card. Sent at about two thirds of the cost of seven blocks asked for singly.
const RUN_LEN: u32 = 112 * 1024;
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
    /// How much the peer may say.
    pub brake: Brake,
    /// What the torrent knows of the peer's state: it hears of changes alone.
    state: State,
    /// Pieces that it may yet say it has, each once, for nothing.
    free_haves: u32,
    /// How often it has told what it has as a whole.
    bitfields: u32,
    /// What the peer told of itself.
    told: Told,
    /// What we asked for and still expect.
    asked: Asked,
    /// Whole blocks, for the next batch.
    ready: Vec<(BlockRef, BlockBuf)>,
    /// Pieces that the peer has now, for the next batch.
    haves: Vec<PieceIndex>,
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
            brake: Brake::new(Instant::now()),
            state: State::default(),
            free_haves: link.geometry.piece_count(),
            bitfields: 0,
            told: Told::default(),
            asked: Asked::new(link.geometry),
            ready: Vec::new(),
            haves: Vec::new(),
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

    /// Gives the torrent what waits here: whole blocks, and what the peer has.
    pub fn flush(&mut self) {
        if !self.ready.is_empty() {
            let blocks = std::mem::take(&mut self.ready);
            self.tell(Input::Blocks(self.key, blocks));
        }
        if !self.haves.is_empty() {
            let pieces = std::mem::take(&mut self.haves);
            self.tell(Input::Peer(self.key, PeerEvent::Haves(pieces)));
        }
    }

    /// Tells the torrent, in order with what came before.
    pub fn report(&mut self, event: PeerEvent) {
        self.flush();
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
}
