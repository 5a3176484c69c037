//! What the design promises of the sources themselves: who may use whom, what may not come in, how long a file may be,
//! and that the README tells of what exists.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests panic"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use torrent_tests::programs::workspace;

/// Lines of a file beyond which its first ten lines must give a reason, after the words "Long because".
const MAX_LINES: usize = 600;

/// Every source file of the workspace, by its path from the top.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for package in ["common", "tracker", "peer", "tests"] {
        collect(&workspace().join(package), &mut found);
    }
    assert!(found.len() > 40, "{}", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(workspace()).unwrap().to_str().unwrap().to_owned();
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The code of a source file without its unit tests (by convention the last item of a file) and comments.
fn code(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names of the packages in Cargo.lock, whoever wants them.
fn locked() -> BTreeSet<String> {
    let lock = read("Cargo.lock");
    let names =
        lock.lines().filter_map(|line| Some(line.strip_prefix("name = \"")?.strip_suffix('"')?.to_owned()));
    names.collect()
}

#[test]
fn no_async_runtime_is_in_the_tree() {
    let runtimes = [
        "actix-rt",
        "async-executor",
        "async-global-executor",
        "async-io",
        "async-std",
        "embassy-executor",
        "futures-executor",
        "glommio",
        "monoio",
        "ntex-rt",
        "pollster",
        "smol",
        "smolscale",
        "tokio",
        "tokio-uring",
        "wasm-bindgen-futures",
    ];
    let locked = locked();
    assert!(locked.contains("tiny_http"), "Cargo.lock was not understood");
    let found: Vec<_> = runtimes.into_iter().filter(|name| locked.contains(*name)).collect();
    assert!(found.is_empty(), "{found:?}");
    // Those who ask cargo-deny ask the same.
    let deny = read("deny.toml");
    let unknown = runtimes.into_iter().filter(|name| !deny.contains(&format!("{{ crate = \"{name}\" }}")));
    assert_eq!(unknown.collect::<Vec<_>>(), [""; 0], "not in deny.toml");
}

#[test]
fn long_files_give_a_reason() {
    let long: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > MAX_LINES)
        .filter(|(_, text)| !text.lines().take(10).any(|line| line.contains("Long because")))
        .map(|(name, text)| format!("{name}: {} lines", text.lines().count()))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn crates_see_only_whom_they_may() {
    for (package, forbidden) in [
        (
            "common",
            &["torrent-tracker", "torrent-peer", "torrent-guard", "tiny_http", "ureq", "rusqlite", "socket2"]
                [..],
        ),
        ("common/guard", &["torrent-tracker", "torrent-peer", "ureq", "rusqlite"]),
        ("tracker", &["torrent-peer"]),
        ("peer", &["torrent-tracker", "rusqlite"]),
    ] {
        let manifest = read(&format!("{package}/Cargo.toml"));
        for name in forbidden {
            assert!(!manifest.contains(name), "{package} depends on {name}");
        }
    }
}

#[test]
fn common_opens_no_socket_and_few_files() {
    for (name, text) in sources().into_iter().filter(|(name, _)| name.starts_with("common/src/")) {
        let code = code(&text);
        for socket in ["TcpStream", "TcpListener", "UdpSocket", "UnixStream", "rustix::net"] {
            assert!(!code.contains(socket), "{name} names {socket}");
        }
        if !name.starts_with("common/src/metainfo/create") && name != "common/src/regular.rs" {
            for file in ["std::fs", "fs::read", "File::open", "rustix::fs"] {
                assert!(!code.contains(file), "{name} names {file}");
            }
        }
    }
}

#[test]
fn one_room_names_the_database() {
    for (name, text) in sources().into_iter().filter(|(name, _)| name.starts_with("tracker/src/")) {
        if !name.starts_with("tracker/src/catalogue") {
            assert!(!code(&text).contains("rusqlite"), "{name} names rusqlite");
        }
    }
}

/// The one file with an unsafe block, a single one: see there.
const UNSAFE_FILE: &str = "common/src/hash/x86.rs";

/// Whether a file is the top of a crate that has no exception: there the lint cannot be allowed again.
fn forbids(name: &str) -> bool {
    let tops = [
        "common/guard/src/lib.rs",
        "tracker/src/lib.rs",
        "tracker/src/main.rs",
        "peer/src/lib.rs",
        "tests/src/lib.rs",
    ];
    let programs = ["peer/src/bin/", "tests/src/bin/"];
    tops.contains(&name) || programs.iter().any(|folder| name.starts_with(folder))
}

#[test]
fn unsafe_is_in_one_place() {
    assert!(read("Cargo.toml").contains("unsafe_code = \"deny\""));
    for (name, text) in sources() {
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        // In two parts, so that this file does not have the words.
        let blocks = code.matches(concat!("unsafe", " {")).count();
        let exceptions = code.matches(concat!("unsafe", "_code")).count();
        let allowed = match name.as_str() {
            UNSAFE_FILE => (1, 1),
            // Names the lint once, above.
            "tests/tests/tidy.rs" => (0, 1),
            _ if forbids(&name) => (0, 1),
            _ => (0, 0),
        };
        assert_eq!((blocks, exceptions), allowed, "{name}");
        assert!(!forbids(&name) || code.contains(concat!("#![forbid(unsafe", "_code)]")), "{name}");
    }
    for package in ["common", "common/guard", "tracker", "peer", "tests"] {
        let manifest = read(&format!("{package}/Cargo.toml"));
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{package} does not take the workspace's lints"
        );
    }
}

#[test]
fn lints_are_silenced_with_a_reason() {
    for (name, text) in sources() {
        for (number, _) in text.match_indices("#[allow(").chain(text.match_indices("#[expect(")) {
            let attribute = text[number..].split("]\n").next().unwrap();
            assert!(attribute.contains("reason"), "{name}: {attribute}");
        }
    }
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let config = read("config.ini");
    let mut keys = BTreeSet::new();
    let mut section = String::new();
    for line in config.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((key, _)) = line.split_once('=').filter(|(key, _)| !key.starts_with([';', '#'])) {
            keys.insert((section.clone(), key.trim().to_owned()));
        }
    }
    assert!(keys.len() > 20, "{keys:?}");
    // As compiled in: the documentation of each field begins with the key.
    for (_, text) in sources().into_iter().filter(|(name, _)| name.starts_with("common/src/config")) {
        for line in text.lines().filter_map(|line| line.strip_prefix("    /// ")) {
            let key: String = line.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            let documents = key.len() > 3 && line[key.len()..].starts_with([':', '.']);
            assert!(!documents || keys.iter().any(|(_, known)| *known == key), "config.ini lacks {key}");
        }
    }
    let readme = read("README.md");
    for (section, key) in &keys {
        assert!(readme.contains(&format!("`{key}`")), "README.md says nothing of [{section}] {key}");
    }
}

#[test]
fn what_the_readme_names_exists() {
    let readme = read("README.md");
    let names = |prefix: &str| -> BTreeSet<String> {
        let found = readme.match_indices(prefix).map(|(at, _)| {
            let rest = &readme[at..];
            let end =
                rest.find(|c: char| !c.is_ascii_alphanumeric() && !"-_./".contains(c)).unwrap_or(rest.len());
            rest[..end].trim_end_matches(['.', '-', '/']).to_owned()
        });
        found.collect()
    };
    let scripts = names("scripts/");
    assert!(scripts.contains("scripts/demo.sh"), "{scripts:?}");
    for path in scripts.iter().chain(&names(".ci/")) {
        assert!(workspace().join(path).exists(), "README.md names {path}");
    }
    let programs: BTreeSet<_> = ["daemon", "seed", "fetch", "leech", "status", "test", "tracker"].into();
    for (at, _) in readme.match_indices("torrent-") {
        let name: String = readme[at + 8..].chars().take_while(char::is_ascii_lowercase).collect();
        let in_path = readme[..at].ends_with(['/', '-']);
        assert!(
            in_path || name.is_empty() || programs.contains(name.as_str()),
            "README.md names torrent-{name}"
        );
    }
    for name in &programs {
        assert!(readme.contains(&format!("torrent-{name}")), "README.md says nothing of torrent-{name}");
        let source: PathBuf = match *name {
            "tracker" => "tracker/src/main.rs".into(),
            _ => format!("peer/src/bin/torrent-{name}.rs").into(),
        };
        assert!(workspace().join(&source).exists(), "{}", source.display());
    }
}

#[test]
fn every_dependency_is_explained() {
    let architecture = read("ARCHITECTURE.md");
    let manifest = read("Cargo.toml");
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let names = section.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    // The rows of a table; a first cell may name several.
    let explained: BTreeSet<_> = architecture
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split('|').next())
        .flat_map(|cell| cell.split([',', ' ', '`']))
        .collect();
    for name in names.filter(|name| !name.starts_with("torrent-")) {
        assert!(explained.contains(name), "ARCHITECTURE.md does not say what {name} is for");
    }
}
