//! Other programs that make torrents, where they are installed.

use std::process::Command;

use super::*;
use crate::ids::InfoHash;

/// Runs another program; `None`, with a line that says so, where it is not installed.
fn run(program: &str, arguments: &[&str], folder: &Path) -> Option<()> {
    let output = match Command::new(program).args(arguments).current_dir(folder).output() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {program} is not installed");
            return None;
        }
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

fn info_hash_of(torrent: &Path) -> (InfoHash, bool) {
    let metainfo = Metainfo::parse(&fs::read(torrent).unwrap(), &MetainfoLimits::default()).unwrap();
    (metainfo.info_hash, metainfo.private)
}

const INPUTS: [(&str, &[(&str, usize)]); 4] = [
    ("single.bin", &[("single.bin", 300_001)]),
    ("plain", &[("plain/a/b/c", 40_000), ("plain/a.txt", 16_384), ("plain/a-b/x y", 1), ("plain/b", 70_000)]),
    ("one", &[("one/x", 5)]),
    // Where orders differ: capitals, hidden and empty files, bytes beyond ASCII.
    (
        "odd",
        &[
            ("odd/Z", 4_000),
            ("odd/a/x", 30_000),
            ("odd/a b/x", 3),
            ("odd/a-b", 0),
            ("odd/a.b/.h", 7),
            ("odd/.hidden", 9),
            ("odd/B/~", 20_000),
            ("odd/É/ü", 100),
            ("odd/12:30?.log", 5),
            ("odd/_", 8),
            ("odd/文", 1),
        ],
    ),
];

#[test]
fn mktorrent_gives_the_same_info_hash() {
    let folder = tempfile::tempdir().unwrap();
    for (name, files) in INPUTS {
        write_files(folder.path(), files);
        fs::create_dir_all(folder.path().join("odd/empty")).unwrap();
        for private in [false, true] {
            let out = format!("{name}-{private}.torrent");
            let mut arguments = vec!["-l", "15", "-o", &out];
            arguments.extend(private.then_some("-p"));
            arguments.push(name);
            if run("mktorrent", &arguments, folder.path()).is_none() {
                return;
            }
            let options =
                CreateOptions { private, piece_len: Some(1 << 15), ..options(&folder.path().join(name)) };
            let (created, _) = made(&options);
            assert_eq!(
                (created.metainfo.info_hash, private),
                info_hash_of(&folder.path().join(&out)),
                "{out}"
            );
        }
    }
}

#[test]
fn transmission_create_gives_the_same_info_hash() {
    let folder = tempfile::tempdir().unwrap();
    for (name, files) in &INPUTS[..3] {
        write_files(folder.path(), files);
        for private in [false, true] {
            let out = format!("{name}-{private}.torrent");
            let mut arguments = vec!["-s", "32", "-t", "http://t.example/announce", "-o", &out];
            arguments.extend(private.then_some("-p"));
            arguments.push(name);
            if run("transmission-create", &arguments, folder.path()).is_none() {
                return;
            }
            let options =
                CreateOptions { private, piece_len: Some(1 << 15), ..options(&folder.path().join(name)) };
            let (created, _) = made(&options);
            let (theirs, is_private) = info_hash_of(&folder.path().join(&out));
            assert_eq!(is_private, private);
            // Version 3 writes a `private` of 0 into public torrents; version 4 does not.
            let document = bencode::scan(&created.bytes, &bencode::Limits::for_len(1 << 20)).unwrap();
            let info = document.root.get(b"info").unwrap().raw();
            let with_zero = [info.strip_suffix(b"e").unwrap(), b"7:privatei0ee"].concat();
            assert!(
                theirs == created.metainfo.info_hash || (!private && theirs == InfoHash::of(&with_zero)),
                "{out}"
            );
        }
    }
}
