//! The extended handshake (BEP 10): what each side tells the other of itself.
//!
//! We name no extension messages. `reqq` says how many requests we queue. `reql`, a key of our own, says how long one of
//! them may be, in bytes: BEP 3 leaves that open, and in practice 16 KiB is what every client takes, so whoever does not
//! say more is not asked for more.

use torrent_common::bencode::{self, Limits};
use torrent_common::geometry::MAX_BLOCK_LEN;

use super::outbox::MAX_QUEUED_REQUESTS;

/// Longer handshakes are not read: they carry no more than a few names.
const MAX_LEN: usize = 16 * 1024;
const MAX_VALUES: usize = 512;

/// What a peer told of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// The longest request it takes, in bytes; at most [`MAX_BLOCK_LEN`]. 0: it did not say.
    pub max_request_len: u32,
}

impl Told {
    /// Reads a handshake. What cannot be understood was not told: many clients send odd ones.
    pub fn read(payload: &[u8]) -> Self {
        let limits = Limits { max_len: MAX_LEN, max_depth: 8, max_values: MAX_VALUES };
        let Ok(document) = bencode::scan(payload, &limits) else { return Self::default() };
        let len = document.root.get(b"reql").and_then(|value| value.as_u64());
        let len = len.map(|len| u32::try_from(len).unwrap_or(u32::MAX).min(MAX_BLOCK_LEN));
        Self { max_request_len: len.unwrap_or(0) }
    }
}

/// Ours.
pub fn ours() -> Vec<u8> {
    let client = concat!("torrent-daemon ", env!("CARGO_PKG_VERSION"));
    format!("d1:mde4:reqli{MAX_BLOCK_LEN}e4:reqqi{MAX_QUEUED_REQUESTS}e1:v{}:{client}e", client.len())
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_say_is_understood_and_nonsense_is_not() {
        let document = bencode::scan(&ours(), &Limits::for_len(1000)).map(|document| document.sorted);
        assert_eq!(document, Ok(true));
        // Nobody is invited to tell us of peers (BEP 11): they come from trackers alone, of every torrent (BEP 27).
        assert!(ours().starts_with(b"d1:mde"), "{}", ours().escape_ascii());
        assert_eq!(Told::read(&ours()), Told { max_request_len: MAX_BLOCK_LEN });
        assert_eq!(Told::read(b"d4:reqli99999999999ee").max_request_len, MAX_BLOCK_LEN);
        for odd in [&b"de"[..], b"d4:reqli-1ee", b"d4:reql3:abce", b"le", b"i7e", b"", b"d4:reqli16384e"] {
            assert_eq!(Told::read(odd), Told::default(), "{odd:?}");
        }
    }
}
