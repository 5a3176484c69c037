//! Super-seeding: when the only seeder hides what it has, and whom it shows which piece.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use torrent_common::geometry::PieceIndex;

use super::{Context, Core};
use crate::torrent::event::{Command, PeerKey};
use crate::torrent::peers::Peer;
use crate::torrent::picker::Picker;
use crate::torrent::superseed::{Pace, SuperSeed};

/// A peer that is alone for so long sees everything,
const ALONE: Duration = Duration::from_secs(1);
/// as does one that got so many pieces meanwhile: nothing may slow down one to one.
const ALONE_PIECES: u32 = 8;
/// Another seeder is believed in for so long after it was last heard of.
const SEEDER_STAYS: Duration = Duration::from_secs(600);

/// Who takes nothing of what it was shown for so long keeps the others waiting no longer. If it is honest and far away, a few
/// pieces more are under way.
const UNBEGUN: Duration = Duration::from_millis(250);
/// What we send is added up again after so long: with a thousand peers that costs more than what they say.
const PACE_FOR: Duration = Duration::from_millis(100);

/// The state of super-seeding.
#[derive(Debug, Default)]
pub(super) struct Show {
    books: SuperSeed,
    /// The pieces to show are in the books.
    begun: bool,
    /// When another seeder was last heard of.
    other_seeder: Option<Instant>,
    /// Since when there is one peer and no other.
    alone_since: Option<Instant>,
    /// When to look for pieces that take too long,
    look: Option<Instant>,
    /// and for peers that take nothing.
    look_for_idle: Option<Instant>,
    /// How fast what is shown should be taken, and since when that is known.
    pace: Option<(Instant, Pace)>,
}

impl Show {
    /// A peer has a piece now, and the picker knows it.
    pub(super) fn has(&mut self, key: PeerKey, piece: PieceIndex, picker: &Picker) {
        if !self.books.is_empty() {
            self.books.has(key, piece, picker.availability(piece));
        }
    }

    /// A peer that had this piece is gone, and the picker knows it.
    pub(super) fn lost(&mut self, piece: PieceIndex, picker: &Picker) {
        if !self.books.is_empty() && picker.availability(piece) == 0 {
            self.books.lost(piece);
        }
    }

    fn rest(&mut self) {
        (self.alone_since, self.look, self.look_for_idle, self.begun) = (None, None, None, false);
    }
}

impl Core {
    /// Whether a connection that begins now is to be told that we have nothing (BEP 16): it is shown piece after piece.
    pub fn hides(&self, now: Instant) -> bool {
        let heard = |at: Instant| now.saturating_duration_since(at) < SEEDER_STAYS;
        self.config.may_hide(self.pieces.had())
            && !self.show.other_seeder.is_some_and(heard)
            && self.pieces.picker.absent() > 0
    }

    /// A tracker counts so many seeders, us among them if we are one.
    pub const fn told_of_seeders(&mut self, count: u32, now: Instant) {
        if count > 1 {
            self.heard_of_seeder(now);
        }
    }

    /// There is another seeder.
    pub(super) const fn heard_of_seeder(&mut self, now: Instant) {
        self.show.other_seeder = Some(now);
    }

    /// When [`Core::run_show`] has something to do.
    pub(super) fn next_show(&self) -> Option<Instant> {
        let alone = self.show.alone_since.map(|since| since + ALONE);
        [alone, self.show.look, self.show.look_for_idle].into_iter().flatten().min()
    }

    /// A peer came, or went.
    pub(super) fn show_came(&mut self, key: PeerKey) {
        self.show.books.came(key);
    }

    pub(super) fn show_went(&mut self, key: PeerKey) {
        self.show.books.went(key);
    }

    /// It took something: what it was shown, as far as we know.
    pub(super) fn show_takes(&mut self, key: PeerKey) {
        self.show.books.takes(key);
    }

    /// It was shown pieces that it has not got yet.
    pub(super) fn is_shown(&self, key: PeerKey) -> bool {
        self.show.books.in_hand(key).is_some_and(|count| count > 0)
    }

    /// It got a piece that it was shown.
    pub(super) fn got_what_it_was_shown(&self, key: PeerKey) -> bool {
        self.show.books.got(key) > 0
    }

    /// Shows what is to be shown now. The last step of every event while we hide from somebody.
    pub(super) fn run_show(&mut self, cx: &mut Context<'_>) {
        if self.show.books.is_empty() {
            self.show.rest();
            return;
        }
        if self.hides(cx.now) && !self.is_alone(cx.now) {
            self.show_more(cx);
            if !self.show.books.stands_still() && self.hides(cx.now) {
                return;
            }
        }
        self.show.rest();
        for key in self.show.books.end() {
            cx.send(key, Command::ShowAll);
        }
    }

    /// There is one peer and no other that takes anything, and it has waited for others, or is fast: hiding would only slow
    /// it down.
    fn is_alone(&mut self, now: Instant) -> bool {
        if self.peers.values().filter(|peer| !peer.idled).nth(1).is_some() {
            self.show.alone_since = None;
            return false;
        }
        let since = *self.show.alone_since.get_or_insert(now);
        let mut viewers = self.show.books.viewers();
        now.saturating_duration_since(since) >= ALONE
            || viewers.any(|key| self.show.books.got(key) >= ALONE_PIECES)
    }

    fn show_more(&mut self, cx: &mut Context<'_>) {
        if !std::mem::replace(&mut self.show.begun, true) {
            let mut pool: Vec<_> = self.pieces.geometry().pieces().collect();
            cx.random.shuffle(&mut pool);
            self.show.books.begin(pool);
        }
        let pace = self.pace(cx.now);
        let late = self.show.books.find_late(pace, cx.now);
        self.idle_viewers(late, true, cx);
        let waited_for = self.show.books.might_have_begun(cx.now).collect();
        self.idle_viewers(waited_for, false, cx);
        self.pass_over_idle_viewers(cx.now);
        let picker = &self.pieces.picker;
        let mut shown: BTreeMap<PeerKey, Vec<PieceIndex>> = BTreeMap::new();
        while let Some((key, piece)) = self.show.books.next(pace, cx.now, |piece| picker.availability(piece))
        {
            shown.entry(key).or_default().push(piece);
        }
        for (key, pieces) in shown {
            cx.send(key, Command::Show(pieces));
        }
        self.show.look = self.show.books.next_late(pace, cx.now);
    }

    /// Who takes nothing of what it was shown keeps the others waiting no longer.
    fn pass_over_idle_viewers(&mut self, now: Instant) {
        if self.show.look_for_idle.is_some_and(|due| now < due) {
            return;
        }
        self.show.look_for_idle = Some(now + UNBEGUN);
        // Who waits for a slot cannot take anything.
        let takes = |peer: &Peer| peer.took_lately(now) || peer.they_want && !peer.unchoked;
        let takes = |key| self.peers.get(&key).is_some_and(takes);
        let Some(before) = now.checked_sub(UNBEGUN) else { return };
        let idle: Vec<_> = self.show.books.shown_before(before).filter(|&key| !takes(key)).collect();
        idle.into_iter().for_each(|key| self.show.books.pass_over(key));
    }

    /// How fast what is shown should be taken.
    fn pace(&mut self, now: Instant) -> Pace {
        let fresh = |at: Instant| now.saturating_duration_since(at) < PACE_FOR;
        match self.show.pace {
            Some((at, pace)) if fresh(at) => pace,
            _ => {
                let rate = self.peers.values().map(|peer| peer.up.at(now)).fold(0, u64::saturating_add);
                let pace = Pace { rate, piece_len: self.pieces.geometry().nominal_piece_len().into() };
                self.show.pace = Some((now, pace));
                pace
            }
        }
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_show(&self) {
        let hidden = |key| self.peers.get(&key).is_some_and(|peer| peer.info.hidden);
        assert!(self.show.books.viewers().all(hidden), "hides from somebody who was told");
        self.show.books.check_invariants();
        assert!(self.show.books.is_empty() || self.is_complete(), "hides while downloading");
    }
}
