//! The control server: tiny_http on 127.0.0.1 and a few workers. Every request passes [`super::admit`] before the engine
//! sees it.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use tiny_http::{Header, Request, Response, Server};
use torrent_common::worker::{Shutdown, Worker};

use super::admit::{Admitted, Denied, Head};
use super::engine::Engine;
use super::handle::{error_body, handle};

/// Workers unless told otherwise.
pub const DEFAULT_WORKERS: usize = 4;

/// A client that does not read its answer holds a worker up for so long at most.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// After a failed accept (no descriptors left, say) we listen again, but not more often than this.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// The running server; stopped by [`ControlServer::stop`] or drop.
#[derive(Debug)]
pub struct ControlServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    workers: Vec<Worker>,
    /// Dropped to end the workers' waits.
    stopping: Option<Sender<()>>,
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

/// What the workers share.
struct Shared {
    engine: Arc<dyn Engine>,
    listener: TcpListener,
    /// Replaced when its accept loop has ended. A leaf lock.
    http: Mutex<Arc<Server>>,
    shutdown: Shutdown,
    worker_count: usize,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl ControlServer {
    /// Listens on 127.0.0.1 and `port` (0: the system chooses) and answers with `workers` threads (at least 1).
    ///
    /// # Errors
    /// [`ControlError`] when the port is taken or a thread cannot be had.
    pub fn start(port: u16, workers: usize, engine: Arc<dyn Engine>) -> Result<Self, ControlError> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = TcpListener::bind(address).map_err(|source| ControlError::Listen { address, source })?;
        let address = listener.local_addr().map_err(ControlError::Start)?;
        // Accepted sockets inherit it. (The same for reading would end tiny_http's accept loop.)
        socket2::SockRef::from(&listener).set_write_timeout(Some(SEND_TIMEOUT)).map_err(ControlError::Start)?;
        let http = new_http(&listener).map_err(ControlError::Start)?;
        let worker_count = workers.max(1);
        let shared = Arc::new(Shared {
            engine,
            listener,
            http: Mutex::new(Arc::new(http)),
            shutdown: Shutdown::new(),
            worker_count,
        });
        let (sender, stopped) = crossbeam_channel::bounded(0);
        let mut server = Self { shared, address, workers: Vec::new(), stopping: Some(sender) };
        for number in 0..worker_count {
            let (shared, stopped) = (Arc::clone(&server.shared), stopped.clone());
            let worker = Worker::spawn(format!("control-{number}"), move || shared.work(&stopped));
            server.workers.push(worker.map_err(ControlError::Start)?);
        }
        Ok(server)
    }

    /// Where it listens, with the real port.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops answering and waits for the workers.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.shared.shutdown.set();
        self.stopping = None;
        self.shared.wake_workers(&self.shared.http());
        self.workers.clear();
    }
}

fn new_http(listener: &TcpListener) -> io::Result<Server> {
    Server::from_listener(listener.try_clone()?, None).map_err(io::Error::other)
}

impl Shared {
    fn http(&self) -> Arc<Server> {
        Arc::clone(&self.http.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `unblock` wakes one worker each time.
    fn wake_workers(&self, http: &Server) {
        for _ in 0..self.worker_count {
            http.unblock();
        }
    }

    /// A worker's life.
    fn work(&self, stopped: &Receiver<()>) {
        let mut http = self.http();
        while !self.shutdown.is_set() {
            match http.recv() {
                Ok(request) => {
                    let peer = request.remote_addr().copied();
                    // A bug in one request must not cost a worker: there are few.
                    if catch_unwind(AssertUnwindSafe(|| self.answer(request))).is_err() {
                        log::error!("control: a request from {peer:?} made its worker panic: this is a bug");
                    }
                }
                Err(error) => {
                    let current = self.http();
                    // Woken because of a stop or because the server was replaced; else accepting has ended.
                    if Arc::ptr_eq(&current, &http) && !self.shutdown.is_set() {
                        log::warn!("control: accepting failed ({error}): listening again");
                        let _ = stopped.recv_timeout(RESTART_DELAY);
                        self.replace(&http);
                    }
                    http = self.http();
                }
            }
        }
    }

    /// Puts a new server on the same listening socket in place of `dead`, whose accept loop has ended.
    fn replace(&self, dead: &Arc<Server>) {
        let fresh = match new_http(&self.listener) {
            Ok(fresh) => Arc::new(fresh),
            Err(error) => {
                log::error!("control: cannot listen again: {error}");
                // So that a worker comes back here and tries again.
                dead.unblock();
                return;
            }
        };
        {
            let mut http = self.http.lock().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&http, dead) {
                *http = fresh;
            }
        }
        self.wake_workers(dead);
    }

    fn answer(&self, mut request: Request) {
        match self.result(&mut request) {
            Ok(body) => respond(request, 200, body, None),
            Err(denied) => {
                log::debug!("control: {} refused: {}", denied.status, denied.message);
                respond(request, denied.status, error_body(&denied.message), denied.allow);
            }
        }
    }

    fn result(&self, request: &mut Request) -> Result<Vec<u8>, Denied> {
        let admitted = admit(request)?;
        let body = read_body(request, admitted.body_len)?;
        handle(self.engine.as_ref(), admitted.route, &body)
    }
}

fn admit(request: &Request) -> Result<Admitted, Denied> {
    let method = request.method().to_string();
    let headers: Vec<(&str, &str)> =
        request.headers().iter().map(|header| (header.field.as_str().as_str(), header.value.as_str())).collect();
    Head { method: &method, target: request.url(), headers: &headers }.admit()
}

/// Reads exactly `body_len` bytes. Memory grows with what arrives, not with what was announced.
fn read_body(request: &mut Request, body_len: usize) -> Result<Vec<u8>, Denied> {
    let mut body = Vec::new();
    let limit = u64::try_from(body_len).unwrap_or(u64::MAX);
    match request.as_reader().take(limit).read_to_end(&mut body) {
        Ok(len) if len == body_len => Ok(body),
        Ok(_) => Err(Denied::new(400, "the body ended early")),
        Err(error) => Err(Denied::new(400, format!("the body could not be read: {error}"))),
    }
}

fn respond(request: Request, status: u16, body: Vec<u8>, allow: Option<&'static str>) {
    let mut response = Response::from_data(body).with_status_code(status);
    let fixed = [
        ("Content-Type", "application/json"),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Server", "torrent-daemon"),
    ];
    for (name, value) in fixed.into_iter().chain(allow.map(|allow| ("Allow", allow))) {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    if let Err(error) = request.respond(response) {
        log::debug!("control: the answer could not be sent: {error}");
    }
}
