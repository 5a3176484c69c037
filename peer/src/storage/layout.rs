//! Which bytes of which file a run of payload bytes is.

use std::ops::Range;
use std::sync::Arc;

use torrent_common::geometry::{PieceIndex, Span};
use torrent_common::metainfo::{File, Metainfo};

/// A run of bytes of one file, or of padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Index into [`Layout::files`]; `None` for padding, whose bytes are zeros and never on disk (BEP 47).
    pub file: Option<usize>,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How many bytes; never 0.
    pub len: u64,
}

/// The files of one torrent in payload order. A view of its metainfo, which is sorted by offset already: no table of
/// its own, so half a million files cost nothing more.
#[derive(Debug, Clone)]
pub struct Layout {
    metainfo: Arc<Metainfo>,
}

impl Layout {
    /// The layout of a torrent.
    pub const fn new(metainfo: Arc<Metainfo>) -> Self {
        Self { metainfo }
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

    /// The pieces that have bytes of this file; none if it has no bytes.
    pub fn pieces_of(&self, file: usize) -> impl Iterator<Item = PieceIndex> + use<> {
        let geometry = self.metainfo.geometry;
        let piece_len = u64::from(geometry.nominal_piece_len());
        let range: Range<u64> = match self.files().get(file) {
            Some(file) if file.len > 0 => {
                file.offset / piece_len..file.offset.saturating_add(file.len).div_ceil(piece_len)
            }
            _ => 0..0,
        };
        range.filter_map(move |index| geometry.piece(u32::try_from(index).ok()?))
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
                at += len;
                return Some(Segment { file: (!file.padding).then_some(this), offset, len });
            }
            None
        })
    }
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
