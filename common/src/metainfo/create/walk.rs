//! Finds the files of a payload, in an order that depends on their names alone.

use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::super::MetainfoLimits;
use super::super::files::check_places;
use super::super::paths::{SafePath, TorrentPath};
use super::{CreateError, CreateOptions, FileStamp, Progress};

/// Files that a task looks at.
const FILES_AT_A_TIME: usize = 512;

/// Entries of a folder that are looked at together, and of those by one thread at the least.
const ENTRIES_AT_A_TIME: usize = 4096;
const ENTRIES_PER_TASK: usize = 32;

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

    /// `None`: not a regular file.
    fn of_file(stat: &Stat) -> Option<Self> {
        let mtime_ns = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
        let file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        file.then_some(Self { len: u64::try_from(stat.st_size).ok()?, mtime_ns })
    }
}

/// Goes from file to file, and keeps the folder open that it was in last: a file is then found by its own name, however
/// deep it is.
pub(super) struct Folders<'a> {
    payload: &'a Payload,
    /// The folder below the root, and its descriptor.
    last: Option<(&'a str, OwnedFd)>,
}

impl<'a> Folders<'a> {
    /// Opens nothing yet.
    pub const fn new(payload: &'a Payload) -> Self {
        Self { payload, last: None }
    }

    /// A file's folder, and its path from there.
    pub fn place(&mut self, file: &'a Found) -> Result<(BorrowedFd<'_>, &'a Path), CreateError> {
        if self.payload.single_file {
            return Ok((CWD, &self.payload.root));
        }
        let (folder, name) = file.relative.rsplit_once('/').unwrap_or(("", &file.relative));
        let descriptor = match self.last.take() {
            Some((last, descriptor)) if last == folder => descriptor,
            _ => self.payload.open_folder(folder)?,
        };
        let (_, descriptor) = &*self.last.insert((folder, descriptor));
        Ok((descriptor.as_fd(), Path::new(name)))
    }
}

impl Payload {
    /// Finds and looks at every file, without opening any. Runs on the current rayon pool.
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

    /// That every file still is what it was when it was found. Runs on the current rayon pool.
    pub fn check_unchanged(&self) -> Result<(), CreateError> {
        self.files.par_chunks(FILES_AT_A_TIME).try_for_each(|files| {
            let mut folders = Folders::new(self);
            files.iter().try_for_each(|file| {
                let (folder, name) = folders.place(file)?;
                let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
                let stat = stat.map_err(|e| gone_or(&self.path(file), e.into()))?;
                self.check_stamp(file, &stat)
            })
        })
    }

    /// That the file still is what was found.
    pub fn check_stamp(&self, file: &Found, stat: &Stat) -> Result<(), CreateError> {
        if FileStamp::of_file(stat) == Some(file.stamp) {
            Ok(())
        } else {
            Err(CreateError::Changed(self.path(file)))
        }
    }

    /// Opens a folder below the root, which is itself when the name is empty.
    fn open_folder(&self, folder: &str) -> Result<OwnedFd, CreateError> {
        let path = self.root.join(folder);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(descriptor) => Ok(descriptor),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(CreateError::Changed(path)),
            Err(e) => Err(gone_or(&path, e.into())),
        }
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
        let mut entries = fs::read_dir(&folder_path).map_err(|e| CreateError::io(&folder_path, e))?;
        loop {
            progress.check_cancel()?;
            let some: Vec<_> = entries.by_ref().take(ENTRIES_AT_A_TIME).collect();
            if some.is_empty() {
                break;
            }
            let some = some.into_par_iter().with_min_len(ENTRIES_PER_TASK).map(|entry| {
                let entry = entry.map_err(|e| CreateError::io(&folder_path, e))?;
                look_at(&entry, &folder, safe_root)
            });
            for looked in some.collect::<Result<Vec<_>, _>>()? {
                match looked {
                    Looked::File(file) => files.push(file),
                    Looked::Folder(folder) => folders.push(folder),
                    Looked::Link => {}
                }
            }
            if files.len() > MetainfoLimits::DEFAULT_MAX_FILES {
                return Err(CreateError::TooManyFiles { path: root.to_owned() });
            }
        }
    }
    Ok(files)
}

/// What stands in a folder.
enum Looked {
    File(Found),
    /// Its path below the root.
    Folder(String),
    Link,
}

/// Looks at an entry of `folder`, which is a path below the root.
fn look_at(entry: &DirEntry, folder: &str, safe_root: &SafePath) -> Result<Looked, CreateError> {
    let path = entry.path();
    let metadata = entry.metadata().map_err(|e| gone_or(&path, e))?;
    if metadata.is_symlink() {
        log::info!("{path:?} is a link: left out");
        return Ok(Looked::Link);
    }
    let name = entry.file_name();
    let name = name.to_str().ok_or_else(|| CreateError::NameNotText(path.clone()))?;
    let relative = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    let safe = match safe_root.join(relative.split('/').map(str::as_bytes)) {
        Ok(safe) => safe.path,
        Err(source) => return Err(CreateError::Name { path, source }),
    };
    if metadata.is_dir() {
        return Ok(Looked::Folder(relative));
    }
    Ok(Looked::File(found(&path, relative, safe, &metadata)?))
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
    if !is_readable_to_its_owner(metadata) {
        rustix::fs::access(path, Access::READ_OK).map_err(|e| CreateError::io(path, e.into()))?;
    }
    Ok(Found { relative, safe, stamp: FileStamp::of(metadata), offset: 0 })
}

/// Spares most files the system call: what the mode grants the owner, no access list takes away.
fn is_readable_to_its_owner(metadata: &Metadata) -> bool {
    metadata.mode() & Mode::RUSR.as_raw_mode() != 0 && metadata.uid() == rustix::process::geteuid().as_raw()
}
