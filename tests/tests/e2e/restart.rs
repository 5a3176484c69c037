//! Promise 2: a process killed at any instant, started again, goes on from every piece it had written.

use std::time::Duration;

use torrent_peer::control::api::TorrentState;
use torrent_tests::daemon::Daemon;
use torrent_tests::payload::{ODD_TREE, assert_same, write_file, write_tree};
use torrent_tests::room::Room;
use torrent_tests::scripted::{Manner, Seed};
use torrent_tests::torrents::make;
use torrent_tests::tracker::Tracker;
use torrent_tests::wait::{PATIENCE, wait_for};

const KIB: u64 = 1024;
/// Pieces that may be under way between disk and books when a process is killed: they may be hashed or fetched again.
const UNDER_WAY: u32 = 16;

#[test]
fn a_leecher_killed_at_random_moments_goes_on() {
    let seed = std::env::var("TORRENT_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("TORRENT_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let room = Room::new("killed");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    let files: &[_] =
        &[("first.bin", 5_000_001), ("sub/empty", 0), ("sub/second.bin", 3_333_333), ("third.bin", 70)];
    write_tree(&source, files, seed);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 16 * KIB, &tracker.url());
    let hash = metainfo.info_hash;
    // A slow uplink: about 3 ms a block, 500 blocks.
    let manner = Manner { pace: Duration::from_millis(3), ..Manner::default() };
    let mut leecher = Daemon::start(&room, "leecher", &tracker.url());
    let mut had_before = 0;
    for round in 0..3 {
        let slow = Seed::start([127, 0, 0, 2], &metainfo, &room.folder("source"), manner);
        slow.announce(&tracker);
        if round == 0 {
            leecher.leech(&torrent, None);
        }
        // Three kills, spread over the download; the last part of the way is a random number of microseconds.
        let goal = had_before + random.u32(20..120);
        let pieces =
            leecher.wait_for("some more pieces", hash, |details| details.pieces_had >= goal).pieces_had;
        std::thread::sleep(Duration::from_micros(random.u64(0..30_000)));
        leecher.kill();
        let served = slow.pieces_served();
        drop(slow);

        // Nobody serves now: what it says to have is what it had.
        leecher.start_again();
        let details = leecher
            .wait_for("its books read", hash, |details| details.status.state == TorrentState::Downloading);
        assert!(
            details.pieces_had >= pieces,
            "round {round}: {} of {pieces} pieces were kept",
            details.pieces_had
        );
        assert!(
            details.pieces_checked <= UNDER_WAY,
            "round {round}: {} were hashed again",
            details.pieces_checked
        );
        assert!(
            u32::try_from(served.len()).unwrap() + had_before >= details.pieces_had,
            "more than there was: {details:?}"
        );
        had_before = details.pieces_had;
    }
    let last = Seed::start([127, 0, 0, 3], &metainfo, &room.folder("source"), Manner::default());
    last.announce(&tracker);
    leecher.restart();
    leecher.wait_for_seeding(hash);
    let fetched = u32::try_from(last.pieces_served().len()).unwrap();
    let total = metainfo.geometry.piece_count();
    assert!(
        fetched + had_before <= total,
        "{fetched} of {total} pieces were fetched, but {had_before} were had"
    );
    assert_same(&source, &leecher.downloads().join("tree"));
    leecher.stop();
    tracker.stop();
}

#[test]
fn a_restart_keeps_torrents_and_what_was_known_of_them() {
    let room = Room::new("restart");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    write_tree(&source, ODD_TREE, 11);
    let mut seeder = Daemon::start(&room, "seeder", &tracker.url());
    let seeded = seeder.publish(&source, 16 * KIB);
    let other = room.folder("source").join("other.bin");
    write_file(&other, 100_000, 12);
    let paused = seeder.publish(&other, 16 * KIB);
    seeder.tell("/pause", paused.info_hash, false);
    let mut leecher = Daemon::start(&room, "leecher", &tracker.url());
    leecher.leech(&seeded.torrent_path, None);
    leecher.wait_for_seeding(seeded.info_hash);
    let downloaded = leecher.details(seeded.info_hash).status.downloaded;

    seeder.restart();
    leecher.restart();
    for daemon in [&seeder, &leecher] {
        let details = daemon.wait_for_seeding(seeded.info_hash);
        assert_eq!(details.pieces_checked, 0, "{}: nothing changed, nothing to hash", daemon.name());
        assert_eq!(details.status.name, "tree");
    }
    assert_eq!(leecher.details(seeded.info_hash).status.downloaded, downloaded, "counters survive");
    let states: Vec<_> =
        seeder.status().torrents.into_iter().map(|torrent| (torrent.name, torrent.state)).collect();
    let expected =
        [("tree".to_owned(), TorrentState::Seeding), ("other.bin".to_owned(), TorrentState::Paused)];
    assert_eq!(states, expected, "in the order they were added");

    // Both still serve.
    let late = Daemon::start(&room, "late", &tracker.url());
    late.leech(&seeded.torrent_path, None);
    late.wait_for_seeding(seeded.info_hash);
    assert_same(&source, &late.downloads().join("tree"));
    late.stop();

    // Killed while it seeds: the same.
    leecher.kill();
    leecher.start_again();
    assert_eq!(leecher.wait_for_seeding(seeded.info_hash).pieces_checked, 0);
    leecher.stop();
    seeder.stop();
    tracker.stop();
}

/// The user's own file may be worked on: it is not made what it was.
#[test]
fn what_was_seeded_from_its_place_is_never_written_over() {
    let room = Room::new("edited");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("work.bin");
    write_file(&source, 500_000, 21);
    let mut owner = Daemon::start(&room, "owner", &tracker.url());
    let hash = owner.publish(&source, 16 * KIB).info_hash;
    let torrent = room.folder("source").join("work.torrent");
    std::fs::write(&torrent, tracker.get(&format!("/torrents/{hash}")).body).unwrap();
    let other = Daemon::start(&room, "other", &tracker.url());
    other.leech(&torrent, None);
    other.wait_for_seeding(hash);

    let was = std::fs::read(&source).unwrap();
    let edited: Vec<u8> =
        was.iter().enumerate().map(|(at, &byte)| if at == 70_000 { !byte } else { byte }).collect();
    owner.kill();
    std::fs::write(&source, &edited).unwrap();
    owner.start_again();
    let error =
        wait_for("a word about it", PATIENCE, || owner.details(hash).status.error.ok_or_else(String::new));
    assert!(error.contains("work.bin was changed: 1 of 31 pieces"), "{error}");
    assert_eq!(std::fs::read(&source).unwrap(), edited);

    // As it is now it is another torrent; put back it is what it was.
    let now = owner.publish(&source, 16 * KIB).info_hash;
    assert_ne!(now, hash);
    owner.wait_for_seeding(now);
    std::fs::write(&source, &was).unwrap();
    owner.tell("/resume", hash, false);
    owner.wait_for_seeding(hash);
    owner.stop();
    other.stop();
    tracker.stop();
}

#[test]
fn data_changed_while_the_daemon_was_away_is_noticed() {
    let room = Room::new("changed");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    let files: &[_] = &[("kept.bin", 1_000_000), ("changed.bin", 500_000)];
    write_tree(&source, files, 13);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 16 * KIB, &tracker.url());
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    seeder.leech(&torrent, Some(&room.folder("source")));
    seeder.wait_for_seeding(metainfo.info_hash);
    let mut leecher = Daemon::start(&room, "leecher", &tracker.url());
    leecher.leech(&torrent, None);
    leecher.wait_for_seeding(metainfo.info_hash);

    leecher.kill();
    write_file(&leecher.downloads().join("tree/changed.bin"), 500_000, 14);
    leecher.start_again();
    leecher.wait_for_seeding(metainfo.info_hash);
    assert_same(&source, &leecher.downloads().join("tree"));
    let checked = leecher.details(metainfo.info_hash).pieces_checked;
    assert!((1..metainfo.geometry.piece_count()).contains(&checked), "{checked} pieces were hashed again");
    leecher.stop();
    seeder.stop();
    tracker.stop();
}

/// A bit of what STATE_DIR keeps is another: that torrent says so, and is not downloaded by hashes that are not its own.
#[test]
fn a_torrent_file_with_another_bit_in_state_dir_is_told_and_bans_nobody() {
    let room = Room::new("torrent-bit");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("one.bin");
    write_file(&source, 200_000, 21);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 16 * KIB, &tracker.url());
    let other = room.folder("source").join("other.bin");
    write_file(&other, 100_000, 22);
    let mut seeder = Daemon::start(&room, "seeder", &tracker.url());
    let published = seeder.publish(&other, 16 * KIB);
    let mut leecher = Daemon::start(&room, "leecher", &tracker.url());
    leecher.leech(&torrent, None);
    leecher.leech(&published.torrent_path, None);
    leecher.wait_for_seeding(published.info_hash);
    leecher.process().terminate();
    let kept = leecher.folder().join(format!("state/{}.torrent", metainfo.info_hash));
    let mut bytes = std::fs::read(&kept).unwrap();
    let hash = &metainfo.piece_hashes[..20];
    let at = bytes.windows(20).position(|part| part == hash).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&kept, &bytes).unwrap();
    leecher.start_again();
    let status = wait_for("the damage to be told", PATIENCE, || {
        let all = leecher.status().torrents;
        let status = all.into_iter().find(|torrent| torrent.info_hash == metainfo.info_hash).unwrap();
        if status.state == TorrentState::Error { Ok(status) } else { Err(format!("{status:?}")) }
    });
    assert!(status.error.unwrap().contains("damaged"));
    assert_eq!(status.retry_seconds, None);
    leecher.wait_for_seeding(published.info_hash);
    // What it says helps.
    seeder.leech(&torrent, Some(&room.folder("source")));
    leecher.tell("/remove", metainfo.info_hash, false);
    leecher.leech(&torrent, None);
    leecher.wait_for_seeding(metainfo.info_hash);
    assert_same(&source, &leecher.downloads().join("one.bin"));
    seeder.process().terminate();
    leecher.stop();
    tracker.stop();
}
