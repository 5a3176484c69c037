//! Every connection thread of the process: counted against the limits, woken and joined when the daemon stops.
//!
//! Strangers that have not said yet what they want are kept apart: they may hold a quarter of the places, and who has been
//! silent longest goes when more come. So a storm of them costs nobody else a place, and who speaks at once, as every honest
//! peer does, gets in.
//!
//! Addresses that we dial are counted as well, until the handshake is done. A torrent may be dialling as many as there are
//! free places for that: however many dead addresses the others have, one that begins finds a place.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use torrent_common::worker::{Shutdown, Worker};

use super::blame::Blame;
use crate::torrent::event::PeerKey;
use crate::torrent::host::Host;
use crate::wake::Waker;

/// Stack of a connection thread: its buffers are on the heap, and there may be a thousand.
const STACK_LEN_BYTES: usize = 256 * 1024;
/// Of all places, those for strangers that have not finished their handshake: one in so many.
const GREETING_SHARE: usize = 4;
/// Of all places, those that one host may take: one in so many.
const HOST_SHARE: usize = 2;
/// So many it may have in any case.
const HOST_LEAST: usize = 16;

/// The threads, and how many there may be.
#[derive(Debug)]
pub struct Connections {
    max: usize,
    max_half_open: usize,
    next_key: AtomicU64,
    shutdown: Shutdown,
    threads: Mutex<Threads>,
    /// Tells who breaks the rules.
    pub blame: Blame,
}

#[derive(Debug, Default)]
struct Threads {
    running: HashMap<PeerKey, Place>,
    /// Strangers that have not finished their handshake, the first come first.
    greeting: BTreeSet<PeerKey>,
    /// Addresses being dialled, or greeted.
    dialling: HashSet<PeerKey>,
    /// How many places each host has.
    hosts: HashMap<Host, usize>,
    /// Have said goodbye; joined by whoever comes by next.
    ended: Vec<Worker>,
}

/// The place of one connection.
#[derive(Debug)]
struct Place {
    waker: Waker,
    host: Host,
    evicted: Shutdown,
    /// `None` for the moment between the entry and the start of its thread.
    worker: Option<Worker>,
}

/// Who began a connection, and with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A stranger from there did.
    Stranger(IpAddr),
    /// We did.
    Ours {
        /// The other end.
        ip: IpAddr,
        /// Addresses that the same torrent is dialling already.
        dialling: usize,
    },
}

/// What a connection thread is given of the registry.
#[derive(Debug)]
pub struct Lease {
    /// The connection's name.
    pub key: PeerKey,
    /// Rung when there is something to look at, a shutdown included.
    pub waker: Waker,
    /// Set when the daemon stops.
    pub shutdown: Shutdown,
    /// Set when its place is needed for others, before its handshake is done.
    evicted: Shutdown,
    registry: Arc<Connections>,
}

/// Why no connection was started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The configured limit.
    #[error("all {0} connections are in use (MAX_CONNECTIONS)")]
    Full(usize),
    /// One host has half of all connections.
    #[error("its host has {0} connections already, half of MAX_CONNECTIONS")]
    Crowded(usize),
    /// Enough is being dialled.
    #[error("its torrent dials as many addresses as it may, of {0} in all (MAX_HALF_OPEN)")]
    HalfOpen(usize),
    /// The daemon is being stopped.
    #[error("the daemon stops")]
    Stopping,
    /// The system's limit.
    #[error("the system has no room for another connection: {0}")]
    System(#[from] io::Error),
}

impl Connections {
    /// Room for `max` connections, `max_half_open` of them being dialled.
    pub fn new(max: usize, max_half_open: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_half_open,
            next_key: AtomicU64::new(1),
            shutdown: Shutdown::new(),
            threads: Mutex::default(),
            blame: Blame::new(),
        })
    }

    /// Runs one connection on a thread of its own. Its place is free again when `run` has dropped the lease.
    ///
    /// # Errors
    /// [`SpawnError`], and `run` was dropped.
    pub fn spawn(
        self: &Arc<Self>,
        origin: Origin,
        run: impl FnOnce(Lease) + Send + 'static,
    ) -> Result<(), SpawnError> {
        let (waker, evicted) = (Waker::new()?, Shutdown::new());
        let key = PeerKey(self.next_key.fetch_add(1, Ordering::Relaxed));
        self.enter(key, origin, &waker, &evicted)?;
        let (shutdown, registry) = (self.shutdown.clone(), Arc::clone(self));
        let lease = Lease { key, waker, shutdown, evicted, registry };
        match Worker::spawn_small(format!("peer-{}", key.0), STACK_LEN_BYTES, move || run(lease)) {
            Ok(worker) => {
                self.started(key, worker);
                Ok(())
            }
            // The closure was dropped with its lease, so the place is free already.
            Err(error) => Err(error.into()),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().running.len()
    }

    /// Tells every connection to end and waits until all have.
    pub fn stop(&self) {
        self.shutdown.set();
        loop {
            let (wakers, ended): (Vec<_>, _) = {
                let mut threads = self.lock();
                let wakers = threads.running.values().map(|place| place.waker.clone()).collect();
                let workers =
                    threads.running.values_mut().filter_map(|place| place.worker.take()).collect::<Vec<_>>();
                (wakers, std::mem::take(&mut threads.ended).into_iter().chain(workers).collect::<Vec<_>>())
            };
            wakers.iter().for_each(Waker::ring);
            if wakers.is_empty() && ended.is_empty() {
                return;
            }
            if ended.is_empty() {
                // Only threads that are just being entered are left.
                std::thread::yield_now();
            }
            ended.into_iter().for_each(Worker::join);
        }
    }

    fn enter(
        &self,
        key: PeerKey,
        origin: Origin,
        waker: &Waker,
        evicted: &Shutdown,
    ) -> Result<(), SpawnError> {
        let (Origin::Stranger(ip) | Origin::Ours { ip, .. }) = origin;
        let (host, is_stranger) = (Host::of(ip), matches!(origin, Origin::Stranger(_)));
        let ended = {
            let mut threads = self.lock();
            if self.shutdown.is_set() {
                return Err(SpawnError::Stopping);
            }
            let is_full = threads.running.len() >= self.max;
            if is_stranger && (is_full || threads.greeting.len() >= (self.max / GREETING_SHARE).max(1)) {
                threads.evict();
            }
            if is_full {
                return Err(SpawnError::Full(self.max));
            }
            if let Origin::Ours { dialling, .. } = origin {
                if dialling >= self.max_half_open.saturating_sub(threads.dialling.len()) {
                    return Err(SpawnError::HalfOpen(self.max_half_open));
                }
                threads.dialling.insert(key);
            }
            let its = threads.hosts.entry(host).or_default();
            let most = (self.max / HOST_SHARE).max(HOST_LEAST);
            if is_stranger && *its >= most {
                return Err(SpawnError::Crowded(most));
            }
            *its += 1;
            let place = Place { waker: waker.clone(), host, evicted: evicted.clone(), worker: None };
            threads.running.insert(key, place);
            if is_stranger {
                threads.greeting.insert(key);
            }
            std::mem::take(&mut threads.ended)
        };
        // They have left already: this waits for a thread's last instructions at most.
        ended.into_iter().for_each(Worker::join);
        Ok(())
    }

    fn started(&self, key: PeerKey, worker: Worker) {
        let mut threads = self.lock();
        match threads.running.get_mut(&key) {
            Some(place) => place.worker = Some(worker),
            None => threads.ended.push(worker),
        }
    }

    fn leave(&self, key: PeerKey) {
        let mut threads = self.lock();
        threads.greeting.remove(&key);
        threads.dialling.remove(&key);
        let Some(Place { host, worker, .. }) = threads.running.remove(&key) else { return };
        threads.ended.extend(worker);
        if let Some(its) = threads.hosts.get_mut(&host) {
            *its -= 1;
            if *its == 0 {
                threads.hosts.remove(&host);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Threads {
    /// Tells the stranger that has been silent longest to go. Its place is free when it has.
    fn evict(&mut self) {
        let oldest = self.greeting.pop_first();
        if let Some(place) = oldest.and_then(|key| self.running.get(&key)) {
            place.evicted.set();
            place.waker.ring();
        }
    }
}

impl Lease {
    /// All connections, this one among them.
    pub const fn registry(&self) -> &Arc<Connections> {
        &self.registry
    }

    /// The handshake is done: the place is kept. False if it was needed for others, and the connection must end.
    pub fn settle(&self) -> bool {
        {
            let mut threads = self.registry.lock();
            threads.greeting.remove(&self.key);
            threads.dialling.remove(&self.key);
        }
        !self.is_evicted()
    }

    /// The place is needed for others.
    pub fn is_evicted(&self) -> bool {
        self.evicted.is_set()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.registry.leave(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::PollFlags;
    use std::net::Ipv4Addr;
    use std::os::fd::AsFd;

    const THEM: Origin = Origin::Ours { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), dialling: 0 };

    fn stranger(last: u8) -> Origin {
        Origin::Stranger(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)))
    }

    /// A connection that waits to be told to go, and tells when it does.
    fn silent(connections: &Arc<Connections>, last: u8, gone: &crossbeam_channel::Sender<u8>) -> bool {
        let gone = gone.clone();
        let outcome = connections.spawn(stranger(last), move |lease| {
            let idle = Waker::new().unwrap();
            while !lease.shutdown.is_set() && !lease.is_evicted() {
                lease.waker.wait(idle.as_fd(), PollFlags::IN, None).unwrap();
            }
            drop(lease);
            let _ = gone.send(last);
        });
        outcome.is_ok()
    }

    #[test]
    fn who_says_nothing_gives_its_place_to_who_comes() {
        let connections = Connections::new(8, 8);
        let (gone, left) = crossbeam_channel::unbounded();
        // A quarter of eight places.
        assert!(silent(&connections, 1, &gone) && silent(&connections, 2, &gone));
        for last in 3..9 {
            assert!(silent(&connections, last, &gone));
            assert_eq!(left.recv(), Ok(last - 2), "the longest silent goes");
        }
        assert_eq!(connections.count(), 2);
        // Who has made itself known stays.
        let (say, heard) = crossbeam_channel::bounded(0);
        let (hold, held) = crossbeam_channel::bounded::<()>(0);
        connections
            .spawn(stranger(9), move |lease| {
                say.send(lease.settle()).unwrap();
                let _ = held.recv();
                say.send(lease.is_evicted()).unwrap();
            })
            .unwrap();
        assert_eq!(heard.recv(), Ok(true));
        for last in 10..20 {
            assert!(silent(&connections, last, &gone));
            left.recv().unwrap();
        }
        drop(hold);
        assert_eq!(heard.recv(), Ok(false));
        connections.stop();
        assert!(connections.lock().hosts.is_empty() && connections.lock().greeting.is_empty());
    }

    #[test]
    fn one_host_takes_half_of_all_places_at_most() {
        let connections = Connections::new(40, 8);
        let hold = |origin| {
            connections.spawn(origin, |lease| {
                lease.settle();
                let idle = Waker::new().unwrap();
                while !lease.shutdown.is_set() {
                    lease.waker.wait(idle.as_fd(), PollFlags::IN, None).unwrap();
                }
            })
        };
        (0..20).for_each(|_| hold(stranger(1)).unwrap());
        assert!(matches!(hold(stranger(1)), Err(SpawnError::Crowded(20))));
        hold(stranger(2)).unwrap();
        connections.stop();
        assert_eq!(connections.count(), 0);
    }

    #[test]
    fn a_torrent_dials_as_many_as_are_free_and_one_that_begins_finds_a_place() {
        let connections = Connections::new(40, 8);
        let (hold, held) = crossbeam_channel::bounded::<()>(0);
        let (say, settled) = crossbeam_channel::bounded(0);
        let dial = |dialling| {
            let (held, say) = (held.clone(), say.clone());
            let origin = Origin::Ours { ip: Ipv4Addr::LOCALHOST.into(), dialling };
            connections.spawn(origin, move |lease| {
                let _ = held.recv();
                lease.settle();
                say.send(()).unwrap();
                let idle = Waker::new().unwrap();
                while !lease.shutdown.is_set() {
                    lease.waker.wait(idle.as_fd(), PollFlags::IN, None).unwrap();
                }
            })
        };
        for dialling in 0..4 {
            dial(dialling).unwrap();
        }
        assert!(matches!(dial(4), Err(SpawnError::HalfOpen(8))), "half of all, while nobody else dials");
        dial(0).unwrap();
        dial(1).unwrap();
        assert!(matches!(dial(2), Err(SpawnError::HalfOpen(8))));
        dial(0).unwrap();
        dial(0).unwrap();
        assert!(matches!(dial(0), Err(SpawnError::HalfOpen(8))), "there are no more");
        // Who is connected is not being dialled any more.
        drop(hold);
        (0..8).for_each(|_| settled.recv().unwrap());
        dial(3).unwrap();
        settled.recv().unwrap();
        assert_eq!(connections.count(), 9);
        connections.stop();
        assert!(connections.lock().dialling.is_empty());
    }

    #[test]
    fn the_limit_is_kept_and_places_come_free() {
        let connections = Connections::new(1, 8);
        let (hold, held) = crossbeam_channel::bounded::<()>(0);
        let (left, gone) = crossbeam_channel::bounded::<()>(0);
        connections
            .spawn(THEM, move |lease| {
                let _ = held.recv();
                drop(lease);
                drop(left);
            })
            .unwrap();
        assert!(matches!(connections.spawn(THEM, |_| ()), Err(SpawnError::Full(1))));
        drop(hold);
        let _ = gone.recv();
        connections.spawn(THEM, |_| ()).unwrap();
        connections.stop();
        assert_eq!(connections.count(), 0);
        assert!(matches!(connections.spawn(THEM, |_| ()), Err(SpawnError::Stopping)));
    }

    #[test]
    fn stopping_wakes_sleepers() {
        let connections = Connections::new(8, 8);
        for _ in 0..8 {
            connections
                .spawn(THEM, |lease| {
                    let idle = Waker::new().unwrap();
                    while !lease.shutdown.is_set() {
                        lease.waker.wait(idle.as_fd(), PollFlags::IN, None).unwrap();
                    }
                })
                .unwrap();
        }
        connections.stop();
        assert_eq!(connections.count(), 0);
    }
}
