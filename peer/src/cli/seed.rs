//! torrent-seed: makes a torrent of a file or folder, seeds it, and publishes it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use argh::FromArgs;

use super::interrupt::Interrupt;
use super::progress::Bar;
use super::{Failure, Out, arguments, format, out, settings};
use crate::control::ControlClient;
use crate::control::api::{JobStatus, LinksLeftOut, SeedRequest, SeedResult, TorrentState};
use crate::options::OptionsPatch;

/// Between two looks at the job: a twentieth of the time it has taken so far, so that waiting adds little to any job.
const FIRST_LOOK: Duration = Duration::from_millis(10);
/// At the longest.
const LOOK: Duration = Duration::from_millis(200);

/// Makes a torrent of a file or folder, seeds it with torrent-daemon, and publishes it to the tracker's catalogue. Prints the info-hash, the torrent file's path and the magnet link
#[derive(FromArgs, Debug)]
struct Arguments {
    /// the file or folder
    #[argh(option)]
    input: PathBuf,
    /// do not publish it, and set the torrent's private flag: peers come from its trackers alone
    #[argh(switch)]
    private: bool,
    /// bytes in a piece, such as 262144, 256K or 1M: a power of two of at least 16K; chosen by size unless given
    #[argh(option, from_str_fn(arguments::piece_length))]
    piece_length: Option<u64>,
    /// a tracker's announce address; may be repeated; the configured tracker (TRACKER_URL) unless given
    #[argh(option)]
    tracker: Vec<String>,
    /// also save the torrent file here
    #[argh(option)]
    torrent: Option<PathBuf>,
    /// the torrent's name; the input's own unless given
    #[argh(option)]
    name: Option<String>,
    /// a description for the catalogue
    #[argh(option)]
    description: Option<String>,
    /// bytes per second that it is uploaded with at the most, such as 500K or 2M; 0: no limit of its own
    #[argh(option, from_str_fn(arguments::rate))]
    up: Option<u64>,
    /// connections to peers
    #[argh(option, from_str_fn(arguments::connections))]
    max_peers: Option<usize>,
    /// stop seeding when so many times its size were uploaded, such as 2 or 1.5; 0: never
    #[argh(option, from_str_fn(arguments::ratio))]
    ratio: Option<f64>,
    /// stop seeding after so long, such as 12h or 7d; 0: never
    #[argh(option, from_str_fn(arguments::duration))]
    seed_time: Option<u64>,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// the daemon's control port (PORT in config.ini; 5000)
    #[argh(option, from_str_fn(arguments::port))]
    port: Option<u16>,
    /// the configuration file
    #[argh(option)]
    config: Option<PathBuf>,
}

/// The program.
pub fn main() -> ExitCode {
    super::run("torrent-seed", command)
}

fn command(arguments: Arguments, out: &mut Out) -> Result<(), Failure> {
    let config = settings::load(arguments.config.as_deref())?;
    let client = settings::client(&config, arguments.port)?;
    let path = settings::absolute(&arguments.input)?;
    if let Err(error) = path.symlink_metadata() {
        return Err(Failure::failed(format!("cannot seed {}: {error}", path.display())));
    }
    let interrupt = Interrupt::new()?;
    let job = client.seed(&SeedRequest {
        path,
        private: arguments.private,
        piece_length: arguments.piece_length,
        trackers: arguments.tracker,
        name: arguments.name,
        description: arguments.description,
        options: OptionsPatch {
            upload_limit: arguments.up.map(Some),
            max_connections: arguments.max_peers.map(Some),
            seed_ratio: arguments.ratio.map(Some),
            seed_time_s: arguments.seed_time.map(Some),
            ..OptionsPatch::default()
        },
    })?;
    let mut result = wait(&client, job, &interrupt)?;
    if let Some(copy) = &arguments.torrent {
        result.torrent_path = save_copy(&result.torrent_path, copy)?;
    }
    if let Some(state) = result.started_again.filter(|_| !arguments.json) {
        out::complain(started_again(state));
    }
    if let Some(links) = result.links_left_out.as_ref().filter(|_| !arguments.json) {
        out::complain(&left_out(links));
    }
    if arguments.json {
        out.json(&result)?;
    } else {
        print(out, &result)?;
    }
    out.flush()?;
    match &result.publish_error {
        None => Ok(()),
        Some(error) => Err(Failure::failed(format!(
            "it is seeded, but not in the catalogue: {}",
            format::message(error, 500)
        ))),
    }
}

/// What became of a torrent that was known and stood still.
const fn started_again(state: TorrentState) -> &'static str {
    match state {
        TorrentState::Finished => {
            "it was known, and seeded as long as it was to be: it is seeded again, without the goals that it has reached"
        }
        TorrentState::Error => "it was known, and stood still for an error: it is started again",
        _ => "it was known, and paused: it is seeded again",
    }
}

/// What is not in the torrent although it is in the folder.
fn left_out(links: &LinksLeftOut) -> String {
    let first = format::text(&links.first, 300);
    match links.count {
        1 => format!("a link is not followed, and left out: {first}"),
        count => format!("{count} links are not followed, and left out: the first is {first}"),
    }
}

fn print(out: &mut Out, result: &SeedResult) -> Result<(), Failure> {
    out.line(format_args!("info-hash  {}", result.info_hash))?;
    out.line(format_args!("torrent    {}", result.torrent_path.display()))?;
    out.line(format_args!("magnet     {}", result.magnet))
}

/// Shows the job's progress until it is over.
fn wait(client: &ControlClient, job: u64, interrupt: &Interrupt) -> Result<SeedResult, Failure> {
    let bar = Bar::new();
    let start = Instant::now();
    loop {
        match client.job(job)? {
            JobStatus::Done(result) => return Ok(result),
            JobStatus::Failed { error } => return Err(Failure::failed(format::message(&error, 1000))),
            JobStatus::Running { done, total } => show(&bar, done, total, start.elapsed()),
        }
        if interrupt.wait((start.elapsed() / 20).clamp(FIRST_LOOK, LOOK)) {
            drop(bar);
            client.cancel_job(job)?;
            return Err(Failure::failed("cancelled: nothing is seeded"));
        }
    }
}

fn show(bar: &Bar, done: u64, total: u64, elapsed: Duration) {
    let progress = if total == 0 { 0.0 } else { done as f64 / total as f64 };
    let rate = done
        .checked_div(elapsed.as_millis().try_into().unwrap_or(u64::MAX))
        .unwrap_or(0)
        .saturating_mul(1000);
    let left = total.saturating_sub(done).checked_div(rate);
    let message = format!(
        "hashing {}  {} of {}  {}  ETA {}",
        format::percent(progress),
        format::size(done),
        format::size(total),
        format::rate(rate),
        format::duration(left)
    );
    bar.show(progress, &message);
}

fn save_copy(from: &Path, to: &Path) -> Result<PathBuf, Failure> {
    let to = settings::absolute(to)?;
    std::fs::copy(from, &to).map_err(|error| {
        Failure::failed(format!(
            "it is seeded, but {} could not be copied to {}: {error}",
            from.display(),
            to.display()
        ))
    })?;
    Ok(to)
}
