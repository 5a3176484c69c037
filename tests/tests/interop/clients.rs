//! How other programs' clients are started on a host of a test network, told to seed or leech, and seen to be done.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use torrent_tests::command::run;
use torrent_tests::network::Host;
use torrent_tests::process::{Process, hermetic};
use torrent_tests::room::{Place, Room};
use torrent_tests::wait::{PATIENCE, wait_until};

/// The clients we test against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    Libtorrent,
    Transmission,
    Aria2,
}

/// Whether a client has the payload or wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Seed,
    Leech,
}

/// A running client. Killed on drop.
pub struct Client {
    make: Make,
    process: Process,
    host: Host,
    folder: PathBuf,
    log: PathBuf,
}

/// The programs that all of these tests need.
pub const PROGRAMS: [(&str, &[&str]); 6] = [
    ("python3", &["-c", "import libtorrent"]),
    ("transmission-daemon", &["--version"]),
    ("transmission-remote", &["--version"]),
    ("transmission-create", &["--version"]),
    ("aria2c", &["--version"]),
    ("mktorrent", &["-h"]),
];

/// A program of the system's, found by the path of whoever runs the tests.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

impl Client {
    /// Starts a client on `host` with one torrent, whose payload is, or is to be, in `data`.
    /// With `udp` the torrent's tracker is one over UDP.
    pub fn start(
        make: Make,
        role: Role,
        room: &Room,
        host: &Host,
        torrent: &Path,
        data: &Path,
        udp: bool,
    ) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let folder = room.folder(&format!("{make:?}-{role:?}-{serial}"));
        let log = folder.join("log");
        let program = find(make.program()).unwrap();
        let mut command = hermetic(&program, &folder);
        match make {
            Make::Libtorrent => libtorrent(&mut command, role, host, torrent, data),
            Make::Transmission => transmission(&mut command, host, &folder),
            Make::Aria2 => aria2(&mut command, role, host, torrent, data, udp),
        }
        let process = Process::start(make.program(), &mut command, &log, &Place::Host(host.clone()));
        let client = Self { make, process, host: host.clone(), folder, log };
        if make == Make::Transmission {
            client.transmission_add(torrent, data);
        }
        client
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the client says that it has everything.
    pub fn wait_complete(&mut self) {
        let what = format!("{:?} to be complete", self.make);
        match self.make {
            Make::Libtorrent => {
                wait_until(&what, PATIENCE, || self.log().lines().any(|line| line == "complete"));
            }
            Make::Transmission => wait_until(&what, PATIENCE, || {
                let (_, out) = self.transmission_remote(&["-t", "1", "-i"]);
                out.contains("Percent Done: 100%")
            }),
            // It ends when it is complete: see `aria2`.
            Make::Aria2 => {
                let status = self.process.wait(PATIENCE);
                assert_eq!(status.code(), Some(0), "{}", self.log());
            }
        }
    }

    fn transmission_remote(&self, args: &[&str]) -> (Option<i32>, String) {
        let place = Place::Host(self.host.clone());
        let args = [&["127.0.0.1:9091"], args].concat();
        let ended = run(&find("transmission-remote").unwrap(), &args, &self.folder, &place);
        (ended.code, ended.out)
    }

    fn transmission_add(&self, torrent: &Path, data: &Path) {
        wait_until("transmission to answer", PATIENCE, || self.transmission_remote(&["-l"]).0 == Some(0));
        let args = ["-a", torrent.to_str().unwrap(), "-w", data.to_str().unwrap()];
        let (code, out) = self.transmission_remote(&args);
        assert!(code == Some(0) && out.contains("success"), "{out}");
    }
}

impl Make {
    const fn program(self) -> &'static str {
        match self {
            Self::Libtorrent => "python3",
            Self::Transmission => "transmission-daemon",
            Self::Aria2 => "aria2c",
        }
    }
}

fn libtorrent(command: &mut Command, role: Role, host: &Host, torrent: &Path, data: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/lt_client.py");
    let role = match role {
        Role::Seed => "seed",
        Role::Leech => "leech",
    };
    // Where Python finds its modules may depend on the home of whoever runs the tests.
    for variable in ["HOME", "PYENV_ROOT", "PYTHONPATH", "VIRTUAL_ENV"] {
        if let Some(value) = std::env::var_os(variable) {
            command.env(variable, value);
        }
    }
    command.arg(script).arg(role).args([torrent, data]).args([&host.address().to_string(), "6881"]);
}

fn transmission(command: &mut Command, host: &Host, folder: &Path) {
    let settings = serde_json::json!({
        "bind-address-ipv4": host.address().to_string(),
        "dht-enabled": false,
        "lpd-enabled": false,
        "pex-enabled": false,
        "utp-enabled": false,
        "port-forwarding-enabled": false,
        "peer-port": 51413,
        "rpc-bind-address": "127.0.0.1",
        "rpc-port": 9091,
        "rpc-authentication-required": false,
        // "Prefer unencrypted": our daemon does not speak message stream encryption.
        "encryption": 0,
    });
    let config = folder.join("config");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("settings.json"), settings.to_string()).unwrap();
    command.args(["--foreground", "--no-portmap", "--config-dir"]).arg(config);
}

fn aria2(command: &mut Command, role: Role, host: &Host, torrent: &Path, data: &Path, udp: bool) {
    // It speaks UDP to trackers only while it speaks it to the DHT.
    command.arg(format!("--enable-dht={udp}"));
    command.args([
        "--no-conf",
        "--enable-dht6=false",
        "--enable-peer-exchange=false",
        "--bt-enable-lpd=false",
        "--listen-port=6881",
        // It may ask again soon: whom it missed at first, it gets then.
        "--bt-tracker-interval=2",
        "--file-allocation=none",
        "--allow-overwrite=true",
        "--show-console-readout=false",
        "--summary-interval=0",
    ]);
    match role {
        // Seeds for ever, after it has checked what is there.
        Role::Seed => command.args(["--check-integrity=true", "--seed-ratio=0.0"]),
        // Ends when it is complete.
        Role::Leech => command.args(["--seed-time=0"]),
    };
    command.arg(format!("--bt-external-ip={}", host.address()));
    command.arg("--dir").arg(data).arg(torrent);
}
