//! What we have, shared by the torrent (the only writer) with its connections (readers): bits to check an upload
//! request against, and the order in which pieces came, from which each connection sends its own `have` messages.
//! So a new piece costs the torrent one store and a ring per connection, and no queue can overflow with haves.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{Geometry, PieceIndex};

/// The pieces had, and the log of those that came since the torrent became active.
#[derive(Debug)]
pub struct Have {
    geometry: Geometry,
    bits: Box<[AtomicU8]>,
    log: Box<[AtomicU32]>,
    logged: AtomicU32,
    hidden: AtomicBool,
}

impl Have {
    /// Starts from what is had already.
    pub fn new(geometry: Geometry, had: &Bitfield) -> Self {
        let missing = had.len().saturating_sub(had.count());
        Self {
            geometry,
            bits: had.as_bytes().iter().map(|&byte| AtomicU8::new(byte)).collect(),
            log: (0..missing).map(|_| AtomicU32::new(0)).collect(),
            logged: AtomicU32::new(0),
            hidden: AtomicBool::new(false),
        }
    }

    /// Whether the piece is had: verified, and written.
    pub fn contains(&self, piece: PieceIndex) -> bool {
        let bit = 0x80 >> (piece.get() % 8);
        self.bits.get(piece.as_usize() / 8).is_some_and(|byte| byte.load(Ordering::Acquire) & bit != 0)
    }

    /// Adds a piece. Called by the torrent's thread alone.
    pub fn insert(&self, piece: PieceIndex) {
        if self.contains(piece) {
            return;
        }
        let Some(byte) = self.bits.get(piece.as_usize() / 8) else { return };
        byte.fetch_or(0x80 >> (piece.get() % 8), Ordering::Release);
        let at = self.logged.load(Ordering::Relaxed);
        if let Some(slot) = self.log.get(at as usize) {
            slot.store(piece.get(), Ordering::Relaxed);
            self.logged.store(at + 1, Ordering::Release);
        }
    }

    /// Connections that begin from now on tell their peer that we have nothing (BEP 16), or what we have.
    pub fn hide(&self, hidden: bool) {
        self.hidden.store(hidden, Ordering::Relaxed);
    }

    /// Whether a connection that begins is to hide what we have.
    pub fn is_hidden(&self) -> bool {
        self.hidden.load(Ordering::Relaxed)
    }

    /// How long the log is: take it before [`Have::snapshot`], so that no piece falls between the two.
    pub fn logged(&self) -> u32 {
        self.logged.load(Ordering::Acquire)
    }

    /// The pieces that came from position `from` of the log on.
    pub fn since(&self, from: u32) -> impl Iterator<Item = PieceIndex> + '_ {
        let range = from as usize..self.logged() as usize;
        self.log
            .get(range)
            .unwrap_or_default()
            .iter()
            .filter_map(|slot| self.geometry.piece(slot.load(Ordering::Relaxed)))
    }

    /// The bits now, as a bitfield.
    pub fn snapshot(&self) -> Bitfield {
        let bytes: Vec<u8> = self.bits.iter().map(|byte| byte.load(Ordering::Acquire)).collect();
        Bitfield::from_bytes(&bytes, &self.geometry).unwrap_or_else(|_| Bitfield::empty(&self.geometry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_the_order_and_forgets_nothing() {
        let geometry = Geometry::new(1000, 100, 100).unwrap();
        let piece = |index| geometry.piece(index).unwrap();
        let mut had = Bitfield::empty(&geometry);
        had.insert(piece(3));
        let have = Have::new(geometry, &had);
        let from = have.logged();
        for index in [9, 0, 9, 3, 5] {
            have.insert(piece(index));
        }
        assert_eq!(have.since(from).map(PieceIndex::get).collect::<Vec<_>>(), [9, 0, 5]);
        assert_eq!(have.since(have.logged()).count(), 0);
        assert_eq!(have.since(77).count(), 0);
        assert_eq!(have.snapshot().iter(&geometry).map(PieceIndex::get).collect::<Vec<_>>(), [0, 3, 5, 9]);
    }
}
