//! A daemon that has stopped has left no thread and no descriptor behind. Alone in its process, so that they can be counted.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests report by panicking")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use torrent_common::config::PeerConfig;
use torrent_peer::Daemon;
use torrent_peer::control::api::TorrentState;
use torrent_tests::daemon::Daemon as Process;
use torrent_tests::http;
use torrent_tests::payload::write_tree;
use torrent_tests::room::Room;
use torrent_tests::torrents::make;
use torrent_tests::tracker::Tracker;
use torrent_tests::wait::{PATIENCE, wait_for};

/// What our threads are called (ARCHITECTURE.md). Those of tiny_http have no names, and end some seconds after their server.
const NAMES: [&str; 14] = [
    "listen",
    "peer-",
    "torrent-",
    "hash-",
    "check-",
    "disk-",
    "announce-",
    "session",
    "control",
    "rates",
    "make-",
    "nudge",
    "stop",
    "guard",
];

/// The names of the daemon's threads, and how many there are of each.
fn threads() -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for task in Path::new("/proc/self/task").read_dir().unwrap() {
        // One may end while we look.
        let name = std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default();
        if NAMES.iter().any(|ours| name.starts_with(ours)) {
            *found.entry(name.trim().to_owned()).or_default() += 1;
        }
    }
    found
}

fn descriptors() -> usize {
    Path::new("/proc/self/fd").read_dir().unwrap().count()
}

#[test]
fn every_thread_is_joined_and_every_descriptor_closed() {
    let room = Room::new("joined");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    write_tree(&source, &[("a.bin", 3_000_000), ("b.bin", 400_000)], 71);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 16 * 1024, &tracker.url());
    let seeder = Process::start_at(
        &room,
        "seeder",
        &tracker.url(),
        torrent_tests::room::Place::Here,
        "UPLOAD_LIMIT_KIB = 1000",
    );
    seeder.leech(&torrent, Some(&room.folder("source")));
    seeder.wait_for_seeding(metainfo.info_hash);

    let folder = room.folder("ours");
    let config = PeerConfig {
        tracker_url: tracker.url(),
        torrent_dir: folder.join("torrents"),
        download_dir: folder.join("downloads"),
        state_dir: folder.join("state"),
        port: 0,
        peer_port: 0,
        interval_s: 1,
        ..PeerConfig::default()
    };
    // What is made once for a process: the pools of libraries.
    Daemon::start(config.clone()).unwrap().stop();
    let before = (BTreeMap::new(), descriptors());
    for round in 0..3 {
        let running = Daemon::start(config.clone()).unwrap();
        // A stranger that says nothing: its connection belongs to no torrent that could end it.
        let silent = TcpStream::connect((Ipv4Addr::LOCALHOST, running.peer_address().port())).unwrap();
        wait_for("the stranger's thread", PATIENCE, || {
            let now = threads();
            let one = now.keys().any(|name| name.starts_with("peer-"));
            one.then_some(()).ok_or_else(|| format!("{now:?}"))
        });
        if round == 0 {
            let body = serde_json::json!({ "torrent_path": torrent }).to_string();
            let url = format!("http://{}/leech", running.control_address());
            let json = [("Content-Type", "application/json")];
            assert_eq!(http::post(&url, &json, body.as_bytes()).unwrap().status, 200);
        }
        assert!(threads().len() > 5, "{:?}", threads());
        // In the middle of a download, with connections.
        wait_for("a peer, or all it wants", PATIENCE, || {
            let status = running.status();
            let busy = status
                .torrents
                .iter()
                .any(|torrent| torrent.peers > 0 || torrent.state == TorrentState::Seeding);
            busy.then_some(()).ok_or_else(|| format!("{status:?}"))
        });
        running.stop();
        // The kernel shows a thread a moment longer than it is joined; rayon joins none of its own.
        wait_for("nothing to be left", std::time::Duration::from_secs(2), || {
            // One is the stranger's own end, which stays open.
            let now = (threads(), descriptors() - 1);
            if now == before { Ok(()) } else { Err(format!("{now:?}, before {before:?}")) }
        });
        drop(silent);
    }
    seeder.stop();
    tracker.stop();
}
