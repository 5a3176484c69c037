//! Torrent files (BEP 3), version 1. [`Metainfo::parse`] validates everything once: what exists is safe to use.
//!
//! Reading goes through [`bencode`](crate::bencode), writing through serde_bencode. The reader keeps the original bytes
//! of `info`, which the info-hash needs; it takes a torrent of 500,000 files without an allocation per key, and says of
//! every fault what it is. serde_bencode would copy and nest, and its errors name no place. In writing, where the input
//! is our own, it spares us to think of the order of keys.

pub mod create;
mod files;
mod hybrid;
pub mod magnet;
pub mod parse;
pub mod paths;
#[cfg(test)]
mod tests;
pub mod trackers;

use std::sync::Arc;

use crate::geometry::{Geometry, PieceIndex};
use crate::ids::InfoHash;

pub use parse::{MetainfoError, MetainfoLimits};
pub use paths::TorrentPath;

/// A validated torrent.
#[derive(Debug, Clone)]
pub struct Metainfo {
    /// SHA-1 of the original bytes of `info`.
    pub info_hash: InfoHash,
    /// The name to show: as given, lossily decoded, and cut to 1 KiB. A stranger's text: escape it for the medium.
    pub name: String,
    /// The name made safe as one path component: the file's name, or the folder's.
    pub root: TorrentPath,
    /// Whether the torrent is one file (`root` is its path) or a folder.
    pub single_file: bool,
    /// The files in payload order, padding included: at least one, and at least one that is not padding.
    pub files: Vec<File>,
    /// Sizes.
    pub geometry: Geometry,
    /// SHA-1 of every piece, 20 bytes each.
    pub piece_hashes: Arc<[u8]>,
    /// Peers come from the trackers alone (BEP 27).
    pub private: bool,
    /// Trackers by tier (BEP 12), as far as [`trackers::is_tracker_url`] likes them, at most
    /// [`trackers::MAX_ADDRESSES`]; a lone `announce` is one tier of one. May be empty.
    pub trackers: Vec<Vec<String>>,
    /// Web seeds (BEP 19), kept for later.
    pub url_list: Vec<String>,
    /// DHT nodes (BEP 5), kept for later.
    pub nodes: Vec<(String, u16)>,
    /// Free text, at most 16 KiB of it.
    pub comment: Option<String>,
    /// Free text, at most 16 KiB of it.
    pub created_by: Option<String>,
    /// Seconds since 1970.
    pub creation_date_s: Option<i64>,
    /// Whether every dictionary's keys are in order.
    pub sorted: bool,
}

/// One file of a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it goes below the download folder, `root` included. Safe: see [`paths`].
    pub path: TorrentPath,
    /// The path as the torrent has it, where `path` differs from it only to suit other systems (`12:30.log` against
    /// `12_30.log`). It does not lead outside the download folder either: a file that is already there under this name is
    /// the same file, and a seeder has it under this name.
    pub given: Option<TorrentPath>,
    /// Bytes; 0 is legal.
    pub len: u64,
    /// Where it begins in the payload, in bytes.
    pub offset: u64,
    /// A padding file (BEP 47): its bytes are zeros, and it never exists on disk.
    pub padding: bool,
}

impl Metainfo {
    /// Bytes of payload, padding included.
    pub const fn total_len(&self) -> u64 {
        self.geometry.total_len()
    }

    /// The SHA-1 that this piece must have. A piece of another torrent that does not exist here gets zeros, which match
    /// nothing.
    pub fn piece_hash(&self, piece: PieceIndex) -> &[u8; 20] {
        let (hashes, _) = self.piece_hashes.as_chunks::<20>();
        hashes.get(piece.as_usize()).unwrap_or(&[0; 20])
    }

    /// The files that exist on disk, in payload order: all but padding.
    pub fn payload_files(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| !file.padding)
    }
}
