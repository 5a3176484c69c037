//! Which connections have a request in work. The guard looks now and then, and between two looks a connection may send
//! any number of requests and have all of them answered: so those that were answered since the last look are told, too.
//! What came with them is none of what came after.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Written by the threads that answer, read by the guard's.
#[derive(Debug, Default)]
pub(crate) struct InWork(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    /// Whose requests the lanes have, with the bytes that may come meanwhile.
    now: HashMap<SocketAddr, u64>,
    /// Whose they had since the last look. No more than there were connections in that time.
    ended: HashSet<SocketAddr>,
}

/// What there was when a look began.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    now: HashMap<SocketAddr, u64>,
    ended: HashSet<SocketAddr>,
}

/// The same for one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// A lane has a request of it, and so many more bytes may come meanwhile.
    pub(crate) busy: Option<u64>,
    /// One was answered since the look before.
    pub(crate) has_ended: bool,
}

impl InWork {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane has a request of that connection, of which so many bytes may still come.
    pub(crate) fn begin(&self, from: SocketAddr, body_len: u64) {
        self.book().now.insert(from, body_len);
    }

    /// It has not any more. `is_noted`: somebody looks.
    pub(crate) fn end(&self, from: &SocketAddr, is_noted: bool) {
        let mut book = self.book();
        if book.now.remove(from).is_some() && is_noted {
            book.ended.insert(*from);
        }
    }

    /// How many requests of an address the lanes have.
    pub(crate) fn count(&self, ip: IpAddr) -> usize {
        self.book().now.keys().filter(|from| from.ip() == ip).count()
    }

    /// A look begins: what came so far with requests that were answered was theirs.
    pub(crate) fn note(&self) -> Noted {
        let mut book = self.book();
        Noted { now: book.now.clone(), ended: std::mem::take(&mut book.ended) }
    }

    /// Whether a request of that connection was answered after the look began.
    pub(crate) fn has_ended_since(&self, from: &SocketAddr) -> bool {
        self.book().ended.contains(from)
    }
}

impl Noted {
    /// Whether no lane has anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.now.is_empty()
    }

    /// Whether a lane has a request of that connection.
    pub(crate) fn is_busy(&self, peer: &SocketAddr) -> bool {
        self.now.contains_key(peer)
    }

    /// What there is of that connection.
    pub(crate) fn of(&self, peer: &SocketAddr) -> Work {
        Work { busy: self.now.get(peer).copied(), has_ended: self.ended.contains(peer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_between_two_looks_is_told_once() {
        let work = InWork::default();
        let [a, b] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        work.begin(a, 7);
        work.end(&a, true);
        work.begin(a, 9);
        work.end(&b, true);
        let noted = work.note();
        assert_eq!(noted.of(&a), Work { busy: Some(9), has_ended: true });
        assert_eq!(noted.of(&b), Work::default(), "nothing of it was in work");
        assert!(!work.has_ended_since(&a));
        assert_eq!((work.count(a.ip()), noted.is_idle(), noted.is_busy(&a)), (1, false, true));
        work.end(&a, true);
        assert!(work.has_ended_since(&a));
        assert_eq!(work.note().of(&a), Work { busy: None, has_ended: true });
        assert_eq!(work.note().of(&a), Work::default());
        work.begin(a, 1);
        work.end(&a, false);
        assert_eq!(work.note().of(&a), Work::default(), "nobody looks");
    }
}
