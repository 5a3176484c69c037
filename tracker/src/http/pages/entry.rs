//! The page of one torrent: `/torrent/{info-hash}`.

use askama::Template;
use torrent_common::ids::InfoHash;

use super::show::{self, Moment};
use super::{Frame, Place, Visit, failed, magnet_of, now_s, page, problem};
use crate::catalogue::ListedFile;
use crate::http::answer::Answer;
use crate::http::entries::{self, Entry, MAX_FILES};

/// Paths on a page, in bytes: a thousand of the usual length. Escaped, one byte can become five.
const MAX_PATHS_LEN: usize = 64 << 10;

#[derive(Template)]
#[template(path = "torrent.html")]
struct Page {
    frame: Frame,
    notice: &'static str,
    info_hash: InfoHash,
    name: String,
    description: String,
    size: String,
    pieces: String,
    seeders: u32,
    leechers: u32,
    completed: String,
    age: String,
    exact: String,
    machine: String,
    magnet: String,
    /// How many there are, in words.
    files_found: String,
    /// How many of them are shown, if not all.
    files_shown: Option<String>,
    /// The torrent file is gone or damaged.
    is_lost: bool,
    files: Vec<File>,
}

/// A file, as it is shown: the path in two parts.
struct File {
    folder: String,
    name: String,
    size: String,
}

/// GET /torrent/{info_hash}.
pub(super) fn entry(visit: Visit<'_>, info_hash: InfoHash) -> Answer {
    let shared = visit.shared;
    let found = entries::entry(shared, info_hash)
        .and_then(|entry| Ok((entry, entries::files(shared, info_hash, 0, MAX_FILES)?)));
    let (entry, list) = match found {
        Ok((Some(entry), list)) => (entry, list),
        Ok((None, _)) => {
            return problem(visit, 404, "This torrent is not in the catalogue. It may have been taken out.");
        }
        Err(error) => return failed(visit, &error),
    };
    let is_lost = list.is_none();
    let (mut files, total) = list.map_or_else(Default::default, |list| (list.files, list.total));
    files.truncate(shown_of(&files));
    let created = Moment(entry.created);
    let template = Page {
        frame: Frame::new(visit, Place::Elsewhere),
        notice: match visit.query {
            "published" => "Published. Others find it here as long as somebody seeds it.",
            "known" => "This torrent was here already: its first entry stays as it is.",
            _ => "",
        },
        info_hash,
        name: show::visible(&entry.name),
        description: show::visible(&entry.description),
        size: show::size(entry.size),
        pieces: pieces(&entry),
        seeders: entry.seeders,
        leechers: entry.leechers,
        completed: show::number(entry.completed),
        age: created.ago(now_s()),
        exact: created.exact(),
        machine: created.machine(),
        magnet: magnet_of(info_hash, &entry.name, visit.site),
        files_found: show::count(entry.files, "file"),
        files_shown: (total > files.len() as u64).then(|| show::number(files.len() as u64)),
        is_lost,
        files: files.iter().map(|file| File::new(&file.path, file.size)).collect(),
    };
    page(200, &template)
}

/// How many files there is room for: as many as [`MAX_PATHS_LEN`] allows.
fn shown_of(files: &[ListedFile]) -> usize {
    let ends = files.iter().scan(0, |len, file| {
        *len += file.path.len();
        Some(*len)
    });
    ends.take_while(|&end| end <= MAX_PATHS_LEN).count()
}

fn pieces(entry: &Entry) -> String {
    let count = entry.size.div_ceil(entry.piece_length.max(1));
    format!("{} of {}", show::number(count), show::size(entry.piece_length))
}

impl File {
    fn new(path: &str, bytes: u64) -> Self {
        let shown = show::visible(path);
        let at = shown.rfind('/').map_or(0, |at| at + 1);
        let (folder, name) = shown.split_at(at);
        Self { folder: folder.to_owned(), name: name.to_owned(), size: show::size(bytes) }
    }
}
