use super::*;

#[test]
fn interest_follows_what_the_peer_has_and_we_lack() {
    let mut t = torrent_with(3, &[0], CoreConfig::new(OWN));
    t.connect(1);
    let bits = t.bits(&[0]);
    assert_eq!(t.peer(1, PeerEvent::Bitfield(bits)), []);
    let piece = t.piece(2);
    assert_eq!(t.peer(1, PeerEvent::Have(piece)), [Effect::Send(key(1), Command::Interested)]);
    let blocks = asked(&t.peer(1, PeerEvent::Unchoked), 1);
    assert_eq!(blocks, t.geometry.blocks(piece).collect::<Vec<_>>());
    let effects = t.send(1, &blocks);
    assert_eq!(hashed(&effects), [piece]);
    let effects = t.finish(&effects);
    assert_eq!(
        effects,
        [Effect::Write(piece), Effect::Had(piece), Effect::Send(key(1), Command::NotInterested)]
    );
    assert_eq!(t.core.stats(t.now).pieces_had, 2);
    assert_eq!(t.core.stats(t.now).bytes_left, 40);
}

#[test]
fn a_late_bitfield_adds_and_takes_nothing_back() {
    let mut t = torrent_with(4, &[0], CoreConfig::new(OWN));
    t.connect(1);
    let (first, second, third) = (t.bits(&[0]), t.bits(&[2]), t.bits(&[0, 2]));
    assert_eq!(t.peer(1, PeerEvent::Bitfield(first)), []);
    assert_eq!(t.peer(1, PeerEvent::Bitfield(second)), [Effect::Send(key(1), Command::Interested)]);
    assert_eq!(t.peer(1, PeerEvent::Bitfield(third)), []);
    let blocks = asked(&t.peer(1, PeerEvent::Unchoked), 1);
    assert_eq!(blocks, t.geometry.blocks(t.piece(2)).collect::<Vec<_>>());
    let all = t.bits(&[0, 1, 2, 3]);
    t.peer(1, PeerEvent::Bitfield(all));
    assert_eq!(t.core.stats(t.now).seeds, 1);
}

#[test]
fn the_pipeline_is_full_at_once_and_refilled_in_batches() {
    let mut t = torrent(100);
    let all: Vec<u32> = (0..100).collect();
    let blocks = t.giver(1, &all);
    assert_eq!(blocks.len(), 32);
    for (piece, blocks) in blocks.chunks(4).map(|chunk| (chunk[0].piece(), chunk)) {
        assert_eq!(blocks, t.geometry.blocks(piece).collect::<Vec<_>>(), "whole pieces, in order");
    }
    let mut counts = Vec::new();
    for &block in &blocks[..20] {
        t.pass(1);
        counts.push(asked(&t.send(1, &[block]), 1).len());
    }
    let batches: Vec<usize> = counts.into_iter().filter(|&count| count > 0).collect();
    assert_eq!(batches, [8, 8], "a quarter of the pipeline at a time");
}

#[test]
fn under_a_limit_no_more_is_asked_for_ahead_than_it_is_worth() {
    let mut t = torrent(100);
    let all: Vec<u32> = (0..100).collect();
    let block_len = u64::from(t.geometry.nominal_block_len());
    t.core.limit_download(block_len * 24);
    assert_eq!(t.giver(1, &all).len(), 12, "half a second's worth");
    assert_eq!(t.giver(2, &all).len(), 6, "its half");
    t.core.limit_download(1);
    let blocks = t.giver(3, &all);
    assert_eq!(blocks.len(), 1, "without any it would never send");
    assert_eq!(asked(&t.send(3, &blocks), 3).len(), 1);
    t.core.limit_download(0);
    assert_eq!(t.giver(4, &all).len(), 32);
}

#[test]
fn pieces_have_one_sender_while_there_are_enough() {
    let mut t = torrent(40);
    let all: Vec<u32> = (0..40).collect();
    let first: std::collections::BTreeSet<_> = t.giver(1, &all).iter().map(|block| block.piece()).collect();
    let second: std::collections::BTreeSet<_> = t.giver(2, &all).iter().map(|block| block.piece()).collect();
    assert!(first.is_disjoint(&second));
    assert_eq!((first.len(), second.len()), (8, 8));
}

#[test]
fn what_a_peer_leaves_behind_is_finished_first() {
    let mut t = torrent(40);
    let all: Vec<u32> = (0..40).collect();
    let blocks = t.giver(1, &all);
    t.send(1, &blocks[..2]);
    t.peer(1, PeerEvent::Choked);
    let again = t.giver(2, &all);
    assert_eq!(&again[..2], &blocks[2..4], "the piece that is nearest to its end");
    t.event(Event::Gone(key(2)));
    assert_eq!(&t.giver(3, &all)[..2], &blocks[2..4]);
}

#[test]
fn a_fast_peer_that_chokes_owes_until_it_rejects_or_takes_too_long() {
    let mut t = torrent(2);
    let peer = PeerInfo { fast: true, ..info(1, Direction::Incoming) };
    t.event(Event::Connected(key(1), peer));
    let all = t.bits(&[0, 1]);
    t.peer(1, PeerEvent::Bitfield(all));
    let blocks = asked(&t.peer(1, PeerEvent::Unchoked), 1);
    t.peer(1, PeerEvent::Choked);
    assert!(t.giver(2, &[0, 1]).is_empty());
    let effects = t.peer(1, PeerEvent::Rejected(blocks[0]));
    assert_eq!(asked(&effects, 2), [blocks[0]]);
    let effects = t.pass(20);
    assert_eq!(asked(&effects, 2).len(), blocks.len() - 1);
}

#[test]
fn a_peer_that_rejects_is_not_asked_again_at_once() {
    let mut t = torrent(1);
    let blocks = t.giver(1, &[0]);
    for &block in &blocks {
        assert_eq!(asked(&t.peer(1, PeerEvent::Rejected(block)), 1), []);
    }
    assert_eq!(asked(&t.pass(70), 1).len(), blocks.len());
}

#[test]
fn allowed_fast_pieces_are_asked_for_while_choked() {
    let mut t = torrent(3);
    t.connect(1);
    let all = t.bits(&[0, 1, 2]);
    t.peer(1, PeerEvent::Bitfield(all));
    let piece = t.piece(1);
    let effects = t.peer(1, PeerEvent::AllowedFast(piece));
    assert_eq!(asked(&effects, 1), t.geometry.blocks(piece).collect::<Vec<_>>());
}

#[test]
fn a_silent_peer_is_snubbed_and_may_still_deliver() {
    let mut t = torrent(1);
    let blocks = t.giver(1, &[0]);
    let effects = t.pass(40);
    assert!(asked(&effects, 1).is_empty());
    let told = |effects: &[Effect]| {
        effects.iter().filter(|effect| matches!(effect, Effect::Snubbed(peer, _) if *peer == key(1))).count()
    };
    assert_eq!(told(&effects), 1);
    assert_eq!(told(&t.pass(40)), 0, "it is told once");
    assert_eq!(t.giver(2, &[0]), blocks, "what the silent one owes is free");
    let effects = t.send(1, &blocks[..1]);
    assert_eq!(cancelled(&effects, 2), &blocks[..1]);
    let effects = t.send(2, &blocks);
    assert_eq!(hashed(&effects).len(), 1);
    assert_eq!(t.core.stats(t.now).wasted, 10, "one block came twice");
}

#[test]
fn a_peer_that_a_limit_of_ours_holds_up_is_not_snubbed() {
    let mut t = torrent(1);
    let blocks = t.giver(1, &[0]);
    for _ in 0..10 {
        t.pass(20);
        t.peer(1, PeerEvent::Held);
    }
    assert_eq!(t.giver(2, &[0]), [], "what it owes is not asked for twice");
    assert_eq!(hashed(&t.send(1, &blocks)).len(), 1);
}

#[test]
fn a_block_that_is_passed_over_is_asked_of_another() {
    let mut t = torrent(10);
    let blocks = t.giver(1, &[0]);
    t.send(1, &blocks[1..]);
    // It goes on with other pieces, so it is not silent.
    for piece in 1..5 {
        t.pass(20);
        let piece = t.piece(piece);
        let more = asked(&t.peer(1, PeerEvent::Have(piece)), 1);
        let effects = t.send(1, &more);
        t.finish(&effects);
    }
    assert_eq!(t.giver(2, &[0]), blocks[..1]);
}

#[test]
fn the_last_blocks_are_asked_of_a_faster_peer_too() {
    let mut t = torrent(1);
    let blocks = t.giver(1, &[0]);
    t.giver(2, &[0]);
    let effects = t.pass(5);
    assert_eq!(asked(&effects, 2).len(), 4, "silent for five seconds");
    let effects = t.send(2, &blocks);
    assert_eq!(cancelled(&effects, 1).len(), 4);
    let effects = t.finish(&effects);
    assert!(effects.contains(&Effect::Completed));
    assert_eq!(closed(&effects, 1), Some(CloseReason::BothSeed));
}

#[test]
fn when_the_budget_is_spent_peers_share_what_is_begun() {
    let mut t = torrent(10);
    t.budget.limit.set(0);
    let blocks = t.giver(1, &[0, 1]);
    assert_eq!(blocks.len(), 4, "the one piece that every torrent may begin");
    assert!(t.giver(2, &[0, 1]).is_empty());
    let effects = t.send(1, &blocks);
    assert!(asked(&effects, 1).is_empty(), "its memory is not free before it is written");
    let effects = t.finish(&effects);
    assert_eq!(asked(&effects, 1).len() + asked(&effects, 2).len(), 4);
    assert_eq!(t.budget.reserved.get(), 40);
}

#[test]
fn peers_that_wait_for_the_budget_are_not_tried_one_by_one() {
    let mut t = torrent(10);
    t.budget.limit.set(0);
    let all: Vec<u32> = (0..10).collect();
    let mut blocks = t.giver(1, &all);
    (2..=60).for_each(|number| assert_eq!(t.giver(number, &all), []));
    t.budget.tries.set(0);
    t.event(Event::Gone(key(60)));
    assert!(t.budget.tries.get() <= 2, "{}", t.budget.tries.get());
    // But each piece that is written is followed by the next.
    for _ in 0..8 {
        let sender = (1..60).find(|&number| t.core.peers[&key(number)].outstanding.len() == 4).unwrap();
        let effects = t.send(sender, &blocks);
        t.budget.tries.set(0);
        let effects = t.finish(&effects);
        blocks = (1..60).flat_map(|number| asked(&effects, number)).collect();
        assert_eq!(blocks.len(), 4);
        assert!(t.budget.tries.get() <= 8, "{}", t.budget.tries.get());
    }
}

#[test]
fn a_piece_that_nobody_can_send_gives_way() {
    let mut t = torrent(10);
    t.budget.limit.set(0);
    let blocks = t.giver(1, &[0]);
    t.send(1, &blocks[..1]);
    t.peer(1, PeerEvent::Choked);
    let asked = t.giver(2, &[1]);
    assert_eq!(asked.len(), 4);
    assert_eq!(t.budget.reserved.get(), 40);
}

#[test]
fn a_piece_that_was_not_written_is_fetched_again_later() {
    let mut t = torrent(1);
    let blocks = t.giver(1, &[0]);
    t.send(1, &blocks);
    let piece = t.piece(0);
    t.event(Event::Hashed(piece, true));
    assert_eq!(t.event(Event::Written(piece, false)), [Effect::Discard(piece)]);
    assert_eq!(t.budget.reserved.get(), 0);
    assert_eq!(asked(&t.pass(9), 1), []);
    assert_eq!(asked(&t.pass(2), 1), blocks);
}

#[test]
fn the_thread_learns_which_blocks_to_keep() {
    let mut t = torrent(2);
    let blocks = t.giver(1, &[0]);
    assert!(t.core.wants(blocks[0]));
    t.send(1, &blocks[..1]);
    assert!(!t.core.wants(blocks[0]) && t.core.wants(blocks[1]));
    t.peer(1, PeerEvent::Choked);
    assert!(t.core.wants(blocks[1]), "nobody is asked, but it may come");
    let other = t.geometry.block(t.piece(1), 0).unwrap();
    assert!(!t.core.wants(other), "not begun");
}

#[test]
fn shutdown_gives_everything_back() {
    let mut t = torrent(100);
    t.giver(1, &[0, 1, 2, 3]);
    let mut effects = Vec::new();
    t.core.shutdown(&t.budget, &mut effects);
    assert_eq!(closed(&effects, 1), Some(CloseReason::Stopped));
    assert_eq!(t.budget.reserved.get(), 0);
    assert_eq!(t.core.next_wake(), None);
}

#[test]
fn what_is_in_flight_at_the_end_keeps_its_room() {
    let mut t = torrent(3);
    let blocks = t.giver(1, &[0, 1, 2]);
    let (whole, rest): (Vec<_>, Vec<_>) = blocks.iter().partition(|block| block.piece() != t.piece(2));
    let effects = t.send(1, &whole);
    t.event(Event::Hashed(hashed(&effects)[0], true));
    t.send(1, &rest[..1]);
    assert_eq!(t.budget.reserved.get(), 120);
    let mut effects = Vec::new();
    let in_flight = t.core.shutdown(&t.budget, &mut effects);
    assert_eq!(in_flight.into_iter().collect::<Vec<_>>(), [t.piece(0), t.piece(1)], "hashed, and written");
    assert_eq!(t.budget.reserved.get(), 80);
    assert!(
        effects.contains(&Effect::Discard(t.piece(2))) && !effects.contains(&Effect::Discard(t.piece(0)))
    );
}

#[test]
fn while_there_is_no_room_what_is_begun_ends_and_nothing_else_begins() {
    let mut t = torrent_with(4, &[0], CoreConfig::new(OWN));
    t.taker(9);
    let blocks = t.giver(1, &[0, 1]);
    assert_eq!(blocks, t.geometry.blocks(t.piece(1)).collect::<Vec<_>>());
    t.core.hold(true);
    let (more, also) = (t.piece(2), t.piece(3));
    t.peer(1, PeerEvent::Have(more));
    t.peer(1, PeerEvent::Have(also));
    let effects = t.send(1, &blocks);
    assert_eq!(asked(&effects, 1), [], "nothing new");
    assert_eq!(hashed(&effects), [t.piece(1)]);
    // It was too much for the disk.
    let piece = t.piece(1);
    t.event(Event::Hashed(piece, true));
    assert_eq!(asked(&t.event(Event::Written(piece, false)), 1), []);
    assert_eq!(asked(&t.pass(60), 1), []);
    assert_eq!(t.budget.reserved.get(), 0, "it holds no memory that others may use");
    t.core.hold(false);
    let again = asked(&t.event(Event::Tick), 1);
    assert!(again.iter().any(|block| block.piece() == piece || block.piece() == more), "{again:?}");
}

#[test]
fn what_is_asked_for_in_the_event_of_a_snub_check_is_not_given_up_in_it() {
    let mut t = torrent(3);
    assert_eq!(t.giver(1, &[0]).len(), 4);
    t.pass(30);
    // The check that finds that it sent nothing for too long is due, and so is what it says now.
    t.now += Duration::from_secs(1);
    let asked = asked(&t.peer(1, PeerEvent::Have(t.piece(1))), 1);
    let owes = |t: &Test| t.core.peers[&key(1)].outstanding.iter().map(|owed| owed.block).collect::<Vec<_>>();
    assert!(!asked.is_empty() && asked.iter().all(|block| owes(&t).contains(block)), "asked and forgotten");
    t.pass(2);
    assert!(t.core.peers[&key(1)].snubbed, "a second later");
}
