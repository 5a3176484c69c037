//! The payload that is under way: buffers that are filled in order as its bytes come.

use std::collections::VecDeque;

use torrent_common::geometry::BlockRef;

use super::inbox::Receiver;
use crate::storage::blocks::BlockBuf;

/// Blocks of runs whose headers have come.
#[derive(Debug, Default)]
pub struct Due {
    blocks: VecDeque<(BlockRef, BlockBuf)>,
    /// Bytes that are here of the first.
    filled: usize,
    /// Bytes that came, in all.
    received: u64,
}

impl Due {
    /// Nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Bytes that are to come.
    pub fn missing(&self) -> usize {
        let all: usize = self.blocks.iter().map(|(_, bytes)| bytes.len()).sum();
        all - self.filled
    }

    /// Bytes that came, in all.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Payload begins that goes to these buffers.
    pub fn begin(&mut self, blocks: impl IntoIterator<Item = (BlockRef, BlockBuf)>) {
        self.blocks.extend(blocks);
    }

    /// Where to read to, in order.
    pub fn slices(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let mut from = self.filled;
        self.blocks
            .iter_mut()
            .map(move |(_, bytes)| bytes.get_mut(std::mem::take(&mut from)..).unwrap_or_default())
    }

    /// `got` bytes were read into the slices and what lies behind them: hands on what is whole. The bytes behind.
    pub fn advance(&mut self, mut got: usize, receiver: &mut impl Receiver) -> usize {
        while let Some((_, bytes)) = self.blocks.front() {
            let missing = bytes.len() - self.filled;
            self.received += got.min(missing) as u64;
            if got < missing {
                self.filled += got;
                return 0;
            }
            got -= missing;
            self.filled = 0;
            if let Some((block, bytes)) = self.blocks.pop_front() {
                receiver.block(block, bytes);
            }
        }
        got
    }

    /// Fills in bytes that came elsewhere. How many it took.
    pub fn copy_from(&mut self, from: &[u8], receiver: &mut impl Receiver) -> usize {
        let mut rest = from;
        for slice in self.slices() {
            let (now, later) = rest.split_at(slice.len().min(rest.len()));
            slice.get_mut(..now.len()).unwrap_or_default().copy_from_slice(now);
            rest = later;
        }
        let took = from.len() - rest.len();
        self.advance(took, receiver);
        took
    }
}
