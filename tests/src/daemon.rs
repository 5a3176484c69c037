//! A running daemon, driven through its control interface.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;
use torrent_common::ids::InfoHash;
use torrent_peer::control::api::{
    JobStarted, JobStatus, LeechRequest, SeedRequest, SeedResult, Status, TorrentDetails, TorrentRequest,
    TorrentState, TorrentStatus,
};
use torrent_peer::options::OptionsPatch;

use crate::http::{self, Answer};
use crate::mounts;
use crate::process::{Process, Usage, hermetic};
use crate::programs::program;
use crate::room::{Place, Room};
use crate::wait::{PATIENCE, wait_for, wait_until};

/// What the daemon may leave in its folder.
const EXPECTED_FILES: &[&str] = &["config.ini", "downloads", "home", "log", "state", "tmp", "torrents"];

/// A `torrent-daemon` in a folder of its own.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    process: Process,
    folder: PathBuf,
    control: SocketAddr,
    peers: SocketAddr,
    place: Place,
    /// A shell script that runs before it, in its own mount namespace.
    script: Option<String>,
}

impl Daemon {
    /// Starts a daemon on loopback. `name` is also its folder's.
    ///
    /// # Panics
    /// If it is not ready in time.
    pub fn start(room: &Room, name: &str, tracker_url: &str) -> Self {
        Self::start_at(room, name, tracker_url, Place::Here, "")
    }

    /// Starts a daemon in `place`, with more lines for the `[peer]` section of its configuration.
    ///
    /// # Panics
    /// If it is not ready in time.
    pub fn start_at(room: &Room, name: &str, tracker_url: &str, place: Place, settings: &str) -> Self {
        Self::start_in(room, name, tracker_url, place, settings, None)
    }

    /// The same with a shell script that is run in its folder before it, in a mount namespace of its own, by whoever is root
    /// there: what it mounts and limits holds for the daemon alone. [`Daemon::inside`] leads there.
    ///
    /// # Panics
    /// If it is not ready in time.
    pub fn start_after(room: &Room, name: &str, tracker_url: &str, settings: &str, script: &str) -> Self {
        Self::start_in(room, name, tracker_url, Place::Here, settings, Some(script.to_owned()))
    }

    fn start_in(
        room: &Room,
        name: &str,
        tracker_url: &str,
        place: Place,
        settings: &str,
        script: Option<String>,
    ) -> Self {
        let folder = room.folder(name);
        let config = format!(
            "[peer]\nTRACKER_URL = {tracker_url}\nTORRENT_DIR = torrents\nDOWNLOAD_DIR = downloads\nSTATE_DIR = state\n\
             PORT = 0\nPEER_PORT = 0\nINTERVAL = 1\n{settings}\n"
        );
        std::fs::write(folder.join("config.ini"), config).unwrap();
        let (process, control, peers) = run(name, &folder, &place, script.as_deref());
        Self { name: name.to_owned(), process, folder, control, peers, place, script }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder: `downloads/`, `torrents/`, `state/`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where downloads go unless told otherwise.
    pub fn downloads(&self) -> PathBuf {
        self.folder.join("downloads")
    }

    /// A path in its folder as the daemon sees it, with what is mounted there.
    pub fn inside(&self, path: &str) -> PathBuf {
        let below = self.folder.join(path);
        Path::new(&format!("/proc/{}/root", self.process.id())).join(below.strip_prefix("/").unwrap())
    }

    /// Runs a shell script in its folder, where it sees what the daemon sees.
    ///
    /// # Panics
    /// If it fails.
    pub fn run_inside(&self, script: &str) {
        mounts::run_beside(self.process.id(), &self.folder, script);
    }

    /// The same; gives back whether it succeeds.
    ///
    /// # Panics
    /// If it cannot be begun.
    pub fn try_inside(&self, script: &str) -> bool {
        mounts::try_beside(self.process.id(), &self.folder, script).status.success()
    }

    /// Lines of its log, all of them, that say so.
    ///
    /// # Panics
    /// If there is no log.
    pub fn logged(&self, what: &str) -> usize {
        let log = std::fs::read(self.folder.join("log")).unwrap();
        String::from_utf8_lossy(&log).lines().filter(|line| line.contains(what)).count()
    }

    /// Where its control interface listens.
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// Where peers in the same network reach it.
    pub fn peer_address(&self) -> SocketAddr {
        (self.place.address(), self.peers.port()).into()
    }

    /// Its process id.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// The most memory that it has had at once so far, in KiB.
    ///
    /// # Panics
    /// If it does not run.
    pub fn peak_kib(&self) -> u64 {
        self.process.peak_kib()
    }

    /// What it uses now.
    ///
    /// # Panics
    /// If it does not run.
    pub fn usage(&self) -> Usage {
        self.process.usage()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// GET a path.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn get(&self, path: &str) -> Answer {
        let url = format!("http://{}{path}", self.control);
        self.place
            .run(|| http::get(&url))
            .unwrap_or_else(|error| panic!("{}: GET {path}: {error}", self.name))
    }

    /// POST JSON to a path.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn post(&self, path: &str, body: &impl Serialize) -> Answer {
        self.post_raw(path, &[("Content-Type", "application/json")], &serde_json::to_vec(body).unwrap())
    }

    /// POST anything to a path.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn post_raw(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let url = format!("http://{}{path}", self.control);
        let answer = self.place.run(|| http::post(&url, headers, body));
        answer.unwrap_or_else(|error| panic!("{}: POST {path}: {error}", self.name))
    }

    /// Every torrent.
    pub fn status(&self) -> Status {
        self.get("/status").json()
    }

    /// One torrent.
    pub fn details(&self, info_hash: InfoHash) -> TorrentDetails {
        self.get(&format!("/torrents/{info_hash}")).json()
    }

    /// Makes a torrent of `path`, publishes it unless it is private, and waits until all that is done.
    ///
    /// # Panics
    /// If it fails.
    pub fn seed(&self, request: &SeedRequest) -> SeedResult {
        let started: JobStarted = self.post("/seed", request).json();
        wait_for("the torrent to be made", PATIENCE, || {
            match self.get(&format!("/jobs/{}", started.job)).json::<JobStatus>() {
                JobStatus::Running { done, total } => Err(format!("{done} of {total} bytes are hashed")),
                JobStatus::Done(result) => Ok(result),
                JobStatus::Failed { error } => panic!("{}: seeding failed: {error}", self.name),
            }
        })
    }

    /// Seeds `path` with pieces of `piece_len` bytes, published.
    ///
    /// # Panics
    /// If it fails.
    pub fn publish(&self, path: &Path, piece_len: u64) -> SeedResult {
        let result = self.seed(&SeedRequest { piece_length: Some(piece_len), ..seed_request(path) });
        assert_eq!(result.publish_error, None);
        assert!(result.published, "{result:?}");
        result
    }

    /// Adds a torrent file, to be downloaded to or seeded from `output` (its DOWNLOAD_DIR when `None`).
    ///
    /// # Panics
    /// If it is refused.
    pub fn leech(&self, torrent: &Path, output: Option<&Path>) -> TorrentStatus {
        let request = LeechRequest {
            torrent_base64: None,
            torrent_path: Some(torrent.to_owned()),
            output: output.map(Path::to_owned),
            options: OptionsPatch::default(),
        };
        self.post("/leech", &request).json()
    }

    /// POST /pause, /resume or /remove. What is removed is gone then: on a busy machine the answer may come before.
    ///
    /// # Panics
    /// If it is refused, or what is removed stays.
    pub fn tell(&self, path: &str, info_hash: InfoHash, delete_data: bool) {
        let answer = self.post(path, &TorrentRequest { info_hash, delete_data });
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        if path == "/remove" {
            wait_until("what is removed to be gone", PATIENCE, || {
                self.get(&format!("/torrents/{info_hash}")).status == 404
            });
        }
    }

    /// Waits until the torrent is as `wanted` says, and gives it.
    ///
    /// # Panics
    /// If it does not come to that, or the torrent fails.
    pub fn wait_for(
        &self,
        what: &str,
        info_hash: InfoHash,
        mut wanted: impl FnMut(&TorrentDetails) -> bool,
    ) -> TorrentDetails {
        wait_for(&format!("{} to have {what}", self.name), PATIENCE, || {
            let details = self.details(info_hash);
            let status = &details.status;
            assert!(status.state != TorrentState::Error, "{}: {:?}", self.name, status.error);
            match wanted(&details) {
                true => Ok(details),
                false => Err(format!("{details:?}")),
            }
        })
    }

    /// Waits until the torrent is complete and seeding.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn wait_for_seeding(&self, info_hash: InfoHash) -> TorrentDetails {
        let details =
            self.wait_for("all of it", info_hash, |details| details.status.state == TorrentState::Seeding);
        assert!((details.status.progress - 1.0).abs() < f64::EPSILON, "{details:?}");
        assert_eq!(details.pieces_had, details.piece_count);
        details
    }

    /// Stops it as a service manager would, and starts it again.
    ///
    /// # Panics
    /// If it does not end or start as it should.
    pub fn restart(&mut self) {
        self.process.terminate();
        (self.process, self.control, self.peers) =
            run(&self.name, &self.folder, &self.place, self.script.as_deref());
    }

    /// Kills it (SIGKILL). [`Daemon::start_again`] follows.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`Daemon::kill`].
    ///
    /// # Panics
    /// If it is not ready in time.
    pub fn start_again(&mut self) {
        (self.process, self.control, self.peers) =
            run(&self.name, &self.folder, &self.place, self.script.as_deref());
    }

    /// Ends it as a service manager would, and looks at what it leaves.
    ///
    /// # Panics
    /// If it does not end in time and well, or leaves files that it should not.
    pub fn stop(mut self) {
        self.process.terminate();
        crate::process::assert_left_only(&self.folder, EXPECTED_FILES);
    }
}

/// A request to seed `path`, with nothing else said.
pub fn seed_request(path: &Path) -> SeedRequest {
    SeedRequest {
        path: path.to_owned(),
        private: false,
        piece_length: None,
        trackers: Vec::new(),
        name: None,
        description: None,
        options: OptionsPatch::default(),
    }
}

fn run(name: &str, folder: &Path, place: &Place, script: Option<&str>) -> (Process, SocketAddr, SocketAddr) {
    let daemon = program("torrent-daemon");
    let mut command = match script {
        None => hermetic(daemon, folder),
        Some(script) => {
            let mut command = hermetic(Path::new("unshare"), folder);
            command
                .args(mounts::OWN)
                .args(["sh", "-ec", &format!("{script}\nexec \"$0\" \"$@\"")])
                .arg(daemon);
            command
        }
    };
    command.args(["--config", "config.ini"]);
    let process = Process::start(name, &mut command, &folder.join("log"), place);
    let ready = process.ready();
    let (control, peers) = (process.address(&ready, "control"), process.address(&ready, "peers"));
    (process, control, peers)
}
