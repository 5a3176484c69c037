//! Promise 3, once for each attack of the hostile kit: while strangers do it to the leecher, its download from an honest
//! seeder is completed, its memory stays within bounds, and its log says who and why where somebody is to blame.
//!
//! `TORTURE_ROUNDS=100` plays all of them so many times.

use std::sync::Arc;
use std::time::Duration;

use torrent_tests::daemon::Daemon;
use torrent_tests::hostile::{ATTACKS, Attack, Siege, Victim};
use torrent_tests::payload::{assert_same, write_file};
use torrent_tests::room::{Place, Room};
use torrent_tests::tracker::Tracker;
use torrent_tests::wait::{PATIENCE, wait_for, wait_until};

const KIB: u64 = 1024;
const LEN: u64 = 4_000_003;
/// At its peak a daemon may take so much, in a debug build with up to 50 strangers: it takes 16 to 36 MiB.
const MOST_KIB: u64 = 96 * KIB;

#[test]
fn no_attack_stops_a_download() {
    let rounds = std::env::var("TORTURE_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let room = Room::new("siege");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("payload.bin");
    write_file(&source, LEN, 27);
    // Two seconds for all of it: time enough for strangers to be asked.
    let seeder = Daemon::start_at(&room, "seeder", &tracker.url(), Place::Here, "UPLOAD_LIMIT_KIB = 2000");
    let seeded = seeder.publish(&source, 256 * KIB);
    let metainfo = torrent_tests::torrents::parse(&std::fs::read(&seeded.torrent_path).unwrap());
    let payload = Arc::new(std::fs::read(&source).unwrap());
    for round in 0..rounds {
        for (number, attack) in ATTACKS.iter().enumerate() {
            seeder.tell("/pause", seeded.info_hash, false);
            let mut leecher = Daemon::start(&room, &format!("leecher-{round}-{number}"), &tracker.url());
            leecher.leech(&seeded.torrent_path, None);
            let (address, payload) = (leecher.peer_address(), Arc::clone(&payload));
            let victim = Victim { address, metainfo: metainfo.clone(), payload };
            let siege = Siege::begin(*attack, victim);
            wait_until(attack.name, PATIENCE, || siege.strikes() > 0);
            seeder.tell("/resume", seeded.info_hash, false);
            wait_complete(&leecher, &seeded.info_hash, attack);
            assert_told(&leecher, attack);
            drop(siege);
            assert_same(&source, &leecher.downloads().join("payload.bin"));
            let peak = leecher.process().peak_kib();
            eprintln!("{}: {peak} KiB", attack.name);
            assert!(peak < MOST_KIB, "{}: {peak} KiB", attack.name);
            leecher.stop();
        }
    }
    seeder.stop();
    tracker.stop();
}

fn wait_complete(leecher: &Daemon, hash: &torrent_common::ids::InfoHash, attack: &Attack) {
    wait_for(&format!("the download amid {}", attack.name), PATIENCE, || {
        let details = leecher.details(*hash);
        let complete = details.pieces_had == details.piece_count;
        complete.then_some(()).ok_or_else(|| format!("{details:?}"))
    });
}

fn assert_told(leecher: &Daemon, attack: &Attack) {
    let Some(told) = attack.told else { return };
    wait_for(&format!("a line about {}", attack.name), Duration::from_secs(20), || {
        let log = std::fs::read_to_string(leecher.folder().join("log")).unwrap_or_default();
        let line = log.lines().any(|line| line.contains("WARN") && line.contains(told));
        line.then_some(()).ok_or_else(|| format!("{told:?} is not there"))
    });
}
