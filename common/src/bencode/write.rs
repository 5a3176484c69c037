//! Writes bencode into a buffer, piece by piece: for answers made on a hot path. The order of a dictionary's keys is the
//! caller's duty, and is asserted in debug builds.

/// Appends a string.
pub fn bytes(out: &mut Vec<u8>, content: &[u8]) {
    bytes_header(out, content.len());
    out.extend_from_slice(content);
}

/// Appends what stands before the content of a string; the caller appends exactly `len` bytes.
pub fn bytes_header(out: &mut Vec<u8>, len: usize) {
    decimal(out, len as u64);
    out.push(b':');
}

/// Appends an integer.
pub fn integer(out: &mut Vec<u8>, number: i64) {
    out.push(b'i');
    if number < 0 {
        out.push(b'-');
    }
    decimal(out, number.unsigned_abs());
    out.push(b'e');
}

/// Appends a list, filled in by `fill`.
pub fn list(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'l');
    fill(out);
    out.push(b'e');
}

/// Appends a dictionary, filled in by `fill`.
pub fn dictionary(out: &mut Vec<u8>, fill: impl FnOnce(&mut DictionaryWriter<'_>)) {
    out.push(b'd');
    fill(&mut DictionaryWriter { out, last_key: None });
    out.push(b'e');
}

/// An open dictionary. Keys must come in ascending order of their bytes (BEP 3).
#[derive(Debug)]
pub struct DictionaryWriter<'a> {
    out: &'a mut Vec<u8>,
    /// Where the last key stands in `out`.
    last_key: Option<(usize, usize)>,
}

impl DictionaryWriter<'_> {
    /// Appends a key; the caller appends exactly one value to what is given back, with the functions of this module.
    pub fn key(&mut self, key: &[u8]) -> &mut Vec<u8> {
        let last = self.last_key.and_then(|(begin, end)| self.out.get(begin..end));
        debug_assert!(last.is_none_or(|last| last < key), "keys out of order at {:?}", key.escape_ascii());
        bytes(self.out, key);
        self.last_key = Some((self.out.len() - key.len(), self.out.len()));
        self.out
    }

    /// Appends a key and a string.
    pub fn bytes(&mut self, key: &[u8], content: &[u8]) {
        bytes(self.key(key), content);
    }

    /// Appends a key and an integer.
    pub fn integer(&mut self, key: &[u8], number: i64) {
        integer(self.key(key), number);
    }

    /// Appends a key and a list.
    pub fn list(&mut self, key: &[u8], fill: impl FnOnce(&mut Vec<u8>)) {
        list(self.key(key), fill);
    }

    /// Appends a key and a dictionary.
    pub fn dictionary(&mut self, key: &[u8], fill: impl FnOnce(&mut DictionaryWriter<'_>)) {
        dictionary(self.key(key), fill);
    }
}

fn decimal(out: &mut Vec<u8>, number: u64) {
    // 20 digits hold any u64.
    let mut digits = [0; 20];
    let mut rest = number;
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend(digits.iter().skip(digits.len() - used));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_bep_3_shows() {
        let mut out = Vec::new();
        dictionary(&mut out, |d| {
            d.bytes(b"cow", b"moo");
            d.dictionary(b"empty", |_| {});
            d.integer(b"n", -42);
            d.list(b"spam", |l| {
                bytes(l, b"a");
                integer(l, 0);
            });
        });
        assert_eq!(out, b"d3:cow3:moo5:emptyde1:ni-42e4:spaml1:ai0eee");
    }

    #[test]
    fn writes_the_extremes() {
        for number in [i64::MIN, i64::MAX, 0, 9, 10, -1] {
            let mut out = Vec::new();
            integer(&mut out, number);
            assert_eq!(out, format!("i{number}e").into_bytes());
        }
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "keys out of order")]
    fn asserts_the_order_of_keys() {
        dictionary(&mut Vec::new(), |d| {
            d.integer(b"b", 1);
            d.integer(b"a", 1);
        });
    }
}
