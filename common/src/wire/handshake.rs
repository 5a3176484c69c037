//! The 68 bytes each side sends first (BEP 3).

use crate::ids::{InfoHash, PeerId};

/// Bytes of a handshake.
pub const HANDSHAKE_LEN: usize = 68;
/// Bytes of a handshake up to and including the info-hash: enough to know which torrent is meant.
pub const HANDSHAKE_HEAD_LEN: usize = 48;

/// What each side says of itself first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// Feature bits: see [`Handshake::supports_extended`] and [`Handshake::supports_fast`].
    pub reserved: [u8; 8],
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Who speaks.
    pub peer_id: PeerId,
}

/// Bytes that are no BitTorrent handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The first 20 bytes are not the length and name of the protocol.
    #[error("not the BitTorrent protocol (encrypted connections are not supported yet)")]
    Protocol,
}

impl Handshake {
    /// A handshake of ours, with the feature bits of what we do.
    pub fn new(info_hash: InfoHash, peer_id: PeerId) -> Self {
        todo!()
    }

    /// The bytes to send.
    pub fn encode(&self) -> [u8; HANDSHAKE_LEN] {
        todo!()
    }

    /// Reads a whole handshake.
    ///
    /// # Errors
    /// [`HandshakeError`] when the bytes are of another protocol.
    pub fn decode(bytes: &[u8; HANDSHAKE_LEN]) -> Result<Self, HandshakeError> {
        todo!()
    }

    /// Whether the sender speaks BEP 10.
    pub const fn supports_extended(&self) -> bool {
        self.reserved[5] & 0x10 != 0
    }

    /// Whether the sender speaks BEP 6.
    pub const fn supports_fast(&self) -> bool {
        self.reserved[7] & 0x04 != 0
    }
}
