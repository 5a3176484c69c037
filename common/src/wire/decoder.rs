//! An incremental decoder that owns no buffer: the caller shows the bytes it has, and learns what they are.

use super::message::Message;

/// Limits on what a peer may send, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoder {
    /// The longest message accepted other than `piece`: a bitfield of the torrent, or an extended message.
    pub max_message_len: usize,
    /// The longest payload of a `piece` accepted.
    pub max_block_len: u32,
}

/// What the bytes shown begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// Not enough: the next item takes at least this many bytes from the start of what was shown. Never more than
    /// the limits allow.
    Need(usize),
    /// A whole message, in the first `consumed` bytes.
    Message {
        /// Bytes it took.
        consumed: usize,
        /// The message.
        message: Message,
    },
    /// A `piece` message: its 13-byte header was shown; `len` bytes of payload follow it.
    Piece {
        /// Piece index, unchecked.
        index: u32,
        /// Offset in the piece in bytes, unchecked.
        begin: u32,
        /// Bytes of payload that follow, within the limit.
        len: u32,
    },
}

/// What no well-meaning peer sends: the connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A length prefix over the limit.
    #[error("a message of {len} bytes, over the limit of {limit}")]
    TooLong {
        /// What the prefix says.
        len: usize,
        /// What was accepted.
        limit: usize,
    },
    /// A length that the message's id does not allow.
    #[error("message {id} with {len} bytes")]
    Length {
        /// The message id.
        id: u8,
        /// What the prefix says.
        len: usize,
    },
}

/// Bytes of a `piece` message before its payload.
pub const PIECE_HEADER_LEN: usize = 13;

impl Decoder {
    /// Reads the first item of `input`. Never looks at bytes twice for nothing: a message that is not complete costs
    /// its prefix alone.
    ///
    /// # Errors
    /// [`WireError`]: close the connection.
    pub fn decode(&self, input: &[u8]) -> Result<Decoded, WireError> {
        todo!()
    }
}
