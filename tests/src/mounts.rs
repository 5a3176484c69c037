//! File systems that a single daemon sees: full, read-only, taken out. Needs `unshare`, `nsenter`, `setpriv` and `mount`
//! (util-linux), and to be root or a system where users may make namespaces.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Arguments of `unshare` for a mount namespace in which we are root.
pub const OWN: [&str; 3] = ["--user", "--map-root-user", "--mount"];

/// Whether a test that needs mounts can run, as `possible` has it. If not it says so; with `TORRENT_MOUNTS=required` it
/// fails.
///
/// # Panics
/// If it must run and cannot.
pub fn may_run(possible: Result<(), String>) -> bool {
    let Err(why) = possible else { return true };
    let required = std::env::var_os("TORRENT_MOUNTS").is_some_and(|value| value == "required");
    assert!(!required, "nothing can be mounted here: {why}");
    eprintln!("not tried: nothing can be mounted here: {why}");
    false
}

/// Whether this process may mount something for its children; if not, why.
pub fn possible() -> Result<(), String> {
    let trial = Command::new("unshare").args(OWN).args(["sh", "-c", "mount -t tmpfs tmpfs /tmp"]).output();
    match trial {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stderr, .. }) => Err(String::from_utf8_lossy(&stderr).trim().to_owned()),
        Err(error) => Err(format!("unshare (util-linux): {error}")),
    }
}

/// Runs a shell script in `folder`, with the mounts of process `id`.
///
/// # Panics
/// If it fails.
pub(crate) fn run_beside(id: u32, folder: &Path, script: &str) {
    let output = try_beside(id, folder, script);
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The same, and it may fail.
///
/// # Panics
/// If it cannot be begun.
pub(crate) fn try_beside(id: u32, folder: &Path, script: &str) -> Output {
    let target = id.to_string();
    let script = format!("cd \"$0\"\n{script}");
    Command::new("nsenter")
        .args(["--target", &target, "--user", "--mount", "--preserve-credentials", "sh", "-ec", &script])
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("nsenter (util-linux): {error}"))
}
