//! SHA-1 of two messages at once, and why: the SHA instructions of a processor are slow to answer but quick to be asked
//! again. Four rounds of a message wait for the four before them, so a single message leaves the unit idle for about
//! half of the time; a second message, which waits for nothing of the first, fills the gaps.
//!
//! Measured on one core of a Zen 4, in GiB/s: OpenSSL 1.43, the `sha1` crate 1.80, two messages side by side 3.19. Three
//! would need 18 of the 16 registers.
//!
//! What to call:
//! - [`sha1_pair`] for two messages that are in memory, each as a list of parts (a downloaded piece is blocks).
//! - [`hash_side_by_side`] for two runs of messages that are read part by part (pieces on disk).
//! - [`hash_in_order`] for one run that is to be read in order, from a disk that seeks.
//! - [`Pair`] is what they are made of.
//!
//! Only x86-64 has the instructions used here. Other processors, aarch64 among them, and an x86-64 without SHA
//! instructions take one message after the other with the `sha1` crate, which uses what it finds there.

mod in_order;
mod lanes;
mod pair;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod together;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use in_order::hash_in_order;
pub use lanes::{Buffers, Messages, Part, hash_side_by_side, messages_per_run};
pub use pair::{Lane, Pair, sha1_pair};

/// How what is hashed is read: see [`hash_side_by_side`] and [`hash_in_order`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadOrder {
    /// By all threads, at several places at once. For memory, flash and networks.
    #[default]
    Parallel,
    /// By one thread, from the first byte to the last. For disks that seek.
    Sequential,
}
