//! What a peer asks a tracker and what it hears, whatever carries it.

pub mod compact;
pub mod http;
pub mod udp;

use std::net::{IpAddr, SocketAddr};

use crate::ids::{InfoHash, PeerId};

/// Why a peer announces (BEP 3; `Paused` BEP 21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Event {
    /// At the interval.
    #[default]
    None,
    /// For the first time.
    Started,
    /// It has just become a seeder.
    Completed,
    /// It leaves.
    Stopped,
    /// A partial seed: wants no more pieces.
    Paused,
}

/// One announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The peer's name for itself.
    pub peer_id: PeerId,
    /// Where it listens.
    pub port: u16,
    /// Bytes of payload uploaded since `started`.
    pub uploaded: u64,
    /// Bytes of payload downloaded since `started`.
    pub downloaded: u64,
    /// Bytes it still lacks: 0 is a seeder. `u64::MAX` when it does not know.
    pub left: u64,
    /// Why it announces.
    pub event: Event,
    /// How many peers it wants, if it says.
    pub numwant: Option<u32>,
    /// The address it claims to have (`ip=`); believed only by who trusts the sender.
    pub ip: Option<IpAddr>,
    /// Proves its identity when its address changes.
    pub key: Option<u32>,
    /// Whether it takes compact lists (BEP 23): assumed unless it says `compact=0`.
    pub compact: bool,
    /// In a list that is not compact, leave the peer ids out.
    pub no_peer_id: bool,
    /// What the tracker named itself in an earlier answer.
    pub tracker_id: Option<Vec<u8>>,
}

/// A peer in an answer. The id is known only from lists that are not compact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnnouncedPeer {
    /// Where to dial.
    pub address: SocketAddr,
    /// Its name, where it was given.
    pub peer_id: Option<PeerId>,
}

/// What a tracker answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnnounceResponse {
    /// Seconds until the next announce.
    pub interval_s: u32,
    /// Seconds that must pass before any other announce.
    pub min_interval_s: Option<u32>,
    /// Seeders in the swarm.
    pub complete: u32,
    /// Leechers in the swarm.
    pub incomplete: u32,
    /// Downloads completed, where the tracker counts them.
    pub downloaded: Option<u32>,
    /// Peers to talk to.
    pub peers: Vec<AnnouncedPeer>,
    /// What to send back in later announces.
    pub tracker_id: Option<Vec<u8>>,
    /// Something to show the user: a stranger's text.
    pub warning: Option<String>,
    /// The address that the tracker saw us come from (BEP 24).
    pub external_ip: Option<IpAddr>,
}

/// Counts of one swarm, as a scrape tells them (BEP 48).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScrapeEntry {
    /// Seeders.
    pub complete: u32,
    /// Downloads completed since the tracker began to count.
    pub downloaded: u32,
    /// Leechers.
    pub incomplete: u32,
}

/// One swarm in a scrape over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrapedTorrent {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// How many are in its swarm.
    pub counts: ScrapeEntry,
    /// Those of the leechers that download: all but partial seeds (BEP 21).
    pub downloaders: u32,
}
