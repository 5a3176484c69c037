//! The 68 bytes each side sends first (BEP 3).

use crate::ids::{InfoHash, PeerId};

/// Bytes of a handshake.
pub const HANDSHAKE_LEN: usize = 68;
/// Bytes of a handshake up to and including the info-hash: enough to know which torrent is meant.
pub const HANDSHAKE_HEAD_LEN: usize = 48;

/// The length of the protocol's name, and the name.
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";
/// BEP 10, in byte 5 of the reserved bytes.
const EXTENDED: u8 = 0x10;
/// BEP 6, in byte 7 of the reserved bytes.
const FAST: u8 = 0x04;

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
    /// A handshake of ours, with the feature bits of what we do: BEP 10 and BEP 6.
    pub fn new(info_hash: InfoHash, peer_id: PeerId) -> Self {
        Self { reserved: [0, 0, 0, 0, 0, EXTENDED, 0, FAST], info_hash, peer_id }
    }

    /// The bytes to send.
    pub fn encode(&self) -> [u8; HANDSHAKE_LEN] {
        let mut bytes = [0; HANDSHAKE_LEN];
        bytes[..20].copy_from_slice(PROTOCOL);
        bytes[20..28].copy_from_slice(&self.reserved);
        bytes[28..48].copy_from_slice(self.info_hash.as_bytes());
        bytes[48..].copy_from_slice(self.peer_id.as_bytes());
        bytes
    }

    /// Reads a whole handshake.
    ///
    /// # Errors
    /// [`HandshakeError`] when the bytes are of another protocol.
    pub fn decode(bytes: &[u8; HANDSHAKE_LEN]) -> Result<Self, HandshakeError> {
        let (head, rest) = split::<HANDSHAKE_HEAD_LEN, HANDSHAKE_LEN>(bytes)?;
        let (reserved, info_hash) = Self::decode_head(head)?;
        let peer_id = PeerId::new(rest.try_into().map_err(|_| HandshakeError::Protocol)?);
        Ok(Self { reserved, info_hash, peer_id })
    }

    /// Reads a handshake up to the info-hash: the feature bits, and which torrent is meant. Some programs (a tracker
    /// that looks whether a peer can be reached) send no more until they have been answered.
    ///
    /// # Errors
    /// [`HandshakeError`] when the bytes are of another protocol.
    pub fn decode_head(bytes: &[u8; HANDSHAKE_HEAD_LEN]) -> Result<([u8; 8], InfoHash), HandshakeError> {
        let (protocol, rest) = split::<20, HANDSHAKE_HEAD_LEN>(bytes)?;
        if protocol != PROTOCOL {
            return Err(HandshakeError::Protocol);
        }
        let (reserved, info_hash) = rest.split_first_chunk().ok_or(HandshakeError::Protocol)?;
        let info_hash = info_hash.try_into().map_err(|_| HandshakeError::Protocol)?;
        Ok((*reserved, InfoHash::new(info_hash)))
    }

    /// Whether the sender speaks BEP 10.
    pub const fn supports_extended(&self) -> bool {
        self.reserved[5] & EXTENDED != 0
    }

    /// Whether the sender speaks BEP 6.
    pub const fn supports_fast(&self) -> bool {
        self.reserved[7] & FAST != 0
    }
}

/// The first `N` of `M` bytes, and the rest.
fn split<const N: usize, const M: usize>(bytes: &[u8; M]) -> Result<(&[u8; N], &[u8]), HandshakeError> {
    bytes.split_first_chunk().ok_or(HandshakeError::Protocol)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ours() -> Handshake {
        Handshake::new(InfoHash::new([0xab; 20]), PeerId::new(*b"-TF0100-abcdefghijkl"))
    }

    #[test]
    fn bytes_are_as_in_bep_3() {
        let mut expected = vec![19]; // length of the protocol's name
        expected.extend(b"BitTorrent protocol");
        expected.extend([0, 0, 0, 0, 0, 0x10, 0, 0x04]); // BEP 10 and BEP 6
        expected.extend([0xab; 20]); // info-hash
        expected.extend(b"-TF0100-abcdefghijkl"); // peer id
        assert_eq!(ours().encode().as_slice(), expected);
        assert!(ours().supports_extended() && ours().supports_fast());
    }

    #[test]
    fn other_protocols_are_refused() {
        let mut bytes = ours().encode();
        bytes[19] = b'L';
        assert_eq!(Handshake::decode(&bytes), Err(HandshakeError::Protocol));
        assert_eq!(Handshake::decode(&[0; HANDSHAKE_LEN]), Err(HandshakeError::Protocol));
    }

    #[test]
    fn no_feature_bits_no_features() {
        let plain = Handshake { reserved: [0; 8], ..ours() };
        assert!(!plain.supports_extended() && !plain.supports_fast());
    }

    proptest! {
        #[test]
        fn round_trip(reserved: [u8; 8], info_hash: [u8; 20], peer_id: [u8; 20]) {
            let handshake =
                Handshake { reserved, info_hash: InfoHash::new(info_hash), peer_id: PeerId::new(peer_id) };
            let bytes = handshake.encode();
            prop_assert_eq!(Handshake::decode(&bytes), Ok(handshake));
            let head = bytes.first_chunk().unwrap();
            prop_assert_eq!(Handshake::decode_head(head), Ok((reserved, handshake.info_hash)));
        }
    }
}
