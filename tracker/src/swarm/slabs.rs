//! The blocks of small swarms, those of one length side by side, without gaps: a block that goes is replaced by the last
//! one. So memory is as full as can be whatever the swarms grew from, and what the allocator gives are pages of one size.

/// Bytes of a page. Blocks may lie across the end of one.
const PAGE_LEN: usize = 1024;

/// Blocks of every length are multiples of this.
pub(super) const UNIT: usize = 8;

/// Where a block is: blocks of `class` times [`UNIT`] bytes, and the number among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) class: u8,
    pub(super) number: u32,
}

/// Blocks of all lengths, of fewer classes than `CLASSES`.
pub(super) struct Slabs<const CLASSES: usize> {
    slabs: [Slab; CLASSES],
}

#[derive(Default)]
struct Slab {
    #[expect(clippy::vec_box, reason = "the list grows without moving them")]
    pages: Vec<Box<[u8; PAGE_LEN]>>,
    len: u32,
}

impl<const CLASSES: usize> Slabs<CLASSES> {
    pub(super) fn new() -> Self {
        Self { slabs: std::array::from_fn(|_| Slab::default()) }
    }

    /// Blocks of this class.
    pub(super) fn len(&self, class: u8) -> u32 {
        self.slab(class).map_or(0, |slab| slab.len)
    }

    /// Copies as much of a block as `out` has room for. Untouched if there is none.
    pub(super) fn read(&self, block: Block, out: &mut [u8]) {
        if let Some(slab) = self.slab(block.class) {
            slab.read(start(block), out);
        }
    }

    /// Writes over a block.
    pub(super) fn write(&mut self, block: Block, bytes: &[u8]) {
        if let Some(slab) = self.slabs.get_mut(usize::from(block.class)) {
            slab.write(start(block), bytes);
        }
    }

    /// Adds a block of that many bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Block {
        let class = u8::try_from(bytes.len() / UNIT).unwrap_or(u8::MAX);
        let Some(slab) = self.slabs.get_mut(usize::from(class)) else {
            debug_assert!(false, "no block is so long");
            return Block { class: 0, number: 0 };
        };
        let block = Block { class, number: slab.len };
        slab.len += 1;
        let end = start(block) + bytes.len();
        while slab.pages.len() * PAGE_LEN < end {
            if slab.pages.len() == slab.pages.capacity() {
                slab.pages.reserve_exact(slab.pages.len() / 8 + 1);
            }
            slab.pages.push(Box::new([0; PAGE_LEN]));
        }
        slab.write(start(block), bytes);
        block
    }

    /// Takes a block out. Returns the block that lies there now, and where it was before: `None` if it was the last.
    pub(super) fn remove(&mut self, block: Block) -> Option<Block> {
        let size = usize::from(block.class) * UNIT;
        let slab = self.slabs.get_mut(usize::from(block.class)).filter(|slab| block.number < slab.len)?;
        slab.len -= 1;
        let last = Block { number: slab.len, ..block };
        if last != block {
            let mut moved = [0; 512];
            let moved = moved.get_mut(..size).unwrap_or_default();
            slab.read(start(last), moved);
            slab.write(start(block), moved);
        }
        slab.pages.truncate(start(last).div_ceil(PAGE_LEN));
        if slab.pages.len() * 2 < slab.pages.capacity() {
            slab.pages.shrink_to_fit();
        }
        (last != block).then_some(last)
    }

    fn slab(&self, class: u8) -> Option<&Slab> {
        self.slabs.get(usize::from(class))
    }
}

impl Slab {
    fn read(&self, start: usize, out: &mut [u8]) {
        let (mut page, mut within) = (start / PAGE_LEN, start % PAGE_LEN);
        let mut out = out;
        while let Some(bytes) = self.pages.get(page).and_then(|page| page.get(within..)) {
            let len = bytes.len().min(out.len());
            let (Some(to), Some(from)) = (out.split_off_mut(..len), bytes.get(..len)) else { return };
            to.copy_from_slice(from);
            if out.is_empty() {
                return;
            }
            (page, within) = (page + 1, 0);
        }
    }

    fn write(&mut self, start: usize, bytes: &[u8]) {
        let (mut page, mut within) = (start / PAGE_LEN, start % PAGE_LEN);
        let mut bytes = bytes;
        while let Some(to) = self.pages.get_mut(page).and_then(|page| page.get_mut(within..)) {
            let len = to.len().min(bytes.len());
            let (Some(to), Some(from)) = (to.get_mut(..len), bytes.split_off(..len)) else { return };
            to.copy_from_slice(from);
            if bytes.is_empty() {
                return;
            }
            (page, within) = (page + 1, 0);
        }
    }
}

fn start(block: Block) -> usize {
    block.number as usize * usize::from(block.class) * UNIT
}
