//! Real processes under attack: killed, stopped, without room, with files that change under them, and for a long time. A
//! short run of each is an ordinary test; `scripts/torture.sh` makes them long by the variables that start with `TORTURE_`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests report by panicking"
)]

mod changed_files;
mod disks;
mod failing_disk;
mod hung_disk;
mod kills;
mod names;
mod shutdown;
mod soak;
mod tracker_kills;
mod wishes;
mod world;

/// A number from the environment, for longer runs than the usual one.
fn long(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A random source whose seed is told, and may be given: `TORRENT_TEST_SEED`.
fn random() -> fastrand::Rng {
    let seed = long("TORRENT_TEST_SEED", fastrand::u64(..1_000_000));
    println!("TORRENT_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
