//! How many upload slots fit the uplink: enough to fill it, and few enough that each is worth having. A plain function of
//! measured rates, asked once in a choke round.

/// Slots at first: nothing is known of the uplink.
const START: usize = 8;
/// Slots on the slowest uplink.
const LEAST: usize = 4;
/// And on the fastest.
const MOST: usize = 64;
/// Bytes per second of each slot above which there may be more slots.
const PLENTY: u64 = 256 * 1024;
/// Bytes per second of each slot below which there are to be fewer: a piece takes too long to be passed on.
const LITTLE: u64 = 16 * 1024;

/// What is known of the uplink of one torrent.
#[derive(Debug)]
pub struct Uplink {
    slots: usize,
    /// The most bytes per second that were sent, slowly forgotten.
    best: u64,
}

impl Default for Uplink {
    fn default() -> Self {
        Self { slots: START, best: 0 }
    }
}

impl Uplink {
    /// Slots that fit, as far as is known.
    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// A round is over: `rate` bytes per second were sent through `used` slots, and somebody is `waiting` for one.
    pub fn round(&mut self, rate: u64, used: usize, waiting: bool) {
        self.best = rate.max(self.best - self.best / 8);
        if used < self.slots {
            // What the others would have taken is not known.
            return;
        }
        let filled = rate >= self.best - self.best / 8;
        let each = rate / (used.max(1) as u64);
        if filled && each < LITTLE {
            self.slots = (self.slots - 1).max(LEAST);
        } else if waiting && each >= PLENTY {
            self.slots = (self.slots + self.slots / 4).min(MOST);
        } else if waiting && !filled {
            self.slots = (self.slots + 1).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slots after so many rounds on an uplink of so many bytes per second, where each peer takes at most `taken`.
    fn settle(uplink: u64, taken: u64, peers: usize, rounds: usize) -> usize {
        let mut slots = Uplink::default();
        for _ in 0..rounds {
            let used = slots.slots().min(peers);
            slots.round(uplink.min(taken * used as u64), used, peers > used);
        }
        slots.slots()
    }

    #[test]
    fn slots_fit_the_link() {
        assert_eq!(settle(20_000, u64::MAX >> 8, 100, 50), LEAST);
        assert_eq!(settle(100_000, u64::MAX >> 8, 100, 50), 6);
        assert_eq!(settle(2_500_000, u64::MAX >> 8, 100, 50), 10);
        assert_eq!(settle(1 << 30, u64::MAX >> 8, 100, 50), MOST);
        assert_eq!(settle(1 << 30, u64::MAX >> 8, 5, 50), START, "more for nobody");
    }

    #[test]
    fn more_while_the_link_is_not_filled_and_bounded() {
        let mut slots = Uplink::default();
        slots.round(1_000_000, 8, true);
        assert_eq!(slots.slots(), 8, "filled, and each has enough");
        slots.round(500_000, 8, true);
        assert_eq!(slots.slots(), 9, "it could send more");
        for _ in 0..1000 {
            slots.round(u64::MAX, slots.slots(), true);
        }
        assert_eq!(slots.slots(), MOST);
    }
}
