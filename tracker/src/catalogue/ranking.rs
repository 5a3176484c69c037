//! Published torrents by their seeders. Seeders are known in memory alone and change with every announce: they are
//! counted when somebody asks for this order, and again only after a while, so that pages of one list fit together, and
//! nothing is written to the disk.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

/// How long a ranking is good for, at least.
const MIN_AGE: Duration = Duration::from_secs(5);
/// Making rankings takes at most one part in so many of the time.
const SHARE: u32 = 20;

/// Torrents that have seeders.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    /// Row numbers and seeders, by row number.
    by_id: Box<[(i64, u32)]>,
    /// Row numbers, most seeders first, then the newest.
    ids: Box<[i64]>,
    good_until: Option<Instant>,
}

impl Ranking {
    /// Of torrents with their seeders, in any order; those without are left out. `began` is when counting them began.
    pub(super) fn new(mut seeders: Vec<(i64, u32)>, began: Instant) -> Self {
        seeders.retain(|&(_, count)| count > 0);
        seeders.sort_unstable_by_key(|&(id, count)| Reverse((count, id)));
        let ids = seeders.iter().map(|&(id, _)| id).collect();
        seeders.sort_unstable();
        let now = Instant::now();
        let age = MIN_AGE.max((now - began).saturating_mul(SHARE));
        Self { by_id: seeders.into(), ids, good_until: Some(now + age) }
    }

    /// Whether it may still be shown.
    pub(super) fn is_good(&self) -> bool {
        self.good_until.is_some_and(|until| Instant::now() < until)
    }

    /// The seeders of a row.
    pub(super) fn seeders(&self, id: i64) -> u32 {
        let found = self.by_id.binary_search_by_key(&id, |&(id, _)| id);
        found.ok().and_then(|at| self.by_id.get(at)).map_or(0, |&(_, count)| count)
    }

    /// All rows that have seeders, most first.
    pub(super) fn ids(&self) -> &[i64] {
        &self.ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_seeders_first_then_the_newest() {
        let ranking = Ranking::new(vec![(1, 5), (4, 7), (2, 0), (9, 5)], Instant::now());
        assert_eq!(ranking.ids(), [4, 9, 1]);
        assert_eq!([1, 2, 3, 4, 9].map(|id| ranking.seeders(id)), [5, 0, 0, 7, 5]);
        assert!(ranking.is_good());
        assert!(!Ranking::default().is_good());
    }

    #[test]
    fn what_takes_long_is_good_for_longer() {
        let began = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let good_for = Ranking::new(Vec::new(), began).good_until.unwrap() - Instant::now();
        assert!(good_for > Duration::from_secs(190), "{good_for:?}");
    }
}
