//! Disks that are full or read-only, and too few descriptors: the torrent concerned says so and waits, the others do not
//! notice, and it goes on by itself when it can.

use std::path::PathBuf;

use torrent_common::ids::InfoHash;
use torrent_common::metainfo::Metainfo;
use torrent_peer::control::api::TorrentState;
use torrent_tests::daemon::Daemon;
use torrent_tests::mounts;
use torrent_tests::payload::{assert_same, write_tree};
use torrent_tests::room::Room;
use torrent_tests::torrents::make;
use torrent_tests::tracker::Tracker;
use torrent_tests::wait::{PATIENCE, wait_for};

const KIB: u64 = 1024;

/// A tracker, a seeder, and what it seeds.
struct World {
    room: Room,
    tracker: Tracker,
    seeder: Daemon,
}

struct Payload {
    hash: InfoHash,
    torrent: PathBuf,
    source: PathBuf,
    metainfo: Metainfo,
}

impl World {
    fn new(name: &str) -> Self {
        let room = Room::new(name);
        let tracker = Tracker::start(&room);
        let seeder = Daemon::start(&room, "seeder", &tracker.url());
        Self { room, tracker, seeder }
    }

    fn seed(&self, name: &str, files: &[(&str, u64)], seed: u64) -> Payload {
        let folder = self.room.folder("source");
        let source = folder.join(name);
        write_tree(&source, files, seed);
        let (torrent, metainfo) = make(&source, &folder, 64 * KIB, &self.tracker.url());
        self.seeder.leech(&torrent, Some(&folder));
        self.seeder.wait_for_seeding(metainfo.info_hash);
        Payload { hash: metainfo.info_hash, torrent, source, metainfo }
    }

    fn stop(self) {
        self.seeder.stop();
        self.tracker.stop();
    }
}

/// Says so if the test cannot be run here.
fn may_mount() -> bool {
    match mounts::possible() {
        Ok(()) => true,
        Err(why) => {
            eprintln!("not tried: nothing can be mounted here: {why}");
            false
        }
    }
}

fn wait_for_error(daemon: &Daemon, hash: InfoHash, what: &str) {
    wait_for(&format!("word of {what:?}"), PATIENCE, || {
        let status = daemon.details(hash).status;
        let told = status.error.as_ref().is_some_and(|error| error.contains(what));
        told.then_some(()).ok_or_else(|| format!("{status:?}"))
    });
}

fn wait_for_seeding_after_all(daemon: &Daemon, hash: InfoHash) {
    wait_for("it to go on by itself and end", PATIENCE, || {
        let status = daemon.status().torrents.into_iter().find(|torrent| torrent.info_hash == hash).unwrap();
        (status.state == TorrentState::Seeding).then_some(()).ok_or_else(|| format!("{status:?}"))
    });
}

#[test]
fn a_full_disk_stops_one_torrent_until_there_is_room() {
    if !may_mount() {
        return;
    }
    let world = World::new("full");
    let large = world.seed("large", &[("large.bin", 6_000_000)], 41);
    let other = world.seed("other", &[("other.bin", 3_000_000)], 42);
    let daemon = Daemon::start_after(
        &world.room,
        "daemon",
        &world.tracker.url(),
        "",
        "mkdir small; mount -t tmpfs -o size=9m tmpfs small; head -c 6000000 /dev/zero >small/ballast",
    );
    daemon.leech(&large.torrent, Some(&daemon.folder().join("small")));
    wait_for_error(&daemon, large.hash, "No space left on device");
    let stuck = daemon.details(large.hash);
    assert_eq!(stuck.status.state, TorrentState::Downloading);
    assert!((10..80).contains(&stuck.pieces_had), "{stuck:?}");

    // The other torrent does not notice.
    daemon.leech(&other.torrent, None);
    daemon.wait_for_seeding(other.hash);
    assert_same(&other.source, &daemon.downloads().join("other"));

    // What is there is seeded: to one that can get it nowhere else.
    world.seeder.tell("/pause", large.hash, false);
    let taker = Daemon::start(&world.room, "taker", &world.tracker.url());
    taker.leech(&large.torrent, None);
    taker.wait_for("what the stuck one has", large.hash, |details| details.pieces_had >= stuck.pieces_had);
    assert_eq!(daemon.details(large.hash).status.state, TorrentState::Downloading);

    std::fs::remove_file(daemon.inside("small/ballast")).unwrap();
    world.seeder.tell("/resume", large.hash, false);
    let whole = daemon.wait_for_seeding(large.hash);
    assert_eq!(whole.status.error, None);
    assert_same(&large.source, &daemon.inside("small/large"));
    let (fetched, len) = (whole.status.downloaded, large.metainfo.total_len());
    assert!(fetched < len * 2, "{fetched} bytes were fetched for {len}");
    taker.stop();
    std::fs::remove_dir(daemon.folder().join("small")).unwrap_or_default();
    drop(daemon);
    world.stop();
}

#[test]
fn a_disk_that_is_read_only_for_a_while_is_waited_for() {
    if !may_mount() {
        return;
    }
    let world = World::new("read-only");
    let payload = world.seed("payload", &[("a.bin", 1_000_000), ("b.bin", 500_000)], 43);
    let daemon = Daemon::start_after(
        &world.room,
        "daemon",
        &world.tracker.url(),
        "",
        "mkdir disk; mount -t tmpfs -o size=9m tmpfs disk; mount -o remount,ro disk",
    );
    daemon.leech(&payload.torrent, Some(&daemon.folder().join("disk")));
    wait_for_error(&daemon, payload.hash, "Read-only file system");
    assert_eq!(daemon.details(payload.hash).status.state, TorrentState::Error);
    daemon.run_inside("mount -o remount,rw disk");
    wait_for_seeding_after_all(&daemon, payload.hash);
    assert_same(&payload.source, &daemon.inside("disk/payload"));

    // Complete, it is seeded from there whether anything can be written or not.
    daemon.tell("/pause", payload.hash, false);
    daemon.run_inside("mount -o remount,ro disk");
    daemon.tell("/resume", payload.hash, false);
    wait_for_seeding_after_all(&daemon, payload.hash);
    world.seeder.tell("/pause", payload.hash, false);
    let taker = Daemon::start(&world.room, "taker", &world.tracker.url());
    taker.leech(&payload.torrent, None);
    taker.wait_for_seeding(payload.hash);
    assert_eq!(daemon.details(payload.hash).status.state, TorrentState::Seeding);
    taker.stop();
    drop(daemon);
    world.stop();
}

#[test]
fn a_disk_taken_out_and_put_back_is_not_lost() {
    if !may_mount() {
        return;
    }
    let world = World::new("unmounted");
    let payload = world.seed("payload", &[("a.bin", 1_000_000), ("b.bin", 500_000)], 44);
    let daemon = Daemon::start_after(
        &world.room,
        "daemon",
        &world.tracker.url(),
        "",
        "mkdir real disk; mount --bind real disk",
    );
    daemon.leech(&payload.torrent, Some(&daemon.folder().join("disk")));
    daemon.wait_for_seeding(payload.hash);
    daemon.tell("/pause", payload.hash, false);
    daemon.run_inside("umount -l disk");
    // What a start does; a user who resumes it wants it anew.
    let taken_out = daemon.folder().join("disk/payload");
    assert!(!daemon.inside("disk/payload").exists());
    daemon.run_inside("mount --bind real disk");
    daemon.tell("/resume", payload.hash, false);
    let details = daemon.wait_for_seeding(payload.hash);
    assert_eq!(details.pieces_checked, 0);
    assert!(!taken_out.exists(), "nothing was written where the disk was not");
    drop(daemon);
    world.stop();
}

#[test]
fn with_too_few_descriptors_a_download_takes_longer_and_ends() {
    if !may_mount() {
        return;
    }
    let world = World::new("descriptors");
    let names: Vec<String> = (0..150).map(|number| format!("{number:03}.bin")).collect();
    let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 20_000)).collect();
    let payload = world.seed("many", &files, 45);
    let daemon =
        Daemon::start_after(&world.room, "daemon", &world.tracker.url(), "OPEN_FILES = 256", "ulimit -n 80");
    daemon.leech(&payload.torrent, None);
    wait_for_seeding_after_all(&daemon, payload.hash);
    assert_same(&payload.source, &daemon.downloads().join("many"));
    daemon.stop();
    world.stop();
}
