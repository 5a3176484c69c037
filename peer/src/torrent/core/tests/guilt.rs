use super::*;
use crate::torrent::event::BanReason;

/// Four blocks of one piece: two from each of two peers.
fn shared_piece(t: &mut Test) -> Vec<BlockRef> {
    let blocks = t.giver(1, &[0]);
    t.send(1, &blocks[..2]);
    t.peer(1, PeerEvent::Choked);
    assert_eq!(t.giver(2, &[0]), blocks[2..]);
    let effects = t.send(2, &blocks[2..]);
    assert_eq!(hashed(&effects).len(), 1);
    blocks
}

/// The same, and it is bad.
fn shared_bad_piece(t: &mut Test) -> Vec<Effect> {
    let blocks = shared_piece(t);
    t.event(Event::Hashed(blocks[0].piece(), false))
}

#[test]
fn who_sent_all_of_a_bad_piece_is_banned_and_stays_out() {
    let mut t = torrent(4);
    let blocks = t.giver(1, &[0]);
    t.send(1, &blocks);
    let piece = t.piece(0);
    let effects = t.event(Event::Hashed(piece, false));
    assert_eq!(effects, [Effect::Discard(piece), Effect::Ban(key(1), BanReason::CorruptPiece)]);
    assert_eq!(t.budget.reserved.get(), 0);
    assert_eq!(t.core.stats(t.now).pieces_had, 0);
    // With another peer id too.
    let info = PeerInfo { address: address(1), ..info(9, Direction::Incoming) };
    let effects = t.event(Event::Connected(key(9), info));
    assert_eq!(closed(&effects, 9), Some(CloseReason::Banned));
    t.event(Event::Found(vec![address(1)]));
    assert_eq!(t.core.stats(t.now).peers, 0);
}

#[test]
fn who_left_before_the_hash_was_known_is_banned_too() {
    let mut t = torrent(4);
    let blocks = t.giver(1, &[0]);
    t.send(1, &blocks);
    t.event(Event::Gone(key(1)));
    t.event(Event::Hashed(t.piece(0), false));
    assert_eq!(closed(&t.connect(1), 1), Some(CloseReason::Banned));
}

#[test]
fn of_several_senders_each_fetches_alone_until_one_is_convicted() {
    let mut t = torrent(3);
    let effects = shared_bad_piece(&mut t);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Ban(..))));
    // The second is unchoked and fetches the bad piece again, alone.
    let again = asked(&effects, 2);
    assert_eq!(again.len(), 4);
    assert!(asked(&t.peer(1, PeerEvent::Unchoked), 1).is_empty(), "nobody helps it");
    let effects = t.send(2, &again);
    let effects = [effects, t.event(Event::Hashed(t.piece(0), true))].concat();
    assert!(effects.contains(&Effect::Write(t.piece(0))));
    // The first is given another piece alone, and that is bad: now it is known.
    let piece = t.piece(1);
    let blocks = asked(&t.peer(1, PeerEvent::Have(piece)), 1);
    t.send(1, &blocks);
    assert!(t.event(Event::Hashed(piece, false)).contains(&Effect::Ban(key(1), BanReason::CorruptPiece)));
}

#[test]
fn a_bad_piece_goes_to_one_who_had_no_part_in_it() {
    let mut first = [0, 0];
    for seed in 0..10 {
        let mut t = torrent(40);
        t.random = fastrand::Rng::with_seed(seed);
        let blocks = shared_piece(&mut t);
        t.peer(2, PeerEvent::Choked);
        (1..40).for_each(|piece| _ = t.peer(2, PeerEvent::Have(t.piece(piece))));
        t.event(Event::Hashed(t.piece(0), false));
        // To one who had a part it is a piece like any other.
        let part = asked(&t.peer(2, PeerEvent::Unchoked), 2);
        first[0] += usize::from(part[..4] == blocks);
        t.event(Event::Gone(key(2)));
        // One who had none begins with it.
        let none = t.giver(3, &(0..40).collect::<Vec<_>>());
        first[1] += usize::from(none[..4] == blocks);
    }
    assert!(first[0] < 4 && first[1] == 10, "{first:?} of 10");
}

#[test]
fn alone_but_too_slow_goes_to_another() {
    let mut t = torrent(1);
    let effects = shared_bad_piece(&mut t);
    let again = asked(&effects, 2);
    t.peer(1, PeerEvent::Unchoked);
    // A block every twenty seconds: never silent, never done.
    let mut taken = Vec::new();
    for block in &again[..3] {
        taken.extend(t.pass(21));
        taken.extend(t.send(2, &[*block]));
    }
    assert!(taken.contains(&Effect::Discard(t.piece(0))));
    assert_eq!(asked(&taken, 1).len(), 4);
    assert_eq!(cancelled(&taken, 2).len(), 2);
}

#[test]
fn the_last_peer_on_parole_finishes_what_others_began() {
    let mut t = torrent(2);
    // Piece 1 is half here, from one that is gone; then a bad piece puts the only peer left on parole.
    let blocks = t.giver(3, &[1]);
    t.send(3, &blocks[..2]);
    t.event(Event::Gone(key(3)));
    let effects = shared_bad_piece(&mut t);
    t.event(Event::Gone(key(1)));
    let mut owed = asked(&effects, 2);
    let piece = t.piece(1);
    owed.extend(asked(&t.peer(2, PeerEvent::Have(piece)), 2));
    while !owed.is_empty() {
        let of_it = owed.iter().filter(|block| block.piece() == piece).count();
        assert!(of_it == 0 || of_it == 4, "the whole of it, or others have a part in it");
        let effects = t.send(2, &std::mem::take(&mut owed));
        let more = t.finish(&effects);
        owed.extend([asked(&effects, 2), asked(&more, 2)].concat());
    }
    assert!(t.core.is_complete());
}

#[test]
fn alone_and_gone_goes_to_another() {
    let mut t = torrent(1);
    let effects = shared_bad_piece(&mut t);
    assert_eq!(asked(&effects, 2).len(), 4);
    assert!(t.giver(3, &[0]).is_empty(), "nobody helps");
    let effects = t.event(Event::Gone(key(2)));
    assert!(effects.contains(&Effect::Discard(t.piece(0))));
    assert_eq!(asked(&effects, 3).len(), 4);
}
