//! What is particular to packed swarms; what all can do is tested in `members_tests.rs`.

use super::*;

fn peer(n: u8, v6: bool) -> Packed {
    let ip: std::net::IpAddr = if v6 { [u16::from(n); 8].into() } else { [10, 0, 0, n].into() };
    Packed::new((ip, 6881).into())
}

fn repacked(small: &Small) -> Small {
    let mut block = [0xff; MAX_LEN];
    let len = small.pack(&mut block);
    assert_eq!(len % 8, 0);
    assert_eq!(Small::info_hash_of(&block), small.info_hash);
    Small::unpack(&block[..len])
}

#[test]
fn it_takes_24_bytes_and_8_for_each_peer() {
    let mut small = Small::new(InfoHash::new([7; 20]), 3);
    for n in 0..60 {
        let role = if n % 3 == 0 { Role::Seeder } else { Role::Leecher };
        assert!(n > 58 || small.has_room_for(&peer(n, false), role), "{n}");
        small.insert(peer(n, false), role, n.into(), 0);
        assert_eq!(small.packed_len(), 24 + 8 * (usize::from(n) + 1));
    }
    assert!(!small.has_room_for(&peer(99, false), Role::Seeder));
    assert_eq!(small.packed_len(), MAX_LEN);
    assert_eq!(repacked(&small).counts(), small.counts());
}

#[test]
fn what_is_packed_is_unpacked() {
    let mut random = fastrand::Rng::with_seed(8);
    for _ in 0..500 {
        let mut small = Small::new(InfoHash::new([random.u8(..); 20]), random.u16(..));
        if random.bool() {
            small.add_downloads(random.u32(..));
        }
        let roles = random.usize(1..=3);
        for n in 0..random.u8(..60) {
            let (peer, role) = (peer(n, random.u8(..9) == 0), Role::ALL[random.usize(..roles)]);
            if small.has_room_for(&peer, role) {
                small.insert(peer, role, random.u16(..), 0);
            }
        }
        let other = repacked(&small);
        assert!(other.iter().eq(small.iter()));
        assert_eq!((other.counts(), other.changed()), (small.counts(), small.changed()));
        assert_eq!(other.downloaded(), small.downloaded());
        assert!(small.packed_len() <= MAX_LEN);
    }
}

#[test]
fn no_block_is_too_odd() {
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..2000 {
        let mut block = [0; MAX_LEN];
        random.fill(&mut block);
        let len = random.usize(..=MAX_LEN);
        let mut small = Small::unpack(&block[..len]);
        small.expire(random.u16(..));
        small.iter().for_each(drop);
        small.remove(&peer(1, false), 0);
    }
}

#[test]
fn every_peer_is_sampled_about_as_often() {
    let mut small = Small::new(InfoHash::new([7; 20]), 0);
    for n in 0..20 {
        small.insert(peer(n, n % 7 == 0), Role::ALL[usize::from(n % 3)], 9, 0);
    }
    let asker = Asker { address: peer(5, false), role: Role::Leecher, family: None };
    let mut times = std::collections::HashMap::new();
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..4000 {
        let mut told = Vec::new();
        small.sample(5, &asker, 9, &mut random, &mut told);
        assert_eq!(told.len(), 5);
        told.iter().for_each(|peer| *times.entry(peer.address).or_insert(0) += 1);
    }
    assert_eq!(times.len(), 19);
    assert!(times.values().all(|&n| (950..1160).contains(&n)), "{times:?}");
}
