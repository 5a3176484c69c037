//! torrent-seed.

use std::process::Stdio;
use std::sync::atomic::Ordering;

use torrent_peer::control::api::{JobStatus, LinksLeftOut, SeedResult};

use crate::stage::{Actor, Ended, Stage, hash};

fn result(stage: &Stage, publish_error: Option<&str>) -> JobStatus {
    let links = LinksLeftOut { count: 3, first: "/data/\u{1b}[2Ja".into() };
    JobStatus::Done(SeedResult {
        info_hash: hash(),
        name: "n".into(),
        torrent_path: stage.file("made.torrent").into(),
        magnet: "magnet:?xt=urn:btih:07".into(),
        published: publish_error.is_none(),
        publish_error: publish_error.map(str::to_owned),
        started_again: None,
        links_left_out: publish_error.is_none().then_some(links),
    })
}

fn seeding(publish_error: Option<&str>) -> Stage {
    let folder_only = Stage::new(Actor::default());
    let job = Some(result(&folder_only, publish_error));
    Stage { folder: folder_only.folder, ..Stage::new(Actor { job, ..Actor::default() }) }
}

#[test]
fn seed_prints_what_it_made() {
    let stage = seeding(None);
    stage.file("input");
    let arguments = [
        "--input",
        "input",
        "--tracker",
        "http://a/announce",
        "--tracker",
        "udp://b:1",
        "--piece-length",
        "64K",
    ];
    let ended = stage.run("torrent-seed", &[&arguments[..], &["--torrent", "copy", "--private"]].concat());
    let copy = stage.folder.path().join("copy");
    for line in [
        format!("info-hash  {}", hash()),
        format!("torrent    {}", copy.display()),
        "magnet     magnet:?".into(),
    ] {
        assert!(ended.ok().contains(&line), "{ended:?}");
    }
    assert_eq!(std::fs::read(copy).unwrap(), b"d4:infode");
    let request = stage.actor.seeded.lock().unwrap().pop().unwrap();
    assert_eq!(request.path, stage.folder.path().join("input"));
    assert_eq!(request.trackers, ["http://a/announce", "udp://b:1"]);
    assert_eq!((request.private, request.piece_length), (true, Some(65536)));
    let json = stage.run("torrent-seed", &["--input", "input", "--json"]);
    assert_eq!(json.err, "", "it is all in the JSON");
    let json: serde_json::Value = serde_json::from_str(json.ok()).unwrap();
    assert_eq!(json["info_hash"], hash().to_string());
    let left_out = "3 links are not followed, and left out: the first is /data/\\u{1b}[2Ja\n";
    assert_eq!((ended.err.as_str(), &json["links_left_out"]["count"]), (left_out, &serde_json::json!(3)));
    assert!(stage.run("torrent-seed", &["--input", "missing"]).failed().contains("missing"));
}

#[test]
fn seed_fails_when_it_is_not_published_or_made() {
    let stage = seeding(Some("no answer\nfrom the tracker"));
    let ended = stage.run("torrent-seed", &["--input", &stage.file("input")]);
    assert!(ended.failed().contains("not in the catalogue"), "{ended:?}");
    assert!(ended.out.contains(&hash().to_string()), "{ended:?}");
    let job = Some(JobStatus::Failed { error: "cannot read \u{1b}x".into() });
    let stage = Stage::new(Actor { job, ..Actor::default() });
    let ended = stage.run("torrent-seed", &["--input", &stage.file("input")]);
    assert!(ended.failed().contains("cannot read \\u{1b}x"), "escaped, and once: {ended:?}");
}

#[test]
fn an_interrupted_seed_cancels_its_job() {
    let stage = Stage::new(Actor { job: Some(JobStatus::Running { done: 1, total: 2 }), ..Actor::default() });
    let input = stage.file("input");
    let child = stage
        .command("torrent-seed", &["--input", &input])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The command listens for signals before it asks for the job.
    while stage.actor.seeded.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = Ended::of(child.wait_with_output().unwrap());
    assert!(ended.failed().contains("cancelled"), "{ended:?}");
    assert_eq!(stage.actor.cancelled.load(Ordering::Relaxed), 1);
}
