use super::*;

/// One block to fetch, of a single piece.
fn one_block() -> Test {
    let mut t = torrent_with(1, &[], CoreConfig::new(OWN));
    let blocks = t.giver(9, &[0]);
    t.send(9, &blocks[..3]);
    t.event(Event::Gone(key(9)));
    t
}

#[test]
fn one_place_of_each_block_is_kept_for_those_that_have_sent_something() {
    let mut t = one_block();
    let last = t.giver(1, &[0]);
    assert_eq!(last.len(), 1);
    // Long enough for another copy to be worth it, and for the silence of none to count as snubbing.
    t.pass(10);
    assert_eq!(t.giver(2, &[0]), last);
    t.pass(1);
    assert_eq!(t.giver(3, &[0]), [], "the last place is for none that has sent nothing");
    assert_eq!(t.core.pieces.requests.asked(last[0]), 2);
}

#[test]
fn who_has_sent_something_gets_that_place() {
    // Two pieces: the honest one sends what it is asked for of the first while strangers owe the last block of the second.
    let mut t = torrent_with(2, &[], CoreConfig::new(OWN));
    let first = t.giver(4, &[0]);
    let second = t.giver(9, &[1]);
    t.send(9, &second[..3]);
    t.event(Event::Gone(key(9)));
    assert_eq!(t.giver(1, &[1]), second[3..]);
    t.pass(10);
    assert_eq!(t.giver(2, &[1]), second[3..]);
    assert_eq!(t.giver(3, &[1]), []);
    let effects = t.send(4, &first);
    t.finish(&effects);
    let piece = t.piece(1);
    let effects = t.peer(4, PeerEvent::Have(piece));
    assert_eq!(asked(&effects, 4), second[3..]);
    assert_eq!(t.core.pieces.requests.asked(second[3]), 3);
    // It is the first to send it, and nobody owes it any more.
    let effects = t.send(4, &second[3..]);
    assert_eq!(
        (cancelled(&effects, 1), cancelled(&effects, 2)),
        (second[3..].to_vec(), second[3..].to_vec())
    );
}
