//! torrent-leech: gives a torrent file to the daemon, which downloads it, and seeds it once it is complete.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use argh::FromArgs;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use torrent_common::ids::InfoHash;
use torrent_common::metainfo::{Metainfo, MetainfoLimits};

use super::interrupt::Interrupt;
use super::progress::{Bar, Pace};
use super::{Failure, Out, arguments, choose, format, out, settings};
use crate::control::api::{LeechRequest, TorrentState, TorrentStatus};
use crate::control::{ClientError, ControlClient};
use crate::options::{OptionsPatch, Preallocation};

/// Between two looks at the torrent: a twentieth of the time it has taken so far, so that waiting adds little.
const FIRST_LOOK: Duration = Duration::from_millis(10);
/// At the longest.
const LOOK: Duration = Duration::from_millis(500);

/// A daemon that is being restarted is waited for this long.
const ABSENT_MAX: Duration = Duration::from_secs(30);

/// Downloads a torrent with torrent-daemon, which seeds it once it is complete. Data already in the folder is checked and kept, so the same command seeds an existing copy
#[derive(FromArgs, Debug)]
struct Arguments {
    /// the torrent file
    #[argh(option)]
    torrent: PathBuf,
    /// the folder to put it in; the daemon's DOWNLOAD_DIR unless given
    #[argh(option)]
    output: Option<PathBuf>,
    /// only these files: numbers and ranges as --list shows them, such as 1,3-5, or a pattern such as '*.iso'; may be given several times. What was chosen before is chosen no more
    #[argh(option)]
    files: Vec<String>,
    /// print the torrent's files with their numbers, and do nothing else
    #[argh(switch)]
    list: bool,
    /// fetch it in order, to use it from its beginning while the rest comes
    #[argh(switch)]
    sequential: bool,
    /// how room for files is made: none, sparse, or full (all of it at once); PREALLOCATION in config.ini unless given
    #[argh(option, from_str_fn(choose::preallocation))]
    preallocate: Option<Preallocation>,
    /// bytes per second that it is downloaded with at the most, such as 500K or 2M; 0: no limit of its own
    #[argh(option, from_str_fn(arguments::rate))]
    down: Option<u64>,
    /// bytes per second that it is uploaded with at the most, such as 500K or 2M; 0: no limit of its own
    #[argh(option, from_str_fn(arguments::rate))]
    up: Option<u64>,
    /// connections to peers
    #[argh(option, from_str_fn(arguments::connections))]
    max_peers: Option<usize>,
    /// once complete, stop seeding when so many times the size of what is selected were uploaded, such as 2 or 1.5; 0: never
    #[argh(option, from_str_fn(arguments::ratio))]
    ratio: Option<f64>,
    /// once complete, stop seeding after so long, such as 12h or 7d; 0: never
    #[argh(option, from_str_fn(arguments::duration))]
    seed_time: Option<u64>,
    /// wait until it is complete, and show the progress; Ctrl-C ends the waiting, not the download. What may pass by itself, such as a full disk, is waited for
    #[argh(switch)]
    wait: bool,
    /// with --wait, wait no longer than so long, such as 30m or 12h; 0: as long as it takes. The download goes on
    #[argh(option, from_str_fn(arguments::duration))]
    timeout: Option<u64>,
    /// print the torrent's status as JSON in the end; with --list its files
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
    super::run("torrent-leech", command)
}

fn command(arguments: Arguments, out: &mut Out) -> Result<(), Failure> {
    let config = settings::load(arguments.config.as_deref())?;
    let torrent = read(&arguments.torrent, config.max_torrent_len)?;
    let metainfo = || {
        let limits = MetainfoLimits::new(config.max_torrent_len, config.block_len);
        Metainfo::parse(&torrent, &limits).map_err(|error| {
            Failure::failed(format!("{} is no usable torrent: {error}", arguments.torrent.display()))
        })
    };
    if arguments.list && arguments.json {
        return out.json(&choose::list_json(&metainfo()?));
    }
    if arguments.list {
        return choose::list(&metainfo()?).iter().try_for_each(|line| out.line(line));
    }
    let priorities = match arguments.files.as_slice() {
        [] => None,
        choices => Some(Some(choose::choose(&metainfo()?, choices)?)),
    };
    let client = settings::client(&config, arguments.port)?;
    let request = LeechRequest {
        torrent_base64: Some(STANDARD.encode(&torrent)),
        torrent_path: None,
        output: arguments.output.as_deref().map(settings::absolute).transpose()?,
        options: OptionsPatch {
            priorities,
            sequential: arguments.sequential.then_some(Some(true)),
            preallocation: arguments.preallocate.map(Some),
            download_limit: arguments.down.map(Some),
            upload_limit: arguments.up.map(Some),
            max_connections: arguments.max_peers.map(Some),
            seed_ratio: arguments.ratio.map(Some),
            seed_time_s: arguments.seed_time.map(Some),
            ..OptionsPatch::default()
        },
    };
    let added = client.leech(&request)?;
    if arguments.wait {
        let timeout = arguments.timeout.filter(|&seconds| seconds > 0).map(Duration::from_secs);
        let done = wait(&client, added.info_hash, arguments.json, timeout)?;
        if arguments.json {
            return out.json(&done);
        }
        return out.line(format_args!("complete: {}", place(&done)));
    }
    if arguments.json {
        return out.json(&added);
    }
    out.line(format_args!("{}: {}", format::state(added.state), place(&added)))
}

/// What it is and where.
fn place(status: &TorrentStatus) -> String {
    format!("{} ({}) in {}", format::text(&status.name, 100), format::wanted(status), status.output.display())
}

fn read(path: &Path, max_len: usize) -> Result<Vec<u8>, Failure> {
    let cannot = |error: std::io::Error| Failure::failed(format!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    let limit = u64::try_from(max_len).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).map_err(cannot)?.take(limit).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() > max_len {
        return Err(Failure::failed(format!(
            "{} has more than {}, too much for a torrent file (MAX_TORRENT_SIZE_KIB)",
            path.display(),
            format::size(limit.saturating_sub(1))
        )));
    }
    Ok(bytes)
}

/// Waits until the torrent is complete, or only a user can help it.
fn wait(
    client: &ControlClient,
    info_hash: InfoHash,
    quiet: bool,
    timeout: Option<Duration>,
) -> Result<TorrentStatus, Failure> {
    let interrupt = Interrupt::new()?;
    let mut watch = Watch::new(quiet);
    let start = Instant::now();
    let mut absent_since: Option<Instant> = None;
    loop {
        // Not all about it: the list of half a million files is not to be made and sent at every look.
        match client.torrent_status(&info_hash) {
            Ok(status) => {
                absent_since = None;
                match status.state {
                    TorrentState::Seeding | TorrentState::Finished => return Ok(status),
                    TorrentState::Error if status.retry_seconds.is_some() => watch.show(&status),
                    TorrentState::Error => {
                        let error = status.error.as_deref().unwrap_or("torrent-daemon does not say why");
                        return Err(Failure::failed(format!("stopped: {}", format::message(error, 1000))));
                    }
                    // Complete is complete.
                    TorrentState::Paused | TorrentState::Queued if status.progress >= 1.0 => {
                        return Ok(status);
                    }
                    TorrentState::Checking
                    | TorrentState::Downloading
                    | TorrentState::Paused
                    | TorrentState::Stopping
                    | TorrentState::Queued => {
                        watch.show(&status);
                    }
                }
            }
            Err(ClientError::Refused { status: 404, .. }) => {
                return Err(Failure::failed("the torrent was removed from torrent-daemon"));
            }
            Err(error @ (ClientError::NotRunning(_) | ClientError::Broken { .. })) => {
                let since = *absent_since.get_or_insert_with(Instant::now);
                if since.elapsed() > ABSENT_MAX {
                    return Err(error.into());
                }
                watch.absent();
            }
            Err(error) => return Err(error.into()),
        }
        if timeout.is_some_and(|timeout| start.elapsed() >= timeout) {
            return Err(Failure::failed(
                "not complete in the time given; torrent-daemon goes on with it: torrent-status shows it",
            ));
        }
        if interrupt.wait((start.elapsed() / 20).clamp(FIRST_LOOK, LOOK)) {
            return Err(Failure::failed(
                "not complete yet; torrent-daemon goes on with it: torrent-status shows it",
            ));
        }
    }
}

/// Shows the progress, one way or the other.
struct Watch {
    bar: Bar,
    pace: Pace,
    last_state: Option<TorrentState>,
    /// What it was last said to wait for.
    trouble: Option<String>,
    quiet: bool,
}

impl Watch {
    fn new(quiet: bool) -> Self {
        Self { bar: Bar::new(), pace: Pace::default(), last_state: None, trouble: None, quiet }
    }

    fn show(&mut self, status: &TorrentStatus) {
        self.tell_trouble(status);
        let changed = self.last_state.replace(status.state) != Some(status.state);
        let mut line = format::progress_line(status);
        if status.state == TorrentState::Paused {
            line.push_str(", waiting until it is resumed");
        }
        if !self.bar.is_hidden() {
            self.bar.show(status.progress, &line);
        } else if status.error.is_some() {
            // Told already.
        } else if !self.quiet && (self.pace.is_due(Instant::now(), status.progress) || changed) {
            out::complain(&format!("{}: {line}", format::text(&status.name, 60)));
        }
    }

    /// Says once what it waits for, also to who wants no progress; not on a terminal, where it is seen all the time.
    fn tell_trouble(&mut self, status: &TorrentStatus) {
        if let Some(error) = &status.error
            && self.trouble.as_ref() != Some(error)
            && self.bar.is_hidden()
        {
            let (name, why) = (format::text(&status.name, 60), format::text(error, 1000));
            out::complain(&format!("{name}: waiting, torrent-daemon goes on when it can: {why}"));
            self.trouble = Some(error.clone());
        }
    }

    fn absent(&mut self) {
        let message = "torrent-daemon does not answer, waiting for it";
        if !self.bar.is_hidden() {
            self.bar.show(0.0, message);
        } else if self.last_state.take().is_some() && !self.quiet {
            out::complain(message);
        }
    }
}
