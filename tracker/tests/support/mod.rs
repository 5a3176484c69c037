//! A tracker in a process of its own.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, which the lints take for production code"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_torrent-tracker");

/// A tracker in a process of its own, killed at the end if it is still there.
pub struct Program {
    pub child: Child,
    pub address: String,
    log: mpsc::Receiver<String>,
}

impl Program {
    /// With a configuration that keeps everything in `folder`.
    pub fn start(folder: &Path) -> Self {
        Self::run(Command::new(PROGRAM).arg("--config").arg(config(folder)).args(["--port", "0"]))
    }

    pub fn run(command: &mut Command) -> Self {
        let mut child = command.env("RUST_LOG", "info").stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut this = Self { child, address: String::new(), log };
        let line = this.wait_for("http://");
        this.address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
        this
    }

    /// The next line of the log that has this text in it.
    pub fn wait_for(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.log.recv_timeout(Duration::from_secs(20)) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("no {text:?} in the log: {before:#?}"),
            }
        }
    }

    /// How many lines have come since with this text in them.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn count(&self, text: &str) -> usize {
        self.log.try_iter().filter(|line| line.contains(text)).count()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn code(&mut self) -> Option<i32> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status.code(),
                None if Instant::now() > until => panic!("it does not end"),
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// The answer to a request, as text; empty if there was none.
    pub fn ask(&self, request: &str) -> String {
        let mut reply = Vec::new();
        if let Ok(mut stream) = TcpStream::connect(&self.address) {
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read_to_end(&mut reply);
        }
        String::from_utf8_lossy(&reply).into_owned()
    }

    pub fn get(&self, target: &str) -> String {
        self.ask(&format!("GET {target} HTTP/1.0\r\n\r\n"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn config(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("config.ini");
    std::fs::write(
        &path,
        "[tracker]\nTORRENT_DIR = torrents\nTORRENT_FILE = catalogue.db\nPEER_FILE = peers\n",
    )
    .unwrap();
    path
}

pub fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A whole upload of a torrent, as one request.
pub fn upload(name: &str) -> String {
    let torrent = format!(
        "d4:infod6:lengthi5e4:name{}:{name}12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee",
        name.len()
    );
    let body =
        format!("--x\r\nContent-Disposition: form-data; name=\"torrent\"\r\n\r\n{torrent}\r\n--x--\r\n");
    format!(
        "POST /announce HTTP/1.0\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
