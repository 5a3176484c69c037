//! Torrent files that nobody should have made, from a stranger to the daemon and to the tracker: each is refused with a
//! reason, and both go on.

use base64::Engine as _;
use sha1::Digest;
use torrent_common::ids::InfoHash;
use torrent_peer::control::api::{ApiError, LeechRequest, TorrentStatus};
use torrent_tests::bencode::{Bencode, dict, list};
use torrent_tests::daemon::Daemon;
use torrent_tests::room::Room;
use torrent_tests::torrents::{multi_file, single_file};
use torrent_tests::tracker::{Tracker, Upload};

/// Dead on purpose: nothing in these tests is ever to be announced.
const ANNOUNCE: &str = "http://127.0.0.1:9/announce";

/// A change to a right single-file torrent's info dictionary.
fn info(change: impl FnOnce(&mut Bencode)) -> Vec<u8> {
    let mut torrent = single_file(ANNOUNCE);
    let Bencode::Dict(entries) = &mut torrent else { unreachable!() };
    change(&mut entries.iter_mut().find(|(key, _)| key == b"info").unwrap().1);
    torrent.encode()
}

/// A right torrent of this name.
fn named(name: &str) -> Vec<u8> {
    info(|info| {
        info.set("name", name);
    })
}

/// A right torrent but for the path of its first file.
fn path(components: &[&str]) -> Vec<u8> {
    multi_file(ANNOUNCE, &[(components, 40_000), (&["second"], 5)]).encode()
}

/// A multi-file torrent with this value as its list of files.
fn files(files: Bencode) -> Vec<u8> {
    info(|info| {
        info.remove("length").set("files", files);
    })
}

fn file(path: Bencode, len: Bencode) -> Bencode {
    dict([("length", len), ("path", path)])
}

fn replaced(torrent: &Bencode, from: &[u8], to: &[u8]) -> Vec<u8> {
    let bytes = torrent.encode();
    let at = bytes.windows(from.len()).position(|window| window == from).expect("it is in there");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

fn nothing_like_bencode() -> Vec<(&'static str, Vec<u8>)> {
    let good = single_file(ANNOUNCE);
    let deep = |letter: &str, depth: usize| {
        format!("d4:info{}{}e", letter.repeat(depth), "e".repeat(depth)).into_bytes()
    };
    vec![
        ("no bytes", Vec::new()),
        ("text", b"hello".to_vec()),
        ("an HTML page", b"<!doctype html><title>404</title>".to_vec()),
        ("a number", b"i42e".to_vec()),
        ("an empty dictionary", b"de".to_vec()),
        ("a list", Bencode::List(vec![good.clone()]).encode()),
        ("cut short", good.encode()[..100].to_vec()),
        ("something after the end", [good.encode(), b"x".to_vec()].concat()),
        ("another value after the end", [good.encode(), b"de".to_vec()].concat()),
        ("lists 500,000 deep", b"l".repeat(500_000)),
        ("lists 40 deep and closed", deep("l", 40)),
        ("a list in info 300,000 deep", deep("l", 300_000)),
        ("a string of 2^63 bytes", b"d4:info9223372036854775808:e".to_vec()),
        ("a string of 99999999999999999999 bytes", b"d4:info99999999999999999999:e".to_vec()),
        ("a string of -1 bytes", b"d4:info-1:e".to_vec()),
        ("a string length with a leading zero", replaced(&good, b"4:name8:file.bin", b"4:name08:file.bin")),
        ("an integer with a leading zero", replaced(&good, b"i40000e", b"i040000e")),
        ("an integer of minus zero", replaced(&good, b"i40000e", b"i-0e")),
        ("an integer without digits", replaced(&good, b"i40000e", b"ie")),
        ("an integer with a plus", replaced(&good, b"i40000e", b"i+40000e")),
        ("an integer with a space", replaced(&good, b"i40000e", b"i40000 e")),
        ("an integer over 64 bits", replaced(&good, b"i40000e", b"i18446744073709591616e")),
        ("a key that is no string", b"di1ei2ee".to_vec()),
        ("a key twice", replaced(&good, b"6:lengthi40000e", b"6:lengthi40000e6:lengthi40000e")),
        ("a dictionary without the last value", b"d4:infoe".to_vec()),
    ]
}

fn wrong_sizes() -> Vec<(&'static str, Vec<u8>)> {
    let set = |key: &'static str, value: Bencode| {
        info(move |info| {
            info.set(key, value);
        })
    };
    let without = |key: &'static str| {
        info(move |info| {
            info.remove(key);
        })
    };
    let two = |first: i64, second: i64| {
        files(Bencode::List(vec![file(list(["a"]), first.into()), file(list(["b"]), second.into())]))
    };
    vec![
        ("info missing", dict([("announce", ANNOUNCE.into())]).encode()),
        ("info not a dictionary", dict([("announce", ANNOUNCE.into()), ("info", "x".into())]).encode()),
        ("length missing", without("length")),
        ("length negative", set("length", (-1).into())),
        ("length zero", set("length", 0.into())),
        ("length a string", set("length", "40000".into())),
        ("length that does not fit the pieces", set("length", 100_000.into())),
        ("length of 8 EiB", set("length", i64::MAX.into())),
        ("length and files", set("files", Bencode::List(vec![file(list(["a"]), 40_000.into())]))),
        ("piece length missing", without("piece length")),
        ("piece length zero", set("piece length", 0.into())),
        ("piece length negative", set("piece length", (-32_768).into())),
        ("piece length of 8 EiB", set("piece length", i64::MAX.into())),
        ("pieces missing", without("pieces")),
        ("pieces empty", set("pieces", "".into())),
        ("pieces not a multiple of 20", set("pieces", vec![7; 39].into())),
        ("one piece too few", set("pieces", vec![7; 20].into())),
        ("one piece too many", set("pieces", vec![7; 60].into())),
        ("pieces a list", set("pieces", Bencode::List(Vec::new()))),
        ("lengths that overflow together", two(i64::MAX, i64::MAX)),
        ("lengths that make up for a negative one", two(80_000, -40_000)),
        ("files empty", files(Bencode::List(Vec::new()))),
        ("files not a list", files("x".into())),
        ("a file that is no dictionary", files(list(["x"]))),
        ("all files empty", two(0, 0)),
    ]
}

fn wrong_names() -> Vec<(&'static str, Vec<u8>)> {
    let name = |value: Bencode| {
        info(move |info| {
            info.set("name", value);
        })
    };
    let without_name = info(|info| {
        info.remove("name");
    });
    let clash = |paths: [&[&str]; 2]| multi_file(ANNOUNCE, &[(paths[0], 39_000), (paths[1], 1_000)]).encode();
    vec![
        ("name missing", without_name),
        ("name empty", name("".into())),
        ("name ..", name("..".into())),
        ("name .", name(".".into())),
        ("name with a path", name("../../etc/passwd".into())),
        ("name absolute", name("/etc/passwd".into())),
        ("name with NUL", name(b"a\0b".to_vec().into())),
        ("name a number", name(1.into())),
        ("path up", path(&["..", "x"])),
        ("path up in the middle", path(&["a", "..", "..", "..", "x"])),
        ("path with .", path(&["a", ".", "x"])),
        ("path with an empty component", path(&["a", "", "x"])),
        ("path of nothing", path(&[])),
        ("path with a separator", path(&["a/../../x"])),
        ("path absolute", path(&["/etc/cron.d/x"])),
        ("path with a backslash", path(&["..\\..\\x"])),
        ("path with NUL", path(&["a\0", "x"])),
        ("path a string", files(Bencode::List(vec![file("x".into(), 40_000.into())]))),
        ("path of numbers", files(Bencode::List(vec![file(list([1, 2]), 40_000.into())]))),
        ("two files of one name", clash([&["a", "b"], &["a", "b"]])),
        ("a file that is also a folder", clash([&["a"], &["a", "b"]])),
        ("a folder that is also a file", clash([&["a", "b"], &["a"]])),
    ]
}

fn all() -> Vec<(&'static str, Vec<u8>)> {
    [nothing_like_bencode(), wrong_sizes(), wrong_names()].concat()
}

/// Unusual, but made by honest programs, or harmless.
fn tolerable() -> Vec<(&'static str, Vec<u8>)> {
    let unsorted = {
        let Bencode::Dict(mut entries) = single_file(ANNOUNCE) else { unreachable!() };
        entries.reverse();
        Bencode::Dict(entries).encode()
    };
    let extra = {
        let mut torrent = single_file(ANNOUNCE);
        torrent.set("zz unknown", dict([("a", list([1, 2, 3]))]));
        torrent.encode()
    };
    let no_tracker = {
        let mut torrent = single_file(ANNOUNCE);
        torrent.remove("announce");
        torrent.encode()
    };
    let named = |name: &'static str| {
        info(|info| {
            info.set("name", name);
        })
    };
    vec![
        ("as it should be", info(|_| ())),
        ("keys not in order", unsorted),
        ("keys nobody knows", extra),
        ("no tracker", no_tracker),
        ("a name that Windows reserves", named("con.txt")),
        ("a name with a terminal escape", named("\x1b[31mred\x1b[0m")),
        ("a name that is HTML", named("<img src=x onerror=alert(1)>")),
        ("a name too long for a disk", path(&["a", &"ü".repeat(300)])),
        ("an empty file and deep folders", path(&["a", "b", "c", "d", "e", "f"])),
    ]
}

fn leech_request(torrent: &[u8]) -> LeechRequest {
    let torrent_base64 = Some(base64::prelude::BASE64_STANDARD.encode(torrent));
    LeechRequest { torrent_base64, ..LeechRequest::default() }
}

#[test]
fn the_daemon_refuses_hostile_torrents_with_a_reason() {
    let room = Room::new("hostile-leech");
    let daemon = Daemon::start(&room, "daemon", ANNOUNCE);
    let table = all();
    assert!(table.len() >= 30, "{}", table.len());
    for (what, torrent) in &table {
        let answer = daemon.post("/leech", &leech_request(torrent));
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        let reason: ApiError = serde_json::from_slice(&answer.body).unwrap();
        assert!(reason.error.len() > 10, "{what}: {reason:?} tells the user nothing");
        assert!(!reason.error.chars().any(char::is_control), "{what}: {reason:?}");
    }
    assert!(daemon.status().torrents.is_empty());

    // The same as a file, once: what is refused is the content.
    let file = room.folder("user").join("hostile.torrent");
    std::fs::write(&file, path(&["..", "x"])).unwrap();
    let request = LeechRequest { torrent_path: Some(file), ..LeechRequest::default() };
    assert_eq!(daemon.post("/leech", &request).status, 400);
    for request in [
        LeechRequest { torrent_path: Some(room.path().join("not there")), ..LeechRequest::default() },
        LeechRequest { torrent_path: Some(room.path().to_owned()), ..LeechRequest::default() },
        LeechRequest { torrent_path: Some("/dev/zero".into()), ..LeechRequest::default() },
        LeechRequest::default(),
        LeechRequest { torrent_base64: Some("not base64!".into()), ..LeechRequest::default() },
        LeechRequest { output: Some("relative".into()), ..leech_request(&info(|_| ())) },
        // What is the daemon's own: where bytes of another torrent wait, and all that it believes of its torrents.
        leech_request(&named(".0123456789abcdef0123456789abcdef01234567.parts")),
        LeechRequest { output: Some(daemon.folder().to_owned()), ..leech_request(&named("state")) },
    ] {
        let answer = daemon.post("/leech", &request);
        assert_eq!(answer.status, 400, "{request:?}: {}", answer.text());
    }
    assert!(!daemon.folder().parent().unwrap().join("x").exists());
    daemon.stop();
}

#[test]
fn the_daemon_takes_what_is_merely_odd() {
    let room = Room::new("odd-leech");
    let daemon = Daemon::start(&room, "daemon", ANNOUNCE);
    for (what, torrent) in tolerable() {
        let answer = daemon.post("/leech", &leech_request(&torrent));
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        let status: TorrentStatus = answer.json();
        assert!(status.output.starts_with(daemon.folder()), "{what}: {status:?}");
        daemon.tell("/remove", status.info_hash, false);
    }
    daemon.stop();
}

/// The info-hash an uploader would claim: of the `info` as it stands, if there is one.
fn claimed(torrent: &[u8]) -> InfoHash {
    let at = torrent.windows(6).position(|window| window == b"4:info").map_or(torrent.len(), |at| at + 6);
    let end = torrent.len().saturating_sub(1).max(at);
    InfoHash::new(sha1::Sha1::digest(&torrent[at..end]).into())
}

#[test]
fn the_tracker_refuses_hostile_torrents() {
    let room = Room::new("hostile-upload");
    let mut tracker = Tracker::start(&room);
    for (what, torrent) in all() {
        let upload = Upload {
            torrent: &torrent,
            info_hash: claimed(&torrent),
            name: "hostile",
            description: "a test",
        };
        let answer = tracker.upload(&upload);
        let refused = answer.status == 400 || answer.text().contains("failure reason");
        assert!(refused, "{what}: HTTP {} {}", answer.status, answer.text());
        assert!(tracker.is_alive(), "{what} ended the tracker");
    }
    let good = info(|_| ());
    let other = Upload { torrent: &good, info_hash: InfoHash::of(b"other"), name: "good", description: "" };
    let answer = tracker.upload(&other);
    assert!(
        answer.text().contains("failure reason") || answer.status == 400,
        "another info-hash: {}",
        answer.text()
    );
    assert!(tracker.published().is_empty());
    assert_eq!(
        tracker.folder().join("torrents").read_dir().unwrap().count(),
        0,
        "nothing is kept of what was refused"
    );

    let answer = tracker.upload(&Upload { info_hash: claimed(&good), ..other });
    assert_eq!(answer.status, 201, "{}", answer.text());
    let answer = tracker.upload(&Upload { info_hash: claimed(&good), name: "another name", ..other });
    assert_eq!(answer.status, 200, "published once: {}", answer.text());
    assert_eq!(tracker.catalogue("")[0]["name"], "good");
    assert_eq!(tracker.published(), [claimed(&good)].into());
    tracker.stop();
}
