//! What reaches a torrent's thread: one bounded queue for everything, so that nothing overtakes anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use torrent_common::geometry::{BlockRef, PieceIndex};

use super::event::{PeerEvent, PeerInfo, PeerKey};
use super::hashing::Judged;
use crate::connection::link::ConnectionHandle;
use crate::options::TorrentOptions;
use crate::resume::ResumeError;
use crate::storage::StorageError;
use crate::storage::blocks::BlockBuf;

/// One thing for a torrent's thread to look at.
#[derive(Debug)]
pub enum Input {
    /// A handshake is done; here is how to reach the connection.
    Opened(PeerKey, PeerInfo, ConnectionHandle),
    /// A connection's report.
    Peer(PeerKey, PeerEvent),
    /// Blocks that a connection received, each of which it was told to ask for.
    Blocks(PeerKey, Vec<(BlockRef, BlockBuf)>),
    /// A connection is over: the last input of this key.
    Gone(PeerKey),
    /// Dialling did not lead to a connection.
    DialFailed(SocketAddr),
    /// Addresses from a tracker.
    Found(Vec<SocketAddr>),
    /// A whole piece was hashed.
    Hashed(Judged),
    /// A piece was written, or not.
    Written(PieceIndex, Result<(), StorageError>),
    /// A checkpoint is on disk, or not.
    Checkpointed(Result<(), ResumeError>),
    /// Whether the disk that was full has room.
    Room(bool),
    /// Payload could not be read for an upload.
    ReadFailed(StorageError),
    /// The user has set something else for the torrent: with the number of the selection, see
    /// [`Stats::ask`](super::stats::Stats::ask).
    Options(Arc<TorrentOptions>, u64),
    /// Close all connections, save, and end: when nothing is in flight to the disk any more, or after so long, because the
    /// daemon ends.
    Stop(Option<Duration>),
}
