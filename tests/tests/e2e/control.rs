//! The control interface: for the user's own commands, not for the web pages in the user's browser.

use torrent_common::ids::InfoHash;
use torrent_peer::control::api::{ApiError, DaemonInfo, TorrentRequest};
use torrent_tests::daemon::{Daemon, seed_request};
use torrent_tests::room::Room;

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
