//! What swarms cost in memory and time, with millions of peers: `cargo bench -p torrent-tracker --bench store -- PEERS SWARMS`
//! (`v6` after them: IPv6; `fill`: no more than filled). Peers come in random order, as they do; bytes
//! are what the process grew by, the allocator's share included. Without arguments, once with few, as a test.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark"
)]

use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use torrent_common::ids::InfoHash;
use torrent_tracker::snapshot::{self, Found};
use torrent_tracker::swarm::pace::{Pace, PaceLimits};
use torrent_tracker::swarm::{Action, Limits, Role, SHARDS, Swarms, Visit};

/// What is asked for on the command line.
struct Load {
    peers: u32,
    info_hashes: Vec<InfoHash>,
    v6: bool,
}

impl Load {
    /// Peer number `n`: always of the same torrent.
    fn visit(&self, n: u32) -> Visit {
        let swarms = self.info_hashes.len() as u32;
        // Spread over the addresses that there are, one each.
        let ip = (n.wrapping_add(0x0100_0000)).wrapping_mul(0x9e37_79b1);
        let address: SocketAddr = if self.v6 {
            (Ipv6Addr::from((0x2001_0db8_u128 << 96) | (u128::from(ip) << 40) | 1), 6881).into()
        } else {
            (ip.to_be_bytes(), 6881).into()
        };
        Visit {
            info_hash: self.info_hashes[(n % swarms) as usize],
            address,
            role: if (n / swarms).is_multiple_of(3) { Role::Seeder } else { Role::Leecher },
            action: Action::Stay,
            wanted: 50,
            family: None,
        }
    }

    /// Announces peers `0..peers`, each once, in an order that looks random. Nanoseconds each.
    fn announce_all(&self, swarms: &Swarms, wanted: usize, now_s: u32) -> f64 {
        let mut random = fastrand::Rng::with_seed(1);
        let mut told = Vec::new();
        let bits = 32 - (self.peers - 1).leading_zeros();
        let start = Instant::now();
        for at in 0..1_u64 << bits {
            // Odd factors and shifts: every number of so many bits comes once.
            let mask = (1_u64 << bits) - 1;
            let mut n = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask;
            n ^= n >> (bits / 2 + 1);
            n = n.wrapping_mul(0xd6e8_feb8_6659_fd93) & mask;
            if n < u64::from(self.peers) {
                told.clear();
                let visit = Visit { wanted, ..self.visit(n as u32) };
                swarms.announce(&visit, now_s, &mut random, &mut told).unwrap();
            }
        }
        start.elapsed().as_nanos() as f64 / f64::from(self.peers)
    }

    /// Times every announce of `count` random peers, some of them new. Prints percentiles.
    fn time_each(&self, name: &str, swarms: &Swarms, count: u32, now_s: u32) {
        let mut random = fastrand::Rng::with_seed(2);
        let mut told = Vec::new();
        let mut times = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let is_new = random.u32(..20) == 0;
            let n = if is_new { self.peers + random.u32(..self.peers) } else { random.u32(..self.peers) };
            let visit = self.visit(n);
            told.clear();
            let start = Instant::now();
            swarms.announce(&visit, now_s, &mut random, &mut told).unwrap();
            times.push(start.elapsed().as_nanos() as u32);
        }
        let mean = times.iter().map(|&ns| u64::from(ns)).sum::<u64>() as f64 / f64::from(count);
        times.sort_unstable();
        let at = |share: f64| f64::from(times[((times.len() - 1) as f64 * share) as usize]) / 1000.0;
        println!(
            "{name:28} mean {:.2} us, p50 {:.2}, p99 {:.2}, p99.9 {:.2}, p99.99 {:.1}, max {:.1}",
            mean / 1000.0,
            at(0.5),
            at(0.99),
            at(0.999),
            at(0.9999),
            at(1.0)
        );
    }
}

/// Bytes of memory that the process has.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn sweep(swarms: &Swarms, now_s: u32) {
    (0..SHARDS).for_each(|shard| {
        swarms.sweep(shard, now_s, &mut Vec::new());
    });
}

/// How long a snapshot takes, there and back.
fn save_and_load(swarms: &Swarms, path: &Path, pace: PaceLimits, now_s: u32) {
    let (before, start) = (resident(), Instant::now());
    snapshot::save(swarms, path, now_s, 0).unwrap();
    let (saved, after) = (start.elapsed(), resident());
    let restored = Swarms::new(Pace::new(pace), Limits::default(), &mut fastrand::Rng::with_seed(6));
    let start = Instant::now();
    snapshot::load(&restored, path, now_s, 0, &mut Found::default()).unwrap();
    let loaded = start.elapsed();
    assert_eq!(restored.totals(), swarms.totals());
    println!(
        "saved in {:.2} s to {:.1} MB, {:.2} MB more memory; loaded in {:.2} s",
        saved.as_secs_f64(),
        std::fs::metadata(path).unwrap().len() as f64 / 1e6,
        after.saturating_sub(before) as f64 / 1e6,
        loaded.as_secs_f64()
    );
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let numbers: Vec<u32> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let (peers, count) = (*numbers.first().unwrap_or(&10_000), *numbers.get(1).unwrap_or(&500));
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let load = Load {
        peers,
        info_hashes: (0..count).map(|n| InfoHash::of(&n.to_le_bytes())).collect(),
        v6: has("v6"),
    };
    let pace = PaceLimits { interval_s: 120, max_interval_s: 1800, min_interval_s: 30, max_rate: 0 };
    let swarms = Swarms::new(Pace::new(pace), Limits::default(), &mut fastrand::Rng::with_seed(5));
    let before = resident();
    let came = load.announce_all(&swarms, 0, 0);
    let after = resident();
    let again = load.announce_all(&swarms, 0, 60);
    let totals = swarms.totals();
    let each = |bytes: usize| (bytes - before) as f64 / totals.peers as f64;
    println!(
        "{} peers, {} swarms: {:.2} bytes/peer, {:.2} when all came again; {came:.0} ns to come, {again:.0} again, {:.0} told 50, {:.0} told 7, {:.0} told 1",
        totals.peers,
        totals.swarms,
        each(after),
        each(resident()),
        load.announce_all(&swarms, 50, 61),
        load.announce_all(&swarms, 7, 61),
        load.announce_all(&swarms, 1, 61),
    );
    let folder = tempfile::tempdir_in(if cfg!(target_os = "linux") { "/dev/shm" } else { "." }).unwrap();
    let path = folder.path().join("peers");
    save_and_load(&swarms, &path, pace, 62);
    if has("fill") {
        return;
    }
    let timed = (peers / 2).clamp(1000, 1_000_000);
    load.time_each("alone", &swarms, timed, 70);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                sweep(&swarms, 80);
            }
        });
        load.time_each("while it is swept", &swarms, timed, 80);
        over.store(true, Ordering::Relaxed);
    });
    over.store(false, Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                snapshot::save(&swarms, &path, 90, 0).unwrap();
            }
        });
        load.time_each("while snapshots are taken", &swarms, timed, 90);
        over.store(true, Ordering::Relaxed);
    });
    // All that were told a short interval are forgotten meanwhile.
    over.store(false, Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            sweep(&swarms, 480);
            println!("the sweep that forgets took {:.0} ms", start.elapsed().as_secs_f64() * 1000.0);
            over.store(true, Ordering::Relaxed);
        });
        load.time_each("while most are forgotten", &swarms, timed, 480);
    });
    println!("{} peers are left, {} bytes", swarms.totals().peers, resident() - before);
}
