//! What announces say and are told, and what is told about all swarms.

use std::net::SocketAddr;

use torrent_common::announce::ScrapeEntry;
use torrent_common::announce::compact::Family;
use torrent_common::ids::InfoHash;

/// What strangers can make us remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Swarms, each about 30 bytes besides its peers. No more than 16 million.
    pub swarms: usize,
    /// Peers of all swarms together, about 8 to 12 bytes each (IPv6: 20 to 27).
    pub peers: usize,
}

/// 1,048,576 swarms and 16,777,216 peers: about 200 MB when all are IPv4, 480 when all are IPv6.
impl Default for Limits {
    fn default() -> Self {
        Self { swarms: 1 << 20, peers: 1 << 24 }
    }
}

/// What a peer does by announcing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is there.
    Stay,
    /// It has just completed its download.
    Complete,
    /// It leaves: it is forgotten at once, and gets no peers.
    Leave,
}

/// What a peer is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It has everything.
    Seeder,
    /// It lacks something, and wants it.
    Leecher,
    /// It lacks something, and does not want it (BEP 21).
    PartialSeed,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Seeder, Self::Leecher, Self::PartialSeed];
}

/// One announce, cleaned.
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Where the peer can be dialled; its port is not 0.
    pub address: SocketAddr,
    /// What it is. Seeders and partial seeds get leechers alone.
    pub role: Role,
    /// What it does.
    pub action: Action,
    /// Peers it gets at most.
    pub wanted: usize,
    /// Gets peers of this family alone; `None`: of both.
    pub family: Option<Family>,
}

/// What an announce found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visited {
    /// The swarm's counts, the visitor included.
    pub counts: ScrapeEntry,
    /// Seconds until it is to announce again.
    pub interval_s: u32,
}

/// The tracker remembers as much as it may, and nothing that could be forgotten for a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tracker is full, try again later")]
pub struct Full;

/// Sums over all swarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Swarms that have peers.
    pub swarms: usize,
    /// Peers, seeders included.
    pub peers: usize,
    /// Seeders.
    pub seeders: usize,
}

/// A peer as a snapshot keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerImage {
    /// Where it can be dialled.
    pub address: SocketAddr,
    /// What it is.
    pub role: Role,
    /// Seconds until it is forgotten.
    pub left_s: u32,
}

/// A swarm as a snapshot keeps it, without its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwarmImage {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Downloads completed.
    pub downloaded: u32,
    /// Seconds since something changed in it, if that is not long ago.
    pub quiet_s: u32,
}

/// A swarm that was forgotten because its last peer had gone, with the downloads counted in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Downloads completed: at least 1.
    pub downloaded: u32,
}
