//! Time as it is kept of every peer: two bytes.

/// A moment: ticks of the store's clock, which wrap around. See [`Ticks`].
pub(super) type Tick = u16;

/// Whether a peer that is to be forgotten after `until` is past that. It may have been so for half the range of ticks.
pub(super) const fn is_past(until: Tick, now: Tick) -> bool {
    until.wrapping_sub(now) >= 1 << 15
}

/// Seconds as 16-bit ticks: as fine as lets the longest lifetime be a quarter of the range, so that a sweep may be late.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticks {
    tick_s: u32,
}

impl Ticks {
    pub(super) fn new(longest_lifetime_s: u32) -> Self {
        Self { tick_s: longest_lifetime_s.div_ceil(1 << 14).max(1) }
    }

    pub(super) fn at(self, now_s: u32) -> Tick {
        let [low, high, ..] = (now_s / self.tick_s).to_le_bytes();
        Tick::from_le_bytes([low, high])
    }

    /// So many seconds, rounded up. No more than the longest lifetime.
    pub(super) fn span(self, len_s: u32) -> Tick {
        Tick::try_from(len_s.div_ceil(self.tick_s)).unwrap_or(1 << 14).min(1 << 14)
    }

    pub(super) fn seconds(self, ticks: Tick) -> u32 {
        u32::from(ticks) * self.tick_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_wrap() {
        assert!(!is_past(5, 5), "until then, and then");
        assert!(is_past(4, 5));
        assert!(!is_past(5, 65_530));
        assert!(is_past(65_530, 5));
        assert!(!is_past((1 << 14) + 7, 7), "the longest lifetime");
        assert!(is_past(7, (1 << 15) + 6), "a late sweep");
    }
}
