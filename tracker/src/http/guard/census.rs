//! What is known of each connection, and which ones have to go. Knows no socket: traffic and time are passed in.
//!
//! A connection makes progress when something was written to it: an answer. What it has received since then is the
//! head of a request, which tiny_http collects without a limit; so these bytes are counted, for each connection and for
//! all together. A stranger's bytes cost memory many times their number there: each line of a head becomes two strings and
//! an entry of a list.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::sockets::{Cookie, Traffic};

/// Bytes of a request's head, or of several that were sent together. An announce has a few hundred, a scrape of 64
/// torrents 5,000.
pub(super) const MAX_HEAD_LEN: u64 = 8 << 10;
/// The same, of all connections together.
const MAX_HEADS_LEN: u64 = 1 << 20;

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    /// Until the first request, and from a request's first byte to its answer.
    pub(crate) request: Duration,
    /// Between an answer and the next request.
    pub(crate) idle: Duration,
}

/// Why a connection has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Reason {
    /// Its request is too long.
    Long,
    /// Its request takes too long.
    Slow,
    /// It asks nothing.
    Silent,
    /// There are too many, and it is of less use than others.
    TooMany,
}

/// The connections seen so far.
#[derive(Debug, Default)]
pub(super) struct Census {
    known: HashMap<Cookie, Connection>,
    look: u64,
    /// Connections that were new, ever.
    newcomers: u64,
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
    /// A look at all connections begins.
    pub(super) fn begin(&mut self) {
        self.look += 1;
    }

    /// A connection is there. `busy` if a lane has a request of it: with the bytes that may come meanwhile.
    pub(super) fn see(
        &mut self,
        cookie: Cookie,
        peer: SocketAddr,
        traffic: Traffic,
        busy: Option<u64>,
        now: Instant,
    ) {
        let newcomers = &mut self.newcomers;
        let known = self.known.entry(cookie).or_insert_with(|| {
            *newcomers += 1;
            Connection {
                peer,
                traffic: Traffic::default(),
                base: 0,
                progress: now,
                is_served: false,
                busy: None,
                look: 0,
                is_doomed: false,
            }
        });
        known.look = self.look;
        let is_answered = traffic.written > known.traffic.written;
        known.traffic = traffic;
        // A long answer is written for as long as its reader likes. That must not pass for progress: behind it another
        // request is read already.
        if (is_answered && busy.is_none()) || known.busy.is_some() && busy.is_none() {
            known.base = traffic.received;
            known.progress = now;
            known.is_served = true;
        }
        known.busy = busy;
    }

    /// Every connection was seen that is still there.
    pub(super) fn end(&mut self) {
        let look = self.look;
        self.known.retain(|_, known| known.look == look);
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn newcomers(&self) -> u64 {
        self.newcomers
    }

    /// Those that have to go, each told once. `is_answering` says whether a request of a connection is being answered.
    pub(super) fn doomed(
        &mut self,
        limits: &Limits,
        now: Instant,
        is_answering: impl Fn(&SocketAddr) -> bool,
    ) -> HashMap<Cookie, Reason> {
        let mut doomed = HashMap::new();
        for (cookie, known) in self.known.iter().filter(|(_, known)| !known.is_doomed) {
            let age = now.saturating_duration_since(known.progress);
            let is_head = known.pending() > 0 || !known.is_served;
            let is_late = age >= if is_head { limits.request } else { limits.idle };
            // A lane may have taken the request since it was noted who is busy: then these are bytes of its body.
            let is_known = || known.busy.is_some() || !is_answering(&known.peer);
            if known.pending() > MAX_HEAD_LEN.saturating_add(known.busy.unwrap_or(0)) && is_known() {
                doomed.insert(*cookie, Reason::Long);
            } else if is_late && known.busy.is_none() && !is_answering(&known.peer) {
                doomed.insert(*cookie, if known.pending() > 0 { Reason::Slow } else { Reason::Silent });
            }
        }
        self.add_longest(&mut doomed);
        self.add_idlest(limits.connections, &mut doomed);
        for cookie in doomed.keys() {
            if let Some(known) = self.known.get_mut(cookie) {
                known.is_doomed = true;
            }
        }
        doomed
    }

    /// The longest heads, until the rest of them together is short enough.
    fn add_longest(&self, doomed: &mut HashMap<Cookie, Reason>) {
        if self.known.values().map(Connection::pending).sum::<u64>() <= MAX_HEADS_LEN {
            return;
        }
        let mut heads: Vec<_> =
            self.remaining(doomed).map(|(cookie, known)| (known.pending(), cookie)).collect();
        let mut total: u64 = heads.iter().map(|(pending, _)| pending).sum();
        heads.sort_unstable();
        while let Some((pending, cookie)) = heads.pop().filter(|_| total > MAX_HEADS_LEN) {
            doomed.insert(cookie, Reason::Long);
            total -= pending;
        }
    }

    /// Those that made no progress for longest, until there are few enough. Who was never answered goes before who was;
    /// but a quarter of the room is kept for newcomers, or somebody could fill all of it with connections that were
    /// answered once.
    fn add_idlest(&self, max: usize, doomed: &mut HashMap<Cookie, Reason>) {
        if self.known.len() <= max {
            return;
        }
        let (mut served, mut new): (Vec<_>, Vec<_>) = self
            .remaining(doomed)
            .map(|(cookie, known)| (known.is_served, (known.progress, cookie)))
            .partition(|(is_served, _)| *is_served);
        let busy = self.known.values().filter(|known| known.busy.is_some() && !known.is_doomed).count();
        let surplus = (served.len() + new.len() + busy).saturating_sub(max);
        let of_served = served.len().saturating_sub(max - max / 4).min(surplus);
        let of_new = (surplus - of_served).min(new.len());
        let of_served = (surplus - of_new).min(served.len());
        for (connections, count) in [(&mut served, of_served), (&mut new, of_new)] {
            connections.sort_unstable();
            doomed.extend(connections.iter().take(count).map(|(_, (_, cookie))| (*cookie, Reason::TooMany)));
        }
    }

    /// Those that no lane has, and that may stay so far.
    fn remaining<'a>(
        &'a self,
        doomed: &HashMap<Cookie, Reason>,
    ) -> impl Iterator<Item = (Cookie, &'a Connection)> {
        let gone: HashSet<_> = doomed.keys().copied().collect();
        let known = self.known.iter().map(|(cookie, known)| (*cookie, known));
        known
            .filter(move |(cookie, known)| known.busy.is_none() && !known.is_doomed && !gone.contains(cookie))
    }
}

#[cfg(test)]
mod tests;
