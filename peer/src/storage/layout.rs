//! Which bytes of which file a run of payload bytes is.
//!
//! A file that nobody selected is not made. Where a selected file shares a piece with it, its bytes go to the torrent's
//! *part file* instead, each at its offset in the payload, so that the piece can be hashed, served and kept. Such a file is
//! called parted here. The part file counts as one more file, behind the last.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use torrent_common::geometry::{PieceIndex, Span};
use torrent_common::metainfo::{File, Metainfo};

/// A run of bytes of one file, or of padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Index into [`Layout::files`], or [`Layout::part`]; `None` for padding, whose bytes are zeros and never on disk
    /// (BEP 47).
    pub file: Option<usize>,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How many bytes; never 0.
    pub len: u64,
}

/// The files of one torrent in payload order. A view of its metainfo, which is sorted by offset already: no table of
/// its own but a bit for each file, so half a million files cost next to nothing more.
#[derive(Debug, Clone)]
pub struct Layout {
    metainfo: Arc<Metainfo>,
    parted: Arc<[AtomicU8]>,
}

impl Layout {
    /// The layout of a torrent.
    pub fn new(metainfo: Arc<Metainfo>) -> Self {
        let parted = (0..metainfo.files.len().div_ceil(8)).map(|_| AtomicU8::new(0)).collect();
        Self { metainfo, parted }
    }

    /// The index of the part file.
    pub fn part(&self) -> usize {
        self.files().len()
    }

    /// How long a file, or the part file, may become, in bytes.
    pub fn max_len(&self, file: usize) -> u64 {
        self.files().get(file).map_or_else(|| self.metainfo.total_len(), |file| file.len)
    }

    /// The bytes of this file are in the part file.
    pub fn is_parted(&self, file: usize) -> bool {
        self.parted.get(file / 8).is_some_and(|byte| byte.load(Ordering::Acquire) & 1 << (file % 8) != 0)
    }

    /// The parted files.
    pub fn all_parted(&self) -> impl Iterator<Item = usize> + '_ {
        // Mostly there is none: eight at a glance.
        let bytes = self.parted.iter().enumerate().filter(|(_, byte)| byte.load(Ordering::Acquire) != 0);
        bytes.flat_map(|(byte, _)| byte * 8..byte * 8 + 8).filter(|&file| self.is_parted(file))
    }

    /// Says where the bytes of a file are from now on. The caller sees to it that they are, and that nobody is about to
    /// write some.
    pub fn set_parted(&self, file: usize, parted: bool) {
        let (Some(byte), bit) = (self.parted.get(file / 8), 1 << (file % 8)) else { return };
        if parted {
            byte.fetch_or(bit, Ordering::AcqRel);
        } else {
            byte.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// The files in payload order, padding and files of zero length included.
    pub fn files(&self) -> &[File] {
        &self.metainfo.files
    }

    /// The torrent.
    pub const fn metainfo(&self) -> &Arc<Metainfo> {
        &self.metainfo
    }

    /// The segments of a run inside a piece, in order. Zero-length files do not appear.
    pub fn segments(&self, span: Span) -> impl Iterator<Item = Segment> + '_ {
        self.run(self.metainfo.geometry.offset(span.piece()) + u64::from(span.begin()), u64::from(span.len()))
    }

    /// The segments of a whole piece, in order. Zero-length files do not appear.
    pub fn piece_segments(&self, piece: PieceIndex) -> impl Iterator<Item = Segment> + '_ {
        let geometry = &self.metainfo.geometry;
        self.run(geometry.offset(piece), u64::from(geometry.piece_len(piece)))
    }

    /// The segments of a piece from a place in it on, in order. Zero-length files do not appear.
    pub fn segments_from(&self, piece: PieceIndex, begin: u32) -> impl Iterator<Item = Segment> + '_ {
        let geometry = &self.metainfo.geometry;
        let rest = geometry.piece_len(piece).saturating_sub(begin);
        self.run(geometry.offset(piece) + u64::from(begin), u64::from(rest))
    }

    /// The pieces that have bytes of this file; none if it has no bytes. Of the part file: those that have bytes of a
    /// parted file, some of them several times.
    pub fn pieces_of(&self, file: usize) -> impl Iterator<Item = PieceIndex> + '_ {
        let parted = (file == self.part()).then(|| self.all_parted()).into_iter().flatten();
        parted.chain([file]).flat_map(|file| pieces_of(&self.metainfo, file))
    }

    /// The segments of `len` bytes of payload from `at` on; what lies beyond the end is left out.
    fn run(&self, mut at: u64, len: u64) -> impl Iterator<Item = Segment> + '_ {
        let files = self.files();
        let end = at.saturating_add(len);
        // The ends of files never decrease, and one of zero length ends where it begins: so the first that ends
        // behind `at` is the one that has the byte at `at`.
        let mut index = files.partition_point(|file| file.offset.saturating_add(file.len) <= at);
        std::iter::from_fn(move || {
            while at < end {
                let file = files.get(index)?;
                let this = index;
                index += 1;
                if file.len == 0 {
                    continue;
                }
                let offset = at.checked_sub(file.offset)?;
                let len = file.len.checked_sub(offset)?.min(end - at);
                let begin = at;
                at += len;
                if !self.is_parted(this) {
                    return Some(Segment { file: (!file.padding).then_some(this), offset, len });
                }
                // What follows is beside it in the part file too.
                while let Some(next) = files.get(index).filter(|_| at < end && self.is_parted(index)) {
                    at += next.len.min(end - at);
                    index += 1;
                }
                return Some(Segment { file: Some(self.part()), offset: begin, len: at - begin });
            }
            None
        })
    }
}

/// The pieces that have bytes of this file of a torrent; none if it has no bytes.
pub fn pieces_of(metainfo: &Metainfo, file: usize) -> impl Iterator<Item = PieceIndex> + use<> {
    let geometry = metainfo.geometry;
    let piece_len = u64::from(geometry.nominal_piece_len());
    let range: Range<u64> = match metainfo.files.get(file) {
        Some(file) if file.len > 0 => {
            file.offset / piece_len..file.offset.saturating_add(file.len).div_ceil(piece_len)
        }
        _ => 0..0,
    };
    range.filter_map(move |index| geometry.piece(u32::try_from(index).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{TestFile, torrent};
    use super::*;

    fn layout(lens: &[u64], padding: &[usize], piece_len: u64) -> Layout {
        let files: Vec<TestFile> = lens
            .iter()
            .enumerate()
            .map(|(i, &len)| TestFile { path: format!("f{i}"), len, padding: padding.contains(&i) })
            .collect();
        Layout::new(torrent("t", &files, piece_len, None))
    }

    #[test]
    fn pieces_fall_into_files() {
        let layout = layout(&[0, 10, 0, 6, 5, 0], &[3], 16);
        let geometry = layout.metainfo().geometry;
        let segments = |piece| layout.piece_segments(geometry.piece(piece).unwrap()).collect::<Vec<_>>();
        let padding = Segment { file: None, offset: 0, len: 6 };
        assert_eq!(segments(0), [Segment { file: Some(1), offset: 0, len: 10 }, padding]);
        assert_eq!(segments(1), [Segment { file: Some(4), offset: 0, len: 5 }]);
        let span = geometry.span(0, 9, 3).unwrap();
        let expected = [Segment { file: Some(1), offset: 9, len: 1 }, Segment { len: 2, ..padding }];
        assert_eq!(layout.segments(span).collect::<Vec<_>>(), expected);
        let pieces = |file| layout.pieces_of(file).map(PieceIndex::get).collect::<Vec<_>>();
        assert_eq!(
            [pieces(0), pieces(1), pieces(2), pieces(4), pieces(9)],
            [vec![], vec![0], vec![], vec![1], vec![]]
        );
    }

    #[test]
    fn what_is_not_selected_is_in_the_part_file() {
        let layout = layout(&[10, 3, 0, 2, 5, 7, 4, 9], &[5], 16);
        let geometry = layout.metainfo().geometry;
        for file in [1, 2, 3, 6] {
            layout.set_parted(file, true);
        }
        assert_eq!(layout.all_parted().collect::<Vec<_>>(), [1, 2, 3, 6]);
        let segments = |piece| {
            let segments = layout.piece_segments(geometry.piece(piece).unwrap());
            segments.map(|segment| (segment.file, segment.offset, segment.len)).collect::<Vec<_>>()
        };
        assert_eq!(layout.part(), 8);
        assert_eq!(segments(0), [(Some(0), 0, 10), (Some(8), 10, 5), (Some(4), 0, 1)]);
        assert_eq!(segments(1), [(Some(4), 1, 4), (None, 0, 7), (Some(8), 27, 4), (Some(7), 0, 1)]);
        let mut parted: Vec<u32> = layout.pieces_of(8).map(PieceIndex::get).collect();
        parted.dedup();
        assert_eq!(parted, [0, 1]);
        layout.set_parted(3, false);
        assert_eq!(segments(0), [(Some(0), 0, 10), (Some(8), 10, 3), (Some(3), 0, 2), (Some(4), 0, 1)]);
    }

    proptest! {
        #[test]
        fn segments_tile_every_span(
            lens in proptest::collection::vec(0u64..40, 1..20),
            piece_len in 1u64..50, begin in 0u32..50, len in 1u32..50, piece in 0u32..50,
        ) {
            prop_assume!(lens.iter().sum::<u64>() > 0);
            let padding: Vec<usize> = (0..lens.len()).filter(|i| i % 3 == 2).collect();
            let layout = layout(&lens, &padding, piece_len);
            let Some(span) = layout.metainfo().geometry.span(piece, begin, len) else { return Ok(()) };
            let start = u64::from(piece) * piece_len + u64::from(begin);
            let mut at = start;
            for segment in layout.segments(span) {
                prop_assert!(segment.len > 0);
                let owner = layout.files().iter().position(|f| f.offset <= at && at < f.offset + f.len).unwrap();
                let file = &layout.files()[owner];
                prop_assert_eq!(segment.file, (!file.padding).then_some(owner));
                prop_assert_eq!(segment.offset, at - file.offset);
                if segment.file.is_some() {
                    prop_assert!(layout.pieces_of(owner).any(|p| p == span.piece()));
                }
                at += segment.len;
            }
            prop_assert_eq!(at, start + u64::from(len));
        }
    }
}
