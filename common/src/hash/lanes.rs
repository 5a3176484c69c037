//! Two runs of messages, read and hashed side by side.

use super::pair::{Lane, Pair};

/// Bytes read of each message at a time. Small enough that both parts are still in the processor's second cache when
/// they are hashed, large enough that system calls cost little.
pub(super) const PART_LEN: usize = 64 << 10;

/// A run of messages that are read one after another: the pieces that one lane hashes.
pub trait Messages {
    /// Why the run cannot go on.
    type Error;

    /// Reads on in the current message, or begins the first.
    ///
    /// # Errors
    /// What cannot be read, or that nobody wants it any more. It ends the hashing of both runs.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Part, Self::Error>;

    /// Takes the SHA-1 of a message that was read to its [`Part::End`], in the order of the messages. The next may have
    /// been begun meanwhile.
    fn digest(&mut self, digest: [u8; 20]);
}

/// What [`Messages::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// So many bytes, at least one, at the beginning of the buffer.
    Bytes(usize),
    /// The message has no more bytes.
    End,
    /// There is no message.
    Done,
}

/// What is read into: 128 KiB, to be used for one run after another.
#[derive(Debug)]
pub struct Buffers {
    a: Box<[u8]>,
    b: Box<[u8]>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { a: vec![0; PART_LEN].into(), b: vec![0; PART_LEN].into() }
    }
}

/// Bytes of a run at most, unless two messages are longer.
const MAX_RUN_LEN: u64 = 32 << 20;

/// How many of `messages`, each of `message_len` bytes, a thread should take at a time: two at the least, to be hashed
/// side by side, if that leaves a run for each of the threads; few enough that no thread waits long for the last; and so
/// many, otherwise, that files are opened once and read in order. Never 0.
pub fn messages_per_run(messages: usize, message_len: u64, threads: usize) -> usize {
    let least = if messages > threads { 2 } else { 1 };
    let fair = (messages / threads.saturating_mul(4).max(1)).next_multiple_of(2);
    let most = usize::try_from(MAX_RUN_LEN / message_len.max(1)).unwrap_or(usize::MAX);
    fair.min(most).max(least)
}

/// Hashes two runs of messages on this thread. Runs of the same number of bytes are the fastest; the rest of the longer
/// is hashed alone.
///
/// # Errors
/// The first error of either run.
pub fn hash_side_by_side<M: Messages>(a: &mut M, b: &mut M, buffers: &mut Buffers) -> Result<(), M::Error> {
    let mut pair = Pair::new();
    let mut rest_a: &[u8] = &[];
    let mut rest_b: &[u8] = &[];
    loop {
        if rest_a.is_empty() {
            rest_a = next_part(a, &mut pair, Lane::A, &mut buffers.a)?;
        }
        if rest_b.is_empty() {
            rest_b = next_part(b, &mut pair, Lane::B, &mut buffers.b)?;
        }
        let len = match (rest_a.len(), rest_b.len()) {
            (0, 0) => return Ok(()),
            (0, len) | (len, 0) => len,
            (a, b) => a.min(b),
        };
        let (now_a, later_a) = rest_a.split_at(len.min(rest_a.len()));
        let (now_b, later_b) = rest_b.split_at(len.min(rest_b.len()));
        pair.update(now_a, now_b);
        (rest_a, rest_b) = (later_a, later_b);
    }
}

/// Reads on until there are bytes; gives back none when the run is done.
fn next_part<'b, M: Messages>(
    messages: &mut M,
    pair: &mut Pair,
    lane: Lane,
    buffer: &'b mut [u8],
) -> Result<&'b [u8], M::Error> {
    loop {
        match messages.read(buffer)? {
            Part::Bytes(0) => {}
            Part::Bytes(len) => return Ok(buffer.get(..len).unwrap_or(buffer)),
            Part::End => messages.digest(pair.finish(lane)),
            Part::Done => return Ok(&[]),
        }
    }
}
