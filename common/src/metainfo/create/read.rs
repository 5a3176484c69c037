//! Reads the files of a payload as if they were one.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};

use rustix::fs::{Mode, OFlags};

use super::CreateError;
use super::walk::{Folders, Payload, gone_or};

/// A place in a payload, and the file that is open there.
pub(super) struct Reader<'a> {
    payload: &'a Payload,
    folders: Folders<'a>,
    /// Index of the file that is being read.
    index: usize,
    /// Where in that file, in bytes.
    at: u64,
    open: Option<File>,
}

impl<'a> Reader<'a> {
    /// Opens nothing yet.
    pub fn at(payload: &'a Payload, offset: u64) -> Self {
        // Zero-length files share their offset with the next: the last of those is the one with content.
        let index = payload.files.partition_point(|file| file.offset <= offset).saturating_sub(1);
        let at = payload.files.get(index).map_or(0, |file| offset - file.offset);
        Self { payload, folders: Folders::new(payload), index, at, open: None }
    }

    /// Fills `buffer`, unless the payload ends; gives back the number of bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, CreateError> {
        let mut done = 0;
        while let Some(left) = buffer.get_mut(done..).filter(|left| !left.is_empty()) {
            match self.read(left)? {
                0 => break,
                read => done += read,
            }
        }
        Ok(done)
    }

    /// Reads at least one byte, unless the payload is at its end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, CreateError> {
        while let Some(found) = self.payload.files.get(self.index) {
            let rest = found.stamp.len - self.at;
            if rest == 0 {
                self.open = None;
                self.index += 1;
                self.at = 0;
                continue;
            }
            let mut file = match self.open.take() {
                Some(file) => file,
                None => self.open_current()?,
            };
            let wanted = buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            let read = loop {
                match file.read(buffer.get_mut(..wanted).unwrap_or_default()) {
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    other => break other.map_err(|e| CreateError::io(&self.payload.path(found), e))?,
                }
            };
            if read == 0 {
                return Err(CreateError::Changed(self.payload.path(found)));
            }
            self.at += read as u64;
            self.open = Some(file);
            return Ok(read);
        }
        Ok(0)
    }

    /// Opens the current file at the current place. Neither a link nor a pipe that has taken its place is followed or
    /// waited for.
    fn open_current(&mut self) -> Result<File, CreateError> {
        let Some(found) = self.payload.files.get(self.index) else {
            return Err(CreateError::Changed(self.payload.root.clone()));
        };
        let path = || self.payload.path(found);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let (folder, name) = self.folders.place(found)?;
        let mut file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(rustix::io::Errno::LOOP) => return Err(CreateError::Changed(path())),
            Err(e) => return Err(gone_or(&path(), e.into())),
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| CreateError::io(&path(), e.into()))?;
        self.payload.check_stamp(found, &stat)?;
        if self.at > 0 {
            file.seek(SeekFrom::Start(self.at)).map_err(|e| CreateError::io(&path(), e))?;
        }
        Ok(file)
    }
}
