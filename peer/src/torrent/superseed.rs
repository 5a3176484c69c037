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

/// What is known of a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It got a piece that it was shown.
    Proven,
    /// It got none yet.
    New,
    /// It was shown something a while ago and takes nothing.
    PassedOver,
}

/// A peer that we hide from.
#[derive(Debug, Default)]
struct Viewer {
    passed_over: bool,
    in_hand: Vec<Shown>,
    /// Pieces that nobody else has.
    hoard: BTreeSet<PieceIndex>,
    /// Pieces that it was shown and has.
    got: u32,
}

/// The lower, the sooner a viewer is served: who takes nothing or hoards last, who has least first.
type Rank = (bool, bool, usize, u32);

impl Viewer {
    fn rank(&self) -> Rank {
        (self.passed_over, self.hoard.len() >= HOARD, self.in_hand.len() + self.hoard.len(), self.got)
    }

    const fn standing(&self) -> Standing {
        match (self.passed_over, self.got) {
            (true, _) => Standing::PassedOver,
            (false, 0) => Standing::New,
            (false, _) => Standing::Proven,
        }
    }

    /// Pieces in hand that are not late.
    fn under_way(&self) -> usize {
        self.in_hand.iter().filter(|shown| shown.turn.is_some()).count()
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
    /// Those under way at viewers that got some before, at viewers that did not yet, and at those passed over.
    load: [usize; 3],
    /// Nobody could be shown anything when each might have so many in hand, new ones too or not, and nothing has changed
    /// since.
    fruitless: Option<(usize, bool)>,
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

    /// How many pieces it was shown and has not got yet; None: we do not hide from it.
    pub fn in_hand(&self, key: PeerKey) -> Option<usize> {
        self.viewers.get(&key).map(|viewer| viewer.in_hand.len())
    }

    /// A peer is gone. What it was to get is shown to others.
    pub fn went(&mut self, key: PeerKey) {
        let Some(viewer) = self.viewers.remove(&key) else { return };
        self.ranks.remove(&(viewer.rank(), key));
        *self.load_of(viewer.standing()) -= viewer.under_way();
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

    /// It takes nothing of what it was shown: it keeps nobody else waiting, and is shown no more until it takes some.
    pub fn pass_over(&mut self, key: PeerKey) {
        self.change(key, |viewer| viewer.passed_over = true);
    }

    /// It takes something.
    pub fn takes(&mut self, key: PeerKey) {
        if self.viewers.get(&key).is_some_and(|viewer| viewer.passed_over) {
            self.change(key, |viewer| viewer.passed_over = false);
        }
    }

    /// Who was shown something before this time that is still under way, but for those passed over.
    pub fn shown_before(&self, time: Instant) -> impl Iterator<Item = PeerKey> + '_ {
        let old = self.under_way.values().take_while(move |&&(at, ..)| at <= time);
        let waits = |key: &PeerKey| self.viewers.get(key).is_some_and(|viewer| !viewer.passed_over);
        old.map(|&(_, key, _)| key).filter(waits)
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
                viewer.passed_over = false;
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
        let (rank, standing, under_way) = (viewer.rank(), viewer.standing(), viewer.under_way());
        let outcome = change(viewer);
        let (now_rank, now_standing, now_under_way) = (viewer.rank(), viewer.standing(), viewer.under_way());
        self.ranks.remove(&(rank, key));
        self.ranks.insert((now_rank, key));
        *self.load_of(standing) -= under_way;
        *self.load_of(now_standing) += now_under_way;
        self.fruitless = None;
        Some(outcome)
    }

    const fn load_of(&mut self, standing: Standing) -> &mut usize {
        let [proven, new, passed_over] = &mut self.load;
        match standing {
            Standing::Proven => proven,
            Standing::New => new,
            Standing::PassedOver => passed_over,
        }
    }

    /// Finds pieces that took too long: they do not keep others back, and are shown again when all others were. Who was
    /// to get them.
    pub fn find_late(&mut self, pace: Pace, now: Instant) -> Vec<PeerKey> {
        let (patience, mut late) = (pace.patience(), Vec::new());
        while let Some(first) = self.under_way.first_entry()
            && first.get().0 + patience <= now
        {
            let (_, key, piece) = first.remove();
            self.change(key, |viewer| {
                if let Some(shown) = viewer.in_hand.iter_mut().find(|shown| shown.piece == piece) {
                    shown.turn = None;
                }
            });
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
    /// `copies` says how many peers have a piece. A few for viewers that got something before do not wait for new ones, who may
    /// be strangers that take nothing, and go, and come again under other names.
    pub fn next(
        &mut self,
        pace: Pace,
        now: Instant,
        copies: impl Fn(PieceIndex) -> u32,
    ) -> Option<(PeerKey, PieceIndex)> {
        let window = pace.window();
        let most = 2 + window / self.viewers.len().max(1);
        let [proven, new, _] = self.load;
        let new_may = proven + new < window;
        if !new_may && proven >= LEAST || self.fruitless == Some((most, new_may)) {
            return None;
        }
        let may = |viewer: &Viewer| match viewer.standing() {
            Standing::Proven => true,
            Standing::New => new_may,
            Standing::PassedOver => false,
        };
        let found = self.ranks.iter().find_map(|&(_, key)| {
            let viewer = self.viewers.get(&key)?;
            if !may(viewer) || viewer.in_hand.len() >= most {
                return None;
            }
            let piece = self.pool.draw(&copies, |piece| viewer.position(piece).is_none())?;
            Some((key, piece))
        });
        let Some((key, piece)) = found else {
            self.fruitless = Some((most, new_may));
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
        let load = |standing| {
            let its = self.viewers.values().filter(|viewer| viewer.standing() == standing);
            its.map(Viewer::under_way).sum::<usize>()
        };
        let loads = [Standing::Proven, Standing::New, Standing::PassedOver].map(load);
        assert_eq!(self.load, loads, "what is under way, by standing");
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
