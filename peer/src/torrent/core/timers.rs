//! What happens because time passed. Each timer is armed only while there is something it waits for.

use std::time::{Duration, Instant};

use super::{Context, Core};
use crate::torrent::event::{Effect, PeerKey};
use crate::torrent::peers::Peer;

/// While pieces are fetched, peers are looked at so often.
const CHECK: Duration = Duration::from_secs(1);
/// A peer that owes us blocks and sends nothing for so long is snubbed.
const SNUB_AFTER: Duration = Duration::from_secs(30);
/// A request is given up so long after it was sent, if younger ones were answered.
const SKIPPED_AFTER: Duration = Duration::from_secs(60);
/// A BEP 6 peer that choked us has so long to reject or answer what it owes.
const REJECT_WITHIN: Duration = Duration::from_secs(15);
/// Fewer peers than that are few.
const FEW_PEERS: usize = 5;
/// Trackers are asked for more peers at most so often.
const WANT_PEERS: Duration = Duration::from_secs(30);

/// When what is due.
#[derive(Debug)]
pub(super) struct Timers {
    /// The next look at the peers that owe us blocks.
    check: Option<Instant>,
    /// Trackers may be asked for more peers from then on.
    want_peers: Instant,
    stopped: bool,
}

impl Timers {
    pub(super) fn new(now: Instant) -> Self {
        Self { check: None, want_peers: now + WANT_PEERS, stopped: false }
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) const fn is_armed_for_fetching(&self, fetching: bool) -> bool {
        self.check.is_some() || !fetching || self.stopped
    }

    pub(super) const fn stop(&mut self) {
        self.stopped = true;
    }
}

impl Core {
    /// When [`Event::Tick`](crate::torrent::event::Event::Tick) is due; None when there is nothing to wait for.
    pub fn next_wake(&self) -> Option<Instant> {
        if self.timers.stopped {
            return None;
        }
        let dial = self.dialler.next_due().filter(|_| self.may_dial());
        let want_peers = self.lacks_peers().then_some(self.timers.want_peers);
        let show = self.next_show();
        let slots = [self.slots.next_round, self.next_look_at_slots()].into_iter().flatten().min();
        let all = [self.timers.check, slots, self.pieces.next_delayed(), dial, want_peers, show];
        all.into_iter().flatten().min()
    }

    pub(super) fn run_timers(&mut self, cx: &mut Context<'_>) {
        if self.timers.stopped {
            return;
        }
        if self.pieces.next_delayed().is_some_and(|due| due <= cx.now) {
            self.pieces.open_delayed(cx);
            self.refill_all = true;
        }
        if self.slots.next_round.is_some_and(|due| due <= cx.now) {
            self.choke_round(cx);
        }
        if self.next_look_at_slots().is_some_and(|due| due <= cx.now) {
            self.pass_on_idle_slots(cx);
        }
        if self.timers.check.is_some_and(|due| due <= cx.now) {
            self.check_peers(cx);
        }
        self.dial(cx);
        if self.lacks_peers() && self.timers.want_peers <= cx.now {
            self.timers.want_peers = cx.now + WANT_PEERS;
            cx.effects.push(Effect::WantPeers);
        }
    }

    /// Sees to it that peers are looked at while they owe us something. The last step of every event.
    pub(super) fn arm_check(&mut self, now: Instant) {
        if self.timers.check.is_none() && self.is_fetching() {
            self.timers.check = Some(now + CHECK);
        }
    }

    /// Some peer owes us blocks, or waits for the budget or the endgame; or a piece has a deadline.
    pub(super) fn is_fetching(&self) -> bool {
        let waits = |peer: &Peer| !peer.outstanding.is_empty() || peer.starved && peer.choking.is_none();
        !self.is_complete() && (!self.pieces.requests.is_empty() || self.peers.values().any(waits))
    }

    fn lacks_peers(&self) -> bool {
        let none_to_dial = self.dialler.dialling() == 0 && self.dialler.next_due().is_none();
        !self.is_complete() && self.peers.len() < FEW_PEERS && none_to_dial
    }

    /// Looks for peers that stopped sending, and for pieces that take too long.
    fn check_peers(&mut self, cx: &mut Context<'_>) {
        self.timers.check = None;
        for key in self.peers.keys().copied().collect::<Vec<_>>() {
            self.check_peer(key, cx);
        }
        self.check_alone(cx);
        self.refill_all = true;
    }

    fn check_peer(&mut self, key: PeerKey, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.forget_lost(cx.now);
        // What it is asked for in this very event will be on its way: it is looked at next time.
        if peer.outstanding.back().is_none_or(|newest| newest.at == cx.now) {
            return;
        }
        let age = |since: Instant| cx.now.saturating_duration_since(since);
        match peer.choking {
            Some(since) if age(since.max(peer.active)) > REJECT_WITHIN => self.free_requests(key, false, cx),
            None if age(peer.active) > SNUB_AFTER => {
                if !std::mem::replace(&mut peer.snubbed, true) {
                    cx.effects.push(Effect::Snubbed(key, SNUB_AFTER));
                }
                self.free_requests(key, true, cx);
            }
            _ => self.free_skipped(key, cx),
        }
    }

    /// Requests that the peer passed over: it answered younger ones long ago.
    fn free_skipped(&mut self, key: PeerKey, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let Some(answered) = peer.answered else { return };
        while let Some(oldest) = peer.outstanding.front().copied()
            && oldest.at < answered
            && cx.now.saturating_duration_since(oldest.at) > SKIPPED_AFTER
        {
            peer.outstanding.pop_front();
            peer.lose(oldest.block, cx.now);
            self.pieces.requests.give_back(oldest.block, key);
            self.refill_all = true;
        }
    }

    /// A piece that one peer fetches alone for too long goes to another, if there is one.
    fn check_alone(&mut self, cx: &mut Context<'_>) {
        let overdue = self.pieces.requests.iter().filter(|(_, begun)| begun.is_overdue(cx.now));
        for (piece, owner) in overdue.map(|(piece, begun)| (piece, begun.owner())).collect::<Vec<_>>() {
            let able = |(key, peer): (&PeerKey, &Peer)| {
                Some(*key) != owner && peer.choking.is_none() && !peer.snubbed && peer.have.contains(piece)
            };
            if self.peers.iter().any(able) {
                let asked = self.pieces.took_too_long(piece, cx);
                self.take_back(asked, cx);
            } else {
                self.pieces.requests.extend(piece, cx.now + SNUB_AFTER);
            }
        }
    }
}
