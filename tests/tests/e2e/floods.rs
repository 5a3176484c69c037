//! Floods of the control port, of a daemon whose memory and threads are nobody else's: whoever sends heads or requests without
//! end, or comes with a thousand connections, costs bounded memory and threads, and commands are answered meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use torrent_peer::control::ControlClient;
use torrent_tests::daemon::Daemon;
use torrent_tests::room::Room;
use torrent_tests::wait::{PATIENCE as LONG, wait_until};

/// Who attacks waits no longer to be let in, or until more is taken.
const SOON: Duration = Duration::from_millis(50);
/// A command waits no longer for others: its system may have to try again three times.
const PATIENCE: Duration = Duration::from_secs(30);
/// A daemon may take so much more than before.
const MOST_KIB: u64 = 64 << 10;
/// And so many threads: of what comes in before the guard has looked, some hundreds.
const MOST_THREADS: u64 = 700;
/// Connections that attack at the same time, unless `CONTROL_FLOODS` says how many.
const FLOODS: u64 = 8;
/// How long an attack goes on, in seconds, unless `CONTROL_ATTACK_S` says so.
const ATTACK_S: u64 = 1;

const HEAD: &[u8] = b"GET /status HTTP/1.1\r\nHost: localhost\r\nx: ";
const REQUEST: &[u8] = b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |number| number.parse().unwrap())
}

fn start(room: &Room, name: &str) -> Daemon {
    let daemon = Daemon::start(room, name, "http://127.0.0.1:9/announce");
    assert_answers(&daemon);
    daemon
}

/// A command as a user gives it, on a connection of its own: it may be closed by mistake where there are too many, and
/// is then given again.
#[track_caller]
fn assert_answers(daemon: &Daemon) {
    let began = Instant::now();
    while let Err(error) = ControlClient::new(daemon.control().port()).status() {
        assert!(began.elapsed() < PATIENCE, "no answer: {error}");
    }
}

/// Sends the same over and over on connections of its own until told to stop.
fn flood(address: SocketAddr, before: &[u8], again: &[u8], stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect_timeout(&address, SOON) else { continue };
        let _ = stream.set_write_timeout(Some(SOON));
        let _ = stream.write_all(before);
        while !stop.load(Ordering::Relaxed) && stream.write_all(again).is_ok() {}
    }
}

/// Says so when it is dropped.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_never_ends_costs_little_memory() {
    let room = Room::new("floods");
    for (name, before, again) in [
        ("long-lines", HEAD, vec![b'x'; 64 << 10]),
        ("short-lines", HEAD, b"a: b\r\n".repeat(8)),
        ("requests", b"", REQUEST.repeat(1000)),
    ] {
        let daemon = start(&room, name);
        let (address, at_first, stop) = (daemon.control(), daemon.peak_kib(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let _ended = Ended(&stop);
            for _ in 0..number("CONTROL_FLOODS", FLOODS) {
                scope.spawn(|| flood(address, before, &again, &stop));
            }
            let until = Instant::now() + Duration::from_secs(number("CONTROL_ATTACK_S", ATTACK_S));
            while Instant::now() < until {
                assert_answers(&daemon);
            }
        });
        let grown = daemon.peak_kib() - at_first;
        println!("flood of {name}: {grown} KiB more");
        assert!(grown < MOST_KIB, "{name}: {grown} KiB more");
        assert_answers(&daemon);
        daemon.stop();
    }
}

#[test]
fn among_a_thousand_idle_connections_commands_are_answered() {
    let room = Room::new("idlers");
    let daemon = start(&room, "daemon");
    let (before, end) = (daemon.usage().threads, Instant::now() + Duration::from_secs(60));
    let (mut idle, mut most) = (Vec::new(), 0);
    while idle.len() < 1000 {
        assert!(Instant::now() < end, "only {} came in", idle.len());
        // The system holds back those who come while there are too many.
        idle.extend(TcpStream::connect_timeout(&daemon.control(), SOON).ok());
        most = most.max(daemon.usage().threads.saturating_sub(before));
        if idle.len() % 250 == 249 {
            assert_answers(&daemon);
        }
    }
    assert_answers(&daemon);
    println!("a thousand idle connections: {most} threads more");
    assert!(most < MOST_THREADS, "{most} threads more");
    drop(idle);
    daemon.stop();
}

/// A body that is longer than all memory: tiny_http cannot be rid of such a request.
const ABSURD: &[u8] = b"POST /seed HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
    Content-Length: 1000000000000000\r\n\r\nx";

/// With 256 of those left behind, but not within ten seconds of its start: threads and descriptors are the torrents'.
#[test]
fn a_worn_control_port_is_closed_and_wakes_nobody() {
    let room = Room::new("worn");
    let mut daemon = start(&room, "daemon");
    wait_until("the port is closed", LONG, || {
        let Ok(mut stream) = TcpStream::connect_timeout(&daemon.control(), SOON) else {
            return daemon.logged("the control port is closed") > 0;
        };
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.write_all(ABSURD).and_then(|()| stream.read_to_end(&mut Vec::new()));
        false
    });
    daemon.process().wait_until_asleep();
    daemon.stop();
}
