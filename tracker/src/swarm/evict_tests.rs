//! A tracker that is full takes everybody, and forgets what is missed least.

use std::collections::HashSet;
use std::net::SocketAddr;

use torrent_common::ids::InfoHash;

use super::pace::PaceLimits;
use super::*;

struct Full {
    swarms: Swarms,
    random: fastrand::Rng,
    now_s: u32,
}

fn hash_of(n: u32) -> InfoHash {
    InfoHash::of(&n.to_le_bytes())
}

fn address(n: u32) -> SocketAddr {
    let [a, b, c, d] = n.to_be_bytes();
    ([10 + a, b, c, d], 6881).into()
}

impl Full {
    fn new(swarms: usize, peers: usize, seed: u64) -> Self {
        let pace = PaceLimits { interval_s: 120, max_interval_s: 1800, min_interval_s: 30, max_rate: 0 };
        let mut random = fastrand::Rng::with_seed(seed);
        Self { swarms: Swarms::new(Pace::new(pace), Limits { swarms, peers }, &mut random), random, now_s: 0 }
    }

    fn visit(&mut self, torrent: u32, address: SocketAddr, role: Role, action: Action) -> Visited {
        let info_hash = hash_of(torrent);
        let visit = Visit { info_hash, address, role, action, wanted: 50, family: None };
        let mut told = Vec::new();
        self.swarms.announce(&visit, self.now_s, &mut self.random, &mut told).unwrap()
    }

    fn leech(&mut self, torrent: u32, address: SocketAddr) -> Visited {
        self.visit(torrent, address, Role::Leecher, Action::Stay)
    }

    /// A torrent that has been seeded for so long that its peers are remembered for an hour.
    fn settle(&mut self, torrents: std::ops::Range<u32>) {
        for _ in 0..2 {
            for torrent in torrents.clone() {
                self.visit(torrent, address(torrent), Role::Seeder, Action::Stay);
            }
            self.now_s += 1700;
        }
        for torrent in torrents {
            self.visit(torrent, address(torrent), Role::Seeder, Action::Stay);
        }
    }

    fn seeders(&self, torrents: std::ops::Range<u32>) -> usize {
        torrents.filter(|&torrent| self.swarms.scrape(&hash_of(torrent), self.now_s).complete > 0).count()
    }

    /// Of the torrents with these numbers, how many each shard has.
    fn in_shards(&self, torrents: std::ops::Range<u32>) -> [usize; SHARDS] {
        let all: HashSet<_> = torrents.map(hash_of).collect();
        let mut counts = [0; SHARDS];
        for part in 0..PARTS {
            self.swarms.each_of_part(part, self.now_s, |image, _| {
                counts[part / INDEX_PARTS] += usize::from(all.contains(&image.info_hash));
            });
        }
        counts
    }

    /// That the sums are of what is there.
    fn check(&self) {
        let (mut peers, mut swarms) = (0, HashSet::new());
        for part in 0..PARTS {
            self.swarms.each_of_part(part, self.now_s, |image, shown| {
                // Large ones are shown in pieces.
                swarms.insert(image.info_hash);
                let there = shown.count();
                assert!(there > 0, "{}", image.info_hash);
                peers += there;
            });
        }
        let totals = self.swarms.totals();
        assert_eq!((totals.peers, totals.swarms), (peers, swarms.len()));
        let loads: usize = self.swarms.loads.iter().map(|load| load.load(Ordering::Relaxed)).sum();
        assert_eq!(loads, peers);
    }
}

#[test]
fn limits_hold_and_everybody_is_taken() {
    let mut full = Full::new(2, 3, 1);
    full.leech(1, address(1));
    full.leech(1, address(2));
    full.leech(2, address(1));
    for n in 3..200 {
        let counts = full.leech(n % 5, address(n % 70)).counts;
        assert!(counts.incomplete >= 1);
        let totals = full.swarms.totals();
        assert!(totals.swarms <= 2 && totals.peers <= 3, "{totals:?}");
    }
    full.check();
}

#[test]
fn a_known_peer_costs_nobody_its_place() {
    let mut full = Full::new(10, 10, 1);
    (0..10).for_each(|n| {
        full.leech(n, address(n));
    });
    (0..10).for_each(|n| {
        full.visit(n, address(n), Role::Seeder, Action::Stay);
    });
    assert_eq!(full.seeders(0..10), 10);
    full.check();
}

#[test]
fn made_up_torrents_go_before_seeds_that_wait() {
    let mut full = Full::new(5000, 100_000, 2);
    full.settle(0..3000);
    // Ten times as many as there is room for, from as many addresses.
    for n in 0..50_000 {
        full.leech(10_000 + n, address(1_000_000 + n));
        assert!(full.swarms.totals().swarms <= 5000);
    }
    let left = full.seeders(0..3000);
    assert!(left >= 2985, "{left} of 3000");
    full.check();
}

#[test]
fn made_up_torrents_of_two_peers_go_too() {
    let mut full = Full::new(5000, 100_000, 3);
    full.settle(0..3000);
    for n in 0..30_000 {
        full.leech(10_000 + n, address(1_000_000 + n));
        full.leech(10_000 + n, address(2_000_000 + n));
    }
    let left = full.seeders(0..3000);
    assert!(left >= 2950, "{left} of 3000");
}

#[test]
fn a_large_swarm_is_not_forgotten_for_a_new_one() {
    let mut full = Full::new(100, 100_000, 4);
    for n in 0..20_000 {
        full.leech(n % 90, address(n));
    }
    for n in 0..20_000 {
        full.leech(1000 + n, address(1_000_000 + n));
    }
    for torrent in 0..90 {
        assert!(full.swarms.scrape(&hash_of(torrent), 0).incomplete > 200, "{torrent}");
    }
    full.check();
}

#[test]
fn peers_flooding_one_swarm_turn_over_in_it() {
    let mut full = Full::new(10_000, 5000, 5);
    full.settle(0..2000);
    for n in 0..20_000 {
        full.leech(9999, address(1_000_000 + n));
        assert!(full.swarms.totals().peers <= 5000);
    }
    assert_eq!(full.seeders(0..2000), 2000);
    // Newcomers elsewhere take places of the flood.
    for n in 0..500 {
        full.leech(20_000 + n, address(2_000_000 + n));
    }
    let left = full.seeders(0..2000);
    assert!(left >= 1950, "{left} of 2000");
    full.check();
}

#[test]
fn one_address_takes_its_own_places() {
    let mut full = Full::new(2000, 100_000, 6);
    // Young ones, as the flood's are.
    for n in 0..1500 {
        full.visit(n, address(n), Role::Seeder, Action::Stay);
    }
    for n in 0..20_000_u16 {
        full.leech(10_000 + u32::from(n), ([192, 0, 2, 1], 1000 + n).into());
    }
    let left = full.seeders(0..1500);
    assert!(left >= 1200, "{left} of 1500");
    full.check();
}

#[test]
fn downloads_of_what_was_forgotten_are_kept() {
    let mut full = Full::new(50, 1000, 7);
    for n in 0..200 {
        full.leech(n, address(n));
        full.visit(n, address(n), Role::Seeder, Action::Complete);
    }
    let mut retired = Vec::new();
    (0..SHARDS).for_each(|shard| {
        full.swarms.sweep(shard, 1000, &mut retired);
    });
    assert_eq!(full.swarms.totals(), Totals::default());
    retired.sort_unstable_by_key(|retired| retired.info_hash);
    retired.dedup();
    assert_eq!(retired.len(), 200);
    assert!(retired.iter().all(|retired| retired.downloaded == 1));
}

#[test]
fn what_was_forgotten_for_newcomers_is_counted() {
    let mut full = Full::new(10, 1000, 1);
    full.settle(0..10);
    assert_eq!(full.swarms.evictions(), 0);
    for newcomer in 1..=3 {
        full.leech(100 + newcomer, address(100 + newcomer));
        assert_eq!(full.swarms.evictions(), newcomer as usize);
    }
    let mut full = Full::new(10, 3, 1);
    for newcomer in 0..5 {
        full.leech(1, address(newcomer));
    }
    assert_eq!(full.swarms.evictions(), 2);
}

#[test]
fn nobody_takes_others_along_by_joining_them() {
    let mut full = Full::new(4000, 100_000, 8);
    full.settle(0..1500);
    // It joins every seed, and then makes torrents up, each with some peers.
    for n in 0..1500 {
        full.leech(n, ([192, 0, 2, 1], 999).into());
    }
    for n in 0..5000 {
        (1..4).for_each(|port| {
            full.leech(10_000 + n, ([192, 0, 2, 1], port).into());
        });
    }
    let left = full.seeders(0..1500);
    assert!(left >= 1490, "{left} of 1500");
    full.check();
}

#[test]
fn swarms_without_peers_are_no_place_for_a_peer() {
    let mut full = Full::new(5000, 100, 9);
    (0..100).for_each(|n| {
        full.leech(n, address(n));
    });
    // Kept for their downloads, until they are swept.
    for n in 0..2000 {
        full.visit(1000 + n, address(n % 100), Role::Seeder, Action::Complete);
        full.visit(1000 + n, address(n % 100), Role::Seeder, Action::Leave);
    }
    for n in 0..1000 {
        full.leech(10_000 + n, address(1000 + n));
        assert!(full.swarms.totals().peers <= 100);
    }
}

#[test]
fn a_small_swarm_beside_a_large_one_is_joined() {
    for seed in 0..20 {
        let mut full = Full::new(10, 100, seed);
        (0..75).for_each(|n| {
            full.leech(1, address(n));
        });
        for n in 0..300 {
            full.leech(2, address(1000 + n));
            assert!(full.swarms.totals().peers <= 100);
        }
        full.check();
    }
}

#[test]
fn every_shard_gives_up_as_much_as_comes_to_it() {
    let mut full = Full::new(6401, 100_000, 10);
    // Most peers are in one swarm: its shard's small ones have no less of a right to stay.
    (0..30_000).for_each(|n| {
        full.leech(0, address(n));
    });
    for n in 1..=6400 {
        full.leech(n, address(n));
    }
    let before = full.in_shards(1..6401);
    for n in 0..10_000 {
        full.leech(10_000 + n, address(100_000 + n));
    }
    let after = full.in_shards(1..20_000);
    assert_eq!(before.iter().sum::<usize>(), after.iter().sum::<usize>());
    // One of which little is left asks the next: rarely.
    let drift: usize = before.iter().zip(after).map(|(&before, after)| before.abs_diff(after)).sum();
    assert!(drift <= 64, "{before:?} {after:?}");
    full.check();
}

#[test]
fn small_swarms_beside_a_huge_one_give_up_no_more_than_others() {
    let mut full = Full::new(100_000, 30_000, 11);
    (0..20_000).for_each(|n| {
        full.leech(0, address(n));
    });
    for n in 1..=10_000 {
        full.leech(n, address(n));
    }
    let before = full.in_shards(1..10_001);
    for n in 0..5000 {
        full.leech(20_000 + n, address(100_000 + n));
        assert!(full.swarms.totals().peers <= 30_000);
    }
    let after = full.in_shards(1..10_001);
    let lost = before.iter().zip(after).map(|(before, after)| before - after);
    let (most, all) = (lost.clone().max().unwrap(), lost.sum::<usize>());
    assert!(all > 0 && most <= 20, "{before:?} {after:?}");
    full.check();
}
