//! Disks that are full, read-only, forbidden or taken out, and too few descriptors: the torrent concerned says so and
//! waits, the others do not notice, and it goes on by itself when it can.

use std::fs;
use std::path::Path;

use torrent_peer::control::api::TorrentState;
use torrent_peer::options::Priority::{Normal, Skip};
use torrent_peer::options::{OptionsPatch, Preallocation};
use torrent_tests::daemon::Daemon;
use torrent_tests::mounts;
use torrent_tests::payload::assert_same;
use torrent_tests::wait::{PATIENCE, wait_for};

use crate::world::{
    KIB, World, ask_for_everything, leech_only, leech_with, status, wait_for_error,
    wait_for_seeding_after_all,
};

fn may_mount() -> bool {
    mounts::may_run(mounts::possible())
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

/// The journal is there too: what cannot be noted is not fetched.
#[test]
fn a_full_state_dir_holds_downloads_until_there_is_room() {
    if !may_mount() {
        return;
    }
    let world = World::new("state-full");
    let done = world.seed("done", &[("done.bin", 400_000)], 46);
    let late = world.seed("late", &[("late.bin", 4_000_000)], 47);
    let third = world.seed("third", &[("third.bin", 100_000)], 48);
    let mut daemon = world.daemon("", "mkdir -p state; mount -t tmpfs -o size=200k tmpfs state");
    daemon.leech(&done.torrent, None);
    daemon.wait_for_seeding(done.hash);
    world.seeder.tell("/pause", late.hash, false);
    daemon.leech(&late.torrent, None);
    daemon.wait_for("its files", late.hash, |details| details.status.state == TorrentState::Downloading);
    assert!(!daemon.try_inside("cat /dev/zero >state/ballast"), "it is full");
    world.seeder.tell("/resume", late.hash, false);
    let said = wait_for_error(&daemon, late.hash, "No space left on device");
    assert_eq!(said.state, TorrentState::Downloading);
    assert!(said.error.as_ref().unwrap().contains("state/"), "it says where: {said:?}");
    // A torrent that could not be kept is refused, and why; what is here is seeded.
    let request = serde_json::json!({ "torrent_path": third.torrent });
    let refused = daemon.post("/leech", &request);
    assert!(refused.status >= 500 && refused.text().contains("No space left"), "{}", refused.text());
    assert_eq!(status(&daemon, done.hash).state, TorrentState::Seeding);
    daemon.run_inside("rm state/ballast");
    wait_for_seeding_after_all(&daemon, late.hash);
    assert_same(&late.source, &daemon.downloads().join("late"));
    daemon.leech(&third.torrent, None);
    daemon.wait_for_seeding(third.hash);
    let told = daemon.logged("No space left on device");
    assert!((1..=20).contains(&told), "{told} lines");
    daemon.process().terminate();
    world.stop();
}

/// A limit of the process, as FAT has one of its own. The system's way to say so would end the process.
#[test]
fn a_file_longer_than_any_may_be_is_one_torrents_own() {
    if !may_mount() {
        return;
    }
    let world = World::new("too-large");
    let tree = world.seed("tree", &[("a.bin", 300_000), ("large.bin", 2_500_000)], 51);
    let other = world.seed("other", &[("other.bin", 400_000)], 52);
    // In blocks of 512 bytes.
    let daemon = world.daemon("", "ulimit -f 4000");
    for preallocation in [Preallocation::Sparse, Preallocation::Full, Preallocation::None] {
        let options = OptionsPatch { preallocation: Some(Some(preallocation)), ..OptionsPatch::default() };
        leech_with(&daemon, &tree.torrent, None, options);
        let said = wait_for_error(&daemon, tree.hash, "no file may be as long there");
        assert!(said.error.as_ref().unwrap().contains("tree/large.bin"), "{said:?}");
        // Nothing that passes by itself.
        assert_eq!((said.state, said.retry_seconds), (TorrentState::Error, None));
        daemon.tell("/remove", tree.hash, true);
    }
    daemon.leech(&other.torrent, None);
    daemon.wait_for_seeding(other.hash);
    leech_only(&daemon, &tree.torrent, &daemon.downloads(), vec![Normal, Skip]);
    wait_for_seeding_after_all(&daemon, tree.hash);
    daemon.stop();
    world.stop();
}

/// Taken out while it is written to, without a word to the daemon.
#[test]
fn a_disk_torn_out_of_a_download_is_waited_for() {
    if !may_mount() {
        return;
    }
    let world = World::with("torn-out", "UPLOAD_LIMIT_KIB = 1500");
    let names: Vec<String> = (0..40).map(|number| format!("{number:02}.bin")).collect();
    let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 100_000)).collect();
    let payload = world.seed("tree", &files, 49);
    // One file open at a time: the next is looked for on the disk that is not there.
    let daemon = world
        .daemon("OPEN_FILES = 1\nCHECKPOINT_INTERVAL = 3600", "mkdir -p real disk; mount --bind real disk");
    daemon.leech(&payload.torrent, Some(&daemon.folder().join("disk")));
    daemon.wait_for("some of it", payload.hash, |details| details.pieces_had >= 5);
    assert!(!daemon.try_inside("umount disk"), "the system keeps those from unmounting it who ask");
    daemon.run_inside("umount -l disk");
    wait_for_error(&daemon, payload.hash, "is gone, all of it");
    let had = daemon.details(payload.hash).pieces_had;
    wait_for("it to be tried in vain", PATIENCE, || {
        let status = status(&daemon, payload.hash);
        let tried = status.retry_seconds.is_some_and(|seconds| seconds > 2);
        tried.then_some(()).ok_or_else(|| format!("{status:?}"))
    });
    assert!(!daemon.inside("disk/tree").exists(), "nothing is made where the disk is not");
    lose_one(&daemon.folder().join("real/tree"));
    daemon.run_inside("mount --bind real disk");
    wait_for_seeding_after_all(&daemon, payload.hash);
    let details = daemon.details(payload.hash);
    // Since the last checkpoint, and nobody knows what got to the disk before it was torn out; up to 1 MiB was being written.
    assert!((1..=had + 16).contains(&details.pieces_checked), "{} of {had}", details.pieces_checked);
    let fetched = details.status.downloaded;
    // What was on its way when it was torn out, and the three pieces of what was lost.
    let most = payload.metainfo.total_len() + 43 * 64 * KIB;
    assert!(fetched <= most, "{fetched} bytes were fetched for {}", payload.metainfo.total_len());
    assert_same(&payload.source, &daemon.inside("disk/tree"));
    // Idle, and asked to let go of it, it can be unmounted in order.
    daemon.tell("/pause", payload.hash, false);
    daemon.run_inside("umount disk");
    drop(daemon);
    world.stop();
}

/// A file has the time of the last write to it, and not the bytes.
fn lose_one(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let (bytes, mtime) = (fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap());
        if bytes.iter().any(|&byte| byte != 0) {
            fs::write(&path, vec![0; bytes.len()]).unwrap();
            return fs::File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
        }
    }
    panic!("nothing was written");
}

/// For root without any right of its own, as for any other user.
#[test]
fn what_may_not_be_written_or_read_is_told_and_tried_again() {
    use std::os::unix::fs::PermissionsExt;
    if !may_mount() {
        return;
    }
    let world = World::new("forbidden");
    let payload = world.seed("tree", &[("a.bin", 500_000), ("b.bin", 300_000)], 50);
    let without_rights = "mkdir -p mine; chmod 555 mine\n\
        exec setpriv --bounding-set=-all --inh-caps=-all \"$0\" \"$@\"";
    let mut daemon = world.daemon("", without_rights);
    let mine = daemon.folder().join("mine");
    let allow = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    daemon.leech(&payload.torrent, Some(&mine));
    let said = wait_for_error(&daemon, payload.hash, "Permission denied");
    assert!(said.error.unwrap().contains("mine/tree"));
    allow(&mine, 0o755);
    wait_for_seeding_after_all(&daemon, payload.hash);
    assert_same(&payload.source, &mine.join("tree"));

    // A file that may not be read any more: noticed when somebody wants it, and over when it may.
    allow(&mine.join("tree/b.bin"), 0);
    daemon.restart();
    allow(&mine, 0o555);
    let source = world.room.folder("source");
    let said = wait_for("the upload to fail", PATIENCE, || {
        ask_for_everything(&daemon, &payload.metainfo, &source);
        let status = status(&daemon, payload.hash);
        if status.state == TorrentState::Error { Ok(status) } else { Err(format!("{status:?}")) }
    });
    assert!(said.error.unwrap().contains("mine/tree/b.bin: Permission denied"));
    allow(&mine.join("tree/b.bin"), 0o600);
    wait_for_seeding_after_all(&daemon, payload.hash);
    assert_eq!(daemon.details(payload.hash).pieces_checked, 0);
    allow(&mine, 0o755);
    drop(daemon);
    world.stop();
}
