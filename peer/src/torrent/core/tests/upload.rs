use super::*;

fn unchoked(effects: &[Effect], number: u8) -> bool {
    commands(effects, number).contains(&&Command::Unchoke)
}

#[test]
fn a_newcomer_gets_a_free_slot_at_once() {
    let mut t = torrent_with(2, &[0], CoreConfig::new(OWN));
    for number in 1..=4 {
        assert!(unchoked(&t.taker(number), number));
    }
    assert!(!unchoked(&t.taker(5), 5));
    let effects = t.event(Event::Gone(key(2)));
    assert!(unchoked(&effects, 5), "and a slot that falls free");
}

#[test]
fn who_is_not_interested_holds_no_slot_that_another_wants() {
    let mut t = torrent_with(2, &[0], CoreConfig::new(OWN));
    (1..=4).for_each(|number| _ = t.taker(number));
    assert_eq!(t.peer(3, PeerEvent::NotInterested), [], "kept while nobody wants it");
    let effects = t.taker(5);
    assert_eq!(effects, [Effect::Send(key(3), Command::Choke), Effect::Send(key(5), Command::Unchoke)]);
}

#[test]
fn givers_are_preferred_while_downloading() {
    let mut t = torrent_with(50, &[0], CoreConfig::new(OWN));
    (1..=4).for_each(|number| _ = t.taker(number));
    let mut owed = Vec::new();
    for number in 5..=8 {
        let pieces: Vec<u32> = (1..50).collect();
        owed.push((number, t.giver(number, &pieces)));
        t.peer(number, PeerEvent::Interested);
    }
    let mut slots: std::collections::BTreeSet<u8> = (1..=4).collect();
    for round in 0..6 {
        for (number, blocks) in &mut owed {
            let now: Vec<_> = blocks.drain(..blocks.len().min(2)).collect();
            let effects = t.send(*number, &now);
            blocks.extend(asked(&effects, *number));
        }
        let effects = t.pass(5);
        for number in 1..=8 {
            for command in commands(&effects, number) {
                match command {
                    Command::Unchoke => assert!(slots.insert(number)),
                    Command::Choke => assert!(slots.remove(&number)),
                    _ => {}
                }
            }
        }
        assert_eq!(slots.len(), 4);
        let givers = slots.iter().filter(|&&number| number >= 5).count();
        assert!(round < 2 || givers >= 3, "{slots:?} in round {round}");
    }
}

#[test]
fn rounds_are_dealt_only_while_somebody_is_interested() {
    let mut t = torrent_with(1, &[0], CoreConfig::new(OWN));
    assert_eq!(t.core.next_wake(), None);
    t.taker(1);
    assert!(t.core.next_wake().is_some());
    t.peer(1, PeerEvent::NotInterested);
    t.pass(20);
    assert_eq!(t.core.next_wake(), None);
}

#[test]
fn a_seeder_gives_everybody_a_turn() {
    let mut t = torrent_with(1, &[0], CoreConfig::new(OWN));
    let mut served: std::collections::BTreeSet<u8> = std::collections::BTreeSet::new();
    for number in 1..=12 {
        if unchoked(&t.taker(number), number) {
            served.insert(number);
        }
    }
    for _ in 0..20 {
        let effects = t.pass(10);
        served.extend((1..=12).filter(|&number| unchoked(&effects, number)));
        (1..=12).for_each(|number| _ = t.peer(number, PeerEvent::Uploaded(100)));
    }
    assert_eq!(served.len(), 12);
}

/// Their turns go on until they have taken as much as a turn is worth, and little through all slots is what a slow uplink
/// would look like.
#[test]
fn those_who_take_little_do_not_keep_a_seeder_to_themselves() {
    let all: Vec<u32> = (0..8).collect();
    let mut t = torrent_with(8, &all, CoreConfig { upload_slots: 0, ..CoreConfig::new(OWN) });
    let mut slots = std::collections::BTreeSet::new();
    let mut served = 0;
    for second in 0..80 {
        let mut effects = t.pass(1);
        match second {
            0 => effects.extend((1..=16).flat_map(|number| t.taker(number))),
            40 => effects.extend(t.taker(17)),
            _ => {}
        }
        for &number in slots.clone().iter() {
            effects.extend(t.peer(number, PeerEvent::Uploaded(if number < 17 { 1 } else { 1 << 20 })));
        }
        for number in 1..=17 {
            for command in commands(&effects, number) {
                match command {
                    Command::Unchoke => _ = slots.insert(number),
                    Command::Choke => _ = slots.remove(&number),
                    _ => {}
                }
            }
        }
        served += usize::from(slots.contains(&17));
    }
    assert!(served >= 38, "for {served} s of 40");
    assert!(!t.core.hides(t.now), "the uplink is not what is lacking");
}
