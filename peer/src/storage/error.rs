//! What goes wrong with payload on disk.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

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
    /// A file with other names (hard links) in a folder that others may write to, on a system where they may link what is
    /// not theirs: it may be any file, put there for us to write over.
    #[error("{path} has other names (hard links), and others can have linked it to any file of yours: nothing is written to it; put a copy in its place, or set fs.protected_hardlinks to 1, or let nobody else write to its folder, then resume", path = path.display())]
    OtherNames {
        /// Which.
        path: PathBuf,
    },
    /// A file longer than the file system takes (4 GiB on FAT), or the limits of this process.
    #[error("{path}: no file may be as long there ({source}): choose a folder on another file system, or raise this process's limit (ulimit -f)", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The same of the part file.
    #[error("{path} holds the bytes of files that are not wanted and share pieces with others, each where it is in the torrent, and no file may be as long there ({source}): choose a folder on another file system, or let all files be wanted, or raise this process's limit (ulimit -f)", path = path.display())]
    PartTooLarge {
        /// The part file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
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
    /// Somebody else has written to a file since we did.
    #[error("{path} was changed by another program: it is checked again", path = path.display())]
    Changed {
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
    /// A name that the file system does not take.
    #[error("{path}: this file system takes no such name ({source}): choose a folder on another, or leave that file out", path = path.display())]
    Name {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Two files of the torrent are one on disk: in each the bytes of the other would be found.
    #[error("{path} and {other} are the same file on this file system, which takes upper and lower case, or spellings, for the same: choose a folder on another, or leave one of them out", path = path.display(), other = other.display())]
    Clash {
        /// One of them.
        path: PathBuf,
        /// The other.
        other: PathBuf,
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
    /// The disk is full, or the user's part of it.
    pub fn is_full(&self) -> bool {
        let (Self::Io { source, .. } | Self::Journal { source, .. }) = self else { return false };
        let full = [Errno::NOSPC, Errno::DQUOT].map(Errno::raw_os_error);
        source.raw_os_error().is_some_and(|code| full.contains(&code))
    }

    /// The disk has what was to be read, and could not read it.
    pub fn is_unreadable(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        source.raw_os_error() == Some(Errno::IO.raw_os_error())
    }

    /// The file or folder that it is about, if it is about one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. }
            | Self::Link { path }
            | Self::OtherNames { path }
            | Self::TooLarge { path, .. }
            | Self::PartTooLarge { path, .. }
            | Self::Kind { path, .. }
            | Self::Missing { path }
            | Self::Short { path }
            | Self::Changed { path }
            | Self::Longer { path, .. }
            | Self::Name { path, .. }
            | Self::Clash { path, .. }
            | Self::NoRoom { path, .. }
            | Self::Journal { path, .. } => Some(path),
            Self::RootName { .. } | Self::Panicked | Self::PieceLength { .. } => None,
        }
    }

    /// It may be over some time, without anybody telling us: a disk is full, was taken out, is read-only or too busy; a
    /// file was changed. Worth another look.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Io { .. }
            | Self::Missing { .. }
            | Self::Short { .. }
            | Self::Changed { .. }
            | Self::NoRoom { .. }
            | Self::Journal { .. } => true,
            Self::Link { .. }
            | Self::OtherNames { .. }
            | Self::TooLarge { .. }
            | Self::PartTooLarge { .. }
            | Self::Kind { .. }
            | Self::Longer { .. }
            | Self::Name { .. }
            | Self::Clash { .. }
            | Self::RootName { .. }
            | Self::Panicked
            | Self::PieceLength { .. } => false,
        }
    }

    /// The system's error for `path`.
    pub(super) fn io(path: PathBuf, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        if source.raw_os_error() == Some(Errno::FBIG.raw_os_error()) {
            return Self::TooLarge { path, source };
        }
        Self::Io { path, source }
    }
}
