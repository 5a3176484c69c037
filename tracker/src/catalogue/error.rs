//! What can go wrong, and what it means to whom.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::health::disk_trouble;

/// Why the catalogue did not do as asked. Shown to the operator; strangers get less: [`CatalogueError::trouble`].
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
    /// The file is no database: it is somebody's, and left alone.
    #[error("{path} is not a database: choose another TORRENT_FILE", path = .0.display())]
    NotADatabase(PathBuf),
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
    /// The database is not open at the moment: it is tried again every few seconds.
    #[error("the catalogue {path} is not open: {why}", path = path.display())]
    Closed {
        /// Which file.
        path: PathBuf,
        /// What keeps it from being opened.
        why: &'static str,
    },
    /// A search was given up.
    #[error("the search takes too long: longer words are found faster")]
    TooSlow,
    /// No more torrents are taken.
    #[error("the catalogue is full")]
    Full,
}

impl CatalogueError {
    /// What does not work, in words for strangers: no paths. `None` if it is only this request.
    pub fn trouble(&self) -> Option<&'static str> {
        match self {
            Self::File { source, .. } => Some(disk_trouble(source).unwrap_or_else(|| match source.kind() {
                ErrorKind::NotFound => "the folder of torrents is gone",
                ErrorKind::PermissionDenied => "the folder of torrents may not be used",
                _ => "the folder of torrents cannot be used",
            })),
            Self::Database { .. } if self.is_damage() => Some("the database is damaged"),
            Self::Database { source, .. } => Some(match source.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => "the disk is full",
                Some(ErrorCode::ReadOnly) => "the disk is read-only",
                Some(ErrorCode::SystemIoFailure) => "the disk fails",
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    "the database is in use by another program"
                }
                Some(ErrorCode::CannotOpen) => "the database cannot be opened",
                _ => "the database failed",
            }),
            Self::NotADatabase(_) | Self::TooNew { .. } => Some("the database is another program's"),
            Self::Closed { why, .. } => Some(why),
            Self::Full => Some("the catalogue is full"),
            Self::TooSlow => None,
        }
    }

    /// Whether the database has lost its order.
    pub(super) fn is_damage(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        match source {
            // All that is in its tables was written by us: what cannot be read has changed since.
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..) => true,
            _ => matches!(
                source.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            ),
        }
    }

    /// Whether it may pass by itself, so that a tracker starts all the same.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Database { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::DiskFull
                        | ErrorCode::ReadOnly
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                )
            ),
            Self::File { source, .. } => disk_trouble(source).is_some(),
            Self::Closed { .. } => true,
            _ => false,
        }
    }
}
