//! Finds the files of a payload, in an order that depends on their names alone. Below the root nothing is found through a
//! link, not even one that takes a folder's place meanwhile: each folder is opened from the one above it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::Scope;
use rayon::prelude::*;
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use super::super::MetainfoLimits;
use super::super::files::check_places;
use super::super::paths::{SafePath, TorrentPath};
use super::{CreateError, CreateOptions, FileStamp, LinksLeftOut, Progress};

/// Files that a task looks at.
const FILES_AT_A_TIME: usize = 512;

/// Entries of a folder that a task looks at.
const ENTRIES_AT_A_TIME: usize = 256;

/// Tasks of this kind that may wait: who reads more names looks at them itself.
const MAX_WAITING: usize = 64;

/// Bytes of a folder's names that are read at a time.
const NAMES_LEN: usize = 32 << 10;

/// What is going to be hashed.
#[derive(Debug)]
pub(super) struct Payload {
    /// The file or folder, links resolved.
    pub root: PathBuf,
    /// The torrent's name.
    pub name: String,
    /// The root, opened once; `None`: it is a file.
    folder: Option<OwnedFd>,
    /// Ordered by the bytes of their paths, `/` between components.
    pub files: Vec<Found>,
    pub total_len: u64,
    /// Links below the root.
    pub left_out: Option<LinksLeftOut>,
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
        let Some(root) = &self.payload.folder else { return Ok((CWD, &self.payload.root)) };
        let (folder, name) = file.relative.rsplit_once('/').unwrap_or(("", &file.relative));
        let descriptor = match self.last.take() {
            Some((last, descriptor)) if last == folder => descriptor,
            _ => open_below(root, &self.payload.root, folder, OFlags::PATH)?,
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
        let io = |errno: Errno| CreateError::io(&root, errno.into());
        let stat = rustix::fs::statat(CWD, &root, AtFlags::SYMLINK_NOFOLLOW).map_err(io)?;
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let open = || rustix::fs::open(&root, FOLDER | OFlags::PATH, Mode::empty());
        let folder = is_folder.then(open).transpose().map_err(io)?;
        let Finds { mut files, links: left_out } = match &folder {
            Some(folder) => Walk::new(&root, folder, &safe_root, progress).finds()?,
            None => {
                let (place, path) = ((CWD, root.as_path()), || root.clone());
                let found =
                    User::current().found(place, path, String::new(), safe_root.path.clone(), &stat)?;
                Finds { files: vec![found], links: None }
            }
        };
        files.par_sort_unstable_by(|a, b| a.relative.cmp(&b.relative));
        check_places(files.iter().map(|file| &file.safe)).map_err(CreateError::SameName)?;
        let mut total_len = 0_u64;
        for file in &mut files {
            file.offset = total_len;
            // No file system holds 2^64 bytes, but sparse files can pretend to.
            total_len = total_len.saturating_add(file.stamp.len);
        }
        match (total_len, left_out) {
            (0, None) => Err(CreateError::Empty(input.clone())),
            (0, Some(links)) => Err(CreateError::OnlyLinks { path: input.clone(), links }),
            (_, left_out) => Ok(Self { root, name, folder, files, total_len, left_out }),
        }
    }

    /// Whether it is a single file, without a folder.
    pub const fn is_file(&self) -> bool {
        self.folder.is_none()
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
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a folder below the root, which is itself when the name is empty: one after the other, none through a link.
fn open_below(
    root: &OwnedFd,
    root_path: &Path,
    folder: &str,
    access: OFlags,
) -> Result<OwnedFd, CreateError> {
    let open = |above: BorrowedFd<'_>, name: &str, access: OFlags| {
        rustix::fs::openat(above, name, FOLDER | access, Mode::empty()).map_err(|errno| match errno {
            Errno::LOOP | Errno::NOTDIR => CreateError::Changed(root_path.join(folder)),
            errno => gone_or(&root_path.join(folder), errno.into()),
        })
    };
    let (above, name) = folder.rsplit_once('/').unwrap_or(("", folder));
    let mut inner = None;
    for name in above.split('/').filter(|name| !name.is_empty()) {
        inner = Some(open(inner.as_ref().unwrap_or(root).as_fd(), name, OFlags::PATH)?);
    }
    open(inner.as_ref().unwrap_or(root).as_fd(), if name.is_empty() { "." } else { name }, access)
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
    Link(PathBuf),
}

/// What a look at a payload finds.
#[derive(Default)]
struct Finds {
    files: Vec<Found>,
    links: Option<LinksLeftOut>,
}

impl Finds {
    fn add(&mut self, Self { files, links }: Self) {
        self.files.extend(files);
        links.into_iter().for_each(|links| self.leave_out(links));
    }

    fn leave_out(&mut self, LinksLeftOut { count, first }: LinksLeftOut) {
        match &mut self.links {
            None => self.links = Some(LinksLeftOut { count, first }),
            Some(links) => {
                links.count += count;
                if first < links.first {
                    links.first = first;
                }
            }
        }
    }
}

/// Looks at everything below a folder: one task reads a folder's names while others look at what it has read.
struct Walk<'a> {
    root: &'a Path,
    root_folder: &'a OwnedFd,
    safe_root: &'a SafePath,
    progress: &'a Progress,
    user: User,
    /// Tasks that have not looked at their entries yet.
    waiting: AtomicUsize,
    outcome: Mutex<Result<Finds, CreateError>>,
}

/// A folder below the root.
struct Folder {
    /// Its path from there.
    relative: String,
    descriptor: OwnedFd,
}

impl<'a> Walk<'a> {
    fn new(
        root: &'a Path,
        root_folder: &'a OwnedFd,
        safe_root: &'a SafePath,
        progress: &'a Progress,
    ) -> Self {
        let (waiting, outcome) = (AtomicUsize::new(0), Mutex::new(Ok(Finds::default())));
        Self { root, root_folder, safe_root, progress, user: User::current(), waiting, outcome }
    }

    /// Every file and every link, in no order. Runs on the current rayon pool.
    fn finds(self) -> Result<Finds, CreateError> {
        rayon::scope(|scope| self.read_folder(scope, String::new()));
        self.outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, folder: &str) -> PathBuf {
        if folder.is_empty() { self.root.to_owned() } else { self.root.join(folder) }
    }

    /// Reads the names in a folder, which is a path below the root, and has others look at them.
    fn read_folder<'s>(&'s self, scope: &Scope<'s>, relative: String) {
        let descriptor = match open_below(self.root_folder, self.root, &relative, OFlags::RDONLY) {
            Ok(descriptor) => descriptor,
            Err(error) => return self.fail(error),
        };
        let folder = Arc::new(Folder { relative, descriptor });
        let mut buffer = Vec::with_capacity(NAMES_LEN);
        let mut names = RawDir::new(&folder.descriptor, buffer.spare_capacity_mut());
        while !self.is_over() {
            match next_names(&mut names) {
                Ok(some) if some.is_empty() => return,
                Ok(some) if self.waiting.load(Ordering::Relaxed) >= MAX_WAITING => {
                    self.look_at_all(scope, some, &folder);
                }
                Ok(some) => {
                    self.waiting.fetch_add(1, Ordering::Relaxed);
                    let folder = Arc::clone(&folder);
                    scope.spawn(move |scope| {
                        self.waiting.fetch_sub(1, Ordering::Relaxed);
                        self.look_at_all(scope, some, &folder);
                    });
                }
                Err(errno) => return self.fail(gone_or(&self.path(&folder.relative), errno.into())),
            }
        }
    }

    /// Looks at entries of a folder.
    fn look_at_all<'s>(&'s self, scope: &Scope<'s>, names: Vec<OsString>, folder: &Folder) {
        if self.is_over() {
            return;
        }
        let mut finds = Finds { files: Vec::with_capacity(names.len()), links: None };
        for name in names {
            match self.look_at(&name, folder) {
                Ok(Looked::File(file)) => finds.files.push(file),
                Ok(Looked::Folder(folder)) => scope.spawn(|scope| self.read_folder(scope, folder)),
                Ok(Looked::Link(first)) => finds.leave_out(LinksLeftOut { count: 1, first }),
                Err(error) => return self.fail(error),
            }
        }
        match self.progress.check_cancel() {
            Ok(()) => self.enter(finds),
            Err(error) => self.fail(error),
        }
    }

    /// Nothing else matters.
    fn is_over(&self) -> bool {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).is_err()
    }

    /// Keeps the first error.
    fn fail(&self, error: CreateError) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.is_ok() {
            *outcome = Err(error);
        }
    }

    /// Adds to what is found, unless something was wrong before.
    fn enter(&self, more: Finds) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(finds) = &mut *outcome else { return };
        finds.add(more);
        if finds.files.len() > MetainfoLimits::DEFAULT_MAX_FILES {
            *outcome = Err(CreateError::TooManyFiles { path: self.root.to_owned() });
        }
    }

    /// Looks at an entry of a folder.
    fn look_at(&self, name: &OsStr, folder: &Folder) -> Result<Looked, CreateError> {
        let path = || self.path(&folder.relative).join(name);
        let stat = rustix::fs::statat(&folder.descriptor, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|e| gone_or(&path(), e.into()))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Symlink {
            return Ok(Looked::Link(path()));
        }
        let text = name.to_str().ok_or_else(|| CreateError::NameNotText(path()))?;
        let above = &folder.relative;
        let relative = if above.is_empty() { text.to_owned() } else { [above, "/", text].concat() };
        let safe = match self.safe_root.join(relative.split('/').map(str::as_bytes)) {
            Ok(safe) => safe.path,
            Err(source) => return Err(CreateError::Name { path: path(), source }),
        };
        if kind == FileType::Directory {
            return Ok(Looked::Folder(relative));
        }
        let place = (folder.descriptor.as_fd(), Path::new(name));
        Ok(Looked::File(self.user.found(place, path, relative, safe, &stat)?))
    }
}

/// The next names in a folder, but for itself and the one above; none at its end.
fn next_names(names: &mut RawDir<'_, &OwnedFd>) -> Result<Vec<OsString>, Errno> {
    let mut some = Vec::with_capacity(ENTRIES_AT_A_TIME);
    while some.len() < ENTRIES_AT_A_TIME
        && let Some(entry) = names.next()
    {
        match entry?.file_name().to_bytes() {
            b"." | b".." => {}
            name => some.push(OsStr::from_bytes(name).to_owned()),
        }
    }
    Ok(some)
}

/// Who reads the files.
struct User(u32);

impl User {
    fn current() -> Self {
        Self(rustix::process::geteuid().as_raw())
    }

    /// Checks that the file at `place` can be read now, rather than after an hour of hashing others.
    fn found(
        &self,
        (folder, name): (BorrowedFd<'_>, &Path),
        path: impl Fn() -> PathBuf,
        relative: String,
        safe: TorrentPath,
        stat: &Stat,
    ) -> Result<Found, CreateError> {
        let stamp = FileStamp::of_file(stat).ok_or_else(|| CreateError::Special(path()))?;
        // Spares most files the system call: what the mode grants the owner, no access list takes away.
        let granted = stat.st_mode & Mode::RUSR.as_raw_mode() != 0 && stat.st_uid == self.0;
        if !granted {
            rustix::fs::accessat(folder, name, Access::READ_OK, AtFlags::empty())
                .map_err(|e| CreateError::io(&path(), e.into()))?;
        }
        Ok(Found { relative, safe, stamp, offset: 0 })
    }
}
