//! Finds the files of a payload, in an order that depends on their names alone.

use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::Scope;
use rayon::prelude::*;
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::super::MetainfoLimits;
use super::super::files::check_places;
use super::super::paths::{SafePath, TorrentPath};
use super::{CreateError, CreateOptions, FileStamp, Progress};

/// Files that a task looks at.
const FILES_AT_A_TIME: usize = 512;

/// Entries of a folder that a task looks at.
const ENTRIES_AT_A_TIME: usize = 256;

/// Tasks of this kind that may wait: who reads more names looks at them itself.
const MAX_WAITING: usize = 64;

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
            let walk = Walk::new(&root, &safe_root, progress);
            vec![walk.found(|| root.clone(), String::new(), safe_root.path.clone(), &metadata)?]
        } else {
            Walk::new(&root, &safe_root, progress).files()?
        };
        files.par_sort_unstable_by(|a, b| a.relative.cmp(&b.relative));
        check_places(files.iter().map(|file| &file.safe)).map_err(CreateError::SameName)?;
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

/// What stands in a folder.
enum Looked {
    File(Found),
    /// Its path below the root.
    Folder(String),
    Link,
}

/// Looks at everything below a folder: one task reads a folder's names while others look at what it has read.
struct Walk<'a> {
    root: &'a Path,
    safe_root: &'a SafePath,
    progress: &'a Progress,
    /// Who we are.
    user: u32,
    /// Tasks that have not looked at their entries yet.
    waiting: AtomicUsize,
    outcome: Mutex<Result<Vec<Found>, CreateError>>,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Path, safe_root: &'a SafePath, progress: &'a Progress) -> Self {
        let user = rustix::process::geteuid().as_raw();
        let (waiting, outcome) = (AtomicUsize::new(0), Mutex::new(Ok(Vec::new())));
        Self { root, safe_root, progress, user, waiting, outcome }
    }

    /// Every file, in no order. Links are left out. Runs on the current rayon pool.
    fn files(self) -> Result<Vec<Found>, CreateError> {
        rayon::scope(|scope| self.read_folder(scope, String::new()));
        self.outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the names in a folder, which is a path below the root, and has others look at them.
    fn read_folder<'s>(&'s self, scope: &Scope<'s>, folder: String) {
        let folder: Arc<str> = folder.into();
        let path = if folder.is_empty() { self.root.to_owned() } else { self.root.join(&*folder) };
        let mut entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) => return self.enter(Err(CreateError::io(&path, e))),
        };
        while !self.is_over() {
            let some: io::Result<Vec<_>> = entries.by_ref().take(ENTRIES_AT_A_TIME).collect();
            match some {
                Ok(some) if some.is_empty() => return,
                Ok(some) if self.waiting.load(Ordering::Relaxed) >= MAX_WAITING => {
                    self.look_at_all(scope, &some, &folder);
                }
                Ok(some) => {
                    self.waiting.fetch_add(1, Ordering::Relaxed);
                    let folder = Arc::clone(&folder);
                    scope.spawn(move |scope| {
                        self.waiting.fetch_sub(1, Ordering::Relaxed);
                        self.look_at_all(scope, &some, &folder);
                    });
                }
                Err(e) => return self.enter(Err(CreateError::io(&path, e))),
            }
        }
    }

    /// Looks at entries of a folder.
    fn look_at_all<'s>(&'s self, scope: &Scope<'s>, entries: &[DirEntry], folder: &str) {
        if self.is_over() {
            return;
        }
        let mut files = Vec::with_capacity(entries.len());
        for entry in entries {
            match self.look_at(entry, folder) {
                Ok(Looked::File(file)) => files.push(file),
                Ok(Looked::Folder(folder)) => scope.spawn(|scope| self.read_folder(scope, folder)),
                Ok(Looked::Link) => {}
                Err(error) => return self.enter(Err(error)),
            }
        }
        self.enter(self.progress.check_cancel().map(|()| files));
    }

    /// Nothing else matters.
    fn is_over(&self) -> bool {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).is_err()
    }

    /// Adds files to those found, unless something was wrong before; keeps the first error.
    fn enter(&self, found: Result<Vec<Found>, CreateError>) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(files) = &mut *outcome else { return };
        match found {
            Ok(found) => files.extend(found),
            Err(error) => return *outcome = Err(error),
        }
        if files.len() > MetainfoLimits::DEFAULT_MAX_FILES {
            *outcome = Err(CreateError::TooManyFiles { path: self.root.to_owned() });
        }
    }

    /// Looks at an entry of `folder`, which is a path below the root.
    fn look_at(&self, entry: &DirEntry, folder: &str) -> Result<Looked, CreateError> {
        let metadata = entry.metadata().map_err(|e| gone_or(&entry.path(), e))?;
        if metadata.is_symlink() {
            log::info!("{:?} is a link: left out", entry.path());
            return Ok(Looked::Link);
        }
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| CreateError::NameNotText(entry.path()))?;
        let relative = if folder.is_empty() { name.to_owned() } else { [folder, "/", name].concat() };
        let safe = match self.safe_root.join(relative.split('/').map(str::as_bytes)) {
            Ok(safe) => safe.path,
            Err(source) => return Err(CreateError::Name { path: entry.path(), source }),
        };
        if metadata.is_dir() {
            return Ok(Looked::Folder(relative));
        }
        Ok(Looked::File(self.found(|| entry.path(), relative, safe, &metadata)?))
    }

    /// Checks that the file can be read now, rather than after an hour of hashing others.
    fn found(
        &self,
        path: impl Fn() -> PathBuf,
        relative: String,
        safe: TorrentPath,
        metadata: &Metadata,
    ) -> Result<Found, CreateError> {
        if !metadata.is_file() {
            return Err(CreateError::Special(path()));
        }
        // Spares most files the system call: what the mode grants the owner, no access list takes away.
        let granted = metadata.mode() & Mode::RUSR.as_raw_mode() != 0 && metadata.uid() == self.user;
        if !granted {
            let path = path();
            rustix::fs::access(&path, Access::READ_OK).map_err(|e| CreateError::io(&path, e.into()))?;
        }
        Ok(Found { relative, safe, stamp: FileStamp::of(metadata), offset: 0 })
    }
}
