//! What every kind of swarm must do, beside a map.

use std::collections::HashMap;
use std::net::SocketAddr;

use proptest::prelude::*;
use torrent_common::announce::compact::Family;
use torrent_common::ids::InfoHash;

use super::address::{Asker, Packed};
use super::large::{Large, Sweep};
use super::small::Small;
use super::tick::is_past;
use super::*;

const KEY: u64 = 5;

fn packed(text: &str) -> Packed {
    Packed::new(text.parse().unwrap())
}

fn both(test: impl Fn(&mut dyn Members)) {
    test(&mut Small::new(InfoHash::new([1; 20]), 0));
    test(&mut Large::new(InfoHash::new([1; 20]), 0));
}

#[test]
fn a_peer_changes_sides() {
    both(|swarm| {
        let (seeder, leecher, partial) = (Role::Seeder, Role::Leecher, Role::PartialSeed);
        for text in ["1.2.3.4:6881", "[2001:db8::1]:6881"] {
            let peer = packed(text);
            let mut was = None;
            for role in [
                leecher, leecher, seeder, seeder, leecher, partial, partial, seeder, partial, leecher, seeder,
            ] {
                assert_eq!(swarm.insert(peer, role, 0, KEY), was);
                assert!(swarm.contains(&peer, KEY));
                was = Some(role);
            }
        }
        assert_eq!(swarm.counts(), ScrapeEntry { complete: 2, incomplete: 0, downloaded: 0 });
        let six = packed("[2001:db8::2]:6881");
        swarm.insert(six, partial, 0, KEY);
        assert_eq!(swarm.counts(), ScrapeEntry { complete: 2, incomplete: 1, downloaded: 0 });
        assert_eq!(swarm.count_of(leecher), 0);
        assert_eq!(swarm.remove(&six, KEY), Some(partial));
        assert_eq!(swarm.remove(&packed("1.2.3.4:6881"), KEY), Some(seeder));
        assert_eq!(swarm.remove(&packed("1.2.3.4:6881"), KEY), None);
        assert!(!swarm.is_empty());
    });
}

#[test]
fn whose_time_is_over_goes_first() {
    both(|swarm| {
        for (n, until) in [20, 9, 12].into_iter().enumerate() {
            swarm.insert(packed(&format!("1.2.3.{n}:1")), Role::Leecher, until, KEY);
        }
        let random = &mut fastrand::Rng::with_seed(1);
        // It has another peer on the newcomer's host, which would go next.
        let newcomer = packed("1.2.3.0:2");
        for gone in ["1.2.3.1:1", "1.2.3.0:1", "1.2.3.2:1"] {
            assert!(swarm.evict_one(&newcomer, 10, KEY, random));
            assert!(!swarm.contains(&packed(gone), KEY), "{gone}");
        }
        assert!(swarm.is_empty() && !swarm.evict_one(&newcomer, 10, KEY, random));
    });
}

#[test]
fn who_goes_for_a_newcomer() {
    both(|swarm| {
        for (n, text) in ["1.2.3.4:1", "1.2.3.5:1", "1.2.3.6:1", "[2001:db8::1]:1"].into_iter().enumerate() {
            let until = if n == 1 { 10 } else { 20 };
            swarm.insert(packed(text), Role::ALL[n % 3], until, KEY);
        }
        let mut random = fastrand::Rng::with_seed(1);
        assert!(swarm.evict_one(&packed("1.2.3.6:2"), 5, KEY, &mut random));
        assert!(!swarm.contains(&packed("1.2.3.6:1"), KEY), "of the same host");
        assert!(swarm.evict_one(&packed("9.2.3.6:2"), 5, KEY, &mut random));
        assert!(!swarm.contains(&packed("1.2.3.5:1"), KEY), "the first to be forgotten");
        assert!(swarm.evict_one(&packed("[2001:db8::9]:1"), 5, KEY, &mut random));
        assert!(!swarm.contains(&packed("[2001:db8::1]:1"), KEY), "of the same /64");
        assert!(!swarm.evict_one(&packed("1.2.3.4:1"), 5, KEY, &mut random), "not the newcomer itself");
        assert_eq!(swarm.counts().complete, 1);
    });
}

/// Everybody, as a map.
type Model = HashMap<SocketAddr, (Role, u16)>;

fn check(swarm: &dyn Members, there: &[(Packed, Role, u16)], model: &Model) {
    let have: Model = there.iter().map(|&(peer, role, until)| (peer.get(), (role, until))).collect();
    assert_eq!(there.len(), model.len());
    assert_eq!(&have, model);
    for role in Role::ALL {
        let count = model.values().filter(|(other, _)| *other == role).count();
        assert_eq!(swarm.count_of(role) as usize, count);
    }
    assert!(model.keys().all(|&peer| swarm.contains(&Packed::new(peer), KEY)));
}

fn check_sample(swarm: &dyn Members, asker: &Asker, wanted: usize, now: u16, model: &Model) {
    let mut told = Vec::new();
    swarm.sample(wanted, asker, now, &mut fastrand::Rng::with_seed(1), &mut told);
    let fits = |peer: SocketAddr| {
        let &(role, until) = &model[&peer];
        Packed::new(peer) != asker.address
            && !is_past(until, now)
            && asker.has_use_for(role)
            && asker.reaches(peer.is_ipv6())
    };
    let all = model.keys().filter(|&&peer| fits(peer)).count();
    let mut told: Vec<_> = told.into_iter().map(|peer| peer.address).collect();
    assert!(told.iter().all(|&peer| fits(peer)));
    let len = told.len();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), len, "nobody twice");
    // Shares of tables with silent peers are not filled up from others.
    let has_silent = model.values().any(|&(_, until)| is_past(until, now));
    assert!(len <= wanted.min(all));
    assert!(has_silent || len == wanted.min(all), "{len} of {wanted}, {all}");
}

fn address(n: u8) -> SocketAddr {
    if n.is_multiple_of(3) { ([u16::from(n); 8], 6881).into() } else { ([10, 0, 0, n], 6881).into() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_behave_like_a_map(
        steps in prop::collection::vec((0_u8..9, 0_u8..40, 0_usize..3, 1_u16..50), 1..200),
        late: bool,
    ) {
        let mut small = Small::new(InfoHash::new([1; 20]), 0);
        let mut large = Large::new(InfoHash::new([1; 20]), 0);
        let mut model = Model::new();
        // Ticks wrap around.
        let start = if late { u16::MAX - 30 } else { 0 };
        for (at, (what, who, role, long)) in (0_u16..).zip(steps) {
            let (now, peer, role) = (start.wrapping_add(at), Packed::new(address(who)), Role::ALL[role]);
            match what {
                0..6 if small.has_room_for(&peer, role) || small.contains(&peer, KEY) => {
                    let until = now.wrapping_add(long);
                    let was = model.insert(address(who), (role, until)).map(|(role, _)| role);
                    prop_assert_eq!(small.insert(peer, role, until, KEY), was);
                    prop_assert_eq!(large.insert(peer, role, until, KEY), was);
                }
                6 => {
                    let was = model.remove(&address(who)).map(|(role, _)| role);
                    prop_assert_eq!(small.remove(&peer, KEY), was);
                    prop_assert_eq!(large.remove(&peer, KEY), was);
                }
                7 => {
                    small.expire(now);
                    let mut from = Some(Sweep::default());
                    while let Some(at) = from {
                        from = large.expire(now, at, usize::from(long), KEY);
                    }
                    model.retain(|_, &mut (_, until)| !is_past(until, now));
                }
                _ => {
                    let family = [None, Some(Family::V4), Some(Family::V6)][usize::from(long) % 3];
                    if let Some(&(role, _)) = model.get(&address(who)) {
                        let asker = Asker { address: peer, role, family };
                        check_sample(&small, &asker, usize::from(long), now, &model);
                        check_sample(&large, &asker, usize::from(long), now, &model);
                    }
                }
            }
            check(&small, &small.iter().collect::<Vec<_>>(), &model);
            check(&large, &large.iter().collect::<Vec<_>>(), &model);
        }
    }
}
