//! What users want changes all the time (files are selected and left out, torrents paused, resumed, removed and added again), and
//! the daemon is killed or stopped in the midst of it: in the end all is there, and right.

use torrent_peer::options::{OptionsPatch, Priority};
use torrent_tests::daemon::Daemon;
use torrent_tests::payload::assert_same;

use crate::world::{Payload, World, leech_only, wait_for_seeding_after_all};
use crate::{long, random};

/// Pieces of 64 KiB: most files share some with their neighbours, two are in one with others.
const FILES: [(&str, u64); 6] =
    [("a", 1), ("b", 900_000), ("c", 70_000), ("d", 100), ("e/f", 1_200_000), ("e/g", 300_000)];
/// Wishes from one start to the next kill, at the most.
const WISHES: usize = 6;

/// Few: a file that was never selected has its bytes elsewhere.
fn few(random: &mut fastrand::Rng) -> Vec<Priority> {
    let mut priorities = vec![Priority::Skip; FILES.len()];
    (0..random.usize(1..3)).for_each(|_| priorities[random.usize(..FILES.len())] = Priority::High);
    priorities
}

fn select(daemon: &Daemon, payload: &Payload, priorities: Vec<Priority>) {
    let patch = OptionsPatch { priorities: Some(Some(priorities)), ..OptionsPatch::default() };
    let answer = daemon.post(&format!("/torrents/{}/options", payload.hash), &patch);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn any_wish(daemon: &Daemon, payload: &Payload, random: &mut fastrand::Rng) {
    match random.u8(..8) {
        0 => daemon.tell("/pause", payload.hash, false),
        1 => daemon.tell("/resume", payload.hash, false),
        2 => {
            daemon.tell("/remove", payload.hash, random.bool());
            leech_only(daemon, &payload.torrent, &daemon.downloads(), few(random));
        }
        3 | 4 => {
            daemon.tell("/resume", payload.hash, false);
            wait_for_seeding_after_all(daemon, payload.hash);
        }
        _ => select(daemon, payload, few(random)),
    }
}

#[test]
fn wishes_that_change_survive_kills_and_stops() {
    let rounds = long("TORTURE_KILLS", 8);
    let mut random = random();
    let world = World::with("wishes", "UPLOAD_LIMIT_KIB = 6000");
    let payloads = [91, 92].map(|seed| world.seed(&format!("tree-{seed}"), &FILES, seed));
    let mut daemon = Daemon::start(&world.room, "daemon", &world.tracker.url());
    for payload in &payloads {
        leech_only(&daemon, &payload.torrent, &daemon.downloads(), few(&mut random));
    }
    for _ in 0..rounds {
        for _ in 0..random.usize(1..=WISHES) {
            any_wish(&daemon, &payloads[random.usize(..payloads.len())], &mut random);
            std::thread::sleep(std::time::Duration::from_micros(random.u64(0..200_000)));
        }
        if random.bool() {
            daemon.kill();
        } else {
            daemon.process().terminate();
        }
        daemon.start_again();
    }
    for payload in &payloads {
        select(&daemon, payload, vec![Priority::Normal; FILES.len()]);
        // It may be paused.
        daemon.tell("/resume", payload.hash, false);
        wait_for_seeding_after_all(&daemon, payload.hash);
        assert_same(&payload.source, &daemon.downloads().join(payload.source.file_name().unwrap()));
    }
    println!("{rounds} kills of a daemon whose user changes his mind: all of two torrents is there");
    daemon.stop();
    world.stop();
}
