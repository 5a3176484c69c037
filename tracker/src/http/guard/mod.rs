//! Bounds what tiny_http does not, from outside.
//!
//! - Connections: how many there are, how long one may say nothing or drag out the head of a request, and how long a
//!   head may be. Each is looked at twice a second, and oftener while this process works: see [`census`], [`alarm`].
//! - Time: tiny_http reads bodies and writes answers for as long as a client cares to drag them out. A request that
//!   may take long is watched: at its deadline its connection is shut down, and the thread that waits for it is free.
//! - Requests that must not be dropped in the ordinary way: [`Guard::discard`]. They wear this process out: [`wear`].
//! - Accepting: tiny_http's accept thread ends at the first error, and panics when it is out of descriptors. Errors
//!   are told by the workers; that a thread is just gone is seen from its socket. Either way a new server is started on
//!   the same listening socket.
//! - Who comes back when he is cut off: the system keeps him out until what he left behind is gone: see [`gate`].
//! - Connections that are accepted and then forgotten: see [`torrent_common::nudge`].
//! - Descriptors: when they have run out, half of the connections are shut down, chosen at random. Who is served that
//!   hardly notices, and who only holds connections open does not keep others out.
//!
//! tiny_http keeps its sockets to itself; [`sockets`] finds them all the same, but not in every container. Where it
//! does not, nothing but the number of descriptors bounds connections, and a body may take for ever, which costs a
//! thread of a lane, never one that answers announces.

mod accepting;
mod alarm;
mod census;
mod gate;
mod numbers;
mod reading;
mod roll;
mod sockets;
mod thread;
mod wear;

use std::collections::HashMap;
use std::fs::File;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rustix::event::{EventfdFlags, eventfd};
use tiny_http::Request;

use super::body::Body;
use super::listening::{LONE_SEND_TIMEOUT, SEND_TIMEOUT};
use crate::metrics::Metrics;
use crate::metrics::labels::Closed;
pub(super) use accepting::Nudger;
pub(crate) use census::Limits;
use sockets::Sockets;
pub(super) use thread::run;

/// Notices that wait at most: one for each thread of a lane, and some.
const NOTICES: usize = 256;
/// Connections that wait to be cut off at most. Who finds no place there goes when its request or its silence has lasted
/// for too long, as others do.
const MAX_DOOMED: usize = 1 << 9;
/// Descriptors kept back for the time when there are no others.
const SPARE_DESCRIPTORS: usize = 8;
/// Descriptors that connections leave to the rest of the tracker.
const OTHER_DESCRIPTORS: usize = 32;

/// What the guard's thread is told.
pub(super) enum Notice {
    /// A server accepts no more.
    AcceptEnded,
    /// Shut this connection down at that time.
    Watch(usize, Instant, Arc<TcpStream>),
    /// A body is read from the connection of this watch: not for long if others wait and it comes slowly.
    Reading(usize, Arc<TcpStream>),
    /// It was read.
    Read(usize),
    /// It is no longer to be watched.
    Done(usize),
    /// The tracker stops.
    Stop,
}

/// What threads ask of the guard.
pub(super) struct Guard {
    limits: Limits,
    /// None where that is not possible.
    sockets: Option<Sockets>,
    spare: Mutex<Vec<File>>,
    notices: Sender<Notice>,
    /// Rung when there is a notice.
    bell: OwnedFd,
    next: AtomicUsize,
    abandoned: AtomicUsize,
    /// Called when too many are.
    worn: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Whose requests the lanes have, with the bytes that may come meanwhile.
    busy: Mutex<HashMap<SocketAddr, u64>>,
    /// Connections to be cut off.
    doomed: (Sender<SocketAddr>, Receiver<SocketAddr>),
}

/// Ends a watch when dropped.
pub(super) struct Watch<'a> {
    guard: &'a Guard,
    number: usize,
    stream: Option<Arc<TcpStream>>,
}

impl Guard {
    /// With the queue for [`run`].
    ///
    /// # Errors
    /// The system's, when it is out of descriptors.
    pub(super) fn new(port: u16, limits: Limits) -> std::io::Result<(Self, Receiver<Notice>)> {
        let (notices, noticed) = crossbeam_channel::bounded(NOTICES);
        let sockets = Sockets::open(port);
        if let Err(error) = &sockets {
            log::warn!(
                "own connections cannot be seen from outside ({error}): slow clients and long requests are not cut off"
            );
        }
        let guard = Self {
            limits: Limits { connections: limits.connections.min(connections_max()), ..limits },
            sockets: sockets.ok(),
            spare: Mutex::new(spare_descriptors()),
            notices,
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            next: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            worn: OnceLock::new(),
            busy: Mutex::default(),
            doomed: crossbeam_channel::bounded(MAX_DOOMED),
        };
        Ok((guard, noticed))
    }

    /// What connections may take, as far as there are descriptors for it.
    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Gives a connection so much time from now, until the watch is dropped. Within it, answers may take pauses.
    pub(super) fn watch(&self, from: SocketAddr, time: Duration) -> Watch<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let stream = self.connection(from).map(Arc::new);
        if let Some(stream) = &stream {
            let _ = stream.set_write_timeout(Some(time));
            self.tell(Notice::Watch(number, Instant::now() + time, Arc::clone(stream)));
        }
        Watch { guard: self, number, stream }
    }

    /// A lane has a request of that connection, until [`Self::free`]: it is not cut off for being silent, but may not
    /// send more than so many bytes, and a head.
    pub(super) fn busy(&self, from: SocketAddr, body_len: u64) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(from, body_len);
    }

    /// How many requests of an address the lanes have.
    pub(super) fn count_busy(&self, ip: IpAddr) -> usize {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.keys().filter(|from| from.ip() == ip).count()
    }

    pub(super) fn free(&self, from: &SocketAddr) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(from);
    }

    pub(super) fn accept_ended(&self) {
        self.tell(Notice::AcceptEnded);
    }

    pub(super) fn stop(&self) {
        // The guard's thread reads until it is told this, so there will be room.
        let _ = self.notices.send(Notice::Stop);
        self.ring();
    }

    /// A notice too many is lost rather than waited for: its request is then not watched.
    fn tell(&self, notice: Notice) {
        let _ = self.notices.try_send(notice);
        self.ring();
    }

    fn ring(&self) {
        // It fails only when it was rung 2^64 times and not heard.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Gets rid of a request without an answer, and of its connection. Never waits: where dropping it would wait for
    /// bytes that may never come, or end this process (see [`Body::can_be_dropped`]), it is left behind, and a thread
    /// and a few descriptors are lost until the process begins anew: see [`wear`].
    pub(super) fn discard(&self, request: Request, metrics: &Metrics) {
        let is_cut = request.remote_addr().is_some_and(|from| self.hang_up(*from));
        let body = Body::of(&request);
        if !body.drop_waits() || (is_cut && body.can_be_dropped()) {
            return drop(request);
        }
        std::mem::forget(request);
        self.abandoned.fetch_add(1, Ordering::Relaxed);
        metrics.abandoned();
        self.ring();
    }

    /// From now on that is called when so many requests were left behind that the process has to begin anew.
    pub(super) fn when_worn(&self, call: Box<dyn Fn() + Send + Sync>) {
        // Once, at the start: a second one would be a bug of ours, and is ignored.
        let _ = self.worn.set(call);
    }

    /// How many requests were left behind.
    fn count_abandoned(&self) -> usize {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Whether connections can be shut down from outside: an answer then waits for no longer than [`SEND_TIMEOUT`].
    pub(super) const fn can_hang_up(&self) -> bool {
        self.sockets.is_some()
    }

    /// Shuts a connection down both ways, and throws away what it sent. True if it is closed now, or was.
    pub(super) fn hang_up(&self, from: SocketAddr) -> bool {
        let Some(sockets) = &self.sockets else { return false };
        match sockets.find(from) {
            Ok(Some(stream)) => {
                let is_cut = stream.shutdown(Shutdown::Both).is_ok();
                sockets::drain(&stream);
                is_cut
            }
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// The same, soon: the guard's thread does it, and nobody looks through all descriptors for a connection while
    /// thousands wait. False where connections cannot be cut off.
    pub(super) fn hang_up_soon(&self, from: SocketAddr) -> bool {
        if self.sockets.is_some() {
            let _ = self.doomed.0.try_send(from);
            self.ring();
        }
        self.sockets.is_some()
    }

    /// The same for every connection to the tracker.
    pub(super) fn hang_up_all(&self) {
        self.hang_up_some(|| true);
    }

    fn hang_up_some(&self, mut choose: impl FnMut() -> bool) {
        let Some(sockets) = &self.sockets else { return };
        for stream in sockets.all().filter(|stream| sockets.peer(stream).is_some() && choose()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether there are descriptors to accept connections with. If not, half of those that hold them are shut down.
    fn has_descriptors(&self, metrics: &Metrics) -> bool {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() == SPARE_DESCRIPTORS && spare_descriptors().len() == SPARE_DESCRIPTORS {
            return true;
        }
        spare.clear();
        log::warn!("out of open files: half of the connections are closed");
        let mut random = fastrand::Rng::new();
        self.hang_up_some(|| {
            let is_chosen = random.bool();
            if is_chosen {
                metrics.closed(Closed::OpenFiles);
            }
            is_chosen
        });
        *spare = spare_descriptors();
        false
    }

    /// Looks at all descriptors, about a microsecond each: for the rare request, not for announces.
    pub(super) fn connection(&self, from: SocketAddr) -> Option<TcpStream> {
        self.sockets.as_ref()?.find(from).ok()?
    }
}

impl Watch<'_> {
    /// From now on a body is read from the connection.
    pub(super) fn begin_body(&self) {
        if let Some(stream) = &self.stream {
            self.guard.tell(Notice::Reading(self.number, Arc::clone(stream)));
        }
    }

    /// The body was read.
    pub(super) fn end_body(&self) {
        self.guard.tell(Notice::Read(self.number));
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            let _ = stream.set_write_timeout(Some(send_timeout()));
            self.guard.tell(Notice::Done(self.number));
        }
    }
}

/// What answers may wait for: see [`SEND_TIMEOUT`].
pub(super) fn send_timeout() -> Duration {
    if Sockets::open(0).is_ok() { SEND_TIMEOUT } else { LONE_SEND_TIMEOUT }
}

/// As many as there are, up to [`SPARE_DESCRIPTORS`].
fn spare_descriptors() -> Vec<File> {
    (0..SPARE_DESCRIPTORS).map_while(|_| File::open("/dev/null").ok()).collect()
}

/// Connections that there are descriptors for: two of tiny_http for each, and one of [`roll`].
fn connections_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let taken = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    (limit.saturating_sub(taken + OTHER_DESCRIPTORS) / 3).max(4)
}
