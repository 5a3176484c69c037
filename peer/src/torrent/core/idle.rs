//! Peers that take nothing of what is kept for them, an upload slot or a piece that they alone were shown, while others wait
//! for it. An honest one asks within a round trip; strangers may ask for nothing, or never read what they are sent.
//!
//! While seeding such a slot is passed on at once, and who had it comes behind those who wait, for a while: an honest one may
//! have had a bad moment. (While downloading slots are for those who give.) Whom we hide from (super-seeding) and who does not
//! take what it is shown keeps the others waiting no longer, sees everything if it goes on, and after a few of these everybody
//! does.

use std::time::{Duration, Instant};

use super::{Context, Core};
use crate::torrent::choker;
use crate::torrent::event::{Command, PeerKey};
use crate::torrent::peers::Peer;

/// A slot is idle when nothing went through it for so long,
const UNUSED: Duration = Duration::from_secs(2);
/// or as long as something did before, up to this: that may be a slow peer with long buffers. (Who never reads takes what
/// socket buffers hold within a moment.)
const STALLED: Duration = Duration::from_secs(5);
/// Who left a slot idle comes behind the others for so long; twice as long each time that it does so again,
const BEHIND: Duration = Duration::from_secs(120);
/// and at first so long if it took something before.
const BEHIND_STALLED: Duration = Duration::from_secs(20);
/// but not more often doubled than this.
const MAX_DOUBLED: u32 = 6;
/// What a peer takes is told of twice a second: after so long nothing goes to it.
const PAUSED: Duration = Duration::from_secs(1);
/// How often slots are looked at while somebody waits for one.
const LOOK: Duration = Duration::from_secs(1);
/// So many peers that do not take what they are shown end super-seeding,
const MAX_IDLERS: u32 = 3;
/// none of them later than this after the one before.
const IDLERS_WITHIN: Duration = Duration::from_secs(60);

/// What is known of those that take nothing.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// The next look at the slots.
    look: Option<Instant>,
    /// Peers that were shown pieces and did not take them, since we hide.
    idlers: u32,
    /// When the last of them was found.
    last_idler: Option<Instant>,
}

impl Idle {
    fn count_idler(&mut self, now: Instant) {
        let last = self.last_idler.replace(now);
        if last.is_none_or(|at| now.saturating_duration_since(at) > IDLERS_WITHIN) {
            self.idlers = 0;
        }
        self.idlers += 1;
    }
}

impl Peer {
    /// It could take what it says that it wants, and does not.
    fn is_idle(&self, now: Instant) -> bool {
        let served = self.taken.saturating_duration_since(self.slot_since);
        let limit = if self.turn_bytes == 0 { UNUSED } else { served.clamp(UNUSED, STALLED) };
        self.unchoked && self.they_want && now.saturating_duration_since(self.taken) >= limit
    }

    /// Something goes to it.
    pub(super) fn took_lately(&self, now: Instant) -> bool {
        self.turn_bytes > 0 && now.saturating_duration_since(self.taken) < PAUSED
    }

    /// It left what was kept for it idle. Told again and again while it does: counts once in the time that others come first.
    pub(super) fn idles(&mut self, now: Instant) {
        if !self.is_behind(now) {
            let first = if self.turn_bytes == 0 { BEHIND } else { BEHIND_STALLED };
            self.behind_until = now + first * (1 << self.idle_turns.min(MAX_DOUBLED));
            self.idle_turns = self.idle_turns.saturating_add(1);
        }
        self.idled = true;
    }

    /// Others who wait for a slot come before it.
    pub fn is_behind(&self, now: Instant) -> bool {
        self.idled && now < self.behind_until
    }

    /// It says that it wants something, or does not any more. Who says both by turns is idle all the same.
    pub(super) fn wants(&mut self, want: bool, now: Instant) {
        self.they_want = want;
        if !want {
            self.sated = now;
        } else if now.saturating_duration_since(self.sated) >= UNUSED {
            (self.taken, self.idled) = (now, false);
        }
    }
}

impl Core {
    /// When [`Core::pass_on_idle_slots`] is due.
    pub(super) const fn next_look_at_slots(&self) -> Option<Instant> {
        self.idle.look
    }

    /// A limit of ours holds back what it asked for.
    pub(super) fn kept_waiting(&mut self, key: PeerKey, until: Instant) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.taken = peer.taken.max(until);
        }
    }

    /// Those whose slots may be passed on.
    pub(super) fn idle_holders(&self, now: Instant) -> impl Iterator<Item = PeerKey> + '_ {
        let seeding = self.is_complete();
        let idle = self.peers.iter().filter(move |(_, peer)| seeding && peer.is_idle(now));
        idle.map(|(&key, _)| key)
    }

    /// Somebody waits for a slot.
    pub(super) fn look_at_slots(&mut self, now: Instant) {
        if self.is_complete() {
            self.idle.look = self.idle.look.or(Some(now + LOOK));
        }
    }

    /// Gives slots through which nothing goes to those who wait.
    pub(super) fn pass_on_idle_slots(&mut self, cx: &mut Context<'_>) {
        self.idle.look = None;
        if !self.peers.values().any(|peer| peer.they_want && !peer.unchoked) {
            return;
        }
        self.look_at_slots(cx.now);
        let mut idle: Vec<_> = self.idle_holders(cx.now).collect();
        // First the slots of those that took nothing at all.
        idle.sort_by_key(|key| self.peers.get(key).is_some_and(|peer| peer.turn_bytes > 0));
        idle.iter().for_each(|&key| self.left_slot_idle(key, cx));
        for key in idle {
            let waiting = self.candidates(|peer| !peer.unchoked && !peer.is_behind(cx.now), cx);
            let Some(next) = choker::fill(&waiting, self.is_complete(), cx.random) else { return };
            self.set_slot(key, false, cx);
            self.set_slot(next, true, cx);
        }
    }

    /// It took nothing through its slot. If it was shown pieces too, that is told now: a stranger who loses its slot may come
    /// again under another name before they are late, and another, and hold all that is shown for ever.
    pub(super) fn left_slot_idle(&mut self, key: PeerKey, cx: &mut Context<'_>) {
        if self.is_shown(key) {
            self.idle_viewers(vec![key], false, cx);
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.idles(cx.now);
        }
    }

    /// These were shown pieces a while ago and have not got them. It is not the fault of those who wait for a slot. Who takes
    /// a little is not idle, unless it is too `late` with its very first piece: a few strangers who take their time would have
    /// all that is shown.
    pub(super) fn idle_viewers(&mut self, keys: Vec<PeerKey>, late: bool, cx: &mut Context<'_>) {
        for key in keys {
            let may_be_slow = !late || self.got_what_it_was_shown(key);
            let Some(peer) = self.peers.get_mut(&key).filter(|peer| !peer.idled) else { continue };
            let took = cx.now.saturating_duration_since(peer.taken) < UNUSED;
            if took && may_be_slow || peer.they_want && !peer.unchoked {
                continue;
            }
            peer.idles(cx.now);
            self.show_went(key);
            cx.send(key, Command::ShowAll);
            self.idle.count_idler(cx.now);
        }
        if self.idle.idlers >= MAX_IDLERS {
            self.idle.idlers = 0;
            self.heard_of_seeder(cx.now);
        }
    }
}
