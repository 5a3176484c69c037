//! Connections that are closed, and that tiny_http never lets go of.
//!
//! It answers a request of HTTP/2 or 3 (each client that tries HTTP/2 without asking first sends one) with 505, and waits
//! until the answer before it is written: that of the same request, which it does not write. The thread and two descriptors
//! are lost, as are those of requests that are left behind on purpose: see [`super::wear`].

use std::collections::HashMap;
use std::fs::File;
use std::time::{Duration, Instant};

use super::sockets::{Cookie, Sockets, traffic};

/// A closed connection that is held for longer is so for ever. Requests wait in the lanes for less, even if their clients
/// have left, unless the lanes are overrun.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often they are looked for: about two microseconds for each descriptor.
const PERIOD: Duration = Duration::from_secs(2);

/// The closed connections that are held, each since it was first seen.
#[derive(Debug, Default)]
pub(super) struct Stuck {
    since: HashMap<Cookie, Instant>,
    next: Option<Instant>,
    /// A descriptor for looking when there are no others.
    spare: Option<File>,
    count: usize,
}

impl Stuck {
    /// How many there were at the last look.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Looks for them, if it is time to. `listener` is not one.
    pub(super) fn look(&mut self, sockets: &Sockets, listener: Option<Cookie>, now: Instant) {
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + PERIOD);
        drop(self.spare.take());
        let mut closed = HashMap::new();
        let mut is_complete = true;
        let Some(numbers) = Sockets::numbers() else { return };
        for number in numbers {
            match sockets.duplicate(number) {
                Ok(Some((cookie, stream))) if Some(cookie) != listener => {
                    if traffic(&stream).is_some_and(|traffic| !traffic.is_open) {
                        closed.insert(cookie, self.since.get(&cookie).copied().unwrap_or(now));
                    }
                }
                Ok(_) => {}
                Err(_) => {
                    is_complete = false;
                    break;
                }
            }
        }
        if is_complete {
            self.since = closed;
        } else {
            self.since.extend(closed);
        }
        let is_stuck = |since: &&Instant| now.saturating_duration_since(**since) >= PATIENCE;
        self.count = self.since.values().filter(is_stuck).count();
        self.spare = File::open("/dev/null").ok();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_is_closed_and_held_is_counted_after_a_while() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (held, _) = listener.accept().unwrap();
        let sockets = Sockets::open(port).unwrap();
        let cookie = rustix::net::sockopt::socket_cookie(&held).unwrap();
        let mut stuck = Stuck::default();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        // Other tests of this process have sockets, too.
        let mut is_stuck = |s| {
            stuck.look(&sockets, None, at(s));
            stuck.since.get(&cookie).is_some_and(|since| at(s) - *since >= PATIENCE)
        };
        assert!(!is_stuck(0));
        assert!(!is_stuck(100), "it is open");
        held.shutdown(Shutdown::Both).unwrap();
        assert!(!is_stuck(102));
        assert!(!is_stuck(111));
        assert!(is_stuck(113));
        drop(held);
        assert!(!is_stuck(116));
    }
}
