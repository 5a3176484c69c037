//! How many torrents one host may publish in an hour (UPLOAD_QUOTA).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use torrent_common::network::Network;

/// Seconds after which everybody begins anew.
const PERIOD_S: u32 = 60 * 60;
/// Hosts counted at a time, about 40 bytes each. When there are more, all begin anew: who has so many addresses is not held
/// by a quota for each of them, and those who have one are not to be kept out for it.
const MAX_HOSTS: usize = 16_384;

/// What was published in this hour.
pub(crate) struct Quota {
    /// Torrents of one host; 0: no limit.
    limit: u32,
    hour: Mutex<Hour>,
}

#[derive(Default)]
struct Hour {
    number: u32,
    /// A host is an IPv4 address, or an IPv6 network of 64 bits.
    published: HashMap<Network, u32>,
}

impl Quota {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, hour: Mutex::default() }
    }

    /// Counts a torrent of one who asks from there. False if there were enough already.
    pub(super) fn take(&self, from: IpAddr, now_s: u32) -> bool {
        if self.limit == 0 {
            return true;
        }
        let mut hour = self.hour.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, host) = (now_s / PERIOD_S, Network::of_host(from));
        let is_full = hour.published.len() >= MAX_HOSTS && !hour.published.contains_key(&host);
        if hour.number != number || is_full {
            *hour = Hour { number, published: HashMap::new() };
        }
        let count = hour.published.entry(host).or_default();
        let may = *count < self.limit;
        *count += u32::from(may);
        may
    }

    /// It was not published after all.
    pub(super) fn give_back(&self, from: IpAddr) {
        let mut hour = self.hour.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = hour.published.get_mut(&Network::of_host(from)) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn a_host_publishes_so_many_in_an_hour() {
        let quota = Quota::new(2);
        let take = |from: &str, now_s| quota.take(from.parse().unwrap(), now_s);
        assert!(take("192.0.2.1", 0) && take("::ffff:192.0.2.1", 0));
        assert!(!take("192.0.2.1", 3599));
        assert!(take("192.0.2.2", 3599), "another host");
        assert!(take("2001:db8::1", 0) && take("2001:db8::2", 0));
        assert!(!take("2001:db8:0:0:ffff::", 0), "one network is one host");
        assert!(take("2001:db8:0:1::", 0));
        quota.give_back([192, 0, 2, 1].into());
        assert!(take("192.0.2.1", 3599) && !take("192.0.2.1", 3599));
        assert!(take("192.0.2.1", 3600), "the next hour");
        let unlimited = Quota::new(0);
        assert!((0..100).all(|_| unlimited.take([192, 0, 2, 1].into(), 0)));
    }

    #[test]
    fn the_table_is_bounded_and_a_flood_keeps_nobody_out() {
        let quota = Quota::new(1);
        for n in 0..100_000_u128 {
            assert!(quota.take(Ipv6Addr::from_bits(n << 64).into(), 0));
            assert!(quota.hour.lock().unwrap().published.len() <= MAX_HOSTS);
        }
        assert!(quota.take([192, 0, 2, 1].into(), 0));
    }
}
