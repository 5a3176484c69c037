//! All swarms together beside a map, on a clock that wraps around: swarms grow large and small again, are swept, saved and
//! restored, with room for all and without.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv6Addr, SocketAddr};

use proptest::prelude::*;
use torrent_common::announce::compact::Family;

use super::pace::PaceLimits;
use super::*;

/// Until when each is remembered, and what it does.
type Model = HashMap<(u8, SocketAddr), (u32, Role)>;

struct World {
    swarms: Swarms,
    limits: Limits,
    model: Model,
    random: fastrand::Rng,
    now_s: u32,
}

fn info_hash(torrent: u8) -> InfoHash {
    InfoHash::new([torrent; 20])
}

fn address(n: u8) -> SocketAddr {
    match n % 4 {
        0 => (Ipv6Addr::from([n; 16]), 6881).into(),
        1 => (Ipv6Addr::from(u128::from(n) << 8 | 0xffff_0a00_0000), 6881).into(),
        _ => ([10, n / 16, 0, 1], 1000 + u16::from(n)).into(),
    }
}

/// As others are told it.
fn canonical(address: SocketAddr) -> SocketAddr {
    (address.ip().to_canonical(), address.port()).into()
}

impl World {
    fn store(limits: Limits, seed: u64) -> Swarms {
        let pace = PaceLimits { interval_s: 120, max_interval_s: 300, min_interval_s: 30, max_rate: 0 };
        Swarms::new(Pace::new(pace), limits, &mut fastrand::Rng::with_seed(seed))
    }

    fn new(limits: Limits, now_s: u32) -> Self {
        let random = fastrand::Rng::with_seed(1);
        Self { swarms: Self::store(limits, 1), limits, model: Model::new(), random, now_s }
    }

    /// Announces, and checks the answer by what is in the model before and after.
    fn announce(&mut self, torrent: u8, visit: &Visit) {
        let (now_s, key) = (self.now_s, (torrent, canonical(visit.address)));
        let mut told = Vec::new();
        let Ok(visited) = self.swarms.announce(visit, now_s, &mut self.random, &mut told) else {
            // Three large swarms, of which none is forgotten for a fourth.
            assert!(!self.has_room_for_all() && self.swarms.totals().swarms == self.limits.swarms);
            assert!(told.is_empty());
            return;
        };
        match visit.action {
            Action::Leave => drop(self.model.remove(&key)),
            _ => drop(self.model.insert(key, (now_s + Pace::lifetime_s(visited.interval_s), visit.role))),
        }
        self.model.retain(|_, (until, _)| *until >= now_s);
        let is_told = |&(&(of, peer), &(_, role)): &(&(u8, SocketAddr), &(u32, Role))| {
            of == torrent
                && peer != key.1
                && (visit.role == Role::Leecher || role == Role::Leecher)
                && visit.family.is_none_or(|family| Family::of(peer.ip()) == family)
        };
        let fit: HashSet<_> = self.model.iter().filter(is_told).map(|(&(_, peer), _)| peer).collect();
        let told_set: HashSet<_> = told.iter().map(|peer| peer.address).collect();
        assert_eq!(told_set.len(), told.len(), "nobody twice");
        assert!(told_set.is_subset(&fit), "{visit:?}: {told_set:?} of {fit:?}");
        if self.has_room_for_all() {
            let expected = if visit.action == Action::Leave { 0 } else { fit.len().min(visit.wanted) };
            assert_eq!(told.len(), expected, "{visit:?}");
            assert_eq!((visited.counts.complete, visited.counts.incomplete), self.counts(torrent));
        }
    }

    fn has_room_for_all(&self) -> bool {
        self.limits == Limits::default()
    }

    /// Seeders, and all others.
    fn counts(&self, torrent: u8) -> (u32, u32) {
        let roles = self.model.iter().filter(|((of, _), _)| *of == torrent).map(|(_, (_, role))| *role);
        roles.fold((0, 0), |(complete, incomplete), role| match role {
            Role::Seeder => (complete + 1, incomplete),
            _ => (complete, incomplete + 1),
        })
    }

    fn image(&self) -> Model {
        let mut image = Model::new();
        for part in 0..PARTS {
            self.swarms.each_of_part(part, self.now_s, |swarm, peers| {
                let [torrent, ..] = *swarm.info_hash.as_bytes();
                for peer in peers {
                    let shown = image.insert((torrent, peer.address), (self.now_s + peer.left_s, peer.role));
                    assert_eq!(shown, None);
                }
            });
        }
        image
    }

    fn sweep(&self) {
        for shard in 0..SHARDS {
            let _ = self.swarms.sweep(shard, self.now_s, &mut Vec::new());
        }
    }

    /// As by a restart: with another key.
    fn restart(&mut self, seed: u64) {
        let restored = Self::store(self.limits, seed);
        for part in 0..PARTS {
            self.swarms.each_of_part(part, self.now_s, |swarm, peers| {
                assert!(restored.restore(swarm, peers, self.now_s));
            });
        }
        self.swarms = restored;
    }

    /// That everybody is there who should be, and the sums are of those.
    fn check(&mut self) {
        self.sweep();
        self.model.retain(|_, (until, _)| *until >= self.now_s);
        let image = self.image();
        if self.has_room_for_all() {
            assert_eq!(image, self.model);
        } else {
            assert!(image.iter().all(|(key, peer)| self.model.get(key) == Some(peer)), "nobody made up");
            self.model = image.clone();
        }
        let swarms = image.keys().map(|(torrent, _)| torrent).collect::<HashSet<_>>().len();
        let seeders = image.values().filter(|(_, role)| *role == Role::Seeder).count();
        assert_eq!(self.swarms.totals(), Totals { swarms, peers: image.len(), seeders });
        assert!(swarms <= self.limits.swarms && image.len() <= self.limits.peers);
        let loads: usize = self.swarms.loads.iter().map(|load| load.load(Ordering::Relaxed)).sum();
        assert_eq!(loads, image.len());
        for torrent in 0..4 {
            let counts = self.swarms.scrape(&info_hash(torrent), self.now_s);
            assert_eq!((counts.complete, counts.incomplete), self.counts(torrent));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn all_together_behave_like_a_map(
        steps in prop::collection::vec((0_u8..20, 0_u8..4, any::<u8>(), 0_usize..3, 0_u8..120), 1..40),
        is_full: bool,
    ) {
        let limits = if is_full { Limits { swarms: 3, peers: 90 } } else { Limits::default() };
        // Ticks wrap around on the way.
        let mut world = World::new(limits, 63_000);
        for (what, torrent, who, role, long) in steps {
            let family = [None, None, Some(Family::V4), Some(Family::V6)][usize::from(what % 4)];
            let action = if what < 15 { [Action::Stay, Action::Complete][usize::from(what % 2)] } else { Action::Leave };
            match what {
                18 => world.restart(u64::from(who)),
                19 => world.now_s += u32::from(long),
                _ => for n in 0..long {
                    world.now_s += u32::from(n % 40 == 0);
                    let visit = Visit {
                        info_hash: info_hash(torrent),
                        address: address(who.wrapping_add(n)),
                        role: Role::ALL[role],
                        action,
                        wanted: usize::from(who),
                        family,
                    };
                    world.announce(torrent, &visit);
                },
            }
            world.check();
        }
    }
}
