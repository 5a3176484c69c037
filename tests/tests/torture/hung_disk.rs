//! A disk that does not answer, and a user who does not wait for it: who pauses or removes what is on it is answered, and
//! so is everybody who asks for anything else. When it answers, what was promised is done.

use std::time::{Duration, Instant};

use torrent_peer::control::api::{JobStarted, JobStatus, TorrentRequest, TorrentState};
use torrent_tests::daemon::seed_request;
use torrent_tests::payload::{assert_same, write_tree};
use torrent_tests::wait::{PATIENCE, wait_for, wait_until};

use crate::failing_disk::Failing;
use crate::world::{status, wait_for_seeding_after_all};

/// The control port waits 2 s for a disk; the rest is a busy machine's.
const ANSWERED: Duration = Duration::from_secs(20);

impl Failing {
    /// Tells the torrent on the sick disk something; gives back the answer's status.
    fn tell_sick(&self, path: &str, delete_data: bool) -> u16 {
        let begin = Instant::now();
        let answer = self.daemon.post(path, &TorrentRequest { info_hash: self.sick.hash, delete_data });
        let took = begin.elapsed();
        assert!(took < ANSWERED, "{path} was answered after {took:?}");
        println!("{path} was answered {} after {took:?}", answer.status);
        answer.status
    }

    fn sick_state(&self) -> TorrentState {
        status(&self.daemon, self.sick.hash).state
    }

    fn is_removed(&self) -> bool {
        self.daemon.status().torrents.iter().all(|torrent| torrent.info_hash != self.sick.hash)
    }
}

#[test]
fn pausing_and_removing_what_hangs_waits_for_nobody() {
    let Some(failing) = Failing::new("hung") else { return };
    failing.disk.fail("write HANG b.bin\nsync HANG");
    failing.leech_sick();
    failing.daemon.wait_for("some of it", failing.sick.hash, |got| got.status.downloaded > 0);
    assert_eq!(failing.tell_sick("/pause", false), 200);
    assert_eq!(failing.sick_state(), TorrentState::Stopping);
    failing.others_do_not_notice();
    failing.disk.fail("");
    wait_until("it to be paused", PATIENCE, || failing.sick_state() == TorrentState::Paused);

    // Told to go on while it hangs, it does when it can.
    failing.daemon.tell("/resume", failing.sick.hash, false);
    failing.disk.fail("any HANG");
    // Whatever it does at this moment.
    assert_eq!(failing.tell_sick("/pause", false), 200);
    assert_eq!(failing.tell_sick("/resume", false), 200);
    failing.disk.fail("");
    wait_for_seeding_after_all(&failing.daemon, failing.sick.hash);
    assert_same(&failing.sick.source, &failing.disk.backing().join("sick"));

    // Removed with its payload, it is there until that is gone, and cannot come back before.
    failing.disk.fail("any HANG");
    assert_eq!(failing.tell_sick("/remove", true), 200);
    assert_eq!(failing.sick_state(), TorrentState::Stopping);
    assert!([409, 503].contains(&failing.tell_sick("/pause", false)));
    // More askers than the control port has threads.
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let answer =
                    failing.daemon.post("/seed", &seed_request(&failing.daemon.folder().join("disk/new")));
                assert_eq!(answer.status, 503, "{}", answer.text());
            });
        }
    });
    for other in &failing.others {
        failing.daemon.tell("/pause", other.hash, false);
        failing.daemon.tell("/resume", other.hash, false);
        failing.daemon.wait_for_seeding(other.hash);
    }
    failing.disk.fail("");
    wait_until("it to be removed", PATIENCE, || failing.is_removed());
    assert!(!failing.disk.backing().join("sick").exists());
    assert!(!failing.daemon.folder().join(format!("state/{}.resume", failing.sick.hash)).exists());
    failing.leech_sick();
    failing.daemon.wait_for_seeding(failing.sick.hash);
    drop(failing.daemon);
    failing.world.stop();
}

/// A start looks at the files of all that is complete.
#[test]
fn a_start_looks_at_other_disks_while_one_hangs() {
    let Some(mut failing) = Failing::new("hung-start") else { return };
    failing.leech_sick();
    failing.daemon.wait_for_seeding(failing.sick.hash);
    failing.others_do_not_notice();
    failing.daemon.process().terminate();
    failing.disk.fail("any HANG");
    failing.daemon.start_again();
    for other in &failing.others {
        failing.daemon.wait_for_seeding(other.hash);
        assert_eq!(failing.daemon.details(other.hash).pieces_checked, 0);
    }
    assert_eq!(failing.sick_state(), TorrentState::Checking);
    // Paused while somebody looks at it.
    assert_eq!(failing.tell_sick("/pause", false), 200);
    wait_for("it to be paused", PATIENCE, || match failing.sick_state() {
        TorrentState::Paused => Ok(()),
        other => Err(format!("{other:?}")),
    });
    failing.daemon.tell("/resume", failing.sick.hash, false);
    failing.disk.fail("");
    wait_for_seeding_after_all(&failing.daemon, failing.sick.hash);
    assert_eq!(failing.daemon.details(failing.sick.hash).pieces_checked, 0);
    drop(failing.daemon);
    failing.world.stop();
}

/// What a torrent is being made of cannot be read: nothing stops that, and nobody waits for it before the others are saved
/// and have said goodbye.
#[test]
fn a_torrent_being_made_on_a_disk_that_hangs_is_stopped_for_last() {
    let Some(mut failing) = Failing::new("hung-make") else { return };
    failing.others_do_not_notice();
    let files = [("a.bin", 200_000), ("b.bin", 2_000_000)];
    write_tree(&failing.disk.backing().join("made"), &files, 84);
    failing.disk.fail("read HANG b.bin");
    let answer = failing.daemon.post("/seed", &seed_request(&failing.daemon.folder().join("disk/made")));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let job = answer.json::<JobStarted>().job;
    let done = || match failing.daemon.get(&format!("/jobs/{job}")).json() {
        JobStatus::Running { done, .. } => done,
        other => panic!("{other:?}"),
    };
    wait_until("it to be read as far as can be", PATIENCE, || done() > 0 && done() == done());
    let ended = failing.daemon.process().end();
    assert_eq!((ended.code(), failing.daemon.logged("STOP_TIMEOUT")), (Some(1), 1), "it says so");
    for other in &failing.others {
        failing.world.tracker.wait_for_swarm(other.hash, 1, 0);
    }
    failing.disk.fail("");
    drop(failing.daemon);
    failing.world.stop();
}
