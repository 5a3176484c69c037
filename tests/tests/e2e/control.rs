//! The control interface: for the user's own commands, not for the web pages in the user's browser.

use torrent_common::ids::{InfoHash, PeerId};
use torrent_common::wire::Message;
use torrent_common::wire::message::RawBlock;
use torrent_peer::control::api::{ApiError, DaemonInfo, TorrentRequest, TorrentState};
use torrent_tests::daemon::{Daemon, seed_request};
use torrent_tests::payload::write_tree;
use torrent_tests::room::Room;
use torrent_tests::scripted::{Link, Received};
use torrent_tests::tracker::Tracker;
use torrent_tests::wait::{PATIENCE, wait_for};

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn web_pages_have_no_say() {
    let room = Room::new("control");
    let daemon = Daemon::start(&room, "daemon", "http://127.0.0.1:9/announce");
    let secret = room.folder("user").join("secret.txt");
    std::fs::write(&secret, "private").unwrap();
    let body = serde_json::to_vec(&seed_request(&secret)).unwrap();
    let port = daemon.control().port();
    let (good_host, other_host) = (format!("localhost:{port}"), format!("evil.example:{port}"));
    let refused: [&[(&str, &str)]; 7] = [
        &[],
        &[("Content-Type", "text/plain")],
        &[("Content-Type", "application/x-www-form-urlencoded")],
        &[("Content-Type", "multipart/form-data; boundary=x")],
        &[JSON, ("Origin", "http://evil.example")],
        &[JSON, ("Origin", "null")],
        &[JSON, ("Host", &other_host)],
    ];
    for headers in refused {
        let answer = daemon.post_raw("/seed", headers, &body);
        assert!((400..500).contains(&answer.status), "{headers:?}: {} {}", answer.status, answer.text());
        let error: ApiError = serde_json::from_slice(&answer.body).unwrap();
        assert!(!error.error.is_empty());
    }
    assert!(daemon.status().torrents.is_empty());
    let info: DaemonInfo = daemon.get("/").json();
    assert_eq!(info.name, "torrent-daemon");
    assert_eq!(info.peer_port, daemon.peer_address().port());
    assert_eq!(daemon.post_raw("/seed", &[JSON, ("Host", &good_host)], &body).status, 200);
    daemon.stop();
}

#[test]
fn bad_requests_are_told_what_is_wrong() {
    let room = Room::new("control-errors");
    let daemon = Daemon::start(&room, "daemon", "http://127.0.0.1:9/announce");
    let unknown = InfoHash::of(b"unknown");
    for (path, body, status) in [
        ("/seed", "", 400),
        ("/seed", "[]", 400),
        ("/seed", "{\"path\": 1}", 400),
        ("/seed", "{\"path\": \"relative\"}", 400),
        ("/seed", "{\"path\": \"/nowhere/at/all\"}", 400),
        ("/seed", "{\"path\": \"/tmp\", \"unknown\": 1}", 400),
        ("/leech", "{}", 400),
        ("/pause", "{\"info_hash\": \"xyz\"}", 400),
        ("/nothing", "{}", 404),
        ("/status", "{}", 405),
    ] {
        let answer = daemon.post_raw(path, &[JSON], body.as_bytes());
        assert_eq!(answer.status, status, "POST {path} {body}: {}", answer.text());
    }
    for path in ["/pause", "/resume", "/remove"] {
        let answer = daemon.post(path, &TorrentRequest { info_hash: unknown, delete_data: false });
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    assert_eq!(daemon.get(&format!("/torrents/{unknown}")).status, 404);
    assert_eq!(daemon.get("/torrents/xyz").status, 400);
    assert_eq!(daemon.get("/jobs/77").status, 404);
    assert_eq!(daemon.get("/nothing").status, 404);
    assert_eq!(daemon.get("/seed").status, 405);
    daemon.stop();
}

#[test]
fn a_torrent_in_error_is_started_again_by_the_user_alone() {
    let room = Room::new("standstill");
    let tracker = Tracker::start(&room);
    let folder = room.folder("source");
    let source = folder.join("tree");
    write_tree(&source, &[("kept.bin", 40_000), ("lost.bin", 40_000)], 5);
    let daemon = Daemon::start(&room, "daemon", &tracker.url());
    let seeded = daemon.publish(&source, 16_384);
    let lost = std::fs::read(source.join("lost.bin")).unwrap();
    std::fs::remove_file(source.join("lost.bin")).unwrap();
    // Whoever asks for the last piece finds out.
    let ask = || {
        let mut link = Link::connect(daemon.peer_address());
        link.handshake(seeded.info_hash, PeerId::new([b'x'; 20]))?;
        link.tell(&Message::Interested)?;
        while link.receive()? != Received::Message(Message::Unchoke) {}
        link.tell(&Message::Request(RawBlock { index: 4, begin: 0, len: 1000 }))?;
        link.wait_closed(PATIENCE)
    };
    ask().unwrap();
    let state = || daemon.details(seeded.info_hash).status.state;
    wait_for("the missing file to be noticed", PATIENCE, || match state() {
        TorrentState::Error => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // Its thread may still be going; soon nobody is let in.
    wait_for("strangers to be turned away", PATIENCE, || match ask() {
        Err(_) => Ok(()),
        Ok(()) => Err("let in".to_owned()),
    });
    assert_eq!(state(), TorrentState::Error);
    // Mended, and asked for once more.
    std::fs::write(source.join("lost.bin"), lost).unwrap();
    let again = daemon.leech(&seeded.torrent_path, Some(&folder));
    assert_ne!(again.state, TorrentState::Error);
    daemon.wait_for_seeding(seeded.info_hash);
    daemon.stop();
    tracker.stop();
}

#[test]
fn a_pipe_in_place_of_a_torrent_file_holds_nobody_up() {
    let room = Room::new("pipe");
    let daemon = Daemon::start(&room, "daemon", "http://127.0.0.1:9/announce");
    let pipe = room.folder("user").join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let body = serde_json::json!({ "torrent_path": pipe }).to_string();
    // More often than the control server has threads.
    for _ in 0..6 {
        let answer = daemon.post_raw("/leech", &[JSON], body.as_bytes());
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    daemon.stop();
}
