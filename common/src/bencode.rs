//! A bounded reader of bencode (BEP 3): checks a whole input once, without recursion and without copying, before
//! anything else (serde_bencode recurses without limit) may see it.

/// What an input may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest input, in bytes.
    pub max_len: usize,
    /// The deepest nesting of lists and dictionaries.
    pub max_depth: usize,
    /// The most values, keys included.
    pub max_values: usize,
}

/// Input that is not acceptable bencode, with the offset of the first byte at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BencodeError {
    /// See [`Limits`].
    #[error("{0}")]
    Placeholder(usize),
}

/// A value inside a checked input.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    raw: &'a [u8],
}

/// A checked input.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// The outermost value.
    pub root: Value<'a>,
    /// Whether every dictionary's keys are in order, as BEP 3 asks. Clients tolerate it when they are not.
    pub sorted: bool,
}

impl Limits {
    /// For metainfo of up to `max_len` bytes: depth 32.
    pub const fn for_len(max_len: usize) -> Self {
        Self { max_len, max_depth: 32, max_values: max_len }
    }
}

/// Checks all of `input`: one value, nothing after it, depth and size within `limits`, canonical integers and string
/// lengths, no key twice in a dictionary.
///
/// # Errors
/// [`BencodeError`], with the offset.
pub fn scan<'a>(input: &'a [u8], limits: &Limits) -> Result<Document<'a>, BencodeError> {
    todo!()
}

impl<'a> Value<'a> {
    /// The original bytes of the value.
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The content, if it is a string.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        todo!()
    }

    /// The number, if it is an integer in range.
    pub fn as_i64(&self) -> Option<i64> {
        todo!()
    }

    /// The value of `key`, if this is a dictionary that has it.
    pub fn get(&self, key: &[u8]) -> Option<Value<'a>> {
        todo!()
    }
}
