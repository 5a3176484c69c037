//! The commands as programs: exit codes, what goes to which output, and what they say, against a daemon that is played.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests panic"
)]

mod leech;
mod seed;
mod stage;
mod status;

use std::process::Command;

use torrent_peer::control::api::TorrentState;
use torrent_peer::options::OptionsPatch;

use stage::{Actor, Ended, PROGRAMS, Stage, program, torrent};

#[test]
fn help_version_and_usage() {
    let folder = tempfile::tempdir().unwrap();
    for (name, _) in PROGRAMS {
        let run =
            |arguments: &[&str]| Ended::of(program(name, folder.path()).args(arguments).output().unwrap());
        for (help, expected) in [("--help", "--config"), ("--version", name)] {
            let ended = run(&[help]);
            assert!(ended.ok().contains(expected), "{ended:?}");
            assert_eq!(ended.err, "");
        }
        // torrent-status takes one name, of a torrent.
        let surplus: &[&str] = if name == "torrent-status" { &["one", "surplus"] } else { &["surplus"] };
        for wrong in [&["--no-such-option"][..], &["--port", "70000"], &["--port"], surplus] {
            let ended = run(wrong);
            assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{name} {ended:?}");
            assert!(ended.err.starts_with(name) && ended.err.contains("--help"), "{ended:?}");
        }
    }
    let wrong: [(&str, &[&str]); 6] = [
        ("torrent-seed", &[]),
        ("torrent-leech", &[]),
        ("torrent-seed", &["--input", "x", "--piece-length", "1000"]),
        ("torrent-fetch", &["--info-hash", "xyz"]),
        ("torrent-fetch", &["--output", "x"]),
        ("torrent-fetch", &["--one"]),
    ];
    for (name, arguments) in wrong {
        let ended = Ended::of(program(name, folder.path()).args(arguments).output().unwrap());
        assert_eq!(ended.code, Some(2), "{name} {ended:?}");
    }
}

#[test]
fn a_wrong_configuration_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.ini"), "[peer]\nPROT = 1\n").unwrap();
    for (name, arguments) in
        [("torrent-status", &[][..]), ("torrent-daemon", &[]), ("torrent-seed", &["--input", "x"])]
    {
        let ended = Ended::of(program(name, folder.path()).args(arguments).output().unwrap());
        let error = ended.failed();
        assert!(error.contains("config.ini") && error.contains("PROT"), "{error}");
    }
    // Nobody writes to it: it must not be waited for.
    assert!(Command::new("mkfifo").arg(folder.path().join("pipe.ini")).status().unwrap().success());
    let ended = program("torrent-daemon", folder.path()).args(["--config", "pipe.ini"]).output().unwrap();
    assert!(Ended::of(ended).failed().contains("it is a pipe, not a file"));
    let missing =
        program("torrent-status", folder.path()).args(["--config", "missing.ini"]).output().unwrap();
    assert!(Ended::of(missing).failed().contains("missing.ini"));
}

#[test]
fn without_a_daemon_each_says_so() {
    // Bound and never accepting would hang; free a moment ago is refused.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let stage = Stage::new(Actor::default());
    let torrent = stage.file("x.torrent");
    for (name, arguments) in [
        ("torrent-status", &[][..]),
        ("torrent-test", &["--tracker", "http://127.0.0.1:9/announce"]),
        ("torrent-seed", &["--input", &torrent]),
        ("torrent-leech", &["--torrent", &torrent]),
    ] {
        let mut command = program(name, stage.folder.path());
        let ended = Ended::of(command.args(["--port", &port]).args(arguments).output().unwrap());
        assert!(ended.failed().contains("start one with `torrent-daemon`"), "{ended:?}");
    }
}

#[test]
fn test_reports_both() {
    let stage = Stage::new(Actor::default());
    let ended = stage.run("torrent-test", &[]);
    assert!(ended.failed().contains("127.0.0.1:9"), "{ended:?}");
    assert!(ended.out.starts_with("daemon "), "{ended:?}");
    let ended = stage.run("torrent-test", &["--json"]);
    ended.failed();
    let json: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((json["ok"].as_bool(), json["daemon"]["ok"].as_bool()), (Some(false), Some(true)));
}

#[test]
fn test_says_nothing_on_stdout_until_a_daemon_answers() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let test = std::process::Command::new(env!("CARGO_BIN_EXE_torrent-test"));
    let output =
        { test }.args(["--json", "--port", &port]).current_dir(std::env::temp_dir()).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
}

#[test]
fn seeding_and_leeching_set_what_is_asked() {
    let stage = Stage::new(Actor { states: vec![torrent(TorrentState::Seeding, 1.0)], ..Actor::default() });
    let torrent = stage.file("x.torrent");
    let goals = ["--max-peers", "5", "--ratio", "1.5", "--seed-time", "2h"];
    stage.run("torrent-leech", &[&["--torrent", &torrent][..], &goals].concat()).ok();
    let expected = OptionsPatch {
        max_connections: Some(Some(5)),
        seed_ratio: Some(Some(1.5)),
        seed_time_s: Some(Some(7200)),
        ..OptionsPatch::default()
    };
    assert_eq!(stage.actor.leeched.lock().unwrap()[0].options, expected);
    // The job is not known: only what was asked counts.
    let input = torrent.as_str();
    stage.run("torrent-seed", &[&["--input", input, "--up", "1M"][..], &goals].concat());
    let seeded = stage.actor.seeded.lock().unwrap()[0].options.clone();
    assert_eq!(seeded, OptionsPatch { upload_limit: Some(Some(1 << 20)), ..expected });
    assert_eq!(stage.run("torrent-seed", &["--input", input, "--up", "fast"]).code, Some(2));
}
