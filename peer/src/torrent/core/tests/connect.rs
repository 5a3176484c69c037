use super::*;

#[test]
fn found_addresses_are_dialled_a_few_at_a_time() {
    let mut t = torrent(4);
    let effects = t.event(Event::Found((1..=20).map(address).collect()));
    let dialled: Vec<_> = effects.iter().filter(|effect| matches!(effect, Effect::Dial(_))).collect();
    assert_eq!(dialled.len(), 8);
    let &Effect::Dial(first) = dialled[0] else { panic!("filtered") };
    assert!(matches!(t.event(Event::DialFailed(first))[..], [Effect::Dial(next)] if next != first));
}

#[test]
fn a_lost_peer_is_dialled_again_after_a_while_and_a_full_torrent_dials_nobody() {
    let mut t = torrent_with(4, &[], CoreConfig { max_connections: 1, ..CoreConfig::new(OWN) });
    assert_eq!(t.event(Event::Found(vec![address(1), address(2)])).len(), 1);
    let both = [address(1), address(2)];
    t.event(Event::Connected(key(7), info(7, Direction::Incoming)));
    assert_eq!(t.core.next_wake(), None, "full: nothing to wait for");
    t.event(Event::DialFailed(both[0]));
    t.event(Event::DialFailed(both[1]));
    assert!(t.event(Event::Gone(key(7))).iter().any(|effect| matches!(effect, Effect::Dial(_))));
}

#[test]
fn a_lower_limit_of_connections_closes_the_least_useful() {
    let mut t = torrent_with(4, &[0, 1, 2, 3], CoreConfig::new(OWN));
    for number in 1..=5 {
        t.connect(number);
    }
    for number in [2, 4] {
        t.event(Event::Peer(key(number), PeerEvent::Interested));
    }
    t.event(Event::Peer(key(4), PeerEvent::Uploaded(1000)));
    let set = |max_connections| {
        Event::Options(Arc::new(TorrentOptions { max_connections, ..TorrentOptions::default() }))
    };
    let effects = t.event(set(Some(2)));
    let gone = |effects: &[Effect], number| closed(effects, number) == Some(CloseReason::Full);
    assert_eq!(
        (1..=5).map(|number| gone(&effects, number)).collect::<Vec<_>>(),
        [true, false, true, false, true]
    );
    // Nobody else comes in, from either side.
    let effects = t.event(Event::Connected(key(6), info(6, Direction::Incoming)));
    assert!(gone(&effects, 6));
    assert!(!t.event(Event::Found(vec![address(9)])).contains(&Effect::Dial(address(9))));
    let effects = t.event(set(Some(1)));
    assert!(gone(&effects, 2) && !gone(&effects, 4), "the one that moves stays");
    // As configured again.
    assert!(t.event(set(None)).contains(&Effect::Dial(address(9))));
    assert_eq!(t.core.stats(t.now).peers, 1);
}

#[test]
fn ourselves_are_not_dialled_twice() {
    let mut t = torrent(4);
    t.event(Event::Found(vec![address(1)]));
    let own = PeerInfo { peer_id: OWN, ..info(1, Direction::Outgoing) };
    let effects = t.event(Event::Connected(key(1), own.clone()));
    assert_eq!(closed(&effects, 1), Some(CloseReason::SelfConnection));
    let effects = t.event(Event::Connected(key(2), PeerInfo { direction: Direction::Incoming, ..own }));
    assert_eq!(closed(&effects, 2), Some(CloseReason::SelfConnection));
    t.event(Event::Gone(key(1)));
    t.event(Event::Found(vec![address(1)]));
    assert!(!t.pass(3_600).contains(&Effect::Dial(address(1))));
}

#[test]
fn of_two_connections_the_older_stays() {
    let mut t = torrent(4);
    t.connect(1);
    t.now += Duration::from_secs(60);
    for (number, direction) in [(2, Direction::Incoming), (3, Direction::Outgoing)] {
        let again = PeerInfo { address: address(1), ..info(1, direction) };
        let effects = t.event(Event::Connected(key(number), again));
        assert_eq!(closed(&effects, number), Some(CloseReason::Duplicate));
        t.event(Event::Gone(key(number)));
    }
    assert_eq!(t.core.stats(t.now).peers, 1);
}

#[test]
fn when_both_dial_at_once_both_keep_the_same_connection() {
    let ids = [PeerId::new([1; 20]), PeerId::new([2; 20])];
    // Connection 1 is dialled by side 0, connection 2 by side 1; each side sees them in any order.
    for orders in [[[1, 2], [1, 2]], [[1, 2], [2, 1]], [[2, 1], [1, 2]], [[2, 1], [2, 1]]] {
        let mut kept = Vec::new();
        for (side, order) in orders.into_iter().enumerate() {
            let mut t = torrent_with(4, &[], CoreConfig::new(ids[side]));
            let mut alive = vec![1, 2];
            for number in order {
                let ours = usize::from(number) == side + 1;
                let direction = if ours { Direction::Outgoing } else { Direction::Incoming };
                let other = PeerInfo { peer_id: ids[1 - side], ..info(number, direction) };
                let effects = t.event(Event::Connected(key(number), other));
                alive.retain(|&number| closed(&effects, number).is_none());
            }
            kept.push(alive);
        }
        assert_eq!(kept, [[2], [2]], "the one dialled by the greater id");
    }
}

#[test]
fn a_useless_peer_gives_its_place() {
    let mut t = torrent_with(4, &[], CoreConfig { max_connections: 2, ..CoreConfig::new(OWN) });
    t.connect(1);
    t.taker(2);
    assert_eq!(closed(&t.connect(3), 3), Some(CloseReason::Full));
    t.pass(61);
    let effects = t.connect(4);
    assert_eq!((closed(&effects, 1), closed(&effects, 4)), (Some(CloseReason::Useless), None));
    assert_eq!(closed(&t.connect(5), 5), Some(CloseReason::Full));
}

#[test]
fn one_host_does_not_take_every_place() {
    let mut t =
        torrent_with(4, &[], CoreConfig { max_per_host: 2, max_connections: 3, ..CoreConfig::new(OWN) });
    let from = |number, last| PeerInfo { address: address(last), ..info(number, Direction::Incoming) };
    let connect = |t: &mut Test, number, last| {
        let effects = t.event(Event::Connected(key(number), from(number, last)));
        let closed = effects.into_iter().filter_map(|effect| match effect {
            Effect::Send(key, Command::Close(reason)) => Some((key.0, reason)),
            _ => None,
        });
        closed.collect::<Vec<_>>()
    };
    assert_eq!(connect(&mut t, 1, 9), []);
    assert_eq!(connect(&mut t, 2, 9), []);
    assert_eq!(connect(&mut t, 3, 9), [(3, CloseReason::Crowded)]);
    assert_eq!(connect(&mut t, 4, 8), []);
    t.pass(61);
    assert_eq!(connect(&mut t, 5, 9), [(1, CloseReason::Useless)], "of its own, not of the other's");
    assert_eq!(t.core.stats(t.now).peers, 3);
}

#[test]
fn without_room_nobody_is_dialled_for_a_while() {
    let mut t = torrent(4);
    let effects = t.event(Event::Found(vec![address(1)]));
    assert_eq!(effects, [Effect::Dial(address(1))]);
    for _ in 0..10 {
        assert_eq!(t.event(Event::NoRoom(address(1))), []);
        assert_eq!(t.pass(5), [Effect::Dial(address(1))]);
    }
}

#[test]
fn trackers_are_asked_for_peers_only_while_downloading_and_not_too_often() {
    let mut t = torrent(4);
    let wanted = t.pass(100).into_iter().filter(|effect| *effect == Effect::WantPeers).count();
    assert_eq!(wanted, 3);
    let mut t = torrent_with(1, &[0], CoreConfig::new(OWN));
    assert_eq!(t.pass(100), []);
    assert_eq!(t.core.next_wake(), None, "a seeder without peers waits for nothing");
}

#[test]
fn a_seeder_closes_seeders_and_does_not_dial_them_again() {
    let mut t = torrent_with(2, &[0, 1], CoreConfig::new(OWN));
    t.event(Event::Found(vec![address(1)]));
    t.event(Event::Connected(key(1), info(1, Direction::Outgoing)));
    let all = t.bits(&[0, 1]);
    assert_eq!(closed(&t.peer(1, PeerEvent::Bitfield(all)), 1), Some(CloseReason::BothSeed));
    t.event(Event::Gone(key(1)));
    t.event(Event::Found(vec![address(1)]));
    assert_eq!(t.pass(3_600), []);
}
