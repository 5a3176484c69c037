//! Makes a torrent file of a file or a folder: hashed on rayon, with progress, cancellable.
//!
//! The same input gives the same info-hash as mktorrent gives for the same piece length, and, as far as its order of
//! files (which ignores case and leaves out hidden and empty files) is the same, transmission-create with `--private`
//! (without, version 3 writes a `private` of 0, which others do not). Links are not followed, as both of them would.

mod encode;
mod hash;
mod read;
#[cfg(test)]
mod tests;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::paths::PathError;
use super::{Metainfo, MetainfoError, MetainfoLimits, trackers};
use crate::hash::ReadOrder;
use crate::worker::Shutdown;

/// The shortest piece length in bytes that is made: one block.
pub const MIN_PIECE_LEN: u64 = 16 << 10;
/// The longest piece length in bytes that is chosen.
pub const MAX_CHOSEN_PIECE_LEN: u64 = 16 << 20;
/// The longest piece length in bytes that is made when asked for.
pub const MAX_PIECE_LEN: u64 = 256 << 20;
/// The most pieces made: their hashes leave room for the rest below [`MetainfoLimits::DEFAULT_MAX_LEN`].
const MAX_PIECES: u64 = 2_000_000;

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
    /// How the payload is read.
    pub order: ReadOrder,
    /// What the torrent that is made must keep to.
    pub limits: MetainfoLimits,
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

    fn check_cancel(&self) -> Result<(), CreateError> {
        if self.cancel.is_set() { Err(CreateError::Cancelled) } else { Ok(()) }
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
    /// What is in it, parsed: it is valid.
    pub metainfo: Metainfo,
    /// The files' stamps in payload order, taken before and after hashing and equal.
    pub stamps: Vec<FileStamp>,
    /// Links below the input.
    pub left_out: Option<LinksLeftOut>,
}

/// Links below a folder that are not in its torrent: none is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinksLeftOut {
    /// How many.
    pub count: u64,
    /// Where the first of them is, by its path.
    pub first: PathBuf,
}

/// Why no torrent was made. Names of files are as they are: escape the message where it is printed.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Cancelled by the user.
    #[error("cancelled")]
    Cancelled,
    /// The system's error for a file or folder.
    #[error("cannot read {path}: {source}", path = path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The input has no name of its own, as `/` has none.
    #[error("{path} has no name: give the torrent one", path = .0.display())]
    NoName(PathBuf),
    /// A name that is not UTF-8, which torrents cannot hold.
    #[error("the name of {path} is not valid UTF-8, so other systems could not write it: rename it", path = .0.display())]
    NameNotText(PathBuf),
    /// A name that clients refuse.
    #[error("{path} cannot be in a torrent: {source}", path = path.display())]
    Name {
        /// Which file or folder; the torrent's name, if that is at fault.
        path: PathBuf,
        /// What clients have against it.
        source: PathError,
    },
    /// Names that differ only in what other systems do not take.
    #[error("rename a file, for other systems take two names for the same: {0}")]
    SameName(MetainfoError),
    /// Neither file nor folder.
    #[error("{path} is neither a file nor a folder (a pipe, a socket or a device): move it elsewhere", path = .0.display())]
    Special(PathBuf),
    /// Written to, cut, replaced or deleted meanwhile.
    #[error("{path} changed while it was read: try again when nothing writes to it", path = .0.display())]
    Changed(PathBuf),
    /// Nothing to share.
    #[error("{path} has no content: a torrent needs at least one byte", path = .0.display())]
    Empty(PathBuf),
    /// Nothing but links to share.
    #[error(
        "{path} has no content but links ({count}, the first is {first}), which are not followed: make a torrent of what \
         they lead to, or of a copy with files in their place (cp -rL)",
        path = path.display(), count = links.count, first = links.first.display()
    )]
    OnlyLinks {
        /// The folder.
        path: PathBuf,
        /// The links.
        links: LinksLeftOut,
    },
    /// More than [`MetainfoLimits::DEFAULT_MAX_FILES`].
    #[error("{path} has more than {max} files: put them into an archive", path = path.display(), max = MetainfoLimits::DEFAULT_MAX_FILES)]
    TooManyFiles {
        /// The folder.
        path: PathBuf,
    },
    /// Not a power of two, or out of range.
    #[error(
        "piece length {0} is not a power of two from {MIN_PIECE_LEN} (16 KiB) to {MAX_PIECE_LEN} (256 MiB)"
    )]
    PieceLength(u64),
    /// The torrent file would be too large.
    #[error("piece length {piece_len} gives too many pieces for so much data: use at least {least}")]
    TooManyPieces {
        /// As given, in bytes.
        piece_len: u64,
        /// The least that is possible, in bytes.
        least: u64,
    },
    /// Larger than [`MetainfoLimits`] allow.
    #[error(
        "the torrent file would have {len} bytes, more than the {max_len} that MAX_TORRENT_SIZE_KIB allows: take longer pieces, put many files into an archive, or set the key higher, also where the torrent is to be read"
    )]
    TooLarge {
        /// Bytes that it would have.
        len: u64,
        /// Bytes that it may have.
        max_len: u64,
    },
    /// A tracker's URL that clients would ignore.
    #[error("{0:?} is not a tracker's URL: it must begin with http://, https:// or udp:// and name a host")]
    Tracker(String),
    /// What was made is not a torrent that we would accept.
    #[error("no valid torrent can be made of this: {0}")]
    Invalid(#[from] MetainfoError),
    /// The encoder failed.
    #[error("the torrent file cannot be written: {0}")]
    Encode(String),
}

impl CreateError {
    fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// Makes a torrent. Runs on the current rayon pool; memory stays within 128 KiB per thread, or 8 MiB when the payload is
/// read in order, and what the list of files and the hashes take.
///
/// # Errors
/// [`CreateError`] names the file at fault.
pub fn create(options: &CreateOptions, progress: &Progress) -> Result<Created, CreateError> {
    if let Some(bad) = options.trackers.iter().flatten().find(|url| !trackers::is_tracker_url(url)) {
        return Err(CreateError::Tracker(bad.clone()));
    }
    let payload = walk::Payload::collect(options, progress)?;
    progress.total.store(payload.total_len, Ordering::Relaxed);
    let piece_len = piece_len(options.piece_len, payload.total_len)?;
    check_len(options, &payload, piece_len)?;
    let hashes = hash::hash(&payload, piece_len, options.order, progress)?;
    let (unchanged, made) = rayon::join(
        || payload.check_unchanged(),
        || {
            let bytes = encode::encode(options, &payload, piece_len, &hashes)?;
            // The info-hash is taken from the bytes that were made; and what we would not accept, nobody shall get from us.
            let metainfo = Metainfo::parse(&bytes, &options.limits)?;
            Ok::<_, CreateError>((bytes, metainfo))
        },
    );
    unchanged?;
    let (bytes, metainfo) = made?;
    let stamps = payload.files.iter().map(|file| file.stamp).collect();
    Ok(Created { bytes, metainfo, stamps, left_out: payload.left_out })
}

/// That the torrent file will not be too large, which can be told before hours are spent on hashing the payload.
fn check_len(options: &CreateOptions, payload: &walk::Payload, piece_len: u64) -> Result<(), CreateError> {
    let max_len = options.limits.max_len as u64;
    let hashes_len = 20 * payload.total_len.div_ceil(piece_len);
    // A string stands behind its length in digits. That of no hashes is 0, one digit.
    let more = u64::from(hashes_len.checked_ilog10().unwrap_or(0)) + hashes_len;
    let len = encode::encode(options, payload, piece_len, &[])?.len() as u64 + more;
    if len > max_len { Err(CreateError::TooLarge { len, max_len }) } else { Ok(()) }
}

/// The piece length in bytes for a payload: a power of two from 16 KiB to 16 MiB that gives about 1,000 to 2,000 pieces.
pub fn choose_piece_len(total_len: u64) -> u64 {
    let mut len = MIN_PIECE_LEN;
    while len < MAX_CHOSEN_PIECE_LEN && total_len.div_ceil(len) > 2000 {
        len *= 2;
    }
    len
}

fn piece_len(asked: Option<u64>, total_len: u64) -> Result<u64, CreateError> {
    let len = asked.unwrap_or_else(|| choose_piece_len(total_len));
    if !len.is_power_of_two() || !(MIN_PIECE_LEN..=MAX_PIECE_LEN).contains(&len) {
        return Err(CreateError::PieceLength(len));
    }
    if total_len.div_ceil(len) > MAX_PIECES {
        let least = total_len.div_ceil(MAX_PIECES).checked_next_power_of_two().unwrap_or(MAX_PIECE_LEN);
        return Err(CreateError::TooManyPieces { piece_len: len, least });
    }
    Ok(len)
}
