//! A daemon that is played, and the commands run against it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use torrent_common::config::PeerConfig;
use torrent_common::ids::InfoHash;
use torrent_peer::control::api::{
    DaemonInfo, FileStatus, JobStatus, LeechRequest, SeedRequest, Status, TorrentDetails, TorrentState,
    TorrentStatus,
};
use torrent_peer::control::{ControlServer, Engine, Refusal};
use torrent_peer::options::{OptionsPatch, TorrentOptions};
use torrent_peer::settings::{SessionSettings, SettingsPatch};

/// Names, and where they are.
pub const PROGRAMS: [(&str, &str); 6] = [
    ("torrent-test", env!("CARGO_BIN_EXE_torrent-test")),
    ("torrent-seed", env!("CARGO_BIN_EXE_torrent-seed")),
    ("torrent-fetch", env!("CARGO_BIN_EXE_torrent-fetch")),
    ("torrent-leech", env!("CARGO_BIN_EXE_torrent-leech")),
    ("torrent-status", env!("CARGO_BIN_EXE_torrent-status")),
    ("torrent-daemon", env!("CARGO_BIN_EXE_torrent-daemon")),
];

/// Answers from a list of torrent states, one after the other; the last one stays.
#[derive(Default)]
pub struct Actor {
    pub states: Vec<TorrentStatus>,
    pub asked: AtomicUsize,
    pub job: Option<JobStatus>,
    pub cancelled: AtomicUsize,
    pub seeded: Mutex<Vec<SeedRequest>>,
    pub leeched: Mutex<Vec<LeechRequest>>,
    pub options: Mutex<TorrentOptions>,
    pub told: Mutex<Vec<String>>,
}

pub fn hash() -> InfoHash {
    InfoHash::new([7; 20])
}

pub fn torrent(state: TorrentState, progress: f64) -> TorrentStatus {
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

    fn details(&self, _: &InfoHash) -> Result<TorrentDetails, Refusal> {
        self.now().ok_or(Refusal::NotFound).map(|status| TorrentDetails {
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
        self.details(hash)
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
pub struct Stage {
    pub actor: Arc<Actor>,
    pub server: ControlServer,
    pub folder: tempfile::TempDir,
}

impl Stage {
    pub fn new(actor: Actor) -> Self {
        let actor = Arc::new(actor);
        let server = ControlServer::start(0, 2, Arc::clone(&actor) as Arc<dyn Engine>).unwrap();
        Self { actor, server, folder: tempfile::tempdir().unwrap() }
    }

    pub fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = program(name, self.folder.path());
        command.args(["--port", &self.server.address().port().to_string()]).args(arguments);
        command
    }

    pub fn run(&self, name: &str, arguments: &[&str]) -> Ended {
        Ended::of(self.command(name, arguments).output().unwrap())
    }

    pub fn file(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, b"d4:infode").unwrap();
        path.to_str().unwrap().to_owned()
    }
}

pub fn program(name: &str, folder: &Path) -> Command {
    let path = PROGRAMS.iter().find(|(known, _)| *known == name).unwrap().1;
    let mut command = Command::new(path);
    command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME").stdin(Stdio::null());
    command
}

#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Failed, with one line that says why.
    pub fn failed(&self) -> &str {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert!(!self.err.trim_end().contains(char::is_control), "{self:?}");
        &self.err
    }

    pub fn ok(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        &self.out
    }
}
