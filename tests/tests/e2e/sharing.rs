//! What the programs are for: files arrive whole, and whoever has them shares them on.

use std::collections::BTreeSet;
use std::time::Duration;

use torrent_common::ids::InfoHash;
use torrent_peer::control::api::{LeechRequest, SeedRequest, TorrentState};
use torrent_peer::options::{OptionsPatch, Priority};
use torrent_tests::daemon::{Daemon, seed_request};
use torrent_tests::payload::{ODD_TREE, assert_same, write_file, write_tree};
use torrent_tests::room::Room;
use torrent_tests::scripted::{Manner, Seed};
use torrent_tests::torrents::make;
use torrent_tests::tracker::Tracker;
use torrent_tests::wait::{PATIENCE, wait_until};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

#[test]
fn a_folder_with_empty_files_and_odd_sizes_arrives_whole() {
    let room = Room::new("folder");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("Ordner mit Ümläut");
    write_tree(&source, ODD_TREE, 1);
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    let seeded = seeder.publish(&source, 32 * KIB);
    assert_eq!(seeded.name, "Ordner mit Ümläut");
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    leecher.leech(&seeded.torrent_path, None);

    let details = leecher.wait_for_seeding(seeded.info_hash);
    assert_same(&source, &leecher.downloads().join(&seeded.name));
    let size: u64 = ODD_TREE.iter().map(|(_, len)| len).sum();
    assert_eq!(details.status.size, size);
    assert_eq!(details.files.len(), ODD_TREE.len());
    assert!(details.status.downloaded >= size, "{details:?}");
    assert_eq!(details.pieces_checked, 0, "there was nothing to check");
    seeder.wait_for("counted its upload", seeded.info_hash, |details| details.status.uploaded >= size);
    // What is shown is brought up to date even when nothing happens any more.
    for daemon in [&seeder, &leecher] {
        daemon.wait_for("nothing to do", seeded.info_hash, |details| {
            let status = &details.status;
            status.peers == 0 && status.download_rate == 0 && status.upload_rate == 0
        });
    }
    tracker.wait_for_swarm(seeded.info_hash, 2, 0);
    leecher.stop();
    seeder.stop();
    tracker.stop();
}

#[test]
fn a_single_file_arrives_whole() {
    let room = Room::new("file");
    let tracker = Tracker::start(&room);
    for (number, len) in [1, 16 * KIB, 3 * MIB + 17].into_iter().enumerate() {
        let source = room.folder("source").join(format!("file {number}.bin"));
        write_file(&source, len, 2);
        let seeder = Daemon::start(&room, &format!("seeder-{number}"), &tracker.url());
        let seeded = seeder.publish(&source, 16 * KIB);
        let leecher = Daemon::start(&room, &format!("leecher-{number}"), &tracker.url());
        let output = room.folder(&format!("wanted here {number}"));
        leecher.leech(&seeded.torrent_path, Some(&output));
        let details = leecher.wait_for_seeding(seeded.info_hash);
        assert_eq!(details.status.output, output);
        assert_same(&source, &output.join(&seeded.name));
        leecher.stop();
        seeder.stop();
    }
}

#[test]
fn five_leechers_upload_to_one_another_while_they_download() {
    let room = Room::new("swarm");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("payload.bin");
    let size = 24 * MIB + 12_345;
    write_file(&source, size, 3);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 64 * KIB, &tracker.url());
    let hash = metainfo.info_hash;
    // A slow uplink, 10 ms a block for each leecher: whoever shares has it sooner.
    let manner = Manner { pace: Duration::from_millis(10), ..Manner::default() };
    let seed = Seed::start([127, 0, 0, 2], &metainfo, &room.folder("source"), manner);
    seed.announce(&tracker);
    let leechers: Vec<_> =
        (1..=5).map(|number| Daemon::start(&room, &format!("leecher-{number}"), &tracker.url())).collect();
    leechers.iter().for_each(|leecher| drop(leecher.leech(&torrent, None)));

    let mut shared_early = BTreeSet::new();
    let mut complete = BTreeSet::new();
    wait_until("five downloads", PATIENCE, || {
        for leecher in &leechers {
            let status = leecher.details(hash).status;
            match status.state {
                TorrentState::Seeding => drop(complete.insert(leecher.name())),
                _ if status.uploaded > 0 => drop(shared_early.insert(leecher.name())),
                _ => {}
            }
        }
        complete.len() == leechers.len()
    });
    println!("the seed served {} blocks of {}", seed.blocks_served(), size.div_ceil(16 * KIB));
    assert_eq!(
        shared_early.len(),
        leechers.len(),
        "only {shared_early:?} uploaded before they were complete"
    );
    let served = seed.blocks_served() * 16 * KIB;
    assert!(served < 3 * size, "the leechers took most from the seed: {served} bytes");
    for leecher in leechers {
        assert_same(&source, &leecher.downloads().join("payload.bin"));
        leecher.stop();
    }
    drop(seed);
    tracker.stop();
}

#[test]
fn two_torrents_cross() {
    let room = Room::new("cross");
    let tracker = Tracker::start(&room);
    let sources = [room.folder("source-a").join("from a"), room.folder("source-b").join("from b.bin")];
    write_tree(&sources[0], ODD_TREE, 4);
    write_file(&sources[1], 9 * MIB + 1, 5);
    let a = Daemon::start(&room, "a", &tracker.url());
    let b = Daemon::start(&room, "b", &tracker.url());
    let from_a = a.publish(&sources[0], 16 * KIB);
    let from_b = b.publish(&sources[1], 64 * KIB);
    a.leech(&from_b.torrent_path, None);
    b.leech(&from_a.torrent_path, None);

    a.wait_for_seeding(from_b.info_hash);
    b.wait_for_seeding(from_a.info_hash);
    assert_same(&sources[0], &b.downloads().join(&from_a.name));
    assert_same(&sources[1], &a.downloads().join(&from_b.name));
    for daemon in [&a, &b] {
        let names: Vec<_> = daemon.status().torrents.into_iter().map(|torrent| torrent.name).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }
    a.stop();
    b.stop();
    tracker.stop();
}

/// A data set, the same as a private torrent and as one of larger pieces, and its next version.
#[test]
fn two_torrents_of_one_folder_do_not_write_over_each_other() {
    let room = Room::new("overlap");
    let tracker = Tracker::start(&room);
    let (first, second) = (room.folder("first").join("data"), room.folder("second").join("data"));
    for (folder, seed) in [(&first, 11), (&second, 12)] {
        write_tree(folder, &[("changed", 300 * KIB), ("other", 5)], seed);
    }
    write_file(&second.join("zzz"), 200 * KIB, 13);
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    let [one, again, next] = [(&first, 16), (&first, 32), (&second, 16)]
        .map(|(folder, piece_kib)| seeder.publish(folder, piece_kib * KIB));
    let private = SeedRequest { private: true, piece_length: Some(16 * KIB), ..seed_request(&first) };
    let private = seeder.seed(&private);
    let here = leecher.downloads().join("data");

    for same in [&one, &private] {
        leecher.leech(&same.torrent_path, None);
    }
    leecher.wait_for_seeding(private.info_hash);
    leecher.wait_for_seeding(one.info_hash);
    leecher.leech(&again.torrent_path, None);
    leecher.wait_for_seeding(again.info_hash);
    leecher.leech(&next.torrent_path, None);
    let stands = || leecher.details(next.info_hash).status;
    wait_until("the next version to stand still", PATIENCE, || stands().state == TorrentState::Error);
    let error = stands().error.unwrap_or_default();
    assert!(error.contains("is a file of another torrent here, data ("), "{error}");
    assert_same(&first, &here);
    // The others are not disturbed, and it may be where it is alone.
    for known in [&one, &private, &again] {
        leecher.wait_for_seeding(known.info_hash);
        leecher.tell("/remove", known.info_hash, false);
    }
    leecher.tell("/resume", next.info_hash, false);
    leecher.wait_for_seeding(next.info_hash);
    assert_same(&second, &here);
    leecher.stop();
    seeder.stop();
    tracker.stop();
}

/// What only the next version has may be fetched; of more that is selected later the same is said.
#[test]
fn what_is_selected_later_is_not_written_over_another_torrent_either() {
    let room = Room::new("overlap-later");
    let tracker = Tracker::start(&room);
    let (first, second) = (room.folder("first").join("data"), room.folder("second").join("data"));
    write_tree(&first, &[("changed", 64 * KIB), ("old", 64 * KIB)], 21);
    write_tree(&second, &[("changed", 64 * KIB), ("new", 64 * KIB)], 22);
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    let [one, next] = [&first, &second].map(|folder| seeder.publish(folder, 16 * KIB));
    leecher.leech(&one.torrent_path, None);
    leecher.wait_for_seeding(one.info_hash);
    let only = |priorities| OptionsPatch { priorities: Some(priorities), ..OptionsPatch::default() };
    let add = |options| LeechRequest {
        torrent_base64: None,
        torrent_path: Some(next.torrent_path.clone()),
        output: None,
        options,
    };
    let new_alone = add(only(Some(vec![Priority::Skip, Priority::Normal])));
    assert_eq!(leecher.post("/leech", &new_alone).status, 200);
    let wait = || {
        leecher.wait_for("what is selected", next.info_hash, |got| {
            got.status.state == TorrentState::Seeding && got.status.selected == 64 * KIB
        })
    };
    wait();
    let options = format!("/torrents/{}/options", next.info_hash);
    for refused in [leecher.post(&options, &only(None)), leecher.post("/leech", &add(only(None)))] {
        assert_eq!(refused.status, 409, "{}", refused.text());
        assert!(refused.text().contains("is a file of another torrent here, data ("), "{}", refused.text());
    }
    wait();
    assert_same(&first.join("changed"), &leecher.downloads().join("data/changed"));
    // Nobody's any more.
    leecher.tell("/remove", one.info_hash, false);
    assert_eq!(leecher.post(&options, &only(None)).status, 200);
    leecher.wait_for("all of it", next.info_hash, |got| got.pieces_had == got.piece_count);
    assert_same(&second.join("changed"), &leecher.downloads().join("data/changed"));
    leecher.stop();
    seeder.stop();
    tracker.stop();
}

#[test]
fn sharing_goes_on_when_the_seeder_has_left() {
    let room = Room::new("handed-on");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    write_tree(&source, ODD_TREE, 6);
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    let seeded = seeder.publish(&source, 16 * KIB);
    // Its own copy of the torrent file: the seeder's folder is no business of the others.
    let torrent = room.folder("user").join("copy.torrent");
    std::fs::copy(&seeded.torrent_path, &torrent).unwrap();
    let first = Daemon::start(&room, "first", &tracker.url());
    first.leech(&torrent, None);
    first.wait_for_seeding(seeded.info_hash);
    seeder.stop();
    std::fs::remove_dir_all(&source).unwrap();

    let second = Daemon::start(&room, "second", &tracker.url());
    second.leech(&torrent, None);
    second.wait_for_seeding(seeded.info_hash);
    assert_same(&first.downloads().join("tree"), &second.downloads().join("tree"));
    second.stop();
    first.stop();
    tracker.stop();
}

#[test]
fn an_existing_copy_is_checked_kept_and_seeded() {
    let room = Room::new("existing");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    write_tree(&source, ODD_TREE, 7);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 16 * KIB, &tracker.url());
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    seeder.leech(&torrent, Some(&room.folder("source")));
    let details = seeder.wait_for_seeding(metainfo.info_hash);
    assert_eq!(details.status.downloaded, 0, "{details:?}");
    assert_eq!(details.pieces_checked, details.piece_count);

    // A copy with one file damaged and one missing: the rest of it is not fetched again.
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    let copy = leecher.downloads().join("tree");
    write_tree(&copy, ODD_TREE, 7);
    write_file(&copy.join("docs/deep/er/still/prime.bin"), 1_299_709, 8);
    std::fs::remove_file(copy.join("Grüße/日本語 имя.txt")).unwrap();
    leecher.leech(&torrent, None);
    let details = leecher.wait_for_seeding(metainfo.info_hash);
    assert_same(&source, &copy);
    let fetched = details.status.downloaded;
    assert!((1_299_709 + 77_777..2_000_000).contains(&fetched), "{fetched} bytes were fetched");
    leecher.stop();
    seeder.stop();
    assert_same(&source, &source);
    tracker.stop();
}

#[test]
fn pause_resume_and_remove_do_as_they_say() {
    let room = Room::new("pause");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("payload.bin");
    write_file(&source, 2 * MIB, 9);
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    let seeded = seeder.publish(&source, 16 * KIB);
    let hash: InfoHash = seeded.info_hash;
    seeder.tell("/pause", hash, false);
    seeder.wait_for("paused", hash, |details| details.status.state == TorrentState::Paused);

    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    leecher.leech(&seeded.torrent_path, None);
    leecher.tell("/pause", hash, false);
    leecher.wait_for("paused", hash, |details| details.status.state == TorrentState::Paused);
    assert_eq!(leecher.details(hash).status.downloaded, 0, "the seeder was paused");
    seeder.tell("/resume", hash, false);
    leecher.tell("/resume", hash, false);
    leecher.wait_for_seeding(hash);
    assert_same(&source, &leecher.downloads().join("payload.bin"));

    // Forgetting keeps the files; deleting takes the torrent's files and nothing else.
    leecher.tell("/remove", hash, false);
    assert_eq!(leecher.get(&format!("/torrents/{hash}")).status, 404);
    assert_same(&source, &leecher.downloads().join("payload.bin"));
    write_file(&leecher.downloads().join("not of the torrent.bin"), 5, 10);
    leecher.leech(&seeded.torrent_path, None);
    let details = leecher.wait_for_seeding(hash);
    assert_eq!(details.status.downloaded, 0, "it was all there: {details:?}");
    leecher.tell("/remove", hash, true);
    wait_until("the payload to be deleted", PATIENCE, || !leecher.downloads().join("payload.bin").exists());
    assert!(leecher.downloads().join("not of the torrent.bin").exists());
    assert!(leecher.status().torrents.is_empty());
    leecher.stop();
    seeder.stop();
    assert!(source.exists());
    tracker.stop();
}

#[test]
fn an_idle_daemon_sleeps() {
    let room = Room::new("idle");
    let mut daemon = Daemon::start(&room, "daemon", "http://127.0.0.1:9/announce");
    // A torrent without trackers: nothing is ever due.
    let mut torrent = torrent_tests::torrents::single_file("");
    torrent.remove("announce");
    let file = room.folder("user").join("zeros.torrent");
    std::fs::write(&file, torrent.encode()).unwrap();
    let output = room.folder("here");
    std::fs::write(output.join("file.bin"), vec![0; 40_000]).unwrap();
    let status = daemon.leech(&file, Some(&output));
    daemon.wait_for_seeding(status.info_hash);
    daemon.process().wait_until_asleep();
    daemon.stop();
}
