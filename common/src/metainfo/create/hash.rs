//! Hashes a payload on the current rayon pool. Each task takes the next run of pieces, so that all threads together read
//! nearly in order, and reads it in small parts: memory depends neither on the piece length nor on the files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::atomic::Ordering;

use rayon::prelude::*;
use rustix::fs::{Mode, OFlags};
use sha1::{Digest, Sha1};

use super::walk::{Payload, check_stamp, gone_or};
use super::{CreateError, Progress};

/// Bytes read at a time: also how often progress is told and a wish to stop is heard.
const READ_LEN: usize = 256 << 10;
/// Bytes of a run at most, unless a piece is longer.
const MAX_RUN_LEN: u64 = 32 << 20;

/// The SHA-1 of every piece, in order.
pub(super) fn hash(
    payload: &Payload,
    piece_len: u64,
    progress: &Progress,
) -> Result<Vec<[u8; 20]>, CreateError> {
    let pieces = payload.total_len.div_ceil(piece_len);
    let mut hashes = vec![[0; 20]; usize::try_from(pieces).unwrap_or(usize::MAX)];
    // A few runs for each thread, so that none waits long for the last.
    let run_len = payload.total_len / (4 * rayon::current_num_threads() as u64);
    let run_pieces = (run_len.min(MAX_RUN_LEN) / piece_len).max(1);
    let runs = hashes
        .chunks_mut(usize::try_from(run_pieces).unwrap_or(1))
        .zip((0_u64..).map(|run| run * run_pieces));
    runs.par_bridge().try_for_each_init(
        || vec![0; READ_LEN],
        |buffer, (run, first_piece)| {
            let mut reader = Reader::at(payload, first_piece * piece_len);
            for hash in run {
                *hash = hash_piece(&mut reader, piece_len, buffer, progress)?;
            }
            Ok::<_, CreateError>(())
        },
    )?;
    Ok(hashes)
}

fn hash_piece(
    reader: &mut Reader<'_>,
    piece_len: u64,
    buffer: &mut [u8],
    progress: &Progress,
) -> Result<[u8; 20], CreateError> {
    let mut hasher = Sha1::new();
    let mut rest = piece_len;
    while rest > 0 {
        progress.check_cancel()?;
        let wanted = buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        let part = reader.read(buffer.get_mut(..wanted).unwrap_or_default())?;
        if part.is_empty() {
            break;
        }
        hasher.update(part);
        rest -= part.len() as u64;
        progress.done.fetch_add(part.len() as u64, Ordering::Relaxed);
    }
    Ok(hasher.finalize().into())
}

/// Reads the files of a payload as if they were one.
struct Reader<'a> {
    payload: &'a Payload,
    /// Index of the file that is being read.
    index: usize,
    /// Where in that file, in bytes.
    at: u64,
    open: Option<File>,
}

impl<'a> Reader<'a> {
    fn at(payload: &'a Payload, offset: u64) -> Self {
        // Zero-length files share their offset with the next: the last of those is the one with content.
        let index = payload.files.partition_point(|file| file.offset <= offset).saturating_sub(1);
        let at = payload.files.get(index).map_or(0, |file| offset - file.offset);
        Self { payload, index, at, open: None }
    }

    /// Fills the beginning of `buffer`: with at least one byte, unless the payload is at its end.
    fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Result<&'b [u8], CreateError> {
        while let Some(found) = self.payload.files.get(self.index) {
            let rest = found.stamp.len - self.at;
            if rest == 0 {
                *self = Self { payload: self.payload, index: self.index + 1, at: 0, open: None };
                continue;
            }
            let path = self.payload.path(found);
            let mut file = match self.open.take() {
                Some(file) => file,
                None => self.open_current()?,
            };
            let wanted = buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            let part = buffer.get_mut(..wanted).unwrap_or_default();
            let read = loop {
                match file.read(part) {
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    other => break other.map_err(|e| CreateError::io(&path, e))?,
                }
            };
            if read == 0 {
                return Err(CreateError::Changed(path));
            }
            self.at += read as u64;
            self.open = Some(file);
            return Ok(buffer.get(..read).unwrap_or_default());
        }
        Ok(&[])
    }

    /// Opens the current file at the current place. Neither a link nor a pipe that has taken its place is followed or
    /// waited for.
    fn open_current(&self) -> Result<File, CreateError> {
        let Some(found) = self.payload.files.get(self.index) else {
            return Err(CreateError::Changed(self.payload.root.clone()));
        };
        let path = self.payload.path(found);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(rustix::io::Errno::LOOP) => return Err(CreateError::Changed(path)),
            Err(e) => return Err(gone_or(&path, e.into())),
        };
        let metadata = file.metadata().map_err(|e| CreateError::io(&path, e))?;
        check_stamp(&path, found, &metadata)?;
        if self.at > 0 {
            file.seek(SeekFrom::Start(self.at)).map_err(|e| CreateError::io(&path, e))?;
        }
        Ok(file)
    }
}
