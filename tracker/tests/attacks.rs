//! Attacks over HTTP on a tracker in a process of its own, whose memory, threads and descriptors can be looked at.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests, and helpers of tests, which the lints take for production code"
)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use support::{PROGRAM, Program, config, folder, upload};
use tempfile::TempDir;

/// What an attack may cost in memory beyond what there was before, in KiB.
const MEMORY_KIB: u64 = 64 << 10;
const ANNOUNCE: &str =
    "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881&left=5&ip=10.0.0.1";
/// What an honest client waits for at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// A tracker with these lines in its configuration.
fn tracker(lines: &str) -> (Program, TempDir) {
    let folder = folder();
    let path = config(folder.path());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}{lines}\n")).unwrap();
    let program = Program::run(Command::new(PROGRAM).arg("--config").arg(path).args(["--port", "0"]));
    (program, folder)
}

/// A number in the process's status.
fn status(program: &Program, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

fn descriptors(program: &Program) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", program.child.id())).unwrap().count()
}

/// An announce on a connection of its own is answered, and soon.
fn assert_served(program: &Program) {
    let start = Instant::now();
    let reply = program.get(ANNOUNCE);
    assert!(reply.contains("10:incompletei1e"), "{reply}");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

fn connect(program: &Program) -> TcpStream {
    let stream = TcpStream::connect(&program.address).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// From another address of this machine.
fn connect_from(address: [u8; 4], program: &Program) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&program.address.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.into()
}

/// Whether the other side has ended the connection by now.
fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let result = (&*stream).read(&mut [0; 4096]);
    stream.set_nonblocking(false).unwrap();
    match result {
        Ok(len) => len == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Waits until it is so.
fn until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends the same bytes again and again on some connections, until each is cut off, or a gigabyte is sent.
fn flood(program: &Program, connections: usize, before: &[u8], again: &[u8]) {
    let attackers: Vec<_> = (0..connections)
        .map(|_| {
            let mut stream = connect(program);
            let (before, again) = (before.to_vec(), again.repeat((64 << 10) / again.len()));
            thread::spawn(move || {
                stream.write_all(&before).unwrap();
                (0..(1 << 30) / again.len() / connections).all(|_| stream.write_all(&again).is_ok())
            })
        })
        .collect();
    for attacker in attackers {
        assert!(!attacker.join().unwrap(), "not cut off");
    }
}

/// Sends the same bytes again and again on some connections, each from an address of its own, and comes back with them as
/// soon as one is cut off, until it is told to stop or has done so a thousand times.
fn come_back(
    program: &Program,
    net: u8,
    connections: u8,
    before: &[u8],
    again: &[u8],
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<()>> {
    let target: SocketAddr = program.address.parse().unwrap();
    let attack = |n| {
        let (stop, before) = (Arc::clone(stop), before.to_vec());
        let again = again.repeat((16 << 10) / again.len());
        let once = move || -> std::io::Result<()> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from(([127, 0, net, n], 0)).into())?;
            socket.connect_timeout(&target.into(), Duration::from_millis(2500))?;
            let mut stream = TcpStream::from(socket);
            stream.set_write_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(&before)?;
            (0..1000).try_for_each(|_| stream.write_all(&again))
        };
        thread::spawn(move || {
            for _ in 0..1000 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let _ = once();
            }
        })
    };
    (0..connections).map(attack).collect()
}

/// Asks again and again, one at a time, while that goes on; each is to be answered. Returns how much more memory the
/// tracker took at most than before.
fn ask_meanwhile(program: &Program, at_first: u64, stop: &AtomicBool) -> u64 {
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_secs(4) || count < 3 {
        // It may be about to begin anew.
        until("an announce is answered", PATIENCE, || program.get(ANNOUNCE).contains("10:incompletei1e"));
        count += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let cost = status(program, "VmHWM") - at_first;
    println!("{count} announces, {cost} KiB");
    cost
}

#[test]
fn who_comes_back_when_he_is_cut_off_costs_little_memory() {
    for (name, before, again) in [
        ("pipelined", &b""[..], &b"GET /scrape HTTP/1.1\r\n\r\n"[..]),
        ("pipelined for a lane", b"", b"GET /torrents HTTP/1.1\r\n\r\n"),
        ("short lines", b"GET / HTTP/1.1\r\n", b"a:b\r\n"),
        ("one line", b"GET / HTTP/1.1\r\nX: ", b"xxxxxxxxxxxxxxxx"),
    ] {
        let (program, _folder) = tracker("");
        assert_served(&program);
        let (at_first, stop) = (status(&program, "VmHWM"), Arc::new(AtomicBool::new(false)));
        let attackers = come_back(&program, 2, 30, before, again, &stop);
        let cost = ask_meanwhile(&program, at_first, &stop);
        attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
        assert!(cost < MEMORY_KIB, "{name}: {cost} KiB");
        assert_served(&program);
    }
}

/// All of it together: and the tracker still ends when it is asked to.
#[test]
fn everything_at_once_is_survived() {
    let (mut program, _folder) = tracker("MAX_CONNECTIONS = 400");
    assert_served(&program);
    let (at_first, stop) = (status(&program, "VmHWM"), Arc::new(AtomicBool::new(false)));
    let idle: Vec<_> = (0..250).map(|n| connect_from([127, 0, 9, n], &program)).collect();
    let bodies: Vec<_> = (0..100)
        .map(|n| {
            let mut stream = connect_from([127, 0, 8, n], &program);
            let _ = stream.write_all(b"POST /torrents HTTP/1.1\r\nContent-Length: 5000\r\n\r\n--x");
            stream
        })
        .collect();
    let mut attackers = come_back(&program, 2, 10, b"", b"GET /scrape HTTP/1.1\r\n\r\n", &stop);
    attackers.extend(come_back(&program, 3, 10, b"GET / HTTP/1.1\r\n", b"a:b\r\n", &stop));
    let malformed = b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab";
    attackers.extend(come_back(&program, 4, 4, malformed, b"GET / HTTP/1.1\r\n\r\n", &stop));
    attackers.extend(come_back(&program, 5, 4, b"PRI * HTTP/2.0\r\n\r\n", b"SM\r\n\r\n", &stop));
    let cost = ask_meanwhile(&program, at_first, &stop);
    assert!(cost < MEMORY_KIB, "{cost} KiB");
    program.signal(rustix::process::Signal::TERM);
    assert_eq!(program.code(), Some(0));
    attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
    drop((idle, bodies));
}

#[test]
fn heads_that_never_end_cost_little_memory() {
    let pieces: [(&str, &[u8], &[u8]); 4] = [
        ("one line", b"GET / HTTP/1.1\r\nX: ", b"xxxxxxxxxxxxxxxx"),
        ("short lines", b"GET / HTTP/1.1\r\n", b"a:b\r\n"),
        ("the first line", b"GET /", b"xxxxxxxxxxxxxxxx"),
        ("behind a request", b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n", b"a:\r\n"),
    ];
    for (name, before, again) in pieces {
        for connections in [1, 20] {
            let (program, _folder) = tracker("");
            assert_served(&program);
            let at_first = status(&program, "VmHWM");
            flood(&program, connections, before, again);
            assert_served(&program);
            let cost = status(&program, "VmHWM") - at_first;
            println!("{name} on {connections} connections: {cost} KiB");
            assert!(cost < MEMORY_KIB, "{name} on {connections} connections: {cost} KiB");
        }
    }
}

#[test]
fn requests_without_end_on_one_connection_cost_little_memory() {
    for (connections, request) in [
        (1, &b"GET /scrape HTTP/1.1\r\n\r\n"[..]),
        (20, b"GET /scrape HTTP/1.1\r\n\r\n"),
        (20, b"GET /torrents HTTP/1.1\r\n\r\n"),
        (20, b"POST /announce HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde"),
    ] {
        let (program, _folder) = tracker("");
        assert_served(&program);
        let at_first = status(&program, "VmHWM");
        flood(&program, connections, b"", request);
        let cost = status(&program, "VmHWM") - at_first;
        println!("{connections} connections: {cost} KiB");
        assert!(cost < MEMORY_KIB, "{connections} connections: {cost} KiB");
        assert_served(&program);
    }
}

/// Each short of its limit: only together they are too long.
#[test]
fn many_long_heads_together_cost_little_memory() {
    let (program, _folder) = tracker("");
    assert_served(&program);
    let at_first = status(&program, "VmHWM");
    let head = [&b"GET / HTTP/1.1\r\n"[..], &b"a:b\r\n".repeat(1250)].concat();
    let mut attackers = Vec::new();
    for _ in 0..400 {
        let mut stream = connect(&program);
        let _ = stream.write_all(&head);
        attackers.push(stream);
    }
    let open = || attackers.iter().filter(|stream| !is_closed(stream)).count();
    // 1 MiB of heads may be there.
    until("the longest are closed", PATIENCE, || open() * head.len() <= 1 << 20);
    assert!(open() > 50, "not more than that: {}", open());
    assert_served(&program);
    let cost = status(&program, "VmHWM") - at_first;
    println!("{cost} KiB");
    assert!(cost < MEMORY_KIB, "{cost} KiB");
}

#[test]
fn a_chunk_size_that_never_ends_costs_little_memory() {
    let (program, _folder) = tracker("");
    assert_served(&program);
    let at_first = status(&program, "VmHWM");
    flood(&program, 2, b"POST /announce HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"0000000000000000");
    let cost = status(&program, "VmHWM") - at_first;
    assert!(cost < MEMORY_KIB, "{cost} KiB");
    assert_served(&program);
}

/// What waits behind other requests is let go of with the same care as what is answered: tiny_http makes room for a body
/// that was not read.
#[test]
fn an_impossible_length_behind_other_requests_does_not_end_the_process() {
    let (mut program, _folder) = tracker("");
    let last = "POST / HTTP/1.1\r\nContent-Length: 1000000000000000\r\n\r\n";
    for target in ["/torrents", "/scrape", "/"] {
        for count in [1, 15, 16, 17, 40] {
            let before = format!("GET {target} HTTP/1.1\r\n\r\n").repeat(count);
            program.ask(&format!("{before}{last}"));
            assert_served(&program);
        }
    }
    program.signal(rustix::process::Signal::TERM);
    assert_eq!(program.code(), Some(0));
}

#[test]
fn idle_connections_are_bounded_and_the_idlest_go_first() {
    // 1500 are allowed, and 600 may stay.
    let (program, _folder) = tracker("");
    assert_served(&program);
    let mut kept = connect(&program);
    let mut most = 0;
    let idle: Vec<_> = (0..2000)
        .map(|n| {
            if n % 50 == 0 {
                // Who goes on asking is not among the idlest.
                kept.write_all(b"GET /scrape HTTP/1.1\r\n\r\n").unwrap();
                assert!(kept.read(&mut [0; 4096]).unwrap() > 0);
            }
            most = most.max(status(&program, "Threads"));
            connect(&program)
        })
        .collect();
    assert_served(&program);
    until("connections are closed", PATIENCE, || {
        most = most.max(status(&program, "Threads"));
        idle.iter().filter(|stream| !is_closed(stream)).count() <= 600
    });
    println!("{most} threads at most");
    assert!(most < 1500, "{most} threads");
    // tiny_http's threads end 5 seconds after their last connection.
    until("threads end", Duration::from_secs(20), || status(&program, "Threads") < 650);
    assert!(descriptors(&program) < 2000, "{}", descriptors(&program));
    kept.write_all(b"GET /scrape HTTP/1.1\r\n\r\n").unwrap();
    assert!(kept.read(&mut [0; 4096]).unwrap() > 0, "it was of use meanwhile");
    assert_served(&program);
}

#[test]
fn who_says_nothing_or_drips_is_not_waited_for() {
    let (program, _folder) = tracker("REQUEST_TIMEOUT = 2\nIDLE_TIMEOUT = 3");
    let silent = connect(&program);
    let mut dripping = connect(&program);
    let mut served = connect(&program);
    served.write_all(b"GET /scrape HTTP/1.1\r\n\r\n").unwrap();
    assert!(served.read(&mut [0; 4096]).unwrap() > 0);
    let mut body = connect(&program);
    body.write_all(b"POST /announce HTTP/1.1\r\nContent-Length: 1000\r\n\r\n").unwrap();
    let start = Instant::now();
    for byte in b"GET / HTTP/1.1\r\nX-Header: never".iter().cycle() {
        if dripping.write_all(&[*byte]).is_err() || is_closed(&dripping) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "it is still listened to");
        thread::sleep(Duration::from_millis(50));
    }
    until("the silent are closed", PATIENCE, || is_closed(&silent) && is_closed(&body));
    until("who asks no more is closed", PATIENCE, || is_closed(&served));
    assert_served(&program);
}

/// The tracker sleeps while nobody is there: it is woken neither by a clock nor by anybody who has left.
#[test]
fn an_idle_tracker_is_not_woken() {
    let (program, _folder) = tracker("UDP = no\nSNAPSHOT_INTERVAL = 86400\nINTERVAL = 120");
    assert_served(&program);
    // The system's list may leave threads out while others end.
    let find = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", program.child.id())).unwrap();
        tasks.map_while(|task| Some(task.ok()?.path())).find(|task| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "http-guard")
        })
    };
    let mut guard = None;
    until("the guard is there", PATIENCE, || {
        guard = find();
        guard.is_some()
    });
    let guard = guard.unwrap();
    let naps = || {
        let status = std::fs::read_to_string(guard.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    let mut before = 0;
    until("the guard sleeps for two seconds", Duration::from_secs(30), || {
        let now = naps();
        let is_same = now == before;
        before = now;
        thread::sleep(Duration::from_secs(2));
        is_same && naps() == now
    });
}

/// Takes all descriptors for a while. How long announces then are not answered.
fn shortage(program: &Program, while_it_lasts: Duration) -> Duration {
    let held: Vec<_> = (0..150).map(|_| TcpStream::connect(&program.address).unwrap()).collect();
    thread::sleep(while_it_lasts);
    drop(held);
    let released = Instant::now();
    until("announces are answered", 4 * PATIENCE, || program.get("/scrape").contains("info_hash"));
    released.elapsed()
}

#[test]
fn announces_work_again_within_two_seconds_of_too_few_descriptors() {
    // A connection takes two descriptors: they can run out between connections and in the middle of one.
    for one_more in ["", "exec 9</dev/null; "] {
        let folder = folder();
        let script = format!(
            "ulimit -n 80; {one_more}exec {PROGRAM} --config {} --port 0",
            config(folder.path()).display()
        );
        let program = Program::run(Command::new("sh").args(["-c", &script]));
        for lasts in [0, 100, 200].map(Duration::from_millis) {
            // A busy machine is slow now and then, a guard that waits is so every time.
            let mut times = Vec::new();
            while times.last().is_none_or(|took| *took >= Duration::from_secs(2)) {
                assert!(times.len() < 5, "{one_more:?}, {lasts:?}: {times:?}");
                times.push(shortage(&program, lasts));
            }
            println!("{times:?}");
        }
    }
}

/// Old servers are ended by connections to themselves, which are kept out like any other: the guard must not wait for them.
#[test]
fn it_goes_on_after_many_shortages_of_descriptors() {
    let folder = folder();
    let script =
        format!("ulimit -n 64; exec {PROGRAM} --config {} --port 0", config(folder.path()).display());
    let mut program = Program::run(Command::new("sh").args(["-c", &script]));
    let address: SocketAddr = program.address.parse().unwrap();
    let mut held = Vec::new();
    for n in 1..=250 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 5, n], 0)).into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&address.into());
        held.push(socket);
    }
    let (mut servers, start) = (0, Instant::now());
    // More than are kept.
    while servers < 24 && start.elapsed() < Duration::from_secs(20) {
        for socket in &held {
            let _ = socket.send(b"G");
        }
        thread::sleep(Duration::from_millis(50));
        servers += program.count("are accepted again");
    }
    println!("{servers} new servers");
    drop(held);
    until("announces are answered", PATIENCE, || program.get("/scrape").contains("info_hash"));
    program.signal(rustix::process::Signal::TERM);
    assert_eq!(program.code(), Some(0));
}

/// Some send nothing of what they announced, some a byte now and then, some what will be refused.
#[test]
fn uploads_that_drip_do_not_keep_an_honest_one_out() {
    let (program, _folder) = tracker("");
    for length in [5000, 100_000_000] {
        let heads = format!("POST /announce HTTP/1.1\r\nContent-Length: {length}\r\n\r\n--x");
        let dripping: Vec<_> = (0..100)
            .map(|_| {
                let mut stream = connect_from([127, 0, 0, 2], &program);
                stream.write_all(heads.as_bytes()).unwrap();
                stream
            })
            .collect();
        let start = Instant::now();
        let name = format!("honest-{length}");
        while !program.ask(&upload(&name)).starts_with("HTTP/1.0 201 ") {
            assert!(start.elapsed() < Duration::from_secs(30), "nobody publishes any more");
            for mut stream in &dripping {
                let _ = stream.write_all(b"x");
            }
            thread::sleep(Duration::from_millis(200));
        }
        println!("{:?}", start.elapsed());
        assert_served(&program);
    }
}
