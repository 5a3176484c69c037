//! A disk that fails (EIO), bounds its users (EDQUOT) or hangs, under one torrent of three: that one says what and where,
//! no wrong byte leaves, the others go on, it goes on by itself when the disk does, and the log stays short.

use std::time::{Duration, Instant};

use torrent_peer::control::api::TorrentState;
use torrent_tests::daemon::Daemon;
use torrent_tests::failing_disk::{self, FailingDisk};
use torrent_tests::mounts;
use torrent_tests::payload::assert_same;
use torrent_tests::wait::{PATIENCE, wait_for};

use crate::world::{Payload, World, ask_for_everything, status, wait_for_error, wait_for_seeding_after_all};

/// STOP_TIMEOUT is 3 seconds; the rest is a busy machine's. Whoever waits for the disk waits for ever.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A daemon with a disk that fails on demand, and three torrents for it.
pub struct Failing {
    pub world: World,
    pub daemon: Daemon,
    pub disk: FailingDisk,
    /// Is to be on that disk.
    pub sick: Payload,
    /// Are on a healthy one.
    pub others: [Payload; 2],
}

impl Failing {
    pub fn new(name: &str) -> Option<Self> {
        if !mounts::may_run(failing_disk::possible()) {
            return None;
        }
        let world = World::new(name);
        let sick = world.seed("sick", &[("a.bin", 700_000), ("b.bin", 900_000)], 81);
        let others = [82, 83].map(|seed| world.seed(&format!("well-{seed}"), &[("c.bin", 600_000)], seed));
        let daemon = world.daemon("", &failing_disk::script());
        let disk = FailingDisk::of(daemon.folder());
        Some(Self { world, daemon, disk, sick, others })
    }

    pub fn leech_sick(&self) {
        self.daemon.leech(&self.sick.torrent, Some(&self.daemon.folder().join("disk")));
    }

    /// The other two are downloaded as if nothing was.
    pub fn others_do_not_notice(&self) {
        for other in &self.others {
            self.daemon.leech(&other.torrent, None);
        }
        for other in &self.others {
            self.daemon.wait_for_seeding(other.hash);
            let name = other.source.file_name().unwrap();
            assert_same(&other.source, &self.daemon.downloads().join(name));
        }
    }

    /// Somebody else writes to a file, or so it looks.
    fn touch(&self, name: &str) {
        let file = std::fs::File::options().write(true).open(self.disk.backing().join(name)).unwrap();
        let before = file.metadata().unwrap().modified().unwrap();
        file.set_modified(before - Duration::from_secs(1000)).unwrap();
    }

    /// The disk is well again: all is there without anybody's doing.
    fn goes_on_by_itself(&self) {
        self.disk.fail("");
        wait_for_seeding_after_all(&self.daemon, self.sick.hash);
        assert_same(&self.sick.source, &self.disk.backing().join("sick"));
        assert_eq!(status(&self.daemon, self.sick.hash).error, None);
    }
}

#[test]
fn errors_of_a_disk_are_one_torrents_own_and_pass() {
    let Some(mut failing) = Failing::new("errors") else { return };
    // Written to: one file is well, the other is not.
    failing.disk.fail("write EIO b.bin");
    failing.leech_sick();
    let said = wait_for_error(&failing.daemon, failing.sick.hash, "Input/output error");
    assert!(said.error.as_ref().unwrap().contains("disk/sick/b.bin"), "{said:?}");
    assert!(said.retry_seconds.is_some(), "{said:?}");
    failing.others_do_not_notice();
    failing.goes_on_by_itself();

    // Read for an upload: what leaves before it is right.
    failing.disk.fail("read EIO b.bin");
    let source = failing.world.room.folder("source");
    let said = wait_for("an upload to fail", PATIENCE, || {
        ask_for_everything(&failing.daemon, &failing.sick.metainfo, &source);
        let status = status(&failing.daemon, failing.sick.hash);
        if status.state == TorrentState::Error { Ok(status) } else { Err(format!("{status:?}")) }
    });
    let error = said.error.unwrap();
    assert!(error.contains("disk/sick/b.bin") && error.contains("Input/output error"), "{error}");
    for other in &failing.others {
        assert_eq!(status(&failing.daemon, other.hash).state, TorrentState::Seeding);
        ask_for_everything(&failing.daemon, &other.metainfo, &source);
    }
    failing.goes_on_by_itself();

    // Read to be checked, because somebody else has written to the files: what can be read is, and not again.
    let fetched = status(&failing.daemon, failing.sick.hash).downloaded;
    failing.daemon.process().terminate();
    failing.touch("sick/a.bin");
    failing.touch("sick/b.bin");
    failing.disk.fail("read EIO a.bin");
    failing.daemon.start_again();
    let said = wait_for_error(&failing.daemon, failing.sick.hash, "pieces cannot be read");
    assert!(said.error.as_ref().unwrap().contains("disk/sick/a.bin"), "{said:?}");
    assert!(said.error.as_ref().unwrap().contains("Input/output error"), "{said:?}");
    failing.others.iter().for_each(|other| {
        failing.daemon.wait_for_seeding(other.hash);
    });
    failing.goes_on_by_itself();
    let details = failing.daemon.details(failing.sick.hash);
    assert_eq!(details.pieces_checked, details.piece_count, "each was hashed once");
    assert_eq!(details.status.downloaded, fetched, "nothing was fetched again");
    assert!(failing.daemon.logged("it goes on") > 0);

    // It stays so, and the user has it fetched again.
    failing.daemon.process().terminate();
    failing.touch("sick/a.bin");
    failing.disk.fail("read EIO a.bin");
    failing.daemon.start_again();
    wait_for_error(&failing.daemon, failing.sick.hash, "pieces cannot be read");
    failing.daemon.tell("/resume", failing.sick.hash, false);
    wait_for_seeding_after_all(&failing.daemon, failing.sick.hash);
    assert_eq!(
        status(&failing.daemon, failing.sick.hash).downloaded,
        fetched + 11 * 64 * 1024,
        "the pieces of a.bin"
    );
    failing.goes_on_by_itself();
    // Each error once, however often it was tried: the first failure and the one after the upload that worked again.
    let told = failing.daemon.logged("Input/output error");
    assert!((3..=8).contains(&told), "{told} lines");
    drop(failing.daemon);
    failing.world.stop();
}

/// What was written since the last flush may be lost, also where it can be read for now.
#[test]
fn after_a_flush_that_failed_all_since_the_last_is_hashed() {
    let Some(failing) = Failing::new("flush") else { return };
    failing.disk.fail("sync EIO");
    failing.leech_sick();
    let said = wait_for_error(&failing.daemon, failing.sick.hash, "Input/output error");
    assert_eq!(said.state, TorrentState::Error);
    failing.goes_on_by_itself();
    let details = failing.daemon.details(failing.sick.hash);
    assert_eq!((details.pieces_checked, details.pieces_had), (details.piece_count, details.piece_count));
    assert_eq!(details.status.downloaded, failing.sick.metainfo.total_len(), "nothing was fetched again");
    drop(failing.daemon);
    failing.world.stop();
}

/// There seems to be room, and there is none.
#[test]
fn a_quota_is_waited_for() {
    let Some(failing) = Failing::new("quota") else { return };
    failing.disk.fail("write EDQUOT b.bin");
    failing.leech_sick();
    let said = wait_for_error(&failing.daemon, failing.sick.hash, "quota");
    assert_eq!(said.state, TorrentState::Downloading);
    failing.goes_on_by_itself();
    drop(failing.daemon);
    failing.world.stop();
}

/// Neither answers nor fails: nobody can save what is on its way there, and nobody waits for it longer than STOP_TIMEOUT.
#[test]
fn a_disk_that_hangs_holds_up_neither_other_torrents_nor_a_stop() {
    // While it is written to and flushed; looked at, by uploads; read, to be checked.
    let ways = ["write HANG b.bin\nsync HANG", "look HANG", "read HANG"];
    for how in ways.into_iter().take(crate::long("TORTURE_DISKS", 1) as usize) {
        let Some(mut failing) = Failing::new("hang") else { return };
        if how.starts_with("write") {
            failing.disk.fail(how);
            failing.leech_sick();
            // On its way to the disk, and not there.
            failing.daemon.wait_for("some of it", failing.sick.hash, |got| got.status.downloaded > 0);
        } else {
            failing.leech_sick();
            failing.daemon.wait_for_seeding(failing.sick.hash);
            if how.starts_with("read") {
                failing.daemon.kill();
                failing.touch("sick/a.bin");
                failing.disk.fail(how);
                failing.daemon.start_again();
            }
            failing.disk.fail(how);
        }
        failing.others_do_not_notice();
        let begin = Instant::now();
        let ended = failing.daemon.process().end();
        let took = begin.elapsed();
        println!("{how:?}: a stop took {took:?}, {ended}");
        assert!(took < STOP_LIMIT, "{how}: {took:?}");
        if how.starts_with("write") {
            assert_eq!((ended.code(), failing.daemon.logged("STOP_TIMEOUT")), (Some(1), 1), "it says so");
        }
        failing.disk.fail("");
        failing.daemon.start_again();
        for other in &failing.others {
            failing.daemon.wait_for_seeding(other.hash);
            assert_eq!(failing.daemon.details(other.hash).pieces_checked, 0);
        }
        failing.goes_on_by_itself();
        drop(failing.daemon);
        failing.world.stop();
    }
}
