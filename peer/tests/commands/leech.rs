//! torrent-leech.

use torrent_peer::control::api::{TorrentState, TorrentStatus};

use crate::stage::{Actor, Stage, torrent};

#[test]
fn leech_sends_the_file_and_waits() {
    use TorrentState::{Checking, Downloading, Paused, Seeding};
    let states = vec![
        torrent(Checking, 0.0),
        torrent(Checking, 0.9),
        torrent(Downloading, 0.1),
        torrent(Paused, 0.2),
        torrent(Seeding, 1.0),
    ];
    let stage = Stage::new(Actor { states, ..Actor::default() });
    let file = stage.file("x.torrent");
    let ended = stage.run("torrent-leech", &["--torrent", &file, "--output", "here", "--wait"]);
    assert!(ended.ok().starts_with("complete: evil"), "{ended:?}");
    assert!(ended.err.contains("checking") && ended.err.contains("waiting until it is resumed"), "{ended:?}");
    assert!(!ended.err.contains('\u{1b}') && !ended.out.contains('\u{1b}'), "{ended:?}");
    let request = stage.actor.leeched.lock().unwrap().pop().unwrap();
    assert_eq!(request.torrent_base64.as_deref(), Some("ZDQ6aW5mb2Rl"));
    assert_eq!(request.output, Some(stage.folder.path().join("here")));
    let json = stage.run("torrent-leech", &["--torrent", &file, "--json", "--wait"]);
    assert_eq!(json.err, "");
    let json: serde_json::Value = serde_json::from_str(json.ok()).unwrap();
    assert_eq!(json["state"], "seeding");
}

#[test]
fn leech_waits_for_what_may_pass_and_says_so_once() {
    let tried = |seconds| TorrentStatus { retry_seconds: Some(seconds), ..torrent(TorrentState::Error, 0.5) };
    let full = TorrentStatus { error: Some("no room".into()), ..torrent(TorrentState::Downloading, 0.6) };
    let states = vec![tried(2), tried(0), tried(4), full.clone(), full, torrent(TorrentState::Seeding, 1.0)];
    let stage = Stage::new(Actor { states, ..Actor::default() });
    let file = stage.file("x.torrent");
    let ended = stage.run("torrent-leech", &["--torrent", &file, "--wait"]);
    assert!(ended.ok().starts_with("complete: evil"), "{ended:?}");
    assert_eq!(ended.err.matches("the disk is full").count(), 1, "{ended:?}");
    assert_eq!(ended.err.matches("no room").count(), 1, "{ended:?}");
    // As long as the user wants.
    let stage = Stage::new(Actor { states: vec![tried(4)], ..Actor::default() });
    let file = stage.file("x.torrent");
    let ended = stage.run("torrent-leech", &["--torrent", &file, "--wait", "--timeout", "1"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("not complete in the time given"), "{ended:?}");
}

#[test]
fn leech_fails_with_the_reason() {
    let stage = Stage::new(Actor { states: vec![torrent(TorrentState::Error, 0.5)], ..Actor::default() });
    let file = stage.file("x.torrent");
    let ended = stage.run("torrent-leech", &["--torrent", &file, "--wait"]);
    assert!(ended.failed().contains("the disk is full"), "{ended:?}");
    let stage = Stage::new(Actor::default());
    let file = stage.file("x.torrent");
    assert!(stage.run("torrent-leech", &["--torrent", &file]).failed().contains("not a torrent"));
    assert!(stage.run("torrent-leech", &["--torrent", "missing"]).failed().contains("missing"));
}
