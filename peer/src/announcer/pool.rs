//! The threads. They share the [`Queue`] under one lock, held for a few lines; each takes what is due, makes the
//! announce without the lock, and reports. Idle threads wait for the next deadline, or for a change of the queue.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use torrent_common::ids::InfoHash;
use torrent_common::worker::Worker;

use super::exchange::Clients;
use super::queue::{Next, Queue, Task};
use super::udp::UdpClient;
use super::words::{Line, Told};
use super::{AnnouncerConfig, Answer, exchange};
use crate::http::{HttpClient, HttpOptions};

/// Redirects of an announce followed.
const MAX_REDIRECTS: u32 = 3;
/// The shortest time given to a `stopped` when the daemon is about to end.
const MIN_FAREWELL: Duration = Duration::from_millis(50);

pub(super) type Sink = Box<dyn Fn(Answer) + Send + Sync>;

/// The running threads.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Mutex<Vec<Worker>>,
}

struct Shared {
    config: AnnouncerConfig,
    clients: Clients,
    sink: Sink,
    state: Mutex<State>,
    /// Something was put into the queue, or the end came.
    work: Condvar,
    /// A thread ended.
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// The last moment for announces, once the end has come.
    end: Option<Instant>,
    running: usize,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// See [`Announcer::start`](super::Announcer::start).
    pub(super) fn start(config: AnnouncerConfig, sink: Sink) -> io::Result<Self> {
        let threads = config.threads.max(1);
        let queue = Queue::new(config.min_interval, (threads / 2).max(1), fastrand::Rng::new());
        let http = HttpClient::new(&HttpOptions {
            timeout: config.timeout,
            max_redirects: MAX_REDIRECTS,
            max_idle: threads,
            guard_loopback: true,
        });
        let clients = Clients { udp: UdpClient::new(http.clone())?, http };
        let state = State { queue, end: None, running: 0 };
        let (state, work, ended) = (Mutex::new(state), Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { config, clients, sink, state, work, ended });
        let pool = Self { shared, workers: Mutex::default() };
        for number in 0..threads {
            let guard = Running::new(&pool.shared);
            // When this fails, dropping the pool ends the threads before it.
            let worker = Worker::spawn(format!("announce-{number}"), move || guard.0.run())?;
            pool.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        }
        Ok(pool)
    }

    /// Changes the queue and wakes whom it takes.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let (changed, sooner) = {
            let mut state = self.shared.lock();
            let before = state.queue.earliest();
            let changed = change(&mut state.queue);
            let after = state.queue.earliest();
            (changed, after.is_some_and(|after| before.is_none_or(|before| after < before)))
        };
        // Whoever waits, waits for the earliest. One is enough: a change makes one torrent due, and whoever takes it calls
        // the next.
        if sooner {
            self.shared.work.notify_one();
        }
        changed
    }

    pub(super) fn knows(&self, info_hash: InfoHash) -> bool {
        self.shared.lock().queue.knows(info_hash)
    }

    pub(super) fn message(&self, info_hash: InfoHash) -> Option<String> {
        self.shared.lock().queue.message(info_hash).map(str::to_owned)
    }

    /// See [`Announcer::stop`](super::Announcer::stop).
    pub(super) fn stop(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let mut state = self.shared.lock();
        state.queue.close(Instant::now());
        state.end = Some(end);
        self.shared.work.notify_all();
        while state.running > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.shared.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        self.abandon();
    }

    /// Hangs up and joins every thread.
    fn abandon(&self) {
        self.shared.lock().end = Some(Instant::now());
        self.shared.clients.hang_up();
        self.shared.work.notify_all();
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        drop(workers);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Counts a thread as running for as long as it exists, however it ends.
struct Running(Arc<Shared>);

impl Running {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.lock().running += 1;
        Self(Arc::clone(shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.ended.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while let Some((task, timeout)) = self.next() {
            let result = exchange::announce(&self.clients, &self.config, &task, timeout);
            let (Told { answer, line }, end) = {
                let mut state = self.lock();
                (state.queue.report(&task, result, Instant::now()), state.end)
            };
            // What was hung up on is not the tracker's fault.
            if end.is_none_or(|end| Instant::now() < end) {
                log_line(line);
            }
            if let Some(answer) = answer
                && end.is_none()
            {
                (self.sink)(answer);
            }
        }
    }

    /// Waits for a task; `None` at the end. With it, how long it may take, if less than usual.
    fn next(&self) -> Option<(Task, Option<Duration>)> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if state.end.is_some_and(|end| end <= now) {
                return None;
            }
            match state.queue.next(now) {
                Next::Task(task) => {
                    // This thread may have been the only one that knows what is due next.
                    self.work.notify_one();
                    let timeout = state
                        .end
                        .map(|end| end.duration_since(now).max(MIN_FAREWELL).min(self.config.timeout));
                    return Some((task, timeout));
                }
                // What is still in flight is the business of the threads that wait for its answers.
                Next::Wait(_) if state.end.is_some() => return None,
                Next::Wait(Some(deadline)) => {
                    let wait = deadline.saturating_duration_since(now);
                    state = self.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                }
                Next::Wait(None) => state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Logs what a [`Queue`] wants logged.
pub(super) fn log_line(line: Option<Line>) {
    if let Some((level, line)) = line {
        log::log!(level, "{line}");
    }
}
