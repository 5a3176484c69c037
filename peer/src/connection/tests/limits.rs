//! What rate limits hold up, and what they do not.

use torrent_common::geometry::Geometry;
use torrent_common::wire::decoder::PIECE_HEADER_LEN;

use super::*;
use crate::connection::Violation;
use crate::connection::asked::{Asked, Run};
use crate::connection::inbox::{Inbox, Receiver as Hears};
use crate::connection::outbox::Outbox;
use crate::storage::blocks::BlockBuf;

/// Takes every block of piece 0, and notes what it hears.
struct Ear {
    geometry: Geometry,
    pool: Arc<BlockPool>,
    messages: Vec<Message>,
    blocks: usize,
}

impl Hears for Ear {
    fn message(&mut self, message: Message, _: usize) -> Result<(), Violation> {
        self.messages.push(message);
        Ok(())
    }

    fn has_enough(&self) -> bool {
        false
    }

    fn expected(&self, _: usize) -> Option<Run> {
        None
    }

    fn begin(&mut self, header: RawBlock) -> Result<Option<Run>, Violation> {
        let mut asked = Asked::new(self.geometry);
        let block = self.geometry.block_at(header.index, header.begin, header.len).unwrap();
        asked.ask(&[block], 1).for_each(drop);
        Ok(asked.nth(0))
    }

    fn buffers(&self, run: Run) -> impl Iterator<Item = (BlockRef, BlockBuf)> {
        run.blocks(&self.geometry).map(|block| (block, self.pool.take(block.len())))
    }

    fn block(&mut self, _: BlockRef, _: BlockBuf) {
        self.blocks += 1;
    }
}

#[test]
fn no_more_payload_is_received_than_allowed_and_messages_between_blocks_are() {
    const LEN: u32 = 5000;
    let (mut theirs, ours, _) = pair();
    ours.set_nonblocking(true).unwrap();
    let mut bytes = Vec::new();
    Message::Have(1).encode(&mut bytes);
    for _ in 0..2 {
        bytes.extend(piece_header(0, 0, LEN));
        bytes.extend([7; LEN as usize]);
        Message::Have(2).encode(&mut bytes);
    }
    theirs.write_all(&bytes).unwrap();
    let mut ear = Ear {
        geometry: Geometry::new(LEN.into(), LEN.into(), LEN).unwrap(),
        pool: BlockPool::new(LEN, 1 << 16),
        messages: Vec::new(),
        blocks: 0,
    };
    let mut inbox = Inbox::new(Decoder { max_message_len: 64, max_block_len: LEN });
    let mut payload = 0;
    loop {
        let received = inbox.receive(&ours, &mut ear, 0).unwrap();
        payload += received.payload;
        if received.held {
            break;
        }
    }
    assert!(payload < 64, "{payload} bytes without an allowance");
    assert_eq!(ear.messages, [Message::Have(1)]);
    // The rest of it in parts: the end of a block and what comes after it are not read in one go then.
    let mut turns = 0;
    while ear.blocks < 2 {
        let received = inbox.receive(&ours, &mut ear, 100).unwrap();
        assert!(received.payload <= 100 && (received.held || received.drained), "{received:?}");
        payload += received.payload;
        turns += 1;
    }
    assert_eq!(payload, 2 * u64::from(LEN));
    assert!(turns >= 98, "{turns}");
    while ear.messages.len() < 3 {
        assert!(!inbox.receive(&ours, &mut ear, 0).unwrap().held);
    }
    assert_eq!(ear.messages, [Message::Have(1), Message::Have(2), Message::Have(2)]);
}

#[test]
fn a_long_message_needs_no_allowance() {
    let (mut theirs, ours, _) = pair();
    ours.set_nonblocking(true).unwrap();
    let mut bytes = Vec::new();
    Message::Bitfield([0x55; 9000].into()).encode(&mut bytes);
    theirs.write_all(&bytes).unwrap();
    let mut ear = Ear {
        geometry: Geometry::new(40, 32, BLOCK_LEN).unwrap(),
        pool: BlockPool::new(BLOCK_LEN, 1 << 16),
        messages: Vec::new(),
        blocks: 0,
    };
    let mut inbox = Inbox::new(Decoder { max_message_len: 9001, max_block_len: BLOCK_LEN });
    while ear.messages.is_empty() {
        assert!(!inbox.receive(&ours, &mut ear, 0).unwrap().held);
    }
    assert_eq!(ear.messages, [Message::Bitfield([0x55; 9000].into())]);
}

#[test]
fn a_message_waits_for_no_limit_but_for_the_block_before_it() {
    let world = World::new(true);
    let (theirs, ours, _) = pair();
    let mut peer = Peer { stream: theirs, buffer: Vec::new() };
    let mut outbox = Outbox::default();
    let geometry = &world.metainfo.geometry;
    outbox.upload(geometry.span(0, 0, 32).unwrap()).unwrap();
    outbox.upload(geometry.span(1, 0, 32).unwrap()).unwrap();
    let sent = outbox.send(&ours, &world.link.storage, 0).unwrap();
    assert!(sent.held && !sent.any, "{sent:?}");
    let sent = outbox.send(&ours, &world.link.storage, 5).unwrap();
    assert_eq!((sent.held, sent.payload), (true, 5));
    outbox.push(&Message::Choke);
    let sent = outbox.send(&ours, &world.link.storage, 0).unwrap();
    assert_eq!((sent.held, sent.payload), (true, 27));
    assert_eq!(peer.hear(), Heard::Piece(0, 0, world.bytes[..32].to_vec()));
    assert_eq!(peer.hear(), Heard::Message(Message::Choke));
    let sent = outbox.send(&ours, &world.link.storage, 32).unwrap();
    assert_eq!((sent.held, sent.payload, outbox.is_empty()), (false, 32, true));
    assert_eq!(peer.hear(), Heard::Piece(1, 0, world.bytes[32..64].to_vec()));
    world.finish();
}

#[test]
fn a_message_behind_a_long_run_sends_no_more_of_it_than_a_block() {
    const LEN: u32 = 120 << 10;
    let world = World::with(true, [100 << 10, 30 << 10], 128 << 10);
    let (theirs, ours, _) = pair();
    let mut peer = Peer { stream: theirs, buffer: Vec::new() };
    let mut outbox = Outbox::default();
    outbox.upload(world.metainfo.geometry.span(0, 0, LEN).unwrap()).unwrap();
    let send = |outbox: &mut Outbox, allowance| {
        let sent = outbox.send(&ours, &world.link.storage, allowance).unwrap();
        assert!(!sent.blocked);
        (sent.payload, sent.held)
    };
    assert_eq!(send(&mut outbox, 1), (1, true));
    outbox.push(&Message::Choke);
    assert_eq!(send(&mut outbox, 0), (0, true), "it waits as the run does");
    assert_eq!(send(&mut outbox, 1000), (1000, true));
    assert_eq!(send(&mut outbox, (104 << 10) - 1001), (u64::from(LEN) - 1001, false), "the last block of it");
    assert_eq!(peer.hear(), Heard::Piece(0, 0, world.bytes[..LEN as usize].to_vec()));
    assert_eq!(peer.hear(), Heard::Message(Message::Choke));
    world.finish();
}

#[test]
fn a_limit_that_goes_wakes_who_waits_for_it() {
    let world = World::new(true);
    let limiter = &world.link.limits.own.up;
    // It would take longer than anybody here waits.
    limiter.set(1, std::time::Instant::now());
    let (mut peer, handle) = world.accept(FAST);
    assert_eq!(peer.hear(), Heard::Message(Message::HaveAll));
    assert!(handle.send(Command::Unchoke));
    assert_eq!(peer.hear(), Heard::Message(Message::Unchoke));
    peer.say(&Message::Request(raw(0, 0, 32)));
    peer.say(&Message::Request(raw(1, 0, 32)));
    peer.say(&Message::Interested);
    // The torrent is told of both, in any order.
    let (begin, mut excused, mut interested) = (std::time::Instant::now(), false, false);
    while !(excused && interested) {
        match world.next() {
            Input::Peer(_, PeerEvent::KeptWaiting(until)) => excused |= until > begin,
            Input::Peer(_, PeerEvent::Interested) => interested = true,
            _ => {}
        }
    }
    // It read that after the requests, and sleeps: for a while, or until it is rung.
    assert!(handle.send(Command::NotInterested));
    let mut heard = vec![peer.hear()];
    limiter.set(0, std::time::Instant::now());
    heard.extend([peer.hear(), peer.hear()]);
    for expected in [
        Heard::Message(Message::NotInterested),
        Heard::Piece(0, 0, world.bytes[..32].to_vec()),
        Heard::Piece(1, 0, world.bytes[32..64].to_vec()),
    ] {
        assert!(heard.contains(&expected), "{heard:?}");
    }
    world.finish();
}

#[test]
fn a_peer_that_vanishes_while_it_is_not_read_ends_the_connection() {
    let world = World::new(false);
    world.link.limits.own.down.set(1, std::time::Instant::now());
    let (mut peer, handle) = world.accept(PLAIN);
    let blocks = [world.block(0, 0), world.block(0, 1), world.block(1, 0), world.block(1, 1)];
    assert!(handle.send(Command::Request(blocks.to_vec())));
    for _ in &blocks {
        assert!(matches!(peer.hear(), Heard::Message(Message::Request(_))));
    }
    // More than a glance: it stops in the middle of the last one.
    let all: Vec<u8> = blocks
        .iter()
        .flat_map(|block| [&piece_header(block.piece().get(), block.begin(), 16)[..], &[1; 16]].concat())
        .collect();
    let head = 3 * (PIECE_HEADER_LEN + 16) + PIECE_HEADER_LEN + 4;
    peer.stream.write_all(&all[..head]).unwrap();
    // Unread bytes at our end make the system send a reset instead of an orderly end.
    assert!(handle.send(Command::Interested));
    drop(peer);
    let over = std::iter::repeat_with(|| world.next()).take(4).any(|input| matches!(input, Input::Gone(_)));
    assert!(over);
    world.finish();
}
