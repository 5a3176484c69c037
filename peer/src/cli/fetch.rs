//! torrent-fetch: the tracker's catalogue, and torrent files from it.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use argh::FromArgs;
use serde_json::{Value, json};
use torrent_common::config::PeerConfig;
use torrent_common::ids::InfoHash;
use torrent_common::metainfo::{Metainfo, MetainfoLimits};

use super::picker::pick;
use super::table::{Align, lines};
use super::{Failure, Out, arguments, format, settings};
use crate::catalogue::{CatalogueClient, Entry};

/// For one request to the tracker.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Torrents asked for at once.
const PAGE: u32 = 100;

/// Torrents listed at most.
const LISTED_MAX: usize = 1000;

/// Lists the torrents published to the tracker's catalogue; on a terminal the arrow keys choose one. Saves the chosen torrent file and prints its path
#[derive(FromArgs, Debug)]
struct Arguments {
    /// list only torrents that match these words
    #[argh(option)]
    search: Option<String>,
    /// fetch this torrent without asking
    #[argh(option)]
    info_hash: Option<InfoHash>,
    /// with --search: fetch the only torrent found, or the only one of exactly that name, without asking
    #[argh(switch)]
    one: bool,
    /// save the torrent file here; in TORRENT_DIR, by its name, unless given
    #[argh(option)]
    output: Option<PathBuf>,
    /// print JSON, and do not ask
    #[argh(switch)]
    json: bool,
    /// the tracker's announce address (TRACKER_URL in config.ini)
    #[argh(option)]
    tracker: Option<String>,
    /// the daemon's control port: taken like those of the other commands, but the catalogue is the tracker's
    #[argh(option, from_str_fn(arguments::port))]
    #[allow(dead_code, reason = "every command takes --port")]
    port: Option<u16>,
    /// the configuration file
    #[argh(option)]
    config: Option<PathBuf>,
}

/// The program.
pub fn main() -> ExitCode {
    super::run("torrent-fetch", command)
}

fn command(arguments: Arguments, out: &mut Out) -> Result<(), Failure> {
    if arguments.info_hash.is_some() && arguments.search.is_some() {
        return Err(Failure::Usage("say either --search or --info-hash".into()));
    }
    if arguments.one && arguments.search.is_none() {
        return Err(Failure::Usage("--one goes with --search".into()));
    }
    let config = settings::load(arguments.config.as_deref())?;
    let tracker = arguments.tracker.as_deref().unwrap_or(&config.tracker_url);
    let limits = MetainfoLimits::new(config.max_torrent_len, config.block_len);
    let catalogue = CatalogueClient::new(tracker, TIMEOUT)?.with_limits(limits);
    let take = |info_hash, out: &mut Out| {
        let path = fetch(&catalogue, info_hash, arguments.output.as_deref(), &config)?;
        if arguments.json {
            out.json(&json!({ "info_hash": info_hash, "path": path }))
        } else {
            out.line(path.display())
        }
    };
    if let Some(info_hash) = arguments.info_hash {
        return take(info_hash, out);
    }
    let interactive =
        !arguments.json && !arguments.one && out.is_terminal() && std::io::stdin().is_terminal();
    if arguments.output.is_some() && !interactive && !arguments.one {
        return Err(Failure::Usage(
            "--output needs --info-hash when there is no terminal to choose on".into(),
        ));
    }
    let (total, entries) = list(&catalogue, arguments.search.as_deref())?;
    if arguments.one {
        let name = arguments.search.as_deref().unwrap_or_default();
        return take(only(name, total, &entries)?, out);
    }
    if arguments.json {
        return out
            .json(&json!({ "total": total, "torrents": entries.iter().map(as_json).collect::<Vec<_>>() }));
    }
    if entries.is_empty() {
        return out.line("no torrents found");
    }
    if interactive {
        let names = entries.iter().map(|entry| format::text(&entry.name, 40)).collect();
        let chosen = pick(choices(&entries), names)?.and_then(|row| entries.get(row));
        return chosen.map_or(Ok(()), |entry| take(entry.info_hash, out));
    }
    table(&entries).iter().try_for_each(|line| out.line(line))?;
    let shown = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    match total.saturating_sub(shown) {
        0 => Ok(()),
        more => out.line(format_args!("… and {more} more: use --search")),
    }
}

/// The only torrent found, or the only one of exactly this name.
fn only(name: &str, total: u64, entries: &[Entry]) -> Result<InfoHash, Failure> {
    let shown = format::text(name, 100);
    let named: Vec<&Entry> = entries.iter().filter(|entry| entry.name == name).collect();
    match (named.as_slice(), entries) {
        ([one], _) => Ok(one.info_hash),
        ([], [one]) => Ok(one.info_hash),
        ([], []) => Err(Failure::failed(format!("there is no torrent {shown:?} in the catalogue"))),
        ([], _) => {
            Err(Failure::failed(format!("{total} torrents match {shown:?}: say which with --info-hash")))
        }
        (several, _) => Err(Failure::failed(format!(
            "{} torrents have the name {shown:?}: say which with --info-hash",
            several.len()
        ))),
    }
}

/// How many there are, and the first of them.
fn list(catalogue: &CatalogueClient, query: Option<&str>) -> Result<(u64, Vec<Entry>), Failure> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let offset = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        let page = catalogue.search(query, offset, PAGE)?;
        let is_last = page.torrents.is_empty();
        entries.extend(page.torrents);
        entries.truncate(LISTED_MAX);
        let have = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        if is_last || have >= page.total || entries.len() >= LISTED_MAX {
            return Ok((page.total.max(have), entries));
        }
    }
}

fn as_json(entry: &Entry) -> Value {
    json!({
        "info_hash": entry.info_hash,
        "name": entry.name,
        "description": entry.description,
        "size": entry.size,
        "files": entry.files,
        "seeders": entry.seeders,
        "leechers": entry.leechers,
        "completed": entry.completed,
        "created": entry.created,
    })
}

/// What both tables have.
const COLUMNS: [(&str, Align); 5] = [
    ("Name", Align::Left),
    ("Size", Align::Right),
    ("Files", Align::Right),
    ("Seeders", Align::Right),
    ("Leechers", Align::Right),
];

fn cells(entry: &Entry) -> Vec<String> {
    vec![
        format::text(&entry.name, 40),
        format::size(entry.size),
        entry.files.to_string(),
        entry.seeders.to_string(),
        entry.leechers.to_string(),
    ]
}

/// To read, with the info-hashes for --info-hash.
fn table(entries: &[Entry]) -> Vec<String> {
    let columns = [&COLUMNS[..], &[("Info-hash", Align::Left), ("Description", Align::Left)]].concat();
    let more = |entry: &Entry| [entry.info_hash.to_string(), format::text(&entry.description, 60)];
    lines(&columns, entries.iter().map(|entry| cells(entry).into_iter().chain(more(entry)).collect()))
}

/// To choose from: what fits a terminal.
fn choices(entries: &[Entry]) -> Vec<String> {
    let columns = [&COLUMNS[..], &[("Description", Align::Left)]].concat();
    let more = |entry: &Entry| [format::text(&entry.description, 40)];
    lines(&columns, entries.iter().map(|entry| cells(entry).into_iter().chain(more(entry)).collect()))
}

/// Takes a torrent file from the catalogue and saves it.
fn fetch(
    catalogue: &CatalogueClient,
    info_hash: InfoHash,
    output: Option<&Path>,
    config: &PeerConfig,
) -> Result<PathBuf, Failure> {
    let torrent = catalogue.fetch(info_hash)?;
    let path = match output {
        Some(path) => path.to_owned(),
        None => config.torrent_dir.join(file_name(&torrent, info_hash)),
    };
    let path = settings::absolute(&path)?;
    save(&torrent, &path, output.is_none())
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
    Ok(path)
}

/// The torrent's name as far as it is harmless, and enough of the info-hash to tell torrents of one name apart.
fn file_name(torrent: &[u8], info_hash: InfoHash) -> String {
    let name = Metainfo::parse(torrent, &MetainfoLimits::default())
        .map(|metainfo| metainfo.name)
        .unwrap_or_default();
    let hash = info_hash.to_string();
    match (format::file_stem(&name), hash.get(..8)) {
        (stem, Some(short)) if !stem.is_empty() => format!("{stem}-{short}.torrent"),
        _ => format!("{hash}.torrent"),
    }
}

/// All of it or nothing, also when interrupted.
fn save(torrent: &[u8], path: &Path, make_folder: bool) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    if make_folder {
        std::fs::create_dir_all(folder)?;
    }
    // A device or pipe is written to, not replaced.
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return std::fs::File::options().write(true).open(path)?.write_all(torrent);
    }
    let mut file = tempfile::Builder::new().permissions(readable()).tempfile_in(folder)?;
    file.write_all(torrent)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// As for any new file: what the user's umask leaves of it.
fn readable() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::Permissions::from_mode(0o666)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_taken() {
        let entry = |name: &str, byte| Entry {
            info_hash: InfoHash::new([byte; 20]),
            name: name.into(),
            description: String::new(),
            size: 0,
            files: 0,
            seeders: 0,
            leechers: 0,
            completed: 0,
            created: 0,
        };
        let all = [entry("demo", 1), entry("demo files", 2), entry("twice", 3), entry("twice", 4)];
        let only =
            |name: &str, entries: &[Entry]| only(name, 9, entries).map_err(|failure| failure.to_string());
        assert_eq!(only("demo", &all), Ok(InfoHash::new([1; 20])));
        assert_eq!(only("files", &all[1..2]), Ok(InfoHash::new([2; 20])));
        assert!(only("files", &[]).unwrap_err().contains("no torrent"));
        assert!(only("files", &all).unwrap_err().contains("9 torrents match"));
        assert!(only("twice", &all).unwrap_err().contains("2 torrents have"));
    }

    #[test]
    fn a_name_of_nothing_harmless_is_the_hash() {
        let hash = InfoHash::new([0xab; 20]);
        assert_eq!(file_name(b"nonsense", hash), format!("{}.torrent", "ab".repeat(20)));
    }

    #[test]
    fn saving_replaces_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("x.torrent");
        assert!(save(b"one", &path, false).is_err());
        save(b"one", &path, true).unwrap();
        save(b"two", &path, false).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.parent().unwrap().read_dir().unwrap().count(), 1);
        save(b"to nowhere", Path::new("/dev/null"), false).unwrap();
    }
}
