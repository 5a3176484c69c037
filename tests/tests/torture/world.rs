//! A tracker, a seeder and what it seeds: what every attack on a daemon's disk begins with.

use std::path::{Path, PathBuf};

use torrent_common::ids::{InfoHash, PeerId};
use torrent_common::metainfo::Metainfo;
use torrent_common::wire::Message;
use torrent_common::wire::message::RawBlock;
use torrent_peer::control::api::{LeechRequest, TorrentState, TorrentStatus};
use torrent_peer::options::{OptionsPatch, Priority};
use torrent_tests::daemon::Daemon;
use torrent_tests::payload::write_tree;
use torrent_tests::room::{Place, Room};
use torrent_tests::scripted::{Link, Received};
use torrent_tests::torrents::{make, payload};
use torrent_tests::tracker::Tracker;
use torrent_tests::wait::{PATIENCE, wait_for};

pub const KIB: u64 = 1024;

/// A tracker, a seeder, and what it seeds.
pub struct World {
    pub room: Room,
    pub tracker: Tracker,
    pub seeder: Daemon,
}

pub struct Payload {
    pub hash: InfoHash,
    pub torrent: PathBuf,
    pub source: PathBuf,
    pub metainfo: Metainfo,
}

impl World {
    pub fn new(name: &str) -> Self {
        Self::with(name, "")
    }

    /// The same, with these settings for the seeder.
    pub fn with(name: &str, settings: &str) -> Self {
        let room = Room::new(name);
        let tracker = Tracker::start(&room);
        let seeder = Daemon::start_at(&room, "seeder", &tracker.url(), Place::Here, settings);
        Self { room, tracker, seeder }
    }

    /// A daemon before which this script runs, where it alone sees what is mounted.
    pub fn daemon(&self, settings: &str, script: &str) -> Daemon {
        Daemon::start_after(&self.room, "daemon", &self.tracker.url(), settings, script)
    }

    pub fn seed(&self, name: &str, files: &[(&str, u64)], seed: u64) -> Payload {
        let folder = self.room.folder("source");
        let source = folder.join(name);
        write_tree(&source, files, seed);
        let (torrent, metainfo) = make(&source, &folder, 64 * KIB, &self.tracker.url());
        self.seeder.leech(&torrent, Some(&folder));
        self.seeder.wait_for_seeding(metainfo.info_hash);
        Payload { hash: metainfo.info_hash, torrent, source, metainfo }
    }

    pub fn stop(self) {
        self.seeder.stop();
        self.tracker.stop();
    }
}

/// Waits until the torrent says so.
pub fn wait_for_error(daemon: &Daemon, hash: InfoHash, what: &str) -> TorrentStatus {
    wait_for(&format!("word of {what:?}"), PATIENCE, || {
        let status = daemon.details(hash).status;
        let told = status.error.as_ref().is_some_and(|error| error.contains(what));
        told.then(|| status.clone()).ok_or_else(|| format!("{status:?}"))
    })
}

/// The same as `Daemon::wait_for_seeding`, and it may stand still meanwhile.
pub fn wait_for_seeding_after_all(daemon: &Daemon, hash: InfoHash) {
    wait_for("it to go on by itself and end", PATIENCE, || {
        let status = status(daemon, hash);
        (status.state == TorrentState::Seeding).then_some(()).ok_or_else(|| format!("{status:?}"))
    });
}

/// One torrent's line in the list of all: asked for without reading anything from its disk.
pub fn status(daemon: &Daemon, hash: InfoHash) -> TorrentStatus {
    daemon.status().torrents.into_iter().find(|torrent| torrent.info_hash == hash).unwrap()
}

/// Adds a torrent of which only some files are wanted.
pub fn leech_only(daemon: &Daemon, torrent: &Path, output: &Path, priorities: Vec<Priority>) {
    let options = OptionsPatch { priorities: Some(Some(priorities)), ..OptionsPatch::default() };
    leech_with(daemon, torrent, Some(output), options);
}

/// Adds a torrent with options.
pub fn leech_with(daemon: &Daemon, torrent: &Path, output: Option<&Path>, options: OptionsPatch) {
    let request = LeechRequest {
        torrent_base64: None,
        torrent_path: Some(torrent.to_owned()),
        output: output.map(Path::to_owned),
        options,
    };
    let answer = daemon.post("/leech", &request);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Asks a daemon for every block of a torrent, on one connection, until it hangs up. Whatever comes is right.
pub fn ask_for_everything(daemon: &Daemon, metainfo: &Metainfo, source: &Path) {
    let right = payload(metainfo, source);
    let piece_len = metainfo.geometry.nominal_piece_len();
    let block_len = piece_len.min(16 * 1024);
    let ask = || -> std::io::Result<()> {
        let mut link = Link::connect(daemon.peer_address());
        link.handshake(metainfo.info_hash, PeerId::new([b'x'; 20]))?;
        link.tell(&Message::Interested)?;
        while link.receive()? != Received::Message(Message::Unchoke) {}
        for at in (0..right.len()).step_by(block_len as usize) {
            let (index, begin) = (at as u32 / piece_len, at as u32 % piece_len);
            let len = (right.len() - at).min(block_len as usize);
            link.tell(&Message::Request(RawBlock { index, begin, len: len as u32 }))?;
            loop {
                if let Received::Block { block, bytes } = link.receive()? {
                    assert_eq!((block.index, block.begin), (index, begin));
                    assert!(
                        bytes == right[at..at + len],
                        "block {begin} of piece {index} left, and it was wrong"
                    );
                    break;
                }
            }
        }
        Ok(())
    };
    // It hangs up when it finds out, and lets nobody in while it looks.
    let _ = ask();
}
