//! SIGTERM at any moment: the daemon is gone within its time, has taken leave of the tracker, and leaves nothing half
//! written.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use torrent_peer::control::api::TorrentState;
use torrent_tests::daemon::{Daemon, seed_request};
use torrent_tests::mounts;
use torrent_tests::payload::{assert_same, write_tree};
use torrent_tests::process::Process;
use torrent_tests::room::{Place, Room};
use torrent_tests::torrents::make;
use torrent_tests::tracker::Tracker;
use torrent_tests::wait::{PATIENCE, wait_for};

use crate::{long, random};

/// What the README promises, in seconds.
const LIMIT: Duration = Duration::from_secs(3);
/// The longest time from one start to the next stop.
const LIFE_MS: u64 = 600;

#[test]
fn a_stop_at_any_moment_is_in_time_and_in_order() {
    let rounds = long("TORTURE_STOPS", 6);
    let mut random = random();
    let room = Room::new("stops");
    let tracker = Tracker::start(&room);
    let source = room.folder("source").join("tree");
    write_tree(&source, &[("a.bin", 5_000_000), ("b/c.bin", 3_000_000), ("b/empty", 0)], 61);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 32 * 1024, &tracker.url());
    let hash = metainfo.info_hash;
    let seeder = Daemon::start_at(&room, "seeder", &tracker.url(), Place::Here, "UPLOAD_LIMIT_KIB = 3000");
    seeder.leech(&torrent, Some(&room.folder("source")));
    seeder.wait_for_seeding(hash);
    let mut daemon = Daemon::start(&room, "daemon", &tracker.url());
    daemon.leech(&torrent, None);
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        std::thread::sleep(Duration::from_micros(random.u64(0..LIFE_MS * 1000)));
        let begin = Instant::now();
        daemon.process().terminate();
        let took = begin.elapsed();
        slowest = slowest.max(took);
        assert!(took < LIMIT, "round {round}: it took {took:?} to stop");
        let left = names(&daemon.folder().join("state"));
        let odd: Vec<_> = left.iter().filter(|name| name.contains("tmp") || name.starts_with('.')).collect();
        assert!(odd.is_empty(), "round {round}: {odd:?} is left in {left:?}");
        // It said goodbye: the seeder alone is left, at once.
        wait_for("the tracker to know", Duration::from_secs(2), || {
            let swarm = tracker.swarm(hash);
            (swarm.0 <= 1 && swarm.1 == 0).then_some(()).ok_or_else(|| format!("{swarm:?}"))
        });
        daemon.start_again();
        let details =
            daemon.wait_for("its books read", hash, |details| details.status.state != TorrentState::Checking);
        assert_eq!(details.pieces_checked, 0, "round {round}: after an orderly stop nothing is hashed");
        if details.status.state == TorrentState::Seeding {
            assert_same(&source, &daemon.downloads().join("tree"));
            daemon.tell("/remove", hash, true);
            daemon.leech(&torrent, None);
        }
    }
    println!("{rounds} stops in the middle of a download, the slowest took {slowest:?}");
    daemon.stop();
    seeder.stop();
    tracker.stop();
}

/// A tracker that never answers keeps nobody.
#[test]
fn a_silent_tracker_does_not_hold_up_a_stop() {
    let room = Room::new("silent");
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/announce", silent.local_addr().unwrap());
    let mut daemon = Daemon::start(&room, "daemon", &url);
    for number in 0..20 {
        let source = room.folder("source").join(format!("tree-{number}"));
        write_tree(&source, &[("a.bin", 20_000)], number);
        let (torrent, metainfo) = make(&source, &room.folder("source"), 16 * 1024, &url);
        daemon.leech(&torrent, Some(&room.folder("source")));
        daemon.wait_for_seeding(metainfo.info_hash);
    }
    let begin = Instant::now();
    daemon.process().terminate();
    let took = begin.elapsed();
    assert!(took < LIMIT, "{took:?}");
    println!("with 20 torrents and a tracker that never answers a stop took {took:?}");
}

/// Who does not want to wait for it says so once more.
#[test]
fn a_second_signal_ends_it_at_once() {
    let room = Room::new("impatient");
    let (mut daemon, _silent) = stopping(&room, Process::signal);
    assert_eq!(daemon.process().end().code(), Some(130));
}

/// A shell that ends with its terminal tells what runs in it, and so does the system.
#[test]
fn a_terminal_that_is_closed_does_not_end_it_before_its_time() {
    let room = Room::new("closed");
    let (mut daemon, silent) = stopping(&room, Process::hang_up);
    daemon.process().hang_up();
    // What it waits for.
    drop(silent);
    assert_eq!(daemon.process().wait(PATIENCE).code(), Some(0));
}

/// Whoever shows what it writes (a pager, a terminal that is held) reads no more of it.
#[test]
fn who_does_not_read_what_it_writes_does_not_hold_up_a_stop() {
    if !mounts::may_run(mounts::possible()) {
        return;
    }
    let room = Room::new("unread");
    let url = "http://127.0.0.1:9/announce";
    // Open to be read as well, so that whoever writes waits and is not told that nobody reads.
    let mut daemon = Daemon::start_after(&room, "daemon", url, "", "mkfifo unread; exec 2<>unread");
    let mut options = File::options();
    options.write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let mut unread = options.open(daemon.folder().join("unread")).unwrap();
    for len in [4096, 1] {
        while unread.write_all(&vec![b'x'; len]).is_ok() {}
    }
    let begin = Instant::now();
    assert_eq!(daemon.process().end().code(), Some(0));
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
}

/// A daemon that was told to stop by a signal, and waits long for a tracker that does not answer.
fn stopping(room: &Room, tell: impl FnOnce(&Process)) -> (Daemon, (TcpListener, TcpStream)) {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/announce", silent.local_addr().unwrap());
    let mut daemon = Daemon::start_at(room, "daemon", &url, Place::Here, "STOP_TIMEOUT = 60");
    let source = room.folder("source").join("tree");
    write_tree(&source, &[("a.bin", 20_000)], 63);
    let (torrent, metainfo) = make(&source, &room.folder("source"), 16 * 1024, &url);
    daemon.leech(&torrent, Some(&room.folder("source")));
    daemon.wait_for_seeding(metainfo.info_hash);
    let (asked, _) = silent.accept().unwrap();
    tell(daemon.process());
    wait_for("the signal to be heard", PATIENCE, || match daemon.logged("stopping; a second signal") {
        0 => Err("it is not".to_owned()),
        _ => Ok(()),
    });
    (daemon, (silent, asked))
}

/// Nor does a catalogue that takes an upload and says nothing.
#[test]
fn a_silent_catalogue_does_not_hold_up_a_stop() {
    let room = Room::new("silent-catalogue");
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/announce", silent.local_addr().unwrap());
    let source = room.folder("source").join("tree");
    write_tree(&source, &[("a.bin", 100_000)], 62);
    let mut daemon = Daemon::start(&room, "daemon", &url);
    assert_eq!(daemon.post("/seed", &seed_request(&source)).status, 200);
    // Announces come too.
    let mut open = Vec::new();
    loop {
        let (mut stream, _) = silent.accept().unwrap();
        let mut method = [0; 5];
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read_exact(&mut method).unwrap();
        open.push(stream);
        if &method == b"POST " {
            break;
        }
    }
    let begin = Instant::now();
    daemon.process().terminate();
    let took = begin.elapsed();
    assert!(took < LIMIT, "{took:?}");
    println!("with a catalogue that never answers a stop took {took:?}");
    // What was made is kept.
    daemon.start_again();
    assert_eq!(daemon.status().torrents.len(), 1);
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let entry = entry.unwrap();
        found.push(entry.file_name().to_string_lossy().into_owned());
        if entry.file_type().unwrap().is_dir() {
            found.extend(names(&entry.path()));
        }
    }
    found
}
