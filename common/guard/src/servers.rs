//! The tiny_http servers of a program, all on the same listening socket. The last one accepts connections; older ones, whose
//! accept threads have ended, go on serving the connections they have.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use torrent_common::worker::Worker;

use crate::Guarded;
use crate::source::Source;

/// Servers kept.
const MAX_SERVERS: usize = 16;

/// The servers there are.
#[derive(Debug)]
pub struct Servers {
    workers: usize,
    list: Mutex<VecDeque<Server>>,
}

/// A tiny_http server and the workers that take its requests.
#[derive(Debug)]
pub struct Server {
    source: Arc<Source>,
    workers: Vec<Worker>,
    /// The listening socket that its accept thread has, for as long as there is that thread.
    listening: RawFd,
}

impl Servers {
    /// None yet. So many workers take the requests of each.
    pub fn new(workers: usize) -> Self {
        Self { workers, list: Mutex::default() }
    }

    fn list(&self) -> MutexGuard<'_, VecDeque<Server>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a new server on the listening socket: the first one, or because the last one accepts no more. Of too many the
    /// oldest is given back, to be ended.
    ///
    /// # Errors
    /// The system's.
    pub fn start<H: Guarded>(&self, host: &Arc<H>) -> io::Result<Option<Server>> {
        let listener = host.listener().try_clone()?;
        let listening = listener.as_raw_fd();
        let http = tiny_http::Server::from_listener(listener, None)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let source = Arc::new(Source::new(http));
        let mut workers = Vec::new();
        for number in 0..self.workers {
            let (host, of_worker) = (Arc::clone(host), Arc::clone(&source));
            let worker = Worker::spawn(format!("{}-{number}", H::NAME), move || host.work(&of_worker));
            // Those that are there wait for requests, and are waited for when they are dropped.
            workers.push(worker.inspect_err(|_| source.end())?);
        }
        let mut list = self.list();
        list.push_back(Server { source, workers, listening });
        Ok(if list.len() > MAX_SERVERS { list.pop_front() } else { None })
    }

    /// Ends all of them, and waits for their workers.
    pub fn stop(&self) {
        let all = std::mem::take(&mut *self.list());
        all.into_iter().for_each(Server::stop);
    }

    /// The oldest server cannot be ended now.
    pub(crate) fn take_back(&self, oldest: Server) {
        self.list().push_front(oldest);
    }

    /// Where the server that accepts connections has the listening socket; none before the first.
    pub(crate) fn listening(&self) -> Option<RawFd> {
        self.list().back().map(|server| server.listening)
    }
}

impl Server {
    /// Ends it, and waits for its workers.
    pub fn stop(self) {
        self.source.end();
        self.workers.into_iter().for_each(Worker::join);
        // Ends the accept thread, by a connection to itself.
        drop(self.source);
    }
}
