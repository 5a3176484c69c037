//! Makes a torrent file of a file or a folder: hashed on rayon, with progress, cancellable.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ids::InfoHash;
use crate::worker::Shutdown;

/// What to make a torrent of.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// A file or a folder. A link here is followed; links below it are not.
    pub input: PathBuf,
    /// The name in the torrent; the input's own name unless given.
    pub name: Option<String>,
    /// Bytes, a power of two from 16 KiB; chosen by size unless given.
    pub piece_len: Option<u64>,
    /// BEP 27.
    pub private: bool,
    /// Tiers (BEP 12). The first tracker is also `announce`.
    pub trackers: Vec<Vec<String>>,
    /// Free text.
    pub comment: Option<String>,
    /// Seconds since 1970 to be written as `creation date`; none if `None`.
    pub creation_date_s: Option<i64>,
}

/// Shared with whoever shows progress and may cancel.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes hashed so far.
    pub done: AtomicU64,
    /// Bytes in all; 0 until the folder was read.
    pub total: AtomicU64,
    /// Set to stop early.
    pub cancel: Shutdown,
}

impl Progress {
    /// Bytes hashed, and bytes in all.
    pub fn get(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

/// A file as it was when it was hashed: what a re-check compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    /// Bytes.
    pub len: u64,
    /// Nanoseconds since 1970.
    pub mtime_ns: i128,
}

/// A torrent that was made.
#[derive(Debug, Clone)]
pub struct Created {
    /// The torrent file.
    pub bytes: Vec<u8>,
    /// Its info-hash.
    pub info_hash: InfoHash,
    /// The files' stamps in payload order, taken before and after hashing and equal.
    pub stamps: Vec<FileStamp>,
}

/// Why no torrent was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Cancelled by the user.
    #[error("cancelled")]
    Cancelled,
}

/// Makes a torrent. Runs on the current rayon pool; memory stays within a few pieces per thread.
///
/// # Errors
/// [`CreateError`] names the file at fault.
pub fn create(options: &CreateOptions, progress: &Progress) -> Result<Created, CreateError> {
    todo!()
}

/// The piece length in bytes for a payload: a power of two from 16 KiB to 16 MiB that gives about 1,000 to 2,000 pieces.
pub fn choose_piece_len(total_len: u64) -> u64 {
    todo!()
}
