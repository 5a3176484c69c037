//! torrent-tracker and its disk: killed in the middle of uploads, started with a disk that is read-only or damaged, kept
//! going on one that is full or that another program holds. Announces are answered all the while.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests, and helpers of tests, which the lints take for production code"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::{PROGRAM, Program, folder};
use torrent_common::ids::InfoHash;

const UPLOADS: usize = 1000;
const UPLOADERS: usize = 3;

/// A small torrent, different for each number.
struct Torrent {
    bytes: Vec<u8>,
    info_hash: InfoHash,
    name: String,
    description: String,
}

impl Torrent {
    fn new(n: usize) -> Self {
        let inside = format!("file-{n}.bin");
        let info = format!(
            "d6:lengthi5e4:name{}:{inside}12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae",
            inside.len()
        );
        let bytes = format!("d7:comment{}:{}4:info{info}e", n + 1, "c".repeat(n + 1)).into_bytes();
        let info_hash = InfoHash::of(info.as_bytes());
        Self { bytes, info_hash, name: format!("name {n}"), description: format!("described {n}") }
    }

    /// The whole upload, as one request.
    fn upload(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let fields: [(&str, &[u8]); 3] = [
            ("torrent", &self.bytes),
            ("name", self.name.as_bytes()),
            ("description", self.description.as_bytes()),
        ];
        for (name, value) in fields {
            write!(body, "--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").unwrap();
            body.extend_from_slice(value);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--x--\r\n");
        let head =
            "POST /announce HTTP/1.0\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length:";
        [format!("{head} {}\r\n\r\n", body.len()).as_bytes(), &body].concat()
    }
}

/// The status and the body of an answer; `None` if there was none.
fn ask(address: &str, request: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request).ok()?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).ok()?;
    let end = reply.windows(4).position(|end| end == b"\r\n\r\n")?;
    let status = String::from_utf8_lossy(reply.get(9..12)?).parse().ok()?;
    Some((status, reply.split_off(end + 4)))
}

fn get(program: &Program, target: &str) -> (u16, Vec<u8>) {
    ask(&program.address, format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).unwrap()
}

fn json(program: &Program, target: &str) -> Value {
    serde_json::from_slice(&get(program, target).1).unwrap()
}

fn upload(program: &Program, torrent: &Torrent) -> (u16, String) {
    let (status, body) = ask(&program.address, &torrent.upload()).unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn degraded(program: &Program) -> Vec<String> {
    let list = json(program, "/")["degraded"].clone();
    list.as_array().unwrap().iter().map(|what| what.as_str().unwrap().to_owned()).collect()
}

/// Announces go on, whatever else does not.
fn announces(program: &Program) {
    let reply = program.get(
        "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881&left=0&ip=10.0.0.1",
    );
    assert!(reply.contains("8:completei1e"), "{reply}");
}

/// Waits until nothing is wrong any more, by itself.
fn recovers(program: &Program) {
    let until = Instant::now() + Duration::from_secs(30);
    while !degraded(program).is_empty() {
        assert!(Instant::now() < until, "{:?}", degraded(program));
        thread::sleep(Duration::from_millis(50));
    }
    let metrics = String::from_utf8(get(program, "/metrics").1).unwrap();
    assert!(metrics.contains("torrent_tracker_degraded{part=\"uploads\"} 0"), "{metrics}");
}

/// Everything in the catalogue, by info-hash.
fn listed(program: &Program) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    loop {
        let page = json(program, &format!("/torrents?sort=oldest&limit=200&offset={}", all.len()));
        let rows = page["torrents"].as_array().unwrap();
        if rows.is_empty() {
            assert_eq!(page["total"], all.len());
            return all;
        }
        all.extend(rows.iter().map(|row| (row["info_hash"].as_str().unwrap().to_owned(), row.clone())));
    }
}

#[test]
fn a_kill_in_the_middle_of_a_thousand_uploads_loses_none_that_was_acknowledged() {
    let seed = std::env::var("TORRENT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("TORRENT_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (last, pause) = (random.usize(1..UPLOADS), Duration::from_micros(random.u64(0..8000)));
    let folder = folder();
    let mut program = Program::start(folder.path());
    let torrents: Vec<_> = (0..UPLOADS).map(Torrent::new).collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let acknowledged = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..UPLOADERS {
            scope.spawn(|| {
                while let Some(torrent) = torrents.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Some((status, _)) = ask(&program.address, &torrent.upload()) else { return };
                    assert_eq!(status, 201);
                    acknowledged.lock().unwrap().push(torrent.info_hash.to_string());
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while done.load(Ordering::Relaxed) < last {
            thread::sleep(Duration::from_micros(100));
        }
        thread::sleep(pause);
        program.signal(Signal::KILL);
    });
    program.code();
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= last);

    let program = Program::start(folder.path());
    let listed = listed(&program);
    println!("{} acknowledged, {} listed", acknowledged.len(), listed.len());
    for info_hash in &acknowledged {
        assert!(listed.contains_key(info_hash), "{info_hash} was acknowledged");
    }
    assert!(listed.len() <= acknowledged.len() + UPLOADERS);
    for torrent in &torrents {
        let Some(row) = listed.get(&torrent.info_hash.to_string()) else { continue };
        assert_eq!(
            (&row["name"], &row["description"]),
            (&torrent.name.as_str().into(), &torrent.description.as_str().into())
        );
        let (status, bytes) = get(&program, &format!("/torrents/{}", torrent.info_hash));
        assert_eq!((status, bytes == torrent.bytes), (200, true), "{row}");
    }
    let found = json(&program, "/torrents?q=described&limit=1");
    assert_eq!(found["total"], listed.len(), "and all of them are found");
    let files = fs::read_dir(folder.path().join("torrents")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    files.sort_unstable();
    assert_eq!(
        files,
        listed.keys().map(|hash| format!("{hash}.torrent")).collect::<Vec<_>>(),
        "nothing is left over"
    );
}

/// Keeps everything in `data` below a folder.
fn config(folder: &Path) -> PathBuf {
    let path = folder.join("config.ini");
    let text =
        "[tracker]\nTORRENT_DIR = data/torrents\nTORRENT_FILE = data/catalogue.db\nPEER_FILE = data/peers\n";
    fs::write(&path, text).unwrap();
    fs::create_dir_all(folder.join("data/torrents")).unwrap();
    path
}

/// Starts it in a mount namespace of its own, after some commands in there, with `$1` for the folder `data`.
fn start_after(folder: &Path, commands: &str) -> Option<Program> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting needs root");
        return None;
    }
    let script = format!("set -e; {commands}; exec {PROGRAM} --config \"$2\" --port 0");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
    Some(Program::run(command.arg(folder.join("data")).arg(config(folder))))
}

#[test]
fn on_a_full_disk_uploads_are_refused_and_the_rest_goes_on() {
    let folder = folder();
    let Some(program) = start_after(folder.path(), "mount -t tmpfs -o size=3m none \"$1\"") else { return };
    // The disk as the tracker sees it.
    let inside = PathBuf::from(format!("/proc/{}/root", program.child.id()));
    let filler = inside.join(folder.path().join("data/filler").strip_prefix("/").unwrap());
    assert_eq!(upload(&program, &Torrent::new(0)).0, 201);
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    let mut refused = 0;
    for n in 1..40 {
        let (status, answer) = upload(&program, &Torrent::new(n));
        // What is left of the last block may take one or two.
        if status == 201 {
            continue;
        }
        refused += 1;
        assert_eq!(status, 507, "{answer}");
        assert!(answer.contains("the disk is full"), "{answer}");
    }
    assert!(refused > 0);
    assert!(degraded(&program).contains(&"uploads: the disk is full".to_owned()), "{:?}", degraded(&program));
    let metrics = String::from_utf8(get(&program, "/metrics").1).unwrap();
    assert!(metrics.contains("torrent_tracker_degraded{part=\"uploads\"} 1"), "{metrics}");
    assert_eq!(listed(&program).len(), 40 - refused);
    assert_eq!(json(&program, "/torrents?q=name+0&sort=seeders")["total"], 1);
    announces(&program);
    fs::remove_file(&filler).unwrap();
    recovers(&program);
    assert_eq!(upload(&program, &Torrent::new(50)).0, 201);
    assert_eq!(listed(&program).len(), 41 - refused);
}

#[test]
fn a_limit_of_file_sizes_is_no_end() {
    let folder = folder();
    // In blocks of 512 or 1024 bytes, whichever shell it is.
    let script = format!("ulimit -f 128; exec {PROGRAM} --config \"$1\" --port 0");
    let mut command = Command::new("sh");
    let program = Program::run(command.args(["-c", &script, "sh"]).arg(config(folder.path())));
    let refused = (0..100).map(Torrent::new).find_map(|mut torrent| {
        torrent.description = torrent.name.repeat(900);
        let (status, answer) = upload(&program, &torrent);
        (status != 201).then_some((status, answer))
    });
    let (status, answer) = refused.unwrap();
    assert!([503, 507].contains(&status) && answer.contains("the disk"), "{status} {answer}");
    // A small write would go through now: that is no reason to tell the next that all is well.
    for _ in 0..50 {
        assert!(!degraded(&program).is_empty());
        announces(&program);
    }
}

#[test]
fn on_a_read_only_disk_it_starts_and_recovers() {
    for below in ["", "/torrents"] {
        let folder = folder();
        let mut program = Program::run(
            Command::new(PROGRAM).arg("--config").arg(config(folder.path())).args(["--port", "0"]),
        );
        let torrent = Torrent::new(0);
        assert_eq!(upload(&program, &torrent).0, 201);
        program.signal(Signal::TERM);
        assert_eq!(program.code(), Some(0));
        // It cannot be set aside there.
        fs::write(folder.path().join("data/peers"), "nonsense").unwrap();
        let mount =
            format!("mount --bind \"$1{below}\" \"$1{below}\"; mount -o remount,ro,bind \"$1{below}\"");
        let Some(program) = start_after(folder.path(), &mount) else { return };
        let (status, answer) = upload(&program, &Torrent::new(1));
        assert_eq!(status, 503, "{answer}");
        assert!(answer.contains("the disk is read-only"), "{answer}");
        assert!(
            degraded(&program).contains(&"uploads: the disk is read-only".to_owned()),
            "{:?}",
            degraded(&program)
        );
        assert_eq!(
            get(&program, &format!("/torrents/{}.torrent", torrent.info_hash)),
            (200, torrent.bytes.clone())
        );
        assert_eq!(json(&program, "/torrents?q=described")["total"], 1);
        assert_eq!(get(&program, &format!("/torrents/{}/files", torrent.info_hash)).0, 200);
        announces(&program);
        let again = Command::new("nsenter")
            .args(["--mount", "--target", &program.child.id().to_string(), "mount", "-o", "remount,rw,bind"])
            .arg(format!("{}{below}", folder.path().join("data").display()))
            .status();
        assert!(again.unwrap().success());
        recovers(&program);
        assert_eq!(upload(&program, &Torrent::new(1)).0, 201);
        assert_eq!(listed(&program).len(), 2);
    }
}

#[test]
fn a_database_that_is_damaged_while_it_runs_is_made_anew() {
    let folder = folder();
    let mut program = Program::start(folder.path());
    // More than SQLite keeps in memory.
    let mut torrents: Vec<_> = (0..400).map(Torrent::new).collect();
    for torrent in &mut torrents {
        torrent.description = format!("{} ", torrent.name).repeat(700);
        assert_eq!(upload(&program, torrent).0, 201);
    }
    // In order, so that all of it is in the one file.
    program.signal(Signal::TERM);
    program.code();
    let program = Program::start(folder.path());
    let database = folder.path().join("catalogue.db");
    let len = usize::try_from(fs::metadata(&database).unwrap().len()).unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(&database).unwrap();
    file.write_all(&vec![0xa5; len]).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    // Some of what is asked fails until it is made anew; announces never do.
    while !(listed_or_none(&program) == Some(400) && database.with_extension("db.bad").exists()) {
        assert!(Instant::now() < until, "{:?}", degraded(&program));
        announces(&program);
        thread::sleep(Duration::from_millis(20));
    }
    recovers(&program);
    for torrent in &torrents {
        assert_eq!(get(&program, &format!("/torrents/{}", torrent.info_hash)).1, torrent.bytes);
    }
    assert_eq!(upload(&program, &Torrent::new(500)).0, 201);
    assert_eq!(listed(&program).len(), 401);
}

/// How many torrents a search finds; `None` when it fails.
fn listed_or_none(program: &Program) -> Option<u64> {
    let (status, body) = get(program, "/torrents?sort=size&offset=200&limit=200");
    let page: Value = serde_json::from_slice(&body).unwrap();
    (status == 200).then(|| page["total"].as_u64().unwrap())
}
