//! One seeder, many leechers, all with the same upload: when the first and the last leecher are complete, over the fluid
//! limit, the time that the seeder needs for one copy. Nobody can be done before that; near it, all can.

use std::time::Duration;

use torrent_common::geometry::{DEFAULT_BLOCK_LEN, Geometry};

use super::nature::Nature;
use super::world::{Node, World};
use super::{KIB, for_seeds};

/// Bytes per second of everybody's upload: 20 Mbit/s.
const RATE: u64 = 2_500_000;

/// A swarm that ran to its end.
struct Outcome {
    world: World,
    size: u64,
}

impl Outcome {
    /// The seeder is the first of `natures`; they come one after the other.
    fn of(size: u64, piece_len: u64, natures: Vec<Nature>, seed: u64) -> Self {
        let geometry = Geometry::new(size, piece_len, DEFAULT_BLOCK_LEN).unwrap();
        let mut world = World::new(geometry, Duration::from_millis(5), natures, seed, false);
        assert!(world.run(Duration::from_secs(3_600)), "not complete after an hour");
        Self { world, size }
    }

    fn limit(&self) -> f64 {
        self.size as f64 / RATE as f64
    }

    /// When those leechers were complete, over the fluid limit: the first, and the last.
    fn ends(&self, of: impl Fn(&Node) -> bool) -> (f64, f64) {
        let leechers = self.world.nodes.iter().filter(|node| !node.nature.seeder && of(node));
        let ends = leechers.filter_map(|node| Some(node.completed?.as_secs_f64() / self.limit()));
        ends.fold((f64::MAX, 0.0), |(first, last), end| (end.min(first), end.max(last)))
    }

    fn copies(&self) -> f64 {
        self.world.nodes[0].uploaded as f64 / self.size as f64
    }

    fn print(&self, name: &str, seed: u64) -> (f64, f64) {
        let (first, last) = self.ends(|_| true);
        println!(
            "{name}, seed {seed}: first {first:.3}, last {last:.3} of the fluid limit, seeder sent {:.3}",
            self.copies()
        );
        (first, last)
    }
}

/// A seeder and leechers alike, that come one after the other.
fn alike(leechers: u64, apart_ms: u64, slots: usize) -> Vec<Nature> {
    let joins = |index| Duration::from_millis(apart_ms * index);
    let nature = |index| Nature { upload: RATE, slots, joins: joins(index), ..Nature::plain(index == 0) };
    (0..=leechers).map(nature).collect()
}

fn slots() -> usize {
    std::env::var("SIMULATION_SLOTS").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

const MIB: u64 = 1024 * KIB;

#[test]
fn eight_leechers_complete_near_the_fluid_limit() {
    for_seeds("eight", 2, |seed| {
        let (first, last) =
            Outcome::of(64 * MIB, 256 * KIB, alike(8, 35, slots()), seed).print("eight", seed);
        assert!(last <= 1.15 && first >= 0.9 * last, "{first:.3} {last:.3}");
    });
}

#[test]
fn thirty_leechers_complete_near_the_fluid_limit() {
    for_seeds("thirty", 1, |seed| {
        let (first, last) =
            Outcome::of(64 * MIB, 256 * KIB, alike(30, 35, slots()), seed).print("thirty", seed);
        assert!(last <= 1.25 && first >= 0.9 * last, "{first:.3} {last:.3}");
    });
}

#[test]
fn two_hundred_leechers_complete_near_the_fluid_limit() {
    // Without a compiler's help the whole size takes minutes.
    let size = if std::env::var_os("SIMULATION_SEEDS").is_some() { 64 * MIB } else { 32 * MIB };
    for_seeds("two_hundred", 1, |seed| {
        let (first, last) =
            Outcome::of(size, 256 * KIB, alike(200, 10, slots()), seed).print("two hundred", seed);
        assert!(last <= 1.5 && first >= 0.8 * last, "{first:.3} {last:.3}");
    });
}

#[test]
fn one_leecher_is_not_slowed_down() {
    for_seeds("one_leecher", 1, |seed| {
        let (_, last) = Outcome::of(64 * MIB, 256 * KIB, alike(1, 35, slots()), seed).print("one", seed);
        assert!(last <= 1.01, "{last:.3}");
    });
}

#[test]
fn a_slow_peer_keeps_nobody_waiting() {
    for_seeds("slow_peer", 1, |seed| {
        let mut natures = alike(8, 35, slots());
        natures[3] = Nature { download: RATE / 25, ..natures[3].clone() };
        let outcome = Outcome::of(64 * MIB, 256 * KIB, natures, seed);
        let (_, last) = outcome.ends(|node| node.nature.download > RATE);
        println!("slow, seed {seed}: the others' last {last:.3}, seeder sent {:.3}", outcome.copies());
        assert!(last <= 1.15, "{last:.3}");
    });
}

#[test]
fn free_riders_get_less() {
    for_seeds("free_riders", 1, |seed| {
        let mut natures = alike(32, 35, slots());
        natures.iter_mut().skip(1).step_by(4).for_each(|nature| nature.free_rides = true);
        let outcome = Outcome::of(64 * MIB, 256 * KIB, natures, seed);
        let givers = outcome.ends(|node| !node.nature.free_rides);
        let riders = outcome.ends(|node| node.nature.free_rides);
        println!(
            "free riders, seed {seed}: givers {givers:.3?}, riders {riders:.3?}, seeder sent {:.3}",
            outcome.copies()
        );
        assert!(
            givers.1 <= 1.4 && riders.0 > givers.0 && riders.1 >= 1.05 * givers.1,
            "{givers:?} {riders:?}"
        );
    });
}

#[test]
fn a_seeder_may_leave_after_one_copy() {
    for_seeds("may_leave", 1, |seed| {
        let mut natures = alike(8, 35, slots());
        natures[0].leaves_after = Some(64 * MIB + MIB);
        let (_, last) = Outcome::of(64 * MIB, 256 * KIB, natures, seed).print("one copy", seed);
        assert!(last <= 1.15, "{last:.3}");
    });
}

#[test]
fn peers_come_and_go() {
    for_seeds("come_and_go", 1, |seed| {
        let random = &mut fastrand::Rng::with_seed(seed);
        let mut natures = alike(60, 35, slots());
        for nature in natures.iter_mut().skip(1) {
            nature.joins = Duration::from_millis(random.u64(0..20_000));
            if random.u32(..4) == 0 {
                nature.leaves = Some(nature.joins + Duration::from_millis(random.u64(1_000..20_000)));
            }
        }
        let (_, last) = Outcome::of(32 * MIB, 128 * KIB, natures, seed).print("churn", seed);
        assert!(last <= 2.0, "{last:.3}");
    });
}

#[test]
fn leechers_that_fetch_in_order_share_too() {
    for_seeds("in_order", 1, |seed| {
        let mut natures = alike(8, 35, slots());
        natures.iter_mut().for_each(|nature| nature.sequential = true);
        let (_, last) = Outcome::of(64 * MIB, 256 * KIB, natures.clone(), seed).print("in order", seed);
        assert!(last <= 1.15, "{last:.3}");
        // From a seeder that lets them choose: without a window they would all need the same at the same time.
        natures[0].super_seeding = false;
        let (_, last) = Outcome::of(64 * MIB, 256 * KIB, natures, seed).print("in order, by choice", seed);
        assert!(last <= 2.2, "{last:.3}");
    });
}
