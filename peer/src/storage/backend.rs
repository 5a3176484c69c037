//! The system calls that change, flush and read what is on disk, for payload and STATE_DIR alike. A seam: tests put a disk
//! under it that fails, fills up, or forgets what was not flushed.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

/// A call about to be made.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names are the calls' own")]
pub enum Call<'a> {
    /// Opens a file, which is made if it is not there and `create`.
    Open { folder: BorrowedFd<'a>, name: &'a OsStr, create: bool },
    /// Makes a folder.
    MakeFolder { folder: BorrowedFd<'a>, name: &'a OsStr },
    /// Writes at an offset; `None`: at the end.
    Write { file: BorrowedFd<'a>, bytes: &'a [IoSlice<'a>], offset: Option<u64> },
    /// Cuts or extends a file, or takes room for it.
    SetLen { file: BorrowedFd<'a>, len: u64 },
    /// Reads.
    Read { file: BorrowedFd<'a> },
    /// Flushes a file or a folder.
    Sync { file: BorrowedFd<'a> },
    /// Flushes the whole file system.
    SyncAll,
    /// Renames within a folder.
    Rename { from: &'a Path, to: &'a Path },
    /// Removes a file or an empty folder.
    Remove { folder: BorrowedFd<'a>, name: &'a OsStr },
}

/// Who hears of every call before it is made.
pub trait Watcher: Debug + Send + Sync {
    /// How many bytes the call may write at the most, if it is one that writes.
    ///
    /// # Errors
    /// The call is not made, and fails with this.
    fn before(&self, call: &Call<'_>) -> Result<usize, Errno>;
}

/// The system's disks.
#[derive(Debug, Clone, Default)]
pub struct Backend {
    watcher: Option<Arc<dyn Watcher>>,
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Backend {
    /// One whose calls are watched.
    #[cfg(test)]
    pub(crate) const fn watched(watcher: Arc<dyn Watcher>) -> Self {
        Self { watcher: Some(watcher) }
    }

    fn before(&self, call: &Call<'_>) -> Result<usize, Errno> {
        self.watcher.as_ref().map_or(Ok(usize::MAX), |watcher| watcher.before(call))
    }

    /// openat(2).
    pub(crate) fn open(&self, folder: BorrowedFd<'_>, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.before(&Call::Open { folder, name, create: flags.contains(OFlags::CREATE) })?;
        rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o666))
    }

    /// Opens a file of our own for writing, and makes it if it is not there.
    pub(crate) fn create(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        let (folder, name) = self.parent(path)?;
        let flags = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        Ok(self.open(folder.as_fd(), name, flags)?.into())
    }

    /// mkdirat(2).
    pub(crate) fn make_folder(&self, folder: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
        self.before(&Call::MakeFolder { folder, name })?;
        rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o777))
    }

    /// Makes a folder and those above it that are not there, durably.
    pub(crate) fn make_folders(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        if let Some(above) = path.parent() {
            self.make_folders(above)?;
        }
        let (folder, name) = self.parent(path)?;
        match self.make_folder(folder.as_fd(), name) {
            Ok(()) => self.sync_folder(folder.as_fd()).map_err(Into::into),
            Err(Errno::EXIST) if path.is_dir() => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// pwritev(2).
    pub(crate) fn write(&self, file: &File, bytes: &[IoSlice<'_>], offset: u64) -> Result<usize, Errno> {
        let most = self.before(&Call::Write { file: file.as_fd(), bytes, offset: Some(offset) })?;
        let all = bytes.iter().map(|slice| slice.len()).sum::<usize>();
        if most >= all {
            return rustix::io::pwritev(file, bytes, offset);
        }
        let first = bytes.first().and_then(|first| first.get(..most)).unwrap_or_default();
        rustix::io::pwrite(file, first, offset)
    }

    /// Writes all bytes at the end of a file.
    pub(crate) fn append(&self, file: &File, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let slices = [IoSlice::new(bytes)];
            let most = self.before(&Call::Write { file: file.as_fd(), bytes: &slices, offset: None })?;
            match rustix::io::write(file, bytes.get(..most).unwrap_or(bytes)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// pread(2).
    pub(crate) fn read(&self, file: &File, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
        self.before(&Call::Read { file: file.as_fd() })?;
        rustix::io::pread(file, buffer, offset)
    }

    /// ftruncate(2).
    pub(crate) fn set_len(&self, file: &File, len: u64) -> Result<(), Errno> {
        self.before(&Call::SetLen { file: file.as_fd(), len })?;
        rustix::fs::ftruncate(file, len)
    }

    /// fallocate(2), from the first byte on.
    pub(crate) fn allocate(&self, file: &File, len: u64) -> Result<(), Errno> {
        self.before(&Call::SetLen { file: file.as_fd(), len })?;
        rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len)
    }

    /// fdatasync(2).
    pub(crate) fn sync_data(&self, file: &File) -> Result<(), Errno> {
        self.before(&Call::Sync { file: file.as_fd() })?;
        rustix::fs::fdatasync(file)
    }

    /// Flushes which names a folder has. What cannot flush that, has done so or never will.
    pub(crate) fn sync_folder(&self, folder: BorrowedFd<'_>) -> Result<(), Errno> {
        let opened = match rustix::fs::openat(folder, ".", FOLDER, Mode::empty()) {
            // One that may be written to and not be read.
            Err(Errno::ACCESS | Errno::PERM) => return Ok(()),
            opened => opened?,
        };
        self.before(&Call::Sync { file: opened.as_fd() })?;
        match rustix::fs::fsync(opened) {
            Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
            flushed => flushed,
        }
    }

    /// syncfs(2).
    pub(crate) fn sync_all(&self, folder: BorrowedFd<'_>) -> Result<(), Errno> {
        let opened = rustix::fs::openat(folder, ".", FOLDER, Mode::empty())?;
        self.before(&Call::SyncAll)?;
        rustix::fs::syncfs(opened)
    }

    /// rename(2).
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        self.before(&Call::Rename { from, to })?;
        rustix::fs::rename(from, to)
    }

    /// unlinkat(2).
    pub(crate) fn remove(&self, folder: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> Result<(), Errno> {
        self.before(&Call::Remove { folder, name })?;
        rustix::fs::unlinkat(folder, name, flags)
    }

    /// Removes a file of our own.
    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        Ok(self.remove(folder.as_fd(), name, AtFlags::empty())?)
    }

    /// The open folder that a path ends in, and the name there.
    #[expect(clippy::unused_self, reason = "to be called like the others")]
    fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let above = match path.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok((rustix::fs::openat(CWD, above, flags, Mode::empty())?, name))
    }
}
