//! Connections to peers: one thread each. It sleeps in poll(2) on its socket and its [`Waker`](crate::wake::Waker),
//! answers upload requests by itself (file to socket, no hop), and receives payload straight into the buffers that the
//! torrent's thread will hash.

pub mod ahead;
pub mod asked;
pub mod blame;
pub mod brake;
pub mod dial;
pub mod due;
pub mod extended;
pub mod greet;
pub mod inbox;
pub mod incoming;
pub mod link;
pub mod outbox;
pub mod protocol;
pub mod registry;
pub mod run;
#[cfg(test)]
mod tests;
pub mod visits;

use std::io;

use torrent_common::wire::{HandshakeError, WireError};

use crate::storage::StorageError;
use crate::torrent::event::CloseReason;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// The peer hung up, or the network did.
    #[error("{0}")]
    Network(#[from] io::Error),
    /// The peer broke the protocol.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// We hung up.
    #[error("{0}")]
    Closed(CloseReason),
    /// Silence for too long.
    #[error("silent for too long")]
    TimedOut,
    /// It takes nothing of what it is sent.
    #[error("it does not read what it is sent")]
    Stalled,
    /// What it asked for could not be read from disk. Our fault, not its.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The torrent's thread is gone.
    #[error("the torrent was stopped")]
    TorrentGone,
}

impl End {
    /// It was the stranger's doing that the connection was good for nothing. It may happen to anybody, once.
    pub const fn is_idle_visit(&self) -> bool {
        match self {
            Self::Violation(Violation::UnknownTorrent) | Self::Network(_) => true,
            Self::Closed(reason) => {
                matches!(reason, CloseReason::SelfConnection | CloseReason::Duplicate | CloseReason::BothSeed)
            }
            Self::Violation(_) | Self::TimedOut | Self::Stalled | Self::Storage(_) | Self::TorrentGone => {
                false
            }
        }
    }

    /// A well-meaning peer does not end so: worth a line for everybody to read.
    pub const fn is_foul(&self) -> bool {
        match self {
            // It may have been here until now.
            Self::Violation(Violation::UnknownTorrent) => false,
            Self::Violation(_) | Self::Stalled => true,
            Self::Closed(reason) => matches!(reason, CloseReason::TooSlow | CloseReason::Crowded),
            Self::Network(_) | Self::TimedOut | Self::Storage(_) | Self::TorrentGone => false,
        }
    }
}

/// What no well-meaning peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Its first bytes.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// It asked for, or answered with, a torrent that is not served here.
    #[error("unknown info-hash")]
    UnknownTorrent,
    /// Its framing.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Its bitfield.
    #[error("bad bitfield: {0}")]
    Bitfield(#[from] torrent_common::bitfield::BitfieldError),
    /// More bitfields, have-all or have-none than any honest peer sends.
    #[error("too many bitfields")]
    TooManyBitfields,
    /// A piece index out of range.
    #[error("piece {0} does not exist")]
    NoSuchPiece(u32),
    /// A request out of range.
    #[error("a request for bytes that do not exist")]
    NoSuchBytes,
    /// A request for a piece that we never said we have.
    #[error("a request for a piece that is not here")]
    NotHad,
    /// More requests than we said we would queue.
    #[error("too many requests at once")]
    TooManyRequests,
    /// A block that was never asked for.
    #[error("a block that was not asked for")]
    Unasked,
    /// More messages than are read, for long; or it hung up behind them.
    #[error("a flood of messages")]
    Flood,
    /// A message of an extension that was not agreed upon.
    #[error("message {0} without the extension it belongs to")]
    NotNegotiated(u8),
}
