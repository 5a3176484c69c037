//! One request of a connection at a time.
//!
//! A client may send requests without waiting for answers, and tiny_http hands them all out at once, but holds whoever
//! writes an answer until the earlier answers of the connection are written. Threads that wait for each other like
//! that can wait for ever. Here the later requests wait instead, as data.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tiny_http::Request;

/// Requests that may wait behind one of their connection. Hardly any client sends a second one before it has the first
/// answer.
const MAX_WAITING: usize = 16;

/// The connections that have a request in work, each with those that wait behind it.
pub(super) struct Turns<R = Request>(Mutex<HashMap<SocketAddr, Line<R>>>);

struct Line<R> {
    waiting: VecDeque<R>,
    /// The connection was shut down: nobody will read the answers.
    is_cut: bool,
}

/// What is to be done with a request that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn<R> {
    /// Its turn is now: then [`Turns::finish`] is to be called when it is answered.
    Now(R),
    /// It waits.
    Later,
    /// It waits, one of so many that the connection should be shut down.
    TooMany,
}

impl<R> Default for Turns<R> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<R> Turns<R> {
    /// Takes a request, in the order of arrival.
    pub(super) fn arrive(&self, from: SocketAddr, request: R) -> Turn<R> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match lines.entry(from) {
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
    pub(super) fn has(&self, from: &SocketAddr) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(from)
    }

    /// The connection was shut down: what waits is not answered.
    pub(super) fn cut(&self, from: &SocketAddr) {
        if let Some(line) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(from) {
            line.is_cut = true;
        }
    }

    /// The request in work is answered. Returns the one whose turn is next, if there is one.
    pub(super) fn finish(&self, from: &SocketAddr) -> Option<R> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.get_mut(from)?;
        if !line.is_cut
            && let Some(next) = line.waiting.pop_front()
        {
            return Some(next);
        }
        let ended = lines.remove(from);
        drop(lines);
        // In order, without the lock: an unanswered request answers when it is dropped.
        ended.into_iter().flat_map(|line| line.waiting).for_each(drop);
        None
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
        assert_eq!(turns.finish(&a), Some(2));
        assert_eq!(turns.finish(&b), None);
        assert_eq!(turns.finish(&a), Some(3));
        assert_eq!(turns.arrive(a, 4), Turn::Later);
        assert_eq!(turns.finish(&a), Some(4));
        assert_eq!(turns.finish(&a), None);
        assert_eq!(turns.arrive(a, 5), Turn::Now(5));
        assert_eq!(turns.finish(&a), None);
        assert!(turns.0.lock().unwrap().is_empty());
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
                turns.cut(&a);
                assert_eq!(turns.finish(&a), None);
                assert_eq!(turns.arrive(a, 0), Turn::Now(0));
            } else {
                assert_eq!(turns.finish(&a), Some(1), "who cannot be cut is answered");
            }
        }
    }
}
