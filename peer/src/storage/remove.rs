//! Deleting a torrent's payload.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::StorageError;
use super::backend::Backend;
use super::files::Storage;
use super::tree::Walker;

impl Storage {
    /// Deletes the torrent's files and then the folders that this left empty; nothing else, nothing through links. What is
    /// not there, or not a regular file, is passed over. Goes on after an error.
    ///
    /// # Errors
    /// The first [`StorageError`].
    pub fn remove_data(&self) -> Result<(), StorageError> {
        self.close();
        let mut walker = Walker::new(&self.tree, false)?;
        let mut first_error = None;
        let mut note = |result: Result<(), StorageError>| {
            if let Err(error) = result {
                first_error.get_or_insert(error);
            }
        };
        let mut folders: BTreeSet<Vec<&OsStr>> = BTreeSet::new();
        note(remove_file(&self.tree.backend, &mut walker, self.layout().part()));
        let files = self.layout().files().iter().enumerate();
        for (index, _) in files.filter(|&(index, file)| !file.padding && !self.layout().is_parted(index)) {
            note(remove_file(&self.tree.backend, &mut walker, index));
            let mut above = self.tree.components(index);
            while above.pop().is_some() && !above.is_empty() && !folders.contains(&above) {
                folders.insert(above.clone());
            }
        }
        // In reverse order a folder comes after all that is in it.
        for folder in folders.iter().rev() {
            note(walker.remove_folder(folder));
        }
        first_error.map_or(Ok(()), Err)
    }
}

impl Storage {
    /// Deletes the part file.
    ///
    /// # Errors
    /// [`StorageError`] when it is there and cannot be deleted.
    pub fn remove_part(&self) -> Result<(), StorageError> {
        let part = self.layout().part();
        self.close_file(part);
        remove_file(&self.tree.backend, &mut Walker::new(&self.tree, false)?, part)?;
        self.dirty().remove(&part);
        self.watch.is_gone(part);
        Ok(())
    }
}

pub(super) fn remove_file(
    backend: &Backend,
    walker: &mut Walker<'_>,
    index: usize,
) -> Result<(), StorageError> {
    match walker.stamp(index) {
        Ok(Some(_)) => {}
        Ok(None) | Err(StorageError::Link { .. } | StorageError::Kind { .. }) => return Ok(()),
        Err(error) => return Err(error),
    }
    let Some(place) = walker.place(index, false)? else { return Ok(()) };
    match backend.remove(place.folder, place.name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(StorageError::io(walker.path(index), errno)),
    }
}
