//! The commands as a user types them: what they print, and their exit codes (0 done, 1 failed, 2 usage).

use std::path::Path;

use serde_json::Value;
use torrent_tests::command::{Ended, command, run};
use torrent_tests::daemon::Daemon;
use torrent_tests::payload::{ODD_TREE, assert_same, write_file, write_tree};
use torrent_tests::programs::program;
use torrent_tests::room::{Place, Room};
use torrent_tests::torrents::parse;
use torrent_tests::tracker::Tracker;

const COMMANDS: [&str; 5] =
    ["torrent-test", "torrent-seed", "torrent-fetch", "torrent-leech", "torrent-status"];

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn publish_find_fetch_leech_and_look() {
    let room = Room::new("commands");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("holiday pictures");
    write_tree(&source, ODD_TREE, 41);
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    command(&room, &seeder, "torrent-test", &[]).ok();
    command(&room, &seeder, "torrent-test", &["--json"]).json();

    let kept = room.path().join("kept.torrent");
    let args = ["--input", path(&source), "--description", "Sweden", "--torrent", path(&kept)];
    let out = command(&room, &seeder, "torrent-seed", &args).ok();
    let hash = parse(&std::fs::read(&kept).unwrap()).info_hash.to_string();
    assert!(out.contains(&hash), "{out}");
    assert!(out.contains("magnet:?xt=urn:btih:"), "{out}");
    assert!(out.contains(".torrent"), "{out}");

    // Listing writes nothing; fetching does.
    let listed = command(&room, &leecher, "torrent-fetch", &["--search", "holiday"]).ok();
    assert!(listed.contains("holiday pictures"), "{listed}");
    let none = command(&room, &leecher, "torrent-fetch", &["--search", "unheard-of"]).ok();
    assert!(!none.contains("holiday"), "{none}");
    let json = command(&room, &leecher, "torrent-fetch", &["--json"]).json();
    assert!(json.to_string().contains(&hash), "{json}");
    let fetched = room.folder("user").join("fetched.torrent");
    let args = ["--info-hash", &hash, "--output", path(&fetched)];
    let out = command(&room, &leecher, "torrent-fetch", &args).ok();
    assert!(out.contains(path(&fetched)), "{out}");
    assert_eq!(parse(&std::fs::read(&fetched).unwrap()).info_hash.to_string(), hash);

    let output = room.folder("wanted here");
    let args = ["--torrent", path(&fetched), "--output", path(&output), "--wait"];
    command(&room, &leecher, "torrent-leech", &args).ok();
    assert_same(&source, &output.join("holiday pictures"));
    // Again: it is there already, and that is soon said.
    command(&room, &leecher, "torrent-leech", &args).ok();

    let table = command(&room, &leecher, "torrent-status", &[]).ok();
    assert!(table.contains("holiday pictures") && table.contains("100"), "{table}");
    let json = command(&room, &leecher, "torrent-status", &["--json"]).json();
    let torrent = &json["torrents"][0];
    assert_eq!(torrent["state"], "seeding");
    assert_eq!(torrent["info_hash"], hash);
    assert_eq!(torrent["progress"], 1.0);
    for key in ["name", "size", "downloaded", "uploaded", "download_rate", "upload_rate", "peers", "seeds"] {
        assert!(!torrent[key].is_null(), "{key} is missing: {torrent}");
    }
    for key in ["eta_seconds", "error"] {
        assert_eq!(torrent.get(key), Some(&Value::Null), "{key}: {torrent}");
    }
    leecher.stop();
    seeder.stop();
    tracker.stop();
}

#[test]
fn private_and_chosen_piece_length() {
    let room = Room::new("commands-private");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("payload.bin");
    write_file(&source, 1_000_000, 42);
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    let kept = room.path().join("kept.torrent");
    let other = "http://127.0.0.1:9/other/announce";
    let ours = tracker.url();
    let torrent = ["--input", path(&source), "--torrent", path(&kept), "--name", "other name"];
    let manner = ["--private", "--piece-length", "65536", "--tracker", &ours, "--tracker", other];
    command(&room, &seeder, "torrent-seed", &[&torrent[..], &manner].concat()).ok();
    let metainfo = parse(&std::fs::read(&kept).unwrap());
    assert!(metainfo.private);
    assert_eq!(metainfo.geometry.nominal_piece_len(), 65536);
    assert_eq!(metainfo.name, "other name");
    assert_eq!(metainfo.trackers, [[ours], [other.to_owned()]]);
    assert!(tracker.published().is_empty());
    seeder.stop();
    tracker.stop();
}

#[test]
fn failures_are_one_line_and_exit_code_1() {
    let room = Room::new("commands-failed");
    let tracker = Tracker::start(&room);
    let daemon = Daemon::start(&room, "daemon", &tracker.url());
    let text = room.path().join("text");
    std::fs::write(&text, "not a torrent").unwrap();
    let nowhere = room.path().join("nowhere");
    let zeros = "0".repeat(40);
    let cases: [(&str, &[&str]); 7] = [
        ("torrent-seed", &["--input", path(&nowhere)]),
        ("torrent-seed", &["--input", path(&text), "--piece-length", "1000"]),
        ("torrent-seed", &["--input", path(&text), "--piece-length", "8192"]),
        ("torrent-leech", &["--torrent", path(&nowhere)]),
        ("torrent-leech", &["--torrent", path(&text)]),
        ("torrent-fetch", &["--info-hash", &zeros]),
        ("torrent-fetch", &["--info-hash", "xyz"]),
    ];
    for (name, args) in cases {
        let ended = command(&room, &daemon, name, args);
        // What can be seen from the arguments alone may also count as usage.
        if ended.code == Some(2) {
            assert!(args.contains(&"xyz") || args.contains(&"--piece-length"), "{name} {args:?}: {ended:?}");
        } else {
            ended.failed();
        }
    }
    tracker.stop();
    command(&room, &daemon, "torrent-test", &[]).failed();
    command(&room, &daemon, "torrent-fetch", &[]).failed();
    let ended: Ended = command(&room, &daemon, "torrent-test", &["--json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    daemon.stop();
}

#[test]
fn without_a_daemon_each_says_so() {
    let room = Room::new("commands-alone");
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let file = room.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let torrent = room.path().join("x.torrent");
    std::fs::write(&torrent, torrent_tests::torrents::single_file("http://127.0.0.1:9/announce").encode())
        .unwrap();
    let cases: [(&str, &[&str]); 4] = [
        ("torrent-test", &[]),
        ("torrent-status", &[]),
        ("torrent-seed", &["--input", path(&file)]),
        ("torrent-leech", &["--torrent", path(&torrent)]),
    ];
    for (name, args) in cases {
        let args = [&["--port", &port], args].concat();
        let error = run(program(name), &args, &room.folder("user"), &Place::Here).failed();
        assert!(error.contains("torrent-daemon"), "{name} does not say what to start: {error}");
    }
}

#[test]
fn help_and_usage() {
    let room = Room::new("commands-usage");
    let folder = room.folder("user");
    for name in COMMANDS.into_iter().chain(["torrent-tracker", "torrent-daemon"]) {
        let help = run(program(name), &["--help"], &folder, &Place::Here).ok();
        assert!(help.contains("--port"), "{name}: {help}");
        for wrong in [&["--no-such-option"][..], &["--port", "70000"], &["--port", "x"], &["--port"]] {
            let ended = run(program(name), wrong, &folder, &Place::Here);
            assert_eq!(ended.code, Some(2), "{name} {wrong:?}: {ended:?}");
            assert!(!ended.err.is_empty(), "{name} {wrong:?}");
        }
    }
    for (name, args) in [("torrent-seed", &[][..]), ("torrent-leech", &[])] {
        assert_eq!(run(program(name), args, &folder, &Place::Here).code, Some(2), "{name}");
    }
    // A configuration that is wrong is told, with the line, and nothing starts.
    std::fs::write(folder.join("config.ini"), "[tracker]\nPROT = 8000\n[peer]\nPORT = 5000\n").unwrap();
    for name in ["torrent-tracker", "torrent-daemon"] {
        let ended = run(program(name), &["--config", "config.ini"], &folder, &Place::Here);
        assert!(matches!(ended.code, Some(1 | 2)), "{name}: {ended:?}");
        assert!(ended.err.contains("PROT") && ended.err.contains('2'), "{name}: {ended:?}");
        let ended = run(program(name), &["--config", "missing.ini"], &folder, &Place::Here);
        assert!(matches!(ended.code, Some(1 | 2)), "{name}: {ended:?}");
        assert!(ended.err.contains("missing.ini"), "{name}: {ended:?}");
    }
}
