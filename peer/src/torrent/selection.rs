//! What is wanted of a torrent: from the files' priorities to the pieces'.

use std::sync::Arc;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{Geometry, PieceIndex};
use torrent_common::metainfo::Metainfo;

use crate::options::Priority;
use crate::storage::layout::pieces_of;

/// How much each piece is wanted: as much as the most wanted file that has bytes of it. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// One for each piece; `None`: all are wanted as usual.
    pieces: Option<Arc<[Priority]>>,
}

impl Selection {
    /// From the priorities of the files in payload order, padding not counted (empty: all normal). Costs one pass over
    /// files and pieces.
    pub fn of(metainfo: &Metainfo, priorities: &[Priority]) -> Self {
        if priorities.iter().all(|&priority| priority == Priority::Normal) {
            return Self::default();
        }
        let mut pieces = vec![Priority::Skip; metainfo.geometry.piece_count() as usize];
        for (file, priority) in by_file(metainfo, priorities) {
            for piece in pieces_of(metainfo, file) {
                if let Some(slot) = pieces.get_mut(piece.as_usize()) {
                    *slot = (*slot).max(priority);
                }
            }
        }
        Self { pieces: Some(pieces.into()) }
    }

    /// How much a piece is wanted.
    pub fn priority(&self, piece: PieceIndex) -> Priority {
        let pieces = self.pieces.as_deref();
        pieces.and_then(|pieces| pieces.get(piece.as_usize())).copied().unwrap_or_default()
    }

    /// The piece is wanted.
    pub fn wants(&self, piece: PieceIndex) -> bool {
        self.priority(piece) != Priority::Skip
    }

    /// The wanted pieces that are not in `had`.
    pub fn lacking(&self, geometry: &Geometry, had: &Bitfield) -> Bitfield {
        let mut lacking = Bitfield::empty(geometry);
        for piece in geometry.pieces().filter(|&piece| self.wants(piece) && !had.contains(piece)) {
            lacking.insert(piece);
        }
        lacking
    }

    /// Every wanted piece is in `had`.
    pub fn is_satisfied_by(&self, geometry: &Geometry, had: &Bitfield) -> bool {
        had.is_full() || geometry.pieces().all(|piece| !self.wants(piece) || had.contains(piece))
    }

    /// Bytes of the wanted pieces.
    pub fn wanted_len(&self, geometry: &Geometry) -> u64 {
        if self.pieces.is_none() {
            return geometry.total_len();
        }
        let wanted = geometry.pieces().filter(|&piece| self.wants(piece));
        wanted.map(|piece| u64::from(geometry.piece_len(piece))).sum()
    }
}

/// The files of the layout that are wanted.
#[derive(Debug)]
pub struct Wanted {
    /// One for each file; empty: all.
    files: Vec<bool>,
}

impl Wanted {
    /// From the priorities of the files in payload order, padding not counted (empty: all normal).
    pub fn of(metainfo: &Metainfo, priorities: &[Priority]) -> Self {
        if !priorities.contains(&Priority::Skip) {
            return Self { files: Vec::new() };
        }
        Self {
            files: by_file(metainfo, priorities).map(|(_, priority)| priority != Priority::Skip).collect(),
        }
    }

    /// This file is wanted.
    pub fn contains(&self, file: usize) -> bool {
        self.files.get(file).copied().unwrap_or(true)
    }
}

/// The priority of every file of the layout: padding is wanted as much as the file before it.
pub fn by_file<'a>(
    metainfo: &'a Metainfo,
    priorities: &'a [Priority],
) -> impl Iterator<Item = (usize, Priority)> + 'a {
    let mut given = priorities.iter();
    let mut last = Priority::Normal;
    metainfo.files.iter().enumerate().map(move |(index, file)| {
        if !file.padding {
            last = given.next().copied().unwrap_or_default();
        }
        (index, last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::{TestFile, torrent};

    #[test]
    fn a_piece_is_wanted_as_much_as_its_most_wanted_file() {
        let mut files = TestFile::list(&[("a", 250), ("none", 0), ("b", 40), ("c", 250)]);
        files.insert(3, TestFile { path: "pad".into(), len: 310, padding: true });
        let metainfo = torrent("t", &files, 100, None);
        let geometry = metainfo.geometry;
        let of = |priorities: &[Priority]| {
            let selection = Selection::of(&metainfo, priorities);
            geometry.pieces().map(|piece| selection.priority(piece)).collect::<Vec<_>>()
        };
        use Priority::{High, Low, Normal, Skip};
        // a: 0 to 2; b: 2; padding: 2 to 5; c: 6 to 8.
        assert_eq!(of(&[]), [Normal; 9]);
        assert_eq!(of(&[Normal; 4]), [Normal; 9]);
        assert_eq!(of(&[Low, Skip, High, Skip]), [Low, Low, High, High, High, High, Skip, Skip, Skip]);
        assert_eq!(of(&[Skip, High, Skip, Low]), [Skip, Skip, Skip, Skip, Skip, Skip, Low, Low, Low]);
        let selection = Selection::of(&metainfo, &[Skip, Skip, Skip, High]);
        assert_eq!(selection.wanted_len(&geometry), 250);
        let mut had = Bitfield::empty(&geometry);
        for index in 6..9 {
            assert!(!selection.is_satisfied_by(&geometry, &had));
            assert_eq!(selection.lacking(&geometry, &had).count(), 9 - index);
            had.insert(geometry.piece(index).unwrap());
        }
        assert!(selection.is_satisfied_by(&geometry, &had));
        assert!(!Selection::default().is_satisfied_by(&geometry, &had));
    }
}
