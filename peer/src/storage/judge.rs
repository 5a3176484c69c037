//! Pieces on disk, read one after another to be hashed and judged.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::slice;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use sha1::{Digest, Sha1};
use torrent_common::geometry::PieceIndex;
use torrent_common::hash::{Messages, Part};
use torrent_common::metainfo::Metainfo;

use super::StorageError;
use super::check::CheckProgress;
use super::files::{Storage, read_at};
use super::layout::Segment;
use super::tree::{Access, Walker};

/// Why pieces are read no further.
#[derive(Debug)]
pub(super) enum Stop {
    Cancelled,
    Storage(StorageError),
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// The hash of a piece of zeros, which a piece in a hole must have: computed once, for the length that most pieces have.
#[derive(Default)]
pub(super) struct Zeros(OnceLock<[u8; 20]>);

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

/// Pieces to be judged, one after another.
pub(super) struct Pieces<'a> {
    storage: &'a Storage,
    progress: &'a CheckProgress,
    zeros: &'a Zeros,
    walker: Walker<'a>,
    /// The file read last, as adjacent pieces are mostly of one file; `None` in it: not there.
    file: Option<(usize, Option<Opened>)>,
    unread: slice::Iter<'a, PieceIndex>,
    /// The piece that is read, and how many bytes of it were.
    current: Option<(PieceIndex, u32)>,
    /// Pieces that were read, whose hashes are to come; whether they were there to their ends.
    read: VecDeque<(PieceIndex, bool)>,
    /// Those that are right.
    pub good: Vec<PieceIndex>,
}

struct Opened {
    file: File,
    len: u64,
    /// No data lies in this range: the last hole found.
    hole: Range<u64>,
}

impl<'a> Pieces<'a> {
    pub fn new(
        storage: &'a Storage,
        progress: &'a CheckProgress,
        zeros: &'a Zeros,
        pieces: &'a [PieceIndex],
    ) -> Result<Self, Stop> {
        let walker = Walker::new(&storage.tree, false)?;
        let (unread, read, good) = (pieces.iter(), VecDeque::new(), Vec::new());
        Ok(Self { storage, progress, zeros, walker, file: None, unread, current: None, read, good })
    }

    /// The next piece that must be read to be judged.
    fn next_to_read(&mut self) -> Result<Option<PieceIndex>, Stop> {
        while let Some(&piece) = self.unread.next() {
            if self.progress.cancel.is_set() {
                return Err(Stop::Cancelled);
            }
            match self.judge_unread(piece)? {
                Some(true) => self.good.push(piece),
                Some(false) => {}
                None => return Ok(Some(piece)),
            }
            self.looked_at(self.storage.metainfo().geometry.piece_len(piece));
        }
        Ok(None)
    }

    /// What can be said of a piece that begins with a hole or a file that is not there. Looks no further than the first
    /// data: so the file that is read next is open already.
    fn judge_unread(&mut self, piece: PieceIndex) -> Result<Option<bool>, Stop> {
        for segment in self.storage.layout().piece_segments(piece) {
            let Some(index) = segment.file else { continue };
            let Some(opened) = self.open(index)? else { return Ok(Some(false)) };
            if segment.offset.saturating_add(segment.len) > opened.len {
                return Ok(Some(false));
            }
            if !opened.is_hole(segment) {
                return Ok(None);
            }
        }
        let metainfo = self.storage.metainfo();
        Ok(Some(self.zeros.hash(metainfo, piece) == *metainfo.piece_hash(piece)))
    }

    /// Fills `buffer`, unless the piece ends, and gives back how many bytes that is; `None` if some are not there.
    fn fill(&mut self, piece: PieceIndex, begin: u32, buffer: &mut [u8]) -> Result<Option<usize>, Stop> {
        let mut done = 0;
        for segment in self.storage.layout().segments_from(piece, begin) {
            let left = buffer.get_mut(done..).unwrap_or_default();
            let len = usize::try_from(segment.len).unwrap_or(usize::MAX).min(left.len());
            let part = left.get_mut(..len).unwrap_or_default();
            if part.is_empty() {
                break;
            }
            match segment.file {
                None => part.fill(0),
                Some(index) => {
                    let storage = self.storage;
                    let Some(opened) = self.open(index)? else { return Ok(None) };
                    let read = read_at(&storage.tree.backend, &opened.file, part, segment.offset);
                    let read = read.map_err(|errno| StorageError::io(storage.path(index), errno))?;
                    if read < len {
                        return Ok(None);
                    }
                }
            }
            done += len;
        }
        Ok(Some(done))
    }

    fn open(&mut self, index: usize) -> Result<Option<&mut Opened>, StorageError> {
        if self.file.as_ref().is_none_or(|&(open, _)| open != index) {
            // One file at a time: the last is closed before.
            self.file = None;
            let opened = self.walker.open(index, Access::Read)?;
            let opened = opened.map(|(file, stamp)| Opened { file, len: stamp.len, hole: 0..0 });
            self.file = Some((index, opened));
        }
        Ok(self.file.as_mut().and_then(|(_, opened)| opened.as_mut()))
    }

    fn looked_at(&self, len: u32) {
        self.progress.done.fetch_add(u64::from(len), Ordering::Relaxed);
    }
}

impl Messages for Pieces<'_> {
    type Error = Stop;

    fn read(&mut self, buffer: &mut [u8]) -> Result<Part, Stop> {
        if self.progress.cancel.is_set() {
            return Err(Stop::Cancelled);
        }
        let (piece, begin) = match self.current.take() {
            Some(current) => current,
            None => match self.next_to_read()? {
                Some(piece) => (piece, 0),
                None => return Ok(Part::Done),
            },
        };
        let filled = self.fill(piece, begin, buffer)?;
        // What is read of a piece is at most its length, which is a u32.
        let len = filled.and_then(|len| u32::try_from(len).ok()).unwrap_or(0);
        if len > 0 {
            self.looked_at(len);
            self.current = Some((piece, begin.saturating_add(len)));
            return Ok(Part::Bytes(len as usize));
        }
        self.looked_at(self.storage.metainfo().geometry.piece_len(piece).saturating_sub(begin));
        self.read.push_back((piece, filled.is_some()));
        Ok(Part::End)
    }

    fn digest(&mut self, digest: [u8; 20]) {
        let Some((piece, true)) = self.read.pop_front() else { return };
        self.progress.hashed.fetch_add(1, Ordering::Relaxed);
        if digest == *self.storage.metainfo().piece_hash(piece) {
            self.good.push(piece);
        }
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
