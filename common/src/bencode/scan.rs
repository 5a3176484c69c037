//! The one pass that decides whether an input is acceptable.

use std::cmp::Ordering;

use super::value::string_at;
use super::{BencodeError, Document, Limits, Value};

/// Checks all of `input`: one value, nothing after it, depth and size within `limits`, canonical integers (of 64 bits)
/// and string lengths, no key twice in a dictionary. Takes time linear in the input (dictionaries whose keys are out
/// of order are sorted, to find keys that are there twice).
///
/// # Errors
/// [`BencodeError`], with the offset.
pub fn scan<'a>(input: &'a [u8], limits: &Limits) -> Result<Document<'a>, BencodeError> {
    if input.len() > limits.max_len || u32::try_from(input.len()).is_err() {
        return Err(BencodeError::TooLong(limits.max_len));
    }
    let mut scanner =
        Scanner { input, limits, at: 0, values: 0, frames: Vec::new(), keys: Vec::new(), sorted: true };
    loop {
        scanner.step()?;
        if scanner.frames.is_empty() {
            break;
        }
    }
    if scanner.at < input.len() {
        return Err(BencodeError::TrailingBytes(scanner.at));
    }
    Ok(Document { root: Value::checked(input), sorted: scanner.sorted })
}

/// A list or dictionary whose end has not come yet.
struct Frame {
    is_dictionary: bool,
    /// Where it begins.
    start: usize,
    /// Where its own keys begin in [`Scanner::keys`].
    first_key: usize,
    /// The key was read, its value not yet.
    value_due: bool,
    /// Whether its keys have been in order so far.
    sorted: bool,
}

struct Scanner<'a, 'l> {
    input: &'a [u8],
    limits: &'l Limits,
    at: usize,
    values: usize,
    /// At most `limits.max_depth`.
    frames: Vec<Frame>,
    /// Where the keys of the open dictionaries begin.
    keys: Vec<u32>,
    sorted: bool,
}

impl Scanner<'_, '_> {
    /// Reads one scalar, one key, one beginning, or one end.
    fn step(&mut self) -> Result<(), BencodeError> {
        let Some(&byte) = self.input.get(self.at) else {
            return Err(BencodeError::Truncated(self.frames.last().map_or(self.at, |frame| frame.start)));
        };
        match self.frames.last_mut() {
            Some(frame) if byte == b'e' && frame.value_due => Err(BencodeError::MissingValue(self.at)),
            Some(_) if byte == b'e' => self.close(),
            Some(frame) if frame.is_dictionary && !frame.value_due => self.key(byte),
            Some(frame) => {
                frame.value_due = false;
                self.value(byte)
            }
            None => self.value(byte),
        }
    }

    fn value(&mut self, byte: u8) -> Result<(), BencodeError> {
        self.count()?;
        match byte {
            b'i' => self.integer(),
            b'0'..=b'9' => self.string(),
            b'l' | b'd' => {
                if self.frames.len() >= self.limits.max_depth {
                    return Err(BencodeError::TooDeep(self.at));
                }
                self.frames.push(Frame {
                    is_dictionary: byte == b'd',
                    start: self.at,
                    first_key: self.keys.len(),
                    value_due: false,
                    sorted: true,
                });
                self.at += 1;
                Ok(())
            }
            b'-' => Err(BencodeError::NegativeLength(self.at)),
            _ => Err(BencodeError::UnexpectedByte(self.at)),
        }
    }

    fn count(&mut self) -> Result<(), BencodeError> {
        self.values += 1;
        if self.values > self.limits.max_values { Err(BencodeError::TooManyValues(self.at)) } else { Ok(()) }
    }

    fn key(&mut self, byte: u8) -> Result<(), BencodeError> {
        let start = self.at;
        match byte {
            b'0'..=b'9' => {}
            b'-' => return Err(BencodeError::NegativeLength(start)),
            _ => return Err(BencodeError::KeyNotString(start)),
        }
        self.count()?;
        self.string()?;
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        frame.value_due = true;
        let own = self.keys.get(frame.first_key..).unwrap_or_default();
        if let Some(&last) = own.last() {
            match key_at(self.input, last).cmp(string_at(self.input, start).unwrap_or_default()) {
                Ordering::Less => {}
                Ordering::Equal => return Err(BencodeError::DuplicateKey(start)),
                Ordering::Greater => frame.sorted = false,
            }
        }
        // The input is no longer than u32::MAX bytes.
        self.keys.push(u32::try_from(start).unwrap_or(u32::MAX));
        Ok(())
    }

    fn close(&mut self) -> Result<(), BencodeError> {
        self.at += 1;
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        if !frame.sorted {
            self.sorted = false;
            let input = self.input;
            let own = self.keys.get_mut(frame.first_key..).unwrap_or_default();
            own.sort_unstable_by(|&a, &b| key_at(input, a).cmp(key_at(input, b)).then(a.cmp(&b)));
            let twice =
                own.windows(2).find(|pair| matches!(pair, &&[a, b] if key_at(input, a) == key_at(input, b)));
            if let Some(&[_, second]) = twice {
                return Err(BencodeError::DuplicateKey(second as usize));
            }
        }
        self.keys.truncate(frame.first_key);
        Ok(())
    }

    fn integer(&mut self) -> Result<(), BencodeError> {
        let start = self.at;
        let rest = self.input.get(start + 1..).unwrap_or_default();
        let (negative, digits) = match rest.split_first() {
            Some((b'-', digits)) => (true, digits),
            _ => (false, rest),
        };
        // 64 bits have 19 digits at most; one more is looked at to see that there are too many.
        let count = digits.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = digits.split_at_checked(count).unwrap_or_default();
        match (digits, rest.first()) {
            (_, None) => return Err(BencodeError::Truncated(start)),
            ([], _) => return Err(BencodeError::BadInteger(start)),
            ([b'0'], Some(b'e')) if negative => return Err(BencodeError::NegativeZero(start)),
            ([b'0', _, ..], _) => return Err(BencodeError::LeadingZero(start)),
            (_, Some(b'e')) => {}
            (_, Some(b'0'..=b'9')) => return Err(BencodeError::IntegerOverflow(start)),
            _ => return Err(BencodeError::BadInteger(start)),
        }
        self.at = start + 1 + usize::from(negative) + count + 1;
        let text = self.input.get(start + 1..self.at - 1).and_then(|text| str::from_utf8(text).ok());
        match text.map(str::parse::<i64>) {
            Some(Ok(_)) => Ok(()),
            _ => Err(BencodeError::IntegerOverflow(start)),
        }
    }

    fn string(&mut self) -> Result<(), BencodeError> {
        let start = self.at;
        let rest = self.input.get(start..).unwrap_or_default();
        let mut len = 0_usize;
        for (i, &byte) in rest.iter().enumerate() {
            match byte {
                b'0'..=b'9' if i == 1 && len == 0 => return Err(BencodeError::LeadingZero(start)),
                b'0'..=b'9' => len = len.saturating_mul(10).saturating_add(usize::from(byte - b'0')),
                b':' if len < rest.len() - i => {
                    self.at = start + i + 1 + len;
                    return Ok(());
                }
                b':' => break,
                _ => return Err(BencodeError::BadInteger(start)),
            }
            // A length that the input cannot hold: its digits may go on for ever.
            if len > rest.len() {
                break;
            }
        }
        Err(BencodeError::Truncated(start))
    }
}

fn key_at(input: &[u8], start: u32) -> &[u8] {
    string_at(input, start as usize).unwrap_or_default()
}
