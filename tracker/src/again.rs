//! The program begins anew in the same process: it executes itself (execve(2)).
//!
//! What strangers made it lose, threads and descriptors, goes with that; the process id, its limits, its folder, its
//! environment and its messages stay. The port is closed and opened again, which clients see as a server that is away for
//! a moment.
//!
//! Signals are received by the main thread alone: every other is started while they are blocked. Before the program is
//! executed they are blocked there as well, and stay so until the new one listens to them: none is lost, and none meets
//! its default action, which would be our end.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{SigSet, Signal};

/// This process's program, whatever has become of its file.
const SELF: &str = "/proc/self/exe";
/// Set for a program that begins anew: how many times that is.
const TIMES: &str = "TORRENT_TRACKER_AGAIN";

/// The signals that the tracker listens to.
const SIGNALS: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2];

/// How many times the program has begun anew in this process.
pub(crate) fn times() -> u64 {
    std::env::var(TIMES).ok().and_then(|times| times.parse().ok()).unwrap_or(0)
}

/// Lets signals wait, for this thread and those that it starts.
pub(crate) fn hold_signals() -> Result<(), String> {
    SigSet::from_iter(SIGNALS).thread_block().map_err(|error| format!("cannot block signals: {error}"))
}

/// Lets them come to this thread.
pub(crate) fn take_signals() -> Result<(), String> {
    SigSet::from_iter(SIGNALS).thread_unblock().map_err(|error| format!("cannot wait for signals: {error}"))
}

/// Executes the program with the same configuration file, at the same address, while signals wait. Comes back only to say
/// why that failed.
pub(crate) fn execute(config: Option<&Path>, address: SocketAddr) -> String {
    let mut failed = String::new();
    for path in programs() {
        let mut command = Command::new(&path);
        if let Some(name) = std::env::args_os().next() {
            command.arg0(name);
        }
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        // Also where the system chose the port, or the file names another by now: announces go to this one.
        command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.env(TIMES, (times() + 1).to_string());
        failed = format!("cannot begin anew with {}: {}", path.display(), command.exec());
    }
    failed
}

/// What to execute: the program's file, so that the process keeps its name, unless that is another by now; else what this
/// process runs, even if its file was deleted.
fn programs() -> Vec<PathBuf> {
    let file = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let is_own = |path: &PathBuf| file(path).is_some_and(|found| Some(found) == file(Path::new(SELF)));
    std::env::current_exe().ok().filter(is_own).into_iter().chain([PathBuf::from(SELF)]).collect()
}
