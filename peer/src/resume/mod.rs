//! What is had, durably (promise 2). Per torrent in STATE_DIR:
//!
//! - `<info-hash>.torrent`, a copy of the torrent file;
//! - `<info-hash>.resume`, the checkpoint ([`Saved`]): replaced as a whole, after the payload it vouches for was flushed
//!   to the device;
//! - `<info-hash>.journal0` and `.journal1`, append-only, in turns: the pieces written since the checkpoint. Records are
//!   written without flushing: the page cache survives a killed process;
//! - `<info-hash>.options`, if it is there: what the user has set since the checkpoint, flushed before the user is told. It
//!   holds whatever the checkpoint says, and goes when a start finds that both say the same.
//!
//! Every checkpoint has a generation, and the journal that begins with it the same. A checkpoint is made in this order,
//! and a kill after any step leaves enough:
//!
//! 1. Generation + 1: new records go to the other journal file, begun with the writes that are still under way.
//!    *Killed here:* both journals continue the old checkpoint, one after the other.
//! 2. The payload is flushed.
//! 3. The checkpoint is written beside the old one, flushed, and renamed over it.
//!    *Killed before:* as in 1. *After:* the older journal's generation is below the checkpoint's; it is not read.
//!
//! A piece is written in this order: `begin` record; payload; `stamp` records (the mtime that each file has now) and
//! `written` record in one write. Killed before `written`: the piece is fetched again, and `begin` explains the mtime.
//!
//! A file that is not selected and was not there has no stamp: its bytes are in the part file, which is treated like one more
//! file (see [`Layout`](crate::storage::layout::Layout)). When it is selected, its bytes are copied while nothing is written, and
//! flushed in step 2; it has its stamp with the checkpoint. *Killed before:* the part file still holds, and what was copied is
//! copied again at the start. *After:* the file holds. The part file is deleted only by a later checkpoint, or at a start.
//!
//! At start [`reconcile`](reconcile::reconcile) believes a journal of this boot. After a power cut (another boot id) its pieces are
//! only suspect and hashed again, while the checkpoint's were flushed and are believed. A file whose length or mtime is
//! not what checkpoint and journal explain was changed by somebody else: every piece in it is hashed again.

pub mod journal;
pub mod look;
pub mod reconcile;
pub(crate) mod record;
pub mod saved;
pub mod store;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test payloads are small")]
mod tests;

use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::storage::StorageError;

pub use journal::Journal;
pub use look::Look;
pub use saved::{Details, Saved};
pub use store::ResumeStore;

/// What went wrong with STATE_DIR.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The system's error.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process works with this folder.
    #[error("{path} is in use by another daemon: stop it, or give this one a STATE_DIR of its own", path = path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// Not a checkpoint, or not whole.
    #[error("{path} is damaged ({what}): add the torrent again, its data will be checked", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In what way.
        what: String,
    },
    /// Written by a version that knows more than this one.
    #[error("{path} has format {version}, from a newer version of this program: use that one", path = path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
    /// The copy of a torrent file is not there.
    #[error("{path} is gone: remove the torrent and add it again", path = path.display())]
    NoTorrent {
        /// The file.
        path: PathBuf,
    },
    /// A file longer than anything we write.
    #[error("{path} is longer than {limit_len} bytes", path = path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most that is read, in bytes.
        limit_len: u64,
    },
    /// The payload could not be flushed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An earlier flush failed, so nobody knows what the device has.
    #[error("an earlier write to the disk failed: check the disk, then restart to have the data checked")]
    Doubtful,
}

impl ResumeError {
    /// The file is what nobody can make sense of, and no other program either.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::TooLong { .. })
    }

    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}

/// This start of the machine; a kill leaves it the same, a power cut does not. `None` where the system does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootId(u64);

impl BootId {
    /// The system's.
    pub fn now() -> Option<Self> {
        use sha1::Digest;
        let id = std::fs::read("/proc/sys/kernel/random/boot_id").ok()?;
        let hash: [u8; 20] = sha1::Sha1::digest(id).into();
        hash.first_chunk().map(|first| Self(u64::from_be_bytes(*first)))
    }

    /// For tests.
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// As it stands in files; 0 for unknown.
    fn to_number(this: Option<Self>) -> u64 {
        this.map_or(0, |id| id.0)
    }

    fn from_number(number: u64) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }
}

/// Nanoseconds since 1970, as files' times are told.
pub(crate) fn nanos(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}
