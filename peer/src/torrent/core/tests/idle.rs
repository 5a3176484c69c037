use super::*;

/// A seeder of ten pieces, with 8 slots.
fn seeder() -> Test {
    let all: Vec<u32> = (0..10).collect();
    torrent_with(10, &all, CoreConfig { upload_slots: 8, ..CoreConfig::new(OWN) })
}

/// Who gets a slot, or loses it.
fn told(effects: &[Effect], command: &Command) -> Vec<u8> {
    (1..=250).filter(|&number| commands(effects, number).contains(&command)).collect()
}

#[test]
fn slots_that_nobody_uses_are_passed_on() {
    let mut t = seeder();
    (1..=8).for_each(|number| assert_eq!(told(&t.taker(number), &Command::Unchoke), [number]));
    t.peer(1, PeerEvent::Uploaded(1));
    assert_eq!(told(&t.taker(9), &Command::Unchoke), [0; 0]);
    let effects = t.pass(3);
    assert_eq!(told(&effects, &Command::Unchoke), [9]);
    assert_eq!(told(&effects, &Command::Choke).len(), 1);
    assert!(!told(&effects, &Command::Choke).contains(&1), "it took something");
    // Another comes when they are known to be idle.
    assert_eq!(told(&t.taker(10), &Command::Unchoke), [10]);
    assert_eq!(told(&t.taker(11), &Command::Unchoke), [11]);
}

#[test]
fn a_slot_may_be_idle_as_long_as_it_was_used() {
    for (used, idle) in [(0, 2), (1, 2), (4, 4), (30, 5)] {
        let mut t = seeder();
        (1..=8).for_each(|number| _ = t.taker(number));
        for _ in 0..used {
            t.pass(1);
            (1..=8).for_each(|number| _ = t.peer(number, PeerEvent::Uploaded(1 << 20)));
        }
        // All at once is what buffers take.
        (1..=8).for_each(|number| _ = t.peer(number, PeerEvent::Uploaded(1 << 20)));
        t.taker(9);
        let lost = (1..10).find(|_| !told(&t.pass(1), &Command::Choke).is_empty());
        assert_eq!(lost, Some(idle), "used for {used} s");
        let (behind, forgiven) = (Duration::from_secs(19), Duration::from_secs(20));
        let mut idlers = (1..=8).map(|number| &t.core.peers[&key(number)]);
        assert!(idlers.clone().any(|peer| peer.is_behind(t.now + behind)));
        assert!(!idlers.any(|peer| peer.is_behind(t.now + forgiven)), "it took something");
    }
}

#[test]
fn who_takes_what_it_gets_is_served_while_strangers_hold_slots_for_nothing() {
    let mut t = seeder();
    (1..=50).for_each(|number| _ = t.taker(number));
    let (mut has_slot, mut seconds) = (false, 0);
    let mut effects = t.taker(60);
    for _ in 0..300 {
        for command in commands(&effects, 60) {
            has_slot = *command == Command::Unchoke;
        }
        if has_slot {
            seconds += 1;
            t.peer(60, PeerEvent::Uploaded(1000));
        }
        effects = t.pass(1);
    }
    // Each of the others is tried once, and again when it is forgiven.
    assert!(seconds >= 280, "served for {seconds} of 300 seconds");
}

/// Who has a slot after these.
fn follow(has_slot: &mut [bool; 61], effects: &[Effect]) {
    for number in 1..=60 {
        for command in commands(effects, number) {
            match command {
                Command::Unchoke => has_slot[usize::from(number)] = true,
                Command::Choke => has_slot[usize::from(number)] = false,
                _ => {}
            }
        }
    }
}

#[test]
fn one_bad_moment_does_not_keep_an_honest_peer_out_of_a_busy_swarm() {
    let (mut t, mut has_slot, mut got) = (seeder(), [false; 61], 0);
    (1..=30).for_each(|number| follow(&mut has_slot, &t.taker(number)));
    for second in 0..600 {
        for number in 1..=30_u8 {
            // The first takes nothing for three seconds.
            if has_slot[usize::from(number)] && (number > 1 || second >= 3) {
                t.peer(number, PeerEvent::Uploaded(1 << 20));
            }
        }
        let effects = t.pass(1);
        follow(&mut has_slot, &effects);
        got += u32::from(has_slot[1] && second >= 3);
    }
    // Eight slots for thirty: a fair share were 160 seconds.
    assert!(got >= 80, "it had a slot for {got} of 600 seconds");
}

#[test]
fn whom_our_own_limit_keeps_waiting_does_not_lose_its_slot() {
    let mut t = seeder();
    (1..=8).for_each(|number| _ = t.taker(number));
    let until = t.now + Duration::from_secs(20);
    (1..=8).for_each(|number| _ = t.peer(number, PeerEvent::KeptWaiting(until)));
    t.taker(9);
    for _ in 0..19 {
        let effects = t.pass(1);
        assert_eq!(told(&effects, &Command::Choke), [0; 0]);
    }
    // Then it may take it, and does not.
    assert!((0..4).any(|_| !told(&t.pass(1), &Command::Choke).is_empty()));
}

/// These say both by turns for three seconds.
fn flap(t: &mut Test, numbers: std::ops::RangeInclusive<u8>) {
    for _ in 0..30 {
        t.now += Duration::from_millis(100);
        for number in numbers.clone() {
            t.peer(number, PeerEvent::NotInterested);
            t.peer(number, PeerEvent::Interested);
        }
    }
}

#[test]
fn saying_both_by_turns_keeps_no_slot() {
    let mut t = seeder();
    (1..=8).for_each(|number| _ = t.taker(number));
    flap(&mut t, 1..=8);
    assert_eq!(told(&t.taker(9), &Command::Unchoke), [9], "they left their slots idle all the time");
}

#[test]
fn saying_both_by_turns_takes_no_blame_away() {
    let mut t = seeder();
    (1..=16).for_each(|number| _ = t.taker(number));
    t.pass(3);
    let behind = |t: &Test| t.core.peers[&key(1)].is_behind(t.now);
    assert!(behind(&t), "it left its slot idle while others waited");
    flap(&mut t, 1..=16);
    assert!(behind(&t));
    // Who wants nothing for longer has had what it wanted.
    t.peer(1, PeerEvent::NotInterested);
    t.pass(3);
    t.peer(1, PeerEvent::Interested);
    assert!(!behind(&t));
}

#[test]
fn while_downloading_slots_are_for_those_who_give() {
    let mut t = torrent_with(50, &[0], CoreConfig { upload_slots: 2, ..CoreConfig::new(OWN) });
    (1..=2).for_each(|number| assert_eq!(told(&t.taker(number), &Command::Unchoke), [number]));
    let mut effects = t.taker(3);
    effects.extend(t.pass(8));
    assert_eq!(told(&effects, &Command::Choke), [0; 0]);
}

#[test]
fn who_does_not_take_what_it_is_shown_sees_everything_and_a_few_end_hiding() {
    let all: Vec<u32> = (0..10).collect();
    let mut t = torrent_with(10, &all, CoreConfig::new(OWN));
    let come = |t: &mut Test, number| {
        let info = PeerInfo { hidden: true, ..info(number, Direction::Incoming) };
        t.event(Event::Connected(key(number), info))
    };
    let sees_all = |effects: &[Effect]| told(effects, &Command::ShowAll);
    // One says that it wants it, and one nothing.
    come(&mut t, 1);
    come(&mut t, 2);
    t.peer(1, PeerEvent::Interested);
    assert_eq!(sees_all(&t.pass(1)), [0; 0]);
    // The last one is alone with those that do not count, and sees everything soon.
    come(&mut t, 3);
    t.peer(3, PeerEvent::Interested);
    let mut effects = Vec::new();
    for _ in 0..6 {
        t.peer(3, PeerEvent::Uploaded(1));
        effects.extend(t.pass(1));
    }
    assert_eq!(sees_all(&effects), [1, 2, 3]);
    assert!(t.core.hides(t.now));
    assert!(t.core.hides(t.now), "two of them are not enough");
    come(&mut t, 4);
    come(&mut t, 5);
    assert_eq!(sees_all(&t.pass(3)), [4, 5]);
    assert!(!t.core.hides(t.now));
}

#[test]
fn strangers_under_ever_new_names_do_not_hold_what_is_shown() {
    let all: Vec<u32> = (0..10).collect();
    let mut t = torrent_with(10, &all, CoreConfig { upload_slots: 4, ..CoreConfig::new(OWN) });
    let come = |t: &mut Test, number| {
        let info = PeerInfo { hidden: true, ..info(number, Direction::Incoming) };
        t.event(Event::Connected(key(number), info));
        t.peer(number, PeerEvent::Interested);
    };
    let mut names: Vec<u8> = (1..=6).collect();
    names.iter().for_each(|&number| come(&mut t, number));
    let mut next = 7;
    for _ in 0..8 {
        let effects = t.pass(1);
        // Who loses its slot is gone at once, and here again.
        for number in told(&effects, &Command::Choke) {
            t.event(Event::Gone(key(number)));
            names.retain(|&name| name != number);
            come(&mut t, next);
            names.push(next);
            next += 1;
        }
    }
    assert!(next > 7);
    assert!(!t.core.hides(t.now), "all is shown to everybody");
}

/// A seeder of 40 pieces that hides them, with 16 slots.
fn hiding_seeder() -> Test {
    let all: Vec<u32> = (0..40).collect();
    torrent_with(40, &all, CoreConfig { upload_slots: 16, ..CoreConfig::new(OWN) })
}

fn come(t: &mut Test, number: u8) -> Vec<Effect> {
    let info = PeerInfo { hidden: true, ..info(number, Direction::Incoming) };
    t.event(Event::Connected(key(number), info))
}

#[test]
fn idlers_long_after_one_another_do_not_end_hiding() {
    let mut t = hiding_seeder();
    for number in [1, 3, 5, 7] {
        come(&mut t, number);
        come(&mut t, number + 1);
        t.pass(90);
        t.event(Event::Gone(key(number)));
        t.event(Event::Gone(key(number + 1)));
        assert!(t.core.hides(t.now), "two at a time are not enough: {number}");
    }
}

/// An honest peer, the last of all, among strangers who are gone after a second, before they are found out, and come again under
/// other names. How many pieces it has after so many tenths of a second.
fn served_among_newcomers(t: &mut Test, strangers: u8, tenths: usize) -> usize {
    let (mut shown, mut got, mut wants, mut has_slot) = (Vec::new(), 0, false, false);
    let mut names: Vec<u8> = (1..=strangers).collect();
    for &number in &names {
        come(t, number);
        t.peer(number, PeerEvent::Interested);
    }
    let honest = strangers + 1;
    let (mut next, mut effects) = (honest + 1, come(t, honest));
    for tenth in 0..tenths {
        for command in commands(&effects, honest) {
            match command {
                Command::Show(pieces) => shown.extend(pieces.clone()),
                Command::Unchoke => has_slot = true,
                Command::Choke => has_slot = false,
                _ => {}
            }
        }
        effects.clear();
        if !wants && !shown.is_empty() {
            effects.extend(t.peer(honest, PeerEvent::Interested));
            wants = true;
        }
        if let Some(&piece) = shown.get(got).filter(|_| has_slot) {
            effects.extend(t.peer(honest, PeerEvent::Uploaded(40)));
            effects.extend(t.peer(honest, PeerEvent::Have(piece)));
            got += 1;
        }
        for (at, name) in names.iter_mut().enumerate() {
            if at % 10 == tenth % 10 {
                effects.extend(t.event(Event::Gone(key(*name))));
                *name = next;
                next += 1;
                effects.extend(come(t, *name));
                effects.extend(t.peer(*name, PeerEvent::Interested));
            }
        }
        t.now += Duration::from_millis(100);
        effects.extend(t.event(Event::Tick));
    }
    got
}

#[test]
fn strangers_who_are_gone_before_they_are_found_out_do_not_hold_what_is_shown() {
    let mut t = hiding_seeder();
    let got = served_among_newcomers(&mut t, 9, 40);
    assert!(t.core.hides(t.now), "nobody was found out");
    assert!(got >= 20, "{got} pieces in four seconds");
}
