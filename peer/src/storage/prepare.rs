//! Making the files: room for them on disk, and the bytes that waited for them in the part file.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::PieceIndex;

use super::backend::Backend;
use super::files::{Storage, read_at};
use super::remove::remove_file;
use super::tree::{Access, Found, Walker, stamp_of};
use super::{Stamp, StorageError, alike};
use crate::options::Preallocation;

/// Bytes moved at a time.
const BUFFER_LEN: usize = 256 * 1024;

impl Storage {
    /// Makes those files that are `wanted`, and their folders, zero-length files included; with room for all their bytes
    /// or without. Files that exist are kept; longer ones are an error, not cut. Gives back the files it changed:
    /// everything else is not even opened.
    ///
    /// # Errors
    /// [`StorageError`] names the path. With [`Preallocation::Full`], [`StorageError::NoRoom`] before anything was made.
    pub fn prepare(
        &self,
        wanted: impl Fn(usize) -> bool,
        preallocation: Preallocation,
    ) -> Result<Vec<(usize, Stamp)>, StorageError> {
        if preallocation == Preallocation::None {
            self.expect_growth(true);
        }
        let mut walker = Walker::new(&self.tree, true)?;
        let (mut lacking, mut found) = (Vec::new(), Vec::new());
        for (index, file) in self.layout().files().iter().enumerate().filter(|(_, file)| !file.padding) {
            if !wanted(index) {
                found.extend(self.find_other(&mut walker, index));
                continue;
            }
            let there = walker.find(index)?;
            found.extend(there.map(|found| (found, index)));
            let there = there.map(|found| found.stamp.len);
            if let Some(len) = there.filter(|&len| len > file.len) {
                // Its own bytes, or those of one that has its name.
                self.tell_apart(self.find_all(&mut walker), &walker)?;
                return Err(StorageError::Longer { path: self.path(index), len, expected: file.len });
            }
            let grows = preallocation == Preallocation::None && there.is_some();
            if !grows && there.is_none_or(|len| len < file.len) {
                lacking.push((index, file.len, there));
            }
        }
        self.tell_apart(found, &walker)?;
        if preallocation == Preallocation::Full {
            self.check_room(lacking.iter().map(|&(_, len, there)| len - there.unwrap_or(0)).sum())?;
        }
        if !lacking.is_empty() {
            self.new_names.store(true, Ordering::Relaxed);
        }
        self.make(&lacking, &mut walker, preallocation)
    }

    /// Makes or extends files: which, the length that each is to have, and the one that it has.
    fn make(
        &self,
        lacking: &[(usize, u64, Option<u64>)],
        walker: &mut Walker<'_>,
        preallocation: Preallocation,
    ) -> Result<Vec<(usize, Stamp)>, StorageError> {
        let (mut changed, mut made) = (Vec::new(), Vec::new());
        for &(index, len, there) in lacking {
            let error = |errno: Errno| StorageError::io(self.path(index), errno);
            // Not there when we looked, and there now: perhaps to this file system it is one that we have made since.
            let access = if there.is_none() { Access::New } else { Access::Create };
            let (opened, _) = match walker.open(index, access) {
                Err(StorageError::Io { source, path }) if source.kind() == io::ErrorKind::AlreadyExists => {
                    let clash = self.tell_apart(self.find_all(walker), walker).err();
                    // As it was: another selection of files may do.
                    made.into_iter().try_for_each(|made| remove_file(&self.tree.backend, walker, made))?;
                    return Err(clash.unwrap_or(StorageError::Io { path, source }));
                }
                opened => opened?.ok_or_else(|| self.missing(index))?,
            };
            if there.is_none() {
                made.push(index);
            }
            self.make_room(index, &opened, len, preallocation)?;
            changed.push((index, stamp_of(&opened).map_err(error)?));
        }
        Ok(changed)
    }

    /// Refuses a file system to which two names of the torrent are one: in the file would be the bytes of the one that was
    /// written last, and those of both would be had.
    fn tell_apart(&self, mut found: Vec<(Found, usize)>, walker: &Walker<'_>) -> Result<(), StorageError> {
        // What has two names is meant to be one.
        found.retain(|(found, _)| found.has_one_name);
        found.sort_unstable();
        let same = found.windows(2).find_map(|pair| match pair {
            [(one, index), (other, another)] if one.is(other) => Some((*index, *another)),
            _ => None,
        });
        let files = || found.iter().map(|&(_, index)| index);
        let same = match same {
            None => alike::find_one_of_two_names(&self.tree, walker, files())?,
            known => known,
        };
        let Some((one, other)) = same else { return Ok(()) };
        Err(StorageError::Clash { path: self.path(one), other: self.path(other) })
    }

    /// A file that nobody asked for; `None` also when it is in a way that is not to be: whoever wants it will be told.
    fn find_other(&self, walker: &mut Walker<'_>, index: usize) -> Option<(Found, usize)> {
        let own = !self.layout().is_parted(index);
        own.then(|| walker.find(index).ok().flatten().map(|found| (found, index))).flatten()
    }

    fn find_all(&self, walker: &mut Walker<'_>) -> Vec<(Found, usize)> {
        let files = self.layout().files().iter().enumerate().filter(|(_, file)| !file.padding);
        files.filter_map(|(index, _)| Some((walker.find(index).ok()??, index))).collect()
    }

    /// Refuses to begin what cannot end.
    pub(super) fn check_room(&self, needed: u64) -> Result<(), StorageError> {
        let folder = self.tree.folder();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let free = rustix::fs::open(folder, flags, Mode::empty())
            .and_then(rustix::fs::fstatvfs)
            .map_err(|errno| StorageError::io(folder.into(), errno))
            .map(|room| room.f_bavail.saturating_mul(room.f_frsize))?;
        if needed > free {
            return Err(StorageError::NoRoom { path: folder.into(), needed, free });
        }
        Ok(())
    }

    fn make_room(
        &self,
        index: usize,
        file: &File,
        len: u64,
        preallocation: Preallocation,
    ) -> Result<(), StorageError> {
        let error = |errno: Errno| StorageError::io(self.path(index), errno);
        match preallocation {
            Preallocation::None => return Ok(()),
            // The system refuses to take no room at all.
            Preallocation::Full if len > 0 => {
                match self.tree.backend.allocate(file, len) {
                    Ok(()) => return Ok(()),
                    Err(Errno::OPNOTSUPP | Errno::NOSYS) => log::info!(
                        "{}: this file system cannot take room beforehand: the file is sparse",
                        self.path(index).display()
                    ),
                    Err(errno) => {
                        // What was taken of it is given back: a full disk stops others too.
                        let _ = self.tree.backend.set_len(file, 0);
                        return Err(error(errno));
                    }
                }
            }
            Preallocation::Full | Preallocation::Sparse => {}
        }
        self.tree.backend.set_len(file, len).map_err(error)
    }

    /// Makes `files`, which are parted, and copies to them what is `had` of them. They stay parted until
    /// [`Storage::placed`]: nobody may write to the part file between the two. Gives back their stamps.
    ///
    /// # Errors
    /// [`StorageError`] names the path. The part file is as it was.
    pub fn place(
        &self,
        files: &[usize],
        had: &Bitfield,
        preallocation: Preallocation,
    ) -> Result<Vec<(usize, Stamp)>, StorageError> {
        let part = self.open_as_is(self.layout().part())?;
        // Its bytes would be taken for the files'.
        if part.as_ref().is_some_and(|&(_, now)| self.watch.is_changed(self.layout().part(), now)) {
            return Err(StorageError::Changed { path: self.path(self.layout().part()) });
        }
        self.watch.write();
        self.prepare(|index| files.binary_search(&index).is_ok(), preallocation)?;
        let mut walker = Walker::new(&self.tree, false)?;
        let mut buffer = vec![0; BUFFER_LEN];
        let mut stamps = Vec::with_capacity(files.len());
        for &index in files {
            let error = |errno: Errno| StorageError::io(self.path(index), errno);
            let (file, _) = walker.open(index, Access::Write)?.ok_or_else(|| self.missing(index))?;
            for piece in self.layout().pieces_of(index).filter(|&piece| had.contains(piece)) {
                let (part, _) = part.as_ref().ok_or_else(|| self.missing(self.layout().part()))?;
                self.copy(index, piece, (part, &file), &mut buffer)?;
            }
            self.dirty().insert(index);
            stamps.push((index, stamp_of(&file).map_err(error)?));
        }
        Ok(stamps)
    }

    /// Copies the bytes that a file has in a piece from the part file.
    fn copy(
        &self,
        index: usize,
        piece: PieceIndex,
        (part, file): (&File, &File),
        buffer: &mut [u8],
    ) -> Result<(), StorageError> {
        let geometry = &self.metainfo().geometry;
        let Some(own) = self.layout().files().get(index) else { return Ok(()) };
        let piece_begin = geometry.offset(piece);
        let piece_end = piece_begin.saturating_add(geometry.piece_len(piece).into());
        let mut at = piece_begin.max(own.offset);
        let end = piece_end.min(own.offset.saturating_add(own.len));
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let bytes = buffer.get_mut(..len).unwrap_or_default();
            let got = read_at(&self.tree.backend, part, bytes, at)
                .map_err(|errno| StorageError::io(self.path(self.layout().part()), errno))?;
            if got < len {
                return Err(StorageError::Short { path: self.path(self.layout().part()) });
            }
            write_all(&self.tree.backend, file, bytes, at - own.offset)
                .map_err(|errno| StorageError::io(self.path(index), errno))?;
            at += len as u64;
        }
        Ok(())
    }

    /// From now on these files have their own bytes.
    pub fn placed(&self, files: &[usize]) {
        files.iter().for_each(|&index| self.layout().set_parted(index, false));
    }

    /// Says whether a file may be shorter than the torrent says without having been cut.
    pub fn expect_growth(&self, growing: bool) {
        self.growing.store(growing, Ordering::Relaxed);
    }

    /// Says which files are parted. Before anybody reads or writes.
    pub fn set_parted(&self, is_parted: impl Fn(usize) -> bool) {
        for (index, file) in self.layout().files().iter().enumerate() {
            self.layout().set_parted(index, !file.padding && is_parted(index));
        }
    }
}

fn write_all(backend: &Backend, file: &File, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match backend.write(file, &[IoSlice::new(bytes)], offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
