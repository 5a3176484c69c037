//! Whole swarms on a virtual clock, from a seed: every leecher that stays completes, with the right pieces, whatever
//! links, churn, stalls, disk errors and corrupting peers do. More seeds: `SIMULATION_SEEDS=1000 cargo test -p
//! torrent-peer --test simulation`. One seed: `SIMULATION_SEED=17 ...`.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test: a failure is a panic"
)]

mod one_to_many;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use torrent_common::geometry::{DEFAULT_BLOCK_LEN, Geometry};
use world::{Nature, World};

const KIB: u64 = 1024;
const BLOCK: u64 = DEFAULT_BLOCK_LEN as u64;

fn plain(seeder: bool) -> Nature {
    Nature {
        seeder,
        upload: 2_500_000,
        slots: 4,
        sequential: false,
        super_seeding: true,
        fast: true,
        corrupts: 0,
        stalls: None,
        write_errors: 0,
        budget: u64::MAX,
        joins: Duration::ZERO,
        leaves: None,
        download: u64::MAX >> 32,
        free_rides: false,
        leaves_after: None,
    }
}

/// Runs `one` for each seed asked for. A seed that fails is named with the command that repeats it.
fn for_seeds(test: &str, default: u64, one: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(default),
    };
    for seed in seeds {
        if catch_unwind(AssertUnwindSafe(|| one(seed))).is_err() {
            panic!("again: SIMULATION_SEED={seed} cargo test -p torrent-peer --test simulation {test}");
        }
    }
}

/// A swarm of any kind, with troubles of any kind.
fn any_world(seed: u64) -> World {
    let random = &mut fastrand::Rng::with_seed(seed ^ 0x5eed);
    let blocks = random.u64(1..9);
    let total = random.u64(1..60) * blocks * BLOCK + random.u64(1..BLOCK * 2);
    let piece_len = if random.bool() { blocks * BLOCK } else { blocks * BLOCK - random.u64(1..BLOCK) };
    let geometry = Geometry::new(total, piece_len, DEFAULT_BLOCK_LEN).unwrap();
    let mut natures = Vec::new();
    for index in 0..random.usize(2..10) {
        let mut nature = plain(index == 0 || random.u32(..6) == 0);
        nature.upload = random.u64(20..2_000) * KIB;
        nature.slots = random.usize(1..6);
        nature.sequential = random.u32(..4) == 0;
        nature.fast = random.bool();
        nature.budget = random.u64(0..12) * piece_len;
        nature.joins = Duration::from_millis(random.u64(0..20_000));
        let trouble = random.u32(..8);
        if trouble == 0 {
            nature.write_errors = 5;
        }
        if trouble == 1 {
            let from = nature.joins + Duration::from_millis(random.u64(0..20_000));
            nature.stalls = Some((from, from + Duration::from_secs(random.u64(10..200))));
        }
        if index > 0 && trouble == 2 {
            nature.leaves = Some(nature.joins + Duration::from_millis(random.u64(100..60_000)));
        }
        natures.push(nature);
    }
    if random.u32(..3) == 0 {
        natures.push(Nature { corrupts: random.choice([1, 2, 10]).unwrap_or(1), ..plain(true) });
    }
    let latency = Duration::from_millis(random.u64(1..200));
    World::new(geometry, latency, natures, seed, true)
}

#[test]
fn everybody_completes_whatever_happens() {
    for_seeds("everybody", 30, |seed| {
        let mut world = any_world(seed);
        let done = world.run(Duration::from_secs(3_600));
        let stats: Vec<_> =
            world.nodes.iter().map(|node| node.core.stats(std::time::Instant::now())).collect();
        assert!(done, "seed {seed}: not complete after an hour: {stats:#?}");
    });
}

#[test]
fn one_corrupt_and_one_honest_peer_are_enough() {
    for_seeds("one_corrupt", 30, |seed| {
        let random = &mut fastrand::Rng::with_seed(seed);
        let geometry = Geometry::new(40 * 4 * BLOCK - 5, 4 * BLOCK, DEFAULT_BLOCK_LEN).unwrap();
        let corrupts = random.choice([1, 3, 20, 100]).unwrap_or(1);
        let slow = Nature { upload: random.u64(5..2_000) * KIB, ..plain(true) };
        let natures = vec![slow, Nature { corrupts, ..plain(true) }, plain(false)];
        let mut world = World::new(geometry, Duration::from_millis(20), natures, seed, true);
        assert!(world.run(Duration::from_secs(3_600)), "seed {seed}: not complete");
    });
}
