//! The control server: tiny_http on 127.0.0.1, a thread that takes its requests, and a few that answer them. Every request
//! passes [`super::admit`] before the engine sees it; [`torrent_guard`] bounds what tiny_http does not.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use socket2::{Domain, Socket, Type};
use torrent_common::worker::Shutdown;
use torrent_guard::turns::Turns;
use torrent_guard::{Crew, Guard, Limits, Patrol, Servers};

use super::engine::Engine;
use super::work::Job;

/// Threads that answer unless told otherwise.
pub const DEFAULT_WORKERS: usize = 4;

/// Connections that the system holds until they are accepted.
const BACKLOG: i32 = 64;
/// What the system keeps of an answer on its way, for each connection, in bytes.
const SEND_BUFFER: usize = 256 << 10;
/// The same of requests. What has arrived tiny_http reads, thousands of requests at once, before anybody sees that they are
/// too many; and each becomes many times its bytes.
const RECEIVE_BUFFER: usize = 16 << 10;
/// Requests that wait for a thread at most: one of each connection.
const JOBS: usize = 256;
/// What is under way when the server stops has so long, before and after connections are cut.
const GRACE: Duration = Duration::from_millis(500);

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) limits: Limits,
    /// For a body, from its head on.
    pub(super) body: Duration,
    /// For a long answer.
    pub(super) answer: Duration,
    /// For a part of any answer, when the system's buffer is full.
    pub(super) pause: Duration,
}

/// 64 connections are kept, where there are more the idlest go. The commands use one each.
pub(super) const BOUNDS: Bounds = Bounds {
    limits: Limits { connections: 160, request: Duration::from_secs(10), idle: Duration::from_secs(60) },
    body: Duration::from_secs(30),
    answer: Duration::from_secs(30),
    pause: Duration::from_secs(2),
};

/// The running server; stopped by [`ControlServer::stop`] or drop.
#[derive(Debug)]
pub struct ControlServer {
    pub(super) shared: Arc<Shared>,
    address: SocketAddr,
    patrol: Option<Patrol>,
    workers: Option<Crew>,
    jobs: Receiver<Job>,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The port could not be had.
    #[error(
        "cannot listen on {address}: {source}; is another torrent-daemon running? --port chooses another port"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The server or a worker could not be set up.
    #[error("cannot start the control server: {0}")]
    Start(io::Error),
}

/// What the threads share.
pub(super) struct Shared {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) listener: TcpListener,
    pub(super) stopping: Shutdown,
    pub(super) guard: Guard,
    pub(super) turns: Turns,
    pub(super) servers: Servers,
    pub(super) jobs: Sender<Job>,
    pub(super) bounds: Bounds,
    /// More requests wait to be taken than are soon.
    pub(super) is_behind: AtomicBool,
    /// So much was left behind that nobody is let in any more.
    pub(super) is_worn: AtomicBool,
}

impl Shared {
    /// Nobody connects any more, and whoever waits in accept is woken.
    pub(super) fn close_port(&self) {
        if let Err(error) = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both) {
            log::debug!("control: the listening socket was not shut down: {error}");
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// The options set here are inherited by every connection.
pub(super) fn listen(address: SocketAddr, bounds: &Bounds) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    // (The same for reading would end tiny_http's accept loop.)
    socket.set_write_timeout(Some(bounds.pause))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl ControlServer {
    /// Listens on 127.0.0.1 and `port` (0: the system chooses) and answers with `workers` threads (at least 1).
    ///
    /// # Errors
    /// [`ControlError`] when the port is taken or a thread cannot be had.
    pub fn start(port: u16, workers: usize, engine: Arc<dyn Engine>) -> Result<Self, ControlError> {
        Self::serve(port, workers, BOUNDS, engine)
    }

    pub(super) fn serve(
        port: u16,
        workers: usize,
        bounds: Bounds,
        engine: Arc<dyn Engine>,
    ) -> Result<Self, ControlError> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = listen(address, &bounds).map_err(|source| ControlError::Listen { address, source })?;
        Self::begin(listener, workers.max(1), bounds, engine).map_err(ControlError::Start)
    }

    fn begin(
        listener: TcpListener,
        worker_count: usize,
        bounds: Bounds,
        engine: Arc<dyn Engine>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (guard, notices) = Guard::new(address, bounds.limits, bounds.pause)?;
        let (jobs, queue) = crossbeam_channel::bounded(JOBS);
        let shared = Arc::new(Shared {
            engine,
            listener,
            stopping: Shutdown::new(),
            guard,
            turns: Turns::default(),
            servers: Servers::new(1),
            jobs,
            bounds,
            is_behind: AtomicBool::new(false),
            is_worn: AtomicBool::new(false),
        });
        // From here on a drop stops what has been started.
        let mut server = Self { shared, address, patrol: None, workers: None, jobs: queue };
        let workers = server.workers.insert(Crew::new());
        for number in 1..=worker_count {
            let (shared, jobs) = (Arc::clone(&server.shared), server.jobs.clone());
            workers.hire(format!("control-{number}"), move |orders| shared.answer_all(&jobs, orders))?;
        }
        server.shared.servers.start(&server.shared)?;
        server.patrol = Some(Patrol::start(&server.shared, notices)?);
        Ok(server)
    }

    /// Where it listens, with the real port.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops answering, waits for the workers, and closes every connection. What was begun has a moment to be answered.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        let Self { shared, patrol, workers, jobs, .. } = self;
        shared.stopping.set();
        shared.guard.stop();
        patrol.take().into_iter().for_each(Patrol::join);
        shared.servers.stop();
        shared.close_port();
        workers.take().into_iter().for_each(|workers| workers.dismiss(&shared.guard, GRACE));
        for job in jobs.try_iter() {
            shared.guard.discard(job.request);
        }
        shared.turns.end(|request| shared.let_go(request));
        shared.guard.hang_up_all();
    }
}
