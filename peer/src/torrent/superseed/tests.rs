//! Who is shown what, by hand.

use torrent_common::geometry::Geometry;

use super::*;

const SLOW: Pace = Pace { rate: 0, piece_len: 10 };

fn pieces(count: u64) -> Vec<PieceIndex> {
    Geometry::new(count * 10, 10, 10).unwrap().pieces().collect()
}

/// Everything that is shown now, where nobody has anything.
fn all(books: &mut SuperSeed, pace: Pace, now: Instant) -> Vec<(u64, u32)> {
    let next = || books.next(pace, now, |_| 0).map(|(key, piece)| (key.0, piece.get()));
    std::iter::from_fn(next).collect()
}

fn books(count: u64, viewers: u64) -> SuperSeed {
    let mut books = SuperSeed::default();
    books.begin(pieces(count));
    (0..viewers).for_each(|key| books.came(PeerKey(key)));
    books
}

#[test]
fn each_piece_is_shown_once_and_few_at_a_time() {
    let (now, pieces) = (Instant::now(), pieces(40));
    let mut books = books(40, 3);
    let mut seen = BTreeSet::new();
    while seen.len() < 40 {
        let shown = all(&mut books, SLOW, now);
        assert!(!shown.is_empty() && books.under_way.len() <= LEAST);
        for (key, piece) in shown {
            assert!(seen.insert(piece), "{piece} shown twice");
            books.has(PeerKey(key), pieces[piece as usize], 1);
            books.has(PeerKey((key + 1) % 3), pieces[piece as usize], 2);
        }
        books.check_invariants();
    }
    assert_eq!(all(&mut books, SLOW, now), []);
    assert!((0..3).all(|key| books.got(PeerKey(key)) >= 10), "nobody was forgotten");
}

#[test]
fn a_fast_uplink_has_more_under_way() {
    let now = Instant::now();
    assert_eq!(all(&mut books(100, 3), SLOW, now).len(), LEAST);
    let fast = Pace { rate: 400, piece_len: 10 };
    assert_eq!(all(&mut books(100, 3), fast, now).len(), LEAST + 20);
}

#[test]
fn who_passes_nothing_on_waits_while_others_do() {
    let (now, pieces) = (Instant::now(), pieces(60));
    let mut books = books(60, 2);
    let (mut hoarder, mut giver) = (0, 0);
    for _ in 0..20 {
        for (key, piece) in all(&mut books, SLOW, now) {
            books.has(PeerKey(key), pieces[piece as usize], 1);
            if key == 0 {
                hoarder += 1;
            } else {
                giver += 1;
                books.has(PeerKey(9), pieces[piece as usize], 2);
            }
        }
    }
    assert!(hoarder <= 2 * HOARD && giver >= 40, "{hoarder} {giver}");
}

#[test]
fn who_comes_and_goes_with_everything_adds_nothing() {
    let (now, pieces) = (Instant::now(), pieces(40));
    let mut books = books(40, 2);
    let first = all(&mut books, SLOW, now);
    for _ in 0..100 {
        pieces.iter().for_each(|&piece| books.lost(piece));
        assert!(books.pool.order.len() <= pieces.len());
    }
    books.check_invariants();
    assert_eq!((first.len(), all(&mut books, SLOW, now).len()), (LEAST, 0));
}

#[test]
fn what_is_late_or_left_is_shown_to_another_and_holds_nobody_up() {
    let now = Instant::now();
    let mut books = books(4, 2);
    let first = all(&mut books, SLOW, now);
    assert_eq!(first.len(), 4, "{first:?}");
    assert_eq!(all(&mut books, SLOW, now), []);
    let late = books.next_late(SLOW, now).unwrap();
    assert_eq!(late, now + LATE_LEAST);
    books.find_late(SLOW, late);
    let again = all(&mut books, SLOW, late);
    assert_eq!(again.len(), 4);
    assert!(first.iter().all(|shown| !again.contains(shown)), "the same to the same: {again:?}");
    books.came(PeerKey(2));
    books.went(PeerKey(0));
    assert_eq!(all(&mut books, SLOW, late).len(), 2, "what it was to get");
    assert!(books.end().into_iter().eq([PeerKey(1), PeerKey(2)]) && books.is_empty());
}

#[test]
fn who_takes_nothing_keeps_nobody_waiting() {
    let (now, pieces) = (Instant::now(), pieces(60));
    let mut books = books(60, 4);
    assert_eq!(all(&mut books, SLOW, now).len(), LEAST);
    books.came(PeerKey(4));
    assert_eq!(all(&mut books, SLOW, now), []);
    assert_eq!(books.shown_before(now).count(), LEAST);
    (0..4).for_each(|key| books.pass_over(PeerKey(key)));
    assert_eq!(books.shown_before(now).count(), 0);
    let shown = all(&mut books, SLOW, now);
    assert!(shown.len() == 2 && shown.iter().all(|&(key, _)| key == 4), "{shown:?}");
    // Who got something does not wait for those who are new.
    books.has(PeerKey(4), pieces[shown[0].1 as usize], 1);
    (5..20).for_each(|key| books.came(PeerKey(key)));
    let shown = all(&mut books, SLOW, now);
    assert!(shown.iter().any(|&(key, _)| key == 4), "{shown:?}");
    books.takes(PeerKey(0));
    books.check_invariants();
}

#[test]
fn a_search_that_is_not_repeated_would_have_found_nothing() {
    let pieces = pieces(30);
    for seed in 0..200 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let mut now = Instant::now();
        let mut books = books(30, 3);
        let mut has: BTreeSet<(u64, u32)> = BTreeSet::new();
        let (mut found, mut spared) = (0, 0);
        for _ in 0..300 {
            let (key, piece) = (random.u64(..8), pieces[random.usize(..30)]);
            match random.u32(..8) {
                0 => books.came(PeerKey(key)),
                1 => {
                    has.retain(|&(holder, _)| holder != key);
                    for piece in pieces.iter().filter(|piece| !has.iter().any(|&(_, had)| had == piece.get()))
                    {
                        books.lost(*piece);
                    }
                    books.went(PeerKey(key));
                }
                2 if random.bool() => {
                    now += Duration::from_secs(random.u64(..4));
                    books.find_late(SLOW, now);
                }
                2 if random.bool() => books.pass_over(PeerKey(key)),
                2 => books.takes(PeerKey(key)),
                _ => {
                    let shown = books.viewers.get(&PeerKey(key)).and_then(|viewer| viewer.in_hand.first());
                    let piece = shown.filter(|_| random.bool()).map_or(piece, |shown| shown.piece);
                    has.insert((key, piece.get()));
                    let copies = has.iter().filter(|&&(_, had)| had == piece.get()).count();
                    books.has(PeerKey(key), piece, u32::try_from(copies).unwrap());
                }
            }
            books.check_invariants();
            let copies = |piece: PieceIndex| u32::from(has.iter().any(|&(_, had)| had == piece.get()));
            if books.next(SLOW, now, copies).is_some() {
                found += 1;
            } else if books.fruitless.take().is_some() {
                spared += 1;
                assert_eq!(books.next(SLOW, now, copies), None, "seed {seed}");
            }
            books.check_invariants();
        }
        assert!(found > 0 && spared > 0, "seed {seed}: {found} found, {spared} spared");
    }
}
