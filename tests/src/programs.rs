//! Finds the programs under test. They belong to other packages of the workspace, so that cargo does not build them for
//! our tests by itself: we ask it to, once per test executable, with the profile and folder of that executable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Where the program of this name is, built from the sources as they are. `TORRENT_BIN` names a folder of
/// programs to test instead.
///
/// # Panics
/// If it does not compile, or there is no program of this name.
pub fn program(name: &str) -> &'static Path {
    static PROGRAMS: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| match std::env::var_os("TORRENT_BIN") {
        Some(folder) => list(Path::new(&folder)),
        None => build(),
    });
    programs.get(name).unwrap_or_else(|| panic!("there is no program {name:?}, only {:?}", programs.keys()))
}

/// The top folder of the workspace.
///
/// # Panics
/// Never: this crate stands one below.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn list(folder: &Path) -> BTreeMap<String, PathBuf> {
    let entries =
        folder.read_dir().unwrap_or_else(|error| panic!("TORRENT_BIN={}: {error}", folder.display()));
    entries
        .map(|entry| entry.unwrap().path().canonicalize().unwrap())
        .filter(|path| path.is_file())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path))
        .collect()
}

fn build() -> BTreeMap<String, PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--workspace", "--bins", "--message-format=json-render-diagnostics"])
        .args(same_folder_as_this_test())
        .current_dir(workspace())
        .stdin(Stdio::null())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "the programs do not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = String::from_utf8(output.stdout).unwrap();
    let executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let name = message["target"]["name"].as_str()?.to_owned();
        Some((name, PathBuf::from(message["executable"].as_str()?)))
    });
    executables.collect()
}

/// Tests stand in `<target folder>/<profile>/deps`.
fn same_folder_as_this_test() -> Vec<String> {
    let test = std::env::current_exe().unwrap();
    let profile_folder = test.parent().and_then(Path::parent).expect("tests are built into a target folder");
    let profile = match profile_folder.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut target = profile_folder.parent().unwrap();
    // With `--target`, there is one more level, which cargo adds again by itself.
    if std::env::var_os("CARGO_BUILD_TARGET").is_some_and(|triple| target.ends_with(triple)) {
        target = target.parent().unwrap();
    }
    vec![format!("--profile={profile}"), "--target-dir".to_owned(), target.to_str().unwrap().to_owned()]
}
