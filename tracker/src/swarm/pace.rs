//! How soon a peer is to announce again, and for how long it is remembered.
//!
//! **Intervals follow the swarm.** Who waits for its interval misses what changes meanwhile; so an interval is as long as
//! nothing has changed, from INTERVAL for a young or busy swarm to MAX_INTERVAL for a stable one: nobody waits much longer
//! for news than there was none. A change is a peer that comes or completes; in swarms of more than [`FEW_PEERS`]
//! only one in so many counts as would be one among that few. Where all are seeders nobody wants anything of anybody: who
//! comes is no change, and the swarm is stable as soon as it is old enough.
//!
//! **All together may announce MAX_ANNOUNCE_RATE times a second.** Every sweep adds up what is to be expected
//! ([`Demand`]); if that is more, all intervals are stretched alike, up to [`LONGEST_S`]. Some clients (aria2, rqbit) take
//! `min interval` for the interval. So it is as large a part of it as the demand is of the limit, or more: the limit holds
//! if all do that.
//!
//! **A peer is forgotten after twice the interval that it was told**, but not before [`LEAST_LIFETIME_S`]. What is kept of
//! it is the moment when it is to be forgotten, which takes the two bytes that the moment of its announce would.

use std::iter::Sum;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

/// Intervals of silence after which a peer is forgotten.
const LIFETIME_INTERVALS: u32 = 2;

/// Seconds that every peer is remembered. Clients built on libtorrent announce every 300 seconds at the most, however
/// short an interval they are told.
pub(super) const LEAST_LIFETIME_S: u32 = 330;

/// The longest interval to which the limit of announces stretches one, unless MAX_INTERVAL is longer. Who was silent for so
/// long is hardly in the swarm.
const LONGEST_S: u32 = 2 * 60 * 60;

/// Peers up to which a swarm's every change counts: as many as fit in an answer.
pub(super) const FEW_PEERS: u32 = 50;

/// Load and demand are counted in parts of so many bits.
const FRACTION_BITS: u32 = 20;
/// A load of 1.
const WHOLE: u64 = 1 << FRACTION_BITS;

/// What [`Pace`] is made of, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct PaceLimits {
    /// INTERVAL: for a young swarm.
    pub interval_s: u32,
    /// MAX_INTERVAL: for a stable one.
    pub max_interval_s: u32,
    /// MIN_INTERVAL: what a peer of a young swarm waits in any case.
    pub min_interval_s: u32,
    /// MAX_ANNOUNCE_RATE: announces per second; 0: no limit.
    pub max_rate: u32,
}

/// The policy of intervals.
#[derive(Debug)]
pub struct Pace {
    limits: PaceLimits,
    /// The demand as a part of the limit, with [`FRACTION_BITS`]: above 1 intervals are stretched by so much.
    load: AtomicU64,
}

/// Announces per second that are to be expected if nothing is stretched, with [`FRACTION_BITS`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand(u64);

impl Sum for Demand {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        Self(all.fold(0, |sum, Self(part)| sum.saturating_add(part)))
    }
}

impl AddAssign for Demand {
    fn add_assign(&mut self, Self(other): Self) {
        self.0 = self.0.saturating_add(other);
    }
}

impl Pace {
    /// As configured, where one key bounds another the later of [`PaceLimits`] gives way.
    pub fn new(limits: PaceLimits) -> Self {
        let interval_s = limits.interval_s.max(1);
        let limits = PaceLimits {
            interval_s,
            max_interval_s: limits.max_interval_s.max(interval_s),
            min_interval_s: limits.min_interval_s.min(interval_s),
            ..limits
        };
        Self { limits, load: AtomicU64::new(0) }
    }

    /// Seconds until a peer of a swarm in which nothing has changed for `quiet_s` is to announce again: up to a tenth
    /// less, at random, so that those who came together do not stay together.
    pub fn interval_s(&self, quiet_s: u32, random: &mut fastrand::Rng) -> u32 {
        let stretch = self.load.load(Ordering::Relaxed).max(WHOLE);
        let longest_s = LONGEST_S.max(self.limits.max_interval_s);
        let stretched = (u64::from(self.plain_s(quiet_s)).saturating_mul(stretch)) >> FRACTION_BITS;
        let whole_s = u32::try_from(stretched).unwrap_or(longest_s).min(longest_s);
        whole_s - random.u32(..=whole_s / 10)
    }

    /// Seconds that a peer is asked to wait in any case when it was told `interval_s`: at least the same part of it as
    /// MIN_INTERVAL is of INTERVAL.
    pub fn min_interval_s(&self, interval_s: u32) -> u32 {
        let interval = u64::from(interval_s);
        let share = interval * u64::from(self.limits.min_interval_s) / u64::from(self.limits.interval_s);
        let crowded = (interval * self.load.load(Ordering::Relaxed).min(WHOLE)) >> FRACTION_BITS;
        u32::try_from(share.max(crowded)).unwrap_or(interval_s)
    }

    /// Seconds of silence after which a peer that was told `interval_s` is forgotten.
    pub fn lifetime_s(interval_s: u32) -> u32 {
        interval_s.saturating_mul(LIFETIME_INTERVALS).max(LEAST_LIFETIME_S)
    }

    /// The longest of these.
    pub(super) fn longest_lifetime_s(&self) -> u32 {
        Self::lifetime_s(LONGEST_S.max(self.limits.max_interval_s))
    }

    /// What so many peers of a swarm that is quiet for `quiet_s` add to the demand.
    pub(super) fn demand(&self, peers: u32, quiet_s: u32) -> Demand {
        Demand((u64::from(peers) << FRACTION_BITS) / u64::from(self.plain_s(quiet_s)))
    }

    /// Stretches intervals as the demand of all swarms together asks for.
    pub fn expect(&self, Demand(demand): Demand) {
        // Intervals are a twentieth shorter in the middle.
        let demand = demand.saturating_add(demand / 19);
        let load = demand.checked_div(self.limits.max_rate.into()).unwrap_or(0);
        self.load.store(load, Ordering::Relaxed);
    }

    /// The interval before it is stretched and jittered.
    fn plain_s(&self, quiet_s: u32) -> u32 {
        quiet_s.clamp(self.limits.interval_s, self.limits.max_interval_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn pace(max_rate: u32) -> Pace {
        Pace::new(PaceLimits { interval_s: 120, max_interval_s: 1800, min_interval_s: 30, max_rate })
    }

    /// The least and the most that is told.
    fn range(pace: &Pace, quiet_s: u32) -> (u32, u32) {
        let mut random = fastrand::Rng::with_seed(1);
        let told: Vec<_> = (0..5000).map(|_| pace.interval_s(quiet_s, &mut random)).collect();
        (told.iter().copied().min().unwrap(), told.iter().copied().max().unwrap())
    }

    #[test]
    fn intervals_are_as_long_as_nothing_has_changed() {
        for (quiet_s, expected) in [
            (0, (108, 120)),
            (120, (108, 120)),
            (600, (540, 600)),
            (1800, (1620, 1800)),
            (u32::MAX, (1620, 1800)),
        ] {
            assert_eq!(range(&pace(0), quiet_s), expected, "{quiet_s}");
        }
    }

    #[test]
    fn too_many_stretch_all_intervals_alike() {
        let pace = pace(100);
        let demand = |peers| [pace.demand(peers / 2, 0), pace.demand(peers / 2, 60)].into_iter().sum();
        pace.expect(demand(11_000));
        assert_eq!(range(&pace, 0).1, 120, "as many as there may be");
        pace.expect(demand(24_000));
        assert_eq!(range(&pace, 0).1, 252, "twice as many");
        assert_eq!(range(&pace, 1800).1, 3789);
        pace.expect(demand(u32::MAX));
        assert_eq!(range(&pace, 0), (6480, 7200));
        pace.expect(Demand::default());
        assert_eq!(range(&pace, 0).1, 120);
        let unlimited = super::tests::pace(0);
        unlimited.expect(Demand(u64::MAX));
        assert_eq!(range(&unlimited, 0).1, 120);
    }

    #[test]
    fn the_rest_follows_the_interval() {
        let pace = pace(0);
        assert_eq!([120, 1800, 0].map(|interval_s| pace.min_interval_s(interval_s)), [30, 450, 0]);
        let pace = super::tests::pace(100);
        for (peers, expected) in [(0, 30), (2850, 30), (5700, 60), (11_400, 120), (22_800, 120)] {
            pace.expect(pace.demand(peers, 0));
            let told = pace.min_interval_s(120);
            assert!(told.abs_diff(expected) <= 1, "{told} with {peers}");
        }
        assert_eq!([10, 120, 165, 166, 1800].map(Pace::lifetime_s), [330, 330, 330, 332, 3600]);
        let odd =
            Pace::new(PaceLimits { interval_s: 20, max_interval_s: 10, min_interval_s: 30, max_rate: 0 });
        assert_eq!((range(&odd, 1800), odd.min_interval_s(20)), ((18, 20), 20));
    }
}
