//! Promises 1 and 3: corrupt data never reaches a file, and no stranger stops service to others.

use std::sync::Arc;
use std::time::Duration;

use torrent_common::ids::{InfoHash, PeerId};
use torrent_common::wire::Message;
use torrent_common::wire::message::RawBlock;
use torrent_tests::daemon::Daemon;
use torrent_tests::hostile::words::{nonsense, oddities};
use torrent_tests::hostile::{ATTACKS, Siege, Victim};
use torrent_tests::payload::{ODD_TREE, assert_same, write_file, write_tree};
use torrent_tests::room::Room;
use torrent_tests::scripted::{Link, Manner, Received, Seed};
use torrent_tests::torrents::make;
use torrent_tests::tracker::Tracker;
use torrent_tests::wait::{PATIENCE, wait_until};

const KIB: u64 = 1024;
const STRANGER: PeerId = PeerId::new(*b"-XX0001-stranger1234");

#[test]
fn corrupt_blocks_never_reach_the_disk() {
    let room = Room::new("corrupt");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("payload.bin");
    write_file(&source, 4_000_003, 21);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 64 * KIB, &tracker.url());
    let liar = Manner { corrupt: true, ..Manner::default() };
    let liar = Seed::start([127, 0, 0, 2], &metainfo, &room.folder("source"), liar);
    liar.announce(&tracker);
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    leecher.leech(&torrent, None);

    // Alone with it: it is heard, found out, and shown the door.
    wait_until("the liar to be asked", PATIENCE, || liar.blocks_served() > 0);
    wait_until("the liar to be cut off", PATIENCE, || liar.open_connections() == 0);
    let details = leecher.details(metainfo.info_hash);
    assert_eq!(details.pieces_had, 0, "{details:?}");
    let written = std::fs::read(leecher.downloads().join("payload.bin")).unwrap_or_default();
    assert!(written.iter().all(|&byte| byte == 0), "a corrupt piece was written");

    // With an honest seeder beside it.
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    seeder.leech(&torrent, Some(&room.folder("source")));
    leecher.wait_for_seeding(metainfo.info_hash);
    assert_same(&source, &leecher.downloads().join("payload.bin"));
    leecher.stop();
    seeder.stop();
    tracker.stop();
}

/// Nobody else is there, and the user may read why nothing comes.
#[test]
fn who_sends_one_byte_a_second_is_named() {
    let room = Room::new("drip");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("payload.bin");
    write_file(&source, 400_000, 27);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 64 * KIB, &tracker.url());
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    leecher.leech(&torrent, None);
    let attack = ATTACKS.iter().find(|attack| attack.name == "blocks of one byte a second").unwrap();
    let payload = Arc::new(std::fs::read(&source).unwrap());
    let siege = Siege::begin(*attack, Victim { address: leecher.peer_address(), metainfo, payload }, None);
    wait_until("who drips to be named", PATIENCE, || leecher.logged("no whole block has come from") > 0);
    drop(siege);
    leecher.stop();
    tracker.stop();
}

#[test]
fn a_download_completes_amid_liars() {
    let room = Room::new("liars");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    write_tree(&source, ODD_TREE, 22);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 128 * KIB, &tracker.url());
    let liars: Vec<_> = [2, 3, 4]
        .into_iter()
        .map(|last| {
            let manner = Manner { corrupt: true, pace: Duration::from_millis(1) };
            let liar = Seed::start([127, 0, 0, last], &metainfo, &room.folder("source"), manner);
            liar.announce(&tracker);
            liar
        })
        .collect();
    let manner = Manner { pace: Duration::from_millis(1), ..Manner::default() };
    let honest = Seed::start([127, 0, 0, 5], &metainfo, &room.folder("source"), manner);
    honest.announce(&tracker);
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    leecher.leech(&torrent, None);
    leecher.wait_for_seeding(metainfo.info_hash);
    assert_same(&source, &leecher.downloads().join("tree"));
    assert!(
        liars.iter().any(|liar| liar.blocks_served() > 0),
        "nobody asked the liars: the test proves nothing"
    );
    leecher.stop();
    tracker.stop();
}

#[test]
fn nonsense_costs_only_its_sender_the_connection() {
    let room = Room::new("nonsense");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("payload.bin");
    // 77 pieces of 16 KiB: the bitfield has spare bits.
    write_file(&source, 76 * 16 * KIB + 1, 23);
    let mut seeder = Daemon::start(&room, "seeder", &tracker.url());
    let seeded = seeder.publish(&source, 16 * KIB);
    let metainfo = torrent_tests::torrents::parse(&std::fs::read(&seeded.torrent_path).unwrap());
    assert_eq!(metainfo.geometry.piece_count() % 8, 5);

    for (what, bytes) in nonsense(&metainfo) {
        let mut link = Link::connect(seeder.peer_address());
        link.handshake(seeded.info_hash, STRANGER).unwrap_or_else(|error| panic!("before {what}: {error}"));
        // It may be cut off while we write: that is the point.
        let _ = link.send(&bytes);
        link.wait_closed(Duration::from_secs(10))
            .unwrap_or_else(|error| panic!("{what} was put up with: {error}"));
        assert!(seeder.process().is_alive(), "{what} ended the daemon");
    }
    let mut kept = Vec::new();
    for (what, bytes) in oddities() {
        let mut link = Link::connect(seeder.peer_address());
        link.handshake(seeded.info_hash, STRANGER).unwrap_or_else(|error| panic!("before {what}: {error}"));
        let _ = link.send(&bytes);
        kept.push(link);
    }
    let handshakes: [(&str, &[u8]); 5] = [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("another length", b"\x12BitTorrent protocol........................................."),
        ("another name", b"\x13BitTorrent protocox........................................."),
        ("zeros", &[0; 68]),
    ];
    for (what, bytes) in handshakes {
        let mut link = Link::connect(seeder.peer_address());
        let _ = link.send(bytes);
        link.wait_closed(Duration::from_secs(20))
            .unwrap_or_else(|error| panic!("{what} was put up with: {error}"));
    }
    let mut link = Link::connect(seeder.peer_address());
    assert!(
        link.handshake(InfoHash::of(b"unknown"), STRANGER).is_err(),
        "a torrent it does not have was answered"
    );

    // All that while, others are served.
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    leecher.leech(&seeded.torrent_path, None);
    leecher.wait_for_seeding(seeded.info_hash);
    assert_same(&source, &leecher.downloads().join("payload.bin"));
    drop(kept);
    leecher.stop();
    seeder.stop();
    tracker.stop();
}

#[test]
fn silent_connections_do_not_keep_others_out() {
    let room = Room::new("silent");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("payload.bin");
    write_file(&source, 3_000_000, 24);
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    let seeded = seeder.publish(&source, 16 * KIB);
    let mut silent: Vec<_> = (0..100).map(|_| Link::connect(seeder.peer_address())).collect();
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    leecher.leech(&seeded.torrent_path, None);
    leecher.wait_for_seeding(seeded.info_hash);
    assert_same(&source, &leecher.downloads().join("payload.bin"));
    for link in &mut silent {
        link.wait_closed(Duration::from_secs(30)).expect("who says nothing is cut off");
    }
    leecher.stop();
    seeder.stop();
    tracker.stop();
}

#[test]
fn a_plain_peer_of_another_make_is_served() {
    let room = Room::new("plain");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    write_tree(&source, ODD_TREE, 25);
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    let seeded = seeder.publish(&source, 16 * KIB);
    let metainfo = torrent_tests::torrents::parse(&std::fs::read(&seeded.torrent_path).unwrap());
    let payload = torrent_tests::torrents::payload(&metainfo, &room.folder("source"));

    let mut link = Link::connect(seeder.peer_address());
    let theirs = link.handshake(seeded.info_hash, STRANGER).unwrap();
    assert!(theirs.peer_id.as_bytes().starts_with(torrent_common::ids::CLIENT_PREFIX));
    // Without BEP 6 in our handshake, a seeder's first message is a full bitfield.
    let Received::Message(Message::Bitfield(bits)) = link.receive().unwrap() else { panic!("no bitfield") };
    assert_eq!(&*bits, torrent_common::bitfield::Bitfield::full(&metainfo.geometry).as_bytes());
    link.tell(&Message::Interested).unwrap();
    while link.receive().unwrap() != Received::Message(Message::Unchoke) {}
    // Spans need not be whole blocks, nor begin at their bounds.
    for (index, begin, len) in [(0, 0, 16_384), (3, 1, 1), (7, 5_000, 11_384), (2, 16_000, 384)] {
        link.tell(&Message::Request(RawBlock { index, begin, len })).unwrap();
        let (block, bytes) = loop {
            if let Received::Block { block, bytes } = link.receive().unwrap() {
                break (block, bytes);
            }
        };
        assert_eq!(block, RawBlock { index, begin, len });
        let at = index as usize * 16_384 + begin as usize;
        assert_eq!(bytes, payload[at..at + len as usize], "{block:?}");
    }
    drop(link);
    seeder.stop();
    tracker.stop();
}
