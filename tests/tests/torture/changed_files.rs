//! Files that change under a torrent that is seeded: no wrong byte leaves, what is right goes on being seeded, and a
//! download is mended.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use torrent_common::metainfo::Metainfo;
use torrent_peer::control::api::TorrentState;
use torrent_tests::daemon::Daemon;
use torrent_tests::payload::{assert_same, write_tree};
use torrent_tests::room::Room;
use torrent_tests::torrents::make;
use torrent_tests::tracker::Tracker;
use torrent_tests::wait::{PATIENCE, wait_for, wait_until};

use crate::world::{World, ask_for_everything, wait_for_error, wait_for_seeding_after_all};

const PIECE_LEN: u64 = 16 * 1024;

/// A seeder with the whole, and a daemon that has downloaded it.
struct Pair {
    room: Room,
    tracker: Tracker,
    seeder: Daemon,
    daemon: Daemon,
    metainfo: Metainfo,
    source: PathBuf,
}

impl Pair {
    fn new(name: &str) -> Self {
        let room = Room::new(name);
        let tracker = Tracker::start(&room);
        let source = room.folder("source").join("tree");
        write_tree(&source, &[("first.bin", 300_000), ("second.bin", 200_000)], 31);
        let (torrent, metainfo) = make(&source, &room.folder("source"), PIECE_LEN, &tracker.url());
        let seeder = Daemon::start(&room, "seeder", &tracker.url());
        seeder.leech(&torrent, Some(&room.folder("source")));
        seeder.wait_for_seeding(metainfo.info_hash);
        let daemon = Daemon::start(&room, "daemon", &tracker.url());
        daemon.leech(&torrent, None);
        daemon.wait_for_seeding(metainfo.info_hash);
        // Files are watched from the checkpoint of the complete torrent on: after a pause it is there.
        daemon.tell("/pause", metainfo.info_hash, false);
        daemon.tell("/resume", metainfo.info_hash, false);
        daemon.wait_for_seeding(metainfo.info_hash);
        Self { room, tracker, seeder, daemon, metainfo, source }
    }

    fn tree(&self) -> PathBuf {
        self.daemon.downloads().join("tree")
    }

    /// Asks the daemon for every block of the torrent, on one connection after the other, until it says that it has all
    /// again. Whatever comes is right.
    fn ask_until_it_is_well(&self, changed: impl Fn(TorrentState) -> bool) {
        let mut noticed = false;
        wait_for("the change to be noticed and mended", PATIENCE, || {
            self.ask_for_everything();
            let details = self.daemon.details(self.metainfo.info_hash);
            noticed |= changed(details.status.state) || details.pieces_checked > 0;
            let whole = details.pieces_had == details.piece_count;
            let well = noticed && whole && details.status.state == TorrentState::Seeding;
            if well { Ok(()) } else { Err(format!("noticed: {noticed}, {details:?}")) }
        });
        assert_same(&self.source, &self.tree());
    }

    fn ask_for_everything(&self) {
        ask_for_everything(&self.daemon, &self.metainfo, &self.room.folder("source"));
    }

    fn stop(self) {
        self.daemon.stop();
        self.seeder.stop();
        self.tracker.stop();
    }
}

fn patch(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = File::options().write(true).open(path).unwrap();
    change_after(modified(path), path, || {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    });
}

fn modified(path: &Path) -> SystemTime {
    path.metadata().unwrap().modified().unwrap()
}

/// Changes a file until its time is another than that: the clock of files ticks every few milliseconds, and what happens
/// within a tick looks the same to everybody.
fn change_after(time: SystemTime, path: &Path, mut change: impl FnMut()) {
    change();
    wait_until("the clock of files to tick", PATIENCE, || {
        let ticked = modified(path) != time;
        if !ticked {
            change();
        }
        ticked
    });
}

#[test]
fn a_file_modified_in_place_is_noticed_before_a_wrong_byte_leaves() {
    let pair = Pair::new("modified");
    patch(&pair.tree().join("first.bin"), 100_000, b"not what it was");
    pair.ask_until_it_is_well(|state| state == TorrentState::Error);
    pair.stop();
}

#[test]
fn a_file_cut_short_is_noticed_and_mended() {
    let pair = Pair::new("cut-short");
    File::options().write(true).open(pair.tree().join("second.bin")).unwrap().set_len(70_000).unwrap();
    pair.ask_until_it_is_well(|state| state == TorrentState::Error);
    pair.stop();
}

#[test]
fn a_file_replaced_is_noticed_and_mended() {
    let pair = Pair::new("replaced");
    let other = pair.daemon.downloads().join("other");
    let second = pair.tree().join("second.bin");
    change_after(modified(&second), &other, || std::fs::write(&other, vec![7; 200_000]).unwrap());
    std::fs::rename(&other, second).unwrap();
    // Those who have the old file open read what is right; a start finds the new one.
    pair.ask_for_everything();
    let mut pair = pair;
    pair.daemon.restart();
    pair.ask_until_it_is_well(|_| true);
    pair.stop();
}

#[test]
fn a_file_deleted_is_noticed_and_fetched_again() {
    let mut pair = Pair::new("deleted");
    std::fs::remove_file(pair.tree().join("first.bin")).unwrap();
    // Somebody may have it open, and reads what is right.
    pair.ask_for_everything();
    pair.daemon.restart();
    pair.ask_until_it_is_well(|_| true);
    // The other file is believed, and nothing of it hashed or fetched but what shares a piece with the one that is gone.
    let details = pair.daemon.details(pair.metainfo.info_hash);
    assert_eq!(details.pieces_checked, 0);
    let fetched = details.status.downloaded - pair.metainfo.total_len();
    assert!((300_000..=300_000 + PIECE_LEN).contains(&fetched), "{fetched}");
    pair.stop();
}

/// Somebody cleans up while it is downloaded: what comes in later must not go to files that nobody can find.
#[test]
fn a_download_deleted_on_the_way_is_not_said_to_be_complete() {
    let world = World::with("cleaned-up", "UPLOAD_LIMIT_KIB = 500");
    let files: &[_] = &[("first.bin", 900_000), ("second.bin", 700_000)];
    let payload = world.seed("tree", files, 35);
    let daemon = Daemon::start(&world.room, "daemon", &world.tracker.url());
    daemon.leech(&payload.torrent, None);
    daemon.wait_for("some of it", payload.hash, |details| details.pieces_had >= 4);
    std::fs::remove_file(daemon.downloads().join("tree/first.bin")).unwrap();
    wait_for_seeding_after_all(&daemon, payload.hash);
    assert_same(&payload.source, &daemon.downloads().join("tree"));
    daemon.tell("/remove", payload.hash, true);

    daemon.leech(&payload.torrent, None);
    daemon.wait_for("some of it", payload.hash, |details| details.pieces_had >= 4);
    std::fs::remove_dir_all(daemon.downloads().join("tree")).unwrap();
    let said = wait_for_error(&daemon, payload.hash, "is gone, all of it");
    assert_eq!(said.state, TorrentState::Error);
    // The user wants it after all.
    daemon.tell("/resume", payload.hash, false);
    wait_for_seeding_after_all(&daemon, payload.hash);
    assert_same(&payload.source, &daemon.downloads().join("tree"));
    daemon.stop();
    world.stop();
}

/// What was cut off is not had any more, and nothing that comes in later may hide it.
#[test]
fn a_download_cut_short_on_the_way_is_mended() {
    let world = World::with("cut-on-the-way", "UPLOAD_LIMIT_KIB = 500");
    let payload = world.seed("tree", &[("first.bin", 900_000), ("second.bin", 100_000)], 36);
    let daemon = Daemon::start(&world.room, "daemon", &world.tracker.url());
    daemon.leech(&payload.torrent, None);
    daemon.wait_for("some of it", payload.hash, |details| details.pieces_had >= 4);
    let first = daemon.downloads().join("tree/first.bin");
    File::options().write(true).open(first).unwrap().set_len(1000).unwrap();
    wait_for_error(&daemon, payload.hash, "was changed by another program");
    wait_for_seeding_after_all(&daemon, payload.hash);
    assert_same(&payload.source, &daemon.downloads().join("tree"));
    daemon.stop();
    world.stop();
}

/// Taken out and put back, also while the daemon was stopped in between: nothing is fetched again, nothing hashed.
#[test]
fn a_folder_taken_out_and_put_back_is_not_lost() {
    let mut pair = Pair::new("taken-out");
    let (hash, aside) = (pair.metainfo.info_hash, pair.room.path().join("aside"));
    std::fs::rename(pair.tree(), &aside).unwrap();
    pair.daemon.restart();
    let details = wait_for("it to be missed", PATIENCE, || {
        let details = pair.daemon.details(hash);
        if details.status.state == TorrentState::Error { Ok(details) } else { Err(format!("{details:?}")) }
    });
    let error = details.status.error.unwrap();
    assert!(error.contains("is gone"), "{error}");
    // Tried again in vain, and so the next wait is longer than the first of two seconds: nothing is made where it was.
    wait_for("it to be tried again", PATIENCE, || {
        let status = pair.daemon.details(hash).status;
        let tried = status.retry_seconds.is_some_and(|seconds| seconds > 2);
        tried.then_some(()).ok_or_else(|| format!("{status:?}"))
    });
    assert!(!pair.tree().exists(), "it was made anew");
    std::fs::rename(&aside, pair.tree()).unwrap();
    let again = wait_for("it to go on by itself", PATIENCE, || {
        let details = pair.daemon.details(hash);
        if details.status.state == TorrentState::Seeding { Ok(details) } else { Err(format!("{details:?}")) }
    });
    assert_eq!((again.pieces_had, again.pieces_checked), (again.piece_count, 0));

    // Gone for good, and the user says so.
    pair.daemon.kill();
    std::fs::remove_dir_all(pair.tree()).unwrap();
    pair.daemon.start_again();
    wait_for("it to be missed again", PATIENCE, || match pair.daemon.details(hash).status.state {
        TorrentState::Error => Ok(()),
        other => Err(format!("{other:?}")),
    });
    pair.daemon.tell("/resume", hash, false);
    pair.daemon.wait_for_seeding(hash);
    assert_same(&pair.source, &pair.tree());
    pair.stop();
}
