//! Published torrents: rows in SQLite for listing and search, the torrent files in a folder. The only room that names
//! the database.
//!
//! Order of publishing: the file is written beside its place, synced and renamed into it; then the row is committed
//! with everything a listing shows. So an upload that was acknowledged is whole, and a listing opens no file. What a
//! crash leaves between the two is put right by [`Catalogue::open`].
//!
//! Two connections, each behind its own lock: one writes, one reads. Announces use neither.

mod files;
mod rows;
mod schema;
mod search;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use torrent_common::geometry::DEFAULT_BLOCK_LEN;
use torrent_common::ids::InfoHash;
use torrent_common::metainfo::{Metainfo, MetainfoLimits};

use files::Files;
pub use rows::{Page, Row};
pub use search::{Search, Sort, UnknownSort};

/// The most torrents kept.
const MAX_TORRENTS: u64 = 200_000;
/// The most bytes of torrent files kept: 8 GiB.
const MAX_TOTAL_LEN: u64 = 8 << 30;

/// The longest name kept, in bytes.
pub const MAX_NAME_LEN: usize = 255;
/// The longest description kept, in bytes.
pub const MAX_DESCRIPTION_LEN: usize = 8192;

/// Why the catalogue did not do as asked. Shown to the operator; strangers get less.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    File {
        /// What was tried: a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The database failed.
    #[error("the catalogue {path} failed: {source}", path = path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// The database was made by a newer version.
    #[error("the catalogue {path} has version {found}, this program knows up to {known}: use a newer version, or another TORRENT_FILE", path = path.display())]
    TooNew {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// No more torrents are taken.
    #[error("the catalogue is full")]
    Full,
}

/// What publishing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is in the catalogue now.
    New,
    /// It was already: the first entry stays as it is.
    Known,
}

/// A torrent to be published, already validated.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// The original bytes.
    pub bytes: &'a [u8],
    /// What they say.
    pub metainfo: &'a Metainfo,
    /// What to list it as.
    pub name: &'a str,
    /// Free text.
    pub description: &'a str,
    /// When, in seconds since 1970.
    pub created_s: i64,
}

/// Some of the files of a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileList {
    /// Those asked for.
    pub files: Vec<ListedFile>,
    /// How many there are in all.
    pub total: u64,
}

/// A file in a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Its path as a download would have it, with `/` between the parts: no control characters, nothing that leads elsewhere.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

/// The catalogue.
pub struct Catalogue {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    files: Files,
    path: PathBuf,
    /// Rows, as of the last change: a status page waits for no database.
    count: AtomicUsize,
}

impl Catalogue {
    /// Opens the catalogue at `database` with its torrent files in `folder`; makes both if they are not there. Torrent
    /// files without a row (a crash came between, or somebody put them there) are taken into the catalogue if they are
    /// valid, public, and named by their info-hash; `now_s` is then when they were published.
    ///
    /// # Errors
    /// [`CatalogueError`] names the path.
    pub fn open(
        database: &Path,
        folder: &Path,
        max_torrent_len: usize,
        now_s: i64,
    ) -> Result<Self, CatalogueError> {
        if let Some(parent) = database.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            files::make_folder(parent)?;
        }
        let files = Files::open(folder)?;
        let writer = schema::open(database)?;
        let reader = schema::open(database)?;
        let this = Self {
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            files,
            path: database.to_path_buf(),
            count: AtomicUsize::new(0),
        };
        this.adopt(max_torrent_len, now_s)?;
        let (count, _) = rows::sums(&held(&this.reader)).map_err(|e| this.failed(e))?;
        this.count.store(usize::try_from(count).unwrap_or(usize::MAX), Ordering::Relaxed);
        Ok(this)
    }

    /// Publishes a torrent, durably: when this returns it survives whatever happens. One that is known is only given
    /// its file back if that is gone.
    ///
    /// # Errors
    /// [`CatalogueError`]; then nothing was published.
    pub fn publish(&self, publication: &Publication<'_>) -> Result<Published, CatalogueError> {
        let info_hash = publication.metainfo.info_hash;
        let writer = held(&self.writer);
        if rows::contains(&writer, info_hash).map_err(|e| self.failed(e))? {
            if !self.files.has(info_hash)? {
                self.files.write(info_hash, publication.bytes)?;
            }
            return Ok(Published::Known);
        }
        let (count, total_len) = rows::sums(&writer).map_err(|e| self.failed(e))?;
        let len = u64::try_from(publication.bytes.len()).unwrap_or(u64::MAX);
        if count >= MAX_TORRENTS || total_len.saturating_add(len) > MAX_TOTAL_LEN {
            return Err(CatalogueError::Full);
        }
        self.files.write(info_hash, publication.bytes)?;
        rows::insert(&writer, publication).map_err(|e| self.failed(e))?;
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(Published::New)
    }

    /// Takes a torrent out: file and row. False if it was not there. A crash between the two leaves a row without a file,
    /// and no file that the next start would take in again.
    ///
    /// # Errors
    /// [`CatalogueError`]; the torrent may be half gone, and can be taken out again.
    pub fn remove(&self, info_hash: InfoHash) -> Result<bool, CatalogueError> {
        let writer = held(&self.writer);
        if !rows::contains(&writer, info_hash).map_err(|e| self.failed(e))? {
            return Ok(false);
        }
        self.files.remove(info_hash)?;
        rows::remove(&writer, info_hash).map_err(|e| self.failed(e))?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        Ok(true)
    }

    /// The torrents whose name or description has every word of the search in it.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn search(&self, search: &Search) -> Result<Page, CatalogueError> {
        rows::search(&held(&self.reader), search).map_err(|e| self.failed(e))
    }

    /// One torrent's row; `None` if it is not published.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn entry(&self, info_hash: InfoHash) -> Result<Option<Row>, CatalogueError> {
        rows::entry(&held(&self.reader), info_hash).map_err(|e| self.failed(e))
    }

    /// Files of a published torrent, in its own order without the padding, from number `offset`; `None` if it is not
    /// published, or its torrent file is gone or damaged.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn files(
        &self,
        info_hash: InfoHash,
        offset: u64,
        limit: u32,
    ) -> Result<Option<FileList>, CatalogueError> {
        let Some(bytes) = self.torrent(info_hash)? else { return Ok(None) };
        let Ok(metainfo) = Metainfo::parse(&bytes, &metainfo_limits(bytes.len())) else { return Ok(None) };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let files = metainfo.payload_files().skip(offset).take(limit);
        let files = files.map(|file| ListedFile { path: file.path.to_string(), size: file.len });
        let total = metainfo.payload_files().count() as u64;
        Ok(Some(FileList { files: files.collect(), total }))
    }

    /// The bytes of a published torrent file; `None` if it was never published, or its file is gone.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn torrent(&self, info_hash: InfoHash) -> Result<Option<Vec<u8>>, CatalogueError> {
        if !rows::contains(&held(&self.reader), info_hash).map_err(|e| self.failed(e))? {
            return Ok(None);
        }
        let bytes = self.files.read(info_hash)?;
        if bytes.is_none() {
            log::warn!(
                "{info_hash} is in the catalogue, but its file is gone from {}",
                self.files.folder().display()
            );
        }
        Ok(bytes)
    }

    /// How many torrents are published.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Bytes of the database; `None` where the system does not say.
    pub fn database_len(&self) -> Option<u64> {
        Some(std::fs::metadata(&self.path).ok()?.len())
    }

    /// Adds to the completed downloads of those of the torrents that are published, all at once.
    ///
    /// # Errors
    /// [`CatalogueError`]; then none was added.
    pub fn add_completed(&self, downloads: &[(InfoHash, u32)]) -> Result<(), CatalogueError> {
        rows::add_completed(&mut held(&self.writer), downloads).map_err(|e| self.failed(e))
    }

    fn adopt(&self, max_torrent_len: usize, now_s: i64) -> Result<(), CatalogueError> {
        let limits = metainfo_limits(max_torrent_len);
        let writer = held(&self.writer);
        for info_hash in self.files.sweep()? {
            if rows::contains(&writer, info_hash).map_err(|e| self.failed(e))? {
                continue;
            }
            let Some(bytes) = self.files.read_up_to(info_hash, max_torrent_len)? else { continue };
            match Metainfo::parse(&bytes, &limits) {
                Ok(metainfo) if metainfo.info_hash == info_hash && !metainfo.private => {
                    let publication = Publication {
                        bytes: &bytes,
                        metainfo: &metainfo,
                        name: &printable(&metainfo.name),
                        description: "",
                        created_s: now_s,
                    };
                    rows::insert(&writer, &publication).map_err(|e| self.failed(e))?;
                    log::info!("took {info_hash}.torrent into the catalogue");
                }
                Ok(_) => log::warn!(
                    "{info_hash}.torrent is private or another torrent than its name says: not listed"
                ),
                Err(error) => log::warn!("{info_hash}.torrent is not valid, so not listed: {error}"),
            }
        }
        Ok(())
    }

    fn failed(&self, source: rusqlite::Error) -> CatalogueError {
        CatalogueError::Database { path: self.path.clone(), source }
    }
}

/// What a torrent file published here may cost.
pub const fn metainfo_limits(max_torrent_len: usize) -> MetainfoLimits {
    MetainfoLimits::new(max_torrent_len, DEFAULT_BLOCK_LEN)
}

/// A torrent's own name as a listing's: no control characters, not too long.
pub(crate) fn printable(name: &str) -> String {
    clip(&safe(name), MAX_NAME_LEN).to_owned()
}

/// A stranger's text on one line, without what tells terminals and browsers to do something.
fn safe(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) { '\u{fffd}' } else { c }).collect()
}

/// Control characters, and those that make what follows read backwards: `gpj.exe` shown as `exe.jpg`.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// The beginning of a text, at most `max_len` bytes.
fn clip(text: &str, max_len: usize) -> &str {
    let end = (0..=max_len.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

fn held(lock: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
