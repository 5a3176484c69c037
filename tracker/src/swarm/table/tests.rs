//! Tables of all sizes, beside a map.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

fn address(number: u32) -> Address<6> {
    let [_, a, b, c] = number.to_be_bytes();
    [10, a, b, c, 0x1a, 0xe1]
}

fn filled(count: u32, key: u64) -> Table<6> {
    let mut table = Table::new();
    (0..count).for_each(|n| assert!(table.insert(address(n), 0, key)));
    table
}

/// Slots of all parts: what a whole sweep looks at.
fn slot_count(table: &Table<6>) -> usize {
    table.parts().map(Part::slot_count).sum()
}

/// Up to `wanted` peers.
fn sample(table: &Table<6>, wanted: usize, random: &mut fastrand::Rng) -> Vec<Address<6>> {
    let mut seen = Vec::new();
    let _ = table.walk(usize::MAX, random, |address, _| {
        seen.push(*address);
        seen.len() < wanted
    });
    seen
}

/// What must always hold.
fn check(table: &Table<6>, key: u64) {
    let mut len = 0;
    for (number, part) in table.parts().enumerate() {
        len += part.len();
        assert!(part.iter().all(|(address, _)| table.part_of(hash(address, key)) == number));
        assert!(table.is_one_part() || part.run_count() <= table.most_runs as usize);
    }
    assert_eq!(table.len(), len);
    assert!(table.len() as usize <= table.part_count() * PART_LEN);
}

#[test]
fn it_grows_and_shrinks_by_parts_of_bounded_length() {
    let mut table = Table::<6>::new();
    let (count, key) = (100_000, 3);
    for number in 0..count {
        assert!(table.insert(address(number), 7, key));
        if number % 10_000 == 0 {
            check(&table, key);
        }
    }
    check(&table, key);
    assert_eq!(table.part_count(), count.div_ceil(1024) as usize);
    let longest = table.parts().map(Part::slot_count).max().unwrap();
    assert!(longest < 4 * PART_LEN, "nobody waits for long: {longest}");
    assert!(slot_count(&table) * 8 < 11 * count as usize, "{}", slot_count(&table));
    assert!((0..count).all(|number| table.contains(&address(number), key)));
    for number in 0..count - 10 {
        assert!(table.remove(&address(number), key));
        if number % 10_000 == 0 {
            check(&table, key);
        }
    }
    check(&table, key);
    assert!(table.is_one_part() && slot_count(&table) < 64, "{}", slot_count(&table));
}

#[test]
fn a_walk_comes_by_each_once() {
    let mut random = fastrand::Rng::with_seed(3);
    for count in [0, 1, 2, 3, 10, 50, 1000, 5000, 20_000] {
        let table = filled(count, 7);
        for wanted in [1, 2, 49, 2000, usize::MAX] {
            let seen = sample(&table, wanted, &mut random);
            assert_eq!(seen.len(), wanted.min(count as usize), "{count} {wanted}");
            assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len(), "{count} {wanted}");
        }
    }
}

#[test]
fn a_walk_is_bounded() {
    let table = filled(50_000, 7);
    let mut seen = 0;
    let _ = table.walk(5, &mut fastrand::Rng::with_seed(1), |_, _| {
        seen += 1;
        true
    });
    assert!((10..=40).contains(&seen), "{seen}");
    let mut late = filled(50_000, 7);
    let mut from = Some(Cursor::default());
    while let Some(at) = from {
        let before = late.part_count();
        from = late.expire(1, at, usize::MAX, 7);
        assert!(before - late.part_count() <= JOINS, "nobody waits for all parts to be put back");
    }
    assert!(late.len() == 0 && late.is_one_part());
}

/// How often each of `count` peers is among `wanted`: the least and the most, in parts of what is to be expected.
fn evenness(count: u32, wanted: usize, times: u32) -> (f64, f64) {
    let table = filled(count, 9);
    let mut random = fastrand::Rng::with_seed(4);
    let mut seen = HashMap::new();
    for _ in 0..times {
        for address in sample(&table, wanted, &mut random) {
            *seen.entry(address).or_insert(0.0) += 1.0;
        }
    }
    assert_eq!(seen.len(), count as usize);
    let expected = f64::from(times) * wanted as f64 / f64::from(count);
    let (least, most) = seen.values().fold((f64::MAX, 0.0_f64), |(a, b), &n| (a.min(n), b.max(n)));
    (least / expected, most / expected)
}

#[test]
fn every_peer_is_sampled_about_as_often() {
    let (least, most) = evenness(200, 10, 4000);
    assert!(least > 0.5 && most < 1.6, "{least} {most}");
    // In several parts, some of which have been divided and are half as long.
    let (least, most) = evenness(2600, 50, 10_000);
    assert!(least > 0.5 && most < 1.7, "{least} {most}");
}

#[test]
fn expiry_goes_on_where_it_stopped() {
    let (key, count) = (5, 20_000);
    let mut table = Table::<6>::new();
    (0..count).for_each(|n| assert!(table.insert(address(n), if n % 4 == 0 { 600 } else { 400 }, key)));
    let (mut at, mut steps) = (Cursor::default(), 0);
    while let Some(next) = table.expire(500, at, 512, key) {
        at = next;
        steps += 1;
    }
    assert!((30..100).contains(&steps), "{steps}");
    check(&table, key);
    assert_eq!(table.len(), count / 4);
    assert!(table.iter().all(|(_, until)| until == 600));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn it_behaves_like_a_map(steps in prop::collection::vec((0_u8..8, 0_u32..6000, 1_u32..900), 1..60), key: u64) {
        let mut table = Table::<6>::new();
        let mut map = HashMap::new();
        for (now, (what, from, count)) in (0_u16..).zip(steps) {
            let numbers = from..from + count;
            match what {
                0..5 => for n in numbers {
                    prop_assert_eq!(table.insert(address(n), now, key), map.insert(address(n), now).is_none());
                },
                5..7 => for n in numbers {
                    prop_assert_eq!(table.remove(&address(n), key), map.remove(&address(n)).is_some());
                },
                _ => {
                    let now = now.wrapping_sub(8);
                    let mut from = Some(Cursor::default());
                    while let Some(at) = from {
                        from = table.expire(now, at, count as usize, key);
                    }
                    map.retain(|_, &mut until| !is_past(until, now));
                }
            }
            check(&table, key);
            let have: HashMap<_, _> = table.iter().map(|(a, until)| (*a, until)).collect();
            prop_assert_eq!(&have, &map);
        }
    }
}
