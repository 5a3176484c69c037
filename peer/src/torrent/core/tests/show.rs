use super::*;

/// A seeder of ten pieces, and a peer for each number that was told nothing.
fn hiding(numbers: std::ops::RangeInclusive<u8>) -> (Test, Vec<Effect>) {
    let all: Vec<u32> = (0..10).collect();
    let mut t = torrent_with(10, &all, CoreConfig::new(OWN));
    assert!(t.core.hides(t.now));
    let mut effects = Vec::new();
    for number in numbers {
        let info = PeerInfo { hidden: true, ..info(number, Direction::Incoming) };
        effects.extend(t.event(Event::Connected(key(number), info)));
    }
    (t, effects)
}

fn shown(effects: &[Effect], number: u8) -> Vec<PieceIndex> {
    let pieces =
        |command: &Command| if let Command::Show(pieces) = command { pieces.clone() } else { Vec::new() };
    commands(effects, number).into_iter().flat_map(pieces).collect()
}

fn sees_all(effects: &[Effect], number: u8) -> bool {
    commands(effects, number).contains(&&Command::ShowAll)
}

#[test]
fn each_piece_goes_to_one_peer_until_all_are_out() {
    let (mut t, mut effects) = hiding(1..=3);
    let mut out = std::collections::BTreeSet::new();
    for _ in 0..10 {
        assert!(t.core.hides(t.now), "after {out:?}");
        let (number, piece) = (1..=3)
            .find_map(|number| Some((number, *shown(&effects, number).iter().find(|p| !out.contains(*p))?)))
            .unwrap();
        assert!(out.insert(piece));
        effects.extend(t.peer(number, PeerEvent::Have(piece)));
        let all: Vec<_> = (1..=3).flat_map(|number| shown(&effects, number)).collect();
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len(), "shown twice");
    }
    assert!((1..=3).all(|number| sees_all(&effects, number)));
    assert!(!t.core.hides(t.now));
    t.event(Event::Gone(key(1)));
    assert!(t.core.hides(t.now), "what it alone had is nowhere now");
}

#[test]
fn a_peer_alone_sees_everything_soon() {
    let (mut t, effects) = hiding(1..=1);
    assert!(!shown(&effects, 1).is_empty() && !sees_all(&effects, 1));
    assert!(sees_all(&t.pass(1), 1), "it has waited");
    assert!(t.core.hides(t.now), "from the next one");

    let (mut t, mut effects) = hiding(1..=1);
    let mut got = 0;
    while !sees_all(&effects, 1) {
        let piece = shown(&effects, 1)[got];
        effects.extend(t.peer(1, PeerEvent::Have(piece)));
        got += 1;
    }
    assert_eq!(got, 8, "it is fast");

    let (mut t, _) = hiding(1..=2);
    t.pass(1);
    assert!(!sees_all(&t.event(Event::Gone(key(2))), 1));
    assert!(sees_all(&t.pass(1), 1), "the other one went");
}

#[test]
fn another_seeder_ends_it() {
    let (mut t, _) = hiding(1..=2);
    let all: Vec<u32> = (0..10).collect();
    let full = t.bits(&all);
    t.connect(3);
    let effects = t.peer(3, PeerEvent::Bitfield(full));
    assert!(sees_all(&effects, 1) && sees_all(&effects, 2));
    assert!(!t.core.hides(t.now));

    let (mut t, _) = hiding(1..=2);
    t.core.told_of_seeders(1, t.now);
    assert!(t.core.hides(t.now), "it is us");
    t.core.told_of_seeders(2, t.now);
    assert!(!t.core.hides(t.now));
    t.now += Duration::from_secs(601);
    assert!(t.core.hides(t.now), "not for ever");
}

#[test]
fn who_takes_nothing_keeps_no_timer_and_nobody_waiting() {
    let (mut t, mut effects) = hiding(1..=2);
    // Peer 1 takes nothing. Peer 2 takes what it is shown, and is not kept waiting for long.
    let mut got = 0;
    while t.core.hides(t.now) {
        let shown = shown(&effects, 2);
        match shown.get(got) {
            Some(&piece) => effects.extend(t.peer(2, PeerEvent::Have(piece))),
            None => {
                let waited = t.pass(2);
                assert!(!waited.is_empty(), "peer 2 has {got} pieces");
                effects.extend(waited);
                continue;
            }
        }
        got += 1;
    }
    assert_eq!(got, 10, "it has everything, and is a seeder");
    let (mut t, _) = hiding(1..=2);
    t.pass(300);
    assert_eq!(t.core.next_wake(), None);
}

#[test]
fn who_has_not_everything_or_may_not_hides_nothing() {
    let now = Instant::now();
    assert!(!torrent_with(3, &[0, 1], CoreConfig::new(OWN)).core.hides(now));
    let off = CoreConfig { super_seeding: false, ..CoreConfig::new(OWN) };
    assert!(!torrent_with(3, &[0, 1, 2], off).core.hides(now));
}

#[test]
fn what_nobody_has_any_more_is_shown_again() {
    let (mut t, mut effects) = hiding(1..=2);
    t.connect(3);
    // Peer 3 is a leecher that came before; all it has is not shown, until it goes.
    let half = t.bits(&[0, 1, 2, 3, 4]);
    effects.extend(t.peer(3, PeerEvent::Bitfield(half)));
    let mut seen = std::collections::BTreeSet::new();
    let mut gone = false;
    while t.core.hides(t.now) {
        let fresh = (1..=2).find_map(|number| {
            let pieces = shown(&effects, number);
            Some((number, *pieces.iter().find(|piece| !seen.contains(*piece))?))
        });
        let Some((number, piece)) = fresh else { panic!("stands still with {seen:?}") };
        seen.insert(piece);
        effects.extend(t.peer(number, PeerEvent::Have(piece)));
        if seen.len() == 5 && !gone {
            gone = true;
            effects.extend(t.event(Event::Gone(key(3))));
        }
    }
    assert!(gone && seen.len() == 10, "{seen:?}");
}

#[test]
fn who_takes_its_time_does_not_keep_what_is_shown_for_long() {
    let (mut t, _) = hiding(1..=9);
    (1..=9).for_each(|number| _ = t.peer(number, PeerEvent::Interested));
    let mut waited = 0;
    while t.core.hides(t.now) {
        t.pass(1);
        waited += 1;
        let slots = (1..=9).filter(|&number| t.core.peers[&key(number)].unchoked);
        slots.collect::<Vec<_>>().into_iter().for_each(|number| _ = t.peer(number, PeerEvent::Uploaded(1)));
        assert!(waited <= 62, "still hidden");
    }
    assert!(waited > 2, "somebody may be slow");
}
