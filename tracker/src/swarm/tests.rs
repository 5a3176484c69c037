//! What every implementation of the seam must do.

use std::collections::HashSet;

use std::net::SocketAddr;

use proptest::prelude::*;
use torrent_common::announce::compact::Family;

use super::pace::PaceLimits;
use super::*;

/// Of whoever was told an interval of a few minutes.
const LIFETIME_S: u32 = super::pace::LEAST_LIFETIME_S;

/// Swarms in which the interval is always about the same.
fn steady(interval_s: u32, limits: Limits, seed: u64) -> Swarms {
    let pace = PaceLimits { interval_s, max_interval_s: interval_s, min_interval_s: 0, max_rate: 0 };
    Swarms::new(Pace::new(pace), limits, &mut fastrand::Rng::with_seed(seed))
}

fn store(limits: Limits) -> Swarms {
    steady(120, limits, 11)
}

fn hash(n: u8) -> InfoHash {
    InfoHash::new([n; 20])
}

fn peer(n: u32) -> SocketAddr {
    let [_, b, c, d] = n.to_be_bytes();
    ([10, b, c, d], 6881).into()
}

fn leecher(n: u32) -> Visit {
    Visit {
        info_hash: hash(1),
        address: peer(n),
        role: Role::Leecher,
        action: Action::Stay,
        wanted: 50,
        family: None,
    }
}

fn seeder(n: u32) -> Visit {
    Visit { role: Role::Seeder, ..leecher(n) }
}

/// Announces, and returns the counts and the peers told.
fn tell(swarms: &Swarms, visit: &Visit, now_s: u32) -> (ScrapeEntry, Vec<SocketAddr>) {
    let mut peers = Vec::new();
    let visited =
        swarms.announce(visit, now_s, &mut fastrand::Rng::with_seed(now_s.into()), &mut peers).unwrap();
    (visited.counts, peers.into_iter().map(|peer| peer.address).collect())
}

fn counts(complete: u32, incomplete: u32, downloaded: u32) -> ScrapeEntry {
    ScrapeEntry { complete, downloaded, incomplete }
}

fn sweep_all(swarms: &Swarms, now_s: u32) -> Vec<Retired> {
    let mut retired = Vec::new();
    (0..SHARDS).for_each(|shard| {
        swarms.sweep(shard, now_s, &mut retired);
    });
    retired
}

#[test]
fn a_peer_is_never_in_its_own_answer() {
    let swarms = store(Limits::default());
    assert_eq!(tell(&swarms, &leecher(1), 0), (counts(0, 1, 0), vec![]));
    assert_eq!(tell(&swarms, &leecher(1), 1), (counts(0, 1, 0), vec![]));
    assert_eq!(tell(&swarms, &leecher(2), 1), (counts(0, 2, 0), vec![peer(1)]));
    assert_eq!(tell(&swarms, &Visit { wanted: 1, ..leecher(1) }, 1).1, [peer(2)]);
}

#[test]
fn a_seeder_gets_no_seeders() {
    let swarms = store(Limits::default());
    (1..=5).for_each(|n| {
        tell(&swarms, &seeder(n), 0);
    });
    assert_eq!(tell(&swarms, &seeder(6), 0), (counts(6, 0, 0), vec![]));
    tell(&swarms, &leecher(7), 0);
    assert_eq!(tell(&swarms, &seeder(6), 0).1, [peer(7)]);
    assert_eq!(tell(&swarms, &leecher(8), 0).1.len(), 7);
}

#[test]
fn a_partial_seed_is_incomplete_and_no_use_to_those_who_want_nothing() {
    let swarms = store(Limits::default());
    let partial = |n| Visit { role: Role::PartialSeed, ..leecher(n) };
    tell(&swarms, &leecher(1), 0);
    tell(&swarms, &seeder(2), 0);
    assert_eq!(tell(&swarms, &partial(3), 0), (counts(1, 2, 0), vec![peer(1)]));
    assert_eq!(tell(&swarms, &partial(4), 0).1, [peer(1)]);
    assert_eq!(tell(&swarms, &seeder(2), 0).1, [peer(1)]);
    let mut told = tell(&swarms, &leecher(1), 0).1;
    told.sort_unstable();
    assert_eq!(told, [peer(2), peer(3), peer(4)], "a leecher takes what they have");
    assert_eq!(swarms.scrape_with_downloaders(&hash(1), 0), (counts(1, 3, 0), 1));
    // It wants more, after all.
    assert_eq!(tell(&swarms, &leecher(3), 0).0, counts(1, 3, 0));
    assert_eq!(swarms.scrape_with_downloaders(&hash(1), 0).1, 2);
    let six = Visit { address: "[2001:db8::1]:6881".parse().unwrap(), ..partial(0) };
    assert_eq!(tell(&swarms, &six, 0).1.len(), 2);
    assert_eq!(tell(&swarms, &Visit { action: Action::Leave, ..six }, 0).0, counts(1, 3, 0));
}

#[test]
fn one_of_each_always_find_each_other_with_one_wanted() {
    for seed in 0..50 {
        let swarms = steady(120, Limits::default(), seed);
        tell(&swarms, &seeder(1), 0);
        let (_, peers) = tell(&swarms, &Visit { wanted: 1, ..leecher(2) }, u32::try_from(seed).unwrap());
        assert_eq!(peers, [peer(1)]);
    }
}

#[test]
fn silent_peers_are_forgotten() {
    let swarms = store(Limits::default());
    tell(&swarms, &leecher(1), 0);
    tell(&swarms, &seeder(2), 100);
    assert_eq!(tell(&swarms, &leecher(3), LIFETIME_S).0, counts(1, 2, 0));
    let (now, told) = tell(&swarms, &leecher(3), LIFETIME_S + 1);
    assert_eq!((now, told), (counts(1, 1, 0), vec![peer(2)]));
    assert_eq!(swarms.scrape(&hash(1), LIFETIME_S + 101), counts(0, 1, 0));
    assert_eq!(swarms.totals(), Totals { swarms: 1, peers: 1, seeders: 0 });
    assert_eq!(sweep_all(&swarms, 3 * LIFETIME_S), []);
    assert_eq!(swarms.totals(), Totals::default());
}

#[test]
fn large_swarms_expire_too_and_never_show_the_expired() {
    let swarms = store(Limits::default());
    for n in 0..40_000 {
        swarms
            .announce(
                &Visit { wanted: 0, ..leecher(n) },
                n / 100,
                &mut fastrand::Rng::with_seed(1),
                &mut Vec::new(),
            )
            .unwrap();
    }
    let now_s = 500;
    let (_, told) = tell(&swarms, &Visit { wanted: 5000, ..leecher(39_999) }, now_s);
    assert!(told.len() > 100);
    let number = |address: &SocketAddr| match address.ip() {
        std::net::IpAddr::V4(ip) => ip.to_bits() & 0xff_ffff,
        std::net::IpAddr::V6(_) => panic!("no IPv6 here"),
    };
    assert!(told.iter().all(|address| number(address) / 100 >= now_s - LIFETIME_S));
    sweep_all(&swarms, now_s);
    assert_eq!(swarms.totals().peers, 40_000 - ((now_s - LIFETIME_S) as usize) * 100);
}

#[test]
fn whoever_stops_is_gone_at_once() {
    let swarms = store(Limits::default());
    tell(&swarms, &leecher(1), 0);
    tell(&swarms, &leecher(2), 0);
    let leave = Visit { action: Action::Leave, ..leecher(1) };
    assert_eq!(tell(&swarms, &leave, 1), (counts(0, 1, 0), vec![]));
    assert_eq!(tell(&swarms, &leave, 1), (counts(0, 1, 0), vec![]));
    tell(&swarms, &Visit { action: Action::Leave, ..leecher(2) }, 1);
    assert_eq!(swarms.totals(), Totals::default());
    assert_eq!(tell(&swarms, &leave, 1).0, counts(0, 0, 0), "stopping makes no swarm");
    assert_eq!(swarms.totals(), Totals::default());
}

#[test]
fn a_download_counts_once() {
    let swarms = store(Limits::default());
    let complete = Visit { action: Action::Complete, ..seeder(1) };
    tell(&swarms, &leecher(1), 0);
    assert_eq!(tell(&swarms, &complete, 1).0, counts(1, 0, 1));
    assert_eq!(tell(&swarms, &complete, 2).0, counts(1, 0, 1), "said twice");
    assert_eq!(tell(&swarms, &seeder(2), 2).0, counts(2, 0, 1), "a seeder from the start");
    let lie = Visit { action: Action::Complete, ..leecher(3) };
    assert_eq!(tell(&swarms, &lie, 2).0, counts(2, 1, 1), "complete, but lacking bytes");
    assert_eq!(sweep_all(&swarms, 1000), [Retired { info_hash: hash(1), downloaded: 1 }]);
    assert_eq!(swarms.totals(), Totals::default());
}

#[test]
fn both_families_are_told() {
    let swarms = store(Limits::default());
    let six = Visit { address: "[2001:db8::1]:6881".parse().unwrap(), ..leecher(0) };
    tell(&swarms, &leecher(1), 0);
    assert_eq!(tell(&swarms, &six, 0).1, [peer(1)]);
    assert_eq!(tell(&swarms, &leecher(1), 0).1, [six.address]);
    let mapped = Visit { address: "[::ffff:10.0.0.1]:6881".parse().unwrap(), ..leecher(0) };
    assert_eq!(tell(&swarms, &mapped, 0).1, [six.address], "a mapped address is the IPv4 one");
}

#[test]
fn one_family_alone_is_told() {
    let swarms = store(Limits::default());
    for n in 1..=9_u16 {
        tell(&swarms, &leecher(n.into()), 0);
        let address = (std::net::Ipv6Addr::from([n; 8]), 6881).into();
        tell(&swarms, &Visit { address, ..leecher(0) }, 0);
    }
    for (family, expected) in [(Some(Family::V4), 8), (Some(Family::V6), 9), (None, 17)] {
        for wanted in [3, 50] {
            let (counts_, told) = tell(&swarms, &Visit { family, wanted, ..leecher(1) }, 0);
            assert_eq!(counts_, counts(0, 18, 0), "the counts are of all");
            assert_eq!(told.len(), expected.min(wanted));
            assert!(family.is_none_or(|family| told.iter().all(|peer| Family::of(peer.ip()) == family)));
        }
    }
}

#[test]
fn swarms_do_not_mix() {
    let swarms = store(Limits::default());
    tell(&swarms, &leecher(1), 0);
    assert_eq!(tell(&swarms, &Visit { info_hash: hash(2), ..leecher(2) }, 0), (counts(0, 1, 0), vec![]));
    assert_eq!(swarms.scrape(&hash(3), 0), ScrapeEntry::default());
    assert_eq!(swarms.totals().swarms, 2);
}

#[test]
fn answers_have_at_most_what_was_wanted() {
    let swarms = store(Limits::default());
    (0..300).for_each(|n| {
        tell(&swarms, &if n % 3 == 0 { seeder(n) } else { leecher(n) }, 0);
    });
    for wanted in [0, 1, 7, 50, 200, 299, 1000] {
        let (_, told) = tell(&swarms, &Visit { wanted, ..leecher(1) }, 5);
        assert_eq!(told.len(), wanted.min(299));
        assert_eq!(told.iter().collect::<HashSet<_>>().len(), told.len());
    }
}

#[test]
fn long_lifetimes_work_with_coarse_ticks() {
    let swarms = steady(7 * 86_400, Limits::default(), 1);
    let announce = |visit: Visit, now_s| {
        swarms.announce(&visit, now_s, &mut fastrand::Rng::with_seed(1), &mut Vec::new()).unwrap()
    };
    let lifetime_s = 2 * announce(leecher(1), 1000).interval_s;
    assert_eq!(announce(leecher(2), 1000 + lifetime_s - 100).counts.incomplete, 2);
    assert_eq!(announce(leecher(2), 1000 + lifetime_s + 100).counts.incomplete, 1);
}

#[test]
fn time_may_be_longer_than_ticks_count() {
    let swarms = store(Limits::default());
    let start = 65_500;
    tell(&swarms, &leecher(1), start);
    assert_eq!(tell(&swarms, &leecher(2), start + 100).1, [peer(1)]);
    assert_eq!(tell(&swarms, &leecher(2), start + LIFETIME_S + 1).1, []);
}

fn image(swarms: &Swarms, now_s: u32) -> HashSet<(InfoHash, SocketAddr, u8, u32)> {
    let mut all = HashSet::new();
    for part in 0..PARTS {
        swarms.each_of_part(part, now_s, |swarm, peers| {
            all.extend(peers.map(|peer| (swarm.info_hash, peer.address, peer.role as u8, peer.left_s)));
        });
    }
    all
}

#[test]
fn what_is_restored_stays_within_the_limits() {
    let image = |n| SwarmImage { info_hash: InfoHash::new([n; 20]), downloaded: 3, quiet_s: 0 };
    let peers = |count: u16| {
        (0..count).map(|port| {
            let address = ([10, 0, 0, 1], port).into();
            PeerImage { address, role: Role::Leecher, left_s: 9 }
        })
    };
    // Of each the first has port 0, which is nobody's.
    for (first, limit, restored) in [(101, 1000, 100), (101, 70, 70), (31, 30, 30), (31, 20, 20), (1, 9, 0)] {
        let swarms = store(Limits { swarms: 2, peers: limit });
        assert_eq!(swarms.restore(&image(1), peers(first), 0), restored > 0);
        assert_eq!(swarms.totals().peers, restored, "{first} {limit}");
        // The same again, as another piece of it: nobody twice, and its downloads are added.
        swarms.restore(&image(1), peers(first).take(1 + restored), 0);
        assert_eq!((swarms.totals().peers, swarms.totals().swarms), (restored, usize::from(restored > 0)));
        let has_room = limit > restored;
        assert_eq!(swarms.restore(&image(2), peers(2), 0), has_room);
        assert!(!swarms.restore(&image(2), peers(1), 0));
        assert_eq!(swarms.restore(&image(3), peers(2), 0), has_room && restored == 0);
        assert!(swarms.totals().swarms <= 2 && swarms.totals().peers <= limit);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sums_match_what_is_there(
        steps in prop::collection::vec((0u8..4, 0u32..40, 0u8..9, 0u32..60), 1..300)
    ) {
        let swarms = store(Limits { swarms: 3, peers: 60 });
        let mut now_s = 0;
        for (torrent, who, what, pause) in steps {
            let role = Role::ALL[usize::from(what % 3)];
            let action = [Action::Stay, Action::Complete, Action::Leave][usize::from(what / 3)];
            let visit = Visit { info_hash: hash(torrent), action, role, ..leecher(who) };
            let mut peers = Vec::new();
            now_s += pause;
            let _ = swarms.announce(&visit, now_s, &mut fastrand::Rng::with_seed(1), &mut peers);
            prop_assert!(peers.iter().all(|peer| peer.address != visit.address));
            sweep_all(&swarms, now_s);
            let there = image(&swarms, now_s);
            let totals = swarms.totals();
            prop_assert_eq!(totals.peers, there.len());
            prop_assert_eq!(totals.seeders, there.iter().filter(|peer| peer.2 == Role::Seeder as u8).count());
            prop_assert_eq!(totals.swarms, there.iter().map(|peer| peer.0).collect::<HashSet<_>>().len());
            prop_assert!(totals.swarms <= 3 && totals.peers <= 60);
        }
    }

    #[test]
    fn an_image_restores(visits in prop::collection::vec((0u8..5, 0u32..100, 0usize..3, 0u32..200), 0..200)) {
        let swarms = store(Limits::default());
        for (torrent, who, role, at) in visits {
            tell(&swarms, &Visit { info_hash: hash(torrent), role: Role::ALL[role], ..leecher(who) }, at);
        }
        let restored = store(Limits::default());
        for part in 0..PARTS {
            swarms.each_of_part(part, 200, |swarm, peers| {
                restored.restore(swarm, peers, 7);
            });
        }
        prop_assert_eq!(image(&swarms, 200), image(&restored, 7));
        prop_assert_eq!(swarms.totals().seeders, restored.totals().seeders);
    }
}
