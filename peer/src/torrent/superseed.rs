//! Super-seeding (BEP 16): the only seeder shows each piece to one peer, so that it sends every piece once before it
//! sends any twice. Plain data and plain decisions: who is shown which piece next.
//!
//! A peer is hidden from when its connection began with "I have nothing". It is then shown pieces one after the other;
//! only a few are under way at a time in the whole swarm, so that each is whole soon and can be passed on. Who passes on
//! what it got is served before who does not. A piece that takes too long does not hold up the others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use torrent_common::geometry::PieceIndex;

use super::event::PeerKey;

/// Torrents of more pieces are seeded in the ordinary way: showing all of them costs nine bytes each, for every peer.
pub const MAX_PIECES: u32 = 65_536;
/// Pieces under way at the least.
const LEAST: usize = 4;
/// And besides, what the uplink sends in this time.
const AHEAD: Duration = Duration::from_millis(500);
/// Pieces that a peer may have got and not passed on, while there are others to serve.
const HOARD: usize = 4;
/// A piece is late after so many times the time that all under way should take,
const LATE_FACTOR: u32 = 3;
/// but no sooner than this,
const LATE_LEAST: Duration = Duration::from_secs(2);
/// and no later than this.
const LATE_MOST: Duration = Duration::from_secs(60);

/// A piece that a peer was shown and has not got yet.
#[derive(Debug)]
struct Shown {
    piece: PieceIndex,
    at: Instant,
    late: bool,
}

/// A peer that we hide from.
#[derive(Debug, Default)]
struct Viewer {
    in_hand: Vec<Shown>,
    /// Pieces that nobody else has.
    hoard: BTreeSet<PieceIndex>,
    /// Pieces that it was shown and has.
    got: u32,
}

/// How fast what is shown should be taken.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Bytes per second that we send to all peers.
    pub rate: u64,
    /// Bytes of a piece.
    pub piece_len: u64,
}

impl Pace {
    /// Pieces that may be under way at a time.
    fn window(self) -> usize {
        let ahead = u128::from(self.rate) * AHEAD.as_millis() / 1000 / u128::from(self.piece_len.max(1));
        usize::try_from(ahead).unwrap_or(usize::MAX).clamp(0, MAX_PIECES as usize) + LEAST
    }

    /// How long a piece may be under way.
    fn patience(self) -> Duration {
        let bytes = u128::from(self.piece_len) * self.window() as u128;
        let Some(ms) = (bytes * 1000).checked_div(u128::from(self.rate)) else { return LATE_LEAST };
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        Duration::from_millis(ms).saturating_mul(LATE_FACTOR).clamp(LATE_LEAST, LATE_MOST)
    }
}

/// Who was shown what.
#[derive(Debug, Default)]
pub struct SuperSeed {
    viewers: BTreeMap<PeerKey, Viewer>,
    /// Pieces to show, in random order, the next last. May name some that need not be shown any more.
    pool: VecDeque<PieceIndex>,
    /// The same, each once: a peer that says it has everything, and goes, again and again, adds nothing.
    pooled: BTreeSet<PieceIndex>,
    /// Pieces in hand that are not late.
    under_way: usize,
}

impl SuperSeed {
    /// Begins with these pieces to show, in random order.
    pub fn begin(&mut self, pool: Vec<PieceIndex>) {
        self.pooled = pool.iter().copied().collect();
        self.pool = pool.into();
    }

    /// A peer came that we hide from.
    pub fn came(&mut self, key: PeerKey) {
        self.viewers.entry(key).or_default();
    }

    /// Everybody that we hide from.
    pub fn viewers(&self) -> impl Iterator<Item = PeerKey> + '_ {
        self.viewers.keys().copied()
    }

    /// Number of peers that we hide from.
    pub fn len(&self) -> usize {
        self.viewers.len()
    }

    /// We hide from nobody.
    pub fn is_empty(&self) -> bool {
        self.viewers.is_empty()
    }

    /// Pieces that this peer was shown and has.
    pub fn got(&self, key: PeerKey) -> u32 {
        self.viewers.get(&key).map_or(0, |viewer| viewer.got)
    }

    /// A peer is gone. What it was to get is shown to others.
    pub fn went(&mut self, key: PeerKey) {
        let Some(viewer) = self.viewers.remove(&key) else { return };
        for shown in viewer.in_hand.into_iter().filter(|shown| !shown.late) {
            self.taken(&shown);
            if self.pooled.insert(shown.piece) {
                self.pool.push_back(shown.piece);
            }
        }
    }

    /// The last peer that had this piece is gone.
    pub fn lost(&mut self, piece: PieceIndex) {
        if self.pooled.insert(piece) {
            self.pool.push_front(piece);
        }
    }

    /// Nothing is under way: there is nothing more to show, or nobody takes it.
    pub const fn stands_still(&self) -> bool {
        self.under_way == 0
    }

    /// We hide no longer: forgets everything, and says from whom we did.
    pub fn end(&mut self) -> Vec<PeerKey> {
        std::mem::take(self).viewers.into_keys().collect()
    }

    /// A peer has a piece now; `copies` peers have it, this one included.
    pub fn has(&mut self, key: PeerKey, piece: PieceIndex, copies: u32) {
        if let Some(viewer) = self.viewers.get_mut(&key)
            && let Some(at) = viewer.in_hand.iter().position(|shown| shown.piece == piece)
        {
            let shown = viewer.in_hand.swap_remove(at);
            viewer.got += 1;
            if copies <= 1 {
                viewer.hoard.insert(piece);
            }
            self.taken(&shown);
        }
        if copies > 1 {
            for viewer in self.viewers.values_mut() {
                viewer.hoard.remove(&piece);
            }
        }
    }

    /// A piece is in nobody's hand any more, or in one less.
    const fn taken(&mut self, shown: &Shown) {
        if !shown.late {
            self.under_way = self.under_way.saturating_sub(1);
        }
    }

    /// Finds pieces that took too long: they do not keep others back, and are shown again when all others were.
    pub fn find_late(&mut self, pace: Pace, now: Instant) {
        let patience = pace.patience();
        for shown in self.viewers.values_mut().flat_map(|viewer| viewer.in_hand.iter_mut()) {
            if !shown.late && shown.at + patience <= now {
                shown.late = true;
                self.under_way = self.under_way.saturating_sub(1);
                if self.pooled.insert(shown.piece) {
                    self.pool.push_front(shown.piece);
                }
            }
        }
    }

    /// When the next piece is late.
    pub fn next_late(&self, pace: Pace) -> Option<Instant> {
        let shown = self.viewers.values().flat_map(|viewer| &viewer.in_hand);
        shown.filter(|shown| !shown.late).map(|shown| shown.at + pace.patience()).min()
    }

    /// The next piece to show, and whom: entered as shown. None when enough are under way, or there is none to show.
    /// `copies` says how many peers have a piece.
    pub fn next(
        &mut self,
        pace: Pace,
        now: Instant,
        copies: impl Fn(PieceIndex) -> u32,
    ) -> Option<(PeerKey, PieceIndex)> {
        let window = pace.window();
        if self.under_way >= window {
            return None;
        }
        let most = 2 + window / self.viewers.len().max(1);
        let order = |viewer: &Viewer| {
            let hoards = viewer.hoard.len() >= HOARD;
            (hoards, viewer.in_hand.len() + viewer.hoard.len(), viewer.got)
        };
        let able = self.viewers.iter().filter(|(_, viewer)| viewer.in_hand.len() < most);
        let mut able: Vec<_> = able.map(|(&key, viewer)| (order(viewer), key)).collect();
        able.sort_unstable();
        let (key, piece) = able.into_iter().find_map(|(_, key)| Some((key, self.draw(key, &copies)?)))?;
        self.viewers.get_mut(&key)?.in_hand.push(Shown { piece, at: now, late: false });
        self.under_way += 1;
        Some((key, piece))
    }

    /// Takes a piece out of the pool for this peer. What need not be shown any more falls out on the way.
    fn draw(&mut self, key: PeerKey, copies: &impl Fn(PieceIndex) -> u32) -> Option<PieceIndex> {
        let viewer = self.viewers.get(&key)?;
        let mut at = self.pool.len();
        loop {
            at = at.checked_sub(1)?;
            let piece = *self.pool.get(at)?;
            let has_some = copies(piece) > 0;
            if !has_some && viewer.in_hand.iter().any(|shown| shown.piece == piece) {
                continue;
            }
            self.pool.remove(at);
            self.pooled.remove(&piece);
            if !has_some {
                return Some(piece);
            }
        }
    }
}

#[cfg(any(test, debug_assertions))]
impl SuperSeed {
    /// Checks the books against each other.
    pub fn check_invariants(&self) {
        let shown = self.viewers.values().flat_map(|viewer| &viewer.in_hand);
        assert_eq!(self.under_way, shown.filter(|shown| !shown.late).count(), "pieces under way");
        assert!(
            self.pool.len() == self.pooled.len() && self.pool.iter().all(|p| self.pooled.contains(p)),
            "pool"
        );
        let mut hoarded = BTreeSet::new();
        for viewer in self.viewers.values() {
            assert!(viewer.hoard.iter().all(|piece| hoarded.insert(*piece)), "hoarded twice");
        }
    }
}

#[cfg(test)]
mod tests {
    use torrent_common::geometry::Geometry;

    use super::*;

    const SLOW: Pace = Pace { rate: 0, piece_len: 10 };

    fn pieces(count: u64) -> Vec<PieceIndex> {
        Geometry::new(count * 10, 10, 10).unwrap().pieces().collect()
    }

    /// Everything that is shown now, where nobody has anything.
    fn all(books: &mut SuperSeed, pace: Pace, now: Instant) -> Vec<(u64, u32)> {
        let next = || books.next(pace, now, |_| 0).map(|(key, piece)| (key.0, piece.get()));
        std::iter::from_fn(next).collect()
    }

    fn books(count: u64, viewers: u64) -> SuperSeed {
        let mut books = SuperSeed::default();
        books.begin(pieces(count));
        (0..viewers).for_each(|key| books.came(PeerKey(key)));
        books
    }

    #[test]
    fn each_piece_is_shown_once_and_few_at_a_time() {
        let (now, pieces) = (Instant::now(), pieces(40));
        let mut books = books(40, 3);
        let mut seen = BTreeSet::new();
        while seen.len() < 40 {
            let shown = all(&mut books, SLOW, now);
            assert!(!shown.is_empty() && books.under_way <= LEAST);
            for (key, piece) in shown {
                assert!(seen.insert(piece), "{piece} shown twice");
                books.has(PeerKey(key), pieces[piece as usize], 1);
                books.has(PeerKey((key + 1) % 3), pieces[piece as usize], 2);
            }
            books.check_invariants();
        }
        assert_eq!(all(&mut books, SLOW, now), []);
        assert!((0..3).all(|key| books.got(PeerKey(key)) >= 10), "nobody was forgotten");
    }

    #[test]
    fn a_fast_uplink_has_more_under_way() {
        let now = Instant::now();
        assert_eq!(all(&mut books(100, 3), SLOW, now).len(), LEAST);
        let fast = Pace { rate: 400, piece_len: 10 };
        assert_eq!(all(&mut books(100, 3), fast, now).len(), LEAST + 20);
    }

    #[test]
    fn who_passes_nothing_on_waits_while_others_do() {
        let (now, pieces) = (Instant::now(), pieces(60));
        let mut books = books(60, 2);
        let (mut hoarder, mut giver) = (0, 0);
        for _ in 0..20 {
            for (key, piece) in all(&mut books, SLOW, now) {
                books.has(PeerKey(key), pieces[piece as usize], 1);
                if key == 0 {
                    hoarder += 1;
                } else {
                    giver += 1;
                    books.has(PeerKey(9), pieces[piece as usize], 2);
                }
            }
        }
        assert!(hoarder <= 2 * HOARD && giver >= 40, "{hoarder} {giver}");
    }

    #[test]
    fn who_comes_and_goes_with_everything_adds_nothing() {
        let (now, pieces) = (Instant::now(), pieces(40));
        let mut books = books(40, 2);
        let first = all(&mut books, SLOW, now);
        for _ in 0..100 {
            pieces.iter().for_each(|&piece| books.lost(piece));
            assert!(books.pool.len() <= pieces.len());
        }
        books.check_invariants();
        assert_eq!((first.len(), all(&mut books, SLOW, now).len()), (LEAST, 0));
    }

    #[test]
    fn what_is_late_or_left_is_shown_to_another_and_holds_nobody_up() {
        let now = Instant::now();
        let mut books = books(4, 2);
        let first = all(&mut books, SLOW, now);
        assert_eq!(first.len(), 4, "{first:?}");
        assert_eq!(all(&mut books, SLOW, now), []);
        let late = books.next_late(SLOW).unwrap();
        assert_eq!(late, now + LATE_LEAST);
        books.find_late(SLOW, late);
        let again = all(&mut books, SLOW, late);
        assert_eq!(again.len(), 4);
        assert!(first.iter().all(|shown| !again.contains(shown)), "the same to the same: {again:?}");
        books.came(PeerKey(2));
        books.went(PeerKey(0));
        assert_eq!(all(&mut books, SLOW, late).len(), 2, "what it was to get");
        assert!(books.end().into_iter().eq([PeerKey(1), PeerKey(2)]) && books.is_empty());
    }
}
