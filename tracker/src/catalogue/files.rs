//! The folder of torrent files, each named by its info-hash.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use tempfile::NamedTempFile;
use torrent_common::bencode;
use torrent_common::ids::InfoHash;

use super::CatalogueError;
use torrent_common::regular;

const UPLOAD_PREFIX: &str = ".upload-";
/// Bytes written to see whether there is room: a disk that was full has a little more again.
const PROBE_LEN: usize = 64 << 10;
/// The longest file that is read, in bytes: the most that MAX_TORRENT_SIZE_KIB can be.
const MAX_LEN: u64 = 256 << 20;

/// The folder.
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(super) fn open(folder: &Path) -> Result<Self, CatalogueError> {
        make_folder(folder)?;
        Ok(Self { folder: folder.to_path_buf() })
    }

    fn path(&self, info_hash: InfoHash) -> PathBuf {
        self.folder.join(format!("{info_hash}.torrent"))
    }

    /// Writes a torrent file beside its place, so that it survives whatever happens: synced, and its folder too.
    pub(super) fn prepare(&self, info_hash: InfoHash, bytes: &[u8]) -> Result<Prepared, CatalogueError> {
        let path = self.path(info_hash);
        let write = || -> io::Result<NamedTempFile> {
            let mut file = tempfile::Builder::new()
                .prefix(&format!("{UPLOAD_PREFIX}{info_hash}-"))
                .permissions(Permissions::from_mode(0o644))
                .tempfile_in(&self.folder)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            File::open(&self.folder)?.sync_all()?;
            Ok(file)
        };
        match write() {
            Ok(file) => Ok(Prepared { file, path }),
            Err(error) => Err(failed("write", &path)(error)),
        }
    }

    /// Shows that torrent files can be written.
    pub(super) fn probe(&self) -> Result<(), CatalogueError> {
        let write = || -> io::Result<()> {
            let mut file = tempfile::Builder::new().prefix(UPLOAD_PREFIX).tempfile_in(&self.folder)?;
            file.write_all(&[0; PROBE_LEN])?;
            file.as_file().sync_all()
        };
        write().map_err(failed("write to", &self.folder))
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

    /// A torrent file that was published; `None` if it is gone, or is that torrent's no more.
    pub(super) fn read(&self, info_hash: InfoHash) -> Result<Option<Vec<u8>>, CatalogueError> {
        let path = self.path(info_hash);
        let mut bytes = Vec::new();
        let lost = |what| {
            log::warn!("{info_hash} is published, but {} is {what}: publish it again", path.display());
            Ok(None)
        };
        let read = regular::open(&path).and_then(|file| {
            let is_sane = file.metadata()?.len() <= MAX_LEN;
            if is_sane { file.take(MAX_LEN).read_to_end(&mut bytes).map(drop) } else { Ok(()) }
        });
        match read {
            Ok(()) if is_of(&bytes, info_hash) => Ok(Some(bytes)),
            Ok(()) => lost("damaged"),
            Err(error) if error.kind() == ErrorKind::NotFound => lost("gone"),
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
        let read = regular::open(&path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
        read.map_err(failed("read", &path))?;
        Ok((bytes.len() <= max_len).then_some(bytes))
    }

    /// When a torrent file was written, in seconds since 1970.
    pub(super) fn written_s(&self, info_hash: InfoHash) -> Option<i64> {
        let written = fs::metadata(self.path(info_hash)).and_then(|file| file.modified()).ok()?;
        i64::try_from(written.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
    }

    /// Whether there could be a catalogue of the torrents in a folder. It is made.
    pub(super) fn check(folder: &Path) -> Result<(), CatalogueError> {
        make_folder(folder)?;
        fs::read_dir(folder).map(drop).map_err(failed("read", folder))
    }

    /// What is in the folder.
    pub(super) fn list(&self) -> Result<Found, CatalogueError> {
        let mut found = Found::default();
        for entry in fs::read_dir(&self.folder).map_err(failed("read", &self.folder))? {
            let entry = entry.map_err(failed("read", &self.folder))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(rest) = name.strip_prefix(UPLOAD_PREFIX) {
                let info_hash = rest.split('-').next().and_then(|hash| hash.parse().ok());
                found.interrupted.push((info_hash, entry.path()));
            } else if let Some(info_hash) = name.strip_suffix(".torrent").and_then(|stem| stem.parse().ok()) {
                found.torrents.push(info_hash);
            }
        }
        Ok(found)
    }

    /// Ends an upload that was interrupted: its file goes to its place, or goes.
    pub(super) fn settle(
        &self,
        interrupted: &Path,
        info_hash: Option<InfoHash>,
    ) -> Result<(), CatalogueError> {
        let done = match info_hash {
            Some(info_hash) => fs::rename(interrupted, self.path(info_hash)),
            None => fs::remove_file(interrupted),
        };
        match done {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("settle", interrupted)(error)),
            // Gone already, or done.
            _ => Ok(()),
        }
    }
}

/// What a folder of torrent files has in it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) torrents: Vec<InfoHash>,
    /// Uploads that were not finished, with their info-hashes where the name tells.
    pub(super) interrupted: Vec<(Option<InfoHash>, PathBuf)>,
}

/// A torrent file beside its place. It goes when this is dropped.
pub(super) struct Prepared {
    file: NamedTempFile,
    path: PathBuf,
}

impl Prepared {
    /// Puts it into its place.
    pub(super) fn finish(self) -> Result<(), CatalogueError> {
        let Self { file, path } = self;
        file.persist(&path).map_err(|error| failed("write", &path)(error.error)).map(drop)
    }
}

/// Whether a torrent file has this info-hash. That it was valid when it was published is known.
fn is_of(bytes: &[u8], info_hash: InfoHash) -> bool {
    let document = bencode::scan(bytes, &bencode::Limits::for_len(bytes.len()));
    let info = document.ok().and_then(|document| document.root.get(b"info"));
    info.is_some_and(|info| InfoHash::of(info.raw()) == info_hash)
}

/// Makes a folder and those above it, unless they are there.
pub(super) fn make_folder(path: &Path) -> Result<(), CatalogueError> {
    fs::create_dir_all(path).map_err(failed("make the folder", path))
}

pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CatalogueError {
    let path = path.to_path_buf();
    move |source| CatalogueError::File { action, path, source }
}
