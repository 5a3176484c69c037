//! What tiny_http leaves unbounded, and this thread bounds from outside:
//! - a body that never ends holds a worker for ever: its connection is severed at a deadline;
//! - connections (each has a thread) are as many as anyone likes: beyond [`CONNECTIONS_MAX`] the oldest are severed, soon
//!   though not at once;
//! - an accept loop that has died leaves connections waiting while the process looks well: a new server is started;
//! - connections that arrive together may be accepted and forgotten: see [`torrent_common::nudge`].
//!
//! It sleeps in poll(2) on the listening socket and a pipe: no connection, no wake-up. (A connection that is accepted
//! before this thread runs goes unnoticed; where many come, some are noticed, and then all are counted.)

use std::collections::HashMap;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use torrent_common::nudge::nudge;
use torrent_common::worker::Shutdown as Stop;

use super::sockets::{connections, sever};

/// Connections at once. The commands use one each.
pub const CONNECTIONS_MAX: usize = 64;

/// Above this the connections are counted again and again: one that is accepted at once wakes nobody here.
const CROWDED: usize = CONNECTIONS_MAX / 2;

/// A connection that waits to be accepted is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// So many looks in a row find a waiting connection when the accept loop is dead.
const LOOKS_UNTIL_DEAD: u32 = 4;

/// The workers' side.
#[derive(Debug)]
pub struct Guard {
    /// When to sever which connection; at most one for every worker. A leaf lock.
    deadlines: Mutex<Vec<(Instant, SocketAddr)>>,
    bell: PipeWriter,
}

/// A connection with a deadline, until this is dropped.
#[derive(Debug)]
pub struct Watch<'a> {
    guard: &'a Guard,
    entry: (Instant, SocketAddr),
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut deadlines = self.guard.deadlines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = deadlines.iter().position(|entry| *entry == self.entry) {
            deadlines.swap_remove(at);
        }
    }
}

impl Guard {
    /// The workers' side, and what [`run`] sleeps on.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn new() -> io::Result<(Self, PipeReader)> {
        let (reader, bell) = io::pipe()?;
        Ok((Self { deadlines: Mutex::default(), bell }, reader))
    }

    /// Wakes the thread.
    pub fn ring(&self) {
        // One byte for each body longer than a kilobyte: the pipe never fills.
        let _ = (&self.bell).write(&[0]);
    }

    /// Severs the connection from `peer` after `time`, unless the watch is dropped before.
    pub fn watch(&self, peer: SocketAddr, time: Duration) -> Watch<'_> {
        let entry = (Instant::now() + time, peer);
        self.deadlines.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        self.ring();
        Watch { guard: self, entry }
    }

    /// Takes out those that are due at `now`, and tells when the next one is.
    fn due(&self, now: Instant) -> (Vec<SocketAddr>, Option<Instant>) {
        let mut deadlines = self.deadlines.lock().unwrap_or_else(PoisonError::into_inner);
        let due = deadlines.extract_if(.., |(at, _)| *at <= now).map(|(_, peer)| peer).collect();
        (due, deadlines.iter().map(|(at, _)| *at).min())
    }
}

/// What the thread needs.
#[derive(Debug)]
pub struct Post<'a> {
    /// Shared with the workers.
    pub guard: &'a Guard,
    /// A clone of the listening socket.
    pub listener: &'a TcpListener,
    /// Its address.
    pub local: SocketAddr,
    /// Rings.
    pub pipe: PipeReader,
    /// When to end.
    pub stop: &'a Stop,
}

impl Post<'_> {
    /// The thread's life; `restart` puts a new accept loop on the listening socket.
    pub fn run(mut self, restart: impl Fn()) {
        let mut look_at: Option<Instant> = None;
        let mut looks = 0;
        let mut first_seen = HashMap::new();
        while !self.stop.is_set() {
            let now = Instant::now();
            let (due, next_due) = self.guard.due(now);
            if !due.is_empty() {
                self.sever("too slow", |peer| due.contains(&peer));
            }
            if look_at.is_some_and(|at| at <= now) {
                look_at = None;
                if self.limit(now, &mut first_seen) > CROWDED {
                    look_at = Some(now + LOOK_AGAIN);
                }
                looks = if self.someone_waits() { looks + 1 } else { 0 };
                if looks >= LOOKS_UNTIL_DEAD {
                    log::warn!("control: connections are not accepted: listening again");
                    restart();
                    looks = 0;
                }
                if looks > 0 {
                    look_at = Some(now + LOOK_AGAIN);
                } else {
                    nudge(self.local);
                }
            }
            let until = [look_at, next_due].into_iter().flatten().min();
            let (rung, waiting) =
                self.sleep(until.map(|at| at.saturating_duration_since(now)), look_at.is_none());
            if rung {
                // One read takes all rings that matter: what they tell is in `deadlines` and `stop`.
                let _ = self.pipe.read(&mut [0; 64]);
            }
            if waiting {
                look_at = Some(Instant::now() + LOOK_AGAIN);
            }
        }
    }

    /// Waits for a ring, a connection (if `listening`) or the time.
    fn sleep(&self, time: Option<Duration>, listening: bool) -> (bool, bool) {
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        let mut both = [PollFd::new(&self.pipe, PollFlags::IN), PollFd::new(self.listener, PollFlags::IN)];
        let watched = if listening { both.as_mut_slice() } else { both.split_at_mut(1).0 };
        if poll(watched, time.as_ref()).is_err() {
            return (false, false);
        }
        let mut ready = watched.iter().map(|entry| entry.revents().contains(PollFlags::IN));
        (ready.next().unwrap_or(false), ready.next().unwrap_or(false))
    }

    /// Whether a connection waits to be accepted now.
    fn someone_waits(&self) -> bool {
        let mut listener = [PollFd::new(self.listener, PollFlags::IN)];
        poll(&mut listener, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Severs the oldest connections beyond the limit; gives how many there were.
    fn limit(&self, now: Instant, first_seen: &mut HashMap<SocketAddr, Instant>) -> usize {
        let open = match connections(self.local) {
            Ok(open) => open,
            Err(error) => {
                log::debug!("control: connections cannot be counted: {error}");
                return 0;
            }
        };
        first_seen.retain(|peer, _| open.iter().any(|(open, _)| open == peer));
        for (peer, _) in &open {
            first_seen.entry(*peer).or_insert(now);
        }
        let old = oldest(first_seen, open.len().saturating_sub(CONNECTIONS_MAX));
        if !old.is_empty() {
            self.sever("too many connections", |peer| old.contains(&peer));
        }
        open.len()
    }

    fn sever(&self, why: &str, choose: impl Fn(SocketAddr) -> bool) {
        match sever(self.local, Shutdown::Both, choose) {
            Ok(count) => log::debug!("control: {count} connections severed: {why}"),
            Err(error) => log::warn!("control: connections cannot be severed ({why}): {error}"),
        }
    }
}

/// Those seen first, so many.
fn oldest(first_seen: &HashMap<SocketAddr, Instant>, count: usize) -> Vec<SocketAddr> {
    let mut by_age: Vec<_> = first_seen.iter().map(|(peer, at)| (*at, *peer)).collect();
    by_age.sort_unstable();
    by_age.into_iter().take(count).map(|(_, peer)| peer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let start = Instant::now();
        let peer = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let seen =
            (1..=9).map(|port| (peer(port), start + Duration::from_secs(u64::from(port % 5)))).collect();
        assert_eq!(oldest(&seen, 3), [peer(5), peer(1), peer(6)]);
        assert!(oldest(&seen, 0).is_empty());
    }

    #[test]
    fn a_watch_that_has_ended_is_forgotten() {
        let (guard, _pipe) = Guard::new().unwrap();
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let later = Instant::now() + Duration::from_secs(100);
        let watch = guard.watch(peer, Duration::from_secs(10));
        assert!(guard.due(Instant::now()).1.is_some());
        drop(watch);
        assert_eq!(guard.due(later), (vec![], None));
        let _watch = guard.watch(peer, Duration::from_secs(10));
        assert_eq!(guard.due(later), (vec![peer], None));
    }
}
