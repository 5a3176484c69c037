//! Names that do something to whoever prints them: on every way from a torrent to a terminal, a log or a page they arrive
//! as text.

use base64::Engine as _;
use torrent_common::metainfo::{Metainfo, MetainfoLimits};
use torrent_peer::control::api::{LeechRequest, TorrentStatus};
use torrent_tests::bencode::Bencode;
use torrent_tests::command::{Ended, command};
use torrent_tests::daemon::Daemon;
use torrent_tests::room::Room;
use torrent_tests::torrents::multi_file;
use torrent_tests::tracker::{Tracker, Upload};
use torrent_tests::wait::{PATIENCE, wait_until};

/// What a torrent, its folder and a file of it are called.
const NASTY: [&str; 9] = [
    "clear \x1b[2J\x1b[H screen",
    "title \x1b]0;owned\x07 bar",
    "csi \u{9b}31m red",
    "lines\r\nERROR the disk is full\nlast",
    "back\x08\x08\x08\x08 space",
    "reverse \u{202e}gpj.exe",
    "invisible \u{200b}\u{2066}\u{feff} space",
    "<img src=x onerror=alert(1)><script>alert(1)",
    "\"quotes' & &lt;entities; {{ name }} %s %n $(reboot) `reboot`",
];

/// A folder of this name with a file of this name, from a tracker and with a comment that are no better.
fn torrent(name: &str) -> Vec<u8> {
    let mut torrent = multi_file("http://127.0.0.1:9/announce", &[(&[name, "inner"], 40_000), (&["b"], 5)]);
    torrent.set("comment", name).set("created by", name);
    let Bencode::Dict(entries) = &mut torrent else { unreachable!() };
    entries.iter_mut().find(|(key, _)| key == b"info").unwrap().1.set("name", name);
    torrent.encode()
}

/// Nothing that a terminal would do anything but show.
pub(crate) fn is_tame(what: &str, text: &str) {
    let wild = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    assert!(!text.contains(wild), "{what}: {}", text.escape_debug());
    let forged = text.lines().any(|line| line.starts_with("ERROR the disk"));
    assert!(!forged, "{what} has a line of its own: {text}");
}

pub(crate) fn tame(what: &str, ended: Ended) -> String {
    is_tame(what, &ended.err);
    let out = ended.ok();
    is_tame(what, &out);
    out
}

#[test]
fn names_do_nothing_to_a_terminal_a_log_or_a_page() {
    let room = Room::new("names");
    let tracker = Tracker::start(&room);
    let mut daemon = Daemon::start(&room, "daemon", &tracker.url());
    let mut hashes = Vec::new();
    for name in NASTY {
        let torrent = torrent(name);
        let metainfo = Metainfo::parse(&torrent, &MetainfoLimits::default()).unwrap();
        hashes.push(metainfo.info_hash);
        let upload = Upload { torrent: &torrent, info_hash: metainfo.info_hash, name: "", description: "" };
        let answer = tracker.upload(&upload);
        assert_eq!(answer.status, 201, "{name:?}: {}", answer.text());
        is_tame("the tracker's answer", &answer.text());

        let file = room.folder("user").join("nasty.torrent");
        std::fs::write(&file, &torrent).unwrap();
        let args = ["--torrent", file.to_str().unwrap(), "--list"];
        tame("torrent-leech --list", command(&room, &daemon, "torrent-leech", &args));
        let torrent_base64 = Some(base64::prelude::BASE64_STANDARD.encode(&torrent));
        let answer = daemon.post("/leech", &LeechRequest { torrent_base64, ..LeechRequest::default() });
        assert_eq!(answer.status, 200, "{name:?}: {}", answer.text());
        assert_eq!(answer.json::<TorrentStatus>().name, name, "JSON has it as it is");
        let hash = metainfo.info_hash.to_string();
        tame("torrent-status --files", command(&room, &daemon, "torrent-status", &[&hash, "--files"]));
        tame("torrent-status", command(&room, &daemon, "torrent-status", &[&hash]));
        let page = tracker.get(&format!("/torrent/{hash}")).text();
        // What takes no room does nothing on a page; some scripts need it.
        let page = page.replace(['\r', '\t', '\u{200b}', '\u{feff}'], "");
        is_tame("the torrent's page", &page);
        assert!(!page.contains("<script") && !page.contains("<img src=x"), "{page}");
    }
    let table = tame("torrent-status of all", command(&room, &daemon, "torrent-status", &[]));
    assert!(table.contains("reverse") && table.contains("clear"), "{table}");
    let listed = tame("torrent-fetch", command(&room, &daemon, "torrent-fetch", &[]));
    assert!(listed.contains("clear") && listed.contains("title"), "{listed}");
    is_tame("the daemon's log", &daemon.process().log());
    for hash in hashes {
        daemon.tell("/remove", hash, true);
    }
    daemon.stop();
    tracker.stop();
}

/// What a user unpacked: they never chose the names, and errors tell them.
#[test]
fn names_of_files_do_nothing_to_whoever_reads_of_an_error() {
    let room = Room::new("names-errors");
    let tracker = Tracker::start(&room);
    let mut daemon = Daemon::start(&room, "daemon", &tracker.url());
    let unpacked = room.folder("unpacked");
    let seed = |daemon: &Daemon, name: &str, fill: &dyn Fn(&std::path::Path)| {
        let folder = unpacked.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        fill(&folder);
        let ended =
            command(&room, daemon, "torrent-seed", &["--input", folder.to_str().unwrap(), "--private"]);
        is_tame("torrent-seed", &ended.err);
        ended
    };
    for name in NASTY {
        let error = seed(&daemon, name, &|_| {}).failed();
        assert!(error.contains("has no content"), "{error}");
    }
    let error =
        seed(&daemon, "refused", &|folder| std::fs::write(folder.join("\x1b[2J\\"), "x").unwrap()).failed();
    assert!(error.contains("the name \"\\u{1b}[2J\\\\\" has a separator"), "escaped once: {error}");
    let ended = seed(&daemon, "links", &|folder| {
        std::fs::write(folder.join("file"), "x").unwrap();
        NASTY.iter().for_each(|name| std::os::unix::fs::symlink("/", folder.join(name)).unwrap());
    });
    assert!(ended.err.contains("9 links are not followed, and left out: the first is"), "{}", ended.err);
    ended.ok();
    // One that is gone when the daemon starts again.
    let name = NASTY[3];
    seed(&daemon, name, &|folder| std::fs::write(folder.join("\u{202e}txt.exe"), "x").unwrap()).ok();
    std::fs::remove_dir_all(unpacked.join(name)).unwrap();
    daemon.restart();
    let log = |daemon: &mut Daemon| daemon.process().log();
    wait_until("its error in the log", PATIENCE, || log(&mut daemon).contains("is gone, all of it"));
    is_tame("the daemon's log", &log(&mut daemon));
    is_tame("torrent-status", &command(&room, &daemon, "torrent-status", &[]).ok());
    daemon.stop();
    tracker.stop();
}
