//! What the core knows of each connected peer.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{BlockRef, Geometry, PieceIndex};

use super::choker;
use super::event::{PeerInfo, PeerKey};
use super::rate::Rate;
use super::suspects::Identity;

/// The connected peers, in the order of their keys: the same events give the same effects.
pub type Peers = BTreeMap<PeerKey, Peer>;

/// Requests outstanding at once, before the rate is known and for the slowest; and for the fastest.
const PIPELINE: std::ops::RangeInclusive<usize> = 32..=256;
/// The pipeline holds about so many seconds of what the peer sends: longer than any round trip. Not more, for a piece
/// that waits in one peer's queue may meanwhile be sent by another to a third.
const PIPELINE_SECONDS: u64 = 1;
/// Pieces a peer may name as allowed-fast; BEP 6 proposes ten.
const MAX_ALLOWED_FAST: usize = 32;
/// Requests given up, whose blocks may come yet.
const MAX_LOST: usize = 512;
/// After so long a request given up may be repeated.
const LOST_FOR: Duration = Duration::from_secs(60);
/// A peer that owes us something and sends nothing for so long is snubbing us: no regular slot for it.
const SNUBBING: Duration = Duration::from_secs(60);
/// A peer is new for so long.
const NEW: Duration = Duration::from_secs(60);

/// A request that was sent and neither answered nor given up.
#[derive(Debug, Clone, Copy)]
pub struct Outstanding {
    /// What was asked for.
    pub block: BlockRef,
    /// When.
    pub at: Instant,
}

/// One connected peer.
#[derive(Debug)]
pub struct Peer {
    /// From the handshake.
    pub info: PeerInfo,
    /// Who it is beyond this connection.
    pub identity: Identity,
    /// When it came.
    pub since: Instant,
    /// What it has.
    pub have: Bitfield,
    /// Its bitfield was full: the picker only counts it.
    pub counted_as_seed: bool,
    /// Pieces that it has and we lack: want, and have not.
    pub wanted: u32,
    /// We said that we are interested.
    pub we_want: bool,
    /// It said that it is interested.
    pub they_want: bool,
    /// It answers no requests, since then.
    pub choking: Option<Instant>,
    /// When it last said that it wants nothing more.
    pub sated: Instant,
    /// We answer its requests.
    pub unchoked: bool,
    /// When it got its slot, or lost it, or came.
    pub slot_since: Instant,
    /// Bytes sent since it got its slot.
    pub turn_bytes: u64,
    /// When it last took payload, or could begin to: in the future while a limit of ours keeps it waiting.
    pub taken: Instant,
    /// It had a slot, or was shown a piece, and took nothing; nor has it since.
    pub idled: bool,
    /// How often that was,
    pub idle_turns: u32,
    /// and until when others come before it.
    pub behind_until: Instant,
    /// What it owes us, oldest first.
    pub outstanding: VecDeque<Outstanding>,
    /// Requests given up lately.
    pub lost: Vec<Outstanding>,
    /// Pieces it sends even while it chokes us.
    pub allowed_fast: Vec<PieceIndex>,
    /// From it.
    pub down: Rate,
    /// To it.
    pub up: Rate,
    /// When it last sent payload; or was asked for some while owing nothing.
    pub active: Instant,
    /// The newest request that was answered: older ones were skipped.
    pub answered: Option<Instant>,
    /// It owes us blocks and sent nothing for long.
    pub snubbed: bool,
    /// Fetches pieces alone, because of a bad one.
    pub parole: bool,
    /// The picker had nothing for it at this generation.
    pub dry: Option<u64>,
    /// It wants for requests: there was nothing to ask it for.
    pub starved: bool,
}

impl Peer {
    /// A peer whose handshake is done.
    pub fn new(info: PeerInfo, geometry: &Geometry, parole: bool, now: Instant) -> Self {
        Self {
            identity: Identity::of(&info),
            info,
            since: now,
            have: Bitfield::empty(geometry),
            counted_as_seed: false,
            wanted: 0,
            we_want: false,
            they_want: false,
            sated: now,
            choking: Some(now),
            unchoked: false,
            slot_since: now,
            turn_bytes: 0,
            taken: now,
            idled: false,
            idle_turns: 0,
            behind_until: now,
            outstanding: VecDeque::new(),
            lost: Vec::new(),
            allowed_fast: Vec::new(),
            down: Rate::new(now),
            up: Rate::new(now),
            active: now,
            answered: None,
            snubbed: false,
            parole,
            dry: None,
            starved: false,
        }
    }

    /// How many requests it should have outstanding.
    pub fn pipeline(&self, block_len: u32, now: Instant) -> usize {
        if self.snubbed {
            return 1;
        }
        let blocks = self.down.at(now).saturating_mul(PIPELINE_SECONDS) / u64::from(block_len.max(1)) + 8;
        usize::try_from(blocks).unwrap_or(usize::MAX).clamp(*PIPELINE.start(), *PIPELINE.end())
    }

    /// How many requests to send it now: none until a quarter of its pipeline, `most` at the most, is free, so that they
    /// go in batches.
    pub fn refill(&self, block_len: u32, most: usize, now: Instant) -> usize {
        let may = self.we_want
            && (self.choking.is_none() || !self.allowed_fast.is_empty())
            && self.lost.len() < MAX_LOST;
        if !may {
            return 0;
        }
        let (have, target) = (self.outstanding.len(), self.pipeline(block_len, now).min(most));
        if have * 4 <= target * 3 { target.saturating_sub(have) } else { 0 }
    }

    /// Requests were sent.
    pub fn asked(&mut self, blocks: &[BlockRef], now: Instant) {
        if self.outstanding.is_empty() {
            self.active = now;
        }
        self.outstanding.extend(blocks.iter().map(|&block| Outstanding { block, at: now }));
    }

    /// A block of so many bytes came.
    pub fn delivered(&mut self, bytes: u64, now: Instant) {
        self.down.add(bytes, now);
        self.active = now;
        self.snubbed = false;
    }

    /// It sends this piece while it chokes us.
    pub fn allow_fast(&mut self, piece: PieceIndex) {
        if self.allowed_fast.len() < MAX_ALLOWED_FAST && !self.allowed_fast.contains(&piece) {
            self.allowed_fast.push(piece);
        }
    }

    /// Takes a request off the books. Its age, if it was on them.
    pub fn settle(&mut self, block: BlockRef) -> Option<Instant> {
        self.lost.retain(|lost| lost.block != block);
        let at = self.outstanding.iter().position(|request| request.block == block)?;
        self.outstanding.remove(at).map(|request| request.at)
    }

    /// Remembers a request that was given up, so that it is not repeated at once.
    pub fn lose(&mut self, block: BlockRef, now: Instant) {
        if self.lost.len() < MAX_LOST {
            self.lost.push(Outstanding { block, at: now });
        }
    }

    /// Forgets requests given up long ago.
    pub fn forget_lost(&mut self, now: Instant) {
        self.lost.retain(|lost| now.saturating_duration_since(lost.at) < LOST_FOR);
    }

    /// As the choker sees it.
    pub fn candidate(&self, key: PeerKey, now: Instant) -> choker::Candidate {
        let age = |since: Instant| now.saturating_duration_since(since);
        let owing = self.we_want && age(self.active) > SNUBBING;
        choker::Candidate {
            key,
            unchoked: self.unchoked,
            idled: self.is_behind(now),
            from_them: self.down.steady(now),
            to_them: self.up.steady(now),
            snubbing: owing && self.unchoked && age(self.slot_since) > SNUBBING,
            new: age(self.since) < NEW,
            since: age(self.slot_since),
            turn_bytes: self.turn_bytes,
        }
    }
}
