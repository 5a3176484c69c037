//! Only some files of a torrent are wanted: nothing is made of the others, and what is wanted changes later.

use std::path::{Path, PathBuf};

use torrent_common::ids::InfoHash;
use torrent_peer::control::api::{LeechRequest, TorrentDetails, TorrentState, TorrentStatus};
use torrent_peer::options::{OptionsPatch, Priority};
use torrent_peer::settings::{SessionSettings, SettingsPatch};
use torrent_tests::command::command;
use torrent_tests::daemon::Daemon;
use torrent_tests::payload::{assert_same, checksums, write_file, write_tree};
use torrent_tests::room::Room;
use torrent_tests::torrents::make;
use torrent_tests::tracker::Tracker;
use torrent_tests::wait::wait_until;

const KIB: u64 = 1024;
/// The payload order is by name. The first piece of `b.bin` has bytes of `a.bin`, its last of `c.bin`.
const FILES: &[(&str, u64)] =
    &[("a.bin", 100_001), ("b.bin", 70_000), ("c.bin", 250_003), ("d/e.bin", 5), ("d/empty", 0)];

fn part(daemon: &Daemon, hash: InfoHash) -> PathBuf {
    daemon.downloads().join(format!(".{hash}.parts"))
}

/// The names of all files below the torrent's folder.
fn names(daemon: &Daemon) -> Vec<String> {
    checksums(&daemon.downloads().join("tree")).into_keys().collect()
}

fn leech(room: &Room, daemon: &Daemon, torrent: &Path, more: &[&str]) -> String {
    let torrent = ["--torrent", torrent.to_str().unwrap()];
    command(room, daemon, "torrent-leech", &[&torrent, more].concat()).ok()
}

#[test]
fn files_are_selected_and_more_later() {
    let room = Room::new("selection");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    write_tree(&source, FILES, 31);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 16 * KIB, &tracker.url());
    let hash = metainfo.info_hash;
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    seeder.leech(&torrent, Some(&room.folder("source")));
    seeder.wait_for_seeding(hash);
    tracker.wait_for_swarm(hash, 1, 0);

    let mut daemon = Daemon::start(&room, "daemon", &tracker.url());
    let listed = leech(&room, &daemon, &torrent, &["--list"]);
    assert!(listed.lines().nth(2).unwrap().contains("b.bin"), "{listed}");
    leech(&room, &daemon, &torrent, &["--files", "2", "--sequential", "--wait"]);
    assert_eq!(names(&daemon), ["b.bin"]);
    assert_same(&source.join("b.bin"), &daemon.downloads().join("tree/b.bin"));
    assert!(part(&daemon, hash).exists());
    let check = |details: &TorrentDetails, selected: &[u64]| {
        assert_eq!(
            (details.status.state, details.status.progress),
            (TorrentState::Seeding, 1.0),
            "{details:?}"
        );
        assert!(details.status.selected < details.status.size, "{details:?}");
        for (file, (name, len)) in details.files.iter().zip(FILES) {
            let wanted = selected.contains(len);
            assert_eq!(file.priority != Priority::Skip, wanted, "{name}");
            assert_eq!(file.bytes_had == *len, wanted || *len == 0, "{name}");
        }
    };
    check(&daemon.details(hash), &[70_000]);
    // It lacks something still, and says so.
    tracker.wait_for_swarm(hash, 1, 1);

    // After a kill all is known, in the part file too, and nothing more is made or fetched.
    daemon.kill();
    daemon.start_again();
    let seeding = |details: &TorrentDetails| details.status.state == TorrentState::Seeding;
    let details = daemon.wait_for("its selection seeded", hash, seeding);
    check(&details, &[70_000]);
    assert_eq!(details.pieces_checked, 0);
    assert_eq!(names(&daemon), ["b.bin"]);

    // More is wanted: of a torrent at rest, and then of one at work.
    leech(&room, &daemon, &torrent, &["--files", "a*", "--files", "2", "--wait"]);
    assert_eq!(names(&daemon), ["a.bin", "b.bin"]);
    assert_same(&source.join("a.bin"), &daemon.downloads().join("tree/a.bin"));
    check(&daemon.details(hash), &[100_001, 70_000]);
    leech(&room, &daemon, &torrent, &["--files", "d/*", "--wait"]);
    assert_eq!(names(&daemon), ["a.bin", "b.bin", "d/e.bin", "d/empty"], "what is there stays");
    leech(&room, &daemon, &torrent, &["--files", "*", "--wait"]);
    assert_same(&source, &daemon.downloads().join("tree"));
    tracker.wait_for_swarm(hash, 2, 0);
    wait_until("the part file to go", std::time::Duration::from_secs(20), || !part(&daemon, hash).exists());
    let details = daemon.details(hash);
    assert_eq!(details.status.selected, details.status.size);
    daemon.restart();
    assert_eq!(daemon.wait_for_seeding(hash).pieces_checked, 0);
    seeder.stop();
    daemon.stop();
    tracker.stop();
}

#[test]
fn what_is_not_selected_of_a_removed_torrent_leaves_nothing() {
    let room = Room::new("selection-removed");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    write_tree(&source, FILES, 32);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 16 * KIB, &tracker.url());
    let hash = metainfo.info_hash;
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    seeder.leech(&torrent, Some(&room.folder("source")));
    seeder.wait_for_seeding(hash);
    let daemon = Daemon::start(&room, "daemon", &tracker.url());
    let wrong = ["--torrent", torrent.to_str().unwrap(), "--files", "7"];
    assert!(command(&room, &daemon, "torrent-leech", &wrong).failed().contains("from 1 to 5"));
    leech(&room, &daemon, &torrent, &["--files", "c.bin", "--preallocate", "full", "--wait"]);
    assert_eq!(names(&daemon), ["c.bin"]);
    // A file that is not wanted is not the torrent's, whatever its name is.
    std::fs::write(daemon.downloads().join("tree/b.bin"), "my own").unwrap();
    daemon.tell("/remove", hash, false);
    assert!(!part(&daemon, hash).exists());
    assert_eq!(names(&daemon), ["b.bin", "c.bin"]);

    // Added again, what is there is checked and kept.
    leech(&room, &daemon, &torrent, &["--files", "3,4", "--preallocate", "none", "--wait"]);
    assert_eq!(names(&daemon), ["b.bin", "c.bin", "d/e.bin"]);
    assert!(daemon.details(hash).status.downloaded < 80 * KIB);
    daemon.tell("/remove", hash, true);
    assert_eq!(names(&daemon), ["b.bin"]);
    assert!(!part(&daemon, hash).exists());
    seeder.stop();
    daemon.stop();
    tracker.stop();
}

#[test]
fn files_without_pieces_of_their_own_are_made_at_once_and_the_part_file_goes_with_its_torrent() {
    let room = Room::new("selection-shared");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    write_tree(&source, FILES, 33);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 16 * KIB, &tracker.url());
    let hash = metainfo.info_hash;
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    seeder.leech(&torrent, Some(&room.folder("source")));
    seeder.wait_for_seeding(hash);
    tracker.wait_for_swarm(hash, 1, 0);
    let daemon = Daemon::start(&room, "daemon", &tracker.url());
    leech(&room, &daemon, &torrent, &["--files", "c.bin", "--wait"]);
    // The last piece is wanted already, as much as before; it is just not the file's yet.
    let hash_text = hash.to_string();
    command(&room, &daemon, "torrent-status", &[&hash_text, "--set", "priority.4,5=normal"]).ok();
    let soon = std::time::Duration::from_secs(20);
    wait_until("the small files", soon, || names(&daemon) == ["c.bin", "d/e.bin", "d/empty"]);
    assert_same(&source.join("d/e.bin"), &daemon.downloads().join("tree/d/e.bin"));
    let wrong = command(&room, &daemon, "torrent-status", &[&hash_text, "--set", "priority.6=skip"]).failed();
    assert!(wrong.contains("no file 6") && wrong.contains("1 to 5"), "{wrong}");

    // All is selected again, and nobody is at work on it.
    daemon.tell("/pause", hash, false);
    assert!(part(&daemon, hash).exists());
    command(&room, &daemon, "torrent-status", &[&hash_text, "--set", "priority.1-5=normal"]).ok();
    daemon.tell("/remove", hash, false);
    assert!(!part(&daemon, hash).exists());
    seeder.stop();
    daemon.stop();
    tracker.stop();
}

#[test]
fn a_queued_seed_of_which_more_is_wanted_waits_for_no_seed() {
    let room = Room::new("selection-queued");
    let tracker = Tracker::start(&room);
    let daemon = Daemon::start(&room, "daemon", &tracker.url());
    let one = SettingsPatch { max_active_seeds: Some(Some(1)), ..SettingsPatch::default() };
    daemon.post("/settings", &one).json::<SessionSettings>();
    let first = room.folder("source").join("first.bin");
    write_file(&first, 100_000, 34);
    let first = daemon.publish(&first, 16 * KIB).info_hash;
    daemon.wait_for_seeding(first);
    let source = room.folder("source").join("tree");
    write_tree(&source, FILES, 35);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 16 * KIB, &tracker.url());
    let hash = metainfo.info_hash;
    // Nothing of it is wanted: it is complete, and there is no place for another seed.
    let request = LeechRequest {
        torrent_path: Some(torrent),
        options: OptionsPatch {
            priorities: Some(Some(vec![Priority::Skip; FILES.len()])),
            ..OptionsPatch::default()
        },
        ..LeechRequest::default()
    };
    daemon.post("/leech", &request).json::<TorrentStatus>();
    daemon.wait_for("queued", hash, |details| details.status.state == TorrentState::Queued);
    let all = OptionsPatch { priorities: Some(None), ..OptionsPatch::default() };
    daemon.post(&format!("/torrents/{hash}/options"), &all).json::<TorrentDetails>();
    // Before the other one gives up its place, after half a minute without a connection.
    let downloads = || daemon.details(hash).status.state == TorrentState::Downloading;
    wait_until("the download to begin", std::time::Duration::from_secs(10), downloads);
    daemon.stop();
    tracker.stop();
}
