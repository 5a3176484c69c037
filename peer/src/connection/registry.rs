//! Every connection thread of the process: counted against the limit, woken and joined when the daemon stops.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use torrent_common::worker::{Shutdown, Worker};

use crate::torrent::event::PeerKey;
use crate::wake::Waker;

/// Stack of a connection thread: its buffers are on the heap, and there may be a thousand.
const STACK_LEN_BYTES: usize = 256 * 1024;

/// The threads, and how many there may be.
#[derive(Debug)]
pub struct Connections {
    max: usize,
    next_key: AtomicU64,
    shutdown: Shutdown,
    threads: Mutex<Threads>,
}

#[derive(Debug, Default)]
struct Threads {
    /// `None` for the moment between the entry and the start of its thread.
    running: HashMap<PeerKey, (Waker, Option<Worker>)>,
    /// Have said goodbye; joined by whoever comes by next.
    ended: Vec<Worker>,
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
    registry: Arc<Connections>,
}

/// Why no connection was started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The configured limit.
    #[error("all {0} connections are in use (MAX_CONNECTIONS)")]
    Full(usize),
    /// The daemon is being stopped.
    #[error("the daemon stops")]
    Stopping,
    /// The system's limit.
    #[error("the system has no room for another connection: {0}")]
    System(#[from] io::Error),
}

impl Connections {
    /// Room for `max` connections.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            next_key: AtomicU64::new(1),
            shutdown: Shutdown::new(),
            threads: Mutex::default(),
        })
    }

    /// Runs one connection on a thread of its own. Its place is free again when `run` has dropped the lease.
    ///
    /// # Errors
    /// [`SpawnError`], and `run` was dropped.
    pub fn spawn(self: &Arc<Self>, run: impl FnOnce(Lease) + Send + 'static) -> Result<(), SpawnError> {
        let waker = Waker::new()?;
        let key = PeerKey(self.next_key.fetch_add(1, Ordering::Relaxed));
        self.enter(key, &waker)?;
        let lease = Lease { key, waker, shutdown: self.shutdown.clone(), registry: Arc::clone(self) };
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
                let wakers = threads.running.values().map(|(waker, _)| waker.clone()).collect();
                let workers =
                    threads.running.values_mut().filter_map(|(_, worker)| worker.take()).collect::<Vec<_>>();
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

    fn enter(&self, key: PeerKey, waker: &Waker) -> Result<(), SpawnError> {
        let ended = {
            let mut threads = self.lock();
            if self.shutdown.is_set() {
                return Err(SpawnError::Stopping);
            }
            if threads.running.len() >= self.max {
                return Err(SpawnError::Full(self.max));
            }
            threads.running.insert(key, (waker.clone(), None));
            std::mem::take(&mut threads.ended)
        };
        // They have left already: this waits for a thread's last instructions at most.
        ended.into_iter().for_each(Worker::join);
        Ok(())
    }

    fn started(&self, key: PeerKey, worker: Worker) {
        let mut threads = self.lock();
        match threads.running.get_mut(&key) {
            Some((_, slot)) => *slot = Some(worker),
            None => threads.ended.push(worker),
        }
    }

    fn leave(&self, key: PeerKey) {
        let mut threads = self.lock();
        if let Some((_, Some(worker))) = threads.running.remove(&key) {
            threads.ended.push(worker);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
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
    use std::os::fd::AsFd;

    #[test]
    fn the_limit_is_kept_and_places_come_free() {
        let connections = Connections::new(1);
        let (hold, held) = crossbeam_channel::bounded::<()>(0);
        let (left, gone) = crossbeam_channel::bounded::<()>(0);
        connections
            .spawn(move |lease| {
                let _ = held.recv();
                drop(lease);
                drop(left);
            })
            .unwrap();
        assert!(matches!(connections.spawn(|_| ()), Err(SpawnError::Full(1))));
        drop(hold);
        let _ = gone.recv();
        connections.spawn(|_| ()).unwrap();
        connections.stop();
        assert_eq!(connections.count(), 0);
        assert!(matches!(connections.spawn(|_| ()), Err(SpawnError::Stopping)));
    }

    #[test]
    fn stopping_wakes_sleepers() {
        let connections = Connections::new(8);
        for _ in 0..8 {
            connections
                .spawn(|lease| {
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
