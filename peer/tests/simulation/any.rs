//! Swarms of any kind, with troubles of any kind, from a seed.

use std::time::Duration;

use torrent_common::geometry::{DEFAULT_BLOCK_LEN, Geometry};

use super::nature::{Ending, Lie, Nature, Restart};
use super::world::World;
use super::{BLOCK, KIB};

/// A swarm with an honest seeder that stays, or comes back.
pub fn any_world(seed: u64) -> World {
    let random = &mut fastrand::Rng::with_seed(seed ^ 0x5eed);
    let blocks = random.u64(1..9);
    let total = random.u64(1..60) * blocks * BLOCK + random.u64(1..BLOCK * 2);
    // Not much shorter than a block: a torrent of thousands of tiny pieces is slow to check and shows nothing new.
    let piece_len = blocks * BLOCK - if random.bool() { 0 } else { random.u64(1..BLOCK * 3 / 4) };
    let geometry = Geometry::new(total, piece_len, DEFAULT_BLOCK_LEN).unwrap();
    let mut natures = Vec::new();
    for index in 0..random.usize(2..10) {
        let mut nature = any_honest(piece_len, random);
        nature.seeder = index == 0 || random.u32(..6) == 0;
        if index == 0 {
            nature.leaves = None;
        }
        natures.push(nature);
    }
    if random.u32(..2) == 0 {
        for _ in 0..random.usize(1..4) {
            natures.push(any_dishonest(random));
        }
    }
    let latency = Duration::from_millis(random.u64(1..200));
    let mut world = World::new(geometry, latency, natures, seed, true);
    if random.bool() {
        world.jitter = Duration::from_millis(random.u64(1..400));
    }
    if random.u32(..3) == 0 {
        world.troubles_every(Duration::from_millis(random.u64(200..6_000)));
    }
    world
}

fn any_honest(piece_len: u64, random: &mut fastrand::Rng) -> Nature {
    let mut nature = Nature {
        upload: random.u64(20..2_000) * KIB,
        slots: random.usize(1..6),
        sequential: random.u32(..4) == 0,
        fast: random.bool(),
        budget: random.u64(0..12) * piece_len,
        joins: Duration::from_millis(random.u64(0..20_000)),
        // The last is slower than a stop is patient.
        writing: Duration::from_millis(random.choice([1, 3, 50, 400, 3_000]).unwrap_or(3)),
        ..Nature::plain(false)
    };
    match random.u32(..10) {
        0 => nature.write_errors = 5,
        1 => {
            let from = nature.joins + Duration::from_millis(random.u64(0..20_000));
            nature.stalls = Some((from, from + Duration::from_secs(random.u64(10..200))));
        }
        2 => nature.leaves = Some(nature.joins + Duration::from_millis(random.u64(100..60_000))),
        3 | 4 => {
            let mut at = nature.joins;
            for _ in 0..random.usize(1..5) {
                at += Duration::from_millis(random.u64(10..60_000));
                let down = Duration::from_millis(random.u64(0..30_000));
                let ending = [Ending::Stopped, Ending::Killed, Ending::PowerCut][random.usize(..3)];
                nature.restarts.push(Restart { at, down, ending, same_name: random.bool() });
                at += down;
            }
        }
        _ => {}
    }
    nature
}

fn any_dishonest(random: &mut fastrand::Rng) -> Nature {
    let mut nature = Nature {
        upload: random.u64(20..4_000) * KIB,
        fast: random.bool(),
        joins: Duration::from_millis(random.u64(0..20_000)),
        ..Nature::plain(random.u32(..4) > 0)
    };
    match random.u32(..4) {
        0 | 1 => nature.corrupts = random.choice([1, 2, 10, 50]).unwrap_or(1),
        2 => {
            nature.seeder = true;
            let lie = [Lie::Silence, Lie::Rejection, Lie::Garbage][random.usize(..3)];
            nature.lies = Some((lie, random.choice([1, 2, 5]).unwrap_or(1)));
        }
        _ => nature.raves = Some(Duration::from_millis(random.u64(20..3_000))),
    }
    nature
}
