//! Torrents that are new here: added to be downloaded, or just made of files where they are; and what is kept of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use torrent_common::metainfo::Metainfo;
use torrent_common::metainfo::create::{Created, FileStamp};

use super::Shared;
use super::entry::Entry;
use super::start::{entry_of, payload_path};
use crate::control::engine::Refusal;
use crate::options::{OptionsPatch, TorrentOptions};
use crate::resume::{Details, ResumeError, Saved};
use crate::storage::Stamp;
use crate::storage::layout::Layout;

/// A torrent to be added.
pub struct NewTorrent {
    /// The torrent.
    pub metainfo: Arc<Metainfo>,
    /// The folder that its payload is in, or goes to.
    pub output: PathBuf,
    /// What the user sets for it.
    pub options: OptionsPatch,
    bytes: Vec<u8>,
    /// The payload's name there, when it is another than the torrent's own.
    root: Option<OsString>,
    /// The payload was hashed a moment ago, when its files had these stamps.
    hashed: Option<Vec<FileStamp>>,
}

impl NewTorrent {
    /// One that was just made of the file or folder at `path`; `None` if that has no name (`/`, for one).
    pub fn seeding(created: Created, path: &Path, options: OptionsPatch) -> Option<Self> {
        // The path may be a link, or end in one; what is below it may not.
        let path = path.canonicalize().ok()?;
        let (output, name) = (path.parent()?.to_path_buf(), path.file_name()?.to_os_string());
        let Created { bytes, metainfo, stamps, left_out: _ } = created;
        let root = (name.to_str() != Some(metainfo.root.as_str())).then_some(name);
        Some(Self { metainfo: Arc::new(metainfo), output, options, bytes, root, hashed: Some(stamps) })
    }

    /// It was just made, to be seeded.
    pub const fn is_made(&self) -> bool {
        self.hashed.is_some()
    }

    /// One whose payload is to be in `output`; what is there already will be checked.
    pub const fn leeching(
        metainfo: Arc<Metainfo>,
        bytes: Vec<u8>,
        output: PathBuf,
        options: OptionsPatch,
    ) -> Self {
        Self { metainfo, output, options, bytes, root: None, hashed: None }
    }

    /// The same, as if it had just been made.
    #[cfg(test)]
    pub fn just_made(self) -> Self {
        Self { hashed: Some(Vec::new()), ..self }
    }
}

/// Keeps a new torrent for ever, and makes its entry.
pub fn add(shared: &Shared, new: &NewTorrent) -> Result<Entry, Refusal> {
    let internal = |error: ResumeError| Refusal::Internal(error.to_string());
    let metainfo = &new.metainfo;
    let options = new
        .options
        .applied_to(&TorrentOptions::default(), metainfo.payload_files().count())
        .map_err(|error| Refusal::BadRequest(error.to_string()))?;
    let details = Details {
        name: metainfo.name.clone(),
        total_len: metainfo.total_len(),
        piece_count: metainfo.geometry.piece_count(),
        private: metainfo.private,
        output: new.output.clone(),
        root: new.root.clone(),
        downloaded: 0,
        uploaded: 0,
        paused: false,
        finished: false,
        made: new.is_made(),
        added_ns: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)),
        completed_s: None,
        wanted: None,
        options,
    };
    let mut saved = Saved::new(metainfo.info_hash, details, SystemTime::now());
    enter_as_made(new, &mut saved);
    shared.store.set_aside_unread(&metainfo.info_hash);
    shared.store.forget_options(&metainfo.info_hash).map_err(internal)?;
    shared.store.save_torrent(&metainfo.info_hash, &new.bytes).map_err(internal)?;
    shared.store.save(&saved).map_err(internal)?;
    Ok(entry_of(&saved))
}

/// Enters that all is there, if the torrent was just made.
fn enter_as_made(new: &NewTorrent, saved: &mut Saved) -> bool {
    let Some(hashed) = &new.hashed else { return false };
    let stamp = |&FileStamp { len, mtime_ns }| Some(Stamp { len, mtime_ns: mtime_ns.try_into().ok()? });
    // No part file. Its thread looks at the files: what changed since, or is not found, is checked like anybody's.
    let stamps = hashed.iter().map(stamp).chain([None]).collect();
    saved.set_complete(&Layout::new(Arc::clone(&new.metainfo)), stamps)
}

/// That a torrent which is known was made of a payload that has the name under which its own is to be.
pub fn check_root(shared: &Shared, new: &NewTorrent) -> Result<(), Refusal> {
    let before = shared.store.load(&new.metainfo.info_hash);
    let Details { output, root, .. } = before.map_err(|error| Refusal::Internal(error.to_string()))?.details;
    if root == new.root {
        return Ok(());
    }
    let path = payload_path(&output, root.as_deref(), &new.metainfo);
    Err(Refusal::Conflict(format!(
        "the torrent is here already, to be downloaded to {}: remove it first, or use that name",
        path.display()
    )))
}

/// A torrent that is known, without a thread, was just made of the payload that is where its own is to be: it has all of
/// it. Keeps that, and makes its entry anew; `None` if the files are others.
pub fn take_as_made(shared: &Shared, new: &NewTorrent) -> Result<Option<Entry>, Refusal> {
    let internal = |error: ResumeError| Refusal::Internal(error.to_string());
    let before = shared.store.load(&new.metainfo.info_hash).map_err(internal)?;
    let now = SystemTime::now();
    let details = Details {
        paused: false,
        finished: false,
        made: true,
        completed_s: now.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs()),
        wanted: None,
        ..before.details
    };
    let mut saved = Saved::new(new.metainfo.info_hash, details, now);
    if !enter_as_made(new, &mut saved) {
        return Ok(None);
    }
    // A part file goes when its thread looks at its files: until then it is no harm.
    shared.store.save(&saved).map_err(internal)?;
    Ok(Some(entry_of(&saved)))
}
