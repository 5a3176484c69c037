//! Which bytes of which file a run of payload bytes is.

use torrent_common::geometry::Span;
use torrent_common::metainfo::Metainfo;

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

/// The files of one torrent in payload order. Immutable, shared.
#[derive(Debug)]
pub struct Layout {
    // filled in by the storage room
    _private: (),
}

impl Layout {
    /// The layout of a torrent.
    pub fn new(metainfo: &Metainfo) -> Self {
        let _ = metainfo;
        todo!()
    }

    /// The segments of a run inside a piece, in order. Zero-length files do not appear.
    pub fn segments(&self, span: Span) -> impl Iterator<Item = Segment> + '_ {
        let _ = span;
        std::iter::empty()
    }
}
