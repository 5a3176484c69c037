//! A tracker that takes uploads and announces is killed (SIGKILL) at random moments: what it has said yes to, it has.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use torrent_common::announce::http::{announce_query, with_query};
use torrent_common::ids::{InfoHash, PeerId};
use torrent_tests::bencode::dict;
use torrent_tests::http;
use torrent_tests::room::Room;
use torrent_tests::torrents::parse;
use torrent_tests::tracker::{Tracker, Upload, request};

use crate::{long, random};

/// The longest time from one start to the next kill.
const LIFE_MS: u64 = 250;

fn torrent(number: u64) -> Vec<u8> {
    let name = format!("file-{number}.bin");
    let info = dict([
        ("length", 40_000.into()),
        ("name", name.as_str().into()),
        ("piece length", 32_768.into()),
        ("pieces", vec![7; 40].into()),
    ]);
    dict([("announce", "http://tracker.example/announce".into()), ("info", info)]).encode()
}

#[test]
fn what_a_tracker_said_yes_to_survives_kills_at_random_moments() {
    let rounds = long("TORTURE_KILLS", 8);
    let mut random = random();
    let room = Room::new("tracker-kills");
    let mut tracker = Tracker::start_with(&room, torrent_tests::room::Place::Here, "UPLOAD_QUOTA = 0");
    let url = tracker.url();
    let done = AtomicBool::new(false);
    let acknowledged: Mutex<Vec<InfoHash>> = Mutex::default();
    let announces = AtomicU64::new(0);
    std::thread::scope(|scope| {
        // Uploads, one after the other; those without an answer may be there or not.
        scope.spawn(|| {
            for number in 0.. {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                let bytes = torrent(number);
                let info_hash = parse(&bytes).info_hash;
                let upload =
                    Upload { torrent: &bytes, info_hash, name: "a name", description: "a description" };
                match upload.send(&url) {
                    Ok(answer) => {
                        // New, or taken before the kill that cost the answer.
                        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
                        acknowledged.lock().unwrap().push(info_hash);
                    }
                    // It is dead for the moment.
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        scope.spawn(|| {
            for number in 0_u64.. {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                let info_hash = InfoHash::new([(number % 7) as u8; 20]);
                let peer = PeerId::new([(number % 250) as u8; 20]);
                let announce = request(info_hash, peer, 7000 + (number % 250) as u16, number % 2);
                match http::get(&with_query(&url, &announce_query(&announce))) {
                    Ok(answer) => {
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        announces.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        let end = End(&done);
        for _ in 0..rounds {
            std::thread::sleep(Duration::from_micros(random.u64(0..LIFE_MS * 1000)));
            tracker.kill_and_restart();
        }
        drop(end);
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(!acknowledged.is_empty());
    for info_hash in &acknowledged {
        let answer = tracker.get(&format!("/torrents/{info_hash}"));
        assert_eq!(answer.status, 200, "{info_hash} was published: {}", answer.text());
        assert_eq!(parse(&answer.body).info_hash, *info_hash);
    }
    println!(
        "{rounds} kills of a tracker: {} torrents that it had taken are there, {} announces were answered",
        acknowledged.len(),
        announces.into_inner()
    );
    tracker.stop();
}

/// Ends the others also when this test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
