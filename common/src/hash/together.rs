//! SHA-1 (FIPS 180-4) around the compression of [`super::x86`]: messages of any length are cut into blocks, and padded.

use super::pair::Lane;
use super::x86::{BLOCK_LEN, Block, START, ShaInstructions, State};

/// What ends a message: a bit, zeros up to 8 bytes before the end of a block, and the message's length in bits.
const PADDING: Block = {
    let mut padding = [0; BLOCK_LEN];
    padding[0] = 0x80;
    padding
};
const LENGTH_LEN: u64 = 8;

/// Two messages that are compressed together.
#[derive(Debug, Clone)]
pub(super) struct Together {
    instructions: ShaInstructions,
    a: Message,
    b: Message,
}

#[derive(Debug, Clone)]
struct Message {
    /// After the whole blocks of the message so far.
    state: State,
    /// Bytes so far.
    len: u64,
    /// Begins with the bytes after the last whole block.
    tail: Block,
}

impl Together {
    /// Two empty messages; `None` where the processor lacks the instructions.
    pub fn new() -> Option<Self> {
        let instructions = ShaInstructions::detect()?;
        Some(Self { instructions, a: Message::new(), b: Message::new() })
    }

    pub fn update(&mut self, a: &[u8], b: &[u8]) {
        let (first_a, blocks_a) = self.a.append(a);
        let (first_b, blocks_b) = self.b.append(b);
        let states = (&mut self.a.state, &mut self.b.state);
        if first_a.is_some() || first_b.is_some() {
            self.instructions
                .compress((&mut *states.0, first_a.as_slice()), (&mut *states.1, first_b.as_slice()));
        }
        self.instructions.compress((states.0, blocks_a), (states.1, blocks_b));
    }

    pub fn finish(&mut self, lane: Lane) -> [u8; 20] {
        let message = match lane {
            Lane::A => &self.a,
            Lane::B => &self.b,
        };
        let length = message.len.wrapping_mul(8).to_be_bytes();
        for part in [message.padding(), &length] {
            match lane {
                Lane::A => self.update(part, &[]),
                Lane::B => self.update(&[], part),
            }
        }
        let message = match lane {
            Lane::A => &mut self.a,
            Lane::B => &mut self.b,
        };
        std::mem::replace(message, Message::new()).digest()
    }
}

impl Message {
    const fn new() -> Self {
        Self { state: START, len: 0, tail: [0; BLOCK_LEN] }
    }

    /// Bytes in the tail.
    fn tail_len(&self) -> usize {
        // In range: a remainder of 64.
        usize::try_from(self.len % BLOCK_LEN as u64).unwrap_or(0)
    }

    /// Appends a part, and gives back what there is to compress now: the block that the tail has become, and whole
    /// blocks of the part. The rest is the new tail.
    fn append<'p>(&mut self, part: &'p [u8]) -> (Option<Block>, &'p [Block]) {
        let tail_len = self.tail_len();
        self.len = self.len.wrapping_add(part.len() as u64);
        let mut part = part;
        let mut first = None;
        if tail_len > 0 {
            let (head, rest) = part.split_at(part.len().min(BLOCK_LEN - tail_len));
            part = rest;
            put(&mut self.tail, tail_len, head);
            if tail_len + head.len() < BLOCK_LEN {
                return (None, &[]);
            }
            first = Some(self.tail);
        }
        let (blocks, rest) = part.as_chunks();
        put(&mut self.tail, 0, rest);
        (first, blocks)
    }

    /// What is appended before the length at the end.
    fn padding(&self) -> &'static [u8] {
        let block_len = BLOCK_LEN as u64;
        let zeros = (2 * block_len - LENGTH_LEN - 1 - self.len % block_len) % block_len;
        PADDING.get(..=usize::try_from(zeros).unwrap_or(0)).unwrap_or(&PADDING)
    }

    fn digest(&self) -> [u8; 20] {
        let mut digest = [0; 20];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        digest
    }
}

/// Puts bytes into a block, from `at` on; those that find no room are left out.
fn put(block: &mut Block, at: usize, bytes: &[u8]) {
    for (to, from) in block.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}
