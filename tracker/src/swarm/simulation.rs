//! Many peers that announce as they are told, on a virtual clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::pace::PaceLimits;
use super::*;

/// Peer number `n` of torrent number `t`, due at the first number.
type Due = Reverse<(u32, u32, u32)>;

struct Simulation {
    swarms: Swarms,
    due: BinaryHeap<Due>,
    now_s: u32,
    next_sweep_s: u32,
    random: fastrand::Rng,
    /// Peers from this number on are leechers.
    leechers_from: u32,
    /// All take `min interval` for the interval, as aria2 and rqbit do.
    is_eager: bool,
}

impl Simulation {
    fn new(max_rate: u32) -> Self {
        Self::seeded(max_rate, 7)
    }

    fn seeded(max_rate: u32, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let limits = PaceLimits { interval_s: 120, max_interval_s: 1800, min_interval_s: 30, max_rate };
        Self {
            swarms: Swarms::new(Pace::new(limits), Limits::default(), &mut random),
            due: BinaryHeap::new(),
            now_s: 0,
            next_sweep_s: 0,
            random,
            leechers_from: u32::MAX,
            is_eager: false,
        }
    }

    fn visit(&self, torrent: u32, peer: u32) -> Visit {
        let role = if peer < self.leechers_from { Role::Seeder } else { Role::Leecher };
        let [a, b, c, d] = torrent.to_be_bytes();
        let mut info_hash = [0; 20];
        info_hash[..4].copy_from_slice(&[a, b, c, d]);
        let [_, x, y, z] = peer.to_be_bytes();
        Visit {
            info_hash: InfoHash::new(info_hash),
            address: ([10, x, y, z], 6881).into(),
            role,
            action: Action::Stay,
            wanted: 0,
            family: None,
        }
    }

    /// An announce now; the next one is due when the tracker says. Returns that interval.
    fn announce(&mut self, torrent: u32, peer: u32) -> u32 {
        let visit = self.visit(torrent, peer);
        let visited = self.swarms.announce(&visit, self.now_s, &mut self.random, &mut Vec::new()).unwrap();
        let wait_s = match self.is_eager {
            true => self.swarms.pace().min_interval_s(visited.interval_s),
            false => visited.interval_s,
        };
        self.due.push(Reverse((self.now_s + wait_s, torrent, peer)));
        visited.interval_s
    }

    /// Lets the time come to `until_s`. Returns the announces.
    fn run(&mut self, until_s: u32) -> u32 {
        let mut announces = 0;
        while self.now_s < until_s {
            let due_s = self.due.peek().map_or(u32::MAX, |&Reverse((due_s, ..))| due_s);
            self.now_s = due_s.min(self.next_sweep_s).min(until_s);
            if self.now_s == self.next_sweep_s {
                let sweep = |shard| self.swarms.sweep(shard, self.now_s, &mut Vec::new());
                self.swarms.pace().expect((0..SHARDS).map(sweep).sum());
                self.next_sweep_s += 30;
            }
            while let Some(&Reverse((due_s, torrent, peer))) = self.due.peek()
                && due_s <= self.now_s
            {
                self.due.pop();
                self.announce(torrent, peer);
                announces += 1;
            }
        }
        announces
    }
}

#[test]
fn ten_thousand_idle_torrents_are_announced_every_half_hour() {
    let mut simulation = Simulation::new(1000);
    (0..10_000).for_each(|torrent| {
        simulation.announce(torrent, 1);
    });
    // The torrents are young: but for no longer than they have been there.
    let first = simulation.run(3600);
    assert!((50_000..80_000).contains(&first), "{first}");
    simulation.run(2 * 3600);
    let hour = simulation.run(3 * 3600);
    assert!((20_000..22_500).contains(&hour), "{hour}");
    assert_eq!(simulation.swarms.totals(), Totals { swarms: 10_000, peers: 10_000, seeders: 10_000 });
}

#[test]
fn a_leecher_makes_a_stable_swarm_young_and_a_seeder_does_not() {
    let mut simulation = Simulation::new(0);
    simulation.leechers_from = 100;
    let told = simulation.announce(1, 1);
    assert!((108..=120).contains(&told), "{told}");
    simulation.run(3 * 3600);
    let told = simulation.announce(1, 2);
    assert!((1620..=1800).contains(&told), "a second seeder among seeders: {told}");
    let told = simulation.announce(1, 100);
    assert!((108..=120).contains(&told), "the first leecher: {told}");
    simulation.run(simulation.now_s + 600);
    let told = simulation.announce(1, 1);
    assert!((540..=600).contains(&told), "nothing for ten minutes: {told}");
    let told = simulation.announce(1, 3);
    assert!((108..=120).contains(&told), "a seeder for the leecher: {told}");
    simulation.run(simulation.now_s + 600);
    simulation.leechers_from = 101;
    let told = simulation.announce(1, 100);
    assert!((540..=600).contains(&told), "it has completed, and nobody wants anything more: {told}");
}

#[test]
fn in_a_large_swarm_one_more_is_no_news() {
    let mut simulation = Simulation::new(0);
    simulation.leechers_from = 0;
    (0..50_000).for_each(|peer| {
        simulation.announce(1, peer);
    });
    simulation.now_s = 1800;
    let told: Vec<_> = (50_000..50_020).map(|peer| simulation.announce(1, peer)).collect();
    assert!(told.iter().all(|told| (1620..=1800).contains(told)), "{told:?}");
}

#[test]
fn announces_stay_under_the_limit_and_nobody_is_forgotten() {
    let rate = 20;
    for seed in 1..=6 {
        let mut simulation = Simulation::seeded(rate, seed);
        simulation.leechers_from = 0;
        // As many as would announce 100 times a second, in swarms that stay young.
        (0..12_000).for_each(|peer| {
            simulation.announce(peer % 40, peer);
        });
        simulation.run(1200);
        let mut windows = Vec::new();
        for ten_minutes in 3..12 {
            // Newcomers all the time.
            (0..40).for_each(|torrent| {
                simulation.announce(torrent, 20_000 + 100 * ten_minutes + torrent);
            });
            windows.push(simulation.run(600 * ten_minutes));
        }
        // Whether newcomers of large swarms are news is a matter of chance, and then many come back sooner than was to be
        // expected: for some minutes.
        let (sum, most) = (windows.iter().sum::<u32>(), windows.iter().max().copied().unwrap_or(0));
        assert!(sum <= rate * 600 * 9 * 11 / 10, "{windows:?}");
        assert!(most <= rate * 600 * 14 / 10, "{windows:?}");
        assert!(most >= rate * 600 / 4, "the limit is made use of: {windows:?}");
        assert_eq!(simulation.swarms.totals().peers, 12_360);
    }
}

#[test]
fn the_limit_holds_if_all_take_the_least_interval_for_the_interval() {
    for peers in [6000, 2000, 600] {
        let (mut simulation, rate) = (Simulation::new(20), 20);
        (simulation.leechers_from, simulation.is_eager) = (0, true);
        (0..peers).for_each(|peer| {
            simulation.announce(peer % 40, peer);
        });
        simulation.run(1200);
        let mut announces = 0;
        for minute in 20..40 {
            // Newcomers all the time: the swarms stay young.
            (0..40).for_each(|torrent| {
                simulation.announce(torrent, 20_000 + 100 * minute + torrent);
            });
            announces += simulation.run(60 * (minute + 1));
        }
        assert!(announces <= rate * 1200 * 11 / 10, "{announces} in twenty minutes with {peers} peers");
    }
}

#[test]
fn clocks_of_two_threads_may_differ() {
    let mut simulation = Simulation::new(0);
    simulation.leechers_from = 0;
    simulation.now_s = 1000;
    simulation.announce(1, 1);
    simulation.now_s = 999;
    let told = simulation.announce(1, 2);
    assert!((108..=120).contains(&told), "{told}");
}
