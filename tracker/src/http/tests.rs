//! The whole tracker over real sockets, on a port that the system chose.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use tempfile::TempDir;
use torrent_common::announce::AnnounceResponse;
use torrent_common::announce::http::{ResponseError, decode_response};
use torrent_common::bencode::write;
use torrent_common::config::{AccessMode, TrackerConfig};
use torrent_common::ids::InfoHash;

use crate::{Running, StartError, Tracker};

mod access;
mod announces;
mod catalogue;
mod hostile;
mod metrics;
mod openapi;
mod pages;
mod smuggling;

/// What the body that [`form`] makes is.
const FORM: &str = "multipart/form-data; boundary=XX";

fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        write!(body, "--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").unwrap();
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--XX--\r\n");
    body
}

/// A tracker and its folder, both gone at the end.
struct Fixture {
    running: Option<Running>,
    folder: TempDir,
    config: TrackerConfig,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut TrackerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = TrackerConfig {
            port: 0,
            torrent_dir: folder.path().join("data/torrents"),
            torrent_file: folder.path().join("data/catalogue.db"),
            peer_file: folder.path().join("data/peers"),
            access_file: folder.path().join("data/list"),
            ..TrackerConfig::default()
        };
        change(&mut config);
        Self { running: Some(Tracker::start(&config).unwrap()), folder, config }
    }

    fn address(&self) -> SocketAddr {
        self.running.as_ref().unwrap().address()
    }

    /// Stops it and starts it again with the same files.
    fn restart(&mut self) {
        self.running.take().unwrap().stop();
        self.running = Some(Tracker::start(&self.config).unwrap());
    }

    fn torrents(&self) -> &Path {
        &self.config.torrent_dir
    }

    fn get(&self, target: &str) -> Reply {
        let url = format!("http://{}{target}", self.address());
        Reply::of(agent().get(url).call().unwrap())
    }

    fn json(&self, target: &str) -> Value {
        let reply = self.get(target);
        assert_eq!(reply.kind, "application/json");
        serde_json::from_slice(&reply.body).unwrap()
    }

    fn announce(&self, query: &str) -> AnnounceResponse {
        let reply = self.get(&format!("/announce?{query}"));
        assert_eq!((reply.status, reply.kind.as_str()), (200, "text/plain"));
        decode_response(&reply.body, 1000).unwrap()
    }

    /// The failure reason of an announce.
    fn refused(&self, query: &str) -> String {
        let reply = self.get(&format!("/announce?{query}"));
        assert_eq!(reply.status, 200, "clients look for the reason only then");
        reply.failure()
    }

    /// Uploads the fields of a form.
    fn upload(&self, fields: &[(&str, &[u8])]) -> Reply {
        self.post(FORM, &form(fields))
    }

    fn post(&self, content_type: &str, body: &[u8]) -> Reply {
        let url = format!("http://{}/announce", self.address());
        Reply::of(agent().post(url).header("Content-Type", content_type).send(body).unwrap())
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes, and returns what comes back until the tracker closes.
    fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut reply = Vec::new();
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut reply);
        String::from_utf8_lossy(&reply).into_owned()
    }
}

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    kind: String,
    disposition: Option<String>,
    body: Vec<u8>,
}

impl Reply {
    fn of(mut response: ureq::http::Response<ureq::Body>) -> Self {
        let header = |name| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
        Self {
            status: response.status().as_u16(),
            kind: header("content-type").unwrap_or_default(),
            disposition: header("content-disposition"),
            body: response.body_mut().read_to_vec().unwrap(),
        }
    }

    fn failure(&self) -> String {
        match decode_response(&self.body, 10) {
            Err(ResponseError::Failure(reason)) => reason,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn error(&self) -> String {
        let value: Value = serde_json::from_slice(&self.body).unwrap();
        value["error"].as_str().unwrap().to_owned()
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into()
}

/// The query of an announce, as a peer at `ip` (the tests are on the tracker's own machine, so it may say so).
fn query(torrent: u8, ip: &str, more: &str) -> String {
    let hash = InfoHash::new([torrent; 20]).to_string();
    let hash: String =
        hash.as_bytes().chunks(2).map(|pair| format!("%{}", String::from_utf8_lossy(pair))).collect();
    format!("info_hash={hash}&peer_id=-XX0001-abcdefghijkl&port=6881&uploaded=0&downloaded=0&ip={ip}&{more}")
}

/// A torrent of one file.
fn torrent(name: &str, private: bool) -> (Vec<u8>, InfoHash) {
    let mut info = Vec::new();
    write::dictionary(&mut info, |info| {
        info.integer(b"length", 100_000);
        info.bytes(b"name", name.as_bytes());
        info.integer(b"piece length", 65_536);
        info.bytes(b"pieces", &[7; 40]);
        if private {
            info.integer(b"private", 1);
        }
    });
    let torrent = [b"d8:announce30:http://127.0.0.1:8000/announce4:info", info.as_slice(), b"e"].concat();
    (torrent, InfoHash::of(&info))
}

#[test]
fn the_status_page_counts() {
    let fixture = Fixture::new();
    let status = fixture.json("/");
    assert_eq!(status["name"], "torrent-tracker");
    assert_eq!(
        (&status["peers"], &status["torrents"], &status["announces"]),
        (&0.into(), &0.into(), &0.into())
    );
    fixture.announce(&query(1, "10.0.0.1", "left=0"));
    fixture.announce(&query(1, "10.0.0.2", "left=1"));
    fixture.refused("");
    fixture.upload(&[("torrent", &torrent("a", false).0)]);
    let status = fixture.json("/");
    let numbers = ["swarms", "peers", "seeders", "torrents", "announces", "refused", "uploads", "scrapes"];
    assert_eq!(numbers.map(|name| status[name].as_u64().unwrap()), [1, 2, 1, 1, 2, 1, 1, 0]);
}

#[test]
fn paths_and_methods() {
    let fixture = Fixture::new();
    for target in ["/nothing", "/torrents/", "/torrents/xyz", "/announce/", "/..", "/torrents/%2e%2e"] {
        let reply = fixture.get(target);
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (404, "there is nothing at this path"),
            "{target}"
        );
    }
    for (method, target) in
        [("DELETE", "/"), ("POST", "/torrents"), ("PUT", "/announce"), ("PATCH", "/scrape")]
    {
        let reply = fixture.raw(format!("{method} {target} HTTP/1.0\r\n\r\n").as_bytes());
        assert!(reply.starts_with("HTTP/1.0 405 "), "{reply}");
        assert!(reply.contains("\r\nAllow: GET, HEAD"), "{reply}");
    }
    let reply = fixture.raw(b"HEAD / HTTP/1.0\r\n\r\n");
    assert!(reply.starts_with("HTTP/1.0 200 ") && reply.ends_with("\r\n\r\n"), "{reply}");
    let reply = fixture.raw(b"GET http://elsewhere/scrape HTTP/1.0\r\n\r\n");
    assert!(reply.contains("info_hash is missing"), "{reply}");
}

#[test]
fn a_port_in_use_is_said_and_files_are_not_touched() {
    let fixture = Fixture::new();
    let config = TrackerConfig {
        port: fixture.address().port(),
        torrent_dir: fixture.folder.path().join("other"),
        ..fixture.config.clone()
    };
    let Err(error) = Tracker::start(&config) else { panic!("started twice") };
    assert!(matches!(error, StartError::InUse(address) if address == fixture.address()));
    assert!(error.to_string().contains("--port"));
    assert!(!config.torrent_dir.exists());
}

#[test]
fn a_second_tracker_does_not_write_over_the_files_of_the_first() {
    let fixture = Fixture::new();
    let Err(StartError::FolderInUse(folder)) = Tracker::start(&fixture.config) else { panic!("started") };
    assert_eq!(folder, fixture.torrents());
    fixture.announce(&query(1, "10.0.0.1", "left=1"));
}

#[test]
fn what_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "not a database, nor a folder; but longer than the header of one would be").unwrap();
    let good = TrackerConfig {
        port: 0,
        torrent_dir: folder.path().join("torrents"),
        torrent_file: folder.path().join("db"),
        peer_file: folder.path().join("peers"),
        ..TrackerConfig::default()
    };
    let below = file.join("below");
    let pipe = folder.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let all_bad = [
        TrackerConfig { torrent_dir: pipe.clone(), ..good.clone() },
        TrackerConfig { torrent_file: pipe.clone(), ..good.clone() },
        TrackerConfig { peer_file: pipe.clone(), ..good.clone() },
        TrackerConfig { access: AccessMode::Deny, access_file: pipe.clone(), ..good.clone() },
        TrackerConfig { torrent_dir: file.clone(), ..good.clone() },
        TrackerConfig { torrent_dir: below.clone(), ..good.clone() },
        TrackerConfig { torrent_file: file.clone(), ..good.clone() },
        TrackerConfig { torrent_file: below.clone(), ..good.clone() },
        TrackerConfig { peer_file: below, ..good.clone() },
        TrackerConfig { peer_file: folder.path().to_path_buf(), ..good.clone() },
        TrackerConfig { torrent_file: folder.path().to_path_buf(), ..good.clone() },
    ];
    for bad in &all_bad {
        let Err(error) = Tracker::start(bad) else { panic!("started with {bad:?}") };
        let error = error.to_string();
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
    }
    // Who runs would say the same before it begins anew.
    let running = Tracker::start(&good).unwrap();
    for bad in all_bad {
        let error = running.check(&bad).unwrap_err().to_string();
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
        running.check(&good).unwrap();
    }
    running.stop();
    // Neither was waited for, nor changed.
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    Tracker::start(&good).unwrap().stop();
}

#[test]
fn what_a_start_can_do_without_is_no_mistake() {
    let fixture = Fixture::new();
    let running = fixture.running.as_ref().unwrap();
    let folder = fixture.folder.path();
    let good = TrackerConfig {
        torrent_dir: folder.join("other/torrents"),
        torrent_file: folder.join("other/db"),
        peer_file: folder.join("other/below/peers"),
        ..fixture.config.clone()
    };
    running.check(&good).unwrap();
    assert!(!good.torrent_file.exists() && !good.peer_file.exists(), "only looked at");
    // A damaged database is set aside, a snapshot too.
    fs::write(&good.torrent_file, b"SQLite format 3\0 and then something else").unwrap();
    fs::write(&good.peer_file, "no peers").unwrap();
    running.check(&good).unwrap();
    fs::remove_file(&good.torrent_file).unwrap();
    // Somebody else's.
    let other = Tracker::start(&good).unwrap();
    assert!(matches!(running.check(&good), Err(StartError::FolderInUse(_))));
    other.stop();
    running.check(&good).unwrap();
    // Its version, in the header: one that is not known yet.
    let mut database = fs::read(&good.torrent_file).unwrap();
    database[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&good.torrent_file, database).unwrap();
    let error = running.check(&good).unwrap_err().to_string();
    assert!(error.contains("version 99"), "{error}");
    // This one has lost nothing by it.
    let (bytes, hash) = torrent("a", false);
    assert_eq!(fixture.upload(&[("torrent", &bytes)]).status, 201);
    assert_eq!(fixture.get(&format!("/torrents/{hash}")).status, 200);
}

#[test]
fn stopping_frees_the_port_at_once() {
    let mut fixture = Fixture::new();
    fixture.config.port = fixture.address().port();
    let mut idle = fixture.connect();
    for _ in 0..5 {
        fixture.restart();
        fixture.json("/");
    }
    assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0, "connections are closed");
}

#[test]
fn both_families_are_served_on_the_unspecified_address() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let fixture = Fixture::with(|config| config.host = "::".parse().unwrap());
    let port = fixture.address().port();
    let ask = |host: &str, torrent: &str| {
        let url = format!("http://{host}:{port}/announce?{torrent}");
        decode_response(&Reply::of(agent().get(url).call().unwrap()).body, 10).unwrap()
    };
    let plain = |n: u8| query(1, "x", "left=1").replace("6881", &n.to_string()).replace("&ip=x", "");
    ask("127.0.0.1", &plain(1));
    ask("[::1]", &plain(2));
    let told = ask("127.0.0.1", &plain(3)).peers;
    let mut told: Vec<_> = told.iter().map(|peer| peer.address.to_string()).collect();
    told.sort_unstable();
    assert_eq!(told, ["127.0.0.1:1", "[::1]:2"], "an IPv4 client is not known by its mapped address");
    assert_eq!(ask("127.0.0.1", &query(2, "10.0.0.1", "left=1")).incomplete, 1);
    assert_eq!(ask("[::1]", &query(2, "10.0.0.2", "left=1")).peers[0].address.to_string(), "10.0.0.1:6881");
}
