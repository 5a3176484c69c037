//! Interop: other programs' clients and ours in the same swarms, between network namespaces, since clients refuse
//! peers on loopback. Opt-in, since it needs root and other programs: `TORRENT_INTEROP=1` runs what can be run and skips
//! the rest with a line that says so; with `TORRENT_INTEROP=required` nothing may be missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests panic"
)]

mod clients;
mod sites;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Once;

use clients::{Client, Make, PROGRAMS, Role, find};
use torrent_common::metainfo::Metainfo;
use torrent_peer::control::api::{LeechRequest, TorrentState};
use torrent_peer::options::{OptionsPatch, Priority};
use torrent_tests::command::run;
use torrent_tests::daemon::Daemon;
use torrent_tests::network::Network;
use torrent_tests::payload::{ODD_TREE, assert_same, write_file, write_tree};
use torrent_tests::room::{Place, Room};
use torrent_tests::torrents::{make, parse};
use torrent_tests::tracker::Tracker;

const KIB: u64 = 1024;

/// A tracker on host 1, a payload, and room for five more hosts.
struct Swarm {
    // Dropped in this order: programs, their network, their files.
    tracker: Tracker,
    network: Network,
    room: Room,
    name: &'static str,
    /// Announces go over UDP.
    udp: bool,
}

/// Says so once, and past the test runner, which shows nothing of what a passed test prints.
fn skipped(why: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| drop(writeln!(std::io::stderr(), "interop is skipped: {why}")));
}

/// Whether to run; prints why not.
fn wanted() -> bool {
    let mode = std::env::var("TORRENT_INTEROP").unwrap_or_default();
    if mode != "1" && mode != "required" {
        skipped("set TORRENT_INTEROP=1 (as root) to test against other clients");
        return false;
    }
    let mut missing: Vec<_> = Network::possible().err().into_iter().collect();
    let runs = |name: &str, args: &[&str]| {
        find(name).is_some_and(|program| {
            Command::new(program).args(args).output().is_ok_and(|output| {
                // mktorrent has no option that does nothing and ends well.
                output.status.success() || name == "mktorrent"
            })
        })
    };
    missing.extend(PROGRAMS.iter().filter(|(name, args)| !runs(name, args)).map(
        |(name, args)| match *name {
            "python3" => "Python's module libtorrent is needed (pip install libtorrent)".to_owned(),
            _ => format!("the program {name} is needed: {name} {} does not run", args.join(" ")),
        },
    ));
    if missing.is_empty() {
        return true;
    }
    assert_ne!(mode, "required", "{}", missing.join("; "));
    skipped(&missing.join("; "));
    false
}

impl Swarm {
    fn new(name: &'static str) -> Self {
        Self::over(name, false)
    }

    fn over(name: &'static str, udp: bool) -> Self {
        let room = Room::new(&format!("interop-{name}"));
        let network = Network::new(6);
        let tracker = Tracker::start_at(&room, Place::Host(network.host(1)));
        Self { tracker, network, room, name, udp }
    }

    fn announce_url(&self) -> String {
        if self.udp { self.tracker.udp_url() } else { self.tracker.url() }
    }

    /// Makes a payload and its torrent: a folder or a single file.
    fn payload(&self, folder: bool, seed: u64) -> Payload {
        let parent = self.room.folder(&format!("source-{folder}-{seed}"));
        let root = parent.join(if folder { "Ordner für alle" } else { "single file.bin" });
        if folder {
            write_tree(&root, ODD_TREE, seed);
        } else {
            write_file(&root, 5_000_003, seed);
        }
        let (torrent, metainfo) = make(&root, &self.room.folder("torrents"), 32 * KIB, &self.announce_url());
        Payload { parent, root, torrent, metainfo }
    }

    fn daemon(&self, name: &str, host: usize) -> Daemon {
        Daemon::start_at(&self.room, name, &self.announce_url(), Place::Host(self.network.host(host)), "")
    }

    fn client(&self, make: Make, role: Role, host: usize, payload: &Payload, data: &Path) -> Client {
        Client::start(make, role, &self.room, &self.network.host(host), &payload.torrent, data, self.udp)
    }

    /// An empty folder for a download.
    fn target(&self, name: &str) -> std::path::PathBuf {
        self.room.folder(&format!("target-{}-{name}", self.name))
    }
}

struct Payload {
    /// The folder that holds it.
    parent: std::path::PathBuf,
    /// The payload's own file or folder.
    root: std::path::PathBuf,
    torrent: std::path::PathBuf,
    metainfo: Metainfo,
}

impl Payload {
    fn assert_arrived(&self, target: &Path) {
        assert_same(&self.root, &target.join(self.root.file_name().unwrap()));
    }

    /// The same for what `make` downloaded.
    fn assert_arrived_at(&self, make: Make, target: &Path) {
        let arrived = target.join(self.root.file_name().unwrap());
        if make == Make::Transmission && self.root.is_dir() {
            // Version 3 never makes empty files: they have no piece.
            for (name, len) in ODD_TREE {
                assert!(
                    *len > 0 || !arrived.join(name).exists(),
                    "this version does make {name:?}: expect it"
                );
                if *len == 0 {
                    write_file(&arrived.join(name), 0, 0);
                }
            }
        }
        self.assert_arrived(target);
    }
}

/// Both directions, folder and file.
fn with_ours(make: Make, name: &'static str, udp: bool) {
    if !wanted() {
        return;
    }
    let swarm = Swarm::over(name, udp);
    for folder in [true, false] {
        // It seeds, ours leeches.
        let payload = swarm.payload(folder, 51);
        let hash = payload.metainfo.info_hash;
        let seeder = swarm.client(make, Role::Seed, 2, &payload, &payload.parent);
        swarm.tracker.wait_for_swarm(hash, 1, 0);
        let ours = swarm.daemon(&format!("leecher-{folder}"), 3);
        let target = swarm.target(&format!("ours-{folder}"));
        ours.leech(&payload.torrent, Some(&target));
        ours.wait_for_seeding(hash);
        payload.assert_arrived(&target);
        drop(seeder);
        ours.stop();

        // Ours seeds, it leeches.
        let payload = swarm.payload(folder, 52);
        let hash = payload.metainfo.info_hash;
        let ours = swarm.daemon(&format!("seeder-{folder}"), 4);
        ours.leech(&payload.torrent, Some(&payload.parent));
        ours.wait_for_seeding(hash);
        swarm.tracker.wait_for_swarm(hash, 1, 0);
        let target = swarm.target(&format!("theirs-{folder}"));
        let mut leecher = swarm.client(make, Role::Leech, 5, &payload, &target);
        leecher.wait_complete();
        drop(leecher);
        payload.assert_arrived_at(make, &target);
        let size = payload.metainfo.total_len();
        ours.wait_for("counted its upload", hash, |details| details.status.uploaded >= size);
        ours.stop();
    }
    if udp {
        let status: serde_json::Value = swarm.tracker.get("/").json();
        assert_eq!(status["udp_announces"], status["announces"], "{status}");
    }
    swarm.tracker.stop();
}

#[test]
fn libtorrent_and_ours() {
    with_ours(Make::Libtorrent, "libtorrent", false);
}

#[test]
fn transmission_and_ours() {
    with_ours(Make::Transmission, "transmission", false);
}

#[test]
fn aria2_and_ours() {
    with_ours(Make::Aria2, "aria2", false);
}

#[test]
fn libtorrent_and_ours_over_udp() {
    with_ours(Make::Libtorrent, "libtorrent-udp", true);
}

#[test]
fn transmission_and_ours_over_udp() {
    with_ours(Make::Transmission, "transmission-udp", true);
}

#[test]
fn aria2_and_ours_over_udp() {
    with_ours(Make::Aria2, "aria2-udp", true);
}

/// Files of a torrent that libtorrent seeds, some at first and then all.
#[test]
fn a_selection_from_libtorrent() {
    if !wanted() {
        return;
    }
    let swarm = Swarm::new("selection");
    let payload = swarm.payload(true, 57);
    let hash = payload.metainfo.info_hash;
    let seeder = swarm.client(Make::Libtorrent, Role::Seed, 2, &payload, &payload.parent);
    swarm.tracker.wait_for_swarm(hash, 1, 0);
    let ours = swarm.daemon("selecting", 3);
    let target = swarm.target("ours");
    // Every other file.
    let files = payload.metainfo.payload_files().count();
    let every_other = |skipped: usize| -> Vec<Priority> {
        (0..files).map(|file| if file % 2 == skipped { Priority::Skip } else { Priority::High }).collect()
    };
    let request = LeechRequest {
        torrent_path: Some(payload.torrent.clone()),
        output: Some(target.clone()),
        options: OptionsPatch { priorities: Some(Some(every_other(1))), ..OptionsPatch::default() },
        ..LeechRequest::default()
    };
    ours.post("/leech", &request).json::<serde_json::Value>();
    ours.wait_for("the selection", hash, |details| details.status.state == TorrentState::Seeding);
    for (number, file) in payload.metainfo.payload_files().enumerate() {
        let path = target.join(file.path.to_string());
        assert_eq!(path.exists(), number % 2 == 0, "{}", path.display());
    }
    let all = OptionsPatch { priorities: Some(None), ..OptionsPatch::default() };
    ours.post(&format!("/torrents/{hash}/options"), &all).json::<serde_json::Value>();
    ours.wait_for("everything", hash, |details| details.pieces_had == details.piece_count);
    ours.wait_for_seeding(hash);
    payload.assert_arrived(&target);
    drop(seeder);
    ours.stop();
    swarm.tracker.stop();
}

/// Nothing of ours but the tracker: it must serve clients that have never heard of us.
#[test]
fn others_meet_at_our_tracker() {
    if !wanted() {
        return;
    }
    let swarm = Swarm::new("others");
    let payload = swarm.payload(true, 53);
    let _seeder = swarm.client(Make::Libtorrent, Role::Seed, 2, &payload, &payload.parent);
    swarm.tracker.wait_for_swarm(payload.metainfo.info_hash, 1, 0);
    for (make, host) in [(Make::Transmission, 3), (Make::Aria2, 4)] {
        let target = swarm.target(&format!("{make:?}"));
        let mut leecher = swarm.client(make, Role::Leech, host, &payload, &target);
        leecher.wait_complete();
        payload.assert_arrived_at(make, &target);
    }
}

/// One of each leeches from one seeder of ours, all at once; when the seeder leaves, a late one takes from them.
#[test]
fn a_mixed_swarm() {
    if !wanted() {
        return;
    }
    let swarm = Swarm::new("mixed");
    let payload = swarm.payload(true, 54);
    let hash = payload.metainfo.info_hash;
    let seeder = swarm.daemon("seeder", 2);
    seeder.leech(&payload.torrent, Some(&payload.parent));
    seeder.wait_for_seeding(hash);
    swarm.tracker.wait_for_swarm(hash, 1, 0);
    let target = |make: Make| swarm.target(&format!("{make:?}"));
    let makes = [Make::Libtorrent, Make::Transmission, Make::Aria2];
    let mut leechers: Vec<_> = makes
        .into_iter()
        .zip(3..)
        .map(|(make, host)| swarm.client(make, Role::Leech, host, &payload, &target(make)))
        .collect();
    leechers.iter_mut().for_each(Client::wait_complete);
    for make in makes {
        payload.assert_arrived_at(make, &target(make));
    }
    seeder.stop();
    let late = swarm.daemon("late", 6);
    late.leech(&payload.torrent, None);
    late.wait_for_seeding(hash);
    payload.assert_arrived(&late.downloads());
    late.stop();
}

/// The same input and piece length give the same info-hash as mktorrent does.
#[test]
fn torrents_are_those_of_mktorrent() {
    if !wanted() {
        return;
    }
    let room = Room::new("interop-mktorrent");
    let tree = room.folder("source").join("tree with spaces");
    write_tree(&tree, ODD_TREE, 55);
    // Which of these comes first depends on whether paths or their components are compared.
    write_tree(&tree, &[("x/y", 5), ("x y", 6), ("x-y", 7), ("x/Z", 8), ("X", 9)], 55);
    let single = room.folder("source").join("single.bin");
    write_file(&single, 1_234_567, 56);
    for input in [&tree, &single] {
        let theirs = created_by("mktorrent", &["-d", "-l", "15", "-o"], &[], input, &room);
        let (_, ours) = make(input, &room.folder("torrents"), 32 * KIB, "http://10.78.0.1:8000/announce");
        let theirs = parse(&theirs);
        assert_eq!(theirs.files, ours.files, "{}", input.display());
        assert_eq!(theirs.info_hash, ours.info_hash, "{}", input.display());
    }
}

/// The same with transmission-create, but for its own ways: version 3 writes `private` = 0 where others write nothing,
/// leaves empty files out, and sorts without regard to case.
#[test]
fn torrents_are_those_of_transmission() {
    if !wanted() {
        return;
    }
    let room = Room::new("interop-transmission-create");
    let tree = room.folder("source").join("tree with spaces");
    write_tree(&tree, &[("a", 100_000), ("b/c", 1), ("b/d e", 70_000), ("f.bin", 32_768)], 57);
    let single = room.folder("source").join("single.bin");
    write_file(&single, 1_234_567, 58);
    for input in [&tree, &single] {
        let theirs = created_by("transmission-create", &["-o"], &["-s", "32"], input, &room);
        let (path, ours) = make(input, &room.folder("torrents"), 32 * KIB, "http://10.78.0.1:8000/announce");
        let theirs = info_of(&theirs).replace("7:privatei0e", "");
        assert_eq!(theirs, info_of(&std::fs::read(path).unwrap()), "{}", input.display());
        assert!(!ours.private);
    }
}

/// The torrent that a program makes of `input`.
fn created_by(name: &str, before: &[&str], after: &[&str], input: &Path, room: &Room) -> Vec<u8> {
    let folder = room.folder("theirs");
    let out = folder.join("out.torrent");
    let _ = std::fs::remove_file(&out);
    let args = [before, &[out.to_str().unwrap()], after, &[input.to_str().unwrap()]].concat();
    run(&find(name).unwrap(), &args, &folder, &Place::Here).ok();
    std::fs::read(&out).unwrap()
}

/// The info dictionary of a torrent, escaped for comparison.
fn info_of(torrent: &[u8]) -> String {
    let limits = torrent_common::bencode::Limits::for_len(1 << 20);
    let document = torrent_common::bencode::scan(torrent, &limits).unwrap();
    document.root.get(b"info").unwrap().raw().escape_ascii().to_string()
}
