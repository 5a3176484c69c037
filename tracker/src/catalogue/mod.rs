//! Published torrents: rows in SQLite for listing and search, the torrent files in a folder. The only room that names
//! the database.
//!
//! Order of publishing: the file is written beside its place and synced; then the row is committed with everything a
//! listing shows, and its words; then the file is renamed into its place. The row decides: an upload whose row is there is
//! acknowledged or about to be, and the next start finishes the renaming; one without a row leaves nothing. What else is
//! put right, and tried again, is in `keeper.rs`.
//!
//! Two connections, each behind its own lock: one writes, one reads. Announces use neither.

mod database;
mod error;
mod files;
mod find;
mod keeper;
mod ranking;
mod rows;
mod schema;
mod search;
mod text;
mod words;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use torrent_common::geometry::DEFAULT_BLOCK_LEN;
use torrent_common::ids::InfoHash;
use torrent_common::metainfo::{Metainfo, MetainfoLimits};

use crate::health::{Health, Part};
use database::Database;
pub use error::CatalogueError;
use files::Files;
pub use find::Page;
use ranking::Ranking;
pub use rows::Row;
pub use search::{Search, Sort, UnknownSort};
pub use text::{MAX_DESCRIPTION_LEN, MAX_NAME_LEN};
pub(crate) use text::{clip, is_unsafe, printable};

/// The most torrents kept.
const MAX_TORRENTS: u64 = 200_000;
/// The most bytes of torrent files kept: 8 GiB.
const MAX_TOTAL_LEN: u64 = 8 << 30;
/// Rows read at a time by what goes through all of them.
const BATCH: u32 = 1000;

/// What publishing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is in the catalogue now.
    New,
    /// It was already: the first entry stays as it is.
    Known,
    /// It was already, and has another name or description now.
    Renamed,
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
    /// Downloads completed already.
    pub completed: u64,
}

/// What a known torrent is to be listed as from now on; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Renaming<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// Its description.
    pub description: Option<&'a str>,
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
    database: Database,
    files: Files,
    /// The longest torrent file that is taken from the folder.
    max_torrent_len: usize,
    /// When it was opened, in seconds since 1970.
    opened_s: i64,
    /// Rows, as of the last change: a status page waits for no database.
    count: AtomicUsize,
    /// Completed downloads that are not in the database yet.
    completed: Mutex<HashMap<InfoHash, u64>>,
    /// Torrent files that may have no row.
    unlisted: Mutex<Vec<InfoHash>>,
    /// What uploads of the process before have left.
    interrupted: Mutex<Vec<(Option<InfoHash>, PathBuf)>>,
    ranking: Mutex<Arc<Ranking>>,
    /// The database was found to be damaged.
    is_damaged: AtomicBool,
    health: Arc<Health>,
    /// Rung when the keeper has something to do.
    bell: Sender<()>,
    rings: Receiver<()>,
}

impl Catalogue {
    /// Opens the catalogue at `database` with its torrent files in `folder`; makes both if they are not there. A database
    /// that is damaged is set aside. Uploads that were interrupted are finished or taken back; all else that is to be put
    /// right is left to the keeper. `now_s` is in seconds since 1970.
    ///
    /// # Errors
    /// [`CatalogueError`] names the path. What may pass by itself is no error: it is in `health`.
    pub(crate) fn open(
        database: &Path,
        folder: &Path,
        max_torrent_len: usize,
        now_s: i64,
        health: Arc<Health>,
    ) -> Result<Self, CatalogueError> {
        let files = Files::open(folder)?;
        let (bell, rings) = crossbeam_channel::bounded(1);
        let this = Self {
            database: Database::open(database)?,
            files,
            max_torrent_len,
            opened_s: now_s,
            count: AtomicUsize::new(0),
            completed: Mutex::default(),
            unlisted: Mutex::default(),
            interrupted: Mutex::default(),
            ranking: Mutex::default(),
            is_damaged: AtomicBool::new(false),
            health,
            bell,
            rings,
        };
        let found = this.files.list()?;
        *held(&this.interrupted) = found.interrupted;
        let _ = this.complain(Part::Uploads, this.settle());
        let looked = this.look_through(found.torrents);
        match this.report(Part::Catalogue, looked) {
            Err(error) if !error.may_pass() && !error.is_damage() => Err(error),
            _ => Ok(this),
        }
    }

    /// Whether a catalogue could be opened at `database`, with its torrent files in `folder`, in place of this one. Both
    /// folders are made.
    ///
    /// # Errors
    /// What [`Self::open`] would say.
    pub(crate) fn check(&self, database: &Path, folder: &Path) -> Result<(), CatalogueError> {
        Files::check(folder)?;
        self.database.check(database)
    }

    /// Publishes a torrent, durably: when this returns it survives whatever happens. One that is known is only given
    /// its file back if that is gone or damaged, and renamed if that is wanted.
    ///
    /// # Errors
    /// [`CatalogueError`]; then nothing was published.
    pub fn publish(
        &self,
        publication: &Publication<'_>,
        renaming: Renaming<'_>,
    ) -> Result<Published, CatalogueError> {
        let published = self.try_publish(publication, renaming);
        match published {
            // Nothing was written, so it says nothing.
            Ok(Published::Known) => published,
            _ => self.report(Part::Uploads, published),
        }
    }

    fn try_publish(
        &self,
        publication: &Publication<'_>,
        renaming: Renaming<'_>,
    ) -> Result<Published, CatalogueError> {
        let info_hash = publication.metainfo.info_hash;
        if !self.database.is_in_place() {
            self.ring();
        }
        if self.database.read(|connection| rows::contains(connection, info_hash))? {
            return self.publish_again(publication, renaming);
        }
        let len = u64::try_from(publication.bytes.len()).unwrap_or(u64::MAX);
        let has_room = |(count, total_len): (u64, u64)| {
            count < MAX_TORRENTS && total_len.saturating_add(len) <= MAX_TOTAL_LEN
        };
        if !has_room(self.database.read(|connection| rows::sums(connection))?) {
            return Err(CatalogueError::Full);
        }
        let prepared = self.files.prepare(info_hash, publication.bytes)?;
        let is_new = self.database.write(|transaction| {
            // Another upload of the same may have come between.
            let is_new = !rows::contains(transaction, info_hash)?;
            if is_new {
                rows::insert(transaction, publication)?;
            }
            Ok(is_new)
        })?;
        if !is_new {
            drop(prepared);
            return self.publish_again(publication, renaming);
        }
        if let Err(error) = prepared.finish() {
            if let Err(error) = self.database.write(|transaction| rows::remove(transaction, info_hash)) {
                log::error!("{info_hash} is listed, but has no file: {error}");
            }
            return Err(error);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(Published::New)
    }

    fn publish_again(
        &self,
        publication: &Publication<'_>,
        renaming: Renaming<'_>,
    ) -> Result<Published, CatalogueError> {
        let info_hash = publication.metainfo.info_hash;
        if self.files.read(info_hash)?.is_none() {
            self.files.prepare(info_hash, publication.bytes)?.finish()?;
        }
        let Renaming { name, description } = renaming;
        if name.is_none() && description.is_none() {
            return Ok(Published::Known);
        }
        self.database.write(|transaction| rows::rename(transaction, info_hash, name, description))?;
        self.ring();
        Ok(Published::Renamed)
    }

    /// Takes a torrent out: file and row. False if it was not there. A crash between the two leaves a row without a file,
    /// and no file that the next start would take in again.
    ///
    /// # Errors
    /// [`CatalogueError`]; the torrent may be half gone, and can be taken out again.
    pub fn remove(&self, info_hash: InfoHash) -> Result<bool, CatalogueError> {
        let remove = || {
            if !self.database.read(|connection| rows::contains(connection, info_hash))? {
                return Ok(false);
            }
            self.files.remove(info_hash)?;
            let is_gone = self.database.write(|transaction| rows::remove(transaction, info_hash))?;
            if is_gone {
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
            Ok(is_gone)
        };
        // That something could be removed does not say that there is room.
        self.complain(Part::Uploads, remove())
    }

    /// The torrents that have every word of the search in their names, descriptions or file names.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn search(&self, search: &Search) -> Result<Page, CatalogueError> {
        let ranking = Arc::clone(&held(&self.ranking));
        let found = self.database.read(|connection| find::search(connection, search, &ranking));
        let mut page = self.report(Part::Catalogue, found)?;
        page.rows.iter_mut().for_each(|row| self.add_waiting(row));
        Ok(page)
    }

    /// One torrent's row; `None` if it is not published.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn entry(&self, info_hash: InfoHash) -> Result<Option<Row>, CatalogueError> {
        let found = self.database.read(|connection| rows::entry(connection, info_hash));
        let mut row = self.report(Part::Catalogue, found)?;
        row.iter_mut().for_each(|row| self.add_waiting(row));
        Ok(row)
    }

    /// Brings the order by seeders up to date, unless that was done a few seconds ago. `seeders` tells them.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn rank(&self, seeders: impl Fn(&InfoHash) -> u32) -> Result<(), CatalogueError> {
        if held(&self.ranking).is_good() {
            return Ok(());
        }
        let began = Instant::now();
        let mut counts = Vec::new();
        let mut last = None;
        loop {
            let read = self.database.read(|connection| rows::after(connection, last, BATCH));
            let rows = self.report(Part::Catalogue, read)?;
            let Some(&(info_hash, _)) = rows.last() else { break };
            last = Some(info_hash);
            // The database is free meanwhile.
            let rows = rows.iter().map(|(info_hash, id)| (*id, seeders(info_hash)));
            counts.extend(rows.filter(|&(_, count)| count > 0));
        }
        *held(&self.ranking) = Arc::new(Ranking::new(counts, began));
        Ok(())
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

    /// The bytes of a published torrent file; `None` if it was never published, or its file is gone or damaged.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn torrent(&self, info_hash: InfoHash) -> Result<Option<Vec<u8>>, CatalogueError> {
        let read = || {
            if !self.database.read(|connection| rows::contains(connection, info_hash))? {
                return Ok(None);
            }
            self.files.read(info_hash)
        };
        self.report(Part::Catalogue, read())
    }

    /// How many torrents are published.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Bytes of the database; `None` where the system does not say.
    pub fn database_len(&self) -> Option<u64> {
        self.database.len_bytes()
    }

    /// Says whether a part works, and passes on what it did.
    fn report<T>(&self, part: Part, done: Result<T, CatalogueError>) -> Result<T, CatalogueError> {
        if done.is_ok() {
            self.health.well(part);
        }
        self.complain(part, done)
    }

    /// Says that a part does not work, if so. Whatever fails is the keeper's to try again.
    fn complain<T>(&self, part: Part, done: Result<T, CatalogueError>) -> Result<T, CatalogueError> {
        let Err(error) = &done else { return done };
        let Some(trouble) = error.trouble() else { return done };
        if self.health.of(part).as_deref() != Some(trouble) {
            log::error!("{error}");
        }
        self.health.trouble(part, trouble);
        if error.is_damage() {
            self.is_damaged.store(true, Ordering::Relaxed);
            self.health.trouble(Part::Catalogue, trouble);
        }
        self.ring();
        done
    }

    fn ring(&self) {
        // Full: the keeper will come anyway.
        let _ = self.bell.try_send(());
    }

    fn add_waiting(&self, row: &mut Row) {
        let completed = held(&self.completed);
        let waiting = completed.get(&row.info_hash).copied().unwrap_or_default();
        row.completed = row.completed.saturating_add(waiting);
    }
}

#[cfg(test)]
impl Catalogue {
    /// Nothing is read from the database meanwhile.
    pub(crate) fn while_busy(&self, run: impl FnOnce()) {
        let hold = |_: &mut _| {
            run();
            Ok(())
        };
        self.database.read(hold).unwrap();
    }

    /// As if it had all the torrents that it may have.
    pub(crate) fn pretend_full(&self) {
        let count = i64::try_from(MAX_TORRENTS).unwrap();
        self.database.write(|rows| rows.execute("UPDATE sums SET count = ?", [count])).unwrap();
    }
}

/// What a torrent file published here may cost.
pub const fn metainfo_limits(max_torrent_len: usize) -> MetainfoLimits {
    MetainfoLimits::new(max_torrent_len, DEFAULT_BLOCK_LEN)
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
