//! The control interface: for the user's own commands, not for the web pages in the user's browser.

use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use torrent_common::ids::{InfoHash, PeerId};
use torrent_common::wire::Message;
use torrent_common::wire::message::RawBlock;
use torrent_peer::control::api::{
    ApiError, DaemonInfo, JobStarted, JobStatus, SeedRequest, TorrentRequest, TorrentState,
};
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

/// Waits until a torrent is not being made any more, and gives the error, if there is one.
fn failure(daemon: &Daemon, request: &SeedRequest) -> Option<String> {
    let answer = daemon.post("/seed", request);
    if answer.status != 200 {
        let refused: ApiError = serde_json::from_slice(&answer.body).unwrap();
        return Some(refused.error);
    }
    let started: JobStarted = answer.json();
    wait_for("the torrent to be made or refused", PATIENCE, || {
        match daemon.get(&format!("/jobs/{}", started.job)).json::<JobStatus>() {
            JobStatus::Running { done, total } => Err(format!("{done} of {total}")),
            JobStatus::Done(_) => Ok(None),
            JobStatus::Failed { error } => Ok(Some(error)),
        }
    })
}

/// A daemon that may not read what is closed to it, even if root runs the tests.
fn start_without_privileges(room: &Room) -> Daemon {
    std::thread::scope(|scope| {
        // Of a thread, and of what it starts.
        let started = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                for capability in [CapabilitySet::DAC_OVERRIDE, CapabilitySet::DAC_READ_SEARCH] {
                    remove_capability_from_bounding_set(capability).unwrap();
                }
            }
            Daemon::start(room, "daemon", "http://127.0.0.1:9/announce")
        });
        started.join().unwrap()
    })
}

#[test]
fn what_is_not_the_users_to_share_is_refused() {
    let room = Room::new("not-to-share");
    let daemon = start_without_privileges(&room);
    let user = room.folder("user");
    let secret = user.join("secret");
    std::fs::write(&secret, "private").unwrap();
    let shared = user.join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::os::unix::fs::symlink(&secret, shared.join("link")).unwrap();
    let closed = user.join("closed");
    std::fs::write(&closed, "private").unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let error = failure(&daemon, &seed_request(&closed)).expect("nothing is shared");
    assert!(error.contains("Permission denied"), "{error}");
    let body = serde_json::json!({ "torrent_path": closed, "output": "/x" }).to_string();
    assert_eq!(daemon.post_raw("/leech", &[JSON], body.as_bytes()).status, 400);
    let pipe = user.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink(&pipe, user.join("pipe-link")).unwrap();
    for (path, words) in [
        ("/".into(), "has no name"),
        ("/dev/null".into(), "neither a file nor a folder"),
        ("/dev/zero".into(), "neither a file nor a folder"),
        ("/dev".into(), "neither a file nor a folder"),
        ("/proc/self/fd/0".into(), "neither a file nor a folder"),
        ("/proc/self/status".into(), "no content"),
        (pipe, "neither a file nor a folder"),
        (user.join("pipe-link"), "neither a file nor a folder"),
        (user.join("nothing"), "No such file"),
        // Of a folder with a link alone nothing is left to share.
        (shared, "no content"),
        ("/proc/self".into(), ""),
    ] {
        let error = failure(&daemon, &seed_request(&path)).expect("nothing is shared");
        assert!(error.contains(words), "{}: {error}", path.display());
    }
    for (path, output) in [("/dev/zero", "/x"), ("/dev", "/x"), ("/proc/self/mem", "/x")] {
        let body = serde_json::json!({ "torrent_path": path, "output": output }).to_string();
        let answer = daemon.post_raw("/leech", &[JSON], body.as_bytes());
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
    }
    assert!(daemon.status().torrents.is_empty());
    daemon.stop();
}

#[test]
fn a_torrent_file_that_is_lost_is_told_from_a_torrent_that_is_not_known() {
    let room = Room::new("lost-torrent-file");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    write_tree(&source, &[("a.bin", 40_000)], 8);
    let daemon = Daemon::start(&room, "daemon", &tracker.url());
    let seeded = daemon.publish(&source, 16_384);
    // What is at work has it in memory.
    daemon.tell("/pause", seeded.info_hash, false);
    let copy = daemon.folder().join(format!("state/{}.torrent", seeded.info_hash));
    let bytes = std::fs::read(&copy).unwrap();
    std::fs::remove_file(&copy).unwrap();
    let details = format!("/torrents/{}", seeded.info_hash);
    wait_for("its thread to end", PATIENCE, || match daemon.get(&details) {
        answer if answer.status == 200 => Err("it still has it".to_owned()),
        answer => {
            assert_eq!(answer.status, 500, "{}", answer.text());
            assert!(answer.text().contains("torrent file"), "{}", answer.text());
            Ok(())
        }
    });
    assert_eq!(daemon.get(&format!("{details}/status")).status, 200);
    std::fs::write(&copy, bytes).unwrap();
    assert_eq!(daemon.get(&details).status, 200);
    daemon.stop();
    tracker.stop();
}
