//! What is told to whom in swarms of several sites, and that no site falls off.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use torrent_common::config::parse_sites;
use torrent_common::ids::InfoHash;

use super::STEADY_S;
use crate::near::Sites;
use crate::swarm::pace::{Pace, PaceLimits};
use crate::swarm::{Action, Limits, Role, Swarms, Visit};

const SITES: &str = "a: 10.1.0.0/16, b: 10.2.0.0/16, c: 10.3.0.0/16, d: 10.4.0.0/16 2001:db8:4::/48";

struct World {
    swarms: Swarms,
    random: fastrand::Rng,
    now_s: u32,
}

/// Peer number `number` of site number `site`, from 1.
fn peer(site: u8, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    [10, site, high, low].into()
}

impl World {
    fn new(sites: Sites, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let pace = PaceLimits { interval_s: 120, max_interval_s: 1800, min_interval_s: 30, max_rate: 0 };
        let swarms = Swarms::new(Pace::new(pace), Limits::default(), &mut random).with_sites(sites);
        Self { swarms, random, now_s: 0 }
    }

    fn with_sites(seed: u64) -> Self {
        Self::new(Sites::new(&parse_sites(SITES).unwrap()), seed)
    }

    fn announce(&mut self, ip: IpAddr, role: Role, action: Action, wanted: usize) -> Vec<IpAddr> {
        let visit = Visit {
            info_hash: InfoHash::new([1; 20]),
            address: (ip, 6881).into(),
            role,
            action,
            wanted,
            family: None,
        };
        let mut peers = Vec::new();
        self.swarms.announce(&visit, self.now_s, &mut self.random, &mut peers).unwrap();
        let told: Vec<_> = peers.iter().map(|peer| peer.address.ip()).collect();
        let distinct: HashSet<_> = told.iter().collect();
        assert_eq!(distinct.len(), told.len(), "nobody twice");
        assert!(!distinct.contains(&ip) && told.len() <= wanted);
        told
    }

    fn leecher(&mut self, ip: IpAddr, wanted: usize) -> Vec<IpAddr> {
        self.announce(ip, Role::Leecher, Action::Stay, wanted)
    }

    fn seeder(&mut self, ip: IpAddr) -> Vec<IpAddr> {
        self.announce(ip, Role::Seeder, Action::Stay, 50)
    }
}

fn of_site(told: &[IpAddr], site: u8) -> usize {
    told.iter().filter(|ip| matches!(ip, IpAddr::V4(ip) if ip.octets()[1] == site)).count()
}

/// The far ones told at so many times, each a while after the last.
fn far_at_times(world: &mut World, wanted: usize, times: u32) -> usize {
    let mut far = 0;
    for time in 0..times {
        world.now_s = time * STEADY_S;
        (1..=2).for_each(|site| (0..3).for_each(|n| drop(world.leecher(peer(site, n), 0))));
        let told = world.leecher(peer(2, 5), wanted);
        far += told.len() - of_site(&told, 2);
    }
    far
}

#[test]
fn near_ones_fill_most_of_an_answer_and_some_are_far() {
    let mut world = World::with_sites(1);
    for site in 1..=4 {
        (0..100).for_each(|n| drop(world.leecher(peer(site, n), 0)));
    }
    for (wanted, far) in [(50, 6..=7), (200, 12..=13), (8, 1..=1), (4, 1..=1)] {
        let told = world.leecher(peer(2, 5), wanted);
        let near = of_site(&told, 2);
        assert!(far.contains(&(told.len() - near)), "{wanted}: {near} of {}", told.len());
        assert_eq!(near, (wanted - (told.len() - near)).min(99), "all of the rest, if there are so many");
    }
    assert!(world.leecher(peer(2, 5), 0).is_empty());
    // Of the shortest answers, one in eight is far.
    let far = far_at_times(&mut world, 1, 800);
    assert!((70..130).contains(&far), "{far}");
}

#[test]
fn who_has_few_near_ones_is_told_others() {
    let mut world = World::with_sites(2);
    (0..30).for_each(|n| drop(world.leecher(peer(1, n), 0)));
    assert_eq!(world.leecher(peer(2, 1), 50).len(), 30, "alone");
    for (n, far) in [(2, 3), (3, 2), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1)] {
        let told = world.leecher(peer(2, n), 50);
        assert_eq!((of_site(&told, 2), of_site(&told, 1)), (usize::from(n) - 1, far), "{n}");
    }
    // Too few for anybody to be left out.
    let mut world = World::with_sites(3);
    (1..=2).for_each(|site| (1..=2).for_each(|n| drop(world.leecher(peer(site, n), 0))));
    assert_eq!(world.leecher(peer(1, 3), 50).len(), 4);
}

#[test]
fn seeders_are_always_told() {
    let is_seeder = |ip: &IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets()[2] == 0 && ip.octets()[3] < 9);
    for (near_seeders, far_seeders) in [(0, 1), (0, 9), (1, 0), (1, 9), (3, 3)] {
        let mut world = World::with_sites(4);
        (1..=2).for_each(|site| (100..400).for_each(|n| drop(world.leecher(peer(site, n), 0))));
        (0..near_seeders).for_each(|n| drop(world.seeder(peer(2, n))));
        (0..far_seeders).for_each(|n| drop(world.seeder(peer(1, n))));
        for n in 100..200 {
            for wanted in [2, 50] {
                let told = world.leecher(peer(2, n), wanted);
                let seeders: Vec<_> = told.iter().copied().filter(is_seeder).collect();
                let site = if near_seeders > 0 { 2 } else { 1 };
                let there = if near_seeders > 0 { near_seeders } else { far_seeders };
                let least = usize::from(there).min(wanted / 2).min(2);
                assert!(of_site(&seeders, site) >= least, "{wanted}: {seeders:?}");
                assert_eq!(told.len(), wanted);
            }
        }
        let told = world.seeder(peer(1, 9));
        assert!(!told.iter().any(is_seeder), "no seeder is of use to a seeder");
        assert!((43..=44).contains(&of_site(&told, 1)) && told.len() == 50, "{told:?}");
    }
}

#[test]
fn a_site_that_is_alone_is_told_as_ever() {
    let mut world = World::with_sites(5);
    (0..500).for_each(|n| drop(world.leecher(peer(1, n), 0)));
    for wanted in [1, 3, 50, 200, 499, 1000] {
        assert_eq!(world.leecher(peer(1, 7), wanted).len(), wanted.min(499));
    }
    let mut times = [0; 500];
    for _ in 0..2000 {
        for ip in world.leecher(peer(1, 7), 50) {
            let IpAddr::V4(ip) = ip else { panic!() };
            times[usize::from(u16::from_be_bytes([ip.octets()[2], ip.octets()[3]]))] += 1;
        }
    }
    times[7] = 200;
    assert!(times.iter().all(|n| (100..320).contains(n)), "{times:?}");
}

#[test]
fn subnets_without_sites() {
    let none = || World::new(Sites::new(&[]), 6);
    let near = |told: &[IpAddr], own: [u8; 3]| {
        told.iter().filter(|ip| matches!(ip, IpAddr::V4(ip) if ip.octets()[..3] == own)).count()
    };
    let fill = |world: &mut World, subnets: &[[u8; 3]], each: u8| {
        for &[a, b, c] in subnets {
            (1..=each).for_each(|n| drop(world.leecher([a, b, c, n].into(), 0)));
        }
    };
    // Private ones: a few displace nobody, many do.
    for (each, expected) in [(10, (9, 11)), (40, (39, 10))] {
        let mut world = none();
        fill(&mut world, &[[10, 0, 1], [10, 0, 2], [192, 168, 1]], each);
        let told = world.leecher([10, 0, 2, 1].into(), 200);
        let near = near(&told, [10, 0, 2]);
        assert!(near == expected.0 && told.len() - near <= expected.1, "{each}: {near} of {}", told.len());
        assert!(told.len() >= 20);
    }
    // Public ones displace nobody, but come first.
    let mut world = none();
    fill(&mut world, &[[198, 51, 100], [203, 0, 113]], 40);
    assert_eq!(world.leecher([203, 0, 113, 1].into(), 200).len(), 79);
    let told = world.leecher([203, 0, 113, 1].into(), 40);
    assert!((20..=21).contains(&near(&told, [203, 0, 113])) && told.len() == 40, "{told:?}");
    let told = world.leecher([203, 0, 114, 1].into(), 40);
    assert_eq!(told.len(), 40, "none near");
}

#[test]
fn a_site_has_both_families() {
    let mut world = World::with_sites(7);
    let six = |n: u16| IpAddr::from([0x2001, 0xdb8, 4, 0, 0, 0, 0, n]);
    (1..=30).for_each(|n| drop(world.leecher(peer(4, n), 0)));
    (1..=30).for_each(|n| drop(world.leecher(six(n), 0)));
    (1..=30).for_each(|n| drop(world.leecher(peer(1, n), 0)));
    for ip in [peer(4, 1), six(1)] {
        let told = world.leecher(ip, 40);
        let (four, far) = (of_site(&told, 4), of_site(&told, 1));
        assert!(told.len() == 40 && (5..=6).contains(&far) && four <= 30, "{told:?}");
    }
}

#[test]
fn far_ones_stay_for_a_while() {
    let mut world = World::with_sites(8);
    let mut known = HashSet::new();
    let mut sizes = Vec::new();
    for time in 0..30 {
        world.now_s = time * STEADY_S / 10;
        (1..=2).for_each(|site| (1..=20).for_each(|n| drop(world.leecher(peer(site, n), 0))));
        known.extend(world.leecher(peer(2, 1), 50).into_iter().filter(|ip| of_site(&[*ip], 1) == 1));
        sizes.push(known.len());
    }
    assert!(sizes[9] <= 3 && sizes[29] > sizes[9], "{sizes:?}");
}

/// A long download must not get to know everybody because others come and go.
#[test]
fn far_ones_stay_while_others_come_and_go() {
    let mut world = World::with_sites(8);
    let mut known = HashSet::new();
    (1..=20).for_each(|n| drop(world.leecher(peer(2, n), 0)));
    (1..=20).for_each(|n| drop(world.leecher(peer(1, n), 0)));
    for n in 21..=30 {
        known.extend(world.leecher(peer(2, 1), 50).into_iter().filter(|ip| of_site(&[*ip], 1) == 1));
        world.leecher(peer(1 + n % 2, n.into()), 0);
    }
    assert!(known.len() <= 5, "{known:?}");
}

/// Who knows whom: a peer that was told another dials it.
#[derive(Default)]
struct Graph {
    known: HashMap<IpAddr, HashSet<IpAddr>>,
}

impl Graph {
    fn add(&mut self, one: IpAddr, told: &[IpAddr]) {
        self.known.entry(one).or_default().extend(told);
        for &other in told {
            self.known.entry(other).or_default().insert(one);
        }
    }

    fn remove(&mut self, one: IpAddr) {
        for other in self.known.remove(&one).unwrap_or_default() {
            self.known.entry(other).or_default().remove(&one);
        }
    }

    /// Peers outside the largest piece, but for those in a piece with one of the seeders.
    fn lost(&self, seeders: &[IpAddr]) -> usize {
        let mut seen = HashSet::new();
        let (mut largest, mut fed) = (0, 0);
        for &one in self.known.keys() {
            let mut open: Vec<_> = seen.insert(one).then_some(one).into_iter().collect();
            let (mut piece, mut is_fed) = (0, false);
            while let Some(one) = open.pop() {
                (piece, is_fed) = (piece + 1, is_fed || seeders.contains(&one));
                open.extend(self.known[&one].iter().copied().filter(|&other| seen.insert(other)));
            }
            if is_fed {
                fed += piece;
            } else {
                largest = largest.max(piece);
            }
        }
        self.known.len() - if seeders.is_empty() { largest } else { fed }
    }
}

/// Peers of `sites` sites come one after another, half of them go, and the others ask again. In so many sites there is a
/// seeder: nobody may be without a way to one of these, and without any the swarm must stay whole.
fn come_and_go(sites: u8, seeders: u8, each: u16, wanted: usize, in_order: bool, seed: u64) {
    let case = format!(
        "{sites} sites of {each}, {seeders} with a seeder, {wanted} wanted, in order: {in_order}, seed {seed}"
    );
    let names: Vec<_> = (1..=sites).map(|site| format!("s{site}: 10.{site}.0.0/16")).collect();
    let mut world = World::new(Sites::new(&parse_sites(&names.join(",")).unwrap()), seed);
    let mut all: Vec<_> = (1..=sites).flat_map(|site| (1..=each).map(move |n| peer(site, n))).collect();
    if !in_order {
        world.random.shuffle(&mut all);
    }
    let mut graph = Graph::default();
    let seeders: Vec<_> = (1..=seeders).map(|site| peer(site, 1000)).collect();
    for &ip in &seeders {
        let told = world.seeder(ip);
        graph.add(ip, &told);
    }
    for &ip in &all {
        let told = world.leecher(ip, wanted);
        assert!(graph.known.is_empty() || !told.is_empty(), "{case}: whoever comes is told somebody");
        graph.add(ip, &told);
    }
    assert_eq!(graph.lost(&seeders), 0, "{case}: when all are there");
    world.random.shuffle(&mut all);
    for ip in all.split_off(all.len() / 2) {
        world.announce(ip, Role::Leecher, Action::Leave, 0);
        graph.remove(ip);
    }
    // Nobody has asked again: a few have lost all whom they knew, where they are told few.
    let (lost, most) = (graph.lost(&seeders), if wanted < 10 { 4 } else { 10 });
    assert!(lost * most <= graph.known.len() + most * 2, "{case}: {lost} of {} lost", graph.known.len());
    world.now_s += 60;
    for &ip in &all {
        let told = world.leecher(ip, wanted);
        graph.add(ip, &told);
    }
    assert_eq!(graph.lost(&seeders), 0, "{case}: half have gone");
}

#[test]
fn no_site_falls_off() {
    for seed in 0..3 {
        for (sites, seeders) in [(2, 0), (2, 1), (3, 2), (8, 0), (8, 1), (8, 3)] {
            for each in [1, 2, 3, 4, 6, 12, 40] {
                for wanted in [4, 10, 50] {
                    come_and_go(sites, seeders, each, wanted, seed % 2 == 0, seed);
                }
            }
        }
    }
    come_and_go(2, 0, 900, 50, true, 5);
    come_and_go(4, 1, 300, 50, false, 6);
}
