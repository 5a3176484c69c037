//! One tracker, six daemons, fifty torrents, and peers that come and go: memory, threads and descriptors stay flat, and in
//! the end everybody has everything. `TORTURE_SOAK_S` says for how long, `TORTURE_OUT` where the samples go
//! (`soak.csv`, of which `scripts/torture/plot.py` makes a picture).

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use torrent_common::ids::InfoHash;
use torrent_tests::daemon::Daemon;
use torrent_tests::payload::{assert_same, write_tree};
use torrent_tests::process::Usage;
use torrent_tests::room::Room;
use torrent_tests::torrents::make;
use torrent_tests::tracker::Tracker;

use crate::{long, random};

const TORRENTS: usize = 50;
/// The first of these has all from the beginning; it, the next two and the tracker are never stopped.
const DAEMONS: usize = 6;
const STEADY: usize = 3;
const SAMPLE: Duration = Duration::from_secs(1);
/// Samples between two times that they are written.
const WRITE_EVERY: usize = 60;

/// What is looked at, how it is found, and how much more of it is none.
type Kind = (&'static str, fn(&Usage) -> u64, u64);

struct Payload {
    name: String,
    torrent: PathBuf,
    source: PathBuf,
    hash: InfoHash,
}

/// Samples of one process.
#[derive(Default)]
struct Track {
    name: String,
    samples: Vec<(f64, Usage)>,
}

impl Track {
    /// The middle values of a third of the samples.
    fn middle(&self, third: usize, of: impl Fn(&Usage) -> u64) -> u64 {
        let len = self.samples.len();
        let mut values: Vec<u64> =
            self.samples[len * third / 3..len * (third + 1) / 3].iter().map(|(_, usage)| of(usage)).collect();
        values.sort_unstable();
        values[values.len() / 2]
    }

    /// What it uses in the last third is what it used in the second, or nearly so.
    fn assert_flat(&self) {
        let kinds: [Kind; 3] = [
            ("KiB of memory", |usage| usage.memory_kib, 8 << 10),
            ("threads", |usage| usage.threads, 24),
            ("descriptors", |usage| usage.descriptors, 48),
        ];
        for (what, of, slack) in kinds {
            let (before, after) = (self.middle(1, of), self.middle(2, of));
            println!("{}: {before} {what}, then {after}", self.name);
            assert!(after <= before + before / 5 + slack, "{}: {before} {what}, then {after}", self.name);
        }
    }
}

fn payloads(room: &Room, tracker: &Tracker, seeder: &Daemon) -> Vec<Payload> {
    let folder = room.folder("source");
    let make_one = |number: usize| {
        let name = format!("soak-{number:02}");
        let source = folder.join(&name);
        write_tree(
            &source,
            &[("a.bin", 100_000 + 7_919 * number as u64), ("b/c.bin", 30_000)],
            number as u64,
        );
        let (torrent, metainfo) = make(&source, &folder, 16 * 1024, &tracker.url());
        seeder.leech(&torrent, Some(&folder));
        Payload { name, torrent, source, hash: metainfo.info_hash }
    };
    (0..TORRENTS).map(make_one).collect()
}

fn write_csv(tracks: &[Track]) {
    let Some(folder) = std::env::var_os("TORTURE_OUT") else { return };
    let mut text = "process,seconds,memory_kib,threads,descriptors\n".to_owned();
    for track in tracks {
        for (at, usage) in &track.samples {
            let Usage { memory_kib, threads, descriptors } = usage;
            writeln!(text, "{},{at:.1},{memory_kib},{threads},{descriptors}", track.name).unwrap();
        }
    }
    std::fs::write(PathBuf::from(folder).join("soak.csv"), text).unwrap();
}

#[test]
fn a_swarm_that_comes_and_goes_takes_no_more_with_time() {
    let limit = Duration::from_secs(long("TORTURE_SOAK_S", 30));
    let mut random = random();
    let room = Room::new("soak");
    let mut tracker = Tracker::start(&room);
    let mut daemons = vec![Daemon::start(&room, "steady-0", &tracker.url())];
    let payloads = payloads(&room, &tracker, &daemons[0]);
    for number in 1..DAEMONS {
        let kind = if number < STEADY { "steady" } else { "passing" };
        let daemon = Daemon::start(&room, &format!("{kind}-{number}"), &tracker.url());
        payloads.iter().for_each(|payload| drop(daemon.leech(&payload.torrent, None)));
        daemons.push(daemon);
    }
    let mut tracks: Vec<Track> = std::iter::repeat_with(Track::default).take(STEADY + 1).collect();
    tracks[STEADY].name = "tracker".to_owned();
    let begin = Instant::now();
    let (mut stops, mut kills, mut fetched) = (0, 0, 0);
    let mut sampled = begin;
    while begin.elapsed() < limit {
        let at = random.usize(STEADY..DAEMONS);
        match random.u8(..8) {
            0 => {
                daemons[at].restart();
                stops += 1;
            }
            1 => {
                daemons[at].kill();
                daemons[at].start_again();
                kills += 1;
            }
            // Anybody but the first fetches a few anew.
            _ => {
                let daemon = &daemons[random.usize(1..DAEMONS)];
                for _ in 0..4 {
                    let payload = &payloads[random.usize(..TORRENTS)];
                    daemon.tell("/remove", payload.hash, true);
                    daemon.leech(&payload.torrent, None);
                    fetched += 1;
                }
            }
        }
        std::thread::sleep(Duration::from_millis(random.u64(0..400)));
        if sampled.elapsed() >= SAMPLE {
            sampled = Instant::now();
            let seconds = begin.elapsed().as_secs_f64();
            for (track, daemon) in tracks[..STEADY].iter_mut().zip(&mut daemons) {
                track.name = daemon.name().to_owned();
                track.samples.push((seconds, daemon.process().usage()));
            }
            tracks[STEADY].samples.push((seconds, tracker.process().usage()));
            // Also what was seen before something went wrong is worth a picture.
            if tracks[STEADY].samples.len().is_multiple_of(WRITE_EVERY) {
                write_csv(&tracks);
            }
        }
    }
    write_csv(&tracks);
    println!("{stops} stops, {kills} kills, {fetched} torrents fetched anew");
    for daemon in &daemons {
        for payload in &payloads {
            daemon.wait_for_seeding(payload.hash);
            let root = if daemon.name() == "steady-0" { room.folder("source") } else { daemon.downloads() };
            assert_same(&payload.source, &root.join(&payload.name));
        }
    }
    tracks.iter().for_each(Track::assert_flat);
    daemons.into_iter().for_each(Daemon::stop);
    tracker.stop();
}
