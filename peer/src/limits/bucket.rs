//! One rate, as plain arithmetic: bytes accrue with time, and are booked one after another.

use std::time::{Duration, Instant};

/// What was not booked while it accrued stays there for so long: a thread may wake late, and none of the rate is lost.
const CREDIT: Duration = Duration::from_millis(100);
/// A booking is so long a part of the rate at the most. Longer: bursts; shorter: more wake-ups.
const PART: Duration = Duration::from_millis(60);
/// With many who wait, everybody's turn comes about so often...
const ROUND: Duration = Duration::from_secs(1);
/// ...but nobody is woken for fewer bytes than this, if [`PART`] allows as many.
const LEAST_LEN: u64 = 1024;
/// Faster than any network: keeps the arithmetic far from its ends.
const MAX_RATE: u64 = 1 << 44;
const NANOS: u128 = 1_000_000_000;

/// Bytes given out at a rate. A booking is a place in the stream of bytes that began with the bucket: whoever booked up
/// to byte `n` may move its bytes when `n` bytes have accrued. So those who wait are served in order and get equal
/// parts, and what is given out is exact however late they wake.
#[derive(Debug)]
pub struct Bucket {
    rate: u64,
    since: Instant,
    booked: u64,
}

impl Bucket {
    /// `rate` in bytes per second, more than none; nothing has accrued at `now`.
    pub fn new(rate: u64, now: Instant) -> Self {
        Self { rate: rate.clamp(1, MAX_RATE), since: now, booked: 0 }
    }

    /// How many bytes to book at once while `waiting` others wait.
    pub fn part(&self, waiting: usize) -> u64 {
        let waiting = u64::try_from(waiting).unwrap_or(u64::MAX).max(1);
        let fair = (of(self.rate, ROUND) / waiting).max(LEAST_LEN);
        of(self.rate, PART).min(fair).max(1)
    }

    /// Books `len` bytes: up to which byte of the stream.
    pub fn book(&mut self, len: u64, now: Instant) -> u64 {
        let lost = self.accrued(now).saturating_sub(of(self.rate, CREDIT));
        self.booked = self.booked.max(lost).saturating_add(len);
        self.booked
    }

    /// Gives `len` booked bytes back, that were not moved.
    pub fn unbook(&mut self, len: u64) {
        self.booked = self.booked.saturating_sub(len);
    }

    /// Whether a booking up to byte `end` has come; if not, when it will.
    pub fn due(&self, end: u64, now: Instant) -> Option<Instant> {
        if self.accrued(now) >= end {
            return None;
        }
        let nanos = (u128::from(end) * NANOS).div_ceil(u128::from(self.rate));
        let after = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        // Beyond the end of time: look again in a while.
        Some(self.since.checked_add(after).unwrap_or(now + ROUND))
    }

    /// Bytes of the stream up to now.
    pub fn accrued(&self, now: Instant) -> u64 {
        of(self.rate, now.saturating_duration_since(self.since))
    }
}

/// Bytes in `time` at `rate`.
fn of(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_nanos() / NANOS).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_booking_comes_when_its_bytes_have_accrued() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut bucket = Bucket::new(1000, start);
        let first = bucket.book(50, at(0));
        assert_eq!(bucket.due(first, at(0)), Some(at(50)));
        assert_eq!(bucket.due(first, at(50)), None);
        let second = bucket.book(50, at(60));
        assert_eq!(bucket.due(second, at(60)), Some(at(100)));
        bucket.unbook(50);
        assert_eq!(bucket.book(50, at(60)), second);
    }

    #[test]
    fn idle_time_is_worth_little() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1000, start);
        let later = start + Duration::from_secs(3600);
        let credit = bucket.book(100, later);
        assert_eq!(bucket.due(credit, later), None);
        let next = bucket.book(1, later);
        assert_eq!(bucket.due(next, later), Some(later + Duration::from_millis(1)));
    }

    #[test]
    fn parts_are_short_and_rounds_too() {
        let now = Instant::now();
        assert_eq!(Bucket::new(1024, now).part(1), 61);
        assert_eq!(Bucket::new(1, now).part(500), 1);
        assert_eq!(Bucket::new(100 << 10, now).part(1), 6144);
        assert_eq!(Bucket::new(100 << 10, now).part(200), LEAST_LEN);
        assert_eq!(Bucket::new(10 << 20, now).part(200), (10 << 20) / 200);
    }

    #[test]
    fn the_ends_of_the_arithmetic_are_far_away() {
        let start = Instant::now();
        let mut bucket = Bucket::new(u64::MAX, start);
        let end = bucket.book(u64::MAX, start);
        assert!(bucket.due(end, start).is_some());
        let mut slow = Bucket::new(0, start);
        let end = slow.book(u64::MAX, start);
        assert!(slow.due(end, start).is_some());
        assert_eq!(slow.due(1, start + Duration::from_secs(1)), None);
    }
}
