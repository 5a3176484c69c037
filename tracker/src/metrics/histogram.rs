//! How long something takes: a few buckets, and the sum.

use std::array;
use std::time::Duration;

use super::family::Counter;

/// The upper bounds of the buckets, in nanoseconds, with their names in seconds. One more is without a bound. An announce
/// over UDP takes 2 microseconds, a batch of them 100, over HTTP some 20; from a millisecond on something is wrong.
const BOUNDS: [(u64, &str); 12] = [
    (5_000, "0.000005"),
    (10_000, "0.00001"),
    (25_000, "0.000025"),
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (5_000_000, "0.005"),
    (25_000_000, "0.025"),
    (100_000_000, "0.1"),
    (1_000_000_000, "1"),
];

/// Observations by size.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [Counter; BOUNDS.len()],
    beyond: Counter,
    sum_ns: Counter,
}

/// What was observed, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Buckets {
    counts: [u64; BOUNDS.len()],
    beyond: u64,
    sum_ns: u64,
}

impl Histogram {
    /// So many took so long each.
    pub(crate) fn observe(&self, time: Duration, count: u64) {
        if count == 0 {
            return;
        }
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mut fitting = self.buckets.iter().zip(BOUNDS).filter(|(_, (bound, _))| time_ns <= *bound);
        fitting.next().map_or(&self.beyond, |(bucket, _)| bucket).add_many(count);
        self.sum_ns.add_many(time_ns.saturating_mul(count));
    }

    pub(crate) fn read(&self) -> Buckets {
        Buckets {
            counts: array::from_fn(|at| self.buckets.get(at).map_or(0, Counter::get)),
            beyond: self.beyond.get(),
            sum_ns: self.sum_ns.get(),
        }
    }
}

impl Buckets {
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.beyond += other.beyond;
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    /// Each bound (in seconds, as text) with the number of observations up to it; the last is `+Inf`, with all.
    pub(crate) fn cumulated(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bounds = BOUNDS.iter().map(|(_, name)| *name).chain(["+Inf"]);
        let counts = self.counts.into_iter().chain([self.beyond]);
        bounds.zip(counts.scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        }))
    }

    /// The sum of all times.
    pub(crate) const fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_grow_and_have_their_names() {
        assert!(BOUNDS.is_sorted_by(|a, b| a.0 < b.0));
        for (bound_ns, name) in BOUNDS {
            assert!((name.parse::<f64>().unwrap() * 1e9 - bound_ns as f64).abs() < 0.5, "{name}");
        }
    }

    #[test]
    fn observations_are_counted_up_to_each_bound() {
        let histogram = Histogram::default();
        for (time_ns, count) in
            [(0, 1), (5_000, 1), (5_001, 2), (1_000_000_000, 3), (1_000_000_001, 4), (7, 0)]
        {
            histogram.observe(Duration::from_nanos(time_ns), count);
        }
        let mut both = histogram.read();
        let cumulated: Vec<_> = both.cumulated().map(|(_, count)| count).collect();
        assert_eq!(cumulated, [2, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 7, 11]);
        assert_eq!(both.sum(), Duration::from_nanos(5_000 + 2 * 5_001 + 3_000_000_000 + 4_000_000_004));
        both.add(&histogram.read());
        assert_eq!(both.cumulated().last(), Some(("+Inf", 22)));
    }

    #[test]
    fn absurd_times_do_not_overflow() {
        let histogram = Histogram::default();
        histogram.observe(Duration::MAX, u64::MAX / 2);
        assert_eq!(histogram.read().cumulated().last(), Some(("+Inf", u64::MAX / 2)));
    }
}
