//! The database as a thing that can be missing: two connections, each behind its own lock (one writes, one reads), which
//! are closed when the file turns out to be damaged or gone, and opened again by the keeper.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use rustix::fs::Access;

use super::{CatalogueError, files, schema};
use torrent_common::regular;

use crate::aside;

/// Pages of databases have this length unless somebody chose another.
const PAGE_LEN: u64 = 4096;
/// What every database begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// What belongs to a database: itself, its log, and the index of that.
const FILES: [&str; 3] = ["", "-wal", "-shm"];

/// The database, or what keeps it from being open.
pub(super) struct Database {
    path: PathBuf,
    writer: Mutex<State>,
    reader: Mutex<State>,
}

enum State {
    Open {
        connection: Connection,
        /// Device and inode of the file.
        file: Option<(u64, u64)>,
    },
    Closed(&'static str),
}

impl Database {
    /// Opens what is at `path`, or makes it. A damaged one is set aside: what is in it can be found out again, most of it.
    /// A disk that is full or read-only leaves it closed, or open for reading.
    ///
    /// # Errors
    /// What will not pass by itself.
    pub(super) fn open(path: &Path) -> Result<Self, CatalogueError> {
        if regular::is_other(path) {
            return Err(CatalogueError::NotADatabase(path.to_path_buf()));
        }
        files::make_folder(folder_of(path))?;
        let this = Self {
            path: path.to_path_buf(),
            writer: Mutex::new(State::Closed("the database is being opened")),
            reader: Mutex::new(State::Closed("the database is being opened")),
        };
        match this.reopen() {
            Err(error) if !error.may_pass() => Err(error),
            _ => Ok(this),
        }
    }

    /// Whether one at `path`, this or another, could be opened, or made. Its folder is made.
    ///
    /// # Errors
    /// What will not pass by itself.
    pub(super) fn check(&self, path: &Path) -> Result<(), CatalogueError> {
        if regular::is_other(path) {
            return Err(CatalogueError::NotADatabase(path.to_path_buf()));
        }
        let folder = folder_of(path);
        files::make_folder(folder)?;
        let checked = check_writable(folder).and_then(|()| {
            // A file that is open here was looked at; and to close it once more would take the locks from it.
            if self.is_of(path) || !path.exists() { Ok(()) } else { schema::check(path) }
        });
        match checked {
            Err(error) if error.is_damage() && was_database(path) => Ok(()),
            Err(error) if error.is_damage() => Err(CatalogueError::NotADatabase(path.to_path_buf())),
            Err(error) if !error.may_pass() => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the file at `path` is open here.
    fn is_of(&self, path: &Path) -> bool {
        let found = identity(path);
        let is_found = |lock| matches!(*held(lock), State::Open { file, .. } if file == found);
        found.is_some() && [&self.writer, &self.reader].into_iter().any(is_found)
    }

    /// Closes the connections, and opens them again; sets a damaged database aside first.
    ///
    /// # Errors
    /// [`CatalogueError`]; then it is closed, or open for reading alone.
    pub(super) fn reopen(&self) -> Result<(), CatalogueError> {
        let mut writer = held(&self.writer);
        let mut reader = held(&self.reader);
        *writer = State::Closed("the database is being opened");
        *reader = State::Closed("the database is being opened");
        let opened = schema::open(&self.path).or_else(|error| {
            if !error.is_damage() {
                return Err(error);
            }
            self.set_aside()?;
            schema::open(&self.path)
        });
        let opened = opened.and_then(|connection| Ok((connection, schema::open(&self.path)?)));
        match opened {
            Ok((first, second)) => {
                let file = identity(&self.path);
                *writer = State::Open { connection: first, file };
                *reader = State::Open { connection: second, file };
                Ok(())
            }
            Err(error) => {
                let error = if is_read_only(&self.path) {
                    if let Ok(connection) = schema::open_read_only(&self.path) {
                        *reader = State::Open { connection, file: identity(&self.path) };
                    }
                    CatalogueError::Closed { path: self.path.clone(), why: "the disk is read-only" }
                } else {
                    error
                };
                *writer = State::Closed(error.trouble().unwrap_or("the database cannot be opened"));
                if let State::Closed(why) = &mut *reader {
                    *why = error.trouble().unwrap_or(why);
                }
                Err(error)
            }
        }
    }

    /// Closes it, for a reason; it is set aside and made anew when it is opened again.
    pub(super) fn give_up(&self) -> Result<(), CatalogueError> {
        let mut writer = held(&self.writer);
        let mut reader = held(&self.reader);
        *writer = State::Closed("the database is damaged");
        *reader = State::Closed("the database is damaged");
        self.set_aside()
    }

    /// Whether it can be written to, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        matches!(*held(&self.writer), State::Open { .. })
    }

    /// Whether it can be read, as far as is known.
    pub(super) fn can_be_read(&self) -> bool {
        matches!(*held(&self.reader), State::Open { .. })
    }

    /// Whether the file in use is still the one at the path: writing to one that was removed or replaced is in vain.
    pub(super) fn is_in_place(&self) -> bool {
        let State::Open { file, .. } = *held(&self.writer) else { return false };
        file == identity(&self.path)
    }

    /// Its length in bytes, with the log that is not taken over yet; `None` where the system does not say.
    pub(super) fn len_bytes(&self) -> Option<u64> {
        let log_len = fs::metadata(aside::with_suffix(&self.path, "-wal")).map_or(0, |log| log.len());
        Some(fs::metadata(&self.path).ok()?.len() + log_len)
    }

    /// The damaged ones that are kept, the latest first.
    pub(super) fn aside(&self) -> Vec<PathBuf> {
        let mut found: Vec<_> = (1..=aside::MAX)
            .filter_map(|number| {
                let path = aside::name(&self.path, number);
                let written = fs::metadata(&path).and_then(|file| file.modified()).ok()?;
                Some((written, number, path))
            })
            .collect();
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.into_iter().map(|(.., path)| path).collect()
    }

    /// Reads.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, CatalogueError> {
        match &mut *held(&self.reader) {
            State::Open { connection, .. } => work(connection).map_err(|error| self.failed(error)),
            State::Closed(why) => Err(CatalogueError::Closed { path: self.path.clone(), why }),
        }
    }

    /// Writes in a transaction: all of it is durable when this returns, or nothing was written.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, CatalogueError> {
        match &mut *held(&self.writer) {
            State::Open { connection, .. } => {
                let written = connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(
                    |transaction| {
                        let done = work(&transaction)?;
                        transaction.commit()?;
                        Ok(done)
                    },
                );
                written.map_err(|error| self.failed(error))
            }
            State::Closed(why) => Err(CatalogueError::Closed { path: self.path.clone(), why }),
        }
    }

    fn failed(&self, source: rusqlite::Error) -> CatalogueError {
        match source.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => CatalogueError::TooSlow,
            _ => CatalogueError::Database { path: self.path.clone(), source },
        }
    }

    /// Renames the database, its log with it. A file that never was a database is somebody's: it stays.
    fn set_aside(&self) -> Result<(), CatalogueError> {
        if !was_database(&self.path) {
            return Err(CatalogueError::NotADatabase(self.path.clone()));
        }
        let place = aside::place(&self.path, &FILES);
        for suffix in FILES {
            let from = aside::with_suffix(&self.path, suffix);
            let to = aside::with_suffix(&place, suffix);
            let done = match fs::rename(&from, &to) {
                // What is left of an older one would be taken for this one's.
                Err(error) if error.kind() == ErrorKind::NotFound => match fs::remove_file(&to) {
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                    removed => removed,
                },
                renamed => renamed,
            };
            done.map_err(files::failed("set aside the damaged", &from))?;
        }
        log::error!(
            "the catalogue {} is damaged: it is now {}, and made anew from the torrent files; names, descriptions and \
             completed downloads are taken from it as far as they can be read",
            self.path.display(),
            place.display()
        );
        Ok(())
    }
}

/// Whether a file may be a damaged database: it begins like one, or has at least the length of one.
fn was_database(path: &Path) -> bool {
    let look = || -> io::Result<bool> {
        let file = regular::open(path)?;
        let len = file.metadata()?.len();
        let mut begin = Vec::new();
        file.take(MAGIC.len() as u64).read_to_end(&mut begin)?;
        Ok(begin == MAGIC || (len > 0 && len % PAGE_LEN == 0))
    };
    look().unwrap_or(false)
}

/// Whether files can be made there: a database has some beside it.
fn check_writable(folder: &Path) -> Result<(), CatalogueError> {
    let allowed = rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK);
    allowed.map_err(|error| files::failed("write to", folder)(error.into()))
}

fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(folder_of(path))
        .is_ok_and(|fs| fs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn held(lock: &Mutex<State>) -> MutexGuard<'_, State> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
