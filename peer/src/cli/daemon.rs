//! torrent-daemon: runs in the foreground until it is told to stop.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use argh::FromArgs;
use crossbeam_channel::{RecvTimeoutError, Sender};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use torrent_common::config::PeerConfig;

use super::interrupt::Interrupt;
use super::live::{Live, Screen};
use super::stop::Stopper;
use super::{Failure, Out, arguments, settings};
use crate::control::api::Status;
use crate::{Daemon, Running};

/// Between two looks of the live lines, on a terminal only.
const LIVE: Duration = Duration::from_secs(1);

/// Seeds and leeches torrents until Ctrl-C or SIGTERM; the other commands tell it what to do
#[derive(FromArgs, Debug)]
struct Arguments {
    /// the configuration file
    #[argh(option)]
    config: Option<PathBuf>,
    /// the control port, on 127.0.0.1 (PORT in config.ini; 5000); 0: any
    #[argh(option, from_str_fn(arguments::listen_port))]
    port: Option<u16>,
    /// the port that peers connect to (PEER_PORT in config.ini); 0: any
    #[argh(option, from_str_fn(arguments::listen_port))]
    peer_port: Option<u16>,
    /// where downloads go unless told otherwise (DOWNLOAD_DIR in config.ini)
    #[argh(option)]
    download_dir: Option<PathBuf>,
    /// bytes per second received at the most, of all torrents together, such as 500K or 2M (DOWNLOAD_LIMIT_KIB in config.ini); 0: no limit
    #[argh(option, from_str_fn(arguments::rate))]
    down: Option<u64>,
    /// bytes per second sent at the most, of all torrents together, such as 500K or 2M (UPLOAD_LIMIT_KIB in config.ini); 0: no limit
    #[argh(option, from_str_fn(arguments::rate))]
    up: Option<u64>,
}

/// The program.
pub fn main() -> ExitCode {
    super::run("torrent-daemon", command)
}

fn command(arguments: Arguments, out: &mut Out) -> Result<(), Failure> {
    let mut config = configure(arguments)?;
    let screen = Screen::stderr();
    let reader = screen.init_log()?;
    raise_descriptor_limit();
    fit_to_descriptors(&mut config);
    // Before anything is started, so that a signal in between is not lost.
    let interrupt = Interrupt::new()?;
    let stopper = Stopper::new()?;
    survive_file_size_limit();
    let downloads = config.download_dir.clone();
    let limit = Duration::from_secs(config.stop_timeout_s.into());
    let running = Daemon::start(config).map_err(|error| Failure::failed(error.to_string()))?;
    log::info!(
        "control on {}, peers on {}, downloads to {}",
        running.control_address(),
        running.peer_address(),
        downloads.display()
    );
    announce_ready(out, &running);
    let live = show_live(&screen, running.watcher());
    // The lines are another thread's: whoever holds the terminal (Ctrl-S) holds up no stop.
    interrupt.wait_for_ever();
    drop(live);
    // The time runs: nobody is waited for first.
    if reader.takes_line(std::io::stderr()) {
        log::info!("stopping; a second signal ends the process at once");
    }
    let stopped = stopper.stop(running, limit);
    // To say why would wait for whoever does not read.
    if stopped.is_err() && !reader.takes_line(std::io::stderr()) {
        signal_hook::low_level::exit(1);
    }
    stopped
}

/// Shows the live lines on a terminal, until what is given back is dropped.
fn show_live(screen: &Screen, status: impl Fn() -> Status + Send + 'static) -> Option<Sender<()>> {
    let (stop, stopped) = crossbeam_channel::bounded(0);
    let mut live = screen.is_terminal().then(|| Live::new(screen.clone()))?;
    let show = move || {
        live.show(&status());
        while stopped.recv_timeout(LIVE) == Err(RecvTimeoutError::Timeout) {
            live.show(&status());
        }
    };
    // Without room for a thread there are none.
    std::thread::Builder::new().name(super::stop::LINES.into()).spawn(show).ok().map(|_| stop)
}

/// The configuration with what the command line says instead.
fn configure(arguments: Arguments) -> Result<PeerConfig, Failure> {
    let mut config = settings::load(arguments.config.as_deref())?;
    if let Some(port) = arguments.port {
        config.port = port;
    }
    if let Some(port) = arguments.peer_port {
        config.peer_port = port;
    }
    if let Some(folder) = arguments.download_dir {
        config.download_dir = folder;
    }
    config.download_limit = arguments.down.unwrap_or(config.download_limit);
    config.upload_limit = arguments.up.unwrap_or(config.upload_limit);
    for folder in [&mut config.download_dir, &mut config.torrent_dir, &mut config.state_dir] {
        *folder = settings::absolute(folder)?;
    }
    Ok(config)
}

/// One line for whoever started us and needs the ports: `ready control=127.0.0.1:5000 peers=[::]:6881`.
fn announce_ready(out: &mut Out, running: &Running) {
    let line = format!("ready control={} peers={}", running.control_address(), running.peer_address());
    if out.line(&line).and_then(|()| out.flush()).is_err() {
        // A closed standard output is no reason to stop.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// Connections and files need descriptors, and the usual soft limit of 1024 is there for the sake of select(2), which we
/// do not use. (tiny_http stops accepting when it finds none left.)
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        log::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// A limit of the process on the length of files (`ulimit -f`, LimitFSIZE) ends it by a signal, unless somebody listens: then
/// the write fails, which is the matter of one torrent.
fn survive_file_size_limit() {
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()) {
        log::warn!("a limit on the length of files, if there is one, will end this process: {error}");
    }
}

/// Payload files may hold a quarter of the descriptors: connections, which are refused when there are none left, need the rest.
fn fit_to_descriptors(config: &mut PeerConfig) {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    let most = usize::try_from(limit / 4).unwrap_or(usize::MAX).max(1);
    if config.open_files > most {
        log::warn!(
            "OPEN_FILES is {most}, since this process may open {limit} files: raise the limit (ulimit -n)"
        );
        config.open_files = most;
    }
}
