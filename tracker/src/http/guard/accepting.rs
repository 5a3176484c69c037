//! Whether connections are accepted, and what is done when they are not.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError, select};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_cookie;
use torrent_common::nudge::nudge;
use torrent_common::worker::Worker;

use super::sockets::Cookie;
use super::{SPARE_DESCRIPTORS, spare_descriptors};
use crate::http::{Generation, Inner, loopback};

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
pub(super) struct Acceptance {
    /// The listening socket; none where that is not told.
    listener: Option<Cookie>,
    /// Since when connections wait: known only where the socket of the accept thread cannot be seen.
    waiting: Option<Instant>,
    /// When a new server is to be started.
    due: Option<Instant>,
}

impl Acceptance {
    /// Connections to this socket are accepted, as far as is known.
    pub(super) fn of(listener: &TcpListener) -> Self {
        Self { listener: socket_cookie(listener).ok(), waiting: None, due: None }
    }

    /// A server has ended.
    pub(super) fn ended(&mut self, now: Instant) {
        self.due = self.due.or(Some(now + RENEW_PAUSE));
    }

    /// When to [`Self::renew`].
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|at| at <= now)
    }

    /// Finds out whether anybody accepts. Nobody does if the accept thread has let go of the listening socket; where that
    /// cannot be seen, if a connection that waits gets no answer.
    pub(super) fn look(&mut self, inner: &Inner, is_waiting: bool, now: Instant) {
        if self.due.is_some() || inner.stopping.is_set() {
            return;
        }
        let is_accepting = match &inner.guard.sockets {
            Some(sockets) => match (inner.listening(), self.listener) {
                (Some(number), Some(cookie)) => sockets.is_socket(number, cookie),
                // Nobody began yet, or it cannot be told.
                _ => true,
            },
            None => self.is_answering(inner, is_waiting, now),
        };
        if !is_accepting {
            log::error!("connections are not accepted any more");
            self.due = Some(now);
        }
    }

    fn is_answering(&mut self, inner: &Inner, is_waiting: bool, now: Instant) -> bool {
        let since = *self.waiting.get_or_insert(now);
        if !is_waiting || now.saturating_duration_since(since) >= PATIENCE {
            self.waiting = None;
        }
        !is_waiting || self.waiting.is_some() || probe(loopback(inner.address)).is_ok()
    }

    /// Starts a new server if there are descriptors for its connections.
    pub(super) fn renew(&mut self, inner: &Arc<Inner>, nudger: &Nudger) {
        self.due = Some(Instant::now() + RENEW_PAUSE);
        if !inner.guard.has_descriptors(&inner.shared.metrics) {
            return;
        }
        match inner.renew() {
            Ok(oldest) => {
                if let Some(oldest) = oldest.and_then(|oldest| nudger.retire(oldest)) {
                    inner.take_back(oldest);
                }
                inner.shared.metrics.restarted();
                log::warn!("connections are accepted again");
                (self.due, self.waiting) = (None, None);
            }
            Err(error) => log::error!("connections are still not accepted: {error}"),
        }
    }
}

/// Whether connections wait to be accepted.
pub(super) fn is_waiting(inner: &Inner) -> bool {
    let mut descriptors = [PollFd::from_borrowed_fd(inner.listener.as_fd(), PollFlags::IN)];
    poll(&mut descriptors, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Where connections cannot be counted: whether a new one gets an answer.
fn probe(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PROBE_TIMEOUT)?;
    stream.set_read_timeout(Some(PROBE_TIMEOUT))?;
    stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n")?;
    stream.read_exact(&mut [0])
}

/// A thread that connects to this process, which can take long while connections are kept out: it makes tiny_http begin
/// with those that it has forgotten, and ends old servers.
pub(in crate::http) struct Nudger {
    orders: Sender<()>,
    retired: Sender<Generation>,
    worker: Worker,
}

impl Nudger {
    pub(in crate::http) fn start(address: SocketAddr) -> io::Result<Self> {
        let (orders, ordered) = crossbeam_channel::bounded(1);
        let (retired, old) = crossbeam_channel::bounded(MAX_RETIRED);
        let worker = Worker::spawn("http-nudge", move || {
            loop {
                select! {
                    recv(ordered) -> order => if order.is_err() { break },
                    recv(old) -> generation => {
                        generation.into_iter().for_each(Generation::stop);
                        continue;
                    }
                }
                // Not with the last descriptors: a connection more would take those that accepting needs.
                if spare_descriptors().len() == SPARE_DESCRIPTORS {
                    match nudge(loopback(address)) {
                        0 | 1 => {}
                        count => log::debug!("{count} threads for connections that waited"),
                    }
                }
            }
            // Which of the two queues is looked at first when both end is left to chance.
            old.try_iter().for_each(Generation::stop);
        })?;
        Ok(Self { orders, retired, worker })
    }

    pub(super) fn nudge(&self) {
        // One that is at it already does it for this time too.
        let _ = self.orders.try_send(());
    }

    /// Ends an old server, soon. Gives it back if too many wait for that.
    fn retire(&self, generation: Generation) -> Option<Generation> {
        self.retired.try_send(generation).err().map(TrySendError::into_inner)
    }

    pub(super) fn stop(self) {
        drop((self.orders, self.retired));
        self.worker.join();
    }
}
