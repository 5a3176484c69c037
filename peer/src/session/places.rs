//! Which torrents may be active at a time: a pure table of who has a place and who waits for one. A torrent has a place
//! while it has a thread. Those who wait are let in in the order in which they were added.

use std::collections::{BTreeMap, HashMap};

use torrent_common::ids::InfoHash;

use crate::settings::SessionSettings;

/// What a place is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// To download, or to look what there is.
    Download,
    /// To upload.
    Seed,
}

/// How many there are of each; 0: as many as are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Of [`Kind::Download`].
    pub downloads: usize,
    /// Of [`Kind::Seed`].
    pub seeds: usize,
}

impl Limits {
    /// As they are set for all.
    pub const fn of(settings: &SessionSettings) -> Self {
        Self { downloads: settings.max_active_downloads, seeds: settings.max_active_seeds }
    }
}

/// When a torrent was added: the earlier come first.
pub type Rank = u64;

/// See the module.
#[derive(Debug, Default)]
pub struct Places {
    limits: Limits,
    held: HashMap<InfoHash, (Kind, Rank)>,
    seeds_held: usize,
    downloads: BTreeMap<Rank, InfoHash>,
    seeds: BTreeMap<Rank, InfoHash>,
}

impl Places {
    /// No places taken.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Other limits: [`Places::surplus`] and [`Places::pop_next`] say what follows.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Torrents that have a place.
    pub fn taken(&self) -> usize {
        self.held.len()
    }

    /// Whether a place is free.
    pub fn has_room(&self, kind: Kind) -> bool {
        let limit = self.limit(kind);
        limit == 0 || self.count(kind) < limit
    }

    /// Gives a torrent a place of this kind, or makes the one it has one of this kind. It waits no longer.
    pub fn take(&mut self, info_hash: InfoHash, kind: Kind, rank: Rank) {
        self.leave(&info_hash, rank);
        self.held.insert(info_hash, (kind, rank));
        self.seeds_held += usize::from(kind == Kind::Seed);
    }

    /// Lets a torrent wait for a place. It has none any longer.
    pub fn wait(&mut self, info_hash: InfoHash, kind: Kind, rank: Rank) {
        self.leave(&info_hash, rank);
        self.waiting_mut(kind).insert(rank, info_hash);
    }

    /// The torrent has no place, and wants none.
    pub fn leave(&mut self, info_hash: &InfoHash, rank: Rank) {
        if let Some((Kind::Seed, _)) = self.held.remove(info_hash) {
            self.seeds_held -= 1;
        }
        self.downloads.remove(&rank);
        self.seeds.remove(&rank);
    }

    /// The next torrent that can be given a place. It waits no longer.
    pub fn pop_next(&mut self) -> Option<(InfoHash, Kind)> {
        [Kind::Download, Kind::Seed].into_iter().find_map(|kind| {
            let waiting = self.has_room(kind).then(|| self.waiting_mut(kind))?;
            waiting.pop_first().map(|(_, info_hash)| (info_hash, kind))
        })
    }

    /// A torrent that must give up its place, because there are more taken than there may be: the one added last.
    pub fn surplus(&self) -> Option<(InfoHash, Kind)> {
        [Kind::Download, Kind::Seed].into_iter().find_map(|kind| {
            let limit = self.limit(kind);
            if limit == 0 || self.count(kind) <= limit {
                return None;
            }
            let of_kind = self.held.iter().filter(|(_, (held, _))| *held == kind);
            of_kind.max_by_key(|(_, (_, rank))| *rank).map(|(info_hash, _)| (*info_hash, kind))
        })
    }

    const fn limit(&self, kind: Kind) -> usize {
        match kind {
            Kind::Download => self.limits.downloads,
            Kind::Seed => self.limits.seeds,
        }
    }

    fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Download => self.held.len() - self.seeds_held,
            Kind::Seed => self.seeds_held,
        }
    }

    const fn waiting_mut(&mut self, kind: Kind) -> &mut BTreeMap<Rank, InfoHash> {
        match kind {
            Kind::Download => &mut self.downloads,
            Kind::Seed => &mut self.seeds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u8) -> InfoHash {
        InfoHash::new([number; 20])
    }

    fn places(downloads: usize, seeds: usize) -> Places {
        Places::new(Limits { downloads, seeds })
    }

    #[test]
    fn who_was_added_first_is_let_in_first() {
        let mut places = places(2, 1);
        for number in [1, 2] {
            assert!(places.has_room(Kind::Download));
            places.take(hash(number), Kind::Download, number.into());
        }
        assert!(!places.has_room(Kind::Download) && places.has_room(Kind::Seed));
        for number in [5, 3, 4] {
            places.wait(hash(number), Kind::Download, number.into());
        }
        assert_eq!(places.pop_next(), None);
        // One is complete: it takes a place of the other kind.
        places.take(hash(2), Kind::Seed, 2);
        assert!(!places.has_room(Kind::Seed));
        assert_eq!(places.pop_next(), Some((hash(3), Kind::Download)));
        places.take(hash(3), Kind::Download, 3);
        assert_eq!(places.pop_next(), None);
        places.leave(&hash(4), 4);
        places.leave(&hash(1), 1);
        assert_eq!(places.pop_next(), Some((hash(5), Kind::Download)));
    }

    #[test]
    fn without_limits_nobody_waits() {
        let mut places = places(0, 0);
        for number in 0..100 {
            places.take(hash(number), Kind::Seed, number.into());
        }
        assert!(places.has_room(Kind::Seed) && places.has_room(Kind::Download));
        assert_eq!(places.surplus(), None);
    }

    #[test]
    fn under_a_lower_limit_the_last_added_go() {
        let mut places = places(0, 0);
        for number in [3, 1, 2] {
            places.take(hash(number), Kind::Seed, number.into());
        }
        places.take(hash(9), Kind::Download, 9);
        places.set_limits(Limits { downloads: 1, seeds: 2 });
        assert_eq!(places.surplus(), Some((hash(3), Kind::Seed)));
        places.wait(hash(3), Kind::Seed, 3);
        assert_eq!((places.surplus(), places.pop_next()), (None, None));
        places.set_limits(Limits { downloads: 1, seeds: 3 });
        assert_eq!(places.pop_next(), Some((hash(3), Kind::Seed)));
        // A seed that finds that pieces are missing downloads.
        places.take(hash(1), Kind::Download, 1);
        assert_eq!(places.surplus(), Some((hash(9), Kind::Download)));
    }
}
