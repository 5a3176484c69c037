//! Doors for the fuzz targets (`tests/src/fuzz`): what bytes of others come to in this crate that no other crate can call.
//! No part of its interface.
#![allow(missing_docs, reason = "for the fuzz targets alone")]

use std::path::Path;

use torrent_common::ids::InfoHash;

pub use crate::resume::record::{Header, Part, Record};
use crate::resume::saved::Entered;
use crate::resume::{ResumeError, Saved, record};

/// The checkpoint in a file of these bytes.
///
/// # Errors
/// As at the start of a daemon.
pub fn checkpoint(bytes: &[u8], info_hash: InfoHash) -> Result<Saved, ResumeError> {
    Saved::decode(bytes, info_hash, Path::new("checkpoint"))
}

/// The bytes of its file.
pub fn checkpoint_file(saved: &Saved) -> Option<Vec<u8>> {
    saved.encode().ok()
}

/// The journal in a file of these bytes; `None` if it is none of this torrent.
pub fn journal(bytes: &[u8], info_hash: &InfoHash) -> Option<Part> {
    record::decode(bytes, info_hash)
}

/// Enters what a file of options says. Gives back whether the checkpoint said something else.
pub fn enter_options(saved: &mut Saved, bytes: &[u8]) -> bool {
    saved.details.enter_options(bytes).is_ok_and(|entered| entered == Entered::Other)
}

/// When the machine was started, as the checkpoint has it, and the stamps of the files then.
pub fn stamps(saved: &Saved) -> &[Option<crate::storage::Stamp>] {
    &saved.stamps
}
