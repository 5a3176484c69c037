use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::storage::testing::{TestFile, torrent};

fn geometry(pieces: u64) -> Geometry {
    Geometry::new(pieces * 10, 10, 10).unwrap()
}

fn set(geometry: &Geometry, pieces: impl IntoIterator<Item = u32>) -> Bitfield {
    let mut bits = Bitfield::empty(geometry);
    for piece in pieces {
        bits.insert(geometry.piece(piece).unwrap());
    }
    bits
}

#[test]
fn the_rarest_that_the_peer_has() {
    let g = geometry(4);
    let random = &mut fastrand::Rng::with_seed(1);
    let mut picker = Picker::new(g, &Bitfield::empty(&g), Selection::default());
    for (piece, peers) in [(0, 3), (1, 1), (2, 2), (3, 1)] {
        (0..peers).for_each(|_| picker.came(g.piece(piece).unwrap(), random));
    }
    let mut pick = |has: &[u32]| {
        picker.pick(&set(&g, has.iter().copied()), false, Order::Rarest, random).map(PieceIndex::get)
    };
    assert_eq!(pick(&[0, 2]), Some(2));
    assert_eq!(pick(&[0]), Some(0));
    assert_eq!(pick(&[]), None);
    assert!(matches!(pick(&[0, 1, 2, 3]), Some(1 | 3)));
}

#[test]
fn what_only_seeds_have_comes_first() {
    let g = geometry(100);
    let random = &mut fastrand::Rng::with_seed(1);
    let mut picker = Picker::new(g, &Bitfield::empty(&g), Selection::default());
    assert_eq!(picker.obtainable(), 0);
    for piece in g.pieces().filter(|piece| piece.get() != 50) {
        picker.came(piece, random);
    }
    assert_eq!(picker.obtainable(), 99);
    picker.seed_came();
    assert_eq!(picker.obtainable(), 100);
    assert_eq!(picker.pick(&Bitfield::full(&g), true, Order::Rarest, random), g.piece(50));
}

#[test]
fn equals_are_picked_evenly() {
    let g = geometry(8);
    let mut seen = [0; 8];
    for seed in 0..4_000 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let mut picker = Picker::new(g, &Bitfield::empty(&g), Selection::default());
        picker.shuffle(random);
        let order = if seed % 2 == 0 { Order::Rarest } else { Order::Random };
        // A peer with all and one without 3, so that the others moved.
        g.pieces().for_each(|piece| picker.came(piece, random));
        g.pieces().filter(|piece| piece.get() != 3).for_each(|piece| picker.came(piece, random));
        picker.begin(g.piece(3).unwrap());
        seen[picker.pick(&Bitfield::full(&g), false, order, random).unwrap().as_usize()] += 1;
    }
    assert_eq!(seen[3], 0);
    for (piece, &count) in seen.iter().enumerate().filter(|&(piece, _)| piece != 3) {
        assert!((450..700).contains(&count), "piece {piece}: {count} of 4000");
    }
}

#[test]
fn a_peer_with_little_is_found_something_among_many() {
    let g = geometry(10_000);
    let random = &mut fastrand::Rng::with_seed(1);
    let mut picker = Picker::new(g, &Bitfield::empty(&g), Selection::default());
    g.pieces().for_each(|piece| picker.came(piece, random));
    for piece in [0, 77, 9_999] {
        let has = set(&g, [piece]);
        picker.came(g.piece(piece).unwrap(), random);
        for order in [Order::Rarest, Order::Random] {
            assert_eq!(picker.pick(&has, false, order, random), g.piece(piece));
        }
    }
}

proptest! {
    /// Any history leaves the books right, and rarest means rarest.
    #[test]
    fn books_stay_right(seed: u64, steps in proptest::collection::vec((0u8..5, 0u32..20), 0..200)) {
        let g = geometry(20);
        let random = &mut fastrand::Rng::with_seed(seed);
        let mut picker = Picker::new(g, &set(&g, [0, 1, 2]), Selection::default());
        let mut open: BTreeSet<u32> = (3..20).collect();
        let mut counts = [0u32; 20];
        picker.shuffle(random);
        for (what, index) in steps {
            let piece = g.piece(index).unwrap();
            match what {
                0 | 1 => {
                    picker.came(piece, random);
                    counts[index as usize] += 1;
                }
                2 if counts[index as usize] > 0 => {
                    picker.went(piece, random);
                    counts[index as usize] -= 1;
                }
                3 => {
                    picker.begin(piece);
                    open.remove(&index);
                }
                4 => {
                    picker.reopen(piece, random);
                    open.insert(index);
                }
                _ => {}
            }
            picker.check_invariants();
            prop_assert_eq!(g.pieces().filter(|&piece| picker.is_open(piece)).count(), open.len());
            let rarest = open.iter().map(|&piece| counts[piece as usize]).filter(|&count| count > 0).min();
            let has = set(&g, (0..20).filter(|&piece| counts[piece as usize] > 0));
            let picked = picker.pick(&has, false, Order::Rarest, random);
            prop_assert_eq!(picked.map(|piece| counts[piece.as_usize()]), rarest);
        }
    }
}

/// The selection of a torrent of one file for each piece.
fn selection(g: &Geometry, priorities: &[Priority]) -> Selection {
    let names: Vec<String> = g.pieces().map(|piece| piece.get().to_string()).collect();
    let len = u64::from(g.nominal_piece_len());
    let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), len)).collect();
    Selection::of(&torrent("t", &TestFile::list(&files), len, None), priorities)
}

#[test]
fn what_is_wanted_more_comes_first_and_what_is_not_wanted_never() {
    use Priority::{High, Low, Normal, Skip};
    let g = geometry(6);
    let random = &mut fastrand::Rng::with_seed(1);
    let had = set(&g, [5]);
    let mut picker = Picker::new(g, &had, selection(&g, &[Low, Skip, Normal, High, High, High]));
    picker.seed_came();
    picker.came(g.piece(3).unwrap(), random);
    assert_eq!(picker.obtainable(), 4);
    let mut take = |picker: &mut Picker| {
        let piece = picker.pick(&Bitfield::full(&g), true, Order::Rarest, random)?;
        picker.begin(piece);
        picker.check_invariants();
        Some(piece.get())
    };
    let order: Vec<u32> = std::iter::from_fn(|| take(&mut picker)).collect();
    assert_eq!(order, [4, 3, 2, 0]);
    picker.reopen(g.piece(1).unwrap(), random);
    assert_eq!(picker.pick(&Bitfield::full(&g), true, Order::Rarest, random), None);
    // Wanted after all; 0 is begun still.
    let missing = |piece: PieceIndex| ![0, 5].contains(&piece.get());
    picker.select(selection(&g, &[High, High, Skip, Low, Low, Low]), missing, random);
    picker.check_invariants();
    let order: Vec<u32> = std::iter::from_fn(|| {
        let piece = picker.pick(&Bitfield::full(&g), true, Order::Rarest, random)?;
        picker.begin(piece);
        Some(piece.get())
    })
    .collect();
    assert_eq!(order, [1, 4, 3]);
}

#[test]
fn in_order_means_the_rarest_of_the_next_few() {
    // 16 MiB are eight pieces.
    let g = Geometry::new(100 << 21, 1 << 21, 1 << 14).unwrap();
    let mut firsts = BTreeSet::new();
    for seed in 0..200 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let mut picker = Picker::new(g, &set(&g, [0, 1]), Selection::default());
        picker.seed_came();
        let mut next = |picker: &mut Picker, has: &Bitfield| {
            let piece = picker.pick(has, true, Order::Sequential, random).unwrap();
            picker.begin(piece);
            piece.get()
        };
        let all = Bitfield::full(&g);
        firsts.insert(next(&mut picker, &all));
        for begun in 1..97 {
            let first_open = g.pieces().find(|&piece| picker.is_open(piece)).unwrap().get();
            assert!(next(&mut picker, &all) - first_open < 8, "after {begun}");
        }
        assert!(next(&mut picker, &all) >= 90);
    }
    assert_eq!(firsts, (2..10).collect());
    let random = &mut fastrand::Rng::with_seed(1);
    let mut picker = Picker::new(g, &Bitfield::empty(&g), Selection::default());
    for piece in (0..100).filter(|&piece| piece != 5) {
        picker.came(g.piece(piece).unwrap(), random);
    }
    picker.came(g.piece(3).unwrap(), random);
    let mut pick = |has: Bitfield| picker.pick(&has, true, Order::Sequential, random).map(PieceIndex::get);
    assert_eq!(pick(Bitfield::full(&g)), Some(5));
    assert_eq!(pick(set(&g, [3, 99])), Some(3));
    assert_eq!(pick(set(&g, [99])), Some(99));
    assert_eq!(pick(set(&g, [])), None);
}
