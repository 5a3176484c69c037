//! File systems that a single daemon sees: full, read-only, taken out. Needs `unshare`, `nsenter` and `mount` (util-linux),
//! and to be root or a system where users may make namespaces.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Arguments of `unshare` for a mount namespace in which we are root.
pub const OWN: [&str; 3] = ["--user", "--map-root-user", "--mount"];

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
    let target = id.to_string();
    let script = format!("cd \"$0\"\n{script}");
    let output = Command::new("nsenter")
        .args(["--target", &target, "--user", "--mount", "--preserve-credentials", "sh", "-ec", &script])
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("nsenter (util-linux): {error}"));
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}
