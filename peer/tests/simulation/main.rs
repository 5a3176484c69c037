//! Whole swarms on a virtual clock, from a seed: every leecher that stays completes, with the right pieces, whatever
//! links, churn, restarts, stalls, disk errors, liars and corrupting peers do. One seed: `SIMULATION_SEED=17 cargo test -p
//! torrent-peer --test simulation everybody`. More, and faster: `SIMULATION_SEEDS=10000 cargo test --config
//! profile.dev.package.torrent-peer.opt-level=2 -p torrent-peer ...`, with `SIMULATION_FIRST` to begin elsewhere than with 0.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test: a failure is a panic"
)]

mod any;
mod links;
mod nature;
mod one_to_many;
mod runs;
mod seen;
mod trouble;
mod world;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use any::any_world;
use nature::Nature;
use seen::Seen;
use torrent_common::geometry::{DEFAULT_BLOCK_LEN, Geometry};
use world::World;

const KIB: u64 = 1024;
const BLOCK: u64 = DEFAULT_BLOCK_LEN as u64;

/// After so many seeds have failed a run ends: there is enough to look at.
const ENOUGH: usize = 10;

/// Runs `one` for each seed asked for, on all processors. Seeds that fail are named with the commands that repeat them.
fn for_seeds(test: &str, default: u64, one: impl Fn(u64) + Sync) -> u64 {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let (first, count) = match number("SIMULATION_SEED") {
        Some(seed) => (seed, 1),
        None => (number("SIMULATION_FIRST").unwrap_or(0), number("SIMULATION_SEEDS").unwrap_or(default)),
    };
    let (next, failed) = (AtomicU64::new(first), Mutex::new(BTreeSet::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count || failed.lock().unwrap().len() >= ENOUGH {
                return;
            }
            if catch_unwind(AssertUnwindSafe(|| one(seed))).is_err() {
                failed.lock().unwrap().insert(seed);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (1..threads).for_each(|_| _ = scope.spawn(work));
        work();
    });
    let failed = failed.into_inner().unwrap();
    let again =
        |seed| format!("again: SIMULATION_SEED={seed} cargo test -p torrent-peer --test simulation {test}");
    let again = failed.into_iter().map(again).collect::<Vec<_>>();
    assert!(again.is_empty(), "{}", again.join("\n"));
    count
}

#[test]
fn everybody_completes_whatever_happens() {
    let all = Mutex::new(Seen::default());
    let seeds = for_seeds("everybody", 200, |seed| {
        let mut world = any_world(seed);
        let done = world.run(Duration::from_secs(4 * 3_600));
        assert!(done, "seed {seed}: not complete after four hours: {}", world.describe());
        all.lock().unwrap().add(&world.seen);
    });
    let all = all.into_inner().unwrap();
    println!("{seeds} seeds: {all:?}");
    // A generator that misses a kind of trouble tests less than it says.
    assert!(seeds < 100 || all.missing().is_empty(), "never met: {:?}", all.missing());
}

#[test]
fn a_seed_is_one_world() {
    for seed in 0..6 {
        let run = || {
            let mut world = any_world(seed);
            world.run(Duration::from_secs(4 * 3_600));
            (world.now, world.events, world.seen)
        };
        assert_eq!(run(), run(), "seed {seed}");
    }
}

#[test]
fn one_corrupt_and_one_honest_peer_are_enough() {
    for_seeds("one_corrupt", 30, |seed| {
        let random = &mut fastrand::Rng::with_seed(seed);
        let geometry = Geometry::new(40 * 4 * BLOCK - 5, 4 * BLOCK, DEFAULT_BLOCK_LEN).unwrap();
        let corrupts = random.choice([1, 3, 20, 100]).unwrap_or(1);
        let slow = Nature { upload: random.u64(5..2_000) * KIB, ..Nature::plain(true) };
        let natures = vec![slow, Nature { corrupts, ..Nature::plain(true) }, Nature::plain(false)];
        let mut world = World::new(geometry, Duration::from_millis(20), natures, seed, true);
        assert!(world.run(Duration::from_secs(3_600)), "seed {seed}: not complete");
    });
}
