//! Who is unchoked: the choker's decisions, applied; and what happens between its rounds.

use std::time::Instant;

use super::{Context, Core};
use crate::torrent::choker::{self, Candidate, ROUND, Round};
use crate::torrent::event::{Command, PeerKey};
use crate::torrent::peers::Peer;
use crate::torrent::uplink::{Measured, Uplink};

/// While seeding, a turn is at least so many pieces.
const PIECES_PER_TURN: u64 = 4;

/// The state between two rounds.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// When the next round is; None while nobody is interested.
    pub(super) next_round: Option<Instant>,
    round: u64,
    optimist: Option<PeerKey>,
    /// Peers with a slot.
    used: usize,
    /// How many there are when nobody has said so.
    uplink: Uplink,
    /// When the last round was, and all that was sent before it.
    last: Option<(Instant, u64)>,
}

impl Core {
    /// How many peers may have a slot.
    fn slot_count(&self) -> usize {
        match self.config.upload_slots {
            0 => self.slots.uplink.slots(),
            fixed => fixed,
        }
    }

    pub(super) fn they_want(&mut self, key: PeerKey, want: bool, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if peer.they_want == want {
            return;
        }
        peer.wants(want, cx.now);
        if want {
            self.slots.next_round = self.slots.next_round.or(Some(cx.now + ROUND));
            self.look_at_slots(cx.now);
            self.slot_at_once(key, cx);
        } else {
            self.fill_slots(cx);
        }
    }

    /// A peer that becomes interested gets a slot at once if one is free, held by one that is not interested, or idle.
    fn slot_at_once(&mut self, key: PeerKey, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get(&key).filter(|peer| !peer.unchoked) else { return };
        if self.slots.used >= self.slot_count() {
            let may_displace = !peer.is_behind(cx.now);
            let unwanted = self.peers.iter().find(|(_, peer)| peer.unchoked && !peer.they_want);
            let idle = || self.idle_holders(cx.now).find(|_| may_displace);
            let Some(loser) = unwanted.map(|(&key, _)| key).or_else(idle) else { return };
            if self.peers.get(&loser).is_some_and(|peer| peer.they_want) {
                self.left_slot_idle(loser, cx);
            }
            self.set_slot(loser, false, cx);
        }
        self.set_slot(key, true, cx);
    }

    /// A peer is off the books; `held` whether it had a slot.
    pub(super) fn slot_freed(&mut self, held: bool, cx: &mut Context<'_>) {
        if held {
            self.slots.used -= 1;
        }
        self.fill_slots(cx);
    }

    /// Gives slots that are free, or held by those not interested, to those who wait.
    pub(super) fn fill_slots(&mut self, cx: &mut Context<'_>) {
        let held_for_nothing = self.peers.values().filter(|peer| peer.unchoked && !peer.they_want).count();
        let free = self.slot_count().saturating_sub(self.slots.used) + held_for_nothing;
        for _ in 0..free {
            let waiting = self.candidates(|peer| !peer.unchoked, cx);
            let Some(next) = choker::fill(&waiting, self.is_complete(), cx.random) else { return };
            self.slot_at_once(next, cx);
        }
    }

    /// The interested among those that `may` get a slot.
    pub(super) fn candidates(&self, may: impl Fn(&Peer) -> bool, cx: &Context<'_>) -> Vec<Candidate> {
        let interested = self.peers.iter().filter(|(_, peer)| peer.they_want && may(peer));
        interested.map(|(&key, peer)| peer.candidate(key, cx.now)).collect()
    }

    /// Deals the slots anew.
    pub(super) fn choke_round(&mut self, cx: &mut Context<'_>) {
        let candidates = self.candidates(|_| true, cx);
        if candidates.is_empty() {
            (self.slots.next_round, self.slots.last) = (None, None);
            return;
        }
        self.slots.next_round = Some(cx.now + ROUND);
        self.slots.round += 1;
        let rate = self.peers.values().map(|peer| peer.up.steady(cx.now)).fold(0, u64::saturating_add);
        let in_use = self.slots.used.saturating_sub(self.idle_holders(cx.now).count());
        let measured = Measured {
            rate,
            sent: self.sent_since_last_round(cx.now).unwrap_or(rate),
            used: in_use,
            waiting: candidates.len() > self.slots.used,
            seeding: self.is_complete(),
        };
        if self.config.upload_slots == 0 && self.slots.uplink.round(measured) {
            // To hide what we have is of use where the uplink is what is lacking, not the peers.
            self.heard_of_seeder(cx.now);
        }
        let round = Round {
            number: self.slots.round,
            seeding: self.is_complete(),
            optimist: self.slots.optimist,
            quota: PIECES_PER_TURN * u64::from(self.pieces.geometry().nominal_piece_len()),
        };
        let decision = choker::decide(&candidates, self.slot_count(), &round, cx.random);
        self.slots.optimist = decision.optimist;
        let mut room = self.slot_count().saturating_sub(decision.unchoked.len());
        let mut losers = Vec::new();
        for (&key, peer) in self.peers.iter().filter(|(_, peer)| peer.unchoked) {
            // Who is not interested may stay unchoked while nobody needs the slot: it saves a round trip later.
            let stays = decision.unchoked.contains(&key) || !peer.they_want && room > 0;
            if !stays {
                losers.push(key);
            } else if !peer.they_want {
                room -= 1;
            }
        }
        // First out, then in: never more slots than there are.
        for key in losers {
            self.set_slot(key, false, cx);
        }
        for key in decision.unchoked {
            self.set_slot(key, true, cx);
        }
        self.look_at_slots(cx.now);
    }

    /// Bytes per second; None in the first round.
    fn sent_since_last_round(&mut self, now: Instant) -> Option<u64> {
        let gone = self.totals.uploaded;
        let total = self.peers.values().map(|peer| peer.up.total()).fold(gone, u64::saturating_add);
        let (then, before) = self.slots.last.replace((now, total))?;
        let time_ms = u64::try_from(now.saturating_duration_since(then).as_millis()).unwrap_or(u64::MAX);
        Some(total.saturating_sub(before).saturating_mul(1000) / time_ms.max(1))
    }

    pub(super) fn set_slot(&mut self, key: PeerKey, unchoke: bool, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if peer.unchoked == unchoke {
            return;
        }
        peer.unchoked = unchoke;
        peer.slot_since = cx.now;
        peer.turn_bytes = 0;
        if unchoke {
            peer.taken = cx.now;
            self.slots.used += 1;
        } else {
            self.slots.used -= 1;
        }
        cx.send(key, if unchoke { Command::Unchoke } else { Command::Choke });
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_slots(&self) {
        let used = self.peers.values().filter(|peer| peer.unchoked).count();
        assert_eq!(used, self.slots.used);
        assert!(used <= self.slot_count(), "{used} slots used");
        let waiting = self.peers.values().any(|peer| peer.they_want && !peer.unchoked);
        let all_used = used == self.slot_count();
        assert!(!waiting || all_used || !self.is_complete(), "a slot is free and somebody waits");
        assert!(
            self.slots.next_round.is_some() || self.peers.values().all(|peer| !peer.they_want),
            "no round to come"
        );
    }
}
