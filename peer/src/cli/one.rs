//! One torrent in words: what it is, what is set for it, its files. And which one a name or the beginning of a hash means.

use torrent_common::ids::InfoHash;

use super::table::{Align, lines};
use super::{Failure, format};
use crate::control::api::{FileStatus, Status, TorrentDetails};
use crate::options::{Preallocation, Priority};
use crate::settings::{AltMode, SessionSettings};

/// Torrents named when a text means several.
const MAX_NAMED: usize = 10;

/// The torrent that `text` means: its info-hash, the beginning of it if no other has the same, or its name.
///
/// # Errors
/// [`Failure::Failed`] when it means none or several.
pub fn find(status: &Status, text: &str) -> Result<InfoHash, Failure> {
    let torrents = || status.torrents.iter();
    let named: Vec<InfoHash> =
        torrents().filter(|torrent| torrent.name == text).map(|torrent| torrent.info_hash).collect();
    let begin = text.to_ascii_lowercase();
    let begun =
        torrents().map(|torrent| torrent.info_hash).filter(|hash| hash.to_string().starts_with(&begin));
    // A name may look like a hash: then the name is meant.
    let found = if named.is_empty() && !text.is_empty() { begun.collect() } else { named };
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Failure::failed(format!(
            "torrent-daemon has no torrent {}: torrent-status shows those it has",
            format::text(text, 100)
        ))),
        several => {
            let mut hashes: Vec<String> = several.iter().take(MAX_NAMED).map(InfoHash::to_string).collect();
            if several.len() > MAX_NAMED {
                hashes.push(format!("{} more", several.len() - MAX_NAMED));
            }
            Err(Failure::failed(format!("{} could be {}", format::text(text, 100), hashes.join(", "))))
        }
    }
}

/// All about a torrent but its files.
pub fn details(details: &TorrentDetails) -> Vec<String> {
    let status = &details.status;
    let mut shown = vec![
        format!("name           {}", format::text(&status.name, 200)),
        format!("info-hash      {}", status.info_hash),
        format!("state          {}", format::state(status.state)),
        format!("done           {} of {}", format::percent(status.progress), format::size(status.selected)),
        format!("size           {}", format::size(status.size)),
        format!(
            "pieces         {} of {}, of {}",
            details.pieces_had,
            details.piece_count,
            format::size(details.piece_length)
        ),
        format!("files          {}", details.files.len()),
        format!("in             {}", status.output.display()),
        format!("torrent file   {}", details.torrent_path.display()),
        format!("magnet         {}", format::text(&details.magnet, 4000)),
        format!(
            "down           {}, {} in all",
            format::rate(status.download_rate),
            format::size(status.downloaded)
        ),
        format!(
            "up             {}, {} in all",
            format::rate(status.upload_rate),
            format::size(status.uploaded)
        ),
        format!("ratio          {}", format::ratio(status)),
        format!("peers          {}, of them {}", status.peers, format::count(status.seeds, "seed")),
        format!("ETA            {}", format::duration(status.eta_seconds)),
        format!("private        {}", yes_or_no(status.private)),
    ];
    for tracker in details.trackers.iter().flatten() {
        shown.push(format!("tracker        {}", format::text(tracker, 500)));
    }
    if let Some(message) = &details.tracker_message {
        shown.push(format!("it says        {}", format::message(message, 300)));
    }
    if let Some(error) = &status.error {
        shown.push(format!("error          {}", format::message(error, 1000)));
    }
    if let Some(seconds) = status.retry_seconds {
        shown.push(format!("tried again    in {}", format::duration(Some(seconds))));
    }
    shown.extend(options(details));
    shown
}

/// What is set for it: nothing, where it is as for all.
fn options(details: &TorrentDetails) -> Vec<String> {
    let options = &details.options;
    let preallocation = |how| match how {
        Preallocation::None => "none",
        Preallocation::Sparse => "sparse",
        Preallocation::Full => "full",
    };
    let set = [
        ("download_limit ", options.download_limit.map(limit)),
        ("upload_limit   ", options.upload_limit.map(limit)),
        ("max_connections", options.max_connections.map(|number| number.to_string())),
        ("seed_ratio     ", options.seed_ratio.map(goal)),
        ("seed_time      ", options.seed_time_s.map(time)),
        ("sequential     ", options.sequential.map(|set| yes_or_no(set).into())),
        ("preallocation  ", options.preallocation.map(|how| preallocation(how).into())),
    ];
    let set = set.into_iter().filter_map(|(key, value)| Some(format!("{key} {}", value?)));
    set.collect()
}

/// The files, numbered as `--set priority.N` counts them.
pub fn files(files: &[FileStatus]) -> Vec<String> {
    let columns = [
        ("#", Align::Right),
        ("Done", Align::Right),
        ("Size", Align::Right),
        ("Priority", Align::Left),
        ("File", Align::Left),
    ];
    let row = |(index, file): (usize, &FileStatus)| {
        let done = if file.length == 0 { 1.0 } else { file.bytes_had as f64 / file.length as f64 };
        vec![
            (index + 1).to_string(),
            format::percent(done),
            format::size(file.length),
            priority(file.priority).into(),
            format::text(&file.path, 300),
        ]
    };
    lines(&columns, files.iter().enumerate().map(row))
}

/// What holds for all torrents.
pub fn settings(settings: &SessionSettings) -> Vec<String> {
    let number = |number: usize| if number == 0 { "no limit".into() } else { number.to_string() };
    let alt_mode = match settings.alt_mode {
        AltMode::Off => "off",
        AltMode::On => "on",
        AltMode::Scheduled => "scheduled",
    };
    let schedule = match settings.alt_schedule.as_str() {
        "" => format::NONE.into(),
        some => format::text(some, 300),
    };
    vec![
        format!("download_limit        {}", limit(settings.download_limit)),
        format!("upload_limit          {}", limit(settings.upload_limit)),
        format!("alt_download_limit    {}", limit(settings.alt_download_limit)),
        format!("alt_upload_limit      {}", limit(settings.alt_upload_limit)),
        format!("alt_mode              {alt_mode}"),
        format!("alt_schedule          {schedule}"),
        format!("max_active_downloads  {}", number(settings.max_active_downloads)),
        format!("max_active_seeds      {}", number(settings.max_active_seeds)),
        format!("seed_ratio            {}", goal(settings.seed_ratio)),
        format!("seed_time             {}", time(settings.seed_time_s)),
    ]
}

const fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::Skip => "skip",
        Priority::Low => "low",
        Priority::Normal => "normal",
        Priority::High => "high",
    }
}

const fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn limit(bytes_per_second: u64) -> String {
    if bytes_per_second == 0 { "no limit".into() } else { format::rate(bytes_per_second) }
}

fn goal(ratio: f64) -> String {
    if ratio > 0.0 { format!("{ratio}") } else { "no goal".into() }
}

fn time(seconds: u64) -> String {
    if seconds == 0 { "no goal".into() } else { format!("{seconds}s") }
}
