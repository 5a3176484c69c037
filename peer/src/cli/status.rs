//! torrent-status: the daemon's torrents as a table or JSON; one of them in detail; and what is set for it or for all.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use argh::FromArgs;

use super::table::{Align, lines};
use super::{Failure, Out, arguments, assign, format, interrupt::Interrupt, one, settings};
use crate::control::ControlClient;
use crate::control::api::{Status, TorrentStatus};

/// With --watch.
const EVERY: Duration = Duration::from_secs(1);

/// Clears the screen and goes to its start; hides the cursor.
const BEGIN: &str = "\x1b[?1049h\x1b[?25l";
/// To the start of the screen.
const HOME: &str = "\x1b[H";
/// Clears the rest of a line, then begins the next: what was there before is overwritten, not blanked first.
const LINE_END: &str = "\x1b[K\n";
/// Clears what is below.
const BELOW: &str = "\x1b[J";
/// Shows the cursor, and the screen as it was.
const END: &str = "\x1b[?25h\x1b[?1049l";

/// Shows the torrents of torrent-daemon: name, state, progress, rates, peers, time left and ratio. With TORRENT all about one of them. Pauses, resumes and removes it, and sets what holds for it; without TORRENT, for all
#[derive(FromArgs, Debug)]
struct Arguments {
    /// an info-hash, the beginning of one, or a name
    #[argh(positional)]
    torrent: Option<String>,
    /// set KEY=VALUE for the torrent, or without one for all until the daemon ends; may be repeated. VALUE `default`: as configured. Keys: download_limit, upload_limit (500K, 2M; 0: none), seed_ratio, seed_time (30m, 7d; 0: no goal); of a torrent also max_connections, sequential, preallocation, priority.FILES (priority.1,3-5=skip|low|normal|high); of all also alt_download_limit, alt_upload_limit, alt_mode, alt_schedule, max_active_downloads, max_active_seeds
    #[argh(option)]
    set: Vec<String>,
    /// show what holds for all torrents
    #[argh(switch)]
    settings: bool,
    /// stop the torrent until it is resumed
    #[argh(switch)]
    pause: bool,
    /// go on with the torrent
    #[argh(switch)]
    resume: bool,
    /// forget the torrent; its data stays
    #[argh(switch)]
    remove: bool,
    /// with --remove: delete its data too
    #[argh(switch)]
    delete_data: bool,
    /// show the torrent's files
    #[argh(switch)]
    files: bool,
    /// print JSON; rates are in bytes per second
    #[argh(switch)]
    json: bool,
    /// show it again every second, until Ctrl-C
    #[argh(switch)]
    watch: bool,
    /// the daemon's control port (PORT in config.ini; 5000)
    #[argh(option, from_str_fn(arguments::port))]
    port: Option<u16>,
    /// the configuration file
    #[argh(option)]
    config: Option<PathBuf>,
}

/// The program.
pub fn main() -> ExitCode {
    super::run("torrent-status", command)
}

fn command(arguments: Arguments, out: &mut Out) -> Result<(), Failure> {
    let config = settings::load(arguments.config.as_deref())?;
    let client = settings::client(&config, arguments.port)?;
    arguments.check()?;
    if let Some(torrent) = &arguments.torrent {
        return about_one(&client, &arguments, torrent, out);
    }
    if arguments.settings || !arguments.set.is_empty() {
        return about_all(&client, &arguments, out);
    }
    let mut status = client.status()?;
    if !arguments.watch {
        return if arguments.json { out.json(&status) } else { print(out, &table(&status)) };
    }
    let interrupt = Interrupt::new()?;
    let full_screen = out.is_terminal() && !arguments.json;
    if full_screen {
        out.text(BEGIN)?;
    }
    let result = loop {
        let shown = match (arguments.json, full_screen) {
            (true, _) => out.json_line(&status),
            (false, true) => redraw(out, &table(&status)),
            (false, false) => print(out, &table(&status)).and_then(|()| out.line("")),
        };
        if let Err(failure) = shown.and_then(|()| out.flush()) {
            break Err(failure);
        }
        if interrupt.wait(EVERY) {
            break Ok(());
        }
        match client.status() {
            Ok(next) => status = next,
            Err(error) => break Err(error.into()),
        }
    };
    if full_screen {
        out.text(END)?;
        print(out, &table(&status))?;
    }
    result
}

impl Arguments {
    /// What does not go together.
    fn check(&self) -> Result<(), Failure> {
        let usage =
            |message: &str| Err(Failure::Usage(format!("{message}\nrun torrent-status --help for more")));
        let alone = self.pause || self.resume || self.remove || self.files;
        let actions = [self.pause, self.resume, self.remove].into_iter().filter(|&asked| asked).count();
        match &self.torrent {
            None if alone => usage("say which torrent: its info-hash, the beginning of it, or its name"),
            Some(_) if self.settings => usage("--settings are those of all torrents"),
            _ if actions > 1 => usage("only one of --pause, --resume and --remove"),
            _ if self.delete_data && !self.remove => usage("--delete-data goes with --remove"),
            _ if self.remove && (self.files || !self.set.is_empty()) => {
                usage("--remove leaves nothing to set or to show")
            }
            _ if self.watch && (self.torrent.is_some() || self.settings || !self.set.is_empty()) => {
                usage("--watch shows all torrents, and nothing else")
            }
            _ => Ok(()),
        }
    }
}

/// Does what is asked of one torrent, and shows it.
fn about_one(
    client: &ControlClient,
    arguments: &Arguments,
    torrent: &str,
    out: &mut Out,
) -> Result<(), Failure> {
    let patch = assign::torrent(&arguments.set).map_err(Failure::Usage)?;
    let info_hash = one::find(&client.status()?, torrent)?;
    if arguments.remove {
        client.remove(info_hash, arguments.delete_data)?;
        return if arguments.json { out.json(&serde_json::json!({})) } else { out.line("removed") };
    }
    // The daemon counts files from 0, and would say so.
    if let Some(last) = patch.files.iter().map(|file| file.index).max() {
        let files = client.details(&info_hash)?.files.len();
        if last >= files {
            let message =
                format!("there is no file {}: they are 1 to {files}, as --files shows them", last + 1);
            return Err(Failure::failed(message));
        }
    }
    // What is set holds before it goes on, and is kept before it rests.
    if !patch.is_empty() {
        client.set_options(info_hash, &patch)?;
    }
    if arguments.pause {
        client.pause(info_hash)?;
    } else if arguments.resume {
        client.resume(info_hash)?;
    }
    let details = client.details(&info_hash)?;
    match (arguments.json, arguments.files) {
        (true, false) => out.json(&details),
        (true, true) => out.json(&details.files),
        (false, true) => print(out, &one::files(&details.files)),
        (false, false) => print(out, &one::details(&details)),
    }
}

/// Sets what is asked for all torrents, and shows what holds.
fn about_all(client: &ControlClient, arguments: &Arguments, out: &mut Out) -> Result<(), Failure> {
    let patch = assign::settings(&arguments.set).map_err(Failure::Usage)?;
    let settings = if patch.is_empty() { client.settings()? } else { client.set_settings(&patch)? };
    if arguments.json { out.json(&settings) } else { print(out, &one::settings(&settings)) }
}

fn print(out: &mut Out, lines: &[String]) -> Result<(), Failure> {
    lines.iter().try_for_each(|line| out.line(line))
}

fn redraw(out: &mut Out, lines: &[String]) -> Result<(), Failure> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let (rows, columns) = size.map_or((24, 80), |size| (usize::from(size.ws_row), usize::from(size.ws_col)));
    out.text(HOME)?;
    for line in fit(lines, rows) {
        // A line that wraps would move all below it. (Wide characters may still be cut a little early or late.)
        let line: String = line.chars().take(columns.saturating_sub(1)).collect();
        out.text(format_args!("{line}{LINE_END}"))?;
    }
    out.text(BELOW)
}

/// As many lines as a screen of `rows` shows, with a word about the rest.
fn fit(lines: &[String], rows: usize) -> Vec<String> {
    // The last row stays empty: a line break there would scroll.
    let room = rows.saturating_sub(1).max(2);
    if lines.len() <= room {
        return lines.to_vec();
    }
    let (shown, hidden) = lines.split_at_checked(room - 1).unwrap_or((lines, &[]));
    let more = format!("… and {} more lines", hidden.len());
    shown.iter().cloned().chain([more]).collect()
}

/// The table, its sums, and the errors in words.
fn table(status: &Status) -> Vec<String> {
    if status.torrents.is_empty() {
        return vec!["no torrents: torrent-seed publishes one, torrent-leech downloads one".into()];
    }
    let columns = [
        ("Name", Align::Left),
        ("State", Align::Left),
        ("Done", Align::Right),
        ("Size", Align::Right),
        ("Down", Align::Right),
        ("Up", Align::Right),
        ("Peers", Align::Right),
        ("ETA", Align::Right),
        ("Ratio", Align::Right),
    ];
    let mut shown = lines(&columns, status.torrents.iter().map(row));
    shown.push(format!(
        "{}, down {}, up {}, {}",
        format::count(status.torrents.len() as u64, "torrent"),
        format::rate(status.download_rate),
        format::rate(status.upload_rate),
        format::count(status.peers, "peer")
    ));
    for torrent in &status.torrents {
        if let Some(error) = &torrent.error {
            shown.push(format!("{}: {}", format::text(&torrent.name, 40), format::message(error, 300)));
        }
    }
    shown
}

fn row(torrent: &TorrentStatus) -> Vec<String> {
    vec![
        format::text(&torrent.name, 40),
        format::state(torrent.state).into(),
        format::percent(torrent.progress),
        format::size(torrent.size),
        format::rate(torrent.download_rate),
        format::rate(torrent.upload_rate),
        // Seeds are peers too.
        torrent.peers.to_string(),
        format::duration(torrent.eta_seconds),
        format::ratio(torrent),
    ]
}

#[cfg(test)]
mod tests {
    use torrent_common::ids::InfoHash;

    use super::*;
    use crate::control::api::TorrentState;

    #[test]
    fn strangers_texts_are_escaped_and_errors_are_told() {
        let torrent = TorrentStatus {
            info_hash: InfoHash::new([0; 20]),
            name: "evil\u{1b}[2J\nname".into(),
            state: TorrentState::Error,
            progress: 0.5,
            size: 1 << 20,
            selected: 1 << 20,
            downloaded: 0,
            uploaded: 0,
            download_rate: 0,
            upload_rate: 0,
            peers: 2,
            seeds: 0,
            eta_seconds: None,
            error: Some("disk\u{7} full".into()),
            retry_seconds: Some(4),
            output: "/".into(),
            private: false,
        };
        let status = Status { torrents: vec![torrent], download_rate: 0, upload_rate: 0, peers: 2 };
        let shown = table(&status);
        assert_eq!(shown.len(), 4, "{shown:#?}");
        assert!(shown.iter().all(|line| !line.contains(char::is_control)), "{shown:#?}");
        assert!(shown.iter().any(|line| line.contains("full")));
        assert!(table(&Status { torrents: vec![], download_rate: 0, upload_rate: 0, peers: 0 }).len() == 1);
    }

    #[test]
    fn a_long_table_fits_the_screen() {
        let lines: Vec<String> = (0..30).map(|n| n.to_string()).collect();
        let shown = fit(&lines, 10);
        assert_eq!(shown.len(), 9);
        assert_eq!(shown.last().unwrap(), "… and 22 more lines");
        assert_eq!(fit(&lines, 31), lines);
        assert_eq!(fit(&lines, 0).len(), 2);
    }
}
