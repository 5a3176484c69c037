//! Lines in the log about strangers who do what no well-meaning peer does: who, and why. They may do it all day and from
//! everywhere, so lines are few: what is left out is counted, and told with the next.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::visits::Visits;
use crate::torrent::host::Host;

/// Lines at once after a silence,
const BURST: u32 = 20;
/// and one more each time so much has passed: at most 8,640 a day.
const EACH: Duration = Duration::from_secs(10);

/// Says who broke the rules. One for all connections of a daemon.
#[derive(Debug)]
pub struct Blame {
    meter: Mutex<Meter>,
    visits: Mutex<Visits>,
}

#[derive(Debug)]
struct Meter {
    /// All lines so far are paid for by then.
    paid: Instant,
    /// Not told since the last line.
    left_out: u64,
}

impl Blame {
    /// Nothing was told yet.
    pub fn new() -> Self {
        Self { meter: Mutex::new(Meter::new(Instant::now())), visits: Mutex::default() }
    }

    /// A line about what a stranger did, or one more that is left out.
    pub fn tell(&self, address: SocketAddr, what: &str, why: &dyn Display) {
        let told = self.meter.lock().unwrap_or_else(PoisonError::into_inner).tell(Instant::now());
        match told {
            Some(0) => log::warn!("{address}: {what}: {why}"),
            Some(more) => log::warn!("{address}: {what}: {why} (and {more} more since the last line)"),
            None => log::debug!("{address}: {what}: {why}"),
        }
    }

    /// A stranger's connection was over soon, and good for nothing. Of many from one host there is a line.
    pub fn visited(&self, address: SocketAddr, why: &dyn Display) {
        let host = Host::of(address.ip());
        let flood = self.visits.lock().unwrap_or_else(PoisonError::into_inner).add(host, Instant::now());
        match flood {
            Some((count, time)) => {
                let what =
                    format!("came and went {count} times within {:.1} s, the last time", time.as_secs_f64());
                self.tell(address, &what, why);
            }
            None => log::debug!("{address}: came and went: {why}"),
        }
    }
}

impl Default for Blame {
    fn default() -> Self {
        Self::new()
    }
}

impl Meter {
    fn new(now: Instant) -> Self {
        Self { paid: now.checked_sub(EACH.saturating_mul(BURST)).unwrap_or(now), left_out: 0 }
    }

    /// Whether there may be a line, and how many were left out before it.
    fn tell(&mut self, now: Instant) -> Option<u64> {
        let silence = now.checked_sub(EACH.saturating_mul(BURST)).unwrap_or(self.paid);
        let paid = self.paid.max(silence) + EACH;
        if paid > now {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.paid = paid;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_told_and_of_a_flood_few_lines_with_the_number_left_out() {
        // Later than the system's start by more than a burst's worth.
        let begin = Instant::now() + Duration::from_secs(1000);
        let mut meter = Meter::new(begin);
        let told = (0..100).filter(|_| meter.tell(begin).is_some()).count();
        assert_eq!(told, BURST as usize);
        assert_eq!(meter.tell(begin + EACH), Some(80));
        assert_eq!(meter.tell(begin + EACH), None);
        assert_eq!(meter.tell(begin + 3 * EACH), Some(1));
        assert_eq!(meter.tell(begin + 3 * EACH), Some(0));
        assert_eq!(meter.tell(begin + 3 * EACH), None);
        let later = begin + 1000 * EACH;
        assert_eq!((0..100).filter(|_| meter.tell(later).is_some()).count(), BURST as usize);
    }
}
