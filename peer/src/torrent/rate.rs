//! A transfer rate from (bytes, time) alone: bytes of the last seconds over the time they took.

use std::time::{Duration, Instant};

/// Slots of one second each; the last one is being filled.
const SLOTS: usize = 20;
/// Those that count for the rate now.
const RECENT: usize = 5;
/// A younger history is taken to be this old, so that the first block is not a huge rate.
const YOUNGEST: Duration = Duration::from_millis(500);

/// Bytes per second over a sliding window, and bytes in all.
#[derive(Debug, Clone)]
pub struct Rate {
    began: Instant,
    second: u64,
    slots: [u64; SLOTS],
    total: u64,
}

impl Rate {
    /// Nothing yet; time counts from `now`.
    pub const fn new(now: Instant) -> Self {
        Self { began: now, second: 0, slots: [0; SLOTS], total: 0 }
    }

    /// `bytes` more were transferred.
    pub fn add(&mut self, bytes: u64, now: Instant) {
        self.advance(now);
        if let Some(last) = self.slots.last_mut() {
            *last = last.saturating_add(bytes);
        }
        self.total = self.total.saturating_add(bytes);
    }

    /// Bytes per second at time `now`.
    pub fn at(&self, now: Instant) -> u64 {
        self.over(RECENT, now)
    }

    /// Bytes per second over the last twenty seconds: steadier, to compare peers by.
    pub fn steady(&self, now: Instant) -> u64 {
        self.over(SLOTS, now)
    }

    fn over(&self, slots: usize, now: Instant) -> u64 {
        let mut this = self.clone();
        this.advance(now);
        let sum = this.slots.iter().rev().take(slots).fold(0, |sum: u64, &slot| sum.saturating_add(slot));
        let oldest = Duration::from_secs(this.second.saturating_sub(slots as u64 - 1));
        let covered = now.saturating_duration_since(self.began).saturating_sub(oldest).max(YOUNGEST);
        let per_second = u128::from(sum) * 1000 / covered.as_millis().max(1);
        u64::try_from(per_second).unwrap_or(u64::MAX)
    }

    /// Bytes in all.
    pub const fn total(&self) -> u64 {
        self.total
    }

    fn advance(&mut self, now: Instant) {
        let second = now.saturating_duration_since(self.began).as_secs();
        let steps = second.saturating_sub(self.second).min(SLOTS as u64);
        for _ in 0..steps {
            self.slots.rotate_left(1);
            if let Some(last) = self.slots.last_mut() {
                *last = 0;
            }
        }
        self.second = self.second.max(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_measured_and_forgotten() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rate = Rate::new(start);
        assert_eq!(rate.at(at(0)), 0);
        for ms in (0..10_000).step_by(100) {
            rate.add(100, at(ms));
            if ms > 1_000 {
                let measured = rate.at(at(ms + 99));
                assert!((980..=1_020).contains(&measured), "{measured} after {ms} ms");
                let steady = rate.steady(at(ms + 99));
                assert!((980..=1_020).contains(&steady), "{steady} after {ms} ms");
            }
        }
        assert_eq!(rate.total(), 10_000);
        assert!(rate.at(at(12_000)) < 700);
        assert_eq!(rate.at(at(15_000)), 0);
        assert!((500..=800).contains(&rate.steady(at(15_000))));
        assert_eq!(rate.steady(at(30_000)), 0);
    }

    #[test]
    fn the_first_bytes_are_no_huge_rate_and_time_may_stand_still() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        rate.add(1_000, start);
        assert_eq!(rate.at(start), 2_000);
        rate.add(u64::MAX, start);
        assert_eq!(rate.at(start), u64::MAX);
    }
}
