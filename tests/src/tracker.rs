//! A running tracker, and what clients ask of it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use torrent_common::announce::http::{announce_query, decode_response, with_query};
use torrent_common::announce::{AnnounceRequest, AnnounceResponse, Event};
use torrent_common::ids::{InfoHash, PeerId};

use crate::http::{self, Answer};
use crate::process::{Process, hermetic};
use crate::programs::program;
use crate::room::{Place, Room};
use crate::wait::{PATIENCE, wait_for};

/// What the tracker may leave in its folder.
const EXPECTED_FILES: &[&str] = &["catalogue.db", "config.ini", "home", "log", "peers", "tmp", "torrents"];

/// A `torrent-tracker` in a folder of its own.
#[derive(Debug)]
pub struct Tracker {
    process: Process,
    folder: PathBuf,
    address: SocketAddr,
    place: Place,
    /// More lines of its configuration.
    settings: String,
}

/// A multipart upload, as a browser or `torrent-seed` makes it.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// The torrent file.
    pub torrent: &'a [u8],
    /// What the uploader says the info-hash is.
    pub info_hash: InfoHash,
    /// The name for the catalogue.
    pub name: &'a str,
    /// Free text.
    pub description: &'a str,
}

impl Tracker {
    /// Starts a tracker on loopback.
    ///
    /// # Panics
    /// If it is not ready in time.
    pub fn start(room: &Room) -> Self {
        Self::start_at(room, Place::Here)
    }

    /// Starts a tracker in `place`, on a port that the system chooses.
    ///
    /// # Panics
    /// If it is not ready in time.
    pub fn start_at(room: &Room, place: Place) -> Self {
        Self::start_with(room, place, "")
    }

    /// The same with more lines for the section `[tracker]` of its configuration.
    ///
    /// # Panics
    /// If it is not ready in time.
    pub fn start_with(room: &Room, place: Place, settings: &str) -> Self {
        let folder = room.folder("tracker");
        write_config(&folder, &place, 0, settings);
        let (process, address) = run(&folder, &place);
        Self { process, folder, address, place, settings: settings.to_owned() }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL that announces go to.
    pub fn url(&self) -> String {
        format!("http://{}/announce", self.address)
    }

    /// The same for announces over UDP.
    pub fn udp_url(&self) -> String {
        format!("udp://{}/announce", self.address)
    }

    /// Its folder: `catalogue.db`, `torrents/`, `peers`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// GET a path of it.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn get(&self, path: &str) -> Answer {
        let url = format!("http://{}{path}", self.address);
        self.place.run(|| http::get(&url)).unwrap_or_else(|error| panic!("GET {url}: {error}"))
    }

    /// GET /torrents, with a query.
    ///
    /// # Panics
    /// If there is no such answer.
    pub fn catalogue(&self, query: &str) -> Vec<Value> {
        let page: Value = self.get(&format!("/torrents{query}")).json();
        page["torrents"].as_array().unwrap_or_else(|| panic!("no torrents in {page}")).clone()
    }

    /// The info-hashes in the catalogue.
    ///
    /// # Panics
    /// If the catalogue is not readable.
    pub fn published(&self) -> BTreeSet<InfoHash> {
        let hash = |entry: &Value| entry["info_hash"].as_str().unwrap().parse().unwrap();
        self.catalogue("").iter().map(hash).collect()
    }

    /// Announces.
    ///
    /// # Errors
    /// What the tracker refuses, in its words.
    pub fn announce(&self, request: &AnnounceRequest) -> Result<AnnounceResponse, String> {
        let url = with_query(&self.url(), &announce_query(request));
        let answer = self.place.run(|| http::get(&url)).map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("HTTP {}: {}", answer.status, answer.text()));
        }
        decode_response(&answer.body, usize::MAX).map_err(|error| error.to_string())
    }

    /// How many seeders and leechers the swarm has, by scrape.
    ///
    /// # Panics
    /// If the answer is none.
    pub fn swarm(&self, info_hash: InfoHash) -> (i64, i64) {
        let hash = percent_encoding::percent_encode(info_hash.as_bytes(), percent_encoding::NON_ALPHANUMERIC);
        let answer = self.get(&format!("/scrape?info_hash={hash}"));
        let limits = torrent_common::bencode::Limits::for_len(1 << 16);
        let document = torrent_common::bencode::scan(&answer.body, &limits);
        let document = document.unwrap_or_else(|error| panic!("{error} in {}", answer.text()));
        let entry = document.root.get(b"files").and_then(|files| files.get(info_hash.as_bytes()));
        let count = |key: &[u8]| entry.and_then(|entry| entry.get(key)?.as_i64()).unwrap_or(0);
        (count(b"complete"), count(b"incomplete"))
    }

    /// Waits until the swarm has at least so many seeders and leechers.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn wait_for_swarm(&self, info_hash: InfoHash, seeders: i64, leechers: i64) {
        wait_for(&format!("{seeders} seeders and {leechers} leechers at the tracker"), PATIENCE, || {
            let (complete, incomplete) = self.swarm(info_hash);
            let enough = complete >= seeders && incomplete >= leechers;
            enough.then_some(()).ok_or_else(|| format!("it has {complete} and {incomplete}"))
        });
    }

    /// POST /announce: publishes.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn upload(&self, upload: &Upload<'_>) -> Answer {
        let url = self.url();
        let answer = self.place.run(|| upload.send(&url));
        answer.unwrap_or_else(|error| panic!("POST {url}: {error}"))
    }

    /// Stops it and starts it again on the same port and the same files.
    ///
    /// # Panics
    /// If it does not end or start as it should.
    pub fn restart(&mut self) {
        self.process.terminate();
        write_config(&self.folder, &self.place, self.address.port(), &self.settings);
        // The port was ours a moment ago; nobody else was given it unless by chance, so that one failure is no verdict.
        (self.process, self.address) = run(&self.folder, &self.place);
    }

    /// Kills it (SIGKILL) and starts it again on the same port and the same files.
    ///
    /// # Panics
    /// If it does not start.
    pub fn kill_and_restart(&mut self) {
        self.process.kill();
        write_config(&self.folder, &self.place, self.address.port(), &self.settings);
        (self.process, self.address) = run(&self.folder, &self.place);
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.is_alive()
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

impl Upload<'_> {
    /// Sends it to a tracker's announce URL.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn send(&self, url: &str) -> Result<Answer, ureq::Error> {
        const BOUNDARY: &str = "----torrent-test-boundary";
        let mut body = Vec::new();
        let hash = self.info_hash.to_string();
        let fields = [
            ("info_hash", hash.as_str()),
            ("peer_id", "-XX0001-uploader1234"),
            ("port", "6999"),
            ("left", "0"),
            ("name", self.name),
            ("description", self.description),
        ];
        for (field, value) in fields {
            let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n");
            body.extend([head.as_bytes(), value.as_bytes(), b"\r\n"].concat());
        }
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"torrent\"; filename=\"x.torrent\"\r\n\
             Content-Type: application/x-bittorrent\r\n\r\n"
        );
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        body.extend([head.as_bytes(), self.torrent, tail.as_bytes()].concat());
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        http::post(url, &[("Content-Type", &kind)], &body)
    }
}

/// An announce of a peer on port `port` that lacks `left` bytes.
pub fn request(info_hash: InfoHash, peer_id: PeerId, port: u16, left: u64) -> AnnounceRequest {
    AnnounceRequest {
        info_hash,
        peer_id,
        port,
        uploaded: 0,
        downloaded: 0,
        left,
        event: Event::Started,
        numwant: None,
        ip: None::<IpAddr>,
        key: None,
        compact: true,
        no_peer_id: false,
        tracker_id: None,
    }
}

fn write_config(folder: &Path, place: &Place, port: u16, settings: &str) {
    let text = format!(
        "[tracker]\nHOST = {}\nPORT = {port}\nTORRENT_DIR = torrents\nTORRENT_FILE = catalogue.db\n\
         PEER_FILE = peers\nINTERVAL = 10\nMAX_INTERVAL = 10\nMIN_INTERVAL = 1\nSNAPSHOT_INTERVAL = 1\n{settings}\n",
        place.address()
    );
    std::fs::write(folder.join("config.ini"), text).unwrap();
}

fn run(folder: &Path, place: &Place) -> (Process, SocketAddr) {
    let mut command = hermetic(program("torrent-tracker"), folder);
    command.args(["--config", "config.ini"]);
    let process = Process::start("torrent-tracker", &mut command, &folder.join("log"), place);
    let address = process.address(&process.ready(), "http");
    let answers = || place.run(|| http::get(&format!("http://{address}/")));
    wait_for("the tracker to answer", Duration::from_secs(5), || {
        answers().map_err(|error| error.to_string())
    });
    (process, address)
}
