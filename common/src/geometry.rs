//! How a torrent's bytes are cut into pieces and blocks (BEP 3). The only maker of [`PieceIndex`], [`BlockRef`] and
//! [`Span`]: one that exists was in range for the geometry that made it, so nothing downstream checks again.

use std::fmt;

/// The block size every client serves: 16 KiB.
pub const DEFAULT_BLOCK_LEN: u32 = 16 * 1024;
/// The largest request answered or sent, in bytes. Beyond 128 KiB clients hang up.
pub const MAX_BLOCK_LEN: u32 = 128 * 1024;

/// Sizes of one torrent. Small and `Copy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    total_len: u64,
    piece_len: u32,
    block_len: u32,
    piece_count: u32,
}

/// The index of a piece that exists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PieceIndex(u32);

/// A block that exists: a piece, the number of the block in it, and its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockRef {
    piece: PieceIndex,
    index: u32,
    begin: u32,
    len: u32,
}

/// A run of bytes inside one piece that exists: what an upload request may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    piece: PieceIndex,
    begin: u32,
    len: u32,
}

/// Sizes that no torrent can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// The payload is empty.
    #[error("the torrent has no bytes")]
    Empty,
    /// Piece length 0, or over 2^31.
    #[error("piece length {0} is not between 1 and 2147483648")]
    PieceLength(u64),
    /// Block length 0 or over [`MAX_BLOCK_LEN`].
    #[error("block length {0} is not between 1 and {MAX_BLOCK_LEN}")]
    BlockLength(u32),
    /// More pieces than an index on the wire can name.
    #[error("the torrent has {0} pieces, more than 2147483648")]
    TooManyPieces(u64),
}

impl Geometry {
    /// `total_len` in bytes (over 0), `piece_len` in bytes (any positive length is legal on the wire), blocks of
    /// `block_len` bytes.
    pub fn new(total_len: u64, piece_len: u64, block_len: u32) -> Result<Self, GeometryError> {
        const LIMIT: u64 = 1 << 31;
        if total_len == 0 {
            return Err(GeometryError::Empty);
        }
        let piece_len32 = u32::try_from(piece_len).ok().filter(|&len| len > 0 && piece_len <= LIMIT);
        let piece_len32 = piece_len32.ok_or(GeometryError::PieceLength(piece_len))?;
        if block_len == 0 || block_len > MAX_BLOCK_LEN {
            return Err(GeometryError::BlockLength(block_len));
        }
        let count = total_len.div_ceil(piece_len);
        let piece_count = u32::try_from(count).ok().filter(|_| count <= LIMIT);
        let piece_count = piece_count.ok_or(GeometryError::TooManyPieces(count))?;
        Ok(Self { total_len, piece_len: piece_len32, block_len, piece_count })
    }

    /// Bytes of payload, padding included.
    pub const fn total_len(&self) -> u64 {
        self.total_len
    }

    /// Bytes of every piece but the last.
    pub const fn nominal_piece_len(&self) -> u32 {
        self.piece_len
    }

    /// Bytes of every block but the last of a piece.
    pub const fn nominal_block_len(&self) -> u32 {
        self.block_len
    }

    /// Number of pieces, at least 1.
    pub const fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// The piece a stranger named, if it exists.
    pub fn piece(&self, index: u32) -> Option<PieceIndex> {
        (index < self.piece_count).then_some(PieceIndex(index))
    }

    /// Every piece, in order.
    pub fn pieces(&self) -> impl DoubleEndedIterator<Item = PieceIndex> + ExactSizeIterator + use<> {
        (0..self.piece_count).map(PieceIndex)
    }

    /// Where a piece begins in the payload, in bytes.
    pub fn offset(&self, piece: PieceIndex) -> u64 {
        u64::from(piece.0) * u64::from(self.piece_len)
    }

    /// Bytes of this piece: the last may be shorter.
    pub fn piece_len(&self, piece: PieceIndex) -> u32 {
        let rest = self.total_len.saturating_sub(self.offset(piece));
        u32::try_from(rest).map_or(self.piece_len, |rest| rest.min(self.piece_len))
    }

    /// Number of blocks of this piece, at least 1.
    pub fn block_count(&self, piece: PieceIndex) -> u32 {
        self.piece_len(piece).div_ceil(self.block_len)
    }

    /// Block number `index` of a piece, if it exists.
    pub fn block(&self, piece: PieceIndex, index: u32) -> Option<BlockRef> {
        let begin = u64::from(index) * u64::from(self.block_len);
        let begin = u32::try_from(begin).ok()?;
        let rest = self.piece_len(piece).checked_sub(begin).filter(|&rest| rest > 0)?;
        Some(BlockRef { piece, index, begin, len: rest.min(self.block_len) })
    }

    /// Every block of a piece, in order.
    pub fn blocks(&self, piece: PieceIndex) -> impl Iterator<Item = BlockRef> + use<> {
        let this = *self;
        (0..this.block_count(piece)).filter_map(move |index| this.block(piece, index))
    }

    /// The block that begins exactly here with exactly this length: what an answer to a request of ours must name.
    pub fn block_at(&self, piece: u32, begin: u32, len: u32) -> Option<BlockRef> {
        let piece = self.piece(piece)?;
        if !begin.is_multiple_of(self.block_len) {
            return None;
        }
        self.block(piece, begin / self.block_len).filter(|block| block.len == len)
    }

    /// The bytes a stranger asks for, if they exist: inside one piece, not empty, at most [`MAX_BLOCK_LEN`].
    pub fn span(&self, piece: u32, begin: u32, len: u32) -> Option<Span> {
        let piece = self.piece(piece)?;
        let end = begin.checked_add(len)?;
        (len > 0 && len <= MAX_BLOCK_LEN && end <= self.piece_len(piece)).then_some(Span {
            piece,
            begin,
            len,
        })
    }
}

impl PieceIndex {
    /// The number as it stands on the wire.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as a slice index.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PieceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for PieceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "piece {}", self.0)
    }
}

impl BlockRef {
    /// The piece it is in.
    pub const fn piece(self) -> PieceIndex {
        self.piece
    }

    /// Its number within the piece.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// Where it begins within the piece, in bytes.
    pub const fn begin(self) -> u32 {
        self.begin
    }

    /// Its length in bytes: never 0.
    pub const fn len(self) -> u32 {
        self.len
    }

    /// Never: a block has at least one byte.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// The same bytes as a span.
    pub const fn span(self) -> Span {
        Span { piece: self.piece, begin: self.begin, len: self.len }
    }
}

impl Span {
    /// The piece it is in.
    pub const fn piece(self) -> PieceIndex {
        self.piece
    }

    /// Where it begins within the piece, in bytes.
    pub const fn begin(self) -> u32 {
        self.begin
    }

    /// Its length in bytes: never 0.
    pub const fn len(self) -> u32 {
        self.len
    }

    /// Never: a span has at least one byte.
    pub const fn is_empty(self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn geometry(total: u64, piece: u64) -> Geometry {
        Geometry::new(total, piece, DEFAULT_BLOCK_LEN).unwrap()
    }

    #[test]
    fn last_piece_and_last_block_are_short() {
        let g = geometry(100_000, 32_768);
        assert_eq!(g.piece_count(), 4);
        let last = g.piece(3).unwrap();
        assert_eq!(g.piece_len(last), 100_000 - 3 * 32_768);
        assert_eq!(g.block_count(last), 1);
        assert_eq!(g.block(last, 0).unwrap().len(), 1_696);
        assert_eq!(g.block(last, 1), None);
        assert_eq!(g.piece(4), None);
    }

    #[test]
    fn answers_must_name_whole_blocks() {
        let g = geometry(100_000, 32_768);
        assert!(g.block_at(0, 16_384, 16_384).is_some());
        for (piece, begin, len) in
            [(0, 1, 16_384), (0, 0, 16_383), (0, 0, 0), (0, 32_768, 16_384), (4, 0, 1), (3, 0, 16_384)]
        {
            assert_eq!(g.block_at(piece, begin, len), None, "{piece} {begin} {len}");
        }
    }

    #[test]
    fn spans_stay_inside_a_piece() {
        let g = geometry(100_000, 32_768);
        assert!(g.span(0, 1, 100).is_some());
        for (piece, begin, len) in [
            (0, 32_768, 1),
            (0, 32_767, 2),
            (0, u32::MAX, 2),
            (0, 0, 0),
            (9, 0, 1),
            (0, 0, MAX_BLOCK_LEN + 1),
        ] {
            assert_eq!(g.span(piece, begin, len), None, "{piece} {begin} {len}");
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert_eq!(Geometry::new(0, 1, 1), Err(GeometryError::Empty));
        assert_eq!(Geometry::new(1, 0, 1), Err(GeometryError::PieceLength(0)));
        assert_eq!(Geometry::new(1, 1 << 32, 1), Err(GeometryError::PieceLength(1 << 32)));
        assert_eq!(Geometry::new(1, 1, 0), Err(GeometryError::BlockLength(0)));
        assert_eq!(Geometry::new(u64::MAX, 1, 1), Err(GeometryError::TooManyPieces(u64::MAX)));
    }

    proptest! {
        #[test]
        fn blocks_tile_the_payload(total in 1u64..5_000_000, piece in 1u64..300_000, block in 1u32..MAX_BLOCK_LEN) {
            let g = Geometry::new(total, piece, block).unwrap();
            prop_assume!(g.piece_count() < 5_000);
            let mut at = 0;
            for p in g.pieces() {
                prop_assert_eq!(g.offset(p), at);
                let mut begin = 0;
                for b in g.blocks(p).take(10_000) {
                    prop_assert_eq!(b.begin(), begin);
                    prop_assert_eq!(g.block_at(p.get(), b.begin(), b.len()), Some(b));
                    begin += b.len();
                }
                prop_assume!(g.block_count(p) <= 10_000);
                prop_assert_eq!(begin, g.piece_len(p));
                at += u64::from(begin);
            }
            prop_assert_eq!(at, total);
        }
    }
}
