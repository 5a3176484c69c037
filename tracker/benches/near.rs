//! What an announce costs with and without near peers, in swarms of several sizes: `cargo bench -p torrent-tracker --bench near`
#![allow(clippy::unwrap_used, reason = "a benchmark's inputs are its own")]

use std::net::Ipv4Addr;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use torrent_common::config::parse_sites;
use torrent_common::ids::InfoHash;
use torrent_tracker::near::Sites;
use torrent_tracker::swarm::pace::{Pace, PaceLimits};
use torrent_tracker::swarm::{Action, Limits, Role, Swarms, Visit};

/// Peers in all: in swarms of 10, of 1,000, of 100,000 and of all.
const PEERS: u32 = 400_000;
const SIZES: [u32; 4] = [10, 1000, 100_000, PEERS];
/// Announces in one measurement: few, so that the fastest are those that nothing came between.
const BATCH: usize = 20;

fn main() {
    divan::main();
}

/// Who is near whom.
#[derive(Debug, Clone, Copy)]
enum Plan {
    /// As it was before there was nearness.
    Nothing,
    /// No sites, and no two peers in one subnet: public addresses.
    PublicAlone,
    /// The same with private ones.
    PrivateAlone,
    /// A site with one in so many of the peers announces.
    Site(u32),
    /// Everybody is in one site.
    OneSite,
}

const PLANS: [Plan; 6] =
    [Plan::Nothing, Plan::PublicAlone, Plan::PrivateAlone, Plan::Site(10), Plan::Site(100), Plan::OneSite];

/// A number that looks random, another for each.
const fn scattered(n: u32) -> u32 {
    let n = (n ^ (n >> 11)).wrapping_mul(0x9e37_79b1);
    (n ^ (n >> 13)).wrapping_mul(0x85eb_ca6b)
}

impl Plan {
    fn sites(self) -> Sites {
        match self {
            Self::Nothing => Sites::default(),
            Self::PublicAlone | Self::PrivateAlone => Sites::new(&[]),
            Self::Site(_) | Self::OneSite => {
                Sites::new(&parse_sites("here: 10.0.0.0/9 192.168.0.0/16, there: 172.16.0.0/12").unwrap())
            }
        }
    }

    /// The address of peer number `n` and whether it is one of those that are measured.
    fn address(self, n: u32) -> (Ipv4Addr, bool) {
        let public = Ipv4Addr::from_bits(0x2000_0000 | scattered(n) >> 3);
        let [_, b, c, d] = n.to_be_bytes();
        match self {
            Self::Nothing | Self::PublicAlone => (public, true),
            Self::PrivateAlone => (Ipv4Addr::new(10, d, c, b), true),
            Self::Site(part) if scattered(n).is_multiple_of(part) => (Ipv4Addr::new(10, b, c, d), true),
            Self::Site(_) => (public, false),
            Self::OneSite => (Ipv4Addr::new(10, b, c, d), true),
        }
    }
}

/// Each announces again and again, and is told 50 peers.
#[divan::bench(args = PLANS, consts = SIZES, sample_count = 2000, sample_size = 1)]
fn announce<const SIZE: u32>(bencher: Bencher<'_, '_>, plan: Plan) {
    let mut random = fastrand::Rng::with_seed(1);
    let pace = PaceLimits { interval_s: 120, max_interval_s: 1800, min_interval_s: 30, max_rate: 0 };
    let swarms = Swarms::new(Pace::new(pace), Limits::default(), &mut random).with_sites(plan.sites());
    let visit = |n: u32, wanted| {
        let mut info_hash = [7; 20];
        let [a, b, c, d] = (n / SIZE).to_be_bytes();
        info_hash[..4].copy_from_slice(&[a, b, c, d]);
        let (ip, is_measured) = plan.address(n);
        let role = if n.is_multiple_of(5) { Role::Seeder } else { Role::Leecher };
        let visit = Visit {
            info_hash: InfoHash::new(info_hash),
            address: (ip, 6881).into(),
            role,
            action: Action::Stay,
            wanted,
            family: None,
        };
        (visit, is_measured)
    };
    let mut told = Vec::new();
    let mut measured = Vec::new();
    for n in 0..PEERS {
        let (visit, is_measured) = visit(n, 0);
        swarms.announce(&visit, 0, &mut random, &mut told).unwrap();
        if is_measured && visit.role == Role::Leecher {
            measured.push(n);
        }
    }
    random.shuffle(&mut measured);
    let mut next = measured.iter().cycle();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for _ in 0..BATCH {
            let (visit, _) = visit(*next.next().unwrap(), 50);
            told.clear();
            let _ = black_box(swarms.announce(&visit, 1, &mut random, &mut told));
        }
    });
}
