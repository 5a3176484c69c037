//! Only some files of a torrent are wanted: nothing is made of the others, and what is wanted changes later.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use torrent_common::ids::InfoHash;
use torrent_peer::control::api::{LeechRequest, TorrentDetails, TorrentState, TorrentStatus};
use torrent_peer::options::{OptionsPatch, Priority};
use torrent_peer::settings::{SessionSettings, SettingsPatch};
use torrent_tests::command::{Ended, command};
use torrent_tests::daemon::Daemon;
use torrent_tests::payload::{assert_same, checksums, write_file, write_tree};
use torrent_tests::room::Room;
use torrent_tests::torrents::make;
use torrent_tests::tracker::Tracker;
use torrent_tests::wait::wait_until;

const KIB: u64 = 1024;
const SOON: Duration = Duration::from_secs(20);
/// A goal of time that is over when a test begins to look at it.
const GOAL: Duration = Duration::from_secs(3);
/// The payload order is by name. The first piece of `b.bin` has bytes of `a.bin`, its last of `c.bin`.
const FILES: &[(&str, u64)] =
    &[("a.bin", 100_001), ("b.bin", 70_000), ("c.bin", 250_003), ("d/e.bin", 5), ("d/empty", 0)];

/// A tree that a seeder has, and a daemon that has nothing yet.
struct World {
    room: Room,
    tracker: Tracker,
    source: PathBuf,
    torrent: PathBuf,
    hash: InfoHash,
    seeder: Daemon,
    daemon: Daemon,
}

impl World {
    fn new(name: &str, seed: u64) -> Self {
        Self::of(name, FILES, 16 * KIB, seed)
    }

    fn of(name: &str, files: &[(&str, u64)], piece_len: u64, seed: u64) -> Self {
        let room = Room::new(name);
        let tracker = Tracker::start(&room);
        let source = room.folder("source").join("tree");
        write_tree(&source, files, seed);
        let (torrent, metainfo) = make(&source, &room.folder("source"), piece_len, &tracker.url());
        let hash = metainfo.info_hash;
        let seeder = Daemon::start(&room, "seeder", &tracker.url());
        seeder.leech(&torrent, Some(&room.folder("source")));
        seeder.wait_for_seeding(hash);
        tracker.wait_for_swarm(hash, 1, 0);
        let daemon = Daemon::start(&room, "daemon", &tracker.url());
        Self { room, tracker, source, torrent, hash, seeder, daemon }
    }

    fn leech(&self, more: &[&str]) -> String {
        let torrent = ["--torrent", self.torrent.to_str().unwrap()];
        command(&self.room, &self.daemon, "torrent-leech", &[&torrent, more].concat()).ok()
    }

    /// `torrent-status --set` of the torrent.
    fn set(&self, assignment: &str) -> Ended {
        let hash = self.hash.to_string();
        command(&self.room, &self.daemon, "torrent-status", &[&hash, "--set", assignment])
    }

    /// The names of all files below the torrent's folder.
    fn names(&self) -> Vec<String> {
        checksums(&self.daemon.downloads().join("tree")).into_keys().collect()
    }

    fn part_is_there(&self) -> bool {
        self.daemon.downloads().join(format!(".{}.parts", self.hash)).exists()
    }

    /// A file is there under its name, with all its bytes.
    fn assert_there(&self, name: &str) {
        assert_same(&self.source.join(name), &self.daemon.downloads().join("tree").join(name));
    }

    fn stop(self) {
        self.seeder.stop();
        self.daemon.stop();
        self.tracker.stop();
    }
}

#[test]
fn files_are_selected_and_more_later() {
    let mut world = World::new("selection", 31);
    let hash = world.hash;
    let listed = world.leech(&["--list"]);
    assert!(listed.lines().nth(2).unwrap().contains("b.bin"), "{listed}");
    world.leech(&["--files", "2", "--sequential", "--wait"]);
    assert_eq!(world.names(), ["b.bin"]);
    world.assert_there("b.bin");
    assert!(world.part_is_there());
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
    check(&world.daemon.details(hash), &[70_000]);
    // It lacks something still, and says so.
    world.tracker.wait_for_swarm(hash, 1, 1);

    // After a kill all is known, in the part file too, and nothing more is made or fetched.
    world.daemon.kill();
    world.daemon.start_again();
    let seeding = |details: &TorrentDetails| details.status.state == TorrentState::Seeding;
    let details = world.daemon.wait_for("its selection seeded", hash, seeding);
    check(&details, &[70_000]);
    assert_eq!(details.pieces_checked, 0);
    assert_eq!(world.names(), ["b.bin"]);

    // More is wanted: of a torrent at rest, and then of one at work.
    world.leech(&["--files", "a*", "--files", "2", "--wait"]);
    assert_eq!(world.names(), ["a.bin", "b.bin"]);
    world.assert_there("a.bin");
    check(&world.daemon.details(hash), &[100_001, 70_000]);
    world.leech(&["--files", "d/*", "--wait"]);
    assert_eq!(world.names(), ["a.bin", "b.bin", "d/e.bin", "d/empty"], "what is there stays");
    world.leech(&["--files", "*", "--wait"]);
    world.assert_there("");
    world.tracker.wait_for_swarm(hash, 2, 0);
    wait_until("the part file to go", SOON, || !world.part_is_there());
    let details = world.daemon.details(hash);
    assert_eq!(details.status.selected, details.status.size);
    world.daemon.restart();
    assert_eq!(world.daemon.wait_for_seeding(hash).pieces_checked, 0);
    world.stop();
}

#[test]
fn what_is_not_selected_of_a_removed_torrent_leaves_nothing() {
    let world = World::new("selection-removed", 32);
    let wrong = ["--torrent", world.torrent.to_str().unwrap(), "--files", "7"];
    assert!(command(&world.room, &world.daemon, "torrent-leech", &wrong).failed().contains("from 1 to 5"));
    world.leech(&["--files", "c.bin", "--preallocate", "full", "--wait"]);
    assert_eq!(world.names(), ["c.bin"]);
    // A file that is not wanted is not the torrent's, whatever its name is.
    std::fs::write(world.daemon.downloads().join("tree/b.bin"), "my own").unwrap();
    world.daemon.tell("/remove", world.hash, false);
    assert!(!world.part_is_there());
    assert_eq!(world.names(), ["b.bin", "c.bin"]);

    // Added again, what is there is checked and kept.
    world.leech(&["--files", "3,4", "--preallocate", "none", "--wait"]);
    assert_eq!(world.names(), ["b.bin", "c.bin", "d/e.bin"]);
    assert!(world.daemon.details(world.hash).status.downloaded < 80 * KIB);
    world.daemon.tell("/remove", world.hash, true);
    assert_eq!(world.names(), ["b.bin"]);
    assert!(!world.part_is_there());
    world.stop();
}

#[test]
fn files_without_pieces_of_their_own_are_made_at_once_and_the_part_file_goes_with_its_torrent() {
    let world = World::new("selection-shared", 33);
    world.leech(&["--files", "c.bin", "--wait"]);
    // The last piece is wanted already, as much as before; it is just not the file's yet.
    world.set("priority.4,5=normal").ok();
    wait_until("the small files", SOON, || world.names() == ["c.bin", "d/e.bin", "d/empty"]);
    world.assert_there("d/e.bin");
    let wrong = world.set("priority.6=skip").failed();
    assert!(wrong.contains("no file 6") && wrong.contains("1 to 5"), "{wrong}");

    // All is selected again, and nobody is at work on it.
    world.daemon.tell("/pause", world.hash, false);
    assert!(world.part_is_there());
    world.set("priority.1-5=normal").ok();
    world.daemon.tell("/remove", world.hash, false);
    assert!(!world.part_is_there());
    world.stop();
}

/// Megabytes of the first two files are in the pieces of the third.
const SHARED: &[(&str, u64)] = &[("a.bin", 6_000_000), ("b.bin", 7_000_000), ("c.bin", 9_000_000)];

#[test]
fn what_was_had_before_its_file_was_selected_is_waited_for_too() {
    let mut world = World::of("selection-moved", SHARED, 16 * 1024 * KIB, 36);
    world.leech(&["--files", "3", "--wait"]);
    assert_eq!(world.names(), ["c.bin"]);
    // Nothing is to be fetched, and yet it takes a moment until the file is there.
    world.leech(&["--files", "2,3", "--wait"]);
    world.assert_there("b.bin");

    // Paused, nothing moves: it is not complete, not after a kill either.
    world.daemon.tell("/pause", world.hash, false);
    world.set("priority.1=normal").ok();
    let waits = |world: &World| {
        let status = world.daemon.details(world.hash).status;
        assert_eq!(status.state, TorrentState::Paused);
        assert!(status.progress < 1.0, "{status:?}");
        assert_eq!(world.names(), ["b.bin", "c.bin"]);
    };
    waits(&world);
    world.set("priority.1=skip").ok();
    assert_eq!(world.daemon.details(world.hash).status.progress, 1.0, "it has what is selected now");
    world.set("priority.1=normal").ok();
    waits(&world);
    world.daemon.kill();
    world.daemon.start_again();
    waits(&world);
    world.daemon.tell("/resume", world.hash, false);
    world.leech(&["--wait"]);
    world.assert_there("");
    let status = world.daemon.details(world.hash).status;
    assert_eq!((status.state, status.progress), (TorrentState::Seeding, 1.0));
    world.stop();
}

#[test]
fn a_finished_torrent_of_which_more_is_selected_puts_it_in_its_place() {
    let world = World::of("selection-finished", SHARED, 16 * 1024 * KIB, 37);
    world.leech(&["--files", "3", "--seed-time", "1", "--wait"]);
    let finished = |details: &TorrentDetails| details.status.state == TorrentState::Finished;
    world.daemon.wait_for("finished", world.hash, finished);
    world.leech(&["--files", "1-3", "--wait"]);
    world.assert_there("");
    world.daemon.wait_for("finished again", world.hash, finished);
    world.stop();
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

/// It is complete since less of it is wanted, not since it was added.
#[test]
fn what_is_complete_because_less_is_wanted_is_seeded_as_long_as_any() {
    let world = World::new("selection-goal", 38);
    let hash = world.hash;
    let added = Instant::now();
    world.leech(&["--files", "2", "--wait"]);
    world.seeder.tell("/pause", hash, false);
    let select = |priorities: Option<Vec<Priority>>| {
        let patch = OptionsPatch { priorities: Some(priorities), ..OptionsPatch::default() };
        let details: TorrentDetails = world.daemon.post(&format!("/torrents/{hash}/options"), &patch).json();
        details.status.state
    };
    let second = || Some(FILES.iter().map(|&(name, _)| of_second(name)).collect());
    select(None);
    world.daemon.wait_for("more is wanted", hash, |d| d.status.state == TorrentState::Downloading);
    let goal = OptionsPatch { seed_time_s: Some(Some(GOAL.as_secs())), ..OptionsPatch::default() };
    world.daemon.post(&format!("/torrents/{hash}/options"), &goal).json::<TorrentDetails>();
    wait_until("the goal to be long ago", SOON, || added.elapsed() > GOAL + Duration::from_secs(1));
    assert_ne!(select(second()), TorrentState::Finished, "at work");
    world.daemon.wait_for("finished", hash, |d| d.status.state == TorrentState::Finished);

    assert_eq!(select(None), TorrentState::Downloading);
    world.daemon.tell("/pause", hash, false);
    let paused = Instant::now();
    wait_until("the goal to be long ago", SOON, || paused.elapsed() > GOAL + Duration::from_secs(1));
    assert_eq!(select(second()), TorrentState::Paused);
    world.daemon.tell("/resume", hash, false);
    assert_ne!(world.daemon.details(hash).status.state, TorrentState::Finished, "at rest");
    world.stop();
}

/// A kill between the two files that say what is wanted of a torrent at rest.
#[test]
fn a_finished_torrent_of_which_more_was_selected_when_it_was_killed_goes_on() {
    let mut world = World::new("selection-kill", 39);
    let hash = world.hash;
    world.leech(&["--files", "2", "--wait"]);
    let goal = OptionsPatch { seed_time_s: Some(Some(1)), ..OptionsPatch::default() };
    world.daemon.post(&format!("/torrents/{hash}/options"), &goal).json::<TorrentDetails>();
    world.daemon.wait_for("finished", hash, |d| d.status.state == TorrentState::Finished);
    // It is kept that it is.
    world.daemon.restart();
    assert_eq!(world.daemon.details(hash).status.state, TorrentState::Finished);
    world.daemon.kill();
    let options = world.daemon.folder().join("state").join(format!("{hash}.options"));
    std::fs::write(options, r#"{"seed_time_s":0}"#).unwrap();
    world.daemon.start_again();
    world.daemon.wait_for_seeding(hash);
    world.assert_there("");
    world.stop();
}

fn of_second(name: &str) -> Priority {
    if name == "b.bin" { Priority::Normal } else { Priority::Skip }
}
