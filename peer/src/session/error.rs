//! Why a torrent stands still, in words for its user.

use std::path::PathBuf;

use torrent_common::ids::InfoHash;
use torrent_common::metainfo::MetainfoError;

use crate::resume::ResumeError;
use crate::storage::StorageError;

/// Why a torrent cannot work.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// Its record.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// Its payload.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What is lacking would be written over the user's own.
    #[error(
        "{path} was changed: {lost} of {count} pieces are not what they were when this torrent was made of it. Nothing is \
         written there: seed it again as it is now; or put it back, then resume this torrent",
        path = path.display()
    )]
    Changed {
        /// The payload.
        path: PathBuf,
        /// Pieces that are wanted and not there.
        lost: u32,
        /// All pieces.
        count: u32,
        /// Files are missing, and what is there was not hashed again: to look once more costs little.
        missing: bool,
    },
    /// Pieces that are there, perhaps right, and that the disk cannot read.
    #[error(
        "{error}: {count} pieces cannot be read, in {files}. It is tried again; resume this torrent to fetch them anew, \
         unless it was made of what is there"
    )]
    Unreadable {
        /// The first error.
        error: StorageError,
        /// Pieces that were tried.
        count: u32,
        /// The files that they are in.
        files: String,
    },
    /// There was something, and now there is nothing.
    #[error(
        "{path} is gone, all of it: if its disk was taken out, put it back, and this torrent goes on by itself; to fetch \
         everything again, resume it",
        path = path.display()
    )]
    Gone {
        /// The payload.
        path: PathBuf,
    },
    /// Another torrent has a file of this one, and this one lacks it.
    #[error(
        "{path} is a file of another torrent here, {name} ({info_hash}), and is not written over: choose another folder; or \
         remove that torrent, or let it become complete if both are of the same files, then resume this one",
        path = path.display()
    )]
    Overlap {
        /// The file.
        path: PathBuf,
        /// The other's name: a stranger's text.
        name: String,
        /// The other.
        info_hash: InfoHash,
    },
    /// Its torrent file, kept since it was added, is not what it was.
    #[error("the torrent file kept in STATE_DIR is damaged ({0}): remove the torrent and add it again")]
    Metainfo(#[from] MetainfoError),
    /// It is another torrent's, or a bit of it is another.
    #[error(
        "the torrent file kept in STATE_DIR is damaged (its info-hash is {0} now): remove the torrent and add it again"
    )]
    AnotherTorrent(InfoHash),
    /// The system has no room for its thread.
    #[error("no room for another thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl StartupError {
    /// It may be over some time, without anybody telling us.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Storage(error)
            | Self::Resume(ResumeError::Storage(error))
            | Self::Unreadable { error, .. } => error.may_pass(),
            Self::Resume(ResumeError::Io { .. } | ResumeError::NoTorrent { .. })
            | Self::Gone { .. }
            | Self::Thread(_) => true,
            Self::Changed { missing, .. } => *missing,
            Self::Resume(_) | Self::Metainfo(_) | Self::AnotherTorrent(_) | Self::Overlap { .. } => false,
        }
    }
}
