//! The tracker begins anew in its own process: when strangers have worn it out, and when it is told to (SIGUSR2).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests, and helpers of tests, which the lints take for production code"
)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use support::{PROGRAM, Program, config, folder};

const SCRAPE: &str = "/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa";
/// What clients may have to do without.
const GAP: Duration = Duration::from_secs(5);

fn announce(port: u16, rest: &str) -> String {
    format!(
        "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port={port}{rest}&ip=10.0.0.1"
    )
}

fn count(program: &Program, what: &str) -> usize {
    std::fs::read_dir(format!("/proc/{}/{what}", program.child.id())).unwrap().count()
}

/// Announces every 10 ms until told to stop. Gives the longest time without an answer.
fn longest_gap(address: &str, stop: &AtomicBool) -> Duration {
    let request = format!("GET {} HTTP/1.0\r\n\r\n", announce(7000, "&left=5"));
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let mut reply = Vec::new();
        if let Ok(mut stream) = TcpStream::connect(address) {
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read_to_end(&mut reply);
        }
        if String::from_utf8_lossy(&reply).contains("8:interval") {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        thread::sleep(Duration::from_millis(10));
    }
    longest.max(last.elapsed())
}

/// Requests whose bodies are longer than any memory, each on a connection of its own.
fn wear_out(address: &str, requests: usize) {
    let head = b"POST /announce HTTP/1.1\r\nContent-Length: 1000000000000000\r\n\r\nx";
    let mut sent = 0;
    let until = Instant::now() + Duration::from_secs(60);
    while sent < requests {
        assert!(Instant::now() < until, "only {sent} were taken");
        let Ok(mut stream) = TcpStream::connect(address) else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        if stream.write_all(head).is_ok() && !matches!(stream.read(&mut [0; 512]), Ok(1..)) {
            sent += 1;
        }
    }
}

/// It still knows who completed, as soon as it answers: it may be about to begin anew once more.
fn assert_swarm_is_kept(program: &Program) {
    let until = Instant::now() + GAP;
    let mut kept = program.get(SCRAPE);
    while kept.is_empty() && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
        kept = program.get(SCRAPE);
    }
    assert!(kept.contains("8:completei1e10:downloadedi1e"), "{kept}");
}

/// Waits until there are no more descriptors and threads than so many. Gives what there is of both if that never comes.
fn left_when_settled(program: &Program, descriptors: usize, threads: usize) -> Option<(usize, usize)> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let left = (count(program, "fd"), count(program, "task"));
        if left.0 <= descriptors && left.1 <= threads {
            return None;
        }
        if Instant::now() > until {
            return Some(left);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn requests_with_absurd_lengths_do_not_wear_it_out() {
    // Room for 32 that are left behind.
    let (limit, bound) = (256, 32);
    let folder = folder();
    let script =
        format!("ulimit -n {limit}; exec {PROGRAM} --config {} --port 0", config(folder.path()).display());
    let mut program = Program::run(Command::new("sh").args(["-c", &script]));
    program.get(&announce(1, "&left=5"));
    program.get(&announce(1, "&left=0&event=completed"));
    let kept = program.get(SCRAPE);
    assert!(kept.contains("8:completei1e10:downloadedi1e"), "{kept}");
    let (descriptors, threads) = (count(&program, "fd"), count(&program, "task"));
    // Less than what is worth another beginning may be left, and a few connections.
    let few = bound / 2 + 8;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let gap = scope.spawn(|| longest_gap(&program.address, &stop));
        let attack = scope.spawn(|| wear_out(&program.address, 10 * bound)).join();
        let left = left_when_settled(&program, descriptors + 2 * few, threads + few);
        stop.store(true, Ordering::Relaxed);
        let gap = gap.join().unwrap();
        attack.unwrap();
        assert!(left.is_none(), "{descriptors} descriptors and {threads} threads became {left:?}");
        println!("longest gap: {gap:?}");
        assert!(gap < GAP, "{gap:?}");
    });
    program.wait_for("beginning anew");
    assert!(program.child.try_wait().unwrap().is_none(), "it is the same process");
    assert_swarm_is_kept(&program);
}

/// tiny_http never lets go of a request of HTTP/2, which is what clients send that do not ask first.
#[test]
fn requests_of_http_2_do_not_wear_it_out() {
    let folder = folder();
    let path = config(folder.path());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}REQUEST_TIMEOUT = 1\n")).unwrap();
    let script = format!("ulimit -n 256; exec {PROGRAM} --config {} --port 0", path.display());
    let mut program = Program::run(Command::new("sh").args(["-c", &script]));
    program.get(&announce(1, "&left=5"));
    program.get(&announce(1, "&left=0&event=completed"));
    let (descriptors, threads) = (count(&program, "fd"), count(&program, "task"));
    // Room for 16 that are stuck.
    for n in 0..40 {
        let mut stream = TcpStream::connect(&program.address).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        drop(stream);
        if n % 8 == 7 {
            program.get(SCRAPE);
        }
    }
    // Who is stuck is known after ten seconds.
    program.wait_for("beginning anew");
    let left = left_when_settled(&program, descriptors + 32, threads + 16);
    assert!(left.is_none(), "{descriptors} descriptors and {threads} threads became {left:?}");
    assert!(program.child.try_wait().unwrap().is_none(), "it is the same process");
    assert_swarm_is_kept(&program);
}

#[test]
fn no_signal_is_lost_meanwhile() {
    let folder = folder();
    for delay_ms in [0, 2, 5, 10, 20, 40, 80, 160] {
        let mut program = Program::start(folder.path());
        program.signal(Signal::USR2);
        for _ in 0..delay_ms {
            program.signal(Signal::HUP);
            thread::sleep(Duration::from_millis(1));
        }
        program.signal(Signal::TERM);
        assert_eq!(program.code(), Some(0), "{delay_ms}");
    }
}

#[test]
fn it_begins_anew_from_a_file_that_is_gone() {
    let folder = folder();
    let path = folder.path().join("tracker");
    std::fs::copy(PROGRAM, &path).unwrap();
    let program =
        Program::run(Command::new(&path).arg("--config").arg(config(folder.path())).args(["--port", "0"]));
    for change in [
        |_: &Path| {},
        |path: &Path| std::fs::remove_file(path).unwrap(),
        |path: &Path| {
            std::fs::write(path, "#!/bin/false\n").unwrap();
        },
    ] {
        change(&path);
        program.signal(Signal::USR2);
        program.wait_for("beginning anew");
        let line = program.wait_for("listening on");
        assert!(line.contains(&program.address), "{line}");
        assert!(program.get(&announce(1, "&left=0")).contains("8:completei1e"));
    }
}

#[test]
fn it_goes_on_if_it_could_not_begin_anew() {
    let folder = folder();
    let program = Program::start(folder.path());
    let path = config(folder.path());
    std::fs::write(&path, "[tracker]\nPROT = 5\n").unwrap();
    program.signal(Signal::USR2);
    program.wait_for("not beginning anew");
    assert!(program.get(&announce(1, "&left=0")).contains("8:completei1e"));
    // What is on the disk may be wrong as well.
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("text"), "neither a folder nor a database").unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    for (key, before, wrong) in [
        ("PEER_FILE", "peers", ["folder", "pipe", "text/below"].as_slice()),
        ("TORRENT_FILE", "catalogue.db", &["text", "folder", "pipe", "text/below"]),
        ("TORRENT_DIR", "torrents", &["text", "pipe", "text/below"]),
    ] {
        for wrong in wrong {
            config(folder.path());
            let text = std::fs::read_to_string(&path).unwrap();
            let changed = text.replace(&format!("{key} = {before}"), &format!("{key} = {wrong}"));
            assert_ne!(text, changed);
            std::fs::write(&path, changed).unwrap();
            program.signal(Signal::USR2);
            let line = program.wait_for("beginning anew");
            let named = wrong.split('/').next().unwrap();
            assert!(line.contains("not beginning anew") && line.contains(named), "{key} = {wrong}: {line}");
            assert!(program.get(SCRAPE).contains("8:completei1e"));
        }
    }
    config(folder.path());
    program.signal(Signal::USR2);
    program.wait_for("listening on");
    assert!(program.get(SCRAPE).contains("8:completei1e"));
}

#[test]
fn it_goes_on_while_its_swarms_cannot_be_saved() {
    let folder = folder();
    let program = Program::start(folder.path());
    let limit_files = |current| {
        let limit = Rlimit { current, maximum: None };
        prlimit(Some(Pid::from_child(&program.child)), Resource::Fsize, limit).unwrap();
    };
    limit_files(Some(16));
    assert!(program.get(&announce(1, "&left=0")).contains("8:completei1e"));
    program.signal(Signal::USR2);
    let line = program.wait_for("beginning anew");
    assert!(line.contains("not beginning anew: newer peers would be lost"), "{line}");
    assert!(program.get(SCRAPE).contains("8:completei1e"));
    assert!(program.get("/").contains("swarms: "), "{}", program.get("/"));
    limit_files(None);
    program.signal(Signal::USR2);
    program.wait_for("listening on");
    assert!(program.get(SCRAPE).contains("8:completei1e"));
}

#[test]
fn what_a_killed_one_did_not_finish_goes_at_the_start() {
    let folder = folder();
    let unfinished = folder.path().join(".peers-aB3xYz");
    std::fs::write(&unfinished, "TFPEERS").unwrap();
    let _program = Program::start(folder.path());
    assert!(!unfinished.exists());
}
