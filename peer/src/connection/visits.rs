//! Counts connections of strangers that were over soon and good for nothing: each may happen to anybody, and many from one host
//! are a flood. Plain data; [`Blame`](super::blame::Blame) tells of them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::torrent::host::Host;

/// A connection that lasted longer is not counted.
pub const SHORT: Duration = Duration::from_secs(10);
/// So many of one host
const MANY: u32 = 60;
/// in this time are a flood.
const WITHIN: Duration = Duration::from_secs(60);
/// Hosts that are counted at a time. When there are more all begin anew: it is only for a line in the log.
const MAX_HOSTS: usize = 1024;

/// The hosts, and how often each came since when.
#[derive(Debug, Default)]
pub struct Visits(HashMap<Host, (Instant, u32)>);

impl Visits {
    /// One more. If it is the last of a flood, how many there were, and in what time: they are counted anew then.
    pub fn add(&mut self, host: Host, now: Instant) -> Option<(u32, Duration)> {
        if self.0.len() >= MAX_HOSTS && !self.0.contains_key(&host) {
            self.0.clear();
        }
        let (since, count) = self.0.entry(host).or_insert((now, 0));
        let mut time = now.saturating_duration_since(*since);
        if time > WITHIN {
            (*since, *count, time) = (now, 0, Duration::ZERO);
        }
        *count += 1;
        if *count < MANY {
            return None;
        }
        self.0.remove(&host);
        Some((MANY, time))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn host(last: u8) -> Host {
        Host::of(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn many_in_a_short_time_are_a_flood_and_few_or_slow_ones_none() {
        let begin = Instant::now();
        let mut visits = Visits::default();
        let floods =
            (0..MANY * 2).filter_map(|n| visits.add(host(1), begin + Duration::from_millis(n.into())));
        let floods: Vec<_> = floods.collect();
        assert_eq!(floods, [(MANY, Duration::from_millis(59)); 2]);
        for n in 0..MANY * 3 {
            assert_eq!(visits.add(host(2), begin + Duration::from_millis(1100) * n), None);
            assert!(n >= MANY - 1 || visits.add(host(3), begin).is_none());
        }
    }

    #[test]
    fn memory_is_bounded() {
        let (now, mut visits) = (Instant::now(), Visits::default());
        for n in 0..5000_u32 {
            assert_eq!(visits.add(Host::of(IpAddr::from(n.to_be_bytes())), now), None);
            assert!(visits.0.len() <= MAX_HOSTS);
        }
    }
}
