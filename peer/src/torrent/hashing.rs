//! Whole pieces on their way to the hashers. Two that become whole within a few milliseconds are hashed side by side, which
//! takes little longer than one alone (see [`torrent_common::hash`]); a slow torrent's pieces never wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use torrent_common::geometry::PieceIndex;
use torrent_common::hash::sha1_pair;
use torrent_common::metainfo::Metainfo;

use super::evidence::BlockDigest;
use super::input::Input;
use super::{Active, Room};
use crate::queue::Sender;
use crate::storage::blocks::BlockBuf;

/// A piece waits for another if the one before it came no longer ago than this, and no longer than this.
const PATIENCE: Duration = Duration::from_millis(10);

/// A whole piece, not yet judged.
#[derive(Debug)]
pub struct Whole {
    /// Which.
    pub piece: PieceIndex,
    /// All of its blocks, in order.
    pub blocks: Vec<BlockBuf>,
    /// It failed before: what its blocks are is wanted also if it is good.
    pub compare: bool,
}

/// What became of it.
#[derive(Debug)]
pub struct Judged {
    /// Which.
    pub piece: PieceIndex,
    /// It is what the torrent says.
    pub good: bool,
    /// Its blocks back.
    pub blocks: Vec<BlockBuf>,
    /// What they are, of a piece that is bad or to be compared; else none.
    pub digests: Vec<BlockDigest>,
}

/// The pieces of one torrent that are being hashed.
pub struct Hashing {
    room: Arc<Room>,
    metainfo: Arc<Metainfo>,
    inputs: Sender<Input>,
    pairing: Pairing<Whole>,
    /// Pieces handed to the hashers and not answered.
    running: usize,
}

impl Hashing {
    /// Nothing to hash yet.
    pub fn new(active: &Active) -> Self {
        Self {
            room: Arc::clone(&active.room),
            metainfo: Arc::clone(&active.metainfo),
            inputs: active.link.inputs.clone(),
            pairing: Pairing::default(),
            running: 0,
        }
    }

    /// A piece is whole: [`Input::Hashed`] will tell whether it is good. `more`: others are being received.
    pub fn add(&mut self, whole: Whole, more: bool, now: Instant) {
        if let Some((first, second)) = self.pairing.add(whole, more, now) {
            self.spawn(first, second);
        }
    }

    /// When [`Hashing::turn`] has something to do.
    pub fn next_wake(&self) -> Option<Instant> {
        self.pairing.due()
    }

    /// A piece that has waited long enough for another goes alone.
    pub fn turn(&mut self, now: Instant) {
        if self.pairing.due().is_some_and(|due| due <= now) {
            self.flush();
        }
    }

    /// Nothing waits any longer.
    pub fn flush(&mut self) {
        if let Some(piece) = self.pairing.take() {
            self.spawn(piece, None);
        }
    }

    /// An answer came.
    pub const fn answered(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Answers are to come.
    pub const fn is_busy(&self) -> bool {
        self.running > 0
    }

    fn spawn(&mut self, first: Whole, second: Option<Whole>) {
        let (metainfo, inputs) = (Arc::clone(&self.metainfo), self.inputs.clone());
        self.running += 1 + usize::from(second.is_some());
        self.room.hashers.spawn(move || {
            for judged in judge(&metainfo, first, second) {
                // Fails only when the torrent has ended.
                let _ = inputs.send(Input::Hashed(judged));
            }
        });
    }
}

/// Hashes one piece or two, and says of each whether it is good.
fn judge(metainfo: &Metainfo, first: Whole, second: Option<Whole>) -> impl Iterator<Item = Judged> {
    let others = second.iter().flat_map(|whole| &whole.blocks);
    let hashes = sha1_pair(first.blocks.iter().map(|block| &**block), others.map(|block| &**block));
    let judged = [(Some(first), hashes.0), (second, hashes.1)];
    judged.into_iter().filter_map(|(whole, hash)| {
        let Whole { piece, blocks, compare } = whole?;
        let good = hash == *metainfo.piece_hash(piece);
        let digests = if compare || !good { digests(&blocks) } else { Vec::new() };
        Some(Judged { piece, good, blocks, digests })
    })
}

/// What each block is.
fn digests(blocks: &[BlockBuf]) -> Vec<BlockDigest> {
    let short = |[a, b, c, d, e, f, g, h, ..]: [u8; 20]| [a, b, c, d, e, f, g, h];
    let pairs = blocks.chunks(2).flat_map(|pair| {
        let (first, second) =
            sha1_pair(pair.first().map(|block| &**block), pair.get(1).map(|block| &**block));
        [first, second].into_iter().take(pair.len()).map(short)
    });
    pairs.collect()
}

/// Puts together what comes in quick succession.
#[derive(Debug)]
struct Pairing<T> {
    held: Option<(T, Instant)>,
    /// When the last one came.
    last: Option<Instant>,
}

impl<T> Default for Pairing<T> {
    fn default() -> Self {
        Self { held: None, last: None }
    }
}

impl<T> Pairing<T> {
    /// What is to be done now: one alone, two together, or nothing yet. `more`: another may come.
    fn add(&mut self, item: T, more: bool, now: Instant) -> Option<(T, Option<T>)> {
        let quick = self.last.is_some_and(|last| now.saturating_duration_since(last) <= PATIENCE);
        self.last = Some(now);
        if let Some((held, _)) = self.held.take() {
            return Some((held, Some(item)));
        }
        if quick && more {
            self.held = Some((item, now + PATIENCE));
            return None;
        }
        Some((item, None))
    }

    fn due(&self) -> Option<Instant> {
        self.held.as_ref().map(|&(_, due)| due)
    }

    fn take(&mut self) -> Option<T> {
        self.held.take().map(|(item, _)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::{TestFile, blocks, payload, torrent};

    #[test]
    fn each_piece_is_judged_by_its_own_hash() {
        let files = TestFile::list(&[("", 100)]);
        let metainfo = torrent("t", &files, 32, None);
        let whole = |index, damage: bool| {
            let mut blocks = blocks(&metainfo, index, &payload(&files));
            blocks[0][0] ^= u8::from(damage);
            Whole { piece: metainfo.geometry.piece(index).unwrap(), blocks, compare: false }
        };
        let good = |first, second: Option<Whole>| -> Vec<_> {
            judge(&metainfo, first, second).map(|judged| (judged.piece.get(), judged.good)).collect()
        };
        assert_eq!(good(whole(1, false), None), [(1, true)]);
        assert_eq!(good(whole(1, true), None), [(1, false)]);
        assert_eq!(good(whole(3, false), Some(whole(0, true))), [(3, true), (0, false)]);
        assert_eq!(good(whole(2, true), Some(whole(3, false))), [(2, false), (3, true)]);
    }

    #[test]
    fn blocks_of_bad_pieces_and_of_those_to_be_compared_have_digests() {
        let files = TestFile::list(&[("", 100)]);
        let metainfo = torrent("t", &files, 32, None);
        let judged = |damage: u8, compare: bool| {
            let mut blocks = blocks(&metainfo, 1, &payload(&files));
            let last = blocks.len() - 1;
            blocks[last][0] ^= damage;
            let whole = Whole { piece: metainfo.geometry.piece(1).unwrap(), blocks, compare };
            judge(&metainfo, whole, None).next().unwrap()
        };
        assert!(judged(0, false).digests.is_empty());
        let (good, bad) = (judged(0, true), judged(1, false));
        let last = good.blocks.len() - 1;
        assert!(good.digests.len() == good.blocks.len() && bad.digests.len() == good.digests.len());
        assert_eq!(good.digests[..last], bad.digests[..last]);
        assert_ne!(good.digests[last], bad.digests[last]);
    }

    #[test]
    fn those_that_come_quickly_are_paired_and_others_do_not_wait() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pairing = Pairing::default();
        assert_eq!(pairing.add(1, true, at(0)), Some((1, None)));
        assert_eq!(pairing.add(2, true, at(11)), Some((2, None)));
        assert_eq!(pairing.add(3, true, at(21)), None);
        assert_eq!(pairing.due(), Some(at(31)));
        assert_eq!(pairing.add(4, true, at(25)), Some((3, Some(4))));
        assert_eq!((pairing.due(), pairing.take()), (None, None));
        assert_eq!(pairing.add(5, false, at(26)), Some((5, None)));
        assert_eq!(pairing.add(6, true, at(27)), None);
        assert_eq!(pairing.take(), Some(6));
        assert_eq!(pairing.add(7, true, at(60)), Some((7, None)));
    }
}
