//! What users set for torrents and for the daemon: it holds at once, over restarts, and after a kill.

use torrent_common::ids::InfoHash;
use torrent_peer::control::api::{ApiError, LeechRequest, SeedRequest, TorrentDetails, TorrentState};
use torrent_peer::options::{FilePriority, OptionsPatch, Priority, TorrentOptions};
use torrent_peer::settings::{SessionSettings, SettingsPatch};
use torrent_tests::command::command;
use torrent_tests::daemon::{Daemon, seed_request};
use torrent_tests::payload::{ODD_TREE, write_file, write_tree};
use torrent_tests::room::{Place, Room};
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

    // At work: kept when it is answered, before its thread makes a checkpoint of it.
    for connections in 1..6 {
        let patch = OptionsPatch { max_connections: Some(Some(connections)), ..OptionsPatch::default() };
        set(&daemon, &patch);
        daemon.kill();
        daemon.start_again();
        assert_eq!(daemon.details(hash).options.max_connections, Some(connections), "after a kill at work");
    }

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
        (OptionsPatch { max_connections: Some(Some(0)), ..OptionsPatch::default() }, "from 1 to 65535"),
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

fn state(daemon: &Daemon, hash: InfoHash) -> TorrentState {
    daemon.details(hash).status.state
}

#[test]
fn downloads_wait_for_a_place_in_the_order_in_which_they_were_added() {
    let room = Room::new("queue");
    let tracker = Tracker::start(&room);
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    let source = room.folder("source");
    let seeded: Vec<_> = (0..4)
        .map(|number| {
            let path = source.join(format!("{number}.bin"));
            write_file(&path, 100_000, number);
            seeder.publish(&path, 16 * KIB)
        })
        .collect();
    // Nobody has the first two for now.
    for held_back in &seeded[..2] {
        seeder.tell("/pause", held_back.info_hash, false);
    }
    let mut leecher = Daemon::start(&room, "leecher", &tracker.url());
    let set = |daemon: &Daemon, max_active_downloads| {
        let patch = SettingsPatch {
            max_active_downloads: Some(Some(max_active_downloads)),
            ..SettingsPatch::default()
        };
        daemon.post("/settings", &patch).json::<SessionSettings>();
    };
    set(&leecher, 1);
    for one in &seeded {
        leecher.leech(&one.torrent_path, None);
    }
    let hashes: Vec<_> = seeded.iter().map(|one| one.info_hash).collect();
    leecher.wait_for("begun", hashes[0], |details| details.status.state == TorrentState::Downloading);
    for &hash in &hashes[1..] {
        assert_eq!(state(&leecher, hash), TorrentState::Queued);
    }
    // A queued torrent can be paused and resumed: it waits again.
    leecher.tell("/pause", hashes[2], false);
    assert_eq!(state(&leecher, hashes[2]), TorrentState::Paused);
    leecher.tell("/resume", hashes[2], false);
    assert_eq!(state(&leecher, hashes[2]), TorrentState::Queued);
    // The first gives up its place: the second has it, which nobody seeds either.
    leecher.tell("/pause", hashes[0], false);
    leecher.wait_for("let in", hashes[1], |details| details.status.state == TorrentState::Downloading);
    assert_eq!(state(&leecher, hashes[2]), TorrentState::Queued);
    // Two places: the third is complete, and lets the fourth in.
    set(&leecher, 2);
    leecher.wait_for_seeding(hashes[2]);
    leecher.wait_for_seeding(hashes[3]);
    assert_eq!(state(&leecher, hashes[1]), TorrentState::Downloading);
    // Fewer places than are taken: the last added goes.
    leecher.tell("/resume", hashes[0], false);
    leecher.wait_for("back", hashes[0], |details| details.status.state == TorrentState::Downloading);
    set(&leecher, 1);
    assert_eq!(state(&leecher, hashes[1]), TorrentState::Queued);
    // A restart begins with the file's limit, which is none; the queue is not kept.
    leecher.restart();
    for &hash in &hashes[..2] {
        leecher.wait_for("begun", hash, |details| details.status.state == TorrentState::Downloading);
    }
    // A removed one leaves no gap.
    set(&leecher, 1);
    assert_eq!(state(&leecher, hashes[1]), TorrentState::Queued);
    leecher.tell("/remove", hashes[0], true);
    leecher.wait_for("let in", hashes[1], |details| details.status.state == TorrentState::Downloading);
    seeder.tell("/resume", hashes[1], false);
    leecher.wait_for_seeding(hashes[1]);
    leecher.stop();
    seeder.stop();
    tracker.stop();
}

#[test]
fn seeds_that_have_no_place_wait() {
    let room = Room::new("seeds");
    let tracker = Tracker::start(&room);
    let daemon = Daemon::start(&room, "daemon", &tracker.url());
    let patch = SettingsPatch { max_active_seeds: Some(Some(1)), ..SettingsPatch::default() };
    daemon.post("/settings", &patch).json::<SessionSettings>();
    let source = room.folder("source");
    let hashes = [1, 2].map(|number| {
        let path = source.join(format!("{number}.bin"));
        write_file(&path, 100_000, number);
        daemon.publish(&path, 16 * KIB).info_hash
    });
    daemon.wait_for("seeding", hashes[0], |details| details.status.state == TorrentState::Seeding);
    assert_eq!(state(&daemon, hashes[1]), TorrentState::Queued);
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    daemon.tell("/pause", hashes[0], false);
    daemon.wait_for("let in", hashes[1], |details| details.status.state == TorrentState::Seeding);
    let torrent = daemon.details(hashes[1]).torrent_path;
    leecher.leech(&torrent, None);
    leecher.wait_for_seeding(hashes[1]);
    leecher.stop();
    daemon.stop();
    tracker.stop();
}

#[test]
fn seeding_ends_at_its_goal_and_goes_on_when_resumed() {
    let room = Room::new("goals");
    let tracker = Tracker::start(&room);
    let mut seeder = Daemon::start(&room, "seeder", &tracker.url());
    let path = room.folder("source").join("big.bin");
    write_file(&path, 300_000, 5);
    let request = SeedRequest {
        options: OptionsPatch { seed_ratio: Some(Some(0.9)), ..OptionsPatch::default() },
        ..seed_request(&path)
    };
    let seeded = seeder.seed(&request);
    let hash = seeded.info_hash;
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    leecher.leech(&seeded.torrent_path, None);
    let finished = |details: &TorrentDetails| details.status.state == TorrentState::Finished;
    let details = seeder.wait_for("finished", hash, finished);
    assert!(details.status.uploaded >= 270_000, "{details:?}");
    // Kept over a restart; it is not paused, and not announced.
    seeder.restart();
    assert_eq!(state(&seeder, hash), TorrentState::Finished);
    seeder.tell("/resume", hash, false);
    let details = seeder.wait_for_seeding(hash);
    assert_eq!(details.options.seed_ratio, Some(0.0), "the goal that was reached holds no more");
    leecher.wait_for_seeding(hash);

    // By time: the torrent is complete for longer than a second, or soon will be.
    let patch = OptionsPatch { seed_time_s: Some(Some(1)), ..OptionsPatch::default() };
    seeder.post(&format!("/torrents/{hash}/options"), &patch).json::<TorrentDetails>();
    seeder.wait_for("finished by time", hash, finished);
    // A goal for all does not hold for one that has its own.
    let all = SettingsPatch { seed_time_s: Some(Some(1)), ..SettingsPatch::default() };
    let own = OptionsPatch { seed_time_s: Some(Some(0)), ..OptionsPatch::default() };
    leecher.post(&format!("/torrents/{hash}/options"), &own).json::<TorrentDetails>();
    leecher.post("/settings", &all).json::<SessionSettings>();
    assert_eq!(state(&leecher, hash), TorrentState::Seeding);
    let own = OptionsPatch { seed_time_s: Some(None), ..OptionsPatch::default() };
    leecher.post(&format!("/torrents/{hash}/options"), &own).json::<TorrentDetails>();
    leecher.wait_for("finished by time", hash, finished);
    leecher.stop();
    seeder.stop();
    tracker.stop();
}

#[test]
fn what_is_seeded_again_although_it_stood_still_is_started_again() {
    let room = Room::new("seed-again");
    let tracker = Tracker::start(&room);
    let daemon = Daemon::start(&room, "daemon", &tracker.url());
    let path = room.folder("source").join("some.bin");
    write_file(&path, 300_000, 6);
    let seed = |more: &[&str]| {
        let input = ["--input", path.to_str().unwrap()];
        command(&room, &daemon, "torrent-seed", &[&input, more].concat())
    };
    let first = seed(&[]);
    assert_eq!((first.code, first.err.as_str()), (Some(0), ""));
    let hash = daemon.status().torrents[0].info_hash;
    assert_eq!(seed(&[]).err, "", "it is seeded: nothing to be said");
    daemon.tell("/pause", hash, false);
    let again = seed(&[]);
    assert!(again.err.contains("paused: it is seeded again"), "{again:?}");
    assert_eq!(again.ok(), first.ok());
    daemon.wait_for_seeding(hash);

    let patch = OptionsPatch { seed_time_s: Some(Some(1)), ..OptionsPatch::default() };
    daemon.post(&format!("/torrents/{hash}/options"), &patch).json::<TorrentDetails>();
    daemon.wait_for("finished", hash, |details| details.status.state == TorrentState::Finished);
    let again = seed(&["--json"]).json();
    assert_eq!(again["started_again"], "finished");
    let details = daemon.wait_for_seeding(hash);
    assert_eq!(details.options.seed_time_s, Some(0), "or it would end at once");

    // Paused after it had finished, it is paused; and seeded again all the same.
    daemon.post(&format!("/torrents/{hash}/options"), &patch).json::<TorrentDetails>();
    daemon.wait_for("finished", hash, |details| details.status.state == TorrentState::Finished);
    daemon.tell("/pause", hash, false);
    let again = seed(&["--json"]).json();
    assert_eq!(again["started_again"], "paused");
    daemon.wait_for_seeding(hash);
    daemon.stop();
    tracker.stop();
}

#[test]
fn a_download_that_is_seeded_from_its_own_folder_has_what_is_there() {
    let room = Room::new("seed-known");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    write_tree(&source, ODD_TREE, 22);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 16 * KIB, &tracker.url());
    let hash = metainfo.info_hash;
    let mut daemon = Daemon::start(&room, "daemon", &tracker.url());
    daemon.leech(&torrent, None);
    daemon.wait_for("begun", hash, |details| details.status.state == TorrentState::Downloading);
    // Nobody has it, but somebody brings it.
    write_tree(&daemon.downloads().join("tree"), ODD_TREE, 22);
    let request =
        SeedRequest { piece_length: Some(16 * KIB), ..seed_request(&daemon.downloads().join("tree")) };
    assert_eq!(daemon.seed(&request).info_hash, hash);
    let check = |details: TorrentDetails| {
        assert_eq!((details.pieces_checked, details.status.downloaded), (0, 0), "hashed once, not twice");
    };
    check(daemon.wait_for_seeding(hash));
    tracker.wait_for_swarm(hash, 1, 0);
    daemon.kill();
    daemon.start_again();
    check(daemon.wait_for_seeding(hash));
    daemon.stop();
    tracker.stop();
}

#[test]
fn a_download_is_not_seeded_from_under_another_name_and_keeps_its_turn() {
    let room = Room::new("seed-other-name");
    let nobody = "http://127.0.0.1:9/announce";
    let daemon = Daemon::start_at(&room, "daemon", nobody, Place::Here, "MAX_ACTIVE_DOWNLOADS = 1");
    let source = room.folder("source");
    let hashes = [1, 2].map(|number| {
        let path = source.join(format!("{number}.bin"));
        write_file(&path, 100_000, number);
        let (torrent, metainfo) = make(&path, &source, 16 * KIB, nobody);
        daemon.leech(&torrent, None);
        metainfo.info_hash
    });
    daemon.wait_for("begun", hashes[0], |details| details.status.state == TorrentState::Downloading);
    assert_eq!(state(&daemon, hashes[1]), TorrentState::Queued);
    let other = daemon.downloads().join("other.bin");
    write_file(&other, 100_000, 2);
    let input = ["--input", other.to_str().unwrap()];
    let more = ["--name", "2.bin", "--piece-length", "16K", "--tracker", nobody];
    let refused = command(&room, &daemon, "torrent-seed", &[&input[..], &more].concat());
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("downloads/2.bin: remove it first, or use that name"), "{refused:?}");
    assert_eq!(state(&daemon, hashes[1]), TorrentState::Queued);
    daemon.tell("/pause", hashes[0], false);
    daemon.wait_for("let in", hashes[1], |details| details.status.state == TorrentState::Downloading);
    daemon.stop();
}
