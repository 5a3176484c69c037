//! Super-seeding (BEP 16): the only seeder shows each piece to one peer, so that it sends every piece once before it
//! sends any twice. Plain data and plain decisions: who is shown which piece next.
//!
//! A peer is hidden from when its connection began with "I have nothing". It is then shown pieces one after the other;
//! only a few are under way at a time in the whole swarm, so that each is whole soon and can be passed on. Who passes on
//! what it got is served before who does not. A piece that takes too long does not hold up the others.
//!
//! Most of what leechers say changes nothing here, and is to cost the same with a thousand of them as with ten: so nothing
//! below goes through all viewers but the search for the next, which is not repeated until its answer may differ.

mod pool;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use torrent_common::geometry::PieceIndex;

use self::pool::Pool;
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
/// How often those that might have been begun are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A piece that a peer was shown and has not got yet.
#[derive(Debug)]
struct Shown {
    piece: PieceIndex,
    /// Its number among those under way; None: it is late.
    turn: Option<u64>,
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

/// The lower, the sooner a viewer is served: who hoards last, who has least first.
type Rank = (bool, usize, u32);

impl Viewer {
    fn rank(&self) -> Rank {
        (self.hoard.len() >= HOARD, self.in_hand.len() + self.hoard.len(), self.got)
    }

    fn position(&self, piece: PieceIndex) -> Option<usize> {
        self.in_hand.iter().position(|shown| shown.piece == piece)
    }
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
    /// All viewers, in the order in which they are served.
    ranks: BTreeSet<(Rank, PeerKey)>,
    /// Whose hoard a piece is in.
    hoarded: BTreeMap<PieceIndex, PeerKey>,
    pool: Pool,
    /// Pieces in hand that are not late, the longest ago first.
    under_way: BTreeMap<u64, (Instant, PeerKey, PieceIndex)>,
    /// The number of the next piece that is shown.
    turn: u64,
    /// Nobody could be shown anything when each might have so many in hand, and nothing has changed since.
    fruitless: Option<usize>,
}

impl SuperSeed {
    /// Begins with these pieces to show, in random order.
    pub fn begin(&mut self, pool: Vec<PieceIndex>) {
        self.pool = Pool::new(pool);
        self.fruitless = None;
    }

    /// A peer came that we hide from.
    pub fn came(&mut self, key: PeerKey) {
        let viewer = self.viewers.entry(key).or_default();
        self.ranks.insert((viewer.rank(), key));
        self.fruitless = None;
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

    /// It was shown something that it has not got yet.
    pub fn is_shown(&self, key: PeerKey) -> bool {
        self.viewers.get(&key).is_some_and(|viewer| !viewer.in_hand.is_empty())
    }

    /// A peer is gone. What it was to get is shown to others.
    pub fn went(&mut self, key: PeerKey) {
        let Some(viewer) = self.viewers.remove(&key) else { return };
        self.ranks.remove(&(viewer.rank(), key));
        self.fruitless = None;
        for piece in &viewer.hoard {
            self.hoarded.remove(piece);
        }
        for shown in viewer.in_hand {
            if let Some(turn) = shown.turn {
                self.under_way.remove(&turn);
                self.pool.add_next(shown.piece);
            }
        }
    }

    /// The last peer that had this piece is gone.
    pub fn lost(&mut self, piece: PieceIndex) {
        self.pool.add_last(piece);
        self.fruitless = None;
    }

    /// Nothing is under way: there is nothing more to show, or nobody takes it.
    pub fn stands_still(&self) -> bool {
        self.under_way.is_empty()
    }

    /// We hide no longer: forgets everything, and says from whom we did.
    pub fn end(&mut self) -> Vec<PeerKey> {
        std::mem::take(self).viewers.into_keys().collect()
    }

    /// A peer has a piece now; `copies` peers have it, this one included.
    pub fn has(&mut self, key: PeerKey, piece: PieceIndex, copies: u32) {
        if let Some(at) = self.viewers.get(&key).and_then(|viewer| viewer.position(piece)) {
            let alone = copies <= 1;
            let turn = self.change(key, |viewer| {
                viewer.got += 1;
                if alone {
                    viewer.hoard.insert(piece);
                }
                viewer.in_hand.swap_remove(at).turn
            });
            if let Some(turn) = turn.flatten() {
                self.under_way.remove(&turn);
            }
            if alone {
                self.hoarded.insert(piece, key);
            }
        }
        if copies > 1
            && let Some(hoarder) = self.hoarded.remove(&piece)
        {
            self.change(hoarder, |viewer| viewer.hoard.remove(&piece));
        }
    }

    /// Changes a viewer, and its place among the others.
    fn change<T>(&mut self, key: PeerKey, change: impl FnOnce(&mut Viewer) -> T) -> Option<T> {
        let viewer = self.viewers.get_mut(&key)?;
        self.ranks.remove(&(viewer.rank(), key));
        let outcome = change(viewer);
        self.ranks.insert((viewer.rank(), key));
        self.fruitless = None;
        Some(outcome)
    }

    /// Finds pieces that took too long: they do not keep others back, and are shown again when all others were. Who was
    /// to get them.
    pub fn find_late(&mut self, pace: Pace, now: Instant) -> Vec<PeerKey> {
        let (patience, mut late) = (pace.patience(), Vec::new());
        while let Some(first) = self.under_way.first_entry()
            && first.get().0 + patience <= now
        {
            let (_, key, piece) = first.remove();
            let viewer = self.viewers.get_mut(&key);
            if let Some(shown) =
                viewer.and_then(|viewer| viewer.in_hand.iter_mut().find(|s| s.piece == piece))
            {
                shown.turn = None;
            }
            self.pool.add_last(piece);
            self.fruitless = None;
            late.push(key);
        }
        late
    }

    /// Who was shown pieces so long ago that they might at least have begun with them. These are few: where many are under way
    /// they are late as soon.
    pub fn might_have_begun(&self, now: Instant) -> impl Iterator<Item = PeerKey> + '_ {
        let old = self.under_way.values().take_while(move |(at, ..)| *at + LATE_LEAST <= now);
        old.map(|&(_, key, _)| key)
    }

    /// When the next piece is late, or to be looked at by then.
    pub fn next_late(&self, pace: Pace, now: Instant) -> Option<Instant> {
        let &(at, ..) = self.under_way.first_key_value()?.1;
        let begun = Some(at + LATE_LEAST).filter(|&due| due > now).unwrap_or(now + LOOK);
        Some(begun.min(at + pace.patience()))
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
        let most = 2 + window / self.viewers.len().max(1);
        if self.under_way.len() >= window || self.fruitless == Some(most) {
            return None;
        }
        let found = self.ranks.iter().find_map(|&(_, key)| {
            let viewer = self.viewers.get(&key).filter(|viewer| viewer.in_hand.len() < most)?;
            let piece = self.pool.draw(&copies, |piece| viewer.position(piece).is_none())?;
            Some((key, piece))
        });
        let Some((key, piece)) = found else {
            self.fruitless = Some(most);
            return None;
        };
        self.turn += 1;
        let turn = self.turn;
        self.change(key, |viewer| viewer.in_hand.push(Shown { piece, turn: Some(turn) }));
        self.under_way.insert(turn, (now, key, piece));
        Some((key, piece))
    }
}

#[cfg(any(test, debug_assertions))]
impl SuperSeed {
    /// Checks the books against each other.
    pub fn check_invariants(&self) {
        let mut under_way = BTreeSet::new();
        let mut hoarded = BTreeMap::new();
        for (&key, viewer) in &self.viewers {
            let turns = viewer.in_hand.iter().filter_map(|shown| Some((shown.turn?, key, shown.piece)));
            under_way.extend(turns);
            assert!(self.ranks.contains(&(viewer.rank(), key)), "its rank is another");
            for &piece in &viewer.hoard {
                assert_eq!(hoarded.insert(piece, key), None, "hoarded twice");
            }
        }
        let noted = self.under_way.iter().map(|(&turn, &(_, key, piece))| (turn, key, piece));
        assert!(noted.eq(under_way), "pieces under way");
        assert_eq!(self.ranks.len(), self.viewers.len(), "ranks");
        assert_eq!(self.hoarded, hoarded, "hoards");
        self.pool.check_invariants();
    }
}
