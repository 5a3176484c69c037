//! Peers that say much: what of it is heard, and what reaches the torrent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;
use crate::connection::inbox::Inbox;
use crate::connection::protocol::Protocol;
use crate::torrent::event::PeerKey;

/// Both ends of a connection, ours without its thread.
fn conversation(world: &World) -> (TcpStream, TcpStream, Protocol, Inbox) {
    let (theirs, ours, _) = pair();
    ours.set_nonblocking(true).unwrap();
    let protocol = Protocol::new(Arc::clone(&world.link), PeerKey(1), true, true);
    let inbox = Inbox::new(Decoder { max_message_len: 1 << 16, max_block_len: 1 << 17 });
    (theirs, ours, protocol, inbox)
}

fn bytes(messages: &[Message]) -> Vec<u8> {
    let mut bytes = Vec::new();
    messages.iter().for_each(|message| message.encode(&mut bytes));
    bytes
}

#[test]
fn the_torrent_hears_of_changes_alone_and_of_many_pieces_at_once() {
    let world = World::new(true);
    let (mut theirs, ours, mut protocol, mut inbox) = conversation(&world);
    let said = [
        Message::Choke,
        Message::NotInterested,
        Message::Have(1),
        Message::Interested,
        Message::Interested,
        Message::Unchoke,
        Message::Have(0),
        Message::SuggestPiece(0),
        Message::Unchoke,
        Message::Have(2),
        Message::Interested,
        Message::KeepAlive,
    ];
    let all = bytes(&said);
    theirs.write_all(&all).unwrap();
    let mut read = 0;
    while read < all.len() {
        read += inbox.receive(&ours, &mut protocol, u64::MAX).unwrap().bytes;
    }
    protocol.flush();
    let piece = |index| world.link.geometry.piece(index).unwrap();
    let due = [
        PeerEvent::Haves(vec![piece(1)]),
        PeerEvent::Interested,
        PeerEvent::Unchoked,
        PeerEvent::Haves(vec![piece(0), piece(2)]),
    ];
    let told = world.inputs.try_iter().map(|input| match input {
        Input::Peer(_, event) => event,
        other => panic!("{other:?}"),
    });
    assert_eq!(told.collect::<Vec<_>>(), due);
    world.finish();
}

#[test]
fn of_a_flood_a_part_is_read_at_once() {
    let floods = [
        ("keep-alives", bytes(&[Message::KeepAlive]).repeat(60_000), 4 * 5100),
        ("an unknown message", [0, 0, 0, 1, 99].repeat(50_000), 5 * 5000),
        ("the same", bytes(&[Message::Interested]).repeat(50_000), 5 * 5000),
        ("changes", bytes(&[Message::Unchoke, Message::Choke]).repeat(50_000), 5 * 3100),
        ("cancels", bytes(&[Message::Cancel(raw(0, 0, 16))]).repeat(20_000), 17 * 4300),
        ("requests while choked", bytes(&[Message::Request(raw(0, 0, 16))]).repeat(20_000), 17 * 4300),
        ("rejects", bytes(&[Message::Reject(raw(0, 0, 16))]).repeat(20_000), 17 * 4300),
        ("pieces it has", bytes(&[Message::Have(1)]).repeat(30_000), 9 * 4500),
        ("suggestions", bytes(&[Message::SuggestPiece(1)]).repeat(30_000), 9 * 4500),
        ("allowed-fast", bytes(&[Message::AllowedFast(1)]).repeat(30_000), 9 * 2500),
        (
            "extended messages",
            bytes(&[Message::Extended { id: 0, payload: vec![b'x'; 16_000].into() }]).repeat(40),
            18 * 16_010,
        ),
    ];
    let world = World::new(true);
    // Plays the torrent: nobody waits for it.
    let (inputs, drained) = (world.inputs.clone(), Arc::new(AtomicBool::new(false)));
    let over = Arc::clone(&drained);
    let torrent = std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            let _ = inputs.recv_timeout(Duration::from_millis(10));
        }
    });
    for (what, flood, most) in floods {
        let (mut theirs, ours, mut protocol, mut inbox) = conversation(&world);
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                // It is cut off in the middle.
                let _ = theirs.write_all(&flood);
                flood.len()
            });
            let mut read = 0;
            let until = loop {
                read += inbox.receive(&ours, &mut protocol, u64::MAX).unwrap().bytes;
                if protocol.brake.is_pulled() {
                    let now = Instant::now();
                    break protocol.brake.until(now).filter(|&until| until > now);
                }
            };
            assert!(read <= most, "{what}: {read} bytes were read");
            assert!(until.is_some(), "{what} is read without end");
            drop(ours);
            assert!(writer.join().unwrap() > 2 * most, "{what}: too little to tell");
        });
    }
    drained.store(true, Ordering::Relaxed);
    torrent.join().unwrap();
    world.finish();
}

#[test]
fn who_floods_us_is_served_and_ends_with_its_socket() {
    let world = World::new(true);
    let (mut peer, handle) = world.accept(FAST);
    assert_eq!(peer.hear(), Heard::Message(Message::HaveAll));
    // It takes seconds to hear all of it.
    peer.stream.write_all(&bytes(&[Message::Interested]).repeat(12_000)).unwrap();
    assert!(handle.send(Command::Interested));
    assert_eq!(peer.hear(), Heard::Message(Message::Interested));
    drop(peer);
    let (first, second) = (world.next(), world.next());
    assert!(matches!(first, Input::Peer(_, PeerEvent::Interested)), "{first:?}");
    assert!(matches!(second, Input::Gone(_)), "{second:?}");
    world.finish();
}

/// Waits until the connection is over: sooner than its patience with a peer that is silent. Returns the bytes of payload that
/// were sent.
fn wait_for_the_end(world: &World) -> u64 {
    let (until, mut sent) = (Instant::now() + PATIENCE / 2, 0);
    loop {
        match world.inputs.recv_deadline(until).expect("it goes on") {
            Input::Gone(_) => return sent,
            Input::Peer(_, PeerEvent::Uploaded(bytes)) => sent += bytes,
            _ => {}
        }
    }
}

#[test]
fn messages_do_not_pile_up_for_one_that_never_reads() {
    let world = World::new(false);
    let (_peer, handle) = world.accept(FAST);
    // 20 MiB: more than a socket takes.
    let said = (0..100).map(|_| Command::Request(vec![world.block(0, 0); 12_000]));
    // It may be gone before the last.
    said.for_each(|command| _ = handle.send(command));
    wait_for_the_end(&world);
    world.finish();
}

#[test]
fn who_asks_for_much_and_takes_nothing_is_hung_up_on() {
    let mut world = World::with(true, [16 << 20, 1], 1 << 18);
    Arc::get_mut(&mut world.link).unwrap().timeouts.stall = Duration::from_millis(50);
    let (mut peer, handle) = world.accept(FAST);
    assert!(handle.send(Command::Unchoke));
    while peer.hear() != Heard::Message(Message::Unchoke) {}
    // 15 MiB: more than a socket takes.
    let half = 1 << 17;
    let wanted = (0..60).flat_map(|piece| [0, half].map(|begin| Message::Request(raw(piece, begin, half))));
    peer.stream.write_all(&bytes(&wanted.collect::<Vec<_>>())).unwrap();
    let sent = wait_for_the_end(&world);
    assert!(sent < 2 << 20, "{sent} bytes are kept for one that never reads");
    world.finish();
}
