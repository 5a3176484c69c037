//! Which pieces somebody has: one bit a piece, most significant first, as on the wire (BEP 3).

use crate::geometry::{Geometry, PieceIndex};

/// A set of pieces of one torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitfield {
    bytes: Box<[u8]>,
    len: u32,
    ones: u32,
}

/// A bitfield message that does not fit the torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BitfieldError {
    /// Not one bit per piece, rounded up to whole bytes.
    #[error("a bitfield of {got} bytes where {expected} are due")]
    Length {
        /// Bytes received.
        got: usize,
        /// Bytes that the piece count asks for.
        expected: usize,
    },
    /// A bit beyond the last piece is set.
    #[error("a bitfield with bits set beyond the last piece")]
    SpareBits,
}

impl Bitfield {
    /// No piece of `geometry`.
    pub fn empty(geometry: &Geometry) -> Self {
        let len = geometry.piece_count();
        Self { bytes: vec![0; byte_count(len)].into(), len, ones: 0 }
    }

    /// Every piece of `geometry`.
    pub fn full(geometry: &Geometry) -> Self {
        let mut this = Self::empty(geometry);
        geometry.pieces().for_each(|piece| {
            this.insert(piece);
        });
        this
    }

    /// What a peer sent, or a disk gave back: checked against the number of pieces.
    pub fn from_bytes(bytes: &[u8], geometry: &Geometry) -> Result<Self, BitfieldError> {
        let len = geometry.piece_count();
        let expected = byte_count(len);
        if bytes.len() != expected {
            return Err(BitfieldError::Length { got: bytes.len(), expected });
        }
        let spare = expected as u64 * 8 - u64::from(len);
        if bytes.last().is_some_and(|last| u64::from(last.trailing_zeros().min(8)) < spare) {
            return Err(BitfieldError::SpareBits);
        }
        let ones = bytes.iter().map(|byte| byte.count_ones()).sum();
        Ok(Self { bytes: bytes.into(), len, ones })
    }

    /// The bits as they stand on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the piece is in the set. A piece of a longer torrent is not.
    pub fn contains(&self, piece: PieceIndex) -> bool {
        self.bytes.get(piece.as_usize() / 8).is_some_and(|byte| byte & mask(piece) != 0)
    }

    /// Adds a piece; true if it was not there. A piece of a longer torrent is not added.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        if piece.get() >= self.len || self.contains(piece) {
            return false;
        }
        if let Some(byte) = self.bytes.get_mut(piece.as_usize() / 8) {
            *byte |= mask(piece);
            self.ones += 1;
        }
        true
    }

    /// Removes a piece; true if it was there.
    pub fn remove(&mut self, piece: PieceIndex) -> bool {
        if !self.contains(piece) {
            return false;
        }
        if let Some(byte) = self.bytes.get_mut(piece.as_usize() / 8) {
            *byte &= !mask(piece);
            self.ones -= 1;
        }
        true
    }

    /// Number of pieces in the set.
    pub const fn count(&self) -> u32 {
        self.ones
    }

    /// Number of pieces of the torrent.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// No piece is in the set.
    pub const fn is_empty(&self) -> bool {
        self.ones == 0
    }

    /// Every piece is in the set.
    pub const fn is_full(&self) -> bool {
        self.ones == self.len
    }

    /// The pieces in the set, in order. `geometry` is the torrent's.
    pub fn iter(&self, geometry: &Geometry) -> impl Iterator<Item = PieceIndex> + use<'_> {
        let geometry = *geometry;
        // Byte by byte: a set with few pieces of a large torrent is gone through fast.
        let bytes = self.bytes.iter().zip((0..).step_by(8)).filter(|&(&byte, _)| byte != 0);
        bytes
            .flat_map(|(&byte, first)| {
                (0..8).filter(move |bit| byte & 0x80 >> bit != 0).map(move |bit| first + bit)
            })
            .filter_map(move |index| geometry.piece(index))
    }
}

const fn byte_count(bits: u32) -> usize {
    bits.div_ceil(8) as usize
}

const fn mask(piece: PieceIndex) -> u8 {
    0x80 >> (piece.get() % 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::DEFAULT_BLOCK_LEN;

    fn pieces(count: u64) -> Geometry {
        Geometry::new(count * 100, 100, DEFAULT_BLOCK_LEN).unwrap()
    }

    #[test]
    fn the_first_piece_is_the_high_bit() {
        let g = pieces(10);
        let mut bits = Bitfield::empty(&g);
        assert!(bits.insert(g.piece(0).unwrap()));
        assert!(!bits.insert(g.piece(0).unwrap()));
        assert!(bits.insert(g.piece(9).unwrap()));
        assert_eq!(bits.as_bytes(), [0x80, 0x40]);
        assert_eq!(bits.iter(&g).map(PieceIndex::get).collect::<Vec<_>>(), [0, 9]);
        assert!(bits.remove(g.piece(0).unwrap()));
        assert_eq!(bits.count(), 1);
    }

    #[test]
    fn wrong_lengths_and_spare_bits_are_refused() {
        let g = pieces(10);
        assert_eq!(Bitfield::from_bytes(&[0], &g), Err(BitfieldError::Length { got: 1, expected: 2 }));
        assert_eq!(Bitfield::from_bytes(&[0, 0, 0], &g), Err(BitfieldError::Length { got: 3, expected: 2 }));
        assert_eq!(Bitfield::from_bytes(&[0xff, 0xe0], &g), Err(BitfieldError::SpareBits));
        assert!(Bitfield::from_bytes(&[0xff, 0xc0], &g).unwrap().is_full());
        assert!(Bitfield::from_bytes(&[0xff], &pieces(8)).unwrap().is_full());
    }

    #[test]
    fn full_and_empty() {
        for count in [1, 7, 8, 9, 64, 65] {
            let g = pieces(count);
            assert!(Bitfield::full(&g).is_full());
            assert_eq!(Bitfield::from_bytes(Bitfield::full(&g).as_bytes(), &g), Ok(Bitfield::full(&g)));
            assert!(Bitfield::empty(&g).is_empty());
        }
    }
}
