//! The tracker: catalogue and swarms, what they survive, and what is kept out of them.

use std::net::SocketAddr;

use torrent_common::announce::{AnnounceRequest, Event};
use torrent_common::ids::{InfoHash, PeerId};
use torrent_peer::control::api::SeedRequest;
use torrent_tests::daemon::{Daemon, seed_request};
use torrent_tests::payload::{ODD_TREE, assert_same, write_file, write_tree};
use torrent_tests::room::Room;
use torrent_tests::torrents::parse;
use torrent_tests::tracker::{Tracker, request};

const KIB: u64 = 1024;

#[test]
fn a_restart_keeps_catalogue_and_swarm() {
    let room = Room::new("tracker-restart");
    let mut tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    write_tree(&source, ODD_TREE, 31);
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    let described = SeedRequest { description: Some("Vacances à Malmö".into()), ..seed_request(&source) };
    let seeded = seeder.seed(&described);
    assert!(seeded.published, "{seeded:?}");
    tracker.wait_for_swarm(seeded.info_hash, 1, 0);
    let before = tracker.catalogue("");

    tracker.restart();
    assert_eq!(tracker.catalogue("").len(), 1);
    assert_eq!(tracker.catalogue("")[0]["info_hash"], before[0]["info_hash"]);
    for query in ["malm%C3%B6", "VACANCES+MALM%C3%96", "tree", "tree%20vacances"] {
        assert_eq!(tracker.catalogue(&format!("?q={query}")).len(), 1, "{query}");
    }
    assert_eq!(tracker.catalogue("?q=nothing+like+it").len(), 0);
    assert_eq!(tracker.swarm(seeded.info_hash), (1, 0), "the swarm is there before anyone announces again");

    // From the catalogue alone to a complete download.
    let torrent = tracker.get(&format!("/torrents/{}", seeded.info_hash));
    assert_eq!(parse(&torrent.body).info_hash, seeded.info_hash);
    let file = room.folder("user").join("fetched.torrent");
    std::fs::write(&file, &torrent.body).unwrap();
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    leecher.leech(&file, None);
    leecher.wait_for_seeding(seeded.info_hash);
    assert_same(&source, &leecher.downloads().join("tree"));
    tracker.wait_for_swarm(seeded.info_hash, 2, 0);

    // Killed, it loses at most what came after its last snapshot; the catalogue loses nothing.
    tracker.kill_and_restart();
    assert_eq!(tracker.published(), [seeded.info_hash].into());
    tracker.wait_for_swarm(seeded.info_hash, 2, 0);

    // A daemon that stops says so.
    leecher.stop();
    assert_eq!(tracker.swarm(seeded.info_hash), (1, 0));
    seeder.stop();
    assert_eq!(tracker.swarm(seeded.info_hash), (0, 0));
    tracker.stop();
}

#[test]
fn a_swarm_over_udp() {
    let room = Room::new("udp");
    let mut tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    write_tree(&source, ODD_TREE, 36);
    let seeder = Daemon::start(&room, "seeder", &tracker.udp_url());
    let seeded = seeder.seed(&seed_request(&source));
    assert!(seeded.published, "the catalogue is found over HTTP: {seeded:?}");
    tracker.wait_for_swarm(seeded.info_hash, 1, 0);
    assert_eq!(parse(&std::fs::read(&seeded.torrent_path).unwrap()).trackers, [[tracker.udp_url()]]);

    // The connection id that the seeder was given is not good any more after a restart.
    tracker.restart();
    let leecher = Daemon::start(&room, "leecher", &tracker.udp_url());
    leecher.leech(&seeded.torrent_path, None);
    leecher.wait_for_seeding(seeded.info_hash);
    assert_same(&source, &leecher.downloads().join("tree"));
    tracker.wait_for_swarm(seeded.info_hash, 2, 0);
    let status: serde_json::Value = tracker.get("/").json();
    assert!(status["udp_announces"].as_u64() >= Some(2), "{status}");
    assert_eq!(status["udp_announces"], status["announces"], "and none over HTTP");

    // A daemon that stops says so.
    leecher.stop();
    tracker.wait_for_swarm(seeded.info_hash, 1, 0);
    seeder.stop();
    tracker.wait_for_swarm(seeded.info_hash, 0, 0);
    tracker.stop();
}

#[test]
fn private_torrents_are_not_published() {
    let room = Room::new("private");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("secret.bin");
    write_file(&source, 1_000_000, 32);
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    let seeded = seeder.seed(&SeedRequest { private: true, ..seed_request(&source) });
    assert!(!seeded.published, "{seeded:?}");
    assert_eq!(seeded.publish_error, None);
    let bytes = std::fs::read(&seeded.torrent_path).unwrap();
    assert!(parse(&bytes).private);
    assert!(seeder.details(seeded.info_hash).status.private);

    // Whoever tries to publish it all the same is refused.
    let upload = torrent_tests::tracker::Upload {
        torrent: &bytes,
        info_hash: seeded.info_hash,
        name: "secret",
        description: "",
    };
    let answer = tracker.upload(&upload);
    assert!(answer.status == 400 || answer.text().contains("failure reason"), "{}", answer.text());
    assert!(tracker.published().is_empty());
    assert_eq!(tracker.get(&format!("/torrents/{}", seeded.info_hash)).status, 404);

    // Those who have the torrent file share it through the tracker.
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    leecher.leech(&seeded.torrent_path, None);
    leecher.wait_for_seeding(seeded.info_hash);
    assert_same(&source, &leecher.downloads().join("secret.bin"));
    leecher.stop();
    seeder.stop();
    tracker.stop();
}

#[test]
fn published_once() {
    let room = Room::new("published-once");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("payload.bin");
    write_file(&source, 500_000, 33);
    let (a, b) = (Daemon::start(&room, "a", &tracker.url()), Daemon::start(&room, "b", &tracker.url()));
    let first = a.publish(&source, 16 * KIB);
    let second = b.seed(&SeedRequest { piece_length: Some(16 * KIB), ..seed_request(&source) });
    assert_eq!(first.info_hash, second.info_hash, "the same input gives the same torrent");
    assert_eq!(second.publish_error, None);
    assert_eq!(tracker.catalogue("").len(), 1);
    tracker.wait_for_swarm(first.info_hash, 2, 0);
    a.stop();
    b.stop();
    tracker.stop();
}

/// The id of scripted peer number `number`.
fn peer(number: u8) -> PeerId {
    let mut id = *b"-XX0001-scripted....";
    id[19] = number;
    PeerId::new(id)
}

fn addresses(tracker: &Tracker, request: &AnnounceRequest) -> Vec<SocketAddr> {
    let response = tracker.announce(request).unwrap();
    assert!(response.interval_s > 0);
    let mut addresses: Vec<_> = response.peers.iter().map(|peer| peer.address).collect();
    addresses.sort();
    addresses
}

#[test]
fn announces_are_answered_as_clients_expect() {
    let room = Room::new("announce");
    let tracker = Tracker::start(&room);
    let hash = InfoHash::of(b"anything");
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(addresses(&tracker, &request(hash, peer(1), 1001, 0)), [], "alone");
    assert_eq!(addresses(&tracker, &request(hash, peer(2), 1002, 100)), [at(1001)]);
    assert_eq!(addresses(&tracker, &request(hash, peer(3), 1003, 100)), [at(1001), at(1002)]);
    assert_eq!(addresses(&tracker, &request(hash, peer(1), 1001, 0)), [at(1002), at(1003)], "not itself");
    assert_eq!(
        addresses(&tracker, &request(hash, peer(4), 1004, 0)),
        [at(1002), at(1003)],
        "a seeder gets no seeders"
    );
    let long = AnnounceRequest { compact: false, ..request(hash, peer(5), 1005, 1) };
    assert_eq!(
        addresses(&tracker, &long),
        [at(1001), at(1002), at(1003), at(1004)],
        "dictionaries say the same"
    );
    let few = AnnounceRequest { numwant: Some(2), ..request(hash, peer(5), 1005, 1) };
    assert_eq!(addresses(&tracker, &few).len(), 2);
    assert_eq!(tracker.swarm(hash), (2, 3));

    let stopped = AnnounceRequest { event: Event::Stopped, ..request(hash, peer(2), 1002, 100) };
    tracker.announce(&stopped).unwrap();
    let completed = AnnounceRequest { event: Event::Completed, ..request(hash, peer(3), 1003, 0) };
    tracker.announce(&completed).unwrap();
    assert_eq!(tracker.swarm(hash), (3, 1));
    assert_eq!(
        addresses(&tracker, &request(InfoHash::of(b"other"), peer(6), 1006, 9)),
        [],
        "swarms do not mix"
    );
    tracker.stop();
}

#[test]
fn bad_requests_get_a_reason() {
    let room = Room::new("bad-announce");
    let tracker = Tracker::start(&room);
    let hash = "%aa".repeat(20);
    let id = "-XX0001-123456789012";
    let long = "x".repeat(10_000);
    for query in [
        String::new(),
        "?".into(),
        format!("?peer_id={id}&port=1&left=0"),
        format!("?info_hash={hash}&port=1&left=0"),
        format!("?info_hash={hash}&peer_id={id}&left=0"),
        format!("?info_hash={hash}&peer_id={id}&port=0&left=0"),
        format!("?info_hash={hash}&peer_id={id}&port=70000&left=0"),
        format!("?info_hash={hash}&peer_id={id}&port=x&left=0"),
        format!("?info_hash=short&peer_id={id}&port=1&left=0"),
        format!("?info_hash={hash}%aa&peer_id={id}&port=1&left=0"),
        format!("?info_hash={hash}&peer_id=short&port=1&left=0"),
        format!("?info_hash={hash}&peer_id={id}&port=1&left=-2"),
    ] {
        let answer = tracker.get(&format!("/announce{query}"));
        assert_eq!(answer.status, 200, "{query}: clients show the reason only with 200");
        assert!(answer.text().starts_with("d14:failure reason"), "{query}: {}", answer.text());
    }
    let answer = tracker.get(&format!("/announce?info_hash={hash}&peer_id={id}&port=1&left=0&x={long}"));
    assert!(answer.status >= 400 || answer.text().contains("failure reason"), "{}", answer.text());
    for path in ["/nothing", "/torrents/xyz", &format!("/torrents/{}", "0".repeat(40)), "/../etc/passwd"] {
        assert!((400..500).contains(&tracker.get(path).status), "{path}");
    }
    let status: serde_json::Value = tracker.get("/").json();
    assert!(status.is_object(), "{status}");
    tracker.stop();
}
