//! A bounded reader of bencode (BEP 3): [`scan()`] checks a whole input once, without recursion and without copying;
//! nothing else may see a stranger's bencode before (serde_bencode recurses without limit). What passed is read as
//! [`Value`]s, in place. [`write`](mod@write) is the other direction.

mod scan;
#[cfg(test)]
mod tests;
mod value;
pub mod write;

pub use scan::scan;
pub use value::{Dictionary, List, Value};

/// What an input may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest input, in bytes. At most `u32::MAX`, whatever is written here.
    pub max_len: usize,
    /// The deepest nesting of lists and dictionaries.
    pub max_depth: usize,
    /// The most values, keys included. A scan takes up to 8 bytes of memory for a key, and nothing for another value.
    pub max_values: usize,
}

impl Limits {
    /// The nesting that everything in use stays well below.
    pub const DEFAULT_DEPTH: usize = 32;

    /// For metainfo of up to `max_len` bytes: depth 32, as many values as fit.
    pub const fn for_len(max_len: usize) -> Self {
        Self { max_len, max_depth: Self::DEFAULT_DEPTH, max_values: max_len }
    }
}

/// Input that is not acceptable bencode, with the offset, in bytes, of the value or byte at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BencodeError {
    /// Longer than [`Limits::max_len`], which is here instead of an offset.
    #[error("longer than the {0} bytes allowed")]
    TooLong(usize),
    /// Nested deeper than [`Limits::max_depth`].
    #[error("nested too deep at byte {0}")]
    TooDeep(usize),
    /// More values than [`Limits::max_values`].
    #[error("too many values at byte {0}")]
    TooManyValues(usize),
    /// The input ends inside the value that begins here.
    #[error("the value at byte {0} is cut off")]
    Truncated(usize),
    /// More input after the value.
    #[error("something follows the end of the data at byte {0}")]
    TrailingBytes(usize),
    /// A number or length such as `07`.
    #[error("the number at byte {0} has a leading zero")]
    LeadingZero(usize),
    /// `i-0e`.
    #[error("the number at byte {0} is minus zero")]
    NegativeZero(usize),
    /// A string length below zero.
    #[error("the string length at byte {0} is negative")]
    NegativeLength(usize),
    /// Not digits between `i` and `e`, or a string's length without its colon.
    #[error("the number at byte {0} is not valid")]
    BadInteger(usize),
    /// A number that 64 bits do not hold.
    #[error("the number at byte {0} is too large")]
    IntegerOverflow(usize),
    /// A dictionary has this key twice.
    #[error("a dictionary has the key at byte {0} twice")]
    DuplicateKey(usize),
    /// A dictionary's key is not a string.
    #[error("the dictionary key at byte {0} is not a string")]
    KeyNotString(usize),
    /// A dictionary ends after a key.
    #[error("the last key of the dictionary that ends at byte {0} has no value")]
    MissingValue(usize),
    /// No value begins with this byte.
    #[error("unexpected byte at {0}")]
    UnexpectedByte(usize),
}

/// A checked input.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// The outermost value.
    pub root: Value<'a>,
    /// Whether every dictionary's keys are in order, as BEP 3 asks. Clients tolerate it when they are not.
    pub sorted: bool,
}
