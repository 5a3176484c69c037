//! From a file's index to an open file, one component at a time and never through a link (promise 4): each folder is
//! opened relative to the one above it with `O_NOFOLLOW`, so that nobody can swap a link in between look and use.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use torrent_common::metainfo::{Metainfo, TorrentPath};

use super::backend::Backend;
use super::{StorageError, part};

/// What a file on disk was when last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Bytes.
    pub len: u64,
    /// Nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// Where a torrent's files are on this disk.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) backend: Backend,
    metainfo: Arc<Metainfo>,
    folder: PathBuf,
    root: Option<OsString>,
    /// The name of the part file, in the download folder itself.
    part: OsString,
    /// The files that are here under the name that the torrent gives them, not under the one made safe for all systems:
    /// a seeder's own `12:30.log`. Mostly none.
    as_given: HashSet<usize>,
    /// Nobody makes a hard link to a file that they may not write to themselves.
    links_guarded: bool,
}

/// fs.protected_hardlinks, see proc_sys_fs(5): 1 on most systems. Not a namespace's own.
static LINKS_GUARDED: LazyLock<bool> = LazyLock::new(|| {
    std::fs::read("/proc/sys/fs/protected_hardlinks").is_ok_and(|set| set.starts_with(b"1"))
});

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    /// Write, and make the file and its folders if they are not there.
    Create,
    /// The same, and the file is not there yet.
    New,
}

/// A file as it is found, and which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub device: u64,
    inode: u64,
    pub stamp: Stamp,
    /// It has one name: where another is found that leads to it, both are the same to the file system.
    pub has_one_name: bool,
}

impl Found {
    /// Both are the same file.
    pub fn is(&self, other: &Self) -> bool {
        (self.device, self.inode, self.stamp) == (other.device, other.inode, other.stamp)
    }
}

/// Goes from file to file. Keeps the folder it was in last, so that a look at all files in order costs about one
/// system call each.
pub(super) struct Walker<'a> {
    tree: &'a Tree,
    /// The download folder; `None` if it is not there.
    base: Option<OwnedFd>,
    /// The folders above the last file, below the download folder.
    last: Vec<&'a OsStr>,
    /// The innermost of them; `None` if it is not there, or is the download folder itself.
    inner: Option<OwnedFd>,
}

/// A file's name, in an open folder.
pub(super) struct Place<'w, 'a> {
    pub folder: BorrowedFd<'w>,
    pub name: &'a OsStr,
}

/// More files or folders than this are flushed by flushing their file system: one call instead of one open and one flush
/// each.
pub(super) const MAX_SYNCED_SINGLY: usize = 256;

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Tree {
    /// What an open file is now, and whether it has a name still.
    pub fn look(&self, file: usize, opened: &File) -> Result<(Stamp, bool), StorageError> {
        let stat = rustix::fs::fstat(opened).map_err(|errno| StorageError::io(self.path(file), errno))?;
        let is_found = || {
            let found = Walker::new(self, false)?.find(file)?;
            Ok(found.is_some_and(|found| (found.device, found.inode) == (stat.st_dev, stat.st_ino)))
        };
        // Some file systems do not count names.
        Ok((stamp(&stat), stat.st_nlink > 0 || is_found()?))
    }

    /// `root` replaces the first component of every path.
    pub fn new(
        metainfo: Arc<Metainfo>,
        folder: &Path,
        root: Option<&OsStr>,
        backend: Backend,
    ) -> Result<Self, StorageError> {
        if let Some(root) = root {
            let bytes = root.as_encoded_bytes();
            let bad = bytes.contains(&b'/') || bytes.contains(&0) || bytes.len() > 255;
            if bad || matches!(bytes, b"" | b"." | b"..") {
                return Err(StorageError::RootName { name: root.into() });
            }
        }
        let root = root.map(Into::into);
        let part = part::name(&metainfo.info_hash).into();
        let as_given = HashSet::new();
        let (folder, links_guarded) = (folder.into(), *LINKS_GUARDED);
        let mut tree = Self { backend, metainfo, folder, root, part, as_given, links_guarded };
        tree.as_given = tree.find_as_given();
        Ok(tree)
    }

    /// Looks for files under the names as given. That is a look only: opening them refuses links like anywhere else.
    fn find_as_given(&self) -> HashSet<usize> {
        let candidates = self.metainfo.files.iter().enumerate();
        let candidates = candidates.filter_map(|(index, file)| Some((index, file.given.as_ref()?)));
        let here = candidates.filter(|(_, given)| {
            let mut path = self.folder.clone();
            path.extend(self.rooted(given));
            std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
        });
        here.map(|(index, _)| index).collect()
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The components of a file's path below the download folder; beyond the last file, the part file's.
    pub fn components(&self, index: usize) -> Vec<&OsStr> {
        let Some(file) = self.metainfo.files.get(index) else { return vec![&self.part] };
        let given = if self.as_given.contains(&index) { file.given.as_ref() } else { None };
        self.rooted(given.unwrap_or(&file.path))
    }

    /// The components of a path, the first replaced by the root if that was chosen.
    fn rooted<'p>(&'p self, path: &'p TorrentPath) -> Vec<&'p OsStr> {
        let mut components: Vec<&OsStr> = path.components().map(OsStr::new).collect();
        if let (Some(root), Some(first)) = (&self.root, components.first_mut()) {
            *first = root;
        }
        components
    }

    /// For messages.
    pub fn path(&self, file: usize) -> PathBuf {
        let mut path = self.folder.clone();
        path.extend(self.components(file));
        path
    }

    /// Opens a file, with what it was at that moment; `None` if it or a folder above it is not there.
    pub fn open(&self, file: usize, access: Access) -> Result<Option<(File, Stamp)>, StorageError> {
        Walker::new(self, access.makes())?.open(file, access)
    }
}

impl<'a> Walker<'a> {
    /// Starts in the download folder, in which links are followed; makes it if `create`.
    pub fn new(tree: &'a Tree, create: bool) -> Result<Self, StorageError> {
        let error = |source| StorageError::io(tree.folder.clone(), source);
        if create {
            tree.backend.make_folders(&tree.folder).map_err(error)?;
        }
        let base = match rustix::fs::open(&tree.folder, FOLDER, Mode::empty()) {
            Ok(base) => Some(base),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(error(errno.into())),
        };
        Ok(Self { tree, base, last: Vec::new(), inner: None })
    }

    /// Where a file is: for messages.
    pub fn path(&self, file: usize) -> PathBuf {
        self.tree.path(file)
    }

    /// Goes to the folder of a file; `None` if it is not there. Makes the folders on the way if `create`.
    pub fn place(&mut self, file: usize, create: bool) -> Result<Option<Place<'_, 'a>>, StorageError> {
        let mut folders = self.tree.components(file);
        let Some(name) = folders.pop() else { return Ok(None) };
        let here = self.inner.is_some() || !create;
        if folders != self.last || !here {
            self.inner = None;
            self.last.clear();
            self.inner = self.descend(&folders, create)?;
            self.last.clone_from(&folders);
        }
        let folder = if folders.is_empty() { &self.base } else { &self.inner };
        let Some(folder) = folder else { return Ok(None) };
        Ok(Some(Place { folder: folder.as_fd(), name }))
    }

    /// The innermost of these folders.
    fn descend(&self, folders: &[&OsStr], create: bool) -> Result<Option<OwnedFd>, StorageError> {
        let Some(base) = &self.base else { return Ok(None) };
        let mut inner: Option<OwnedFd> = None;
        let mut path = self.tree.folder.clone();
        for name in folders {
            path.push(name);
            let above = inner.as_ref().unwrap_or(base).as_fd();
            if create {
                match self.tree.backend.make_folder(above, name) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) if is_of_name(errno, true) => return Err(name_error(path, errno)),
                    Err(errno) => return Err(StorageError::io(path, errno)),
                }
            }
            match rustix::fs::openat(above, *name, FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(folder) => inner = Some(folder),
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) if is_of_name(errno, false) => return Ok(None),
                Err(errno) => return Err(explain(above, name, path, errno, "folder")),
            }
        }
        Ok(inner)
    }

    /// Opens a file, with what it was at that moment; `None` if it or a folder above it is not there.
    pub fn open(&mut self, file: usize, access: Access) -> Result<Option<(File, Stamp)>, StorageError> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
            Access::Create => OFlags::RDWR | OFlags::CREATE,
            Access::New => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        let tree = self.tree;
        let Some(place) = self.place(file, access.makes())? else { return Ok(None) };
        // O_NONBLOCK: opening a pipe must not wait for its other end. It means nothing for regular files.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = match tree.backend.open(place.folder, place.name, flags) {
            Ok(opened) => File::from(opened),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) if access.makes() && is_of_name(errno, true) => {
                return Err(name_error(tree.path(file), errno));
            }
            Err(errno) if is_of_name(errno, false) => return Ok(None),
            Err(errno) => return Err(explain(place.folder, place.name, tree.path(file), errno, "file")),
        };
        let stat = rustix::fs::fstat(&opened).map_err(|errno| StorageError::io(tree.path(file), errno))?;
        if kind(&stat) != FileType::RegularFile {
            return Err(StorageError::Kind { path: tree.path(file), wanted: "file" });
        }
        let may_be_planted = stat.st_nlink > 1 && !tree.links_guarded;
        if may_be_planted && access != Access::Read && is_open_to_others(place.folder) {
            return Err(StorageError::OtherNames { path: tree.path(file) });
        }
        Ok(Some((opened, stamp(&stat))))
    }

    /// What a file is, without opening it; `None` if it or a folder above it is not there.
    pub fn stamp(&mut self, file: usize) -> Result<Option<Stamp>, StorageError> {
        Ok(self.find(file)?.map(|found| found.stamp))
    }

    /// The same, and which file it is.
    pub fn find(&mut self, file: usize) -> Result<Option<Found>, StorageError> {
        let tree = self.tree;
        let Some(place) = self.place(file, false)? else { return Ok(None) };
        let stat = match rustix::fs::statat(place.folder, place.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            // What can have no such name is not there.
            Err(errno) if is_of_name(errno, false) => return Ok(None),
            Err(errno) => return Err(StorageError::io(tree.path(file), errno)),
        };
        match kind(&stat) {
            FileType::RegularFile => Ok(Some(Found {
                device: stat.st_dev,
                inode: stat.st_ino,
                stamp: stamp(&stat),
                has_one_name: stat.st_nlink == 1,
            })),
            FileType::Symlink => Err(StorageError::Link { path: tree.path(file) }),
            _ => Err(StorageError::Kind { path: tree.path(file), wanted: "file" }),
        }
    }

    /// Every name in a folder below the download folder; none if it is not there.
    pub fn list(&self, folder: &[&OsStr], mut each: impl FnMut(&OsStr)) -> Result<(), StorageError> {
        let inner = self.descend(folder, false)?;
        let opened = if folder.is_empty() { self.base.as_ref() } else { inner.as_ref() };
        let Some(opened) = opened else { return Ok(()) };
        let mut path = self.tree.folder.clone();
        path.extend(folder);
        let error = |errno| StorageError::io(path.clone(), errno);
        // What was opened to go through cannot be read.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let readable = rustix::fs::openat(opened, ".", flags, Mode::empty()).map_err(error)?;
        for entry in Dir::new(readable).map_err(error)? {
            each(OsStr::from_bytes(entry.map_err(error)?.file_name().to_bytes()));
        }
        Ok(())
    }

    /// Flushes which names there are in the folders above these files, the download folder among them: every folder once. False
    /// if that is not there.
    pub fn sync_folders(&mut self, files: impl Iterator<Item = usize>) -> Result<bool, StorageError> {
        let mut folders = BTreeSet::new();
        for file in files {
            let mut above = self.tree.components(file);
            while above.pop().is_some() && folders.insert(above.clone()) {}
        }
        let backend = &self.tree.backend;
        let Some(base) = &self.base else { return Ok(false) };
        let error = |errno| StorageError::io(self.tree.folder.clone(), errno);
        if folders.len() > MAX_SYNCED_SINGLY {
            return backend.sync_all(base.as_fd()).map(|()| true).map_err(error);
        }
        for folder in folders {
            // What is in the way of a folder is none of ours, and no file of ours is behind it.
            let inner = match self.descend(&folder, false) {
                Err(StorageError::Link { .. } | StorageError::Kind { .. }) => continue,
                inner => inner?,
            };
            let opened = if folder.is_empty() { Some(base) } else { inner.as_ref() };
            if let Some(opened) = opened {
                backend.sync_folder(opened.as_fd()).map_err(error)?;
            }
        }
        Ok(true)
    }

    /// Removes a folder below the download folder if it is empty.
    pub fn remove_folder(&mut self, folder: &[&'a OsStr]) -> Result<(), StorageError> {
        let Some((name, above)) = folder.split_last() else { return Ok(()) };
        let inner = match self.descend(above, false) {
            Ok(inner) => inner,
            Err(StorageError::Link { .. } | StorageError::Kind { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let folder_fd = if above.is_empty() { &self.base } else { &inner };
        let Some(folder_fd) = folder_fd else { return Ok(()) };
        match self.tree.backend.remove(folder_fd.as_fd(), name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => Ok(()),
            Err(errno) => {
                let mut path = self.tree.folder.clone();
                path.extend(folder);
                Err(StorageError::io(path, errno))
            }
        }
    }
}

/// Whether somebody else may have put a file into this folder. (One that cannot be looked at may be anybody's.)
fn is_open_to_others(folder: BorrowedFd<'_>) -> bool {
    let others = (Mode::WGRP | Mode::WOTH).as_raw_mode();
    rustix::fs::fstat(folder).map_or(true, |stat| {
        let ours = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
        !ours || stat.st_mode & others != 0
    })
}

impl Access {
    const fn makes(self) -> bool {
        matches!(self, Self::Create | Self::New)
    }
}

/// Whether the system means that the file system takes no such name: it is too long, or has characters that it does not
/// know. Where a file is to be made, also characters that it forbids.
const fn is_of_name(errno: Errno, making: bool) -> bool {
    matches!(errno, Errno::NAMETOOLONG | Errno::ILSEQ) || making && matches!(errno, Errno::INVAL)
}

fn name_error(path: PathBuf, errno: Errno) -> StorageError {
    StorageError::Name { path, source: errno.into() }
}

/// The stamp of an open file.
pub(super) fn stamp_of(file: &File) -> Result<Stamp, Errno> {
    rustix::fs::fstat(file).map(|stat| stamp(&stat))
}

fn stamp(stat: &Stat) -> Stamp {
    // The fields' types differ between architectures; they all fit in an i128.
    let mtime_ns = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    Stamp {
        len: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: i64::try_from(mtime_ns).unwrap_or(if mtime_ns < 0 { i64::MIN } else { i64::MAX }),
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Turns the error of an open into one that says what stands there. The system reports a link as ELOOP or ENOTDIR.
fn explain(
    folder: BorrowedFd<'_>,
    name: &OsStr,
    path: PathBuf,
    errno: Errno,
    wanted: &'static str,
) -> StorageError {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| kind(&stat)) {
        Ok(FileType::Symlink) => StorageError::Link { path },
        Ok(FileType::Directory) if wanted == "folder" => StorageError::io(path, errno),
        Ok(FileType::RegularFile) if wanted == "file" => StorageError::io(path, errno),
        Ok(_) => StorageError::Kind { path, wanted },
        Err(_) => StorageError::io(path, errno),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::testing::{TestFile, torrent};
    use super::*;

    #[test]
    fn a_file_with_other_names_is_not_written_where_others_may_have_put_it() {
        use std::os::unix::fs::PermissionsExt;
        let file = TestFile { path: "f".into(), len: 1, padding: false };
        let metainfo = torrent("root", &[file], 16_384, None);
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("f"), "x").unwrap();
        let mut tree = Tree::new(metainfo, folder.path(), None, Backend::default()).unwrap();
        for (guarded, mode, names, refused) in [
            (false, 0o755, 1, false),
            (false, 0o775, 1, false),
            (false, 0o755, 2, false),
            (false, 0o775, 2, true),
            (false, 0o1777, 2, true),
            (true, 0o1777, 2, false),
        ] {
            tree.links_guarded = guarded;
            std::fs::set_permissions(&root, std::fs::Permissions::from_mode(mode)).unwrap();
            let other = folder.path().join("other");
            if names > 1 && !other.exists() {
                std::fs::hard_link(root.join("f"), &other).unwrap();
            }
            let open = |access| tree.open(0, access).map(|opened| opened.is_some());
            for access in [Access::Write, Access::Create] {
                let outcome = open(access);
                let is_refused = matches!(outcome, Err(StorageError::OtherNames { .. }));
                assert!(is_refused == refused && outcome.is_ok() != refused, "{mode:o} {names} {outcome:?}");
            }
            // What is complete is seeded on.
            assert!(open(Access::Read).unwrap());
        }
    }

    #[test]
    fn a_file_that_is_here_under_its_own_name_is_used_under_it() {
        let file = |path: &str| TestFile { path: path.into(), len: 1, padding: false };
        let metainfo =
            torrent("root", &[file("12:30.log"), file("a?/x"), file("b?"), file("plain")], 16_384, None);
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("own")).unwrap();
        std::fs::write(folder.path().join("own/12:30.log"), "x").unwrap();
        symlink("12:30.log", folder.path().join("own/b?")).unwrap();
        let paths = |root: Option<&str>| -> Vec<PathBuf> {
            let tree =
                Tree::new(metainfo.clone(), folder.path(), root.map(OsStr::new), Backend::default()).unwrap();
            (0..4).map(|file| tree.path(file).strip_prefix(folder.path()).unwrap().to_owned()).collect()
        };
        let expected = ["own/12:30.log", "own/a_/x", "own/b_", "own/plain"].map(PathBuf::from);
        assert_eq!(paths(Some("own")), expected);
        assert_eq!(paths(None), ["root/12_30.log", "root/a_/x", "root/b_", "root/plain"].map(PathBuf::from));
    }
}
