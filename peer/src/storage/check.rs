//! Hashing what is on disk.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use torrent_common::bitfield::Bitfield;
use torrent_common::metainfo::Metainfo;
use torrent_common::worker::Shutdown;

use super::files::{Storage, StorageError};

/// Shared with whoever shows progress and may cancel.
#[derive(Debug, Default)]
pub struct CheckProgress {
    /// Bytes looked at so far.
    pub done: AtomicU64,
    /// Set to stop early.
    pub cancel: Shutdown,
}

/// Hashes the pieces in `suspect` on the current rayon pool and gives back those that are right. Missing and short files
/// simply fail their pieces; holes of sparse files are skipped without reading. Bounded memory: a few pieces per thread.
///
/// # Errors
/// [`StorageError`] when a file cannot be read for another reason than not being there; `Ok(None)` when cancelled.
pub fn check(
    metainfo: &Metainfo,
    storage: &Storage,
    suspect: &Bitfield,
    progress: &CheckProgress,
) -> Result<Option<Bitfield>, StorageError> {
    let _ = (metainfo, storage, suspect, progress);
    todo!()
}

/// Whether the blocks of a piece have this SHA-1.
pub fn piece_is_good(blocks: &[super::blocks::BlockBuf], hash: &[u8; 20]) -> bool {
    let _ = (blocks, hash);
    todo!()
}

#[allow(dead_code)]
type Unused = (Arc<()>,);
