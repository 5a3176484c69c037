//! Hashing what is on disk.

use std::fs::File;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use sha1::{Digest, Sha1};
use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::PieceIndex;
use torrent_common::metainfo::Metainfo;
use torrent_common::worker::Shutdown;

use super::StorageError;
use super::blocks::BlockBuf;
use super::files::{Storage, read_at};
use super::layout::Segment;

/// Bytes read at once, and the memory of each thread.
const BUFFER_LEN: usize = 256 * 1024;
/// A thread takes about so many bytes of adjacent pieces at a time.
const STRETCH_LEN: u64 = 32 << 20;

/// Shared with whoever shows progress and may cancel.
#[derive(Debug, Default)]
pub struct CheckProgress {
    /// Bytes looked at so far.
    pub done: Arc<AtomicU64>,
    /// Set to stop early.
    pub cancel: Shutdown,
}

/// Hashes the pieces in `suspect` on the current rayon pool and gives back those that are right. Missing and short files
/// simply fail their pieces; holes of sparse files are skipped without reading. Bounded memory: one small buffer per
/// thread, whatever the piece length.
///
/// # Errors
/// [`StorageError`] when a file cannot be read for another reason than not being there; `Ok(None)` when cancelled.
pub fn check(
    storage: &Storage,
    suspect: &Bitfield,
    progress: &CheckProgress,
) -> Result<Option<Bitfield>, StorageError> {
    let geometry = storage.metainfo().geometry;
    let pieces: Vec<PieceIndex> = suspect.iter(&geometry).collect();
    let zeros = Zeros::default();
    let stretch = STRETCH_LEN.div_ceil(u64::from(geometry.nominal_piece_len()));
    let stretch = usize::try_from(stretch).unwrap_or(usize::MAX).max(1);
    let judged: Vec<Vec<PieceIndex>> = pieces
        .par_chunks(stretch)
        .map_init(|| Reader::new(storage, progress, &zeros), |reader, pieces| reader.good_of(pieces))
        .collect::<Result<_, _>>()?;
    if progress.cancel.is_set() {
        return Ok(None);
    }
    let mut good = Bitfield::empty(&geometry);
    for piece in judged.into_iter().flatten() {
        good.insert(piece);
    }
    Ok(Some(good))
}

/// Whether the blocks of a piece have this SHA-1.
pub fn piece_is_good(blocks: &[BlockBuf], hash: &[u8; 20]) -> bool {
    let mut sha1 = Sha1::new();
    for block in blocks {
        sha1.update(&**block);
    }
    <[u8; 20]>::from(sha1.finalize()) == *hash
}

/// The hash of a piece of zeros, which a piece in a hole must have: computed once, for the length that most pieces have.
#[derive(Default)]
struct Zeros(OnceLock<[u8; 20]>);

impl Zeros {
    fn hash(&self, metainfo: &Metainfo, piece: PieceIndex) -> [u8; 20] {
        let len = metainfo.geometry.piece_len(piece);
        if len == metainfo.geometry.nominal_piece_len() {
            *self.0.get_or_init(|| hash_of_zeros(len))
        } else {
            hash_of_zeros(len)
        }
    }
}

fn hash_of_zeros(len: u32) -> [u8; 20] {
    const ZEROS: &[u8] = &[0; 4096];
    let mut sha1 = Sha1::new();
    let mut left = len as usize;
    while left > 0 {
        let part = ZEROS.get(..left).unwrap_or(ZEROS);
        sha1.update(part);
        left -= part.len();
    }
    sha1.finalize().into()
}

/// One thread's work.
struct Reader<'a> {
    storage: &'a Storage,
    progress: &'a CheckProgress,
    zeros: &'a Zeros,
    buffer: Box<[u8]>,
    /// The file read last, as adjacent pieces are mostly of one file; `None` in it: not there.
    file: Option<(usize, Option<Opened>)>,
}

struct Opened {
    file: File,
    len: u64,
    /// No data lies in this range: the last hole found.
    hole: std::ops::Range<u64>,
}

impl<'a> Reader<'a> {
    fn new(storage: &'a Storage, progress: &'a CheckProgress, zeros: &'a Zeros) -> Self {
        Self { storage, progress, zeros, buffer: vec![0; BUFFER_LEN].into(), file: None }
    }

    /// Those of `pieces` that are right, or none when cancelled.
    fn good_of(&mut self, pieces: &[PieceIndex]) -> Result<Vec<PieceIndex>, StorageError> {
        let mut good = Vec::new();
        for &piece in pieces {
            if self.progress.cancel.is_set() {
                break;
            }
            if self.is_good(piece)? {
                good.push(piece);
            }
            let len = self.storage.metainfo().geometry.piece_len(piece);
            self.progress.done.fetch_add(u64::from(len), Ordering::Relaxed);
        }
        Ok(good)
    }

    fn is_good(&mut self, piece: PieceIndex) -> Result<bool, StorageError> {
        let metainfo = self.storage.metainfo();
        let mut empty = true;
        for segment in self.storage.layout().piece_segments(piece) {
            let Some(index) = segment.file else { continue };
            let Some(opened) = self.open(index)? else { return Ok(false) };
            if segment.offset.saturating_add(segment.len) > opened.len {
                return Ok(false);
            }
            empty = empty && opened.is_hole(segment);
        }
        if empty {
            return Ok(self.zeros.hash(metainfo, piece) == *metainfo.piece_hash(piece));
        }
        let mut sha1 = Sha1::new();
        for segment in self.storage.layout().piece_segments(piece) {
            if !self.feed(segment, &mut sha1)? {
                return Ok(false);
            }
        }
        Ok(<[u8; 20]>::from(sha1.finalize()) == *metainfo.piece_hash(piece))
    }

    /// Hashes a segment; false if it is not there or the check was cancelled.
    fn feed(&mut self, segment: Segment, sha1: &mut Sha1) -> Result<bool, StorageError> {
        let mut offset = segment.offset;
        let mut left = segment.len;
        if segment.file.is_none() {
            self.buffer.fill(0);
        }
        while left > 0 {
            if self.progress.cancel.is_set() {
                return Ok(false);
            }
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            if let Some(index) = segment.file {
                self.open(index)?;
                let Some((_, Some(opened))) = &self.file else { return Ok(false) };
                let Some(part) = self.buffer.get_mut(..len) else { return Ok(false) };
                let error = |errno| StorageError::io(self.storage.path(index), errno);
                if read_at(&opened.file, part, offset).map_err(error)? < len {
                    return Ok(false);
                }
            }
            sha1.update(self.buffer.get(..len).unwrap_or_default());
            offset += len as u64;
            left -= len as u64;
        }
        Ok(true)
    }

    fn open(&mut self, index: usize) -> Result<Option<&mut Opened>, StorageError> {
        if self.file.as_ref().is_none_or(|&(open, _)| open != index) {
            let opened = self.storage.open_as_is(index)?;
            let opened = opened.map(|(file, stamp)| Opened { file, len: stamp.len, hole: 0..0 });
            self.file = Some((index, opened));
        }
        Ok(self.file.as_mut().and_then(|(_, opened)| opened.as_mut()))
    }
}

impl Opened {
    /// Whether all of a segment is a hole. Where the file system knows no holes, nothing is.
    fn is_hole(&mut self, segment: Segment) -> bool {
        let end = segment.offset.saturating_add(segment.len);
        if !(self.hole.start <= segment.offset && segment.offset < self.hole.end) {
            let data = match rustix::fs::seek(&self.file, SeekFrom::Data(segment.offset)) {
                Ok(data) => data,
                // No data from there to the end.
                Err(Errno::NXIO) => self.len,
                Err(_) => segment.offset,
            };
            self.hole = segment.offset..data;
        }
        end <= self.hole.end
    }
}
