//! What users set for torrents and for the daemon: it holds at once, over restarts, and after a kill.

use torrent_peer::control::api::{ApiError, LeechRequest, TorrentDetails, TorrentState};
use torrent_peer::options::{FilePriority, OptionsPatch, Priority, TorrentOptions};
use torrent_peer::settings::{SessionSettings, SettingsPatch};
use torrent_tests::daemon::Daemon;
use torrent_tests::payload::{ODD_TREE, write_tree};
use torrent_tests::room::Room;
use torrent_tests::torrents::make;
use torrent_tests::tracker::Tracker;

const KIB: u64 = 1024;

#[test]
fn options_hold_at_once_and_over_restarts() {
    let room = Room::new("options");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    write_tree(&source, ODD_TREE, 21);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 16 * KIB, &tracker.url());
    let hash = metainfo.info_hash;
    let mut daemon = Daemon::start(&room, "daemon", &tracker.url());
    let set = |daemon: &Daemon, patch: &OptionsPatch| -> TorrentDetails {
        daemon.post(&format!("/torrents/{hash}/options"), patch).json()
    };
    // Nobody has it: it stays a download, with its thread.
    let request = LeechRequest {
        torrent_path: Some(torrent),
        options: OptionsPatch { max_connections: Some(Some(7)), ..OptionsPatch::default() },
        ..LeechRequest::default()
    };
    daemon.post("/leech", &request).json::<serde_json::Value>();
    daemon.wait_for("begun", hash, |details| details.status.state == TorrentState::Downloading);
    let patch = OptionsPatch {
        seed_ratio: Some(Some(1.5)),
        files: vec![FilePriority { index: 1, priority: Priority::Low }],
        ..OptionsPatch::default()
    };
    let details = set(&daemon, &patch);
    let priority =
        |details: &TorrentDetails| details.files.iter().map(|file| file.priority).collect::<Vec<_>>();
    assert_eq!((details.options.max_connections, details.options.seed_ratio), (Some(7), Some(1.5)));
    assert_eq!(priority(&details)[..3], [Priority::Normal, Priority::Low, Priority::Normal]);
    daemon.restart();
    let again = daemon.details(hash);
    assert_eq!(again.options, details.options, "after a stop");
    assert_eq!(priority(&again), priority(&details));

    // Without a thread: kept when it is answered, so that not even a kill loses it.
    daemon.tell("/pause", hash, false);
    let patch =
        OptionsPatch { max_connections: Some(None), sequential: Some(Some(true)), ..OptionsPatch::default() };
    let details = set(&daemon, &patch);
    daemon.kill();
    daemon.start_again();
    let again = daemon.details(hash);
    assert_eq!(again.options, details.options, "after a kill");
    let expected = (None, Some(true), Some(1.5));
    assert_eq!((again.options.max_connections, again.options.sequential, again.options.seed_ratio), expected);

    // Added again with other options: changed.
    let request = LeechRequest {
        options: OptionsPatch { priorities: Some(None), sequential: Some(None), ..OptionsPatch::default() },
        ..request
    };
    daemon.post("/leech", &request).json::<serde_json::Value>();
    let expected = TorrentOptions { seed_ratio: Some(1.5), ..TorrentOptions::default() };
    assert_eq!(daemon.details(hash).options, expected);

    for (patch, words) in [
        (OptionsPatch { max_connections: Some(Some(0)), ..OptionsPatch::default() }, "at least 1"),
        (
            OptionsPatch { priorities: Some(Some(vec![Priority::Low])), ..OptionsPatch::default() },
            "priorities",
        ),
    ] {
        let answer = daemon.post(&format!("/torrents/{hash}/options"), &patch);
        assert_eq!(answer.status, 400, "{}", answer.text());
        let error: ApiError = serde_json::from_slice(&answer.body).unwrap();
        assert!(error.error.contains(words), "{error:?}");
    }
    assert_eq!(daemon.details(hash).options, expected);
    daemon.stop();
    tracker.stop();
}

#[test]
fn settings_hold_until_the_daemon_ends() {
    let room = Room::new("settings");
    let mut daemon = Daemon::start(&room, "daemon", "http://127.0.0.1:9/announce");
    let first: SessionSettings = daemon.get("/settings").json();
    let patch = SettingsPatch { max_active_seeds: Some(Some(3)), ..SettingsPatch::default() };
    let set: SessionSettings = daemon.post("/settings", &patch).json();
    assert_eq!(set, SessionSettings { max_active_seeds: 3, ..first.clone() });
    assert_eq!(daemon.get("/settings").json::<SessionSettings>(), set);
    daemon.restart();
    assert_eq!(daemon.get("/settings").json::<SessionSettings>(), first);
    daemon.stop();
}
