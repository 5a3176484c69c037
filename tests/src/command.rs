//! The commands, run as a user runs them, with a bound on their time.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::daemon::Daemon;
use crate::process::hermetic;
use crate::programs::program;
use crate::room::{Place, Room};
use crate::wait::wait_for;

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(90);

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ended {
    /// Asserts exit code 0, and gives standard output.
    ///
    /// # Panics
    /// If it is another.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// Asserts exit code 0, and gives standard output as JSON.
    ///
    /// # Panics
    /// If it is another, or no JSON.
    pub fn json(self) -> serde_json::Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} in {out}"))
    }

    /// Asserts failure with exit code 1: nothing on standard output, one line that says why on standard error.
    ///
    /// # Panics
    /// If it is not so.
    pub fn failed(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.err.trim_end().lines().count(), 1, "one clear line: {self:?}");
        self.err
    }
}

/// Runs a command in the room's folder `user`, against the daemon and with its configuration.
///
/// # Panics
/// If it does not end in time.
pub fn command(room: &Room, daemon: &Daemon, name: &str, args: &[&str]) -> Ended {
    let port = daemon.control().port().to_string();
    let config = daemon.folder().join("config.ini");
    let ours = ["--port", &port, "--config", config.to_str().unwrap()];
    run(program(name), &[&ours, args].concat(), &room.folder("user"), &Place::Here)
}

/// Runs any program to its end, in `folder` and `place`.
///
/// # Panics
/// If it cannot be started, or does not end in time.
pub fn run(program: &Path, args: &[&str], folder: &Path, place: &Place) -> Ended {
    let mut command = hermetic(program, folder);
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        place.run(|| command.spawn()).unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    // Whoever waits while a pipe is full waits for ever: read both at once.
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let output = std::thread::scope(|scope| {
        let out = scope.spawn(move || read_all(&mut stdout));
        let err = scope.spawn(move || read_all(&mut stderr));
        let what = format!("{} {args:?} to end", program.display());
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(&what, LIMIT, || child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned()))
        }));
        let _ = child.kill();
        let (stdout, stderr) = (out.join().unwrap(), err.join().unwrap());
        let status = ended
            .unwrap_or_else(|_| panic!("{what}: too late; it said {}", String::from_utf8_lossy(&stderr)));
        Output { status, stdout, stderr }
    });
    Ended {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn read_all(from: &mut impl std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    bytes
}
