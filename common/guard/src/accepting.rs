//! Whether connections are accepted, and what is done when they are not.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError, select};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_cookie;
use torrent_common::worker::Worker;

use crate::guard::{SPARE_DESCRIPTORS, spare_descriptors};
use crate::nudge::nudge;
use crate::servers::Server;
use crate::sockets::Cookie;
use crate::{Guarded, loopback};

/// How long connections may wait before a try.
const PATIENCE: Duration = Duration::from_millis(200);
/// What an answer to a try may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Old servers that wait to be ended at most.
const MAX_RETIRED: usize = 8;
/// Pause before a new server, so that a lasting cause does not make us spin.
const RENEW_PAUSE: Duration = Duration::from_millis(50);

/// What is known of accepting.
#[derive(Debug)]
pub(crate) struct Acceptance {
    /// The listening socket; none where that is not told.
    listener: Option<Cookie>,
    /// Since when connections wait: known only where the socket of the accept thread cannot be seen.
    waiting: Option<Instant>,
    /// When a new server is to be started.
    due: Option<Instant>,
}

impl Acceptance {
    /// Connections to this socket are accepted, as far as is known.
    pub(crate) fn of(listener: &TcpListener) -> Self {
        Self { listener: socket_cookie(listener).ok(), waiting: None, due: None }
    }

    /// A server has ended.
    pub(crate) fn ended(&mut self, now: Instant) {
        self.due = self.due.or(Some(now + RENEW_PAUSE));
    }

    /// When to [`Self::renew`].
    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|at| at <= now)
    }

    /// Finds out whether anybody accepts. Nobody does if the accept thread has let go of the listening socket; where that
    /// cannot be seen, if a connection that waits gets no answer.
    pub(crate) fn look<H: Guarded>(&mut self, host: &H, is_waiting: bool, now: Instant) {
        if self.due.is_some() || host.is_stopping() {
            return;
        }
        let is_accepting = match &host.guard().sockets {
            Some(sockets) => match (host.servers().listening(), self.listener) {
                (Some(number), Some(cookie)) => sockets.is_socket(number, cookie),
                // Nobody began yet, or it cannot be told.
                _ => true,
            },
            None => self.is_answering(host, is_waiting, now),
        };
        if !is_accepting {
            log::error!("{}: connections are not accepted any more", H::NAME);
            self.due = Some(now);
        }
    }

    fn is_answering<H: Guarded>(&mut self, host: &H, is_waiting: bool, now: Instant) -> bool {
        let since = *self.waiting.get_or_insert(now);
        if !is_waiting || now.saturating_duration_since(since) >= PATIENCE {
            self.waiting = None;
        }
        !is_waiting || self.waiting.is_some() || probe(host.listener()).is_ok()
    }

    /// Starts a new server if there are descriptors for its connections.
    pub(crate) fn renew<H: Guarded>(&mut self, host: &Arc<H>, nudger: &Nudger) {
        if host.is_stopping() {
            self.due = None;
            return;
        }
        self.due = Some(Instant::now() + RENEW_PAUSE);
        if !host.guard().has_descriptors(H::NAME, |reason| host.closed(reason)) {
            return;
        }
        match host.servers().start(host) {
            Ok(oldest) => {
                if let Some(oldest) = oldest.and_then(|oldest| nudger.retire(oldest)) {
                    host.servers().take_back(oldest);
                }
                host.restarted();
                log::warn!("{}: connections are accepted again", H::NAME);
                (self.due, self.waiting) = (None, None);
            }
            Err(error) => log::error!("{}: connections are still not accepted: {error}", H::NAME),
        }
    }
}

/// Whether connections wait to be accepted.
pub(crate) fn is_waiting(listener: &TcpListener) -> bool {
    let mut descriptors = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
    // A socket that was shut down is ready for ever, and nobody waits there.
    poll(&mut descriptors, Some(&Timespec::default())).is_ok()
        && descriptors.iter().any(|listener| listener.revents().contains(PollFlags::IN))
}

/// Where connections cannot be counted: whether a new one gets an answer.
fn probe(listener: &TcpListener) -> io::Result<()> {
    let address = loopback(listener.local_addr()?);
    let mut stream = TcpStream::connect_timeout(&address, PROBE_TIMEOUT)?;
    stream.set_read_timeout(Some(PROBE_TIMEOUT))?;
    stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n")?;
    stream.read_exact(&mut [0])
}

/// A thread that connects to this process, which can take long while connections are kept out: it makes tiny_http begin
/// with those that it has forgotten, and ends old servers.
pub(crate) struct Nudger {
    orders: Sender<()>,
    retired: Sender<Server>,
    worker: Worker,
}

impl Nudger {
    pub(crate) fn start(name: &str, listener: &TcpListener) -> io::Result<Self> {
        let address = loopback(listener.local_addr()?);
        let (orders, ordered) = crossbeam_channel::bounded(1);
        let (retired, old) = crossbeam_channel::bounded(MAX_RETIRED);
        let worker = Worker::spawn(format!("{name}-nudge"), move || {
            loop {
                select! {
                    recv(ordered) -> order => if order.is_err() { break },
                    recv(old) -> server => {
                        server.into_iter().for_each(Server::stop);
                        continue;
                    }
                }
                // Not with the last descriptors: a connection more would take those that accepting needs.
                if spare_descriptors().len() == SPARE_DESCRIPTORS {
                    match nudge(address) {
                        0 | 1 => {}
                        count => log::debug!("{count} threads for connections that waited"),
                    }
                }
            }
            // Which of the two queues is looked at first when both end is left to chance.
            old.try_iter().for_each(Server::stop);
        })?;
        Ok(Self { orders, retired, worker })
    }

    pub(crate) fn nudge(&self) {
        // One that is at it already does it for this time too.
        let _ = self.orders.try_send(());
    }

    /// Ends an old server, soon. Gives it back if too many wait for that.
    fn retire(&self, old: Server) -> Option<Server> {
        self.retired.try_send(old).err().map(TrySendError::into_inner)
    }

    pub(crate) fn stop(self) {
        drop((self.orders, self.retired));
        self.worker.join();
    }
}
