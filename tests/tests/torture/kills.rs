//! A daemon that downloads four torrents at once is killed (SIGKILL) at random moments, again and again.

use std::path::PathBuf;
use std::time::Duration;

use torrent_common::ids::InfoHash;
use torrent_peer::control::api::{TorrentDetails, TorrentState};
use torrent_tests::daemon::Daemon;
use torrent_tests::payload::{assert_same, write_tree};
use torrent_tests::room::Room;
use torrent_tests::torrents::make;
use torrent_tests::tracker::Tracker;
use torrent_tests::wait::{PATIENCE, wait_for};

use crate::{long, random};

const KIB: u64 = 1024;
/// Of each torrent: pieces that may be under way between disk and books when the process is killed.
const UNDER_WAY: u32 = 16;
/// The longest time from one start to the next kill.
const LIFE_MS: u64 = 400;
/// Four torrents: one file, several, small pieces, large ones. Piece length in KiB, files.
const SHAPES: [(u64, &[(&str, u64)]); 4] = [
    (16, &[("one.bin", 2_500_001)]),
    (64, &[("a/first.bin", 1_300_000), ("a/empty", 0), ("b.bin", 1_900_003)]),
    (256, &[("large.bin", 3_000_000)]),
    (32, &[("x", 1), ("y", 700_000), ("z", 1_700_000)]),
];

struct Case {
    hash: InfoHash,
    name: String,
    torrent: PathBuf,
    source: PathBuf,
    /// Pieces that it surely had.
    had: u32,
}

fn details(daemon: &Daemon, cases: &[Case]) -> Vec<TorrentDetails> {
    cases.iter().map(|case| daemon.details(case.hash)).collect()
}

/// Waits until every torrent knows what it has; gives back how many pieces of each were hashed for that.
fn look_at_books(daemon: &Daemon, cases: &mut [Case], round: u64) -> Vec<u32> {
    let all = wait_for("the books to be read", PATIENCE, || {
        let all = details(daemon, cases);
        assert!(all.iter().all(|one| one.status.state != TorrentState::Error), "round {round}: {all:?}");
        match all.iter().any(|one| one.status.state == TorrentState::Checking) {
            true => Err(format!("{all:?}")),
            false => Ok(all),
        }
    });
    for (case, now) in cases.iter_mut().zip(&all) {
        let (had, checked) = (now.pieces_had, now.pieces_checked);
        assert!(had >= case.had, "round {round}: {}: {had} of {} pieces were kept", case.name, case.had);
        assert!(checked <= UNDER_WAY, "round {round}: {}: {checked} pieces were hashed again", case.name);
        case.had = had;
    }
    all.iter().map(|one| one.pieces_checked).collect()
}

fn add_all(daemon: &Daemon, cases: &mut [Case]) {
    for case in cases {
        daemon.leech(&case.torrent, None);
        case.had = 0;
    }
}

/// Everything has arrived, and is right.
fn assert_whole(daemon: &Daemon, cases: &[Case]) {
    for case in cases {
        daemon.wait_for_seeding(case.hash);
        assert_same(&case.source, &daemon.downloads().join(&case.name));
    }
}

#[test]
fn four_downloads_survive_kills_at_random_moments() {
    let rounds = long("TORTURE_KILLS", 8);
    let mut random = random();
    let room = Room::new("kills");
    let tracker = Tracker::start(&room);
    // The whole takes a few seconds, and so some ten lives.
    let seeder = Daemon::start_at(
        &room,
        "seeder",
        &tracker.url(),
        torrent_tests::room::Place::Here,
        "UPLOAD_LIMIT_KIB = 5000",
    );
    let mut cases = Vec::new();
    for (number, (piece_kib, files)) in SHAPES.into_iter().enumerate() {
        let name = format!("payload-{number}");
        let source = room.folder("source").join(&name);
        write_tree(&source, files, number as u64);
        let (torrent, metainfo) = make(&source, &room.folder("source"), piece_kib * KIB, &tracker.url());
        seeder.leech(&torrent, Some(&room.folder("source")));
        seeder.wait_for_seeding(metainfo.info_hash);
        cases.push(Case { hash: metainfo.info_hash, name, torrent, source, had: 0 });
    }
    let mut leecher = Daemon::start(&room, "leecher", &tracker.url());
    add_all(&leecher, &mut cases);
    let (mut kept, mut hashed, mut most, mut whole) = (0_u64, 0_u64, 0, 0_u64);
    for round in 0..rounds {
        std::thread::sleep(Duration::from_micros(random.u64(0..LIFE_MS * 1000)));
        // What it says to have now, it has.
        let before = details(&leecher, &cases);
        for (case, now) in cases.iter_mut().zip(&before) {
            case.had = case.had.max(now.pieces_had);
        }
        std::thread::sleep(Duration::from_micros(random.u64(0..20_000)));
        leecher.kill();
        leecher.start_again();
        // Now and then it is killed before anybody has looked.
        if random.u8(..4) == 0 {
            continue;
        }
        let checked = look_at_books(&leecher, &mut cases, round);
        kept += cases.iter().map(|case| u64::from(case.had)).sum::<u64>();
        hashed += checked.iter().map(|&count| u64::from(count)).sum::<u64>();
        most = most.max(checked.into_iter().sum::<u32>());
        if details(&leecher, &cases).iter().all(|one| one.status.state == TorrentState::Seeding) {
            assert_whole(&leecher, &cases);
            cases.iter().for_each(|case| leecher.tell("/remove", case.hash, true));
            add_all(&leecher, &mut cases);
            whole += 1;
        }
    }
    assert_whole(&leecher, &cases);
    println!(
        "{rounds} kills of a daemon with 4 downloads: {kept} pieces found again, of which {hashed} were hashed \
         (after one kill {most} at the most); {} downloads of all four were whole",
        whole + 1
    );
    leecher.stop();
    seeder.stop();
    tracker.stop();
}
