//! What reaches the torrent, one input at a time: bytes and bookkeeping go where they belong, the core hears of the rest.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use torrent_common::geometry::{BlockRef, PieceIndex};

use super::{Peer, Runner, limit};
use crate::connection::link::ConnectionHandle;
use crate::control::api::TorrentState;
use crate::storage::StorageError;
use crate::storage::blocks::BlockBuf;
use crate::torrent::Notice;
use crate::torrent::event::{CloseReason, Command, Direction, Event, PeerEvent, PeerInfo, PeerKey};
use crate::torrent::hashing::Judged;
use crate::torrent::input::Input;
use crate::torrent::late::Outlet;

impl Runner {
    pub(super) fn take(&mut self, input: Input) {
        match input {
            Input::Opened(key, info, handle) => self.opened(key, info, handle),
            Input::Peer(key, event) => self.heard(key, event),
            Input::Blocks(key, blocks) => self.received(key, blocks),
            Input::Gone(key) => {
                self.peers.remove(&key);
                self.feed(Event::Gone(key));
            }
            Input::DialFailed(address) => {
                self.dialling = self.dialling.saturating_sub(1);
                self.feed(Event::DialFailed(address));
            }
            Input::Found(mut addresses) => {
                addresses.retain(|&address| !self.active.room.bans.has_address(address));
                self.feed(Event::Found(addresses));
            }
            Input::Hashed(judged) => self.hashed(judged),
            Input::Written(piece, outcome) => self.written(piece, outcome),
            Input::Checkpointed(outcome) => self.checkpointed(outcome),
            Input::Room(there) => self.room(there),
            Input::ReadFailed(error) => self.fail(&error, error.may_pass()),
            Input::Options(options, asked) => {
                self.saving.set_options(&options);
                limit(&self.active, &options);
                self.select(&options, asked);
                self.active.options = Arc::clone(&options);
                self.feed(Event::Options(options));
            }
            Input::Stop(patience) => self.stopping = Some(patience.map(|patience| Instant::now() + patience)),
        }
    }

    pub(super) fn opened(&mut self, key: PeerKey, info: PeerInfo, handle: ConnectionHandle) {
        if info.direction == Direction::Outgoing {
            self.dialling = self.dialling.saturating_sub(1);
        }
        if self.active.room.bans.has(info.address, info.peer_id) {
            handle.send(Command::Close(CloseReason::Banned));
        }
        log::debug!("{}: connected: {} ({:?})", info.address, info.peer_id, info.direction);
        let peer = Peer { outlet: Outlet::new(handle), address: info.address, name: info.peer_id };
        self.peers.insert(key, peer);
        self.feed(Event::Connected(key, info));
    }

    pub(super) fn heard(&mut self, key: PeerKey, event: PeerEvent) {
        if let PeerEvent::Uploaded(bytes) = event {
            self.active.stats.add_uploaded(bytes);
            self.consider_goal();
        }
        self.feed(Event::Peer(key, event));
    }

    /// Enough was uploaded: the session decides, and is told once for each goal.
    pub(super) fn consider_goal(&mut self) {
        let goal = self.active.stats.upload_goal.load(Ordering::Relaxed);
        let reached = self.active.stats.uploaded.load(Ordering::Relaxed) >= goal;
        if reached && goal != self.goal_told && self.core.is_complete() {
            self.goal_told = goal;
            self.unsaid.push_back(Notice::Goal(self.active.link.info_hash));
        }
    }

    pub(super) fn received(&mut self, key: PeerKey, blocks: Vec<(BlockRef, BlockBuf)>) {
        let refs = blocks.iter().map(|&(block, _)| block).collect();
        for (block, bytes) in blocks {
            if self.core.wants(block) {
                self.assembly.keep(&self.geometry, block, bytes);
            }
        }
        self.feed(Event::Peer(key, PeerEvent::Blocks(refs)));
    }

    pub(super) fn hashed(&mut self, judged: Judged) {
        let Judged { piece, good, blocks, digests } = judged;
        self.hashing.answered();
        if !digests.is_empty() {
            self.feed(Event::Digests(piece, digests));
        }
        if good {
            self.assembly.keep_verified(piece, blocks);
        }
        self.feed(Event::Hashed(piece, good));
    }

    pub(super) fn written(&mut self, piece: PieceIndex, outcome: Result<(), StorageError>) {
        self.saving.written();
        if let Err(error) = &outcome
            && error.is_full()
        {
            // Before the core hears of it, or it would ask for the same piece again.
            self.hold(error);
            return self.feed(Event::Written(piece, false));
        }
        self.feed(Event::Written(piece, outcome.is_ok()));
        match outcome {
            Ok(()) => self.full.written(),
            Err(error) => self.fail(&error, error.may_pass()),
        }
    }

    /// The disk is not as it must be: stand still and say why. The user resumes when it is mended, or the session, if it
    /// may have passed by itself.
    pub(super) fn fail(&mut self, error: &impl ToString, may_pass: bool) {
        if self.active.stats.state() != TorrentState::Error {
            let error = error.to_string();
            log::error!("{}: {error}", self.active.name);
            self.active.stats.fail(error, may_pass);
            self.unsaid.push_back(Notice::Failed(self.active.link.info_hash, may_pass));
        }
    }
}
