//! How many upload slots fit the uplink: enough to fill it, and few enough that each is worth having. A plain function of
//! measured rates, asked once in a choke round.
//!
//! Few bytes through each slot may mean a slow uplink, or peers that take little, a few of whom would keep a fast uplink to
//! themselves. Which of the two is tried out while somebody waits: half as many slots more for a round. If that much more is
//! sent the peers were the bottleneck, and slots that they hold cost others nothing.

/// Slots at first: nothing is known of the uplink.
const START: usize = 8;
/// Slots on the slowest uplink.
const LEAST: usize = 4;
/// And on the fastest.
const MOST: usize = 64;
/// And for peers that take little: more than strangers have connections.
const MOST_TRIED: usize = 256;
/// Bytes per second of each slot above which there may be more slots.
const PLENTY: u64 = 256 * 1024;
/// Bytes per second of each slot below which there are to be fewer: a piece takes too long to be passed on.
const LITTLE: u64 = 16 * 1024;
/// Rounds from a trial that brought nothing to the next.
const REST: u32 = 6;

/// What is known of the uplink of one torrent.
#[derive(Debug)]
pub struct Uplink {
    slots: usize,
    /// The most bytes per second that were sent, slowly forgotten.
    best: u64,
    /// More slots are being tried.
    trial: Option<Trial>,
    /// Rounds without a trial.
    rest: u32,
}

/// What there was before a trial.
#[derive(Debug)]
struct Trial {
    slots: usize,
    /// Bytes per second, in the round before it.
    sent: u64,
}

/// A round that is over.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Bytes per second, steadied over more than a round,
    pub rate: u64,
    /// and in this round alone.
    pub sent: u64,
    /// Slots through which they went.
    pub used: usize,
    /// Somebody waits for a slot.
    pub waiting: bool,
    /// We have everything: nobody gives us anything for a slot.
    pub seeding: bool,
}

impl Default for Uplink {
    fn default() -> Self {
        Self { slots: START, best: 0, trial: None, rest: 0 }
    }
}

impl Uplink {
    /// Slots that fit, as far as is known.
    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// A round is over. True if more slots have brought more: the uplink is not what is lacking.
    pub fn round(&mut self, round: Measured) -> bool {
        self.best = round.rate.max(self.best - self.best / 8);
        let Some(trial) = self.trial.take() else {
            self.decide(round);
            return false;
        };
        let brought_more = trial.brought_more(&round);
        if brought_more {
            self.decide(round);
        } else {
            (self.slots, self.rest) = (trial.slots, REST);
        }
        brought_more
    }

    fn decide(&mut self, round: Measured) {
        let Measured { rate, used, waiting, .. } = round;
        self.rest = self.rest.saturating_sub(1);
        if used < self.slots {
            // What the others would have taken is not known.
            return;
        }
        let filled = rate >= self.best - self.best / 8;
        let each = rate / (used.max(1) as u64);
        if waiting && each >= PLENTY && self.slots < MOST {
            self.slots = (self.slots + self.slots / 4).min(MOST);
        } else if waiting && round.seeding && self.rest == 0 && self.slots < MOST_TRIED {
            self.trial = Some(Trial { slots: self.slots, sent: round.sent });
            self.slots = (self.slots + self.slots / 2).min(MOST_TRIED);
        } else if filled && each < LITTLE {
            self.slots = (self.slots - 1).max(LEAST);
        } else if waiting && !filled && self.slots < MOST {
            self.slots += 1;
        }
    }
}

impl Trial {
    /// What was sent grew by more than half as much as the slots did.
    fn brought_more(&self, round: &Measured) -> bool {
        let more = round.used.saturating_sub(self.slots) as u64;
        let due = self.sent.saturating_add(self.sent.saturating_mul(more) / (2 * self.slots.max(1) as u64));
        more > 0 && round.sent > due
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
            slots.round(round(uplink.min(taken * used as u64), used, peers > used));
        }
        slots.slots()
    }

    fn round(rate: u64, used: usize, waiting: bool) -> Measured {
        Measured { rate, sent: rate, used, waiting, seeding: false }
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
        slots.round(round(1_000_000, 8, true));
        assert_eq!(slots.slots(), 8, "filled, and each has enough");
        slots.round(round(500_000, 8, true));
        assert_eq!(slots.slots(), 9, "it could send more");
        for _ in 0..1000 {
            slots.round(round(u64::MAX, slots.slots(), true));
        }
        assert_eq!(slots.slots(), MOST);
    }

    /// The slots after each of so many rounds of a seeder, where each of `peers` takes at most `taken`.
    fn seeded(uplink: u64, taken: u64, peers: usize, rounds: usize) -> Vec<usize> {
        let mut slots = Uplink::default();
        let round = |_| {
            let used = slots.slots().min(peers);
            let rate = uplink.min(taken * used as u64);
            slots.round(Measured { seeding: true, ..round(rate, used, peers > used) });
            slots.slots()
        };
        (0..rounds).map(round).collect()
    }

    #[test]
    fn peers_that_take_little_are_not_taken_for_a_slow_uplink() {
        for (taken, peers) in [(1_000, 17), (1_000, 101), (20_000, 101), (1_000, 201)] {
            let slots = seeded(20_000_000, taken, peers, 10);
            let served = slots.iter().position(|&slots| slots >= peers);
            // Half as many more in each round.
            assert!(served.is_some_and(|rounds| rounds < 9), "{taken} {peers}: {slots:?}");
        }
        let slots = seeded(20_000_000, 1_000, 17, 100);
        assert!(slots.iter().skip(2).all(|slots| (17..=20).contains(slots)), "all are served: {slots:?}");
    }

    #[test]
    fn a_slow_uplink_is_tried_seldom_and_for_one_round() {
        for (uplink, usual) in [(20_000, LEAST), (100_000, 6), (1_000_000, START)] {
            let slots = seeded(uplink, u64::MAX >> 8, 100, 70);
            let more = slots.iter().skip(10).filter(|&&slots| slots > usual + 1).count();
            assert!(more <= 10, "{uplink}: {slots:?}");
        }
    }
}
