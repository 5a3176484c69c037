//! Promise 3, once for each attack of the hostile kit: while strangers do it to a leecher, or to a seeder, an honest download is
//! completed, the victim's memory, threads and descriptors stay within bounds, and its log says who and why where somebody
//! is to blame. When they are gone it is as it was before.
//!
//! All attacks go on at the same time, each on a victim of its own and over a line of its own. `TORTURE_ROUNDS=40` plays
//! them one after the other instead, without a line, so many times, and waits for lines in the log that come late.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use torrent_common::ids::InfoHash;
use torrent_common::metainfo::Metainfo;
use torrent_tests::daemon::Daemon;
use torrent_tests::hostile::{ATTACKS, Attack, Role, Siege, Victim};
use torrent_tests::payload::{assert_same, write_file};
use torrent_tests::process::Usage;
use torrent_tests::room::{Place, Room};
use torrent_tests::torrents::make;
use torrent_tests::tracker::Tracker;
use torrent_tests::wait::{PATIENCE, wait_for, wait_until};

const KIB: u64 = 1024;
const LEN: u64 = 4_000_003;
const PIECE_LEN: u64 = 256 * KIB;
/// At its peak a daemon may take so much, in a debug build with 100 strangers: it takes 16 to 36 MiB.
const MOST_KIB: u64 = 96 * KIB;
/// Connections of a victim at a time, so that attacks with more show that no more are taken.
const MOST_CONNECTIONS: u64 = 100;
/// Threads and descriptors that are there without any connection, and those of the control port while it is asked.
const OTHER_THREADS: u64 = 40;
const OTHER_DESCRIPTORS: u64 = 100;
/// Descriptors of a connection: its socket, and its waker's. A seeder besides has files open.
const DESCRIPTORS_EACH: u64 = 3;
/// Bytes per second of each attack, when all go on at once; and of one that sends payload.
const LINE: u64 = 100_000;
const BULKY_LINE: u64 = 2_000_000;
/// Lines in the log that come later than that are waited for in long runs alone.
const SOON: Duration = Duration::from_secs(20);

/// What one attack is about: a torrent of its own, so that its victim meets nobody else.
struct Swarm {
    room: Room,
    source: PathBuf,
    torrent: PathBuf,
    metainfo: Metainfo,
    attack: Attack,
    /// What the strangers' line carries.
    line: Option<u64>,
}

#[test]
fn no_attack_stops_a_download() {
    let room = Room::new("besieged-leechers");
    let tracker = Tracker::start(&room);
    // Four seconds for all of it: time enough for strangers to be asked.
    let seeder = Daemon::start_at(&room, "seeder", &tracker.url(), Place::Here, "UPLOAD_LIMIT_KIB = 20000");
    each(Role::Leecher, &tracker, |swarm| {
        seeder.leech(&swarm.torrent, swarm.source.parent());
        seeder.wait_for_seeding(swarm.hash());
        seeder.tell("/pause", swarm.hash(), false);
        let leecher = swarm.daemon("leecher", &tracker);
        leecher.leech(&swarm.torrent, None);
        let before = leecher.usage();
        let siege = swarm.besiege(&leecher);
        seeder.tell("/resume", swarm.hash(), false);
        let most = swarm.wait_complete(&leecher, &leecher);
        swarm.end(leecher, siege, before, most);
    });
    seeder.stop();
    tracker.stop();
}

#[test]
fn no_attack_stops_an_upload() {
    let room = Room::new("besieged-seeders");
    let tracker = Tracker::start(&room);
    each(Role::Seeder, &tracker, |swarm| {
        let seeder = swarm.daemon("seeder", &tracker);
        seeder.leech(&swarm.torrent, swarm.source.parent());
        seeder.wait_for_seeding(swarm.hash());
        let leecher = swarm.daemon("leecher", &tracker);
        let before = seeder.usage();
        let siege = swarm.besiege(&seeder);
        leecher.leech(&swarm.torrent, None);
        let most = swarm.wait_complete(&seeder, &leecher);
        leecher.stop();
        swarm.end(seeder, siege, before, most);
    });
    tracker.stop();
}

/// Plays all attacks on such victims.
fn each(role: Role, tracker: &Tracker, play: impl Fn(&Swarm) + Sync) {
    let attacks = || ATTACKS.iter().filter(|attack| attack.against.contains(&role));
    let Ok(rounds) = std::env::var("TORTURE_ROUNDS") else {
        return std::thread::scope(|scope| {
            let play = &play;
            attacks().for_each(|attack| {
                let line = if attack.bulky { BULKY_LINE } else { LINE };
                scope.spawn(move || play(&Swarm::new(attack, Some(line), tracker)));
            });
        });
    };
    for _ in 0..rounds.parse().unwrap() {
        attacks().for_each(|attack| play(&Swarm::new(attack, None, tracker)));
    }
}

impl Swarm {
    fn new(attack: &Attack, line: Option<u64>, tracker: &Tracker) -> Self {
        let room = Room::new("siege");
        let source = room.folder("source").join("payload.bin");
        write_file(&source, LEN, fastrand::u64(..));
        let (torrent, metainfo) = make(&source, &room.folder("torrent"), PIECE_LEN, &tracker.url());
        Self { room, source, torrent, metainfo, attack: *attack, line }
    }

    fn hash(&self) -> InfoHash {
        self.metainfo.info_hash
    }

    fn daemon(&self, name: &str, tracker: &Tracker) -> Daemon {
        let settings =
            format!("MAX_CONNECTIONS = {MOST_CONNECTIONS}\nMAX_CONNECTIONS_PER_TORRENT = {MOST_CONNECTIONS}");
        Daemon::start_at(&self.room, name, &tracker.url(), Place::Here, &settings)
    }

    fn besiege(&self, daemon: &Daemon) -> Siege {
        let (address, payload) = (daemon.peer_address(), Arc::new(std::fs::read(&self.source).unwrap()));
        let victim = Victim { address, metainfo: self.metainfo.clone(), payload };
        let siege = Siege::begin(self.attack, victim, self.line);
        wait_until(self.attack.name, PATIENCE, || siege.strikes() > 0);
        siege
    }

    /// Waits until the leecher has everything. The most that the victim used meanwhile.
    fn wait_complete(&self, victim: &Daemon, leecher: &Daemon) -> Usage {
        let mut most = Usage::default();
        wait_for(&format!("the download amid {}", self.attack.name), PATIENCE, || {
            let now = victim.usage();
            most.threads = most.threads.max(now.threads);
            most.descriptors = most.descriptors.max(now.descriptors);
            let details = leecher.details(self.hash());
            let complete = details.pieces_had == details.piece_count;
            complete.then_some(()).ok_or_else(|| format!("{details:?}"))
        });
        assert_same(&self.source, &leecher.downloads().join("payload.bin"));
        most.memory_kib = victim.peak_kib();
        most
    }

    /// What is to hold for the victim afterwards.
    fn end(&self, victim: Daemon, siege: Siege, before: Usage, most: Usage) {
        let name = self.attack.name;
        eprintln!("{name}: {most:?}");
        assert!(most.memory_kib < MOST_KIB, "{name}: {most:?}");
        assert!(
            most.threads < before.threads + MOST_CONNECTIONS + OTHER_THREADS,
            "{name}: {before:?}, {most:?}"
        );
        let descriptors = before.descriptors + MOST_CONNECTIONS * DESCRIPTORS_EACH + OTHER_DESCRIPTORS;
        assert!(most.descriptors < descriptors, "{name}: {before:?}, {most:?}");
        self.assert_told(&victim);
        drop(siege);
        wait_for(&format!("all to be given back after {name}"), PATIENCE, || {
            let now = victim.usage();
            let back = now.threads <= before.threads + OTHER_THREADS / 2
                && now.descriptors <= before.descriptors + OTHER_DESCRIPTORS / 2;
            back.then_some(()).ok_or_else(|| format!("{before:?}, {now:?}"))
        });
        victim.stop();
    }

    fn assert_told(&self, victim: &Daemon) {
        let Some((told, limit)) = self.attack.told.filter(|(_, limit)| self.line.is_none() || *limit <= SOON)
        else {
            return;
        };
        wait_for(&format!("a line about {}", self.attack.name), limit, || {
            let log = std::fs::read_to_string(victim.folder().join("log")).unwrap_or_default();
            let line = log.lines().any(|line| line.contains("WARN") && line.contains(told));
            line.then_some(()).ok_or_else(|| format!("{told:?} is not there"))
        });
    }
}
