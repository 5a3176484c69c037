//! Room made ahead for what is expected: a peer answers requests in the order they were sent, so the headers of the next
//! blocks are known before they arrive. One readv then takes many blocks, each into its own buffer, and no byte is
//! copied by us. What turns out to be something else was read into the wrong place, and is moved: [`Ahead::spill`].

use torrent_common::geometry::BlockRef;
use torrent_common::wire::decoder::PIECE_HEADER_LEN;
use torrent_common::wire::message::{RawBlock, piece_header};

use super::Violation;
use super::asked::Run;
use super::due::Due;
use super::inbox::Receiver;
use crate::storage::blocks::BlockBuf;

/// Blocks that room is made for at the most: 1 MiB of 16 KiB blocks.
const MAX_DEPTH: usize = 64;

/// A header that is expected, and the buffers for what follows it.
#[derive(Debug)]
struct Slot {
    header: [u8; PIECE_HEADER_LEN],
    run: Run,
    blocks: Vec<(BlockRef, BlockBuf)>,
}

impl Slot {
    fn is_as_expected(&self) -> bool {
        self.header == header(self.run.raw())
    }

    fn len(&self) -> usize {
        PIECE_HEADER_LEN + self.blocks.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }
}

/// The room for the next blocks. Empty between two reads.
#[derive(Debug, Default)]
pub struct Ahead {
    slots: Vec<Slot>,
    /// Blocks that room is made for: twice what came with the last read, none after a wrong guess.
    depth: usize,
}

impl Ahead {
    /// Makes room for what `receiver` expects, within `most` bytes.
    pub fn prepare(&mut self, receiver: &impl Receiver, most: usize) {
        self.slots.clear();
        let (mut room, mut blocks) = (0, 0);
        while blocks < self.depth
            && room < most
            && let Some(run) = receiver.expected(self.slots.len())
        {
            let slot = Slot { header: [0; PIECE_HEADER_LEN], run, blocks: receiver.buffers(run).collect() };
            blocks += slot.blocks.len();
            room += slot.len();
            self.slots.push(slot);
        }
    }

    /// Where to read to, in order.
    pub fn slices(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.slots.iter_mut().flat_map(|slot| {
            let blocks = slot.blocks.iter_mut().map(|(_, bytes)| &mut **bytes);
            std::iter::once(&mut slot.header[..]).chain(blocks)
        })
    }

    /// `got` bytes were read into the slots and what lies behind them. Moves the buffers of those that are what was
    /// expected to `due` and fills them; gives the bytes of those that are not, which are to be spilled, and behind them.
    ///
    /// # Errors
    /// [`Violation`]: hang up.
    pub fn filled(
        &mut self,
        mut got: usize,
        due: &mut Due,
        receiver: &mut impl Receiver,
    ) -> Result<(usize, usize), Violation> {
        let mut blocks = 0;
        let mut slots = std::mem::take(&mut self.slots).into_iter().peekable();
        while let Some(slot) = slots.next_if(|slot| got >= PIECE_HEADER_LEN && slot.is_as_expected()) {
            receiver.begin(slot.run.raw())?;
            blocks += slot.blocks.len();
            due.begin(slot.blocks);
            got = due.advance(got - PIECE_HEADER_LEN, receiver);
        }
        self.slots = slots.collect();
        let room: usize = self.slots.iter().map(Slot::len).sum();
        let astray = got.min(room);
        if astray == 0 {
            self.clear();
        }
        self.depth = if astray >= PIECE_HEADER_LEN { 0 } else { (2 * blocks + 1).min(MAX_DEPTH) };
        Ok((astray, got - astray))
    }

    /// Moves `len` bytes that were read into the slots to `to`, and empties them.
    pub fn spill(&mut self, mut len: usize, to: &mut Vec<u8>) {
        for slice in self.slices() {
            let part = slice.get(..len).unwrap_or(slice);
            to.extend_from_slice(part);
            len -= part.len();
        }
        self.clear();
    }

    /// Gives the room back.
    pub fn clear(&mut self) {
        self.slots.clear();
    }

    /// A header came where no room was made for it. Guesses are worth while again if this one would have been right.
    pub fn hint(&mut self, receiver: &impl Receiver, header: RawBlock) {
        if self.depth == 0 && receiver.expected(0).is_some_and(|run| run.raw() == header) {
            self.depth = 1;
        }
    }
}

fn header(raw: RawBlock) -> [u8; PIECE_HEADER_LEN] {
    piece_header(raw.index, raw.begin, raw.len)
}
