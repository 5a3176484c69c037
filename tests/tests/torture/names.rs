//! Names that a file system does not take, or takes for one another.

use torrent_peer::control::api::TorrentState;
use torrent_peer::options::Priority::{Normal, Skip};
use torrent_tests::failing_disk::{self, FailingDisk};
use torrent_tests::mounts;
use torrent_tests::payload::checksums;

use crate::world::{World, leech_only, status, wait_for_error, wait_for_seeding_after_all};

#[test]
fn a_name_too_long_for_a_file_system_is_told_and_the_rest_can_be_had() {
    if !mounts::may_run(failing_disk::possible()) {
        return;
    }
    let world = World::new("long-names");
    let long = format!("b {}.bin", "long ".repeat(12));
    let payload = world.seed("tree", &[("a.bin", 300_000), (&long, 200_000), ("c.bin", 90_000)], 91);
    let daemon = world.daemon("", &failing_disk::script());
    let disk = FailingDisk::of(daemon.folder());
    // The part file has 47.
    disk.fail("names 50");
    let folder = daemon.folder().join("disk");
    daemon.leech(&payload.torrent, Some(&folder));
    let said = wait_for_error(&daemon, payload.hash, "takes no such name");
    assert!(said.error.as_ref().unwrap().contains("File name too long"), "{said:?}");
    // Nothing that passes by itself.
    assert_eq!((said.state, said.retry_seconds), (TorrentState::Error, None));
    leech_only(&daemon, &payload.torrent, &folder, vec![Normal, Skip, Normal]);
    wait_for_seeding_after_all(&daemon, payload.hash);
    let (whole, had) = (checksums(&payload.source), checksums(&disk.backing().join("tree")));
    assert_eq!(had.keys().collect::<Vec<_>>(), ["a.bin", "c.bin"]);
    assert!(had.iter().all(|(name, sum)| whole.get(name) == Some(sum)));
    drop(daemon);
    world.stop();
}

/// As on a memory stick: each of the two would have the other's bytes.
#[test]
fn names_that_differ_in_case_alone_are_refused_where_they_are_one() {
    refuses_two_names_of_one("caseless", "caseless");
}

#[test]
fn and_where_each_spelling_has_a_number_of_its_own() {
    refuses_two_names_of_one("spelled", "caseless spelled");
}

/// Nothing is made in the try, so nothing fails.
#[test]
fn one_file_that_is_there_already_is_not_taken_for_two() {
    if !mounts::may_run(failing_disk::possible()) {
        return;
    }
    let world = World::new("one-for-two");
    let payload = world.seed("tree", &[("Notes/Read.me", 300_000), ("notes/READ.ME", 300_000)], 93);
    let daemon = world.daemon("", &failing_disk::script());
    let disk = FailingDisk::of(daemon.folder());
    disk.fail("caseless spelled");
    std::fs::create_dir_all(disk.backing().join("tree/Notes")).unwrap();
    std::fs::write(disk.backing().join("tree/Notes/Read.me"), [0; 300_000]).unwrap();
    daemon.leech(&payload.torrent, Some(&daemon.folder().join("disk")));
    wait_for_error(&daemon, payload.hash, "are the same file");
    drop(daemon);
    world.stop();
}

fn refuses_two_names_of_one(room: &str, rules: &str) {
    if !mounts::may_run(failing_disk::possible()) {
        return;
    }
    let world = World::new(room);
    let files = [("Notes/Read.me", 300_000), ("a.bin", 100_000), ("notes/READ.ME", 200_000)];
    let payload = world.seed("tree", &files, 92);
    let daemon = world.daemon("", &failing_disk::script());
    let disk = FailingDisk::of(daemon.folder());
    disk.fail(rules);
    let folder = daemon.folder().join("disk");
    daemon.leech(&payload.torrent, Some(&folder));
    let said = wait_for_error(&daemon, payload.hash, "are the same file");
    let error = said.error.unwrap();
    assert!(error.contains("Notes/Read.me") && error.contains("notes/READ.ME"), "{error}");
    assert_eq!(said.retry_seconds, None);
    // And so it is when it is tried again, since nothing is left of the try.
    daemon.tell("/resume", payload.hash, false);
    wait_for_error(&daemon, payload.hash, "are the same file");
    leech_only(&daemon, &payload.torrent, &folder, vec![Normal, Normal, Skip]);
    wait_for_seeding_after_all(&daemon, payload.hash);
    let (whole, had) = (checksums(&payload.source), checksums(&disk.backing().join("tree")));
    assert_eq!(had.keys().collect::<Vec<_>>(), ["Notes/Read.me", "a.bin"]);
    assert!(had.iter().all(|(name, sum)| whole.get(name) == Some(sum)));
    assert_eq!(status(&daemon, payload.hash).error, None);
    drop(daemon);
    world.stop();
}
