//! What may be set, wherever it is: in config.ini, over the control API, by the flags of a command. One place for each
//! range, and for the words that name it.

use std::fmt;
use std::ops::RangeInclusive;

const DAY_S: u64 = 24 * 60 * 60;

/// Connections to peers, at a time.
pub const CONNECTIONS: Whole = Whole { unit: "connections", range: 1..=65535 };
/// Torrents that are active at a time; 0: no limit.
pub const ACTIVE_TORRENTS: Whole = Whole { unit: "torrents", range: 0..=1_000_000 };
/// Bytes per second; 0: no limit. A TiB per second: more is a mistake.
pub const RATE: Whole = Whole { unit: "bytes per second", range: 0..=1 << 40 };
/// The same in KiB.
pub const RATE_KIB: Whole = Whole { unit: "KiB per second (0: no limit)", range: 0..=1 << 30 };
/// How long a torrent is seeded; 0: no goal. A century, as good as for ever.
pub const SEED_TIME: Whole = Whole { unit: "seconds", range: 0..=36_500 * DAY_S };
/// How many times its size is uploaded of a torrent; 0: no goal.
pub const SEED_RATIO: Decimal = Decimal { most: 1_000_000.0 };

/// A whole number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// What it counts; may be empty.
    pub unit: &'static str,
    /// From the least to the most.
    pub range: RangeInclusive<u64>,
}

/// A number from 0 on that need not be whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decimal {
    /// The most.
    pub most: f64,
}

/// A value that cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} must be {expected}")]
pub struct OutOfRange {
    /// What was to be set.
    pub key: &'static str,
    /// What it may be, in words.
    pub expected: String,
}

impl Whole {
    /// Whether it may be set.
    pub fn contains(&self, value: u64) -> bool {
        self.range.contains(&value)
    }

    /// Refuses what may not be set.
    ///
    /// # Errors
    /// [`OutOfRange`] names the range.
    pub fn check(&self, key: &'static str, value: u64) -> Result<(), OutOfRange> {
        if self.contains(value) { Ok(()) } else { Err(OutOfRange { key, expected: self.to_string() }) }
    }
}

impl Decimal {
    /// Whether it may be set.
    pub fn contains(&self, value: f64) -> bool {
        (0.0..=self.most).contains(&value)
    }

    /// Refuses what may not be set.
    ///
    /// # Errors
    /// [`OutOfRange`] names the range.
    pub fn check(&self, key: &'static str, value: f64) -> Result<(), OutOfRange> {
        if self.contains(value) { Ok(()) } else { Err(OutOfRange { key, expected: self.to_string() }) }
    }
}

/// As in "must be ...".
impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.unit.is_empty() { "" } else { " of " };
        write!(f, "a whole number{of}{} from {} to {}", self.unit, self.range.start(), self.range.end())
    }
}

/// As in "must be ...".
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number from 0 to {}, such as 1.5", self.most)
    }
}

/// A time as people write it: seconds, or with `s`, `m`, `h` or `d` after it seconds, minutes, hours or days. In seconds;
/// `None` if it is none.
pub fn parse_duration(text: &str) -> Option<u64> {
    let units = [('s', 1), ('m', 60), ('h', 60 * 60), ('d', DAY_S)];
    let with_unit = units.into_iter().find_map(|(unit, len_s)| Some((text.strip_suffix(unit)?, len_s)));
    let (number, len_s) = with_unit.unwrap_or((text, 1));
    // `parse` alone would take `+5`.
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse::<u64>().ok().filter(|_| digits)?.checked_mul(len_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_told_with_the_range() {
        assert_eq!(CONNECTIONS.check("max_connections", 65535), Ok(()));
        let error = CONNECTIONS.check("max_connections", u64::MAX).unwrap_err();
        assert_eq!(
            error.to_string(),
            "max_connections must be a whole number of connections from 1 to 65535"
        );
        for wrong in [-1.0, 1e308, f64::INFINITY, f64::NAN] {
            let error = SEED_RATIO.check("seed_ratio", wrong).unwrap_err();
            assert_eq!(error.to_string(), "seed_ratio must be a number from 0 to 1000000, such as 1.5");
        }
        assert_eq!(SEED_RATIO.check("seed_ratio", 1.5), Ok(()));
        assert_eq!(RATE_KIB.range.end() * 1024, *RATE.range.end());
    }

    #[test]
    fn times() {
        let times = [("0", 0), ("90", 90), ("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800)];
        for (text, expected) in times {
            assert_eq!(parse_duration(text), Some(expected), "{text}");
        }
        for bad in ["", "m", "-1", "+1", "1.5h", "1w", "1 h", "99999999999999999d", "é"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
