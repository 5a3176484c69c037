//! The files of one torrent, opened when needed through a cache shared by all torrents.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use torrent_common::geometry::{PieceIndex, Span};
use torrent_common::metainfo::Metainfo;

use super::blocks::BlockBuf;
use super::layout::{Layout, Segment};

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
    #[error("{path} is a symbolic link: nothing is read or written through it", path = path.display())]
    Link {
        /// Which.
        path: PathBuf,
    },
    /// A file shorter than the torrent says.
    #[error("{path} is shorter than it should be", path = path.display())]
    Short {
        /// Which file.
        path: PathBuf,
    },
}

/// Open payload files of all torrents: at most so many, the least recently used closed first.
#[derive(Debug)]
pub struct FileCache {
    _private: (),
}

/// What a file on disk was when last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub len: u64,
    /// Nanoseconds since 1970.
    pub mtime_ns: i128,
}

/// One torrent's payload below `folder`. Shared by its connections (reads), the disk threads (writes) and checking.
#[derive(Debug)]
pub struct Storage {
    _private: (),
}

/// A source for sendfile: the open file, kept open as long as this lives, and where.
#[derive(Debug, Clone)]
pub enum Source {
    /// Bytes of a file.
    File {
        /// The file.
        file: Arc<File>,
        /// Where, in bytes.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// So many zeros.
    Zeros(u64),
}

impl FileCache {
    /// A cache of at most `max_open` files (at least 1).
    pub fn new(max_open: usize) -> Arc<Self> {
        let _ = max_open;
        todo!()
    }
}

impl Storage {
    /// The payload of `metainfo` below `folder` (for a folder torrent, below `folder/root`). Opens nothing yet.
    pub fn new(metainfo: &Metainfo, folder: &Path, cache: Arc<FileCache>) -> Arc<Self> {
        let _ = (metainfo, folder, cache);
        todo!()
    }

    /// Which bytes are where.
    pub fn layout(&self) -> &Layout {
        todo!()
    }

    /// Makes folders and files with their final (sparse) lengths, zero-length files included. Files that exist are
    /// kept; longer ones are an error, not cut.
    ///
    /// # Errors
    /// [`StorageError`] names the path.
    pub fn prepare(&self) -> Result<(), StorageError> {
        todo!()
    }

    /// Writes a whole verified piece.
    ///
    /// # Errors
    /// [`StorageError`] names the path.
    pub fn write_piece(&self, piece: PieceIndex, blocks: &[BlockBuf]) -> Result<(), StorageError> {
        let _ = (piece, blocks);
        todo!()
    }

    /// Fills `buffer` with the bytes of `span`.
    ///
    /// # Errors
    /// [`StorageError`] names the path; missing and short files are errors.
    pub fn read(&self, span: Span, buffer: &mut [u8]) -> Result<(), StorageError> {
        let _ = (span, buffer);
        todo!()
    }

    /// Where an upload takes the bytes of a segment from.
    ///
    /// # Errors
    /// [`StorageError`] names the path.
    pub fn source(&self, segment: Segment) -> Result<Source, StorageError> {
        let _ = segment;
        todo!()
    }

    /// The files' stamps in payload order, padding left out; `None` for one that is not there.
    ///
    /// # Errors
    /// [`StorageError`] when a file cannot be looked at for another reason than not being there.
    pub fn stamps(&self) -> Result<Vec<Option<Stamp>>, StorageError> {
        todo!()
    }

    /// Flushes what was written to the device (fdatasync of every file written since the last call).
    ///
    /// # Errors
    /// [`StorageError`] names the path.
    pub fn sync(&self) -> Result<(), StorageError> {
        todo!()
    }

    /// Closes the files held open for this torrent.
    pub fn close(&self) {
        todo!()
    }
}
