//! The blocks of pieces on their way from the network to the disk. Which blocks count is the core's decision; here is
//! only their memory.

use std::collections::HashMap;

use torrent_common::geometry::{BlockRef, Geometry, PieceIndex};

use crate::storage::blocks::BlockBuf;

/// Pieces being received, and pieces that are good and wait to be written.
#[derive(Debug, Default)]
pub struct Assembly {
    receiving: HashMap<PieceIndex, Vec<Option<BlockBuf>>>,
    verified: HashMap<PieceIndex, Vec<BlockBuf>>,
}

impl Assembly {
    /// Keeps a block; the first of its kind wins, as in the core's books.
    pub fn keep(&mut self, geometry: &Geometry, block: BlockRef, bytes: BlockBuf) {
        let blocks = self.receiving.entry(block.piece()).or_insert_with(|| {
            let count = geometry.block_count(block.piece()) as usize;
            std::iter::repeat_with(|| None).take(count).collect()
        });
        if let Some(slot @ None) = blocks.get_mut(block.index() as usize) {
            *slot = Some(bytes);
        }
    }

    /// All blocks of a piece, to be hashed; `None` if one is missing, which the core rules out.
    pub fn take_whole(&mut self, piece: PieceIndex) -> Option<Vec<BlockBuf>> {
        self.receiving.remove(&piece)?.into_iter().collect()
    }

    /// A good piece waits for the core to say that it is to be written.
    pub fn keep_verified(&mut self, piece: PieceIndex, blocks: Vec<BlockBuf>) {
        self.verified.insert(piece, blocks);
    }

    /// A good piece, to be written.
    pub fn take_verified(&mut self, piece: PieceIndex) -> Option<Vec<BlockBuf>> {
        self.verified.remove(&piece)
    }

    /// Gives the memory of a piece back.
    pub fn discard(&mut self, piece: PieceIndex) {
        self.receiving.remove(&piece);
        self.verified.remove(&piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::blocks::BlockPool;

    #[test]
    fn the_first_block_of_its_kind_wins_and_only_whole_pieces_come_out() {
        let geometry = Geometry::new(64, 32, 16).unwrap();
        let pool = BlockPool::new(16, 64);
        let piece = geometry.piece(0).unwrap();
        let block = |index| geometry.block(piece, index).unwrap();
        let filled = |value| {
            let mut bytes = pool.take(16);
            bytes.fill(value);
            bytes
        };
        let mut assembly = Assembly::default();
        assembly.keep(&geometry, block(1), filled(2));
        assembly.keep(&geometry, block(1), filled(9));
        assembly.keep(&geometry, block(0), filled(1));
        let whole = assembly.take_whole(piece).unwrap();
        assert_eq!(whole.iter().map(|bytes| bytes[0]).collect::<Vec<_>>(), [1, 2]);
        assembly.keep(&geometry, block(1), filled(2));
        assert!(assembly.take_whole(piece).is_none());
    }
}
