//! Which device has which threads. Each device has a lane: a few threads that write pieces, and one that flushes, each
//! with a bounded queue of its own. Devices come and go (a stick that is plugged in again is another): one that has nothing
//! to do makes room for the next.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use torrent_common::worker::{Shutdown, Worker, contain};

use super::disk::{DiskJob, FlushJob, WriteJob};
use super::writing;

/// Devices that have threads of their own. More share theirs.
pub(super) const MAX_DEVICES: usize = 8;

/// When the system had no room for threads, it is asked again after so long.
const RETRY: Duration = Duration::from_secs(60);

/// Which device has which threads.
pub(super) struct Lanes {
    threads: usize,
    queue_len: usize,
    given_up: Shutdown,
    /// The first is there from the beginning, for the first device that comes.
    all: Vec<Arc<Lane>>,
    of: HashMap<u64, usize>,
    /// When the system had no room for more threads.
    refused: Option<Instant>,
}

/// The threads of one device, and their queues.
pub(super) struct Lane {
    // Before the workers: dropped first, which ends them.
    /// One for each thread. A torrent's pieces go to one of them alone: two threads that write to one file wait for each
    /// other in the kernel.
    writes: Vec<Sender<WriteJob>>,
    flushes: Sender<FlushJob>,
    /// Jobs that are queued or under way.
    jobs: Arc<AtomicUsize>,
    _workers: Vec<Worker>,
}

impl Lanes {
    /// Starts the first lane, of `threads` threads that write, with queues of `queue_len` jobs: at least one of each.
    /// Others like it start when their devices come. All leave what is queued when `given_up` is set.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread.
    pub fn start(threads: usize, queue_len: usize, given_up: Shutdown) -> io::Result<Self> {
        let (threads, queue_len) = (threads.max(1), queue_len.max(1));
        let first = Arc::new(Lane::start(0, threads, queue_len, &given_up)?);
        Ok(Self { threads, queue_len, given_up, all: vec![first], of: HashMap::new(), refused: None })
    }

    /// The threads of a device.
    pub fn of(&mut self, device: u64) -> Option<Arc<Lane>> {
        let nth = match self.of.get(&device) {
            Some(&nth) => nth,
            None => self.enter(device, Instant::now()),
        };
        self.all.get(nth).cloned()
    }

    /// Finds threads for a device that has none: new ones, or those of another that has nothing to do. If there are neither,
    /// it shares those of another for now.
    fn enter(&mut self, device: u64, now: Instant) -> usize {
        let known = self.of.len();
        if known >= MAX_DEVICES {
            let at_rest = |nth: usize| self.all.get(nth).is_some_and(|lane| lane.is_at_rest());
            let other = self.of.iter().find(|&(_, &nth)| at_rest(nth)).map(|(&other, &nth)| (other, nth));
            let Some((other, nth)) = other else {
                return usize::try_from(device).unwrap_or_default() % MAX_DEVICES;
            };
            self.of.remove(&other);
            self.of.insert(device, nth);
            return nth;
        }
        if known >= self.all.len() {
            if self.refused.is_some_and(|at| now.duration_since(at) < RETRY) {
                return 0;
            }
            match Lane::start(known, self.threads, self.queue_len, &self.given_up) {
                Ok(lane) => self.all.push(Arc::new(lane)),
                Err(error) => {
                    log::warn!("another disk gets no threads of its own for now: {error}");
                    self.refused = Some(now);
                    return 0;
                }
            }
        }
        self.of.insert(device, known);
        known
    }

    /// Nothing waits for any thread.
    pub fn are_idle(&self) -> bool {
        self.all.iter().all(|lane| lane.is_idle())
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.all.len()
    }
}

impl Lane {
    /// The threads of the nth device.
    fn start(nth: usize, threads: usize, queue_len: usize, given_up: &Shutdown) -> io::Result<Self> {
        let jobs = Arc::new(AtomicUsize::new(0));
        let done = || {
            let jobs = Arc::clone(&jobs);
            move |count| {
                jobs.fetch_sub(count, Ordering::AcqRel);
            }
        };
        // Before the senders: where a thread finds no room, those that are there are waited for when the senders are gone.
        let mut workers = Vec::new();
        let mut writes = Vec::new();
        for number in 0..threads {
            let (sender, queue) = crossbeam_channel::bounded(queue_len);
            writes.push(sender);
            let name = format!("disk-{}", nth * threads + number);
            let (given_up, done) = (given_up.clone(), done());
            workers.push(Worker::spawn(name, move || writing::run(&queue, &given_up, done))?);
        }
        let (flushes, queue) = crossbeam_channel::bounded(queue_len);
        let name = if nth == 0 { "disk-sync".into() } else { format!("disk-sync-{nth}") };
        let (given_up, done) = (given_up.clone(), done());
        workers.push(Worker::spawn(name, move || flush(&queue, &given_up, done))?);
        Ok(Self { writes, flushes, jobs, _workers: workers })
    }

    /// Queues a job; gives it back when the queue is full.
    pub fn try_submit(&self, job: DiskJob) -> Result<(), DiskJob> {
        self.jobs.fetch_add(1, Ordering::AcqRel);
        self.try_queue(job).inspect_err(|_| {
            self.jobs.fetch_sub(1, Ordering::AcqRel);
        })
    }

    fn try_queue(&self, job: DiskJob) -> Result<(), DiskJob> {
        match job {
            DiskJob::Write(job) => {
                let threads = self.writes.len().max(1) as u64;
                let nth = usize::try_from(job.storage.id() % threads).unwrap_or_default();
                match self.writes.get(nth) {
                    Some(writes) => {
                        writes.try_send(job).map_err(|refused| DiskJob::Write(take_back(refused)))
                    }
                    None => Err(DiskJob::Write(job)),
                }
            }
            DiskJob::Flush(job) => {
                self.flushes.try_send(job).map_err(|refused| DiskJob::Flush(take_back(refused)))
            }
        }
    }

    /// Its threads have nothing to do.
    fn is_at_rest(&self) -> bool {
        self.jobs.load(Ordering::Acquire) == 0
    }

    /// Nothing waits for its threads.
    fn is_idle(&self) -> bool {
        self.flushes.is_empty() && self.writes.iter().all(Sender::is_empty)
    }
}

fn take_back<T>(refused: TrySendError<T>) -> T {
    match refused {
        TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
    }
}

/// Until the other end is dropped and the queue is empty, or it is given up. A job that panics takes no other with it. `done`
/// hears of each that is over.
fn flush(jobs: &Receiver<FlushJob>, given_up: &Shutdown, done: impl Fn(usize)) {
    for job in jobs.iter().take_while(|_| !given_up.is_set()) {
        contain("a disk job's reply", || job.run());
        done(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_room_for_threads_they_are_shared_for_a_minute() {
        let mut lanes = Lanes::start(1, 1, Shutdown::new()).unwrap();
        let now = Instant::now();
        assert_eq!(lanes.enter(5, now), 0);
        lanes.refused = Some(now);
        assert_eq!(lanes.enter(6, now + RETRY / 2), 0);
        assert_eq!((lanes.all.len(), lanes.of.get(&6)), (1, None), "it is not to stay there");
        assert_eq!(lanes.enter(6, now + RETRY), 1);
        assert_eq!((lanes.all.len(), lanes.of.get(&6)), (2, Some(&1)));
    }
}
