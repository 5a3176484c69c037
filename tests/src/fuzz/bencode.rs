//! The bounded scanner, which everything bencoded passes first.

use torrent_common::bencode::{Limits, Value, scan, write};

const LIMITS: Limits = Limits { max_len: 1 << 16, max_depth: 8, max_values: 1000 };

/// There is one way to write a value, so what was read is written the same.
pub fn bencode(input: &[u8]) {
    let Ok(document) = scan(input, &LIMITS) else { return };
    assert!(input.len() <= LIMITS.max_len);
    assert_eq!(document.root.raw(), input);
    let mut seen = Seen { values: 0, sorted: true };
    let mut again = Vec::new();
    seen.value(document.root, 0, &mut again);
    assert_eq!(again, input);
    assert!(seen.values <= LIMITS.max_values, "{}", seen.values);
    assert_eq!(seen.sorted, document.sorted);
}

/// What was met on the way through a value.
struct Seen {
    values: usize,
    sorted: bool,
}

impl Seen {
    fn value(&mut self, value: Value<'_>, depth: usize, out: &mut Vec<u8>) {
        assert!(depth <= LIMITS.max_depth, "{depth}");
        self.values += 1;
        if let Some(text) = value.as_bytes() {
            return write::bytes(out, text);
        }
        if let Some(list) = value.as_list() {
            out.push(b'l');
            list.for_each(|value| self.value(value, depth + 1, out));
            return out.push(b'e');
        }
        if let Some(dictionary) = value.as_dictionary() {
            out.push(b'd');
            let mut last = None;
            for (key, value) in dictionary {
                self.sorted &= last.is_none_or(|last| last < key);
                last = Some(key);
                self.values += 1;
                write::bytes(out, key);
                self.value(value, depth + 1, out);
            }
            return out.push(b'e');
        }
        match value.as_i64() {
            Some(number) => write::integer(out, number),
            // Longer than 64 bits.
            None => out.extend_from_slice(value.raw()),
        }
    }
}
