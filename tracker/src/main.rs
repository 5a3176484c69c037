//! torrent-tracker: the tracker as a program.
#![forbid(unsafe_code)]

mod again;

use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use argh::FromArgs;
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals;
use torrent_common::config::{Config, TrackerConfig};
use torrent_common::patient::Patient;
use torrent_common::regular;
use torrent_tracker::{Running, Tracker};

/// Open files, so about 4,000 connections at once.
const DESCRIPTORS: u64 = 8192;

/// A BitTorrent tracker that keeps a catalogue of the torrents published to it.
#[derive(FromArgs)]
struct Arguments {
    /// configuration file; else ./config.ini, else torrent/config.ini in the user's configuration folder
    #[argh(option)]
    config: Option<PathBuf>,
    /// address to listen on
    #[argh(option)]
    host: Option<IpAddr>,
    /// port to listen on; 0 lets the system choose
    #[argh(option)]
    port: Option<u16>,
    /// print the version
    #[argh(switch)]
    version: bool,
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    if arguments.version {
        println!("torrent-tracker {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    // Before any other thread is started: see there.
    match again::hold_signals().and_then(|()| init_log()).and_then(|()| run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("torrent-tracker: {message}");
            ExitCode::from(1)
        }
    }
}

/// The command line. Help is an end in success, nonsense one in code 2.
fn arguments() -> Result<Arguments, ExitCode> {
    let all: Vec<_> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let rest: Vec<_> = all.iter().skip(1).map(String::as_str).collect();
    Arguments::from_args(&["torrent-tracker"], &rest).map_err(|early| match early.status {
        Ok(()) => {
            println!("{}", early.output.trim_end());
            ExitCode::SUCCESS
        }
        Err(()) => {
            eprintln!("{}", early.output.trim_end());
            ExitCode::from(2)
        }
    })
}

fn init_log() -> Result<(), String> {
    // tiny_http reports every connection that ends early: our own guard says what matters.
    let default = env_logger::Env::default().default_filter_or("info,tiny_http=off");
    let mut log = env_logger::Builder::from_env(default);
    // env_logger does not know what is behind a pipe.
    let plain = ["NO_COLOR", "RUST_LOG_STYLE"].iter().any(|name| std::env::var_os(name).is_some());
    if std::io::stderr().is_terminal() && !plain {
        log.write_style(env_logger::WriteStyle::Always);
    }
    let stderr = Patient::new(std::io::stderr()).map_err(|error| format!("no room for a thread: {error}"))?;
    log.target(env_logger::Target::Pipe(Box::new(stderr))).init();
    Ok(())
}

fn run(arguments: Arguments) -> Result<(), String> {
    let (mut config, path) = load(arguments.config.as_deref())?;
    config.host = arguments.host.unwrap_or(config.host);
    config.port = arguments.port.unwrap_or(config.port);
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR2])
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    // A file that may not grow (ulimit -f) is to be an error like a full disk, not our end.
    if let Err(error) = signal_hook::flag::register(SIGXFSZ, Arc::default()) {
        log::debug!("files that are too large would end this process: {error}");
    }
    limit_descriptors();
    let running = Tracker::start(&config).map_err(|error| error.to_string())?;
    again::take_signals()?;
    running.when_worn(|| {
        if let Err(error) = kill_process(getpid(), Signal::USR2) {
            log::error!("cannot begin anew: {error}");
        }
    });
    greet(&running, &config, path.as_deref());
    let is_end = wait(&running, &mut signals, arguments.config.as_deref());
    let address = running.address();
    running.stop();
    // Those that come from now on are for the one that begins anew.
    again::hold_signals()?;
    if is_end || signals.pending().any(|signal| signal == SIGTERM || signal == SIGINT) {
        log::info!("stopped");
        return Ok(());
    }
    Err(again::execute(arguments.config.as_deref(), address))
}

/// The configuration, with the file it is from.
fn load(path: Option<&Path>) -> Result<(TrackerConfig, Option<PathBuf>), String> {
    let env = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let loaded = Config::load(path, env, regular::read_to_string);
    loaded.map(|(config, path)| (config.tracker, path)).map_err(|error| error.to_string())
}

/// Says where it listens.
fn greet(running: &Running, config: &TrackerConfig, path: Option<&Path>) {
    match path {
        Some(path) => log::info!("configured by {}", path.display()),
        None => log::info!("no configuration file: using the defaults"),
    }
    let address = running.address();
    // Nobody can announce to a wildcard address.
    let host = match address.ip().is_unspecified() {
        true => format!("THIS-HOST:{}", address.port()),
        false => address.to_string(),
    };
    let udp = if config.udp { format!(" or udp://{host}/announce") } else { String::new() };
    log::info!("listening on {address}: announce to http://{host}/announce{udp}");
    // One line for whoever started us and needs the port. Nobody may be reading it, and a pipe that nobody reads has
    // room for only so many.
    if again::times() == 0 {
        let _ = writeln!(std::io::stdout(), "ready http={address}");
    }
}

/// Does what signals say until the tracker has to stop: true if for good, false if to begin anew.
fn wait(running: &Running, signals: &mut Signals, config: Option<&Path>) -> bool {
    for signal in signals.forever() {
        let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
        match signal {
            SIGHUP => running.reload(),
            SIGUSR2 => match prepare_anew(running, config) {
                Ok(()) => {
                    log::warn!("beginning anew on {name}, for the {}. time", again::times() + 1);
                    return false;
                }
                Err(error) => log::error!("not beginning anew: {error}"),
            },
            _ => {
                log::info!("stopping on {name}");
                return true;
            }
        }
    }
    true
}

/// Looks whether it could start with what the user may have changed, and saves the swarms: after that there is no way back.
fn prepare_anew(running: &Running, config: Option<&Path>) -> Result<(), String> {
    let (config, _) = load(config).map_err(|error| format!("that would fail: {error}"))?;
    running.check(&config).map_err(|error| format!("that would fail: {error}"))?;
    running.save().map_err(|error| format!("newer peers would be lost: {error}"))
}

/// A connection costs two descriptors and a thread: this is what bounds their number.
fn limit_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS)));
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current, maximum }) {
        log::debug!("the limit of open files stays as it is: {error}");
    }
}
