//! What threads ask of the guard.

use std::fs::File;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rustix::event::{EventfdFlags, eventfd};
use tiny_http::Request;

use crate::Reason;
use crate::body::Body;
use crate::census::Limits;
use crate::in_work::InWork;
use crate::sockets::{self, Sockets};

/// Notices that wait at most: one for each thread of a lane, and some.
const NOTICES: usize = 256;
/// Connections that wait to be cut off at most. Who finds no place there goes when its request or its silence has lasted
/// for too long, as others do.
const MAX_DOOMED: usize = 1 << 9;
/// Descriptors kept back for the time when there are no others.
pub(crate) const SPARE_DESCRIPTORS: usize = 8;
/// Descriptors that connections leave to the rest of the program.
const OTHER_DESCRIPTORS: usize = 32;

/// What the guard's thread has been told, for [`crate::Patrol`].
pub struct Notices(pub(crate) Receiver<Notice>);

/// What the guard's thread is told.
pub(crate) enum Notice {
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
    /// The program stops.
    Stop,
}

/// What threads ask of the guard.
pub struct Guard {
    pub(crate) limits: Limits,
    /// What answers may wait for.
    send_timeout: Duration,
    /// None where that is not possible.
    pub(crate) sockets: Option<Sockets>,
    spare: Mutex<Vec<File>>,
    notices: Sender<Notice>,
    /// Rung when there is a notice.
    pub(crate) bell: OwnedFd,
    next: AtomicUsize,
    abandoned: AtomicUsize,
    pub(crate) in_work: InWork,
    /// Connections to be cut off.
    pub(crate) doomed: (Sender<SocketAddr>, Receiver<SocketAddr>),
}

/// Ends a watch when dropped.
pub struct Watch<'a> {
    guard: &'a Guard,
    number: usize,
    stream: Option<Arc<TcpStream>>,
}

impl Guard {
    /// For connections to `address`, on which answers wait for `send_timeout` at most unless they are watched. With the
    /// queue for [`crate::Patrol`].
    ///
    /// # Errors
    /// The system's, when it is out of descriptors.
    pub fn new(
        address: SocketAddr,
        limits: Limits,
        send_timeout: Duration,
    ) -> std::io::Result<(Self, Notices)> {
        let (notices, noticed) = crossbeam_channel::bounded(NOTICES);
        let sockets = Sockets::open(address);
        if let Err(error) = &sockets {
            log::warn!(
                "own connections cannot be seen from outside ({error}): slow clients and long requests are not cut off"
            );
        }
        let guard = Self {
            limits: Limits { connections: limits.connections.min(connections_max()), ..limits },
            send_timeout,
            sockets: sockets.ok(),
            spare: Mutex::new(spare_descriptors()),
            notices,
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            next: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            in_work: InWork::default(),
            doomed: crossbeam_channel::bounded(MAX_DOOMED),
        };
        Ok((guard, Notices(noticed)))
    }

    /// What connections may take, as far as there are descriptors for it.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Gives a connection so much time from now, until the watch is dropped. Within it, answers may take pauses.
    pub fn watch(&self, from: SocketAddr, time: Duration) -> Watch<'_> {
        self.watch_for(from, time, time)
    }

    /// The same, but no part of an answer may wait for longer than `pause`.
    pub fn watch_for(&self, from: SocketAddr, time: Duration, pause: Duration) -> Watch<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let stream = self.connection(from).map(Arc::new);
        if let Some(stream) = &stream {
            let _ = stream.set_write_timeout(Some(pause));
            self.tell(Notice::Watch(number, Instant::now() + time, Arc::clone(stream)));
        }
        Watch { guard: self, number, stream }
    }

    /// A lane has a request of that connection, until [`Self::free`]: it is not cut off for being silent, but may not
    /// send more than so many bytes, and a head.
    pub fn busy(&self, from: SocketAddr, body_len: u64) {
        self.in_work.begin(from, body_len);
    }

    /// How many requests of an address the lanes have.
    pub fn count_busy(&self, ip: IpAddr) -> usize {
        self.in_work.count(ip)
    }

    /// It has not any more: the request was answered. To be called before [`crate::turns::Turns::finish`].
    pub fn free(&self, from: &SocketAddr) {
        self.in_work.end(from, self.sockets.is_some());
    }

    /// A server accepts no more, as one of its workers was told.
    pub fn accept_ended(&self) {
        self.tell(Notice::AcceptEnded);
    }

    /// Ends the guard's thread.
    pub fn stop(&self) {
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
    /// and a few descriptors are lost until the process begins anew: see [`crate::wear`]. True if that was so.
    pub fn discard(&self, request: Request) -> bool {
        let is_cut = request.remote_addr().is_some_and(|from| self.hang_up(*from));
        let body = Body::of(&request);
        if !body.drop_waits() || (is_cut && body.can_be_dropped()) {
            drop(request);
            return false;
        }
        self.leave_behind(request);
        true
    }

    /// Leaves behind what must not be dropped: a request, or what has become of it.
    pub fn leave_behind<T>(&self, request: T) {
        std::mem::forget(request);
        self.abandoned.fetch_add(1, Ordering::Relaxed);
        self.ring();
    }

    /// How many requests were left behind.
    pub(crate) fn count_abandoned(&self) -> usize {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Whether connections can be shut down from outside.
    pub const fn can_hang_up(&self) -> bool {
        self.sockets.is_some()
    }

    /// Shuts a connection down both ways, and throws away what it sent. True if it is closed now, or was.
    pub fn hang_up(&self, from: SocketAddr) -> bool {
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
    pub fn hang_up_soon(&self, from: SocketAddr) -> bool {
        if self.sockets.is_some() {
            let _ = self.doomed.0.try_send(from);
            self.ring();
        }
        self.sockets.is_some()
    }

    /// The same for every connection to the program.
    pub fn hang_up_all(&self) {
        self.hang_up_some(|| true);
    }

    fn hang_up_some(&self, mut choose: impl FnMut() -> bool) {
        let Some(sockets) = &self.sockets else { return };
        for stream in sockets.all().filter(|stream| sockets.peer(stream).is_some() && choose()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether there are descriptors to accept connections with. If not, half of those that hold them are shut down.
    pub(crate) fn has_descriptors(&self, name: &str, closed: impl Fn(Reason)) -> bool {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() == SPARE_DESCRIPTORS && spare_descriptors().len() == SPARE_DESCRIPTORS {
            return true;
        }
        spare.clear();
        log::warn!("{name}: out of open files: half of the connections are closed");
        let mut random = fastrand::Rng::new();
        self.hang_up_some(|| {
            let is_chosen = random.bool();
            if is_chosen {
                closed(Reason::OpenFiles);
            }
            is_chosen
        });
        *spare = spare_descriptors();
        false
    }

    /// A duplicate of the connection from there. Looks at all descriptors, about a microsecond each: for the rare request,
    /// not for announces.
    pub fn connection(&self, from: SocketAddr) -> Option<TcpStream> {
        self.sockets.as_ref()?.find(from).ok()?
    }
}

impl Watch<'_> {
    /// From now on a body is read from the connection.
    pub fn begin_body(&self) {
        if let Some(stream) = &self.stream {
            self.guard.tell(Notice::Reading(self.number, Arc::clone(stream)));
        }
    }

    /// The body was read.
    pub fn end_body(&self) {
        self.guard.tell(Notice::Read(self.number));
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            let _ = stream.set_write_timeout(Some(self.guard.send_timeout));
            self.guard.tell(Notice::Done(self.number));
        }
    }
}

/// As many as there are, up to [`SPARE_DESCRIPTORS`].
pub(crate) fn spare_descriptors() -> Vec<File> {
    (0..SPARE_DESCRIPTORS).map_while(|_| File::open("/dev/null").ok()).collect()
}

/// Connections that there are descriptors for: two of tiny_http for each, and one of [`crate::roll`].
fn connections_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let taken = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    (limit.saturating_sub(taken + OTHER_DESCRIPTORS) / 3).max(4)
}
