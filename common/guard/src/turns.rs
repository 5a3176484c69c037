//! One request of a connection at a time.
//!
//! A client may send requests without waiting for answers, and tiny_http hands them all out at once, but holds whoever
//! writes an answer until the earlier answers of the connection are written. Threads that wait for each other like
//! that can wait for ever. Here the later requests wait instead, as data.
//!
//! A connection that was shut down is remembered for a while. tiny_http goes on to read what has arrived. After a request
//! whose end nobody knows it takes the bytes of a body for requests, such as a proxy in front has never seen, let alone said
//! whose they are: nothing is done for them. And of who sends thousands at once the rest costs hardly anything.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tiny_http::Request;

/// Requests that may wait behind one of their connection. Hardly any client sends a second one before it has the first
/// answer.
const MAX_WAITING: usize = 16;

/// How long a closed connection is remembered at least, unless very many are closed. What has arrived on it is read in a
/// fraction of that.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Closed connections that are remembered at least, however many there are; and at most twice as many.
const MAX_CLOSED: usize = 1 << 13;

/// The connections that have a request in work, each with those that wait behind it.
pub struct Turns<R = Request>(Mutex<Book<R>>);

struct Book<R> {
    lines: HashMap<SocketAddr, Line<R>>,
    closed: Closed,
}

/// Connections that were closed, the last ones and those before them.
#[derive(Default)]
struct Closed {
    recent: HashSet<SocketAddr>,
    older: HashSet<SocketAddr>,
    /// When the last ones became so.
    began: Option<Instant>,
}

struct Line<R> {
    waiting: VecDeque<R>,
    /// The connection was shut down: nobody will read the answers.
    is_cut: bool,
}

/// What is to be done with a request that arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<R> {
    /// Its turn is now: then [`Turns::finish`] is to be called when it is answered.
    Now(R),
    /// It waits.
    Later,
    /// It waits, one of so many that the connection should be shut down.
    TooMany,
    /// Its connection was closed: it is not to be answered.
    Closed(R),
}

impl Closed {
    fn insert(&mut self, from: SocketAddr, now: Instant) {
        if self.recent.len() >= MAX_CLOSED {
            self.turn(now);
        }
        self.began.get_or_insert(now);
        self.recent.insert(from);
    }

    fn has(&mut self, from: &SocketAddr, clock: impl FnOnce() -> Instant) -> bool {
        // Nearly always: what follows is not for those who do no harm.
        let Some(began) = self.began else { return false };
        let now = clock();
        if now.saturating_duration_since(began) > REMEMBERED {
            self.turn(now);
        }
        self.recent.contains(from) || self.older.contains(from)
    }

    /// Forgets those before the last ones.
    fn turn(&mut self, now: Instant) {
        self.older = std::mem::take(&mut self.recent);
        self.began = (!self.older.is_empty()).then_some(now);
    }
}

impl<R> Default for Turns<R> {
    fn default() -> Self {
        Self(Mutex::new(Book { lines: HashMap::new(), closed: Closed::default() }))
    }
}

impl<R> Turns<R> {
    fn book(&self) -> MutexGuard<'_, Book<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request, in the order of arrival.
    pub fn arrive(&self, from: SocketAddr, request: R) -> Turn<R> {
        let book = &mut *self.book();
        if book.closed.has(&from, Instant::now) {
            return Turn::Closed(request);
        }
        match book.lines.entry(from) {
            Entry::Vacant(entry) => {
                entry.insert(Line { waiting: VecDeque::new(), is_cut: false });
                Turn::Now(request)
            }
            Entry::Occupied(mut entry) => {
                let waiting = &mut entry.get_mut().waiting;
                waiting.push_back(request);
                if waiting.len() == MAX_WAITING { Turn::TooMany } else { Turn::Later }
            }
        }
    }

    /// Whether a request of this connection is in work.
    pub fn has(&self, from: &SocketAddr) -> bool {
        self.book().lines.contains_key(from)
    }

    /// The connection is to be shut down: neither what waits is answered, nor what else arrives on it.
    pub fn close(&self, from: &SocketAddr) {
        let book = &mut *self.book();
        book.closed.insert(*from, Instant::now());
        if let Some(line) = book.lines.get_mut(from) {
            line.is_cut = true;
        }
    }

    /// The request in work is answered. Returns the one whose turn is next, if there is one; what is not to be answered
    /// goes to `discard`, in order.
    pub fn finish(&self, from: &SocketAddr, discard: impl FnMut(R)) -> Option<R> {
        let mut book = self.book();
        let line = book.lines.get_mut(from)?;
        if !line.is_cut
            && let Some(next) = line.waiting.pop_front()
        {
            return Some(next);
        }
        let ended = book.lines.remove(from);
        drop(book);
        ended.into_iter().flat_map(|line| line.waiting).for_each(discard);
        None
    }

    /// Everything that waits goes to `discard`: nobody answers any more.
    pub fn end(&self, discard: impl FnMut(R)) {
        let lines = std::mem::take(&mut self.book().lines);
        lines.into_values().flat_map(|line| line.waiting).for_each(discard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_in_order() {
        let turns = Turns::<u32>::default();
        let [a, b] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(turns.arrive(a, 1), Turn::Now(1));
        assert_eq!(turns.arrive(a, 2), Turn::Later);
        assert_eq!(turns.arrive(a, 3), Turn::Later);
        assert_eq!(turns.arrive(b, 9), Turn::Now(9));
        assert_eq!(turns.finish(&a, drop), Some(2));
        assert_eq!(turns.finish(&b, drop), None);
        assert_eq!(turns.finish(&a, drop), Some(3));
        assert_eq!(turns.arrive(a, 4), Turn::Later);
        assert_eq!(turns.finish(&a, drop), Some(4));
        assert_eq!(turns.finish(&a, drop), None);
        assert_eq!(turns.arrive(a, 5), Turn::Now(5));
        assert_eq!(turns.finish(&a, drop), None);
        assert!(turns.book().lines.is_empty());
    }

    #[test]
    fn who_sends_too_many_is_told_once() {
        let a = SocketAddr::from(([127, 0, 0, 1], 1));
        for is_cut in [true, false] {
            let turns = Turns::<usize>::default();
            let turn: Vec<_> = (0..3 * MAX_WAITING).map(|n| turns.arrive(a, n)).collect();
            assert_eq!(turn.iter().filter(|&turn| *turn == Turn::TooMany).count(), 1);
            assert_eq!(turn[MAX_WAITING], Turn::TooMany);
            if is_cut {
                turns.close(&a);
                assert_eq!(turns.finish(&a, drop), None);
                assert_eq!(turns.arrive(a, 0), Turn::Closed(0));
            } else {
                assert_eq!(turns.finish(&a, drop), Some(1), "who cannot be cut is answered");
            }
        }
    }

    #[test]
    fn what_arrives_on_a_closed_connection_is_not_answered() {
        let turns = Turns::<u32>::default();
        let [a, b] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(turns.arrive(a, 1), Turn::Now(1));
        assert_eq!(turns.arrive(a, 2), Turn::Later);
        assert_eq!(turns.arrive(a, 3), Turn::Later);
        turns.close(&a);
        assert_eq!(turns.arrive(a, 4), Turn::Closed(4));
        let mut discarded = Vec::new();
        assert_eq!(turns.finish(&a, |request| discarded.push(request)), None);
        assert_eq!(discarded, [2, 3]);
        assert_eq!(turns.arrive(a, 5), Turn::Closed(5));
        assert_eq!(turns.arrive(b, 6), Turn::Now(6));
        assert_eq!(turns.arrive(b, 7), Turn::Later);
        turns.end(|request| discarded.push(request));
        assert_eq!(discarded, [2, 3, 7]);
    }

    #[test]
    fn closed_connections_are_forgotten_in_time() {
        let mut closed = Closed::default();
        let address = |n: usize| SocketAddr::from(([10, 0, 0, 1], u16::try_from(n).unwrap()));
        let start = Instant::now();
        closed.insert(address(1), start);
        assert!(
            closed.has(&address(1), || start + 3 * REMEMBERED),
            "for another while: it may have come at the end of the first"
        );
        let now = start + 6 * REMEMBERED;
        assert!(!closed.has(&address(1), || now));
        assert!(closed.began.is_none());
        for n in 0..5 * MAX_CLOSED {
            closed.insert(address(n % 60_000), now);
            assert!(closed.has(&address((n.saturating_sub(MAX_CLOSED - 1)) % 60_000), || now));
            assert!(closed.recent.len() + closed.older.len() <= 2 * MAX_CLOSED);
        }
    }
}
