//! Finds the files of a payload, in an order that depends on their names alone.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::MetainfoLimits;
use super::super::files::check_places;
use super::super::paths::{SafePath, TorrentPath};
use super::{CreateError, CreateOptions, FileStamp, Progress};

/// What is going to be hashed.
#[derive(Debug)]
pub(super) struct Payload {
    /// The file or folder, links resolved.
    pub root: PathBuf,
    /// The torrent's name.
    pub name: String,
    pub single_file: bool,
    /// Ordered by the bytes of their paths, `/` between components.
    pub files: Vec<Found>,
    pub total_len: u64,
}

/// A file of a payload.
#[derive(Debug)]
pub(super) struct Found {
    /// Below the root, with `/`; empty for a single file.
    pub relative: String,
    /// Where others will put it.
    pub safe: TorrentPath,
    /// As it was when it was found.
    pub stamp: FileStamp,
    /// Where it begins in the payload, in bytes.
    pub offset: u64,
}

impl FileStamp {
    fn of(metadata: &Metadata) -> Self {
        let mtime_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Self { len: metadata.len(), mtime_ns }
    }
}

impl Payload {
    /// Finds and looks at every file, without opening any.
    pub fn collect(options: &CreateOptions, progress: &Progress) -> Result<Self, CreateError> {
        let input = &options.input;
        let root = fs::canonicalize(input).map_err(|e| CreateError::io(input, e))?;
        let name = name(options, &root)?;
        let safe_root = SafePath::new(name.as_bytes())
            .map_err(|source| CreateError::Name { path: name.clone().into(), source })?;
        let metadata = fs::symlink_metadata(&root).map_err(|e| CreateError::io(&root, e))?;
        let single_file = !metadata.is_dir();
        let mut files = if single_file {
            vec![found(&root, String::new(), safe_root.path, &metadata)?]
        } else {
            let files = walk(&root, &safe_root, progress)?;
            check_places(files.iter().map(|file| &file.safe)).map_err(CreateError::SameName)?;
            files
        };
        files.sort_unstable_by(|a, b| a.relative.cmp(&b.relative));
        let mut total_len = 0_u64;
        for file in &mut files {
            file.offset = total_len;
            // No file system holds 2^64 bytes, but sparse files can pretend to.
            total_len = total_len.saturating_add(file.stamp.len);
        }
        if total_len == 0 {
            return Err(CreateError::Empty(input.clone()));
        }
        Ok(Self { root, name, single_file, files, total_len })
    }

    /// Where a file is.
    pub fn path(&self, file: &Found) -> PathBuf {
        if file.relative.is_empty() { self.root.clone() } else { self.root.join(&file.relative) }
    }

    /// That every file still is what it was when it was found.
    pub fn check_unchanged(&self) -> Result<(), CreateError> {
        self.files.iter().try_for_each(|file| {
            let path = self.path(file);
            let metadata = fs::symlink_metadata(&path).map_err(|e| gone_or(&path, e))?;
            check_stamp(&path, file, &metadata)
        })
    }
}

/// That the file is still what was found.
pub(super) fn check_stamp(path: &Path, file: &Found, metadata: &Metadata) -> Result<(), CreateError> {
    if metadata.is_file() && FileStamp::of(metadata) == file.stamp {
        Ok(())
    } else {
        Err(CreateError::Changed(path.to_owned()))
    }
}

/// The error for a file that was there before: that it is gone is a change like others.
pub(super) fn gone_or(path: &Path, error: io::Error) -> CreateError {
    match error.kind() {
        io::ErrorKind::NotFound => CreateError::Changed(path.to_owned()),
        _ => CreateError::io(path, error),
    }
}

/// The torrent's name: as asked for, or the input's own, or, for inputs such as `.`, what that resolves to.
fn name(options: &CreateOptions, root: &Path) -> Result<String, CreateError> {
    if let Some(name) = &options.name {
        return Ok(name.clone());
    }
    let name = options.input.file_name().or_else(|| root.file_name());
    let name = name.ok_or_else(|| CreateError::NoName(options.input.clone()))?;
    let name = name.to_str().ok_or_else(|| CreateError::NameNotText(options.input.clone()))?;
    Ok(name.to_owned())
}

/// Every file below `root`, in no order. Links are left out.
fn walk(root: &Path, safe_root: &SafePath, progress: &Progress) -> Result<Vec<Found>, CreateError> {
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let folder_path = if folder.is_empty() { root.to_owned() } else { root.join(&folder) };
        let entries = fs::read_dir(&folder_path).map_err(|e| CreateError::io(&folder_path, e))?;
        for entry in entries {
            progress.check_cancel()?;
            let entry = entry.map_err(|e| CreateError::io(&folder_path, e))?;
            let path = entry.path();
            let metadata = entry.metadata().map_err(|e| gone_or(&path, e))?;
            if metadata.is_symlink() {
                log::info!("{path:?} is a link: left out");
                continue;
            }
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| CreateError::NameNotText(path.clone()))?;
            let relative = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            let safe = match safe_root.join(relative.split('/').map(str::as_bytes)) {
                Ok(safe) => safe.path,
                Err(source) => return Err(CreateError::Name { path, source }),
            };
            if metadata.is_dir() {
                folders.push(relative);
                continue;
            }
            if files.len() == MetainfoLimits::DEFAULT_MAX_FILES {
                return Err(CreateError::TooManyFiles { path: root.to_owned() });
            }
            files.push(found(&path, relative, safe, &metadata)?);
        }
    }
    Ok(files)
}

/// Checks that the file can be read now, rather than after an hour of hashing others.
fn found(
    path: &Path,
    relative: String,
    safe: TorrentPath,
    metadata: &Metadata,
) -> Result<Found, CreateError> {
    if !metadata.is_file() {
        return Err(CreateError::Special(path.to_owned()));
    }
    rustix::fs::access(path, rustix::fs::Access::READ_OK).map_err(|e| CreateError::io(path, e.into()))?;
    Ok(Found { relative, safe, stamp: FileStamp::of(metadata), offset: 0 })
}
