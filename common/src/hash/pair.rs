//! Two messages, whose bytes come in parts of any length.

use sha1::{Digest, Sha1};

#[cfg(target_arch = "x86_64")]
use super::together::Together;

/// The SHA-1 of two messages, each given in parts of any length, also none: the same as of each alone, in about half of
/// the time where the processor has SHA instructions.
///
/// No byte is copied if the parts of each message but its last are multiples of 64 bytes long. The two messages may be
/// of different lengths; what one is longer than the other is hashed at the speed of one alone.
///
/// ```
/// # use torrent_common::hash::sha1_pair;
/// let blocks: Vec<Vec<u8>> = vec![vec![1; 16_384], vec![2; 100]];
/// let (piece, nothing) = sha1_pair(blocks.iter().map(|block| &block[..]), []);
/// assert_eq!(nothing[..4], [0xda, 0x39, 0xa3, 0xee]);
/// # assert_ne!(piece, nothing);
/// ```
pub fn sha1_pair<'a>(
    a: impl IntoIterator<Item = &'a [u8]>,
    b: impl IntoIterator<Item = &'a [u8]>,
) -> ([u8; 20], [u8; 20]) {
    let mut pair = Pair::new();
    let (mut parts_a, mut parts_b) = (a.into_iter(), b.into_iter());
    let (mut a, mut b): (&[u8], &[u8]) = (&[], &[]);
    loop {
        a = if a.is_empty() { next_part(&mut parts_a) } else { a };
        b = if b.is_empty() { next_part(&mut parts_b) } else { b };
        let len = match (a.len(), b.len()) {
            (0, 0) => return (pair.finish(Lane::A), pair.finish(Lane::B)),
            (0, len) | (len, 0) => len,
            (a, b) => a.min(b),
        };
        let (now_a, later_a) = a.split_at(len.min(a.len()));
        let (now_b, later_b) = b.split_at(len.min(b.len()));
        pair.update(now_a, now_b);
        (a, b) = (later_a, later_b);
    }
}

/// The next part that has bytes; nothing after the last.
fn next_part<'a>(parts: &mut impl Iterator<Item = &'a [u8]>) -> &'a [u8] {
    parts.find(|part| !part.is_empty()).unwrap_or_default()
}

/// Which of two messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The first.
    A,
    /// The second.
    B,
}

/// Hashes two messages side by side, as far as it is given bytes of both in the same call.
#[derive(Debug, Clone, Default)]
pub struct Pair(Way);

#[derive(Debug, Clone)]
enum Way {
    #[cfg(target_arch = "x86_64")]
    Together(Together),
    /// One after the other, by the `sha1` crate.
    Apart(Sha1, Sha1),
}

impl Pair {
    /// Two empty messages.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is done where the processor has no SHA instructions.
    #[cfg(test)]
    pub(super) fn apart() -> Self {
        Self(Way::Apart(Sha1::new(), Sha1::new()))
    }

    /// Appends to each message; nothing where the part is empty. Parts of the same length, a multiple of 64, are the
    /// fastest: 16 KiB and more each.
    pub fn update(&mut self, a: &[u8], b: &[u8]) {
        match &mut self.0 {
            #[cfg(target_arch = "x86_64")]
            Way::Together(together) => together.update(a, b),
            Way::Apart(sha1_a, sha1_b) => {
                sha1_a.update(a);
                sha1_b.update(b);
            }
        }
    }

    /// The SHA-1 of one message. An empty one begins in its place; the other goes on.
    pub fn finish(&mut self, lane: Lane) -> [u8; 20] {
        match (&mut self.0, lane) {
            #[cfg(target_arch = "x86_64")]
            (Way::Together(together), _) => together.finish(lane),
            (Way::Apart(sha1, _), Lane::A) | (Way::Apart(_, sha1), Lane::B) => sha1.finalize_reset().into(),
        }
    }
}

impl Default for Way {
    fn default() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(together) = Together::new() {
            return Self::Together(together);
        }
        Self::Apart(Sha1::new(), Sha1::new())
    }
}
