//! What is particular to large swarms; what all can do is tested in `members_tests.rs`.

use super::*;

#[test]
fn shares_add_up() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..1000 {
        let sizes = [(); 4].map(|()| random.u32(..100));
        let wanted = random.usize(..300);
        let total: u32 = sizes.iter().sum();
        let shares = shares(sizes, wanted, &mut random);
        assert_eq!(shares.iter().sum::<usize>(), wanted.min(total as usize), "{sizes:?} {wanted}");
        assert!(shares.iter().zip(sizes).all(|(&share, size)| share <= size as usize));
    }
}

#[test]
fn what_a_swarm_without_rare_peers_needs() {
    assert!(size_of::<Large>() <= 208, "{}", size_of::<Large>());
    let mut swarm = Large::new(InfoHash::new([1; 20]), 0);
    let partial = Packed::new("1.2.3.4:6881".parse().unwrap());
    swarm.insert(partial, Role::PartialSeed, 5, 1);
    swarm.expire(5, Sweep::default(), usize::MAX, 1);
    assert!(swarm.rare.is_some());
    swarm.expire(6, Sweep::default(), usize::MAX, 1);
    assert!(swarm.rare.is_none() && swarm.is_empty());
}

#[test]
fn it_is_shown_in_parts() {
    let mut swarm = Large::new(InfoHash::new([1; 20]), 0);
    let mut all = Vec::new();
    for n in 0..20_000_u32 {
        let [_, a, b, c] = n.to_be_bytes();
        let address: SocketAddr = match n % 5 {
            0 => (std::net::Ipv6Addr::from(u128::from(n)), 6881).into(),
            _ => ([10, a, b, c], 6881).into(),
        };
        let role = Role::ALL[n as usize % 3];
        swarm.insert(Packed::new(address), role, 9, 1);
        all.push((address, role as u8, 9));
    }
    let (mut cursor, mut shown, mut steps) = (Some((0, 0)), Vec::new(), 0);
    while cursor.is_some() {
        swarm.show_part(&mut cursor, |address, role, until| shown.push((address, role as u8, until)));
        steps += 1;
    }
    assert!(steps > 20);
    all.sort_unstable();
    shown.sort_unstable();
    assert_eq!(shown, all);
}

/// How uneven samples of `wanted` out of `count` peers are: chi-square, in standard deviations from what chance alone does.
fn unevenness(count: u32, wanted: usize) -> f64 {
    let mut table = Table::<6>::new();
    let address = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        [10, a, b, c, 0x1a, 0xe1]
    };
    (0..count).for_each(|n| assert!(table.insert(address(n), 9, 11)));
    let mut random = fastrand::Rng::with_seed(12);
    let mut seen = std::collections::HashMap::new();
    let expected = 200.0;
    for _ in 0..count * 200 / u32::try_from(wanted).unwrap() {
        let mut told = Vec::new();
        sample_table(&table, wanted, Some(&address(0)), 5, &mut random, |address| told.push(*address));
        assert!(told.len() == wanted && !told.contains(&address(0)));
        told.sort_unstable();
        told.dedup();
        assert_eq!(told.len(), wanted, "nobody twice");
        told.into_iter().for_each(|address| *seen.entry(address).or_insert(0.0) += 1.0);
    }
    let others = f64::from(count - 1);
    let total: f64 = seen.values().sum();
    let expected_each = total / others;
    assert!((expected_each / expected - 1.0_f64).abs() < 0.2);
    let unseen = others - seen.len() as f64;
    let chi: f64 = seen.values().map(|n: &f64| (n - expected_each).powi(2) / expected_each).sum();
    (chi + unseen * expected_each - others) / (2.0 * others).sqrt()
}

#[test]
fn samples_of_few_are_fair() {
    // In one part, and in several of which some have been divided and are half as long.
    for count in [10, 60, 700, 2600] {
        for wanted in 1..=FEW {
            let uneven = unevenness(count, wanted);
            assert!(uneven < 4.0, "{wanted} of {count}: {uneven}");
        }
    }
}

#[test]
fn a_sample_of_few_finds_those_that_live_among_many_that_do_not() {
    let mut table = Table::<6>::new();
    for n in 0..3000_u16 {
        let [a, b] = n.to_be_bytes();
        table.insert([10, 0, a, b, 1, 1], if n % 1000 == 0 { 9 } else { 4 }, 11);
    }
    let mut random = fastrand::Rng::with_seed(13);
    for _ in 0..20 {
        let mut told = Vec::new();
        sample_table(&table, 3, None, 5, &mut random, |address| told.push(*address));
        told.sort_unstable();
        assert_eq!(told, [0_u16, 1000, 2000].map(|n| [10, 0, n.to_be_bytes()[0], n.to_be_bytes()[1], 1, 1]));
    }
}
