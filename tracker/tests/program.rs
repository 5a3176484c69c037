//! torrent-tracker as a program: exit codes, signals, kills, and too few descriptors.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests, and helpers of tests, which the lints take for production code"
)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use support::{PROGRAM, Program, config, folder, upload};

fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(PROGRAM).args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn announce(ip: &str, left: u32) -> String {
    format!(
        "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881&left={left}&ip={ip}"
    )
}

#[test]
fn help_is_no_error_and_nonsense_is_code_2() {
    let (code, out, err) = output(&["--help"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("--config") && out.contains("--host") && out.contains("--port"), "{out}");
    let version = concat!("torrent-tracker ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(output(&["--version"]), (Some(0), version.to_owned(), String::new()));
    for arguments in [&["--nonsense"][..], &["--port", "65536"], &["--port"], &["--host", "x"], &["more"]] {
        let (code, out, err) = output(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(!err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_keeps_it_from_starting_is_one_line() {
    let folder = folder();
    let bad = folder.path().join("bad.ini");
    std::fs::write(&bad, "[tracker]\nPROT = 8000\n").unwrap();
    let pipe = folder.path().join("pipe.ini");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let running = Program::start(folder.path());
    let port = running.address.rsplit(':').next().unwrap();
    let config = config(folder.path());
    for (arguments, expected) in [
        (vec!["--config", "/nowhere/config.ini"], "/nowhere/config.ini"),
        (vec!["--config", bad.to_str().unwrap()], "PORT"),
        (vec!["--config", pipe.to_str().unwrap()], "pipe.ini: it is a pipe, not a file"),
        (vec!["--config", config.to_str().unwrap(), "--port", port], "in use"),
        (vec!["--config", config.to_str().unwrap(), "--port", "0", "--host", "192.0.2.1"], "192.0.2.1"),
    ] {
        let (code, out, err) = output(&arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert!(err.starts_with("torrent-tracker: ") && err.contains(expected), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

/// Whoever shows what it writes (a pager, a terminal that is held) reads no more of it.
#[test]
fn who_does_not_read_its_log_does_not_hold_up_a_stop() {
    let folder = folder();
    let (_reader, stderr) = std::io::pipe().unwrap();
    let mut unread = stderr.try_clone().unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(config(folder.path())).args(["--port", "0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("ready "), "{line}");
    let flags = fcntl_getfl(&unread).unwrap();
    fcntl_setfl(&unread, flags | OFlags::NONBLOCK).unwrap();
    for len in [4096, 1] {
        while unread.write_all(&vec![b'x'; len]).is_ok() {}
    }
    fcntl_setfl(&unread, flags).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > until => {
                child.kill().unwrap();
                panic!("it does not end");
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    assert_eq!(status.code(), Some(0));
}

#[test]
fn signals_stop_it_in_order() {
    let folder = folder();
    for signal in [Signal::TERM, Signal::INT] {
        let mut program = Program::start(folder.path());
        program.get(&announce("10.0.0.1", 0));
        let idle = TcpStream::connect(&program.address).unwrap();
        program.signal(signal);
        assert_eq!(program.code(), Some(0));
        drop(idle);
    }
    let program = Program::start(folder.path());
    assert!(program.get(&announce("10.0.0.2", 5)).contains("8:completei1e"));
}

#[test]
fn a_hangup_makes_it_read_the_list_again() {
    let folder = folder();
    let config = config(folder.path());
    let list = folder.path().join("list");
    std::fs::write(&list, "# nobody yet\n").unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}ACCESS = allow\nACCESS_FILE = list\n")).unwrap();
    let program = Program::run(Command::new(PROGRAM).arg("--config").arg(&config).args(["--port", "0"]));
    assert!(program.get(&announce("10.0.0.1", 0)).contains("not tracked"));
    std::fs::write(&list, format!("{}\n", "61".repeat(20))).unwrap();
    program.signal(Signal::HUP);
    program.wait_for("the list has 1 torrents");
    assert!(program.get(&announce("10.0.0.1", 0)).contains("8:completei1e"));
}

#[test]
fn a_list_that_has_become_a_pipe_keeps_no_signal_waiting() {
    let folder = folder();
    let config = config(folder.path());
    let list = folder.path().join("list");
    std::fs::write(&list, "").unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}ACCESS = deny\nACCESS_FILE = list\n")).unwrap();
    let mut program = Program::run(Command::new(PROGRAM).arg("--config").arg(&config).args(["--port", "0"]));
    std::fs::remove_file(&list).unwrap();
    mknodat(CWD, &list, FileType::Fifo, Mode::RWXU, 0).unwrap();
    program.signal(Signal::HUP);
    let line = program.wait_for("the list of torrents stays as it was");
    assert!(line.contains("list: it is a pipe, not a file"), "{line}");
    program.signal(Signal::USR2);
    program.wait_for("not beginning anew");
    assert!(program.get(&announce("10.0.0.1", 0)).contains("8:completei1e"));
    program.signal(Signal::TERM);
    assert_eq!(program.code(), Some(0));
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = folder();
    for n in 0..5 {
        let mut program = Program::start(folder.path());
        assert!(program.get("/torrents").contains(&format!("\"total\":{n}")));
        let reply = program.ask(&upload(&format!("torrent{n}")));
        assert!(reply.starts_with("HTTP/1.0 201 "), "{reply}");
        program.signal(Signal::KILL);
        program.code();
    }
}

#[test]
fn it_recovers_from_too_few_descriptors() {
    // A connection takes two descriptors: they can run out between connections and in the middle of one.
    for one_more in ["", "exec 9</dev/null; "] {
        let folder = folder();
        let script = format!(
            "ulimit -n 64; {one_more}exec {PROGRAM} --config {} --port 0",
            config(folder.path()).display()
        );
        let program = Program::run(Command::new("sh").args(["-c", &script]));
        for round in 0..2 {
            let held: Vec<_> = (0..100).map(|_| TcpStream::connect(&program.address).unwrap()).collect();
            let until = Instant::now() + Duration::from_secs(30);
            // While the connections are still held open: whoever holds them must not keep others out.
            while !program.get(&announce("10.0.0.1", 5)).contains("10:incompletei1e") {
                assert!(Instant::now() < until, "{one_more:?}, round {round}: nobody is served any more");
                thread::sleep(Duration::from_millis(100));
            }
            drop(held);
        }
    }
}
