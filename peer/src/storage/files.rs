//! The files of one torrent: positioned reads and writes. Files are opened when needed, through a cache shared by all
//! torrents.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use torrent_common::geometry::{PieceIndex, Span};
use torrent_common::metainfo::Metainfo;

use super::backend::Backend;
use super::blocks::BlockBuf;
use super::cache::FileCache;
use super::layout::{Layout, Segment};
use super::tree::{Access, MAX_SYNCED_SINGLY, Tree, Walker, stamp_of};
use super::watch::Watch;

pub use super::{Stamp, StorageError};

/// Slices handed to one system call: below every system's limit (Linux: 1024).
const MAX_SLICES: usize = 256;

/// One torrent's payload below a folder. Shared by its connections (reads), the disk threads (writes) and checking.
#[derive(Debug)]
pub struct Storage {
    layout: Layout,
    pub(super) tree: Tree,
    cache: Arc<FileCache>,
    /// This torrent's number in the cache.
    id: u64,
    /// The file system that the download folder is on, as far as is known.
    device: AtomicU64,
    /// Files that may have bytes the device has not.
    dirty: Mutex<BTreeSet<usize>>,
    /// Files are made without room and grow: one that is shorter than the torrent says is none that was cut.
    pub(super) growing: AtomicBool,
    /// The part file was opened to be written to.
    wrote_part: AtomicBool,
    /// Whether others write to the files.
    pub(super) watch: Watch,
    /// A file was opened to be written to.
    wrote: AtomicBool,
    /// Files may be in folders that do not have their names on the device: made by us, or by a process that was killed.
    pub(super) new_names: AtomicBool,
}

/// A source for sendfile: the open file, kept open as long as this lives, and where.
#[derive(Debug, Clone)]
pub enum Source {
    /// Bytes of a file, which had them all when it was opened.
    File {
        /// The file.
        file: Arc<File>,
        /// Which it is in the layout.
        index: usize,
        /// Where, in bytes.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// So many zeros.
    Zeros(u64),
}

impl Storage {
    /// The payload of `metainfo` below `folder` (for a folder torrent, below `folder/root`). Opens nothing yet.
    ///
    /// `root` is the name on disk of the file or folder when it is another than the torrent's own (somebody seeds
    /// `/data/v2-final` as `release`): one path component.
    ///
    /// # Errors
    /// [`StorageError::RootName`].
    pub fn new(
        metainfo: Arc<Metainfo>,
        folder: &Path,
        root: Option<&OsStr>,
        cache: Arc<FileCache>,
    ) -> Result<Arc<Self>, StorageError> {
        let tree = Tree::new(Arc::clone(&metainfo), folder, root, cache.backend().clone())?;
        let id = cache.new_id();
        let layout = Layout::new(metainfo);
        Ok(Arc::new(Self {
            watch: Watch::new(layout.part() + 1),
            layout,
            tree,
            cache,
            id,
            device: AtomicU64::new(0),
            dirty: Mutex::default(),
            growing: AtomicBool::new(false),
            wrote_part: AtomicBool::new(false),
            wrote: AtomicBool::new(false),
            new_names: AtomicBool::new(false),
        }))
    }

    /// Which bytes are where.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A number that no other torrent here has.
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// The file system that the download folder is on: a number; 0 as long as nobody has looked.
    pub fn device(&self) -> u64 {
        self.device.load(Ordering::Relaxed)
    }

    /// Looks on which file system the download folder is. May wait for the disk.
    pub fn find_device(&self) {
        if let Ok(stat) = rustix::fs::stat(self.folder()) {
            self.set_device(stat.st_dev);
        }
    }

    pub(super) fn set_device(&self, device: u64) {
        self.device.store(device, Ordering::Relaxed);
    }

    /// The torrent.
    pub const fn metainfo(&self) -> &Arc<Metainfo> {
        self.layout.metainfo()
    }

    /// Where a file of the layout is on disk: to show.
    pub fn path(&self, file: usize) -> PathBuf {
        self.tree.path(file)
    }

    /// The download folder.
    pub fn folder(&self) -> &Path {
        self.tree.folder()
    }

    /// Writes a whole verified piece into files that [`Storage::prepare`] made, and gives back the stamps of the files
    /// it wrote. A file that has gone or shrunk since is an error: pieces had before would be zeros in it.
    ///
    /// # Errors
    /// [`StorageError`] names the path.
    pub fn write_piece(
        &self,
        piece: PieceIndex,
        blocks: &[BlockBuf],
    ) -> Result<Vec<(usize, Stamp)>, StorageError> {
        let got: u64 = blocks.iter().map(|block| block.len() as u64).sum();
        let expected = u64::from(self.metainfo().geometry.piece_len(piece));
        if got != expected {
            return Err(StorageError::PieceLength { got, expected });
        }
        self.watch.write();
        let mut bytes = Cursor { blocks, skip: 0 };
        let mut written = Vec::new();
        for segment in self.layout.piece_segments(piece) {
            let Some(index) = segment.file else {
                bytes.advance(segment.len);
                continue;
            };
            let file = self.file(index, true)?;
            let error = |errno| StorageError::io(self.path(index), errno);
            self.unless_cut(index, || stamp_of(&file).map_err(error))?;
            let outcome = write_all_at(&self.tree.backend, &file, &mut bytes, segment);
            // After the write: entered before, a sync in between would take the entry and miss the bytes.
            self.dirty().insert(index);
            outcome.map_err(error).map_err(|error| match error {
                StorageError::TooLarge { path, source } if index == self.layout.part() => {
                    StorageError::PartTooLarge { path, source }
                }
                error => error,
            })?;
            // In between. Only the end of the file would hide it.
            let stamp = self.unless_cut(index, || self.stamp_if_there(index, &file))?;
            self.watch.has(index, stamp.len);
            written.push((index, stamp));
        }
        Ok(written)
    }

    /// What `look` finds. Another thread may make the file longer meanwhile, which is no cut.
    fn unless_cut(
        &self,
        index: usize,
        look: impl FnOnce() -> Result<Stamp, StorageError>,
    ) -> Result<Stamp, StorageError> {
        let least = self.watch.least(index);
        let now = look()?;
        if now.len < least {
            return Err(StorageError::Changed { path: self.path(index) });
        }
        Ok(now)
    }

    /// The stamp of an open file, unless another is there under its name, or none: what is written to it would go when it is
    /// closed.
    fn stamp_if_there(&self, index: usize, file: &File) -> Result<Stamp, StorageError> {
        let (stamp, has_name) = self.tree.look(index, file)?;
        if !has_name {
            self.close_file(index);
            return Err(match Walker::new(&self.tree, false)?.find(index)? {
                Some(_) => StorageError::Changed { path: self.path(index) },
                None => self.missing(index),
            });
        }
        Ok(stamp)
    }

    /// Fills `buffer` with the bytes of `span`; a shorter buffer with the first of them.
    ///
    /// # Errors
    /// [`StorageError`] names the path; missing and short files are errors.
    pub fn read(&self, span: Span, buffer: &mut [u8]) -> Result<(), StorageError> {
        let mut rest = buffer;
        for segment in self.layout.segments(span) {
            let len = usize::try_from(segment.len).unwrap_or(usize::MAX).min(rest.len());
            let Some((part, after)) = rest.split_at_mut_checked(len) else { break };
            rest = after;
            let Some(index) = segment.file else {
                part.fill(0);
                continue;
            };
            let file = self.file(index, false)?;
            let got = read_at(&self.tree.backend, &file, part, segment.offset)
                .map_err(|errno| StorageError::io(self.path(index), errno))?;
            if got < len {
                return Err(StorageError::Short { path: self.path(index) });
            }
        }
        Ok(())
    }

    /// Where an upload takes the bytes of a segment from. The file had them when it was opened, or has grown since.
    ///
    /// # Errors
    /// [`StorageError`] names the path.
    pub fn source(&self, segment: Segment) -> Result<Source, StorageError> {
        let Segment { file, offset, len } = segment;
        match file {
            Some(index) => {
                let file = self.file(index, false)?;
                let now = stamp_of(&file).map_err(|errno| StorageError::io(self.path(index), errno))?;
                if self.watch.is_changed(index, now) {
                    return Err(StorageError::Changed { path: self.path(index) });
                }
                Ok(Source::File { file, index, offset, len })
            }
            None => Ok(Source::Zeros(len)),
        }
    }

    /// Whether a byte of an open file can be read.
    ///
    /// # Errors
    /// [`StorageError`] names the path.
    pub fn probe(&self, index: usize, file: &File, offset: u64) -> Result<(), StorageError> {
        read_at(&self.tree.backend, file, &mut [0], offset)
            .map(drop)
            .map_err(|errno| StorageError::io(self.path(index), errno))
    }

    /// The files had these stamps after so many writes of ours ([`Storage::writes`]), and what is had of them is right: until
    /// we write again, nothing is read for an upload from a file that has another.
    pub fn trust(&self, writes: u64, stamps: &[Option<Stamp>]) {
        self.watch.trust(writes, stamps);
    }

    /// How many writes were begun.
    pub fn writes(&self) -> u64 {
        self.watch.writes()
    }

    /// The files' stamps, one for every file of the layout and one for the part file; `None` for padding and for what is
    /// not there.
    ///
    /// # Errors
    /// [`StorageError`] when a file cannot be looked at for another reason than not being there.
    pub fn stamps(&self) -> Result<Vec<Option<Stamp>>, StorageError> {
        let mut walker = Walker::new(&self.tree, false)?;
        let files = self.layout.files().iter().map(|file| file.padding).chain([false]).enumerate();
        files.map(|(index, padding)| if padding { Ok(None) } else { walker.stamp(index) }).collect()
    }

    /// What the part file is now; `None` if there is none.
    ///
    /// # Errors
    /// [`StorageError`] names the path.
    pub fn part_stamp(&self) -> Result<Option<Stamp>, StorageError> {
        Ok(self.open_as_is(self.layout.part())?.map(|(_, stamp)| stamp))
    }

    /// Opens a file as it is, around the cache: for checking. `None` if it is not there.
    pub(super) fn open_as_is(&self, file: usize) -> Result<Option<(File, Stamp)>, StorageError> {
        self.tree.open(file, Access::Read)
    }

    /// Makes the next [`Storage::sync`] flush every file that has a stamp: for bytes that were found, not written.
    pub fn mark_unsynced(&self, stamps: &[Option<Stamp>]) {
        let there = stamps.iter().enumerate().filter(|(_, stamp)| stamp.is_some_and(|stamp| stamp.len > 0));
        self.dirty().extend(there.map(|(index, _)| index));
        self.new_names.store(true, Ordering::Relaxed);
    }

    /// Flushes to the device what was written since the last call. After an error the system may have thrown away what
    /// it could not write, and a second call would not say so: nothing since the last success is to be believed.
    ///
    /// # Errors
    /// [`StorageError`] names the path. A file that was written to and is not there any more is an error, too: its disk may
    /// have been torn out, and come back without what was written.
    pub fn sync(&self) -> Result<(), StorageError> {
        if self.new_names.swap(false, Ordering::Relaxed) {
            let files = self.layout.files().iter().enumerate();
            let ours = files.filter(|&(index, file)| !file.padding && !self.layout.is_parted(index));
            let all = ours.map(|(index, _)| index).chain([self.layout.part()]);
            let outcome = Walker::new(&self.tree, false)?.sync_folders(all);
            if !matches!(outcome, Ok(true)) {
                self.new_names.store(true, Ordering::Relaxed);
            }
            outcome?;
        }
        let dirty = std::mem::take(&mut *self.dirty());
        if dirty.len() > MAX_SYNCED_SINGLY {
            return self.sync_devices(&dirty);
        }
        for index in dirty {
            let file = match self.cache.get((self.id, index), false) {
                Some(file) => file,
                None => Arc::new(self.open_as_is(index)?.ok_or_else(|| self.missing(index))?.0),
            };
            self.tree.backend.sync_data(&file).map_err(|errno| StorageError::io(self.path(index), errno))?;
        }
        Ok(())
    }

    /// Flushes the file systems that these files are on: a disk may be mounted below the download folder.
    fn sync_devices(&self, files: &BTreeSet<usize>) -> Result<(), StorageError> {
        let (mut walker, mut synced) = (Walker::new(&self.tree, false)?, HashSet::new());
        for &index in files {
            let found = walker.find(index)?.ok_or_else(|| self.missing(index))?;
            if synced.insert(found.device) {
                let place = walker.place(index, false)?.ok_or_else(|| self.missing(index))?;
                let outcome = self.tree.backend.sync_all(place.folder);
                outcome.map_err(|errno| StorageError::io(self.path(index), errno))?;
            }
        }
        Ok(())
    }

    pub(super) fn dirty(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the files held open for this torrent.
    pub fn close(&self) {
        self.cache.close(self.id);
    }

    /// Closes one file if it is held open.
    pub(super) fn close_file(&self, index: usize) {
        self.cache.close_one((self.id, index));
    }

    /// An open file that has at least the bytes the torrent says. The part file is made when it is first written to.
    fn file(&self, index: usize, writable: bool) -> Result<Arc<File>, StorageError> {
        let key = (self.id, index);
        if let Some(file) = self.cache.get(key, writable) {
            return Ok(file);
        }
        let is_part = index == self.layout.part();
        if is_part && writable {
            self.wrote_part.store(true, Ordering::Relaxed);
        }
        if writable && !self.wrote.swap(true, Ordering::Relaxed) {
            self.new_names.store(true, Ordering::Relaxed);
        }
        let access = match writable {
            true if is_part => Access::Create,
            true => Access::Write,
            false => Access::Read,
        };
        let (file, stamp) = self.tree.open(index, access)?.ok_or_else(|| self.missing(index))?;
        let grows = is_part || self.growing.load(Ordering::Relaxed);
        if !grows && stamp.len < self.layout.max_len(index) {
            return Err(StorageError::Short { path: self.path(index) });
        }
        if writable {
            self.watch.has(index, stamp.len);
        }
        let file = Arc::new(file);
        self.cache.insert(key, writable, &file);
        Ok(file)
    }

    /// The part file may be there: it was written to.
    pub fn wrote_part(&self) -> bool {
        self.wrote_part.load(Ordering::Relaxed)
    }

    pub(super) fn missing(&self, index: usize) -> StorageError {
        StorageError::Missing { path: self.path(index) }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.close();
    }
}

/// The bytes of a piece that are still to be written.
struct Cursor<'a> {
    blocks: &'a [BlockBuf],
    /// Bytes of the first block that are done.
    skip: usize,
}

impl Cursor<'_> {
    /// The next bytes, at most `len`, as slices; as many as one system call takes.
    fn slices(&self, len: u64) -> Vec<IoSlice<'_>> {
        let mut left = usize::try_from(len).unwrap_or(usize::MAX);
        let mut skip = self.skip;
        let mut slices = Vec::with_capacity(self.blocks.len().min(MAX_SLICES));
        for block in self.blocks.iter().take(MAX_SLICES) {
            let bytes = block.get(std::mem::take(&mut skip)..).unwrap_or_default();
            let bytes = bytes.get(..left).unwrap_or(bytes);
            left -= bytes.len();
            slices.push(IoSlice::new(bytes));
            if left == 0 {
                break;
            }
        }
        slices
    }

    fn advance(&mut self, len: u64) {
        let mut len = usize::try_from(len).unwrap_or(usize::MAX);
        while let Some((first, rest)) = self.blocks.split_first() {
            let here = first.len() - self.skip;
            if len < here {
                self.skip += len;
                return;
            }
            len -= here;
            self.skip = 0;
            self.blocks = rest;
        }
    }
}

fn write_all_at(
    backend: &Backend,
    file: &File,
    bytes: &mut Cursor<'_>,
    segment: Segment,
) -> Result<(), Errno> {
    let Segment { mut offset, mut len, .. } = segment;
    while len > 0 {
        match backend.write(file, &bytes.slices(len), offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                let written = (written as u64).min(len);
                bytes.advance(written);
                offset += written;
                len -= written;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends; gives back how many bytes there were.
pub(super) fn read_at(
    backend: &Backend,
    file: &File,
    buffer: &mut [u8],
    offset: u64,
) -> Result<usize, Errno> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match backend.read(file, rest, offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}
