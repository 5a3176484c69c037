//! Values read in place. They exist only inside an input that [`scan`](super::scan()) has passed, so reading them neither
//! fails half-way nor nests deeper than its limits; still, nothing here would panic or recurse on other bytes.

/// A value inside a checked input. A small `Copy` reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    raw: &'a [u8],
}

/// The values of a list, in order. Each step takes time linear in the value passed over.
#[derive(Debug, Clone)]
pub struct List<'a> {
    rest: &'a [u8],
}

/// The keys and values of a dictionary, in the order they stand in. Each step takes time linear in the value passed over.
#[derive(Debug, Clone)]
pub struct Dictionary<'a> {
    rest: &'a [u8],
}

impl<'a> Value<'a> {
    /// `raw` is exactly one value that was checked.
    pub(super) const fn checked(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    /// The original bytes of the value.
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The content, if it is a string.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        string_at(self.raw, 0)
    }

    /// The content, if it is a string of UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        str::from_utf8(self.as_bytes()?).ok()
    }

    /// The number, if it is an integer.
    pub fn as_i64(&self) -> Option<i64> {
        let digits = self.raw.strip_prefix(b"i")?.strip_suffix(b"e")?;
        str::from_utf8(digits).ok()?.parse().ok()
    }

    /// The number, if it is an integer that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        u64::try_from(self.as_i64()?).ok()
    }

    /// What is in it, if it is a list.
    pub fn as_list(&self) -> Option<List<'a>> {
        Some(List { rest: self.raw.strip_prefix(b"l")?.strip_suffix(b"e")? })
    }

    /// What is in it, if it is a dictionary.
    pub fn as_dictionary(&self) -> Option<Dictionary<'a>> {
        Some(Dictionary { rest: self.raw.strip_prefix(b"d")?.strip_suffix(b"e")? })
    }

    /// The value of `key`, if this is a dictionary that has it. Walks the dictionary: to read several keys of a large
    /// one, go through [`Value::as_dictionary`] once.
    pub fn get(&self, key: &[u8]) -> Option<Value<'a>> {
        self.as_dictionary()?.find(|&(name, _)| name == key).map(|(_, value)| value)
    }
}

impl<'a> Iterator for List<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        take(&mut self.rest)
    }
}

impl<'a> Iterator for Dictionary<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        let key = take(&mut self.rest)?.as_bytes()?;
        Some((key, take(&mut self.rest)?))
    }
}

/// Cuts the first value off `rest`.
fn take<'a>(rest: &mut &'a [u8]) -> Option<Value<'a>> {
    let (raw, after) = rest.split_at_checked(value_len(rest)?)?;
    *rest = after;
    Some(Value { raw })
}

/// Length of the value that `input` begins with.
fn value_len(input: &[u8]) -> Option<usize> {
    let mut at = 0_usize;
    let mut depth = 0_usize;
    loop {
        match input.get(at)? {
            b'l' | b'd' => {
                depth += 1;
                at += 1;
            }
            b'e' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b'i' => at += input.get(at..)?.iter().position(|&byte| byte == b'e')? + 1,
            _ => at = string_span(input, at)?.1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// The content of the string that begins at `start`.
pub(super) fn string_at(input: &[u8], start: usize) -> Option<&[u8]> {
    let (begin, end) = string_span(input, start)?;
    input.get(begin..end)
}

/// Where the content of the string at `start` begins and ends.
fn string_span(input: &[u8], start: usize) -> Option<(usize, usize)> {
    let mut len = 0_usize;
    let mut at = start;
    loop {
        match input.get(at)? {
            digit @ b'0'..=b'9' => len = len.checked_mul(10)?.checked_add(usize::from(digit - b'0'))?,
            b':' if at > start => return Some((at + 1, (at + 1).checked_add(len)?)),
            _ => return None,
        }
        at += 1;
    }
}
