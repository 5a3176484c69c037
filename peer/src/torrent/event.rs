//! What goes in and out of [`core`](super::core): plain data, so that a swarm can be run without sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{BlockRef, PieceIndex};
use torrent_common::ids::PeerId;

use super::evidence::BlockDigest;
use super::selection::Selection;
use super::suspects::Identity;
use crate::options::TorrentOptions;

/// A connection: unique in a process, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey(pub u64);

/// Who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// They did.
    Incoming,
    /// We did.
    Outgoing,
}

/// What is known of a peer when its handshake is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Where it is: for an incoming connection not where it listens.
    pub address: SocketAddr,
    /// Its name for itself.
    pub peer_id: PeerId,
    /// Who dialled.
    pub direction: Direction,
    /// Both sides speak BEP 6.
    pub fast: bool,
    /// It was told that we have nothing: see [`Core::hides`](super::core::Core::hides).
    pub hidden: bool,
}

/// Something happened that the core must know. Everything a stranger names was checked against the geometry by the
/// connection before it came here.
#[derive(Debug)]
pub enum Event {
    /// A handshake is done; the connection waits for commands. May be refused with [`Command::Close`].
    Connected(PeerKey, PeerInfo),
    /// A message or report from a connection.
    Peer(PeerKey, PeerEvent),
    /// A connection is over. The last event of this key.
    Gone(PeerKey),
    /// Dialling this address failed, before there was a [`PeerKey`] to the core.
    DialFailed(SocketAddr),
    /// This address was not dialled: the daemon has all the connections it may have.
    NoRoom(SocketAddr),
    /// Addresses to dial, from a tracker. A stranger's list: may hold anything.
    Found(Vec<SocketAddr>),
    /// What the blocks are, in order, of a piece whose [`Event::Hashed`] comes next: of every one that is bad, and of
    /// those that [`Core::compares`](super::core::Core::compares).
    Digests(PieceIndex, Vec<BlockDigest>),
    /// A whole piece was hashed: whether it is what the torrent says.
    Hashed(PieceIndex, bool),
    /// A good piece was written, so it is had; or it could not be, and is to be fetched again later.
    Written(PieceIndex, bool),
    /// What the user set for the torrent: once at its start, and whenever it changes.
    Options(Arc<TorrentOptions>),
    /// Something else is wanted of the torrent.
    Selected(Selection),
    /// A deadline that [`next_wake`](super::core) asked for has passed.
    Tick,
}

/// What a connection reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEvent {
    /// It will not answer requests any more. Without BEP 6, what it owes us is lost.
    Choked,
    /// It answers requests.
    Unchoked,
    /// It wants what we have.
    Interested,
    /// It does not, any more.
    NotInterested,
    /// What it has (have-all and have-none come as this): its first message, and now and then in place of many
    /// [`PeerEvent::Have`].
    Bitfield(Bitfield),
    /// It has this piece now.
    Have(PieceIndex),
    /// It has these pieces now: many [`PeerEvent::Have`] at once.
    Haves(Vec<PieceIndex>),
    /// These blocks arrived, each of which we had asked it for. Their bytes wait in the torrent's thread.
    Blocks(Vec<BlockRef>),
    /// It will not answer this request (BEP 6).
    Rejected(BlockRef),
    /// It answers requests for this piece even while it chokes us (BEP 6).
    AllowedFast(PieceIndex),
    /// So many more bytes of payload were sent to it. Reported while it uploads, at least every half second.
    Uploaded(u64),
    /// We do not listen to it, because of a limit of ours: that it sends nothing is not its fault. Reported now and then.
    Held,
    /// It asked for blocks, and a limit of ours keeps it waiting until then: that it takes nothing is not its fault.
    KeptWaiting(Instant),
}

/// What the core wants done. Carried out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell a connection.
    Send(PeerKey, Command),
    /// Connect to this address; ends in [`Event::Connected`], [`Event::DialFailed`] or [`Event::NoRoom`].
    Dial(SocketAddr),
    /// All blocks of this piece are here: hash it.
    Hash(PieceIndex),
    /// It was good: write it.
    Write(PieceIndex),
    /// Its blocks are not wanted any more: give their memory back.
    Discard(PieceIndex),
    /// It is written: enter it in [`Have`](super::have::Have), and let every connection hear of it soon.
    Had(PieceIndex),
    /// Every wanted piece is had.
    Completed,
    /// It was so, and more is wanted now.
    Incomplete,
    /// Close this peer, and let nobody from its address in again.
    Ban(PeerKey, BanReason),
    /// The same of somebody who is not connected any more.
    BanAbsent(Identity, BanReason),
    /// Say that no block of those that this peer was asked for has come for so long: others are asked for them.
    Snubbed(PeerKey, Duration),
    /// Fewer peers than wanted: ask the trackers earlier than planned, if they allow it.
    WantPeers,
}

/// What a connection is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Say that we answer no requests; drop what is queued.
    Choke,
    /// Say that we answer requests.
    Unchoke,
    /// Say that we want what it has.
    Interested,
    /// Say that we do not, any more.
    NotInterested,
    /// Ask for these blocks, in this order. A batch: the pipeline is refilled before it runs dry.
    Request(Vec<BlockRef>),
    /// Say that we have these pieces: sent to one from whom we hide.
    Show(Vec<PieceIndex>),
    /// Say what else we have: we hide no longer.
    ShowAll,
    /// Take requests back. They may be answered all the same.
    Cancel(Vec<BlockRef>),
    /// Hang up.
    Close(CloseReason),
}

/// Why we hang up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// It is us.
    #[error("it is ourselves")]
    SelfConnection,
    /// We already talk to this peer id.
    #[error("already connected")]
    Duplicate,
    /// [`BanReason`].
    #[error("banned")]
    Banned,
    /// The torrent has all the connections it may have.
    #[error("too many connections")]
    Full,
    /// One host may have only so many of a torrent's connections.
    #[error("too many connections from its address")]
    Crowded,
    /// Neither side has anything for the other.
    #[error("neither wants anything of the other")]
    BothSeed,
    /// A better candidate needs its place.
    #[error("useless for too long")]
    Useless,
    /// The torrent was paused, removed, or the daemon stops.
    #[error("stopped")]
    Stopped,
    /// It does not read what it is sent.
    #[error("its command queue is full")]
    TooSlow,
}

/// Why a peer is banned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BanReason {
    /// It alone sent a whole piece that failed its hash.
    #[error("sent a corrupt piece")]
    CorruptPiece,
    /// It sent a block of a piece that failed, and the good piece has another one there.
    #[error("sent a corrupt block among those of others")]
    Poison,
    /// It had a part in several pieces that failed.
    #[error("had a part in several corrupt pieces")]
    Suspect,
}
