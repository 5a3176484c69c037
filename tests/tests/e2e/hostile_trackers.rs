//! Trackers that mean no good, to a real daemon: what it prints of them is tame, whom they name is dialled as often as makes
//! sense. What they can do on the wire (floods, redirects, certificates, names) is tried in `peer/src/http/tests` and
//! `peer/src/announcer`.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown as Way, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use torrent_common::ids::InfoHash;
use torrent_common::worker::{Shutdown, Worker};
use torrent_tests::command::command;
use torrent_tests::daemon::Daemon;
use torrent_tests::payload::write_file;
use torrent_tests::room::{Place, Room};
use torrent_tests::torrents::make;
use torrent_tests::wait::{PATIENCE, wait_until};

use crate::names::{is_tame, tame};

/// A listener that does the same with everyone who connects, one after the other, and counts them.
struct Door {
    address: SocketAddr,
    visits: Arc<AtomicUsize>,
    stopping: Shutdown,
    worker: Option<Worker>,
}

impl Door {
    fn open(mut visit: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (visits, stopping) = (Arc::new(AtomicUsize::new(0)), Shutdown::new());
        let (count, stop) = (Arc::clone(&visits), stopping.clone());
        let worker = Worker::spawn("door", move || {
            while let Ok((stream, _)) = listener.accept()
                && !stop.is_set()
            {
                visit(stream);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { address, visits, stopping, worker: Some(worker.unwrap()) }
    }

    fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stopping.set();
        let _ = TcpStream::connect(self.address);
        drop(self.worker.take());
    }
}

/// A tracker that answers every announce with what `answer` makes of the announcing peer's port.
fn tracker(answer: impl Fn(u16) -> Vec<u8> + Send + 'static) -> Door {
    Door::open(move |stream| {
        // Who asks may go at any time.
        let _ = serve(&stream, &answer);
    })
}

fn serve(mut stream: &TcpStream, answer: &dyn Fn(u16) -> Vec<u8>) -> std::io::Result<()> {
    let mut head = String::new();
    let mut reader = BufReader::new(stream);
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
    let port = head.split('&').find_map(|pair| pair.strip_prefix("port="));
    let body = answer(port.and_then(|port| port.parse().ok()).unwrap_or_default());
    let head = format!("HTTP/1.1 200 x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), &body].concat())
}

/// An answer with these peers, an interval, and what else there is to say, whose key comes last.
fn answered(peers: &[(Ipv4Addr, u16)], interval_s: u32, rest: &[u8]) -> Vec<u8> {
    let compact: Vec<u8> =
        peers.iter().flat_map(|(ip, port)| [&ip.octets()[..], &port.to_be_bytes()].concat()).collect();
    let head = format!("d8:completei1e10:incompletei9e8:intervali{interval_s}e5:peers{}:", compact.len());
    [head.as_bytes(), &compact, rest, b"e"].concat()
}

/// What a terminal would obey, so often.
fn escapes(times: usize) -> Vec<u8> {
    "\x1b]0;owned\x07\x1b[2J\u{202e}\r\nERROR the disk is full\n".repeat(times).into_bytes()
}

fn keyed(key: &str, text: &[u8]) -> Vec<u8> {
    [format!("{}:{key}{}:", key.len(), text.len()).as_bytes(), text].concat()
}

/// A torrent of which nobody has anything, that this tracker is to know of.
fn torrent(room: &Room, tracker: &Door) -> (PathBuf, InfoHash) {
    let source = room.folder("source").join("payload.bin");
    write_file(&source, 100_000, 3);
    let url = format!("http://{}/announce", tracker.address);
    let (path, metainfo) = make(&source, &room.folder("made"), 16 << 10, &url);
    (path, metainfo.info_hash)
}

/// Leads every connection on to `target`, as a router does that leads its own side in by its outside address.
fn router(target: SocketAddr) -> Door {
    let mut pumps = Vec::new();
    Door::open(move |inside| {
        let outside = TcpStream::connect(target).unwrap();
        for (from, to) in [(&inside, &outside), (&outside, &inside)] {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let pump = move || {
                // Either side may go at any time.
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Way::Both);
            };
            pumps.push(Worker::spawn("pump", pump).unwrap());
        }
    })
}

#[test]
fn ourselves_are_dialled_once_however_we_are_named() {
    let room = Room::new("own-address");
    let daemon = Daemon::start_at(&room, "daemon", "http://127.0.0.1:9/announce", Place::Here, "");
    let router = router(daemon.peer_address());
    let outside = router.address.port();
    // At its own address, and at the one that a router has for it.
    let here = Ipv4Addr::LOCALHOST;
    let tracker = tracker(move |port| answered(&[(here, outside), (here, port)], 1, b""));
    let (path, hash) = torrent(&room, &tracker);
    daemon.leech(&path, None);
    wait_until("the router to be dialled", PATIENCE, || router.visits() > 0);
    // An address that has failed once is dialled again after five seconds.
    let dialled = Instant::now();
    let named = tracker.visits();
    wait_until("the tracker to go on naming it", PATIENCE, || {
        dialled.elapsed() > Duration::from_secs(6) && tracker.visits() > named + 3
    });
    assert_eq!(router.visits(), 1);
    assert_eq!(daemon.details(hash).status.peers, 0);
    daemon.stop();
}

#[test]
fn what_a_tracker_says_does_nothing_to_a_terminal_or_a_log() {
    let room = Room::new("tracker-words");
    // A mebibyte, nearly; and peers that nobody could dial in a day, with half as much to read.
    let refuses = tracker(|_| [&b"d"[..], &keyed("failure reason", &escapes(18_000)), b"e"].concat());
    let peers: Vec<_> = (0..50_000_u32).map(|n| (Ipv4Addr::from(0x7f01_0000 + n), 9)).collect();
    let floods = tracker(move |_| answered(&peers, 1800, &keyed("warning message", &escapes(10_000))));
    for (name, tracker, words) in
        [("refused", refuses, ": refused: "), ("flooded", floods, "500 peers received")]
    {
        let mut daemon = Daemon::start_at(&room, name, "http://127.0.0.1:9/announce", Place::Here, "");
        let (path, hash) = torrent(&room, &tracker);
        daemon.leech(&path, None);
        let details =
            daemon.wait_for("heard of its tracker", hash, |details| details.tracker_message.is_some());
        let message = details.tracker_message.unwrap();
        assert!(message.contains(words) && message.chars().count() <= 200, "{message}");
        is_tame("the message", &message);
        let hash = hash.to_string();
        tame("torrent-status of one", command(&room, &daemon, "torrent-status", &[&hash]));
        tame("torrent-status of all", command(&room, &daemon, "torrent-status", &[]));
        let log = daemon.process().log();
        is_tame("the log", &log);
        // Refusals are for who looks at the torrent; a warning is for the log.
        assert_eq!(log.contains("owned"), name == "flooded", "{log}");
        assert!(log.lines().all(|line| line.chars().count() < 500), "{log}");
        daemon.stop();
    }
}
