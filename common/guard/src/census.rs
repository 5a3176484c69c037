//! What is known of each connection, and which ones have to go. Knows no socket: traffic and time are passed in.
//!
//! A connection makes progress when something was written to it: an answer. What it has received since then is the
//! head of a request, which tiny_http collects without a limit; so these bytes are counted, for each connection and for
//! all together. A stranger's bytes cost memory many times their number there: each line of a head becomes two strings and
//! an entry of a list.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::Reason;
use crate::in_work::Work;
use crate::sockets::{Cookie, Traffic};

/// Bytes of a request's head, or of several that were sent together. An announce has a few hundred, a scrape of 64
/// torrents 5,000.
pub const MAX_HEAD_LEN: u64 = 8 << 10;
/// The same, of all connections together.
const MAX_HEADS_LEN: u64 = 1 << 20;

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many there may be at most, with those that come in before it is seen that there are too many.
    pub connections: usize,
    /// Until the first request, and from a request's first byte to its answer.
    pub request: Duration,
    /// Between an answer and the next request.
    pub idle: Duration,
}

impl Limits {
    /// Beyond so many the idlest are closed, and nobody comes in while they are. As many more may come in before that is
    /// seen: the system keeps back who says nothing, and hands out hundreds at once.
    pub const fn kept(&self) -> usize {
        (2 * self.connections).div_ceil(5)
    }
}

/// The connections seen so far.
#[derive(Debug)]
pub(crate) struct Census {
    known: HashMap<Cookie, Connection>,
    look: u64,
    /// For putting some of them in order, by bytes or by time.
    order: Vec<(Reverse<u64>, Option<Instant>, Cookie)>,
}

#[derive(Debug)]
struct Connection {
    peer: SocketAddr,
    traffic: Traffic,
    /// What it had received when it last made progress.
    base: u64,
    progress: Instant,
    /// It had an answer.
    is_served: bool,
    /// A lane has a request of it, and so many more bytes may come meanwhile.
    busy: Option<u64>,
    look: u64,
    is_doomed: bool,
}

impl Connection {
    /// Bytes received for which there was no answer yet.
    fn pending(&self) -> u64 {
        self.traffic.received.saturating_sub(self.base)
    }
}

impl Census {
    /// With room for so many connections, for the reason that [`super::roll::Roll::with_room`] has.
    pub(crate) fn with_room(connections: usize) -> Self {
        Self { known: HashMap::with_capacity(connections), look: 0, order: Vec::with_capacity(connections) }
    }

    /// A look at all connections begins.
    pub(crate) fn begin(&mut self) {
        self.look += 1;
    }

    /// A connection is there, with what of it was in work before its traffic was seen.
    pub(crate) fn see(
        &mut self,
        cookie: Cookie,
        peer: SocketAddr,
        traffic: Traffic,
        Work { busy, has_ended }: Work,
        now: Instant,
    ) {
        let known = self.known.entry(cookie).or_insert_with(|| Connection {
            peer,
            traffic: Traffic::default(),
            base: 0,
            progress: now,
            is_served: false,
            busy: None,
            look: 0,
            is_doomed: false,
        });
        known.look = self.look;
        let is_answered = traffic.written > known.traffic.written;
        known.traffic = traffic;
        // A long answer is written for as long as its reader likes. That must not pass for progress: behind it another
        // request is read already. But what is in work now need not be what brought the bytes: since the last look a long
        // body may have come, and been answered.
        if has_ended || is_answered && !(busy.is_some() && known.busy.is_some()) {
            known.base = traffic.received;
            known.progress = now;
            known.is_served = true;
        }
        known.busy = busy;
    }

    /// Every connection was seen that is still there.
    pub(crate) fn end(&mut self) {
        let look = self.look;
        self.known.retain(|_, known| known.look == look);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.known.len()
    }

    /// Tells those that have to go, each once. `has_more` is asked of a connection, and whether it was busy: it says whether
    /// there was another request of it in work after that was noted. What it sent may belong to that one, and is not
    /// judged before the next look.
    pub(crate) fn doom(
        &mut self,
        limits: &Limits,
        now: Instant,
        has_more: impl Fn(&SocketAddr, bool) -> bool,
        mut tell: impl FnMut(Cookie, Reason),
    ) {
        for (cookie, known) in self.known.iter_mut().filter(|(_, known)| !known.is_doomed) {
            let age = now.saturating_duration_since(known.progress);
            let is_head = known.pending() > 0 || !known.is_served;
            let is_late = age >= if is_head { limits.request } else { limits.idle };
            let is_long = known.pending() > MAX_HEAD_LEN.saturating_add(known.busy.unwrap_or(0));
            let reason = match () {
                () if is_long => Reason::Long,
                () if !is_late || known.busy.is_some() => continue,
                () if known.pending() > 0 => Reason::Slow,
                () => Reason::Silent,
            };
            if has_more(&known.peer, known.busy.is_some()) {
                continue;
            }
            known.is_doomed = true;
            tell(*cookie, reason);
        }
        self.doom_longest(&has_more, &mut tell);
        self.doom_idlest(limits.kept(), &has_more, &mut tell);
    }

    /// The longest heads, until the rest of them together is short enough.
    fn doom_longest(
        &mut self,
        has_more: &impl Fn(&SocketAddr, bool) -> bool,
        tell: &mut impl FnMut(Cookie, Reason),
    ) {
        if self.known.values().map(Connection::pending).sum::<u64>() <= MAX_HEADS_LEN {
            return;
        }
        let Self { known, order, .. } = self;
        order.clear();
        order.extend(remaining(known).map(|(cookie, known)| (Reverse(known.pending()), None, cookie)));
        let mut total: u64 = order.iter().map(|(Reverse(pending), ..)| pending).sum();
        order.sort_unstable();
        for (Reverse(pending), _, cookie) in order.iter() {
            if total <= MAX_HEADS_LEN {
                return;
            }
            total -= pending;
            if !is_in_work(known, *cookie, has_more) {
                doom_one(known, *cookie, Reason::Long, tell);
            }
        }
    }

    /// Those that made no progress for longest, until there are few enough. Who was never answered goes before who was;
    /// but a quarter of the room is kept for newcomers, or somebody could fill all of it with connections that were
    /// answered once.
    fn doom_idlest(
        &mut self,
        max: usize,
        has_more: &impl Fn(&SocketAddr, bool) -> bool,
        tell: &mut impl FnMut(Cookie, Reason),
    ) {
        let Self { known, order, .. } = self;
        if known.len() <= max {
            return;
        }
        let served = remaining(known).filter(|(_, known)| known.is_served).count();
        let new = remaining(known).count() - served;
        let busy = known.values().filter(|known| known.busy.is_some() && !known.is_doomed).count();
        let surplus = (served + new + busy).saturating_sub(max);
        let of_served = served.saturating_sub(max - max / 4).min(surplus);
        let of_new = (surplus - of_served).min(new);
        let of_served = (surplus - of_new).min(served);
        for (is_served, count) in [(true, of_served), (false, of_new)] {
            order.clear();
            let these = remaining(known).filter(|(_, known)| known.is_served == is_served);
            order.extend(these.map(|(cookie, known)| (Reverse(0), Some(known.progress), cookie)));
            order.sort_unstable();
            let idle = order
                .iter()
                .map(|(.., cookie)| *cookie)
                .filter(|cookie| !is_in_work(known, *cookie, has_more));
            let idle: Vec<_> = idle.take(count).collect();
            for cookie in idle {
                doom_one(known, cookie, Reason::TooMany, tell);
            }
        }
    }
}

/// Those that no lane has, and that may stay so far.
fn remaining(known: &HashMap<Cookie, Connection>) -> impl Iterator<Item = (Cookie, &Connection)> {
    let known = known.iter().map(|(cookie, known)| (*cookie, known));
    known.filter(|(_, known)| known.busy.is_none() && !known.is_doomed)
}

/// Whether a lane has taken a request of that connection since it was noted who is busy.
fn is_in_work(
    known: &HashMap<Cookie, Connection>,
    cookie: Cookie,
    has_more: impl Fn(&SocketAddr, bool) -> bool,
) -> bool {
    known.get(&cookie).is_some_and(|known| has_more(&known.peer, known.busy.is_some()))
}

fn doom_one(
    known: &mut HashMap<Cookie, Connection>,
    cookie: Cookie,
    reason: Reason,
    tell: &mut impl FnMut(Cookie, Reason),
) {
    if let Some(known) = known.get_mut(&cookie) {
        known.is_doomed = true;
    }
    tell(cookie, reason);
}

#[cfg(test)]
mod tests;
