//! Two torrents with the same files: only one of them may write there. Each would find its own pieces good and undo the
//! other's.
//!
//! Several torrents of one folder are fine as long as none of them lacks what another has: a data set that was made into a
//! torrent twice, the same download from two trackers, seasons in one folder. So files are compared, not folders, and
//! only those that are about to be written.

use std::collections::HashSet;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use torrent_common::bitfield::Bitfield;
use torrent_common::ids::InfoHash;
use torrent_common::metainfo::paths::SafePath;
use torrent_common::metainfo::{Metainfo, TorrentPath};

use super::Shared;
use super::error::StartupError;
use crate::control::engine::Refusal;
use crate::options::OptionsPatch;
use crate::resume::Details;
use crate::storage::files::Storage;
use crate::torrent::selection::{Selection, Wanted};

/// Finds a torrent whose file or folder has the same name, whatever its case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootKey(u64);

impl RootKey {
    /// A torrent's.
    pub fn of(details: &Details) -> Self {
        let mut hasher = DefaultHasher::new();
        root_name(details).to_string_lossy().to_lowercase().hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The name on disk of the payload's file or folder.
fn root_name(details: &Details) -> OsString {
    let made_safe = SafePath::new(details.name.as_bytes()).map(|safe| safe.path.to_string());
    details.root.clone().unwrap_or_else(|| made_safe.unwrap_or_else(|_| details.name.clone()).into())
}

impl Shared {
    /// That no file of another torrent is written over when `lost` is fetched: of one that was here before, or is complete.
    /// Looks at other torrents only if they have the same name in the same folder.
    ///
    /// # Errors
    /// [`StartupError::Overlap`].
    pub(super) fn check_overlap(
        &self,
        storage: &Storage,
        details: &Details,
        lost: &Bitfield,
    ) -> Result<(), StartupError> {
        let others = self.same_name(&storage.metainfo().info_hash, &RootKey::of(details));
        let mut written = None;
        for (info_hash, output) in others {
            let Ok(other) = self.store.load(&info_hash) else { continue };
            let (ours, theirs) = (root_name(details), root_name(&other.details));
            if !is_same(&details.output.join(&ours), &output.join(&theirs), ours == theirs) {
                continue;
            }
            let Ok(metainfo) = self.metainfo_now(&info_hash) else { continue };
            if is_same_payload(storage.metainfo(), &metainfo) {
                continue;
            }
            let written = written.get_or_insert_with(|| files_written(storage, lost));
            let shared = metainfo.files.iter().filter(|file| !file.padding && file.len > 0);
            let mut shared = shared.filter_map(|file| written.get(below_root(&file.path)));
            if let Some(below) = shared.next() {
                let mut path = details.output.join(ours);
                path.extend(below.split('/').filter(|name| !name.is_empty()));
                return Err(StartupError::Overlap { path, name: other.details.name, info_hash });
            }
        }
        Ok(())
    }

    /// The same, before files are selected that were not. Asks the disk: not for the session's thread.
    ///
    /// # Errors
    /// [`Refusal::Conflict`], and those of [`Outside::look`](super::outside::Outside::look).
    pub(super) fn check_selection(
        self: &Arc<Self>,
        info_hash: &InfoHash,
        patch: &OptionsPatch,
    ) -> Result<(), Refusal> {
        let known = self.table().entries.contains_key(info_hash);
        if !known || !patch.names_files() {
            return Ok(());
        }
        let (shared, info_hash, patch) = (Arc::clone(self), *info_hash, patch.clone());
        self.outside.look(move || shared.look_at_selection(&info_hash, &patch))?
    }

    fn look_at_selection(&self, info_hash: &InfoHash, patch: &OptionsPatch) -> Result<(), Refusal> {
        let (before, had) = {
            let table = self.table();
            let Some(entry) = table.entries.get(info_hash) else { return Ok(()) };
            (Arc::clone(&entry.options), entry.had())
        };
        // What goes wrong here goes wrong again where it is told.
        let Ok(saved) = self.store.load(info_hash) else { return Ok(()) };
        let Ok(storage) = self.storage(&saved) else { return Ok(()) };
        let (metainfo, layout) = (storage.metainfo(), storage.layout());
        let Ok(next) = patch.applied_to(&before, metainfo.payload_files().count()) else { return Ok(()) };
        let was_wanted = Wanted::of(metainfo, &before.priorities);
        let wanted = Wanted::of(metainfo, &next.priorities);
        // Of all others nothing more is written than was.
        for index in (0..layout.part()).filter(|&index| !wanted.contains(index) || was_wanted.contains(index))
        {
            layout.set_parted(index, true);
        }
        let had = had.or_else(|| saved.had(&metainfo.geometry));
        let had = had.unwrap_or_else(|| Bitfield::empty(&metainfo.geometry));
        let lost = Selection::of(metainfo, &next.priorities).lacking(&metainfo.geometry, &had);
        match self.check_overlap(&storage, &saved.details, &lost) {
            Err(error @ StartupError::Overlap { .. }) => Err(Refusal::Conflict(error.to_string())),
            _ => Ok(()),
        }
    }

    /// Torrents that go before this one, with their folders.
    fn same_name(&self, info_hash: &InfoHash, key: &RootKey) -> Vec<(InfoHash, PathBuf)> {
        let table = self.table();
        let rank = table.entries.get(info_hash).map_or(u64::MAX, |entry| entry.rank);
        let others =
            table.entries.values().filter(|other| other.root == *key && other.info_hash != *info_hash);
        let others = others.filter(|other| other.rank < rank || other.is_complete());
        others.map(|other| (other.info_hash, other.output.clone())).collect()
    }
}

/// They differ in who may announce them and where, not in what they write.
fn is_same_payload(one: &Metainfo, other: &Metainfo) -> bool {
    one.geometry == other.geometry && one.piece_hashes == other.piece_hashes && one.files == other.files
}

/// The same file or folder, or two names of which the file system makes one; what is not there yet is told by its name.
fn is_same(one: &Path, other: &Path, same_name: bool) -> bool {
    let identity = |path: &Path| path.symlink_metadata().ok().map(|found| (found.dev(), found.ino()));
    let parents = || Some((one.parent()?.metadata().ok()?, other.parent()?.metadata().ok()?));
    match (identity(one), identity(other)) {
        (Some(one), Some(other)) => one == other,
        _ if !same_name => false,
        _ => one == other || parents().is_some_and(|(a, b)| (a.dev(), a.ino()) == (b.dev(), b.ino())),
    }
}

/// The files that bytes of these pieces go to, by their paths below the root.
fn files_written(storage: &Storage, lost: &Bitfield) -> HashSet<Box<str>> {
    let (layout, metainfo): (_, &Metainfo) = (storage.layout(), storage.metainfo());
    let mut indices = vec![false; layout.part()];
    for segment in lost.iter(&metainfo.geometry).flat_map(|piece| layout.piece_segments(piece)) {
        if let Some(written) = segment.file.and_then(|index| indices.get_mut(index)) {
            *written = true;
        }
    }
    let written = metainfo.files.iter().zip(indices).filter(|(_, written)| *written);
    written.map(|(file, _)| below_root(&file.path).into()).collect()
}

/// A path without its first component; empty for a single file.
fn below_root(path: &TorrentPath) -> &str {
    path.as_str().split_once('/').map_or("", |(_, below)| below)
}
