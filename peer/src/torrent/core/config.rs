//! What the core is given, and what it shows.

use torrent_common::bitfield::Bitfield;
use torrent_common::ids::PeerId;

use crate::storage::blocks::BlockPool;
use crate::torrent::selection::Selection;
use crate::torrent::superseed::MAX_PIECES;

/// Limits and policy of one torrent. Start from [`CoreConfig::new`].
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// Peers that are unchoked at a time, the optimistic one included; 0: as many as fit the uplink.
    pub upload_slots: usize,
    /// The only seeder of a torrent shows its pieces one after the other (BEP 16).
    pub super_seeding: bool,
    /// Connections the torrent may have, in both directions together, unless its options say otherwise.
    pub max_connections: usize,
    /// Connections with one [`Host`](crate::torrent::host::Host), in both directions together.
    pub max_per_host: usize,
    /// Connections beyond which the torrent dials nobody itself.
    pub max_outgoing: usize,
    /// Addresses being dialled at a time.
    pub max_half_open: usize,
    /// Our name: a peer with this name is ourselves.
    pub own_peer_id: PeerId,
    /// Pieces are fetched in order, unless the torrent's options say otherwise.
    pub sequential: bool,
    /// What is wanted, at first.
    pub selection: Selection,
}

impl CoreConfig {
    /// The defaults.
    pub fn new(own_peer_id: PeerId) -> Self {
        Self {
            upload_slots: 4,
            super_seeding: true,
            max_connections: 200,
            max_per_host: 100,
            max_outgoing: 50,
            max_half_open: 8,
            own_peer_id,
            sequential: false,
            selection: Selection::default(),
        }
    }
}

impl CoreConfig {
    /// Whether a torrent that has these pieces may hide them, if nobody else has all.
    pub fn may_hide(&self, had: &Bitfield) -> bool {
        self.super_seeding && had.is_full() && had.len() <= MAX_PIECES
    }
}

/// Who says how many bytes of pieces may be in flight. Shared by all torrents, so it is not part of the core.
pub trait Budget {
    /// Reserves room for a piece of `len` bytes; false when the budget is spent.
    fn try_reserve(&self, len: u64) -> bool;
    /// Whether there would be room for a piece of `len` bytes.
    fn has_room(&self, len: u64) -> bool;
    /// Reserves room for a torrent's only begun piece, even if the budget is spent.
    fn reserve_first(&self, len: u64);
    /// Gives back what was reserved for a piece of `len` bytes.
    fn release(&self, len: u64);
}

impl Budget for BlockPool {
    fn try_reserve(&self, len: u64) -> bool {
        Self::try_reserve(self, len)
    }

    fn has_room(&self, len: u64) -> bool {
        Self::has_room(self, len)
    }

    fn reserve_first(&self, len: u64) {
        Self::reserve_first(self, len);
    }

    fn release(&self, len: u64) {
        Self::release(self, len);
    }
}

/// A torrent at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CoreStats {
    /// Connected peers, seeds included.
    pub peers: usize,
    /// Connected peers that have every piece.
    pub seeds: usize,
    /// Bytes of payload per second from all peers.
    pub download_rate: u64,
    /// Bytes of payload per second to all peers.
    pub upload_rate: u64,
    /// Pieces had: verified and written.
    pub pieces_had: u32,
    /// Bytes of the pieces not had.
    pub bytes_left: u64,
    /// Bytes of the pieces that are wanted and not had.
    pub lacking: u64,
    /// Bytes of payload that arrived since the torrent became active, useless ones included.
    pub downloaded: u64,
    /// Bytes of payload that were sent since the torrent became active.
    pub uploaded: u64,
    /// Bytes that arrived twice, came too late, or failed their hash.
    pub wasted: u64,
}
