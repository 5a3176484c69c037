use super::*;
use crate::torrent::event::BanReason;
use crate::torrent::evidence::BlockDigest;
use crate::torrent::suspects::Identity;

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

/// The simulation found it: the first to look was the one that had kept it, again and again, while others had nothing to do.
#[test]
fn alone_and_silent_is_not_given_it_again_while_another_waits() {
    let mut t = torrent(1);
    let effects = shared_bad_piece(&mut t);
    assert_eq!(asked(&effects, 2).len(), 4);
    // By now it is asked for a block at a time, and for each again after a while.
    t.pass(100);
    assert!(t.giver(3, &[0]).is_empty(), "nobody helps");
    let effects = t.pass(60);
    assert!(effects.contains(&Effect::Discard(t.piece(0))));
    assert_eq!(asked(&effects, 3).len(), 4);
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

/// What each block of this piece is, by who spoilt which of them.
fn digests(bad: &[(u32, u8)]) -> Vec<BlockDigest> {
    let of = |block: u32| match bad.iter().find(|(other, _)| *other == block) {
        Some(&(_, how)) => [how; 8],
        None => [0, 0, 0, 0, 0, 0, 0, 1 + u8::try_from(block).unwrap()],
    };
    (0..4).map(of).collect()
}

#[test]
fn the_good_piece_tells_who_sent_the_bad_block() {
    let mut t = torrent(3);
    let blocks = shared_piece(&mut t);
    let piece = blocks[0].piece();
    assert!(!t.core.compares(piece));
    // One block of four was bad: the third, which the second peer sent.
    t.peer(2, PeerEvent::Choked);
    t.event(Event::Digests(piece, digests(&[(2, 9)])));
    t.event(Event::Hashed(piece, false));
    assert!(t.core.compares(piece));
    let identity = |number| Identity::of(&info(number, Direction::Incoming));
    assert!(t.core.suspects.on_parole(identity(1)));
    // A third sends all of it, and it is good.
    assert_eq!(t.giver(3, &[0]), blocks);
    t.send(3, &blocks);
    t.event(Event::Digests(piece, digests(&[])));
    let effects = t.event(Event::Hashed(piece, true));
    assert!(effects.contains(&Effect::Write(piece)));
    let banned: Vec<_> = effects.iter().filter(|effect| matches!(effect, Effect::Ban(..))).collect();
    assert_eq!(banned, [&Effect::Ban(key(2), BanReason::Poison)]);
    // And the other is as free as before.
    assert!(!t.core.suspects.on_parole(identity(1)) && t.core.suspects.is_empty());
    assert!(!t.core.compares(piece));
    assert_eq!(closed(&t.connect(2), 2), Some(CloseReason::Banned));
}

#[test]
fn who_poisoned_and_left_is_banned_all_the_same() {
    let mut t = torrent(3);
    let blocks = shared_piece(&mut t);
    let piece = blocks[0].piece();
    t.event(Event::Digests(piece, digests(&[(0, 9)])));
    t.event(Event::Hashed(piece, false));
    t.event(Event::Gone(key(1)));
    t.send(2, &blocks);
    t.event(Event::Digests(piece, digests(&[])));
    let effects = t.event(Event::Hashed(piece, true));
    let who = Identity::of(&info(1, Direction::Incoming));
    assert!(effects.contains(&Effect::BanAbsent(who, BanReason::Poison)), "{effects:?}");
}

#[test]
fn digests_of_another_piece_convict_nobody() {
    let mut t = torrent(3);
    let blocks = shared_piece(&mut t);
    t.event(Event::Digests(t.piece(1), digests(&[(0, 9)])));
    t.event(Event::Hashed(blocks[0].piece(), false));
    assert!(!t.core.compares(blocks[0].piece()));
}

/// A peer that spoils a block now and then, of pieces that others have a part in, and sends whole pieces rightly. Parole
/// alone never ends it: it has always more successes than failures.
#[test]
fn who_poisons_now_and_then_is_found_at_the_first_bad_piece() {
    let mut t = torrent(60);
    let all: Vec<u32> = (0..60).collect();
    let mut owed = vec![(1u8, t.giver(1, &all)), (2, t.giver(2, &all)), (3, t.giver(3, &all))];
    let (mut senders, mut bad) = (std::collections::BTreeMap::<PieceIndex, Vec<(BlockRef, u8)>>::new(), 0);
    let mut banned = Vec::new();
    let mut turn = 0u32;
    while !t.core.is_complete() {
        t.now += Duration::from_millis(50);
        turn += 1;
        assert!(turn < 20_000, "it does not end: {:?}", t.core.stats(t.now));
        let at = (0..owed.len()).find(|&at| !owed[(at + turn as usize) % owed.len()].1.is_empty());
        let Some(at) = at.map(|at| (at + turn as usize) % owed.len()) else {
            t.pass(5);
            continue;
        };
        let (number, block) = (owed[at].0, owed[at].1.remove(0));
        // Blocks are chokes' and endgame's to share: here every few blocks one gives up what it owes.
        let mut effects = t.send(number, &[block]);
        if turn.is_multiple_of(7) && !banned.contains(&number) {
            owed[at].1.clear();
            effects.extend(t.peer(number, PeerEvent::Choked));
            effects.extend(t.peer(number, PeerEvent::Unchoked));
        }
        senders.entry(block.piece()).or_default().push((block, number));
        let mut judged = hashed(&effects);
        while let Some(piece) = judged.pop() {
            let sent = senders.remove(&piece).unwrap_or_default();
            let shared = sent.iter().any(|(_, by)| *by != 1);
            let spoilt = sent.iter().find(|(_, by)| *by == 1 && shared).map(|(block, _)| (block.index(), 9));
            bad += u32::from(spoilt.is_some());
            let spoilt: Vec<_> = spoilt.into_iter().collect();
            t.event(Event::Digests(piece, digests(&spoilt))).into_iter().for_each(drop);
            let more = t.event(Event::Hashed(piece, spoilt.is_empty()));
            let written = if spoilt.is_empty() { t.event(Event::Written(piece, true)) } else { Vec::new() };
            let more = [more, written].concat();
            for effect in &more {
                if let Effect::Ban(who, reason) = effect {
                    banned.push(u8::try_from(who.0).unwrap());
                    assert_eq!(*reason, BanReason::Poison);
                }
            }
            judged.extend(hashed(&more));
            effects.extend(more);
        }
        for (number, owed) in &mut owed {
            owed.extend(asked(&effects, *number));
            let back = cancelled(&effects, *number);
            owed.retain(|block| !back.contains(block));
            if banned.contains(number) {
                owed.clear();
            }
        }
    }
    assert!(bad > 0, "nothing was poisoned: the test proves nothing");
    assert_eq!(banned, [1], "{bad} bad pieces");
    assert!(t.core.suspects.is_empty(), "the others are free");
}
