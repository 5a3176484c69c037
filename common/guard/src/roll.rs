//! The connections that this process has, each with a duplicate of ours while it is open, so that a look at all of them
//! is short.
//!
//! While strangers keep the processors busy, whoever needs long for a look is made to pause in the middle of it. To
//! duplicate a descriptor takes longer than to ask what went through it, so each connection is duplicated once.
//!
//! A closed connection stays on the roll until tiny_http has let go of it. It never does when it has answered a request
//! of HTTP/2 or 3 (each client that tries HTTP/2 without asking first sends one) with 505: it waits until the answer before
//! is written, that of the same request, which it does not write. The thread and two descriptors are lost, as are those
//! of requests that are left behind on purpose: see [`super::wear`].

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionread;
use rustix::net::sockopt::set_socket_linger;

use crate::numbers::{Found, Numbers, Owner};
use crate::sockets::{Cookie, Descriptor, NoDescriptors, Sockets, Traffic, drain, traffic};

/// A closed connection that is held for longer is so for ever. Requests wait in the lanes for less, even if their clients
/// have left, unless the lanes are overrun.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon a closed connection is looked at again that was still held.
const SOON: Duration = Duration::from_millis(20);
/// The same when that is so for longer than [`PATIENCE`].
const LATER: Duration = Duration::from_secs(2);
/// A closed connection that is held for longer does not only wait for a turn of its thread.
const PASSING: Duration = Duration::from_millis(100);
/// For how long at most it matters what a closed connection had sent.
const GUILT: Duration = Duration::from_secs(2);

/// The connections that were found.
#[derive(Debug)]
pub(crate) struct Roll {
    open: HashMap<Cookie, Member>,
    cookies: HashMap<SocketAddr, Cookie>,
    /// Those that tiny_http has not let go of, as far as it is known.
    closed: HashMap<Cookie, Held>,
    /// Those that were closed for what they sent, while they are there, with when that was.
    guilty: HashMap<Cookie, (IpAddr, Instant)>,
    /// For putting them in order.
    last: Vec<(Reverse<Instant>, IpAddr)>,
    numbers: Numbers,
    /// Who has which number may have changed since all of them were looked at.
    has_changed: bool,
}

#[derive(Debug)]
struct Member {
    stream: TcpStream,
    peer: SocketAddr,
}

/// A closed connection.
#[derive(Debug)]
struct Held {
    since: Instant,
    next_check: Instant,
    /// There is a descriptor of it.
    is_seen: bool,
}

impl Roll {
    /// With room for so many connections, so that memory is seldom asked for later: where hundreds of threads ask for
    /// it, one more waits for all of them.
    pub(crate) fn with_room(connections: usize) -> Self {
        Self {
            open: HashMap::with_capacity(connections),
            cookies: HashMap::with_capacity(connections),
            closed: HashMap::with_capacity(connections),
            guilty: HashMap::with_capacity(connections),
            last: Vec::with_capacity(connections),
            numbers: Numbers::with_room(3 * connections),
            has_changed: false,
        }
    }

    /// Shows every open connection with what went through it. False if there was no descriptor left to find the new ones
    /// among them.
    ///
    /// Some descriptors may be taken for those of a connection that had their numbers before; not if `is_thorough`. While a
    /// request is worked at tiny_http may be done with reading, and close one of two; so `has_work` says of whom that is.
    pub(crate) fn call(
        &mut self,
        sockets: &Sockets,
        is_thorough: bool,
        has_work: Option<impl Fn(&SocketAddr) -> bool>,
        now: Instant,
        mut see: impl FnMut(Cookie, SocketAddr, Traffic),
    ) -> bool {
        self.part_with_closed(now, &mut see);
        if is_thorough
            && self.has_changed
            && let Some(taken) = Sockets::numbers()
        {
            self.forget_numbers(&taken);
            self.has_changed = false;
        } else {
            self.check_numbers(sockets, has_work, now);
        }
        self.enter(sockets, now, see)
    }

    /// Moves those that were closed since the last look to where they wait for tiny_http.
    fn part_with_closed(&mut self, now: Instant, see: &mut impl FnMut(Cookie, SocketAddr, Traffic)) {
        let Self { open, cookies, closed, numbers, has_changed, .. } = self;
        let before = open.len();
        open.retain(|cookie, member| {
            if let Some(traffic) = open_traffic(&member.stream) {
                see(*cookie, member.peer, traffic);
                return true;
            }
            numbers.clear(member.stream.as_raw_fd());
            if cookies.get(&member.peer) == Some(cookie) {
                cookies.remove(&member.peer);
            }
            closed.insert(*cookie, Held::new(now, now));
            false
        });
        *has_changed |= open.len() != before;
    }

    /// Finds out which of the closed ones were let go of.
    fn check_numbers(
        &mut self,
        sockets: &Sockets,
        has_work: Option<impl Fn(&SocketAddr) -> bool>,
        now: Instant,
    ) {
        let Self { open, closed, numbers, .. } = self;
        let mut is_any = has_work.is_some();
        for held in closed.values_mut().filter(|held| held.next_check <= now) {
            held.is_seen = false;
            is_any = true;
        }
        if !is_any {
            return;
        }
        numbers.keep(|number, cookie| {
            if let Some(held) = closed.get_mut(&cookie).filter(|held| held.next_check <= now) {
                let is_held = sockets.is_socket(number, cookie);
                held.is_seen |= is_held;
                is_held
            } else if let (Some(has_work), Some(member)) = (&has_work, open.get(&cookie)) {
                !has_work(&member.peer) || sockets.is_socket(number, cookie)
            } else {
                true
            }
        });
        closed.retain(|_, held| {
            if held.next_check <= now {
                held.next_check = now + if held.is_stuck(now) { LATER } else { SOON };
            }
            held.is_seen
        });
    }

    /// All descriptors are to be looked at again.
    fn forget_numbers(&mut self, taken: &[RawFd]) {
        self.numbers.begin_anew(taken);
        for member in self.open.values() {
            self.numbers.set(member.stream.as_raw_fd(), Owner::Roll);
        }
    }

    /// Enters what came since. False as above.
    fn enter(
        &mut self,
        sockets: &Sockets,
        now: Instant,
        mut see: impl FnMut(Cookie, SocketAddr, Traffic),
    ) -> bool {
        let Self { open, cookies, closed, numbers, has_changed, .. } = self;
        numbers.search(|number| {
            let (cookie, stream) = match sockets.duplicate(number) {
                Ok(Descriptor::Socket(cookie, stream)) => (cookie, stream),
                Ok(Descriptor::Other) => return Found::Other,
                Ok(Descriptor::Closed) => return Found::Nothing,
                Err(NoDescriptors) => return Found::NoDescriptors,
            };
            if open.get(&cookie).is_some_and(|member| member.stream.as_raw_fd() == number) {
                return Found::Taken(Owner::Roll);
            }
            if !open.contains_key(&cookie) && !closed.contains_key(&cookie) {
                if !sockets.is_ours(&stream) || traffic(&stream).is_none() {
                    return Found::Other;
                }
                match (stream.peer_addr(), open_traffic(&stream)) {
                    (Ok(peer), Some(traffic)) => {
                        see(cookie, peer, traffic);
                        cookies.insert(peer, cookie);
                        open.insert(cookie, Member { stream, peer });
                    }
                    // It was not there for long enough to be seen.
                    _ => {
                        closed.insert(cookie, Held::new(now, now + SOON));
                    }
                }
            }
            *has_changed = true;
            Found::Taken(Owner::Connection(cookie))
        })
    }

    /// The open connection from there, if it was found.
    pub(crate) fn of_peer(&self, peer: &SocketAddr) -> Option<Cookie> {
        self.cookies.get(peer).copied()
    }

    /// Shuts a connection down, and throws away what it sent. `is_guilty`: that was too much.
    pub(crate) fn close(&mut self, cookie: Cookie, is_guilty: bool, now: Instant) {
        if let Some(member) = self.open.get(&cookie) {
            if is_guilty {
                self.guilty.insert(cookie, (member.peer.ip(), now));
            }
            // Who still sends hears at once that nobody listens.
            let _ = set_socket_linger(&member.stream, Some(Duration::ZERO));
            let _ = member.stream.shutdown(Shutdown::Both);
            drain(&member.stream);
        }
    }

    /// Connections that are closed, and that tiny_http will never let go of.
    pub(crate) fn count_stuck(&self, now: Instant) -> usize {
        self.closed.values().filter(|held| held.is_stuck(now)).count()
    }

    /// Whether there will be something to see: a connection that is open, or one that may be let go of, or become stuck.
    pub(crate) fn has_news(&self, now: Instant) -> bool {
        !self.open.is_empty() || self.closed.values().any(|held| !held.is_stuck(now))
    }

    /// Descriptors that belong to the rest of the program. Each is looked at in every call, which takes three microseconds.
    pub(crate) const fn others(&self) -> usize {
        self.numbers.others()
    }

    /// Connections that there are: open, or closed just now.
    pub(crate) fn len(&self, now: Instant) -> usize {
        let is_passing = |held: &&Held| now.saturating_duration_since(held.since) < PASSING;
        self.open.len() + self.closed.values().filter(is_passing).count()
    }

    /// Where connections came from that were closed for what they sent, and are not let go of: the last ones first.
    pub(crate) fn guilty(&mut self, now: Instant) -> impl Iterator<Item = IpAddr> {
        let Self { open, closed, guilty, last, .. } = self;
        guilty.retain(|cookie, (_, since)| {
            now.saturating_duration_since(*since) < GUILT
                && (open.contains_key(cookie) || closed.contains_key(cookie))
        });
        last.clear();
        last.extend(guilty.values().map(|(ip, since)| (Reverse(*since), *ip)));
        last.sort_unstable();
        last.iter().map(|(_, ip)| *ip)
    }
}

impl Held {
    const fn new(since: Instant, next_check: Instant) -> Self {
        Self { since, next_check, is_seen: true }
    }

    fn is_stuck(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= PATIENCE
    }
}

fn open_traffic(stream: &TcpStream) -> Option<Traffic> {
    let traffic = traffic(stream).filter(|traffic| traffic.is_open)?;
    // What was not read yet takes none of our memory. It may be a body that came with its head, which is not to be taken for
    // a long head before anybody had the time to look.
    let unread = ioctl_fionread(stream).unwrap_or(0);
    Some(Traffic { received: traffic.received.saturating_sub(unread), ..traffic })
}

#[cfg(test)]
mod tests;
