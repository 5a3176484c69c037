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
