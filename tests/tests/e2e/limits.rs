//! Rate limits between real daemons: nothing moves faster than it may, and a limit that is lifted holds nobody up.

use std::time::Instant;

use torrent_common::ids::InfoHash;
use torrent_peer::control::api::{LeechRequest, TorrentStatus};
use torrent_peer::options::OptionsPatch;
use torrent_peer::settings::{AltMode, SettingsPatch};
use torrent_tests::daemon::Daemon;
use torrent_tests::payload::{assert_same, write_file};
use torrent_tests::room::{Place, Room};
use torrent_tests::tracker::Tracker;

const KIB: u64 = 1024;
const RATE: u64 = 256 * KIB;
/// At [`RATE`] it would take a quarter of an hour: who gets it was not limited in the end.
const SIZE: u64 = 900 * RATE;
/// What a block or a part may be ahead of the rate.
const SLACK: u64 = 64 * KIB;

/// Looks at a torrent until `moved` has grown by three seconds' worth: never faster than [`RATE`] since `began`.
fn assert_slow(daemon: &Daemon, hash: InfoHash, began: Instant, moved: impl Fn(&TorrentStatus) -> u64) {
    let before = moved(&daemon.details(hash).status);
    daemon.wait_for("three seconds' worth", hash, |details| {
        let bytes = moved(&details.status) - before;
        // The time after the look: a slow machine only makes it longer.
        let most = RATE as f64 * began.elapsed().as_secs_f64() + SLACK as f64;
        assert!(bytes as f64 <= most, "{bytes} bytes, and at most {most} were allowed");
        bytes >= 3 * RATE
    });
}

#[test]
fn uploads_keep_to_the_limits_of_all_torrents() {
    let room = Room::new("limited-upload");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("payload.bin");
    write_file(&source, SIZE, 31);
    let config = "UPLOAD_LIMIT_KIB = 256";
    let seeder = Daemon::start_at(&room, "seeder", &tracker.url(), Place::Here, config);
    let seeded = seeder.publish(&source, 256 * KIB);
    let hash = seeded.info_hash;
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    let began = Instant::now();
    leecher.leech(&seeded.torrent_path, None);
    assert_slow(&seeder, hash, began, |status| status.uploaded);

    // Another limit, by switch, and then none: no restart, and no waiting for what was booked at the old rate.
    let set = |patch: &SettingsPatch| assert_eq!(seeder.post("/settings", patch).status, 200);
    set(&SettingsPatch {
        alt_mode: Some(Some(AltMode::On)),
        alt_upload_limit: Some(Some(1)),
        ..SettingsPatch::default()
    });
    set(&SettingsPatch { alt_upload_limit: Some(Some(0)), ..SettingsPatch::default() });
    leecher.wait_for_seeding(hash);
    assert_same(&source, &leecher.downloads().join("payload.bin"));
    leecher.stop();
    seeder.stop();
    tracker.stop();
}

#[test]
fn downloads_keep_to_the_limit_of_their_torrent() {
    let room = Room::new("limited-download");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("payload.bin");
    write_file(&source, SIZE, 32);
    let seeder = Daemon::start(&room, "seeder", &tracker.url());
    let seeded = seeder.publish(&source, 64 * KIB);
    let hash = seeded.info_hash;
    let leecher = Daemon::start(&room, "leecher", &tracker.url());
    let began = Instant::now();
    let request = LeechRequest {
        torrent_path: Some(seeded.torrent_path.clone()),
        options: OptionsPatch { download_limit: Some(Some(RATE)), ..OptionsPatch::default() },
        ..LeechRequest::default()
    };
    leecher.post("/leech", &request).json::<serde_json::Value>();
    assert_slow(&leecher, hash, began, |status| status.downloaded);
    let patch = OptionsPatch { download_limit: Some(None), ..OptionsPatch::default() };
    assert_eq!(leecher.post(&format!("/torrents/{hash}/options"), &patch).status, 200);
    leecher.wait_for_seeding(hash);
    assert_same(&source, &leecher.downloads().join("payload.bin"));
    leecher.stop();
    seeder.stop();
    tracker.stop();
}
