//! Pieces on disk, read one after another to be hashed and judged.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::slice;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

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
    /// What is unreadable took too long.
    Hopeless,
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// What all who judge pieces of one torrent at a time share.
pub(super) struct Common {
    zeros: Zeros,
    unreadable: Mutex<Unreadable>,
    /// So long all reads that fail may take, together.
    patience: Duration,
}

/// What the disk could not read.
#[derive(Default)]
pub(super) struct Unreadable {
    pub pieces: Vec<PieceIndex>,
    /// Its first error.
    pub error: Option<StorageError>,
    /// How long it has tried.
    took: Duration,
}

impl Common {
    /// Nothing is judged yet.
    pub fn new(patience: Duration) -> Self {
        Self { zeros: Zeros::default(), unreadable: Mutex::default(), patience }
    }

    /// What could not be read.
    pub fn unreadable(self) -> Unreadable {
        self.unreadable.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a piece that could not be read, which was tried since then: it is gone on behind it.
    fn skip(&self, piece: PieceIndex, stop: Stop, since: Instant) -> Result<(), Stop> {
        let error = match stop {
            Stop::Storage(error) if error.is_unreadable() => error,
            stop => return Err(stop),
        };
        let mut unreadable = self.lock();
        unreadable.pieces.push(piece);
        unreadable.error.get_or_insert(error);
        unreadable.took += since.elapsed();
        Ok(())
    }

    fn is_hopeless(&self) -> bool {
        let unreadable = self.lock();
        unreadable.error.is_some() && unreadable.took >= self.patience
    }

    fn lock(&self) -> MutexGuard<'_, Unreadable> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

/// Pieces to be judged, one after another.
pub(super) struct Pieces<'a> {
    storage: &'a Storage,
    progress: &'a CheckProgress,
    common: &'a Common,
    walker: Walker<'a>,
    /// The file read last, as adjacent pieces are mostly of one file; `None` in it: not there.
    file: Option<(usize, Option<Opened>)>,
    unread: slice::Iter<'a, PieceIndex>,
    /// The piece that is read, and how many bytes of it were.
    current: Option<(PieceIndex, u32)>,
    /// Pieces that were read, whose hashes are to come.
    read: VecDeque<(PieceIndex, Read)>,
    /// Those that are right.
    pub good: Vec<PieceIndex>,
    /// Those that are not.
    pub bad: Vec<PieceIndex>,
}

/// How a piece was read.
enum Read {
    /// To its end.
    Whole,
    /// Some of it is not there.
    Lacking,
    /// The disk failed.
    Unreadable,
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
        common: &'a Common,
        pieces: &'a [PieceIndex],
    ) -> Result<Self, Stop> {
        let walker = Walker::new(&storage.tree, false)?;
        Ok(Self {
            storage,
            progress,
            common,
            walker,
            file: None,
            unread: pieces.iter(),
            current: None,
            read: VecDeque::new(),
            good: Vec::new(),
            bad: Vec::new(),
        })
    }

    /// The next piece that must be read to be judged.
    fn next_to_read(&mut self) -> Result<Option<PieceIndex>, Stop> {
        while let Some(&piece) = self.unread.next() {
            if self.progress.cancel.is_set() {
                return Err(Stop::Cancelled);
            }
            if self.common.is_hopeless() {
                return Err(Stop::Hopeless);
            }
            let since = Instant::now();
            match self.judge_unread(piece) {
                Ok(Some(true)) => self.good.push(piece),
                Ok(Some(false)) => self.bad.push(piece),
                Ok(None) => return Ok(Some(piece)),
                Err(stop) => self.common.skip(piece, stop, since)?,
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
        Ok(Some(self.common.zeros.hash(metainfo, piece) == *metainfo.piece_hash(piece)))
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
        let since = Instant::now();
        let (filled, how) = match self.fill(piece, begin, buffer) {
            Ok(Some(len)) => (Some(len), Read::Whole),
            Ok(None) => (None, Read::Lacking),
            Err(stop) => {
                self.common.skip(piece, stop, since)?;
                (None, Read::Unreadable)
            }
        };
        // What is read of a piece is at most its length, which is a u32.
        let len = filled.and_then(|len| u32::try_from(len).ok()).unwrap_or(0);
        if len > 0 {
            self.looked_at(len);
            self.current = Some((piece, begin.saturating_add(len)));
            return Ok(Part::Bytes(len as usize));
        }
        self.looked_at(self.storage.metainfo().geometry.piece_len(piece).saturating_sub(begin));
        self.read.push_back((piece, how));
        Ok(Part::End)
    }

    fn digest(&mut self, digest: [u8; 20]) {
        let piece = match self.read.pop_front() {
            Some((piece, Read::Whole)) => piece,
            Some((piece, Read::Lacking)) => return self.bad.push(piece),
            Some((_, Read::Unreadable)) | None => return,
        };
        self.progress.hashed.fetch_add(1, Ordering::Relaxed);
        if digest == *self.storage.metainfo().piece_hash(piece) {
            self.good.push(piece);
        } else {
            self.bad.push(piece);
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
