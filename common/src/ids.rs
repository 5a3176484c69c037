//! The two 20-byte names of BitTorrent: what is shared ([`InfoHash`]) and who shares it ([`PeerId`]).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The SHA-1 of the original bytes of a torrent's `info` dictionary (BEP 3). Shown as 40 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InfoHash([u8; 20]);

/// The name a peer gives itself in the handshake and to trackers (BEP 3). Any 20 bytes: strangers choose it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId([u8; 20]);

/// What our peer ids begin with: Azureus style (BEP 20), client `TF`, the version as four digits. Stable: trackers
/// and other clients may recognise us by it.
pub const CLIENT_PREFIX: &[u8; 8] = b"-TF0100-";

/// A text that is not 40 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an info-hash is 40 hexadecimal digits")]
pub struct InfoHashError;

impl InfoHash {
    /// Wraps 20 bytes as they stand on the wire.
    pub const fn new(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The SHA-1 of `info`, the original bytes of the info dictionary.
    pub fn of(info: &[u8]) -> Self {
        use sha1::Digest;
        Self(sha1::Sha1::digest(info).into())
    }

    /// The bytes as they stand on the wire.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl PeerId {
    /// Wraps 20 bytes as they stand on the wire.
    pub const fn new(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// A new id for ourselves: [`CLIENT_PREFIX`], then 12 random alphanumeric characters.
    pub fn generate(random: &mut fastrand::Rng) -> Self {
        let mut id = [0; 20];
        let (prefix, tail) = id.split_at_mut(CLIENT_PREFIX.len());
        prefix.copy_from_slice(CLIENT_PREFIX);
        for byte in tail {
            *byte = random.alphanumeric() as u8;
        }
        Self(id)
    }

    /// The bytes as they stand on the wire.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl From<[u8; 20]> for InfoHash {
    fn from(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }
}

impl From<[u8; 20]> for PeerId {
    fn from(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Printable bytes as they are, others as `\xNN`: safe to show on a terminal.
impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.escape_ascii(), f)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for InfoHash {
    type Err = InfoHashError;

    fn from_str(text: &str) -> Result<Self, InfoHashError> {
        let digits = text.as_bytes();
        if digits.len() != 40 {
            return Err(InfoHashError);
        }
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16).and_then(|v| u8::try_from(v).ok());
            let &[high, low] = pair else { return Err(InfoHashError) };
            *byte = value(high).ok_or(InfoHashError)? << 4 | value(low).ok_or(InfoHashError)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for InfoHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for InfoHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_hash_round_trips_through_text() {
        let text = "00112233445566778899aabbccddeeff0a0b0c0d";
        assert_eq!(text.parse::<InfoHash>().unwrap().to_string(), text);
        assert_eq!(text.to_uppercase().parse::<InfoHash>().unwrap().to_string(), text);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "0",
            &"0".repeat(39),
            &"0".repeat(41),
            &"g".repeat(40),
            &"é".repeat(20),
            &format!("+{}", "0".repeat(39)),
        ] {
            assert_eq!(text.parse::<InfoHash>(), Err(InfoHashError), "{text:?}");
        }
    }

    #[test]
    fn info_hash_is_sha1() {
        // FIPS 180 example: SHA-1("abc").
        assert_eq!(InfoHash::of(b"abc").to_string(), "a9993e364706816aba3e25717850c26c9cd0d89d");
    }

    #[test]
    fn generated_ids_have_the_prefix_and_differ() {
        let mut random = fastrand::Rng::with_seed(1);
        let (a, b) = (PeerId::generate(&mut random), PeerId::generate(&mut random));
        assert!(a.as_bytes().starts_with(CLIENT_PREFIX));
        assert_ne!(a, b);
    }

    #[test]
    fn peer_ids_are_shown_escaped() {
        let mut bytes = *b"-XX0001-aaaaaaaaaaaa";
        bytes[8] = 0x1b;
        assert_eq!(PeerId::new(bytes).to_string(), "-XX0001-\\x1baaaaaaaaaaa");
    }
}
