//! The folder of torrent files, each named by its info-hash.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use torrent_common::ids::InfoHash;

use super::CatalogueError;

const UPLOAD_PREFIX: &str = ".upload-";

/// The folder.
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(super) fn open(folder: &Path) -> Result<Self, CatalogueError> {
        make_folder(folder)?;
        Ok(Self { folder: folder.to_path_buf() })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, info_hash: InfoHash) -> PathBuf {
        self.folder.join(format!("{info_hash}.torrent"))
    }

    /// Writes a torrent file so that it is there whole or not at all, and stays: synced, and its folder too.
    pub(super) fn write(&self, info_hash: InfoHash, bytes: &[u8]) -> Result<(), CatalogueError> {
        let path = self.path(info_hash);
        let write = || -> io::Result<()> {
            let mut file = tempfile::Builder::new()
                .prefix(UPLOAD_PREFIX)
                .permissions(Permissions::from_mode(0o644))
                .tempfile_in(&self.folder)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(failed("write", &path))
    }

    /// Removes a torrent file, for good; one that is gone already, too.
    pub(super) fn remove(&self, info_hash: InfoHash) -> Result<(), CatalogueError> {
        let path = self.path(info_hash);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        removed.and_then(|()| File::open(&self.folder)?.sync_all()).map_err(failed("remove", &path))
    }

    /// Whether the torrent file is there.
    pub(super) fn has(&self, info_hash: InfoHash) -> Result<bool, CatalogueError> {
        let path = self.path(info_hash);
        path.try_exists().map_err(failed("read", &path))
    }

    pub(super) fn read(&self, info_hash: InfoHash) -> Result<Option<Vec<u8>>, CatalogueError> {
        let path = self.path(info_hash);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// The same, but `None` for a file longer than `max_len` bytes.
    pub(super) fn read_up_to(
        &self,
        info_hash: InfoHash,
        max_len: usize,
    ) -> Result<Option<Vec<u8>>, CatalogueError> {
        let path = self.path(info_hash);
        let mut bytes = Vec::new();
        let limit = u64::try_from(max_len).unwrap_or(u64::MAX).saturating_add(1);
        let read = File::open(&path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
        read.map_err(failed("read", &path))?;
        Ok((bytes.len() <= max_len).then_some(bytes))
    }

    /// Removes what interrupted uploads left behind, and lists the torrent files by their names.
    pub(super) fn sweep(&self) -> Result<Vec<InfoHash>, CatalogueError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed("read", &self.folder))? {
            let entry = entry.map_err(failed("read", &self.folder))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(UPLOAD_PREFIX) {
                fs::remove_file(entry.path()).map_err(failed("remove", &entry.path()))?;
            } else if let Some(info_hash) = name.strip_suffix(".torrent").and_then(|stem| stem.parse().ok()) {
                found.push(info_hash);
            }
        }
        Ok(found)
    }
}

/// Makes a folder and those above it, unless they are there.
pub(super) fn make_folder(path: &Path) -> Result<(), CatalogueError> {
    fs::create_dir_all(path).map_err(failed("make the folder", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CatalogueError {
    let path = path.to_path_buf();
    move |source| CatalogueError::File { action, path, source }
}
