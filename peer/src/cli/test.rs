//! torrent-test: whether daemon and tracker answer, and how fast.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use argh::FromArgs;
use serde::Serialize;

use super::{Failure, Out, arguments, format, settings};
use crate::catalogue::CatalogueClient;

/// For the tracker.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Tests whether torrent-daemon and the tracker answer, and how fast
#[derive(FromArgs, Debug)]
struct Arguments {
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// the daemon's control port (PORT in config.ini; 5000)
    #[argh(option, from_str_fn(arguments::port))]
    port: Option<u16>,
    /// the tracker's announce address; what the daemon uses unless given, else TRACKER_URL in config.ini
    #[argh(option)]
    tracker: Option<String>,
    /// the configuration file
    #[argh(option)]
    config: Option<PathBuf>,
}

/// What came of asking one program.
#[derive(Debug, Serialize)]
struct Answer {
    ok: bool,
    address: String,
    time_ms: f64,
    version: Option<String>,
    error: Option<String>,
    #[serde(skip)]
    words: String,
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    daemon: Answer,
    tracker: Answer,
}

/// The program.
pub fn main() -> ExitCode {
    super::run("torrent-test", command)
}

fn command(arguments: Arguments, out: &mut Out) -> Result<(), Failure> {
    let config = settings::load(arguments.config.as_deref())?;
    let client = settings::client(&config, arguments.port)?;
    let mut daemon_tracker = None;
    let daemon = answer(format!("127.0.0.1:{}", client.port()), || match client.info() {
        Ok(info) => {
            let torrents = format::count(info.torrents as u64, "torrent");
            let words =
                format!("{} {}, peers on port {}, {torrents}", info.name, info.version, info.peer_port);
            daemon_tracker = Some(info.tracker_url);
            Ok((info.version, words))
        }
        Err(error) => Err(error.to_string()),
    });
    let url = arguments.tracker.or(daemon_tracker).unwrap_or(config.tracker_url);
    let tracker = answer(format::text(&url, 200), || {
        match CatalogueClient::new(&url, TIMEOUT).and_then(|catalogue| catalogue.ping()) {
            Ok(info) => {
                let (name, version) = (format::text(&info.name, 40), format::text(&info.version, 40));
                let (torrents, peers) =
                    (format::count(info.torrents, "torrent"), format::count(info.peers, "peer"));
                let words = format!("{name} {version}, {torrents}, {peers}");
                Ok((version, words))
            }
            Err(error) => Err(error.to_string()),
        }
    });
    let report = Report { ok: daemon.ok && tracker.ok, daemon, tracker };
    // Without a daemon there is nothing on stdout: scripts wait for it with `until [ "$(torrent-test --json)" ]`.
    if arguments.json && report.daemon.ok {
        out.json(&report)?;
    } else if !arguments.json {
        for (name, answer) in [("daemon ", &report.daemon), ("tracker", &report.tracker)] {
            if answer.ok {
                out.line(format_args!(
                    "{name}  {}  {:.1} ms  {}",
                    answer.address, answer.time_ms, answer.words
                ))?;
            }
        }
    }
    out.flush()?;
    let errors: Vec<String> = [report.daemon.error, report.tracker.error].into_iter().flatten().collect();
    if errors.is_empty() { Ok(()) } else { Err(Failure::failed(errors.join("; "))) }
}

fn answer(address: String, ask: impl FnOnce() -> Result<(String, String), String>) -> Answer {
    let start = Instant::now();
    let result = ask();
    let time_ms = (start.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
    match result {
        Ok((version, words)) => {
            Answer { ok: true, address, time_ms, version: Some(version), error: None, words }
        }
        Err(error) => {
            Answer { ok: false, address, time_ms, version: None, error: Some(error), words: String::new() }
        }
    }
}
