//! Bounds what tiny_http does not, from outside.
//!
//! - Time: tiny_http reads bodies and writes answers for as long as a client cares to drag them out. A request that
//!   may take long is watched: at its deadline its connection is shut down, and the thread that waits for it is free.
//!   tiny_http keeps its sockets to itself, but a process may duplicate its own descriptors by number (pidfd_getfd,
//!   Linux 5.6; forbidden in some containers: then a body may take for ever, which costs a thread of a lane, never
//!   one that answers announces).
//! - Requests that must not be dropped in the ordinary way: [`Guard::discard`].
//! - Accepting: tiny_http's accept thread ends at the first error, and panics when it is out of descriptors. Errors
//!   are told by the workers; a thread that is just gone is noticed by connections that wait while nobody accepts.
//!   Either way a new server is started on the same listening socket.
//! - Connections that are accepted and then forgotten: see [`torrent_common::nudge`].
//! - Descriptors: when they have run out, half of the connections are shut down, chosen at random. Who is served that
//!   hardly notices, and who only holds connections open does not keep others out.
//!
//! Not bounded yet: the time that a connection may be silent before or between requests, as long as there are
//! descriptors left, and the length of header lines.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use tiny_http::Request;
use torrent_common::nudge::nudge;

use super::body::Body;
use super::{Inner, LONE_SEND_TIMEOUT, SEND_TIMEOUT, loopback};
use crate::metrics::labels::Closed;

/// How often it is looked whether somebody accepts.
const ACCEPT_CHECK: Duration = Duration::from_secs(5);
/// How long connections must have waited before that is tried out.
const ACCEPT_SAMPLES: u32 = 10;
const ACCEPT_SAMPLE: Duration = Duration::from_millis(50);
/// How often connections are looked for that tiny_http has accepted and forgotten.
const NUDGE: Duration = Duration::from_secs(1);
/// What an answer to a try may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a new server, so that a lasting cause does not make us spin.
const RENEW_PAUSE: Duration = Duration::from_millis(250);
/// Notices that wait at most: one for each thread of a lane, and some.
const NOTICES: usize = 256;
/// Descriptors kept back for the time when there are no others.
const SPARE_DESCRIPTORS: usize = 8;

/// What the guard's thread is told.
pub(super) enum Notice {
    /// A server accepts no more.
    AcceptEnded,
    /// Shut this connection down at that time.
    Watch(usize, Instant, Arc<TcpStream>),
    /// It is no longer to be watched.
    Done(usize),
    /// The tracker stops.
    Stop,
}

/// What threads ask of the guard.
pub(super) struct Guard {
    port: u16,
    /// This process, as a descriptor; none where that is not possible.
    process: Option<OwnedFd>,
    spare: Mutex<Vec<File>>,
    notices: Sender<Notice>,
    next: AtomicUsize,
    abandoned: AtomicUsize,
}

/// Ends a watch when dropped.
pub(super) struct Watch<'a> {
    guard: &'a Guard,
    number: usize,
    stream: Option<Arc<TcpStream>>,
}

impl Guard {
    /// With the queue for [`run`].
    pub(super) fn new(port: u16) -> (Self, Receiver<Notice>) {
        let (notices, noticed) = crossbeam_channel::bounded(NOTICES);
        let process = own_process();
        if let Err(error) = &process {
            log::info!(
                "own connections cannot be shut down from outside ({error}): slow uploads are not cut off"
            );
        }
        let guard = Self {
            port,
            process: process.ok(),
            spare: Mutex::new(spare_descriptors()),
            notices,
            next: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
        };
        (guard, noticed)
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

    pub(super) fn accept_ended(&self) {
        self.tell(Notice::AcceptEnded);
    }

    pub(super) fn stop(&self) {
        // The guard's thread reads until it is told this, so there will be room.
        let _ = self.notices.send(Notice::Stop);
    }

    /// A notice too many is lost rather than waited for: its request is then not watched.
    fn tell(&self, notice: Notice) {
        let _ = self.notices.try_send(notice);
    }

    /// Gets rid of a request without an answer, and of its connection. Never waits: where dropping it would wait for
    /// bytes that may never come, or end this process (see [`Body::can_be_dropped`]), it is left behind, and a thread
    /// and a few descriptors are lost.
    pub(super) fn discard(&self, request: Request) {
        let is_cut = request.remote_addr().is_some_and(|from| self.hang_up(*from));
        let body = Body::of(&request);
        if !body.drop_waits() || (is_cut && body.can_be_dropped()) {
            return drop(request);
        }
        std::mem::forget(request);
        let count = self.abandoned.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            log::warn!("{count} hostile requests were left behind, each with a thread and open files");
        }
    }

    /// Whether connections can be shut down from outside: an answer then waits for no longer than [`SEND_TIMEOUT`].
    pub(super) const fn can_hang_up(&self) -> bool {
        self.process.is_some()
    }

    /// Shuts a connection down both ways; false if it was not found.
    pub(super) fn hang_up(&self, from: SocketAddr) -> bool {
        self.connection(from).is_some_and(|stream| stream.shutdown(Shutdown::Both).is_ok())
    }

    /// The same for every connection to the tracker.
    pub(super) fn hang_up_all(&self) {
        self.hang_up_some(|| true);
    }

    fn hang_up_some(&self, mut choose: impl FnMut() -> bool) {
        for stream in self.connections().filter(|_| choose()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether there are descriptors to accept connections with. If not, half of those that hold them are shut down.
    fn has_descriptors(&self) -> bool {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() == SPARE_DESCRIPTORS && spare_descriptors().len() == SPARE_DESCRIPTORS {
            return true;
        }
        spare.clear();
        log::warn!("out of open files: half of the connections are closed");
        let mut random = fastrand::Rng::new();
        self.hang_up_some(|| random.bool());
        *spare = spare_descriptors();
        false
    }

    fn connection(&self, from: SocketAddr) -> Option<TcpStream> {
        self.connections().find(|stream| stream.peer_addr().is_ok_and(|peer| peer == from))
    }

    /// Duplicates of this process's descriptors that are connections to the tracker's port. Looks at all descriptors,
    /// about a microsecond each: for the rare request, not for announces.
    fn connections(&self) -> impl Iterator<Item = TcpStream> {
        let entries = self.process.as_ref().and_then(|_| std::fs::read_dir("/proc/self/fd").ok());
        entries.into_iter().flatten().filter_map(|entry| {
            let number = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let duplicate = pidfd_getfd(self.process.as_ref()?, number, PidfdGetfdFlags::empty()).ok()?;
            let stream = TcpStream::from(duplicate);
            // Other kinds of descriptors have no such address.
            stream.local_addr().ok().filter(|local| local.port() == self.port)?;
            stream.peer_addr().ok()?;
            Some(stream)
        })
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
    if own_process().is_ok() { SEND_TIMEOUT } else { LONE_SEND_TIMEOUT }
}

/// This process as a descriptor, if its descriptors can be duplicated through it.
fn own_process() -> rustix::io::Result<OwnedFd> {
    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    pidfd_getfd(&process, process.as_raw_fd(), PidfdGetfdFlags::empty())?;
    Ok(process)
}

/// As many as there are, up to [`SPARE_DESCRIPTORS`].
fn spare_descriptors() -> Vec<File> {
    (0..SPARE_DESCRIPTORS).map_while(|_| File::open("/dev/null").ok()).collect()
}

/// The guard's thread.
pub(super) fn run(inner: &Arc<Inner>, notices: &Receiver<Notice>) {
    let mut watched: Vec<(usize, Instant, Arc<TcpStream>)> = Vec::new();
    let mut next_check = Instant::now() + ACCEPT_CHECK;
    let mut next_nudge = Instant::now() + NUDGE;
    let mut renew_at: Option<Instant> = None;
    loop {
        let deadlines = watched.iter().map(|(_, deadline, _)| *deadline);
        let wake = deadlines.chain(renew_at).chain([next_nudge]).fold(next_check, Instant::min);
        match notices.recv_deadline(wake) {
            Ok(Notice::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Notice::Watch(number, deadline, stream)) => watched.push((number, deadline, stream)),
            Ok(Notice::Done(number)) => watched.retain(|(other, ..)| *other != number),
            Ok(Notice::AcceptEnded) => renew_at = renew_at.or(Some(Instant::now() + RENEW_PAUSE)),
            Err(RecvTimeoutError::Timeout) => {
                let now = Instant::now();
                for _ in 0..hang_up_late(&mut watched, now) {
                    inner.shared.metrics.closed(Closed::Deadline);
                }
                if next_nudge <= now {
                    if renew_at.is_none() {
                        nudge_pool(inner);
                    }
                    next_nudge = Instant::now() + NUDGE;
                }
                if next_check <= now {
                    if renew_at.is_none() && nobody_accepts(inner) {
                        log::error!("connections are not accepted any more");
                        renew_at = Some(now);
                    }
                    next_check = Instant::now() + ACCEPT_CHECK;
                }
                if renew_at.is_some_and(|at| at <= now) {
                    renew_at = if renew(inner) { None } else { Some(Instant::now() + RENEW_PAUSE) };
                    // What ended the last one may end this one as quickly.
                    next_check = Instant::now() + RENEW_PAUSE;
                }
            }
        }
    }
}

/// Not where nobody accepts, which takes other means, nor with the last descriptors: a connection more would take those
/// that accepting needs.
fn nudge_pool(inner: &Inner) {
    if is_waiting(inner) || spare_descriptors().len() < SPARE_DESCRIPTORS {
        return;
    }
    match nudge(loopback(inner.address)) {
        0 | 1 => {}
        count => log::debug!("{count} threads for connections that waited"),
    }
}

/// Starts a new server if there are descriptors for its connections.
fn renew(inner: &Arc<Inner>) -> bool {
    if !inner.guard.has_descriptors() {
        return false;
    }
    match inner.renew() {
        Ok(()) => {
            inner.shared.metrics.restarted();
            log::warn!("connections are accepted again");
        }
        Err(error) => {
            log::error!("connections are still not accepted: {error}");
            return false;
        }
    }
    true
}

/// Returns how many there were.
fn hang_up_late(watched: &mut Vec<(usize, Instant, Arc<TcpStream>)>, now: Instant) -> usize {
    let before = watched.len();
    watched.retain(|(_, deadline, stream)| {
        let is_late = *deadline <= now;
        if is_late {
            let _ = stream.shutdown(Shutdown::Both);
        }
        !is_late
    });
    before - watched.len()
}

/// Whether connections wait and a new one gets no answer either. When descriptors have run out there is no need to try:
/// who has none to accept with has ended, and if it was in the middle of a connection, which takes two, without a word.
fn nobody_accepts(inner: &Inner) -> bool {
    for _ in 0..ACCEPT_SAMPLES {
        if !is_waiting(inner) {
            return false;
        }
        thread::sleep(ACCEPT_SAMPLE);
    }
    let is_out = spare_descriptors().len() < SPARE_DESCRIPTORS;
    !inner.stopping.is_set() && is_waiting(inner) && (is_out || probe(loopback(inner.address)).is_err())
}

fn is_waiting(inner: &Inner) -> bool {
    let mut descriptors = [PollFd::from_borrowed_fd(inner.listener.as_fd(), PollFlags::IN)];
    poll(&mut descriptors, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

fn probe(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PROBE_TIMEOUT)?;
    stream.set_read_timeout(Some(PROBE_TIMEOUT))?;
    stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n")?;
    stream.read_exact(&mut [0])
}
