//! What an attack costs those who are honest: a download, from a seeder on the same machine, with each attack of the hostile kit
//! beside it and without, in turns.
//!
//!     siege [--mib N] [--rounds N] [--mbit N] [--limit MIB] [--leecher | --seeder] [WORD...]
//!
//! Downloads N MiB (512) so many times (3); strangers have a line of so many Mbit/s together (100; 0: what the machine does).
//! With a limit the honest seeder sends so many MiB/s: then the processor is no bound, and what is seen is what strangers
//! do to the protocol. The victim is the leecher or the seeder, by turns both. Words choose attacks by their names.
//!
//! Prints a table of medians: the speed alone and under attack, their ratio, memory at its peak and processor time of the victim,
//! processor time of the strangers, who have to live on the same machine. Uses the programs in TORRENT_BIN, or builds them.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use torrent_common::ids::InfoHash;
use torrent_common::metainfo::Metainfo;
use torrent_tests::daemon::Daemon;
use torrent_tests::hostile::{ATTACKS, Attack, Role, Siege, Victim};
use torrent_tests::payload::write_file;
use torrent_tests::process::processor_time;
use torrent_tests::room::{Place, Room};
use torrent_tests::tracker::Tracker;
use torrent_tests::wait::{PATIENCE, wait_until};

const MIB: u64 = 1 << 20;
const PIECE_LEN: u64 = MIB;
/// Before the download begins the attack goes on for so long.
const BEFORE: Duration = Duration::from_millis(500);
/// A download that takes longer is counted as one that took so long.
const LONGEST: Duration = Duration::from_secs(120);

struct Arguments {
    mib: u64,
    rounds: usize,
    mbit: u64,
    limit_mib: u64,
    roles: Vec<Role>,
    words: Vec<String>,
}

fn arguments() -> Option<Arguments> {
    let roles = vec![Role::Leecher, Role::Seeder];
    let mut read = Arguments { mib: 512, rounds: 3, mbit: 100, limit_mib: 0, roles, words: Vec::new() };
    let mut all = std::env::args().skip(1);
    while let Some(word) = all.next() {
        match &*word {
            "--mib" => read.mib = all.next()?.parse().ok().filter(|&mib| mib > 0)?,
            "--rounds" => read.rounds = all.next()?.parse().ok().filter(|&rounds| rounds > 0)?,
            "--mbit" => read.mbit = all.next()?.parse().ok()?,
            "--limit" => read.limit_mib = all.next()?.parse().ok()?,
            "--leecher" => read.roles = vec![Role::Leecher],
            "--seeder" => read.roles = vec![Role::Seeder],
            _ if word.starts_with('-') => return None,
            _ => read.words.push(word),
        }
    }
    Some(read)
}

/// What one download took.
#[derive(Clone, Copy, Default)]
struct Run {
    seconds: f64,
    peak_kib: u64,
    victim_s: f64,
    strangers_s: f64,
}

struct Ground {
    room: Room,
    tracker: Tracker,
    seeder: Daemon,
    source: PathBuf,
    torrent: PathBuf,
    metainfo: Metainfo,
    payload: Arc<Vec<u8>>,
    arguments: Arguments,
    daemons: u64,
}

fn main() -> io::Result<ExitCode> {
    let Some(arguments) = arguments() else {
        eprintln!("siege [--mib N] [--rounds N] [--mbit N] [--limit MIB] [--leecher | --seeder] [WORD...]");
        return Ok(ExitCode::from(2));
    };
    let mut ground = Ground::prepare(arguments)?;
    for role in ground.arguments.roles.clone() {
        ground.measure(role);
    }
    ground.seeder.stop();
    ground.tracker.stop();
    Ok(ExitCode::SUCCESS)
}

impl Ground {
    fn prepare(arguments: Arguments) -> io::Result<Self> {
        let room = Room::new("siege");
        let tracker = Tracker::start(&room);
        let source = room.folder("source").join("payload.bin");
        write_file(&source, arguments.mib * MIB, 1);
        let seeder = Daemon::start_at(&room, "seeder", &tracker.url(), Place::Here, &limit(&arguments));
        let seeded = seeder.publish(&source, PIECE_LEN);
        seeder.tell("/pause", seeded.info_hash, false);
        let metainfo = torrent_tests::torrents::parse(&std::fs::read(&seeded.torrent_path)?);
        let payload = Arc::new(std::fs::read(&source)?);
        let torrent = seeded.torrent_path;
        Ok(Self { room, tracker, seeder, source, torrent, metainfo, payload, arguments, daemons: 0 })
    }

    fn measure(&mut self, role: Role) {
        let words = &self.arguments.words;
        let wanted =
            |attack: &&Attack| words.is_empty() || words.iter().any(|word| attack.name.contains(word));
        let attacks = ATTACKS.iter().filter(|attack| attack.against.contains(&role)).filter(wanted);
        println!(
            "\nThe {} as victim, {} MiB, {} rounds, strangers with {} Mbit/s, {} MiB/s at most\n",
            if role == Role::Leecher { "leecher" } else { "seeder" },
            self.arguments.mib,
            self.arguments.rounds,
            self.arguments.mbit,
            self.arguments.limit_mib,
        );
        println!(
            "| attack | alone, MiB/s | under attack | ratio | peak, MiB | CPU s | CPU s alone | CPU s strangers |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|---:|");
        for attack in attacks.copied().collect::<Vec<_>>() {
            let (mut alone, mut attacked) = (Vec::new(), Vec::new());
            for _ in 0..self.arguments.rounds {
                alone.push(self.run(role, None));
                attacked.push(self.run(role, Some(attack)));
            }
            self.tell(&attack, &median(&alone), &median(&attacked));
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "for people to read")]
    fn tell(&self, attack: &Attack, alone: &Run, attacked: &Run) {
        let mib = self.arguments.mib as f64;
        println!(
            "| {} | {:.0} | {:.0} | {:.2} | {:.0} | {:.2} | {:.2} | {:.2} |",
            attack.name,
            mib / alone.seconds,
            mib / attacked.seconds,
            alone.seconds / attacked.seconds,
            attacked.peak_kib as f64 / 1024.0,
            attacked.victim_s,
            alone.victim_s,
            attacked.strangers_s,
        );
    }

    fn run(&mut self, role: Role, attack: Option<Attack>) -> Run {
        self.daemons += 1;
        match role {
            Role::Leecher => self.download(attack),
            Role::Seeder => self.upload(attack),
        }
    }

    /// The leecher is attacked before its seeder comes.
    fn download(&self, attack: Option<Attack>) -> Run {
        let name = format!("leecher-{}", self.daemons);
        let leecher = Daemon::start(&self.room, &name, &self.tracker.url());
        let hash = leecher.leech(&self.torrent, None).info_hash;
        let siege = self.besiege(&leecher, attack);
        let run = self.time(&leecher, &leecher, || self.seeder.tell("/resume", hash, false));
        drop(siege);
        self.seeder.tell("/pause", hash, false);
        leecher.stop();
        self.tidy(&[&name]);
        run
    }

    /// The seeder is attacked before its leecher comes.
    fn upload(&self, attack: Option<Attack>) -> Run {
        let names = [format!("seeder-{}", self.daemons), format!("leecher-{}", self.daemons)];
        let limit = limit(&self.arguments);
        let seeder = Daemon::start_at(&self.room, &names[0], &self.tracker.url(), Place::Here, &limit);
        let hash = seeder.leech(&self.torrent, self.source.parent()).info_hash;
        seeder.wait_for_seeding(hash);
        let leecher = Daemon::start(&self.room, &names[1], &self.tracker.url());
        let siege = self.besiege(&seeder, attack);
        let run = self.time(&seeder, &leecher, || _ = leecher.leech(&self.torrent, None));
        drop(siege);
        leecher.stop();
        seeder.stop();
        self.tidy(&[&names[0], &names[1]]);
        run
    }

    fn besiege(&self, victim: &Daemon, attack: Option<Attack>) -> Option<Siege> {
        let (address, payload) = (victim.peer_address(), Arc::clone(&self.payload));
        let victim = Victim { address, metainfo: self.metainfo.clone(), payload };
        let line = (self.arguments.mbit > 0).then_some(self.arguments.mbit * 1_000_000 / 8);
        let siege = attack.map(|attack| Siege::begin(attack, victim, line));
        if let Some(siege) = &siege {
            wait_until("the attack", PATIENCE, || siege.strikes() > 0);
        }
        std::thread::sleep(BEFORE);
        siege
    }

    fn time(&self, victim: &Daemon, leecher: &Daemon, begin: impl FnOnce()) -> Run {
        let own = std::process::id();
        let before = (processor_time(victim.process_id()), processor_time(own));
        let start = Instant::now();
        begin();
        while !is_complete(leecher, self.metainfo.info_hash) && start.elapsed() < LONGEST {
            std::thread::sleep(Duration::from_millis(10));
        }
        Run {
            seconds: start.elapsed().as_secs_f64(),
            peak_kib: victim.peak_kib(),
            victim_s: (processor_time(victim.process_id()) - before.0).as_secs_f64(),
            strangers_s: (processor_time(own) - before.1).as_secs_f64(),
        }
    }

    /// Payload in memory is not kept for the next.
    fn tidy(&self, names: &[&str]) {
        for name in names {
            let _ = std::fs::remove_dir_all(self.room.path().join(name).join("downloads"));
        }
    }
}

fn limit(arguments: &Arguments) -> String {
    format!("UPLOAD_LIMIT_KIB = {}", arguments.limit_mib * 1024)
}

fn is_complete(daemon: &Daemon, hash: InfoHash) -> bool {
    daemon.status().torrents.iter().any(|torrent| torrent.info_hash == hash && torrent.progress >= 1.0)
}

/// Each figure's own.
fn median(runs: &[Run]) -> Run {
    let of = |figure: fn(&Run) -> f64| {
        let mut all: Vec<_> = runs.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    let mut peaks: Vec<_> = runs.iter().map(|run| run.peak_kib).collect();
    peaks.sort_unstable();
    Run {
        seconds: of(|run| run.seconds),
        peak_kib: peaks.get(peaks.len() / 2).copied().unwrap_or_default(),
        victim_s: of(|run| run.victim_s),
        strangers_s: of(|run| run.strangers_s),
    }
}
