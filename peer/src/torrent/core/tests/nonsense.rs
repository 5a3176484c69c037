use super::*;

/// Strangers may say anything at any time, and our own rooms may be late: nothing of it breaks the books, leaks
/// budget, or makes work without end.
#[test]
fn nonsense_breaks_nothing() {
    for seed in 0..60 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let config = CoreConfig { max_connections: 5, upload_slots: 2, ..CoreConfig::new(OWN) };
        let mut t = torrent_with(random.u64(1..12), &[], config);
        t.budget.limit.set(random.u64(0..400));
        t.random = random.fork();
        for _ in 0..1_500 {
            t.now += Duration::from_millis(random.u64(0..3_000));
            let event = any_event(&t, random);
            let effects = t.event(event);
            assert!(effects.len() < 200, "much ado: {effects:?}");
            let mut asked = std::collections::BTreeSet::new();
            for effect in effects {
                match effect {
                    Effect::Send(key, Command::Request(blocks)) => {
                        asked.extend(blocks.into_iter().map(|block| (key, block)));
                    }
                    Effect::Send(key, Command::Cancel(blocks)) => {
                        blocks.into_iter().for_each(|block| _ = asked.remove(&(key, block)));
                    }
                    Effect::Send(key, Command::Close(_)) | Effect::Ban(key, _) => {
                        asked.retain(|&(of, _)| of != key)
                    }
                    _ => {}
                }
            }
            assert!(asked.iter().all(|&(_, block)| t.core.wants(block)), "asked for, and not wanted");
        }
        for piece in t.core.shutdown(&t.budget, &mut Vec::new()) {
            t.budget.release(t.geometry.piece_len(piece).into());
        }
        assert_eq!(t.budget.reserved.get(), 0, "seed {seed}");
    }
}

fn any_event(t: &Test, random: &mut fastrand::Rng) -> Event {
    let piece = t.piece(random.u32(..t.geometry.piece_count()));
    let number = random.u8(1..9);
    match random.u8(..16) {
        0 => {
            let direction = if random.bool() { Direction::Incoming } else { Direction::Outgoing };
            let mut info = PeerInfo { fast: random.bool(), ..info(random.u8(1..9), direction) };
            if random.u8(..20) == 0 {
                info.peer_id = OWN;
            }
            // Keys are never used again: here they are, sometimes, while the peer is gone.
            if t.core.peers.contains_key(&key(number)) {
                Event::Tick
            } else {
                Event::Connected(key(number), info)
            }
        }
        1 if random.bool() => Event::Gone(key(number)),
        1 => Event::NoRoom(address(number)),
        2 => Event::DialFailed(address(number)),
        3 => Event::Found(vec![address(number)]),
        4 => Event::Tick,
        5 if random.bool() => Event::Digests(piece, vec![[random.u8(..2); 8]; random.usize(..6)]),
        5 | 6 => Event::Hashed(piece, random.u8(..4) > 0),
        7 | 8 => Event::Written(piece, random.u8(..4) > 0),
        _ => Event::Peer(key(number), any_message(t, piece, random)),
    }
}

fn any_message(t: &Test, piece: PieceIndex, random: &mut fastrand::Rng) -> PeerEvent {
    let block = |random: &mut fastrand::Rng| t.geometry.block(piece, random.u32(..4)).unwrap();
    match random.u8(..15) {
        0 => PeerEvent::Choked,
        1 | 2 => PeerEvent::Unchoked,
        3 => PeerEvent::Interested,
        4 => PeerEvent::NotInterested,
        5 => {
            let mut bits = Bitfield::empty(&t.geometry);
            t.geometry.pieces().filter(|_| random.u8(..4) > 0).for_each(|piece| _ = bits.insert(piece));
            PeerEvent::Bitfield(bits)
        }
        6 | 7 => PeerEvent::Have(piece),
        8 => PeerEvent::Rejected(block(random)),
        9 => PeerEvent::AllowedFast(piece),
        10 => PeerEvent::Haves(vec![piece, piece]),
        11 => PeerEvent::Uploaded(random.u64(..)),
        12 if piece.get().is_multiple_of(2) => PeerEvent::Held,
        12 => PeerEvent::KeptWaiting(t.now + Duration::from_secs(10)),
        _ => PeerEvent::Blocks((0..random.u32(..5)).map(|_| block(random)).collect()),
    }
}
