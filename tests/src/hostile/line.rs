//! The line from strangers to their victim: all of an attack have one together, and it carries so much and no more. Otherwise an
//! attack on loopback mostly shows what it costs to attack.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Bytes sent at once at the most.
pub(super) const PART_LEN: usize = 16 << 10;
/// What was not sent for so long may be sent at once.
const CREDIT: Duration = Duration::from_millis(50);

/// A line.
pub(super) struct Line {
    /// Without: no bound.
    bytes_per_second: Option<u64>,
    /// When it has carried all that it was given.
    free: Mutex<Instant>,
}

impl Line {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, free: Mutex::new(Instant::now()) }
    }

    /// Gives it so many bytes. Who does waits so long before they are sent.
    pub(super) fn take(&self, len: usize) -> Duration {
        let Some(rate) = self.bytes_per_second else { return Duration::ZERO };
        let now = Instant::now();
        let mut free = self.free.lock().unwrap();
        let begin = (*free).max(now.checked_sub(CREDIT).unwrap_or(now));
        *free = begin + Duration::from_nanos(len as u64 * 1_000_000_000 / rate.max(1));
        begin.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_carries_what_it_may() {
        assert_eq!(Line::new(None).take(1 << 30), Duration::ZERO);
        let line = Line::new(Some(1_000_000));
        let waits = (0..200).map(|_| line.take(10_000));
        let last = waits.last().unwrap();
        // Two seconds' worth but for the last and the credit, and however long this took.
        assert!(last <= Duration::from_millis(1990) && last >= Duration::from_millis(1000), "{last:?}");
    }
}
