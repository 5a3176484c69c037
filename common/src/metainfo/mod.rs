//! Torrent files (BEP 3), version 1. [`Metainfo::parse`] validates everything once: what exists is safe to use.

pub mod create;
pub mod magnet;
pub mod parse;
pub mod paths;

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
    /// The name to show: the name as given, lossily decoded. A stranger's text: escape it for the medium.
    pub name: String,
    /// The name made safe as one path component: the file's name, or the folder's.
    pub root: TorrentPath,
    /// Whether the torrent is one file (`root` is its path) or a folder.
    pub single_file: bool,
    /// The files in payload order, padding included.
    pub files: Vec<File>,
    /// Sizes.
    pub geometry: Geometry,
    /// SHA-1 of every piece, 20 bytes each.
    pub piece_hashes: Arc<[u8]>,
    /// Peers come from the trackers alone (BEP 27).
    pub private: bool,
    /// Trackers by tier (BEP 12); a lone `announce` is one tier of one. May be empty.
    pub trackers: Vec<Vec<String>>,
    /// Web seeds (BEP 19), kept for later.
    pub url_list: Vec<String>,
    /// DHT nodes (BEP 5), kept for later.
    pub nodes: Vec<(String, u16)>,
    /// Free text.
    pub comment: Option<String>,
    /// Free text.
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

    /// The SHA-1 that this piece must have.
    pub fn piece_hash(&self, piece: PieceIndex) -> &[u8; 20] {
        todo!()
    }
}
