//! The daemon's terminal: log lines above, one live line for each active torrent below.

use std::io::{self, IsTerminal, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use torrent_common::patient::{Patient, Reader};

use super::{Failure, format};
use crate::control::api::{Status, TorrentState, TorrentStatus};

/// Live lines at most.
const LINES_MAX: usize = 10;
/// Characters of a message in the log at most: more than two paths as long as they can be.
const LOG_CHARS_MAX: usize = 10_000;

/// Standard error, shared by the log and the live lines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Screen {
    lines: MultiProgress,
    is_terminal: bool,
}

impl Screen {
    /// The process's standard error.
    pub fn stderr() -> Self {
        // A few times a second is enough for a person, and cheap.
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(4));
        Self { lines, is_terminal: io::stderr().is_terminal() }
    }

    /// Whether a person looks.
    pub const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Begins logging: at `info` unless RUST_LOG says otherwise, in colour on a terminal.
    ///
    /// # Errors
    /// [`Failure`] when the system has no room for the thread that writes.
    pub fn init_log(&self) -> Result<Reader, Failure> {
        // tiny_http has a line for each connection that it cannot take: the guard says what matters.
        let default = env_logger::Env::default().default_filter_or("info,tiny_http=off");
        let mut log = env_logger::Builder::from_env(default);
        log.format(|line, record| {
            // Whatever a name of a file or a stranger's text does: it does it to no terminal, and has no line of its own.
            let message = format::message(&record.args().to_string(), LOG_CHARS_MAX);
            let (time, level, style) =
                (line.timestamp(), record.level(), line.default_level_style(record.level()));
            writeln!(line, "[{time} {style}{level:<5}{style:#} {}] {message}", record.target())
        });
        if self.is_terminal {
            // env_logger does not know what is behind the pipe.
            if std::env::var_os("NO_COLOR").is_none() && std::env::var_os("RUST_LOG_STYLE").is_none() {
                log.write_style(env_logger::WriteStyle::Always);
            }
        }
        let above = Above { lines: self.lines.clone() };
        let patient =
            Patient::new(above).map_err(|error| Failure::failed(format!("no room for a thread: {error}")))?;
        let reader = patient.reader();
        log.target(env_logger::Target::Pipe(Box::new(patient)));
        // Fails only when there is a logger already.
        let _ = log.try_init();
        Ok(reader)
    }
}

/// Standard error above the live lines, if there are any.
struct Above {
    lines: MultiProgress,
}

/// A log line takes the live lines away for a moment, so that they do not tear.
impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lines.suspend(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The live lines.
#[derive(Debug)]
pub struct Live {
    screen: Screen,
    lines: Vec<ProgressBar>,
}

impl Live {
    /// None yet.
    pub const fn new(screen: Screen) -> Self {
        Self { screen, lines: Vec::new() }
    }

    /// Shows what the active torrents do now.
    pub fn show(&mut self, status: &Status) {
        let wanted = live_lines(status);
        while self.lines.len() > wanted.len() {
            if let Some(line) = self.lines.pop() {
                line.finish_and_clear();
                self.screen.lines.remove(&line);
            }
        }
        while self.lines.len() < wanted.len() {
            let line = ProgressBar::no_length();
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                line.set_style(style);
            }
            self.lines.push(self.screen.lines.add(line));
        }
        for (line, text) in self.lines.iter().zip(wanted) {
            line.set_message(text);
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.screen.lines.clear();
    }
}

fn live_lines(status: &Status) -> Vec<String> {
    let active: Vec<&TorrentStatus> = status.torrents.iter().filter(|torrent| is_active(torrent)).collect();
    let room = if active.len() > LINES_MAX { LINES_MAX - 1 } else { LINES_MAX };
    let line = |torrent: &&TorrentStatus| {
        format!("{:<32} {}", format::text(&torrent.name, 32), format::progress_line(torrent))
    };
    let mut shown: Vec<String> = active.iter().take(room).map(line).collect();
    if active.len() > room {
        let (down, up) = (format::rate(status.download_rate), format::rate(status.upload_rate));
        shown.push(format!("… and {} more; in all down {down}, up {up}", active.len() - room));
    }
    shown
}

fn is_active(torrent: &TorrentStatus) -> bool {
    match torrent.state {
        TorrentState::Checking | TorrentState::Downloading => true,
        TorrentState::Seeding => torrent.upload_rate > 0,
        TorrentState::Paused
        | TorrentState::Stopping
        | TorrentState::Error
        | TorrentState::Queued
        | TorrentState::Finished => false,
    }
}

#[cfg(test)]
mod tests {
    use torrent_common::ids::InfoHash;

    use super::*;

    fn torrent(state: TorrentState, upload_rate: u64) -> TorrentStatus {
        TorrentStatus {
            info_hash: InfoHash::new([0; 20]),
            name: "n\u{1b}".into(),
            state,
            progress: 0.5,
            size: 1,
            selected: 1,
            downloaded: 0,
            uploaded: 0,
            download_rate: 0,
            upload_rate,
            peers: 0,
            seeds: 0,
            eta_seconds: None,
            error: None,
            retry_seconds: None,
            output: "/".into(),
            private: false,
        }
    }

    #[test]
    fn only_active_torrents_and_not_too_many() {
        let status = |torrents| Status { torrents, download_rate: 0, upload_rate: 0, peers: 0 };
        let idle =
            [TorrentState::Seeding, TorrentState::Paused, TorrentState::Error].map(|state| torrent(state, 0));
        assert!(live_lines(&status(idle.to_vec())).is_empty());
        assert_eq!(live_lines(&status(vec![torrent(TorrentState::Seeding, 1)])).len(), 1);
        let ten = live_lines(&status(vec![torrent(TorrentState::Downloading, 0); 10]));
        assert_eq!(ten.len(), 10);
        assert!(ten.iter().all(|line| !line.contains('\u{1b}') && !line.contains("more")));
        let many = live_lines(&status(vec![torrent(TorrentState::Checking, 0); 500]));
        assert_eq!(many.len(), 10);
        assert!(many[9].contains("and 491 more"), "{}", many[9]);
    }
}
