//! What goes wrong with payload on disk.

use std::io;
use std::path::PathBuf;

/// What went wrong with payload on disk, and where.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The system's error for a file.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A link where a folder or file of the torrent should be.
    #[error("{path} is a symbolic link: nothing is read or written through it; put a real file or folder there", path = path.display())]
    Link {
        /// Which.
        path: PathBuf,
    },
    /// A device, pipe, socket or folder where a file of the torrent should be, or a file where a folder should be.
    #[error("{path} is in the way: it is not a {wanted}", path = path.display())]
    Kind {
        /// Which.
        path: PathBuf,
        /// `file` or `folder`.
        wanted: &'static str,
    },
    /// A file that is not there, although it should be by now.
    #[error("{path} is missing; restart the download to fetch it again", path = path.display())]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// A file shorter than the torrent says.
    #[error("{path} is shorter than it should be; restart the download to fetch the rest again", path = path.display())]
    Short {
        /// Which file.
        path: PathBuf,
    },
    /// A file longer than the torrent says: another file of the same name, which is not cut.
    #[error("{path} exists with {len} bytes where the torrent has {expected}: move it away or choose another folder", path = path.display())]
    Longer {
        /// Which file.
        path: PathBuf,
        /// Bytes it has.
        len: u64,
        /// Bytes it should have.
        expected: u64,
    },
    /// All room was to be taken beforehand, and there is too little.
    #[error("{path}: {needed} bytes are needed and {free} are free: make room, choose fewer files or another folder, or do without PREALLOCATION = full", path = path.display())]
    NoRoom {
        /// The download folder.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A name for the root that is not one path component.
    #[error("{name:?} cannot be the name of a file or folder", name = name.display())]
    RootName {
        /// The name.
        name: PathBuf,
    },
    /// A write could not be noted in the torrent's journal.
    #[error("cannot note in {path} what was written: {source}", path = path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A disk thread failed in a way that nobody foresaw.
    #[error("writing failed by a bug: please report it with the lines above it in the log")]
    Panicked,
    /// A piece came to be written with a wrong number of bytes: a bug.
    #[error("a piece of {expected} bytes came with {got}: this is a bug, please report it")]
    PieceLength {
        /// Bytes that came.
        got: u64,
        /// Bytes of the piece.
        expected: u64,
    },
}

impl StorageError {
    /// The system's error for `path`.
    pub(super) fn io(path: PathBuf, source: impl Into<io::Error>) -> Self {
        Self::Io { path, source: source.into() }
    }
}
