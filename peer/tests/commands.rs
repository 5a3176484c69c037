//! The commands as programs: exit codes, what goes to which output, and what they say, against a daemon that is played.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests panic"
)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use torrent_common::config::PeerConfig;
use torrent_common::ids::InfoHash;
use torrent_peer::control::api::{
    DaemonInfo, FileStatus, JobStatus, LeechRequest, LinksLeftOut, SeedRequest, SeedResult, Status,
    TorrentDetails, TorrentState, TorrentStatus,
};
use torrent_peer::control::{ControlServer, Engine, Refusal};
use torrent_peer::options::{OptionsPatch, TorrentOptions};
use torrent_peer::settings::{SessionSettings, SettingsPatch};

const PROGRAMS: [(&str, &str); 6] = [
    ("torrent-test", env!("CARGO_BIN_EXE_torrent-test")),
    ("torrent-seed", env!("CARGO_BIN_EXE_torrent-seed")),
    ("torrent-fetch", env!("CARGO_BIN_EXE_torrent-fetch")),
    ("torrent-leech", env!("CARGO_BIN_EXE_torrent-leech")),
    ("torrent-status", env!("CARGO_BIN_EXE_torrent-status")),
    ("torrent-daemon", env!("CARGO_BIN_EXE_torrent-daemon")),
];

/// Answers from a list of torrent states, one after the other; the last one stays.
#[derive(Default)]
struct Actor {
    states: Vec<TorrentStatus>,
    asked: AtomicUsize,
    job: Option<JobStatus>,
    cancelled: AtomicUsize,
    seeded: Mutex<Vec<SeedRequest>>,
    leeched: Mutex<Vec<LeechRequest>>,
    options: Mutex<TorrentOptions>,
    told: Mutex<Vec<String>>,
}

fn hash() -> InfoHash {
    InfoHash::new([7; 20])
}

fn torrent(state: TorrentState, progress: f64) -> TorrentStatus {
    TorrentStatus {
        info_hash: hash(),
        name: "evil\u{1b}[2J name".into(),
        state,
        progress,
        size: 4 << 20,
        selected: 4 << 20,
        downloaded: 1 << 20,
        uploaded: 0,
        download_rate: 1 << 20,
        upload_rate: 0,
        peers: 3,
        seeds: 1,
        eta_seconds: Some(3),
        error: (state == TorrentState::Error).then(|| "the disk is full\u{7}".into()),
        retry_seconds: None,
        output: "/downloads".into(),
        private: false,
    }
}

impl Actor {
    fn note(&self, told: String) -> Result<(), Refusal> {
        self.told.lock().unwrap().push(told);
        Ok(())
    }

    fn file(&self, index: usize) -> FileStatus {
        FileStatus {
            path: format!("evil\u{7}/{index}.bin"),
            length: 1 << 20,
            priority: self.options.lock().unwrap().priority(index),
            bytes_had: 1 << 19,
        }
    }

    fn now(&self) -> Option<TorrentStatus> {
        let at = self.asked.fetch_add(1, Ordering::Relaxed);
        self.states.get(at).or(self.states.last()).cloned()
    }
}

impl Engine for Actor {
    fn info(&self) -> DaemonInfo {
        DaemonInfo {
            name: "torrent-daemon".into(),
            version: "1".into(),
            peer_id: String::new(),
            peer_port: 6881,
            // Nobody listens on the discard port.
            tracker_url: "http://127.0.0.1:9/announce".into(),
            download_dir: "/downloads".into(),
            uptime_seconds: 0,
            torrents: 0,
        }
    }

    fn status(&self) -> Status {
        Status { torrents: self.now().into_iter().collect(), download_rate: 0, upload_rate: 0, peers: 3 }
    }

    fn details(&self, _: &InfoHash) -> Option<TorrentDetails> {
        self.now().map(|status| TorrentDetails {
            status,
            piece_length: 16384,
            piece_count: 1,
            pieces_had: 0,
            trackers: vec![],
            files: (0..3).map(|index| self.file(index)).collect(),
            torrent_path: "/t".into(),
            magnet: String::new(),
            tracker_message: None,
            pieces_checked: 0,
            options: self.options.lock().unwrap().clone(),
        })
    }

    fn seed(&self, request: SeedRequest) -> Result<u64, Refusal> {
        self.seeded.lock().unwrap().push(request);
        Ok(1)
    }

    fn job(&self, _: u64) -> Option<JobStatus> {
        self.job.clone()
    }

    fn cancel_job(&self, _: u64) -> bool {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn leech(&self, request: LeechRequest) -> Result<TorrentStatus, Refusal> {
        self.leeched.lock().unwrap().push(request);
        self.states.first().cloned().ok_or_else(|| Refusal::BadRequest("not a torrent: \u{1b}[2J".into()))
    }

    fn pause(&self, hash: &InfoHash) -> Result<(), Refusal> {
        self.note(format!("pause {hash}"))
    }

    fn resume(&self, hash: &InfoHash) -> Result<(), Refusal> {
        self.note(format!("resume {hash}"))
    }

    fn remove(&self, hash: &InfoHash, delete_data: bool) -> Result<(), Refusal> {
        self.note(format!("remove {hash} {delete_data}"))
    }

    fn set_options(&self, hash: &InfoHash, patch: &OptionsPatch) -> Result<TorrentDetails, Refusal> {
        {
            let mut options = self.options.lock().unwrap();
            *options = patch.applied_to(&options, 3).map_err(|e| Refusal::BadRequest(e.to_string()))?;
        }
        self.details(hash).ok_or(Refusal::NotFound)
    }

    fn settings(&self) -> SessionSettings {
        SessionSettings::configured(&PeerConfig::default())
    }

    fn set_settings(&self, patch: &SettingsPatch) -> Result<SessionSettings, Refusal> {
        let settings = self.settings();
        patch.applied_to(&settings, &settings).map_err(|error| Refusal::BadRequest(error.to_string()))
    }
}

/// A played daemon, and a folder for the commands that run against it.
struct Stage {
    actor: Arc<Actor>,
    server: ControlServer,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new(actor: Actor) -> Self {
        let actor = Arc::new(actor);
        let server = ControlServer::start(0, 2, Arc::clone(&actor) as Arc<dyn Engine>).unwrap();
        Self { actor, server, folder: tempfile::tempdir().unwrap() }
    }

    fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = program(name, self.folder.path());
        command.args(["--port", &self.server.address().port().to_string()]).args(arguments);
        command
    }

    fn run(&self, name: &str, arguments: &[&str]) -> Ended {
        Ended::of(self.command(name, arguments).output().unwrap())
    }

    fn file(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, b"d4:infode").unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn program(name: &str, folder: &Path) -> Command {
    let path = PROGRAMS.iter().find(|(known, _)| *known == name).unwrap().1;
    let mut command = Command::new(path);
    command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME").stdin(Stdio::null());
    command
}

#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Failed, with one line that says why.
    fn failed(&self) -> &str {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert!(!self.err.trim_end().contains(char::is_control), "{self:?}");
        &self.err
    }

    fn ok(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        &self.out
    }
}

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
fn status_as_table_and_json() {
    let stage = Stage::new(Actor { states: vec![torrent(TorrentState::Error, 0.5)], ..Actor::default() });
    let table = stage.run("torrent-status", &[]);
    for word in ["Name", "error", "50.0%", "4.0 MiB", "the disk is full"] {
        assert!(table.ok().contains(word), "{table:?}");
    }
    assert!(!table.out.contains('\u{1b}'), "{table:?}");
    let json: serde_json::Value =
        serde_json::from_str(stage.run("torrent-status", &["--json"]).ok()).unwrap();
    let keys = [
        "info_hash",
        "name",
        "state",
        "progress",
        "size",
        "downloaded",
        "uploaded",
        "download_rate",
        "upload_rate",
        "peers",
        "seeds",
        "eta_seconds",
        "error",
        "retry_seconds",
    ];
    for key in keys {
        assert!(json["torrents"][0].get(key).is_some(), "{key}: {json}");
    }
    assert_eq!(json["torrents"][0]["state"], "error");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let stage = Stage::new(Actor { states: vec![torrent(TorrentState::Seeding, 1.0)], ..Actor::default() });
    let mut child = stage
        .command("torrent-status", &["--watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = Ended::of(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = Ended::of(stage.command("torrent-status", &[]).stdout(full).output().unwrap());
    assert!(ended.failed().contains("cannot write the output"), "{ended:?}");
}

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

#[test]
fn leech_sends_the_file_and_waits() {
    use TorrentState::{Checking, Downloading, Paused, Seeding};
    let states = vec![
        torrent(Checking, 0.0),
        torrent(Checking, 0.9),
        torrent(Downloading, 0.1),
        torrent(Paused, 0.2),
        torrent(Seeding, 1.0),
    ];
    let stage = Stage::new(Actor { states, ..Actor::default() });
    let file = stage.file("x.torrent");
    let ended = stage.run("torrent-leech", &["--torrent", &file, "--output", "here", "--wait"]);
    assert!(ended.ok().starts_with("complete: evil"), "{ended:?}");
    assert!(ended.err.contains("checking") && ended.err.contains("waiting until it is resumed"), "{ended:?}");
    assert!(!ended.err.contains('\u{1b}') && !ended.out.contains('\u{1b}'), "{ended:?}");
    let request = stage.actor.leeched.lock().unwrap().pop().unwrap();
    assert_eq!(request.torrent_base64.as_deref(), Some("ZDQ6aW5mb2Rl"));
    assert_eq!(request.output, Some(stage.folder.path().join("here")));
    let json = stage.run("torrent-leech", &["--torrent", &file, "--json", "--wait"]);
    assert_eq!(json.err, "");
    let json: serde_json::Value = serde_json::from_str(json.ok()).unwrap();
    assert_eq!(json["state"], "seeding");
}

#[test]
fn leech_waits_for_what_may_pass_and_says_so_once() {
    let tried = |seconds| TorrentStatus { retry_seconds: Some(seconds), ..torrent(TorrentState::Error, 0.5) };
    let full = TorrentStatus { error: Some("no room".into()), ..torrent(TorrentState::Downloading, 0.6) };
    let states = vec![tried(2), tried(0), tried(4), full.clone(), full, torrent(TorrentState::Seeding, 1.0)];
    let stage = Stage::new(Actor { states, ..Actor::default() });
    let file = stage.file("x.torrent");
    let ended = stage.run("torrent-leech", &["--torrent", &file, "--wait"]);
    assert!(ended.ok().starts_with("complete: evil"), "{ended:?}");
    assert_eq!(ended.err.matches("the disk is full").count(), 1, "{ended:?}");
    assert_eq!(ended.err.matches("no room").count(), 1, "{ended:?}");
    // As long as the user wants.
    let stage = Stage::new(Actor { states: vec![tried(4)], ..Actor::default() });
    let file = stage.file("x.torrent");
    let ended = stage.run("torrent-leech", &["--torrent", &file, "--wait", "--timeout", "1"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("not complete in the time given"), "{ended:?}");
}

#[test]
fn leech_fails_with_the_reason() {
    let stage = Stage::new(Actor { states: vec![torrent(TorrentState::Error, 0.5)], ..Actor::default() });
    let file = stage.file("x.torrent");
    let ended = stage.run("torrent-leech", &["--torrent", &file, "--wait"]);
    assert!(ended.failed().contains("the disk is full"), "{ended:?}");
    let stage = Stage::new(Actor::default());
    let file = stage.file("x.torrent");
    assert!(stage.run("torrent-leech", &["--torrent", &file]).failed().contains("not a torrent"));
    assert!(stage.run("torrent-leech", &["--torrent", "missing"]).failed().contains("missing"));
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
fn status_tells_all_about_one_torrent_and_sets_it() {
    use TorrentState::Seeding;
    let stage = Stage::new(Actor { states: vec![torrent(Seeding, 1.0)], ..Actor::default() });
    let hash = hash().to_string();
    let shown = stage.run("torrent-status", &[&hash[..4]]);
    assert!(shown.ok().contains(&hash), "{shown:?}");
    assert!(!shown.out.contains(['\u{1b}', '\u{7}']));
    // By name, whatever is in it.
    assert!(stage.run("torrent-status", &["evil\u{1b}[2J name"]).ok().contains(&hash));
    assert!(stage.run("torrent-status", &["ffff"]).failed().contains("no torrent ffff"));
    let set = ["07", "--set", "upload_limit=2M", "--set", "priority.2-3=skip", "--set", "max-connections=9"];
    let shown = stage.run("torrent-status", &set);
    assert!(shown.ok().contains("upload_limit    2.0 MiB/s") && shown.out.contains("max_connections 9"));
    let files = stage.run("torrent-status", &["07", "--files"]);
    let lines: Vec<_> = files.ok().lines().collect();
    assert_eq!(lines.len(), 4, "{files:?}");
    assert!(
        lines[1].contains("normal") && lines[2].contains("skip") && lines[2].contains("50.0%"),
        "{lines:?}"
    );
    let back = ["07", "--set", "upload_limit=default", "--json", "--pause"];
    let details: TorrentDetails = serde_json::from_str(stage.run("torrent-status", &back).ok()).unwrap();
    assert_eq!((details.options.upload_limit, details.options.max_connections), (None, Some(9)));
    stage.run("torrent-status", &["07", "--resume"]).ok();
    stage.run("torrent-status", &["07", "--remove", "--delete-data"]).ok();
    let told = stage.actor.told.lock().unwrap().clone();
    assert_eq!(told, [format!("pause {hash}"), format!("resume {hash}"), format!("remove {hash} true")]);
    for wrong in [
        &["--pause"][..],
        &["07", "--pause", "--resume"],
        &["07", "--delete-data"],
        &["07", "--set", "nonsense"],
        &["07", "--set", "alt_mode=on"],
        &["--set", "sequential=yes"],
        &["07", "--watch"],
    ] {
        assert_eq!(stage.run("torrent-status", wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn status_shows_and_sets_what_holds_for_all() {
    let stage = Stage::new(Actor::default());
    let shown = stage.run("torrent-status", &["--settings"]);
    assert!(shown.ok().contains("max_active_seeds      no limit"), "{shown:?}");
    let set = ["--set", "max_active_seeds=4", "--set", "seed_time=1h", "--json"];
    let settings: SessionSettings = serde_json::from_str(stage.run("torrent-status", &set).ok()).unwrap();
    assert_eq!((settings.max_active_seeds, settings.seed_time_s), (4, 3600));
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
