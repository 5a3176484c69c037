//! The control server: tiny_http on 127.0.0.1 and a few workers. Every request passes [`super::admit`] before the engine
//! sees it; `guard.rs` bounds what tiny_http does not.

use std::io::{self, Read};
use std::net::{Shutdown as Half, SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tiny_http::{Header, Request, Response, Server};
use torrent_common::worker::{Shutdown, Worker};

use super::admit::{Admitted, Denied, Head};
use super::engine::Engine;
use super::guard::{Guard, Post};
use super::handle::{Answer, error_body, handle};
use super::sockets::sever;

/// Workers unless told otherwise.
pub const DEFAULT_WORKERS: usize = 4;

/// A client that does not read its answer holds a worker up for so long at most.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// A client must send its body within this.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a body that tiny_http reads before it gives us the request.
const READ_WITH_HEAD_MAX: usize = 1024;

/// tiny_http reads what is left of a body before it goes on, into a buffer of that length: an announced length that no
/// memory can hold would abort the process.
const DRAIN_MAX: usize = 256 << 20;

/// The running server; stopped by [`ControlServer::stop`] or drop.
#[derive(Debug)]
pub struct ControlServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// The guard, then the workers.
    threads: Vec<Worker>,
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
struct Shared {
    engine: Arc<dyn Engine>,
    listener: TcpListener,
    address: SocketAddr,
    /// Replaced when its accept loop has ended, taken out to stop. A leaf lock.
    http: Mutex<Option<Arc<Server>>>,
    guard: Guard,
    shutdown: Shutdown,
    worker_count: usize,
    body_timeout: Duration,
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
        let listener =
            TcpListener::bind(address).map_err(|source| ControlError::Listen { address, source })?;
        Self::serve(listener, workers.max(1), BODY_TIMEOUT, engine).map_err(ControlError::Start)
    }

    fn serve(
        listener: TcpListener,
        worker_count: usize,
        body_timeout: Duration,
        engine: Arc<dyn Engine>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        // Accepted sockets inherit it. (The same for reading would end tiny_http's accept loop.)
        socket2::SockRef::from(&listener).set_write_timeout(Some(SEND_TIMEOUT))?;
        let http = Mutex::new(Some(Arc::new(new_http(&listener)?)));
        let (guard, pipe) = Guard::new()?;
        let shutdown = Shutdown::new();
        let shared =
            Arc::new(Shared { engine, listener, address, http, guard, shutdown, worker_count, body_timeout });
        // From here on a drop stops what has been started.
        let mut server = Self { shared, address, threads: Vec::new() };
        let shared = Arc::clone(&server.shared);
        server.threads.push(Worker::spawn("control-guard", move || {
            let Shared { guard, listener, address, shutdown, .. } = &*shared;
            let post = Post { guard, listener, local: *address, pipe, stop: shutdown };
            post.run(|| shared.replace());
        })?);
        for number in 0..worker_count {
            let shared = Arc::clone(&server.shared);
            server.threads.push(Worker::spawn(format!("control-{number}"), move || shared.work())?);
        }
        Ok(server)
    }

    /// Where it listens, with the real port.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops answering, waits for the workers, and closes every connection.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.shared.shutdown.set();
        self.shared.guard.ring();
        let http = self.shared.lock().take();
        if let Some(http) = &http {
            self.shared.wake_workers(http);
        }
        self.threads.clear();
        // Ends its accept loop, but not the connections that wait for another request.
        drop(http);
        if let Err(error) = sever(self.address, Half::Both, |_| true) {
            log::debug!("control: connections stay until their clients close them: {error}");
        }
    }
}

fn new_http(listener: &TcpListener) -> io::Result<Server> {
    Server::from_listener(listener.try_clone()?, None).map_err(io::Error::other)
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Server>>> {
        self.http.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current server; None when stopping.
    fn http(&self) -> Option<Arc<Server>> {
        self.lock().clone()
    }

    /// `unblock` wakes one worker each time.
    fn wake_workers(&self, http: &Server) {
        for _ in 0..self.worker_count {
            http.unblock();
        }
    }

    /// A worker's life.
    fn work(&self) {
        while let Some(http) = self.http() {
            match http.recv() {
                Ok(request) => {
                    let peer = request.remote_addr().copied();
                    // A bug in one request must not cost a worker: there are few.
                    if catch_unwind(AssertUnwindSafe(|| self.answer(request))).is_err() {
                        log::error!("control: a request from {peer:?} made its worker panic: this is a bug");
                    }
                }
                // Woken because of a stop or because the server was replaced; or accepting has ended, which the guard
                // notices at the next connection.
                Err(error) => log::debug!("control: {error}"),
            }
        }
    }

    /// Puts a new server on the same listening socket in place of one whose accept loop has ended.
    fn replace(&self) {
        // Nobody would answer on the connections that the dead one has: their clients must make new ones.
        if let Err(error) = sever(self.address, Half::Both, |_| true) {
            log::debug!("control: connections stay until their clients close them: {error}");
        }
        match new_http(&self.listener) {
            Ok(fresh) => {
                let dead = {
                    let mut http = self.lock();
                    // Not when stopping meanwhile.
                    if http.is_some() { http.replace(Arc::new(fresh)) } else { None }
                };
                if let Some(dead) = dead {
                    self.wake_workers(&dead);
                }
            }
            // The guard comes back while connections wait.
            Err(error) => log::error!("control: cannot listen again: {error}"),
        }
    }

    fn answer(&self, mut request: Request) {
        match self.result(&mut request) {
            Ok(Answer::Whole(body)) => send(request, response(200, body, None)),
            Ok(Answer::Listing(listing)) => {
                send(request, with_headers(Response::new(200.into(), Vec::new(), listing, None, None), None));
            }
            Err(denied) => {
                log::debug!("control: {} refused: {}", denied.status, denied.message);
                let response = response(denied.status, error_body(&denied.message), denied.allow);
                if denied.close { self.send_last(request, response) } else { send(request, response) }
            }
        }
    }

    fn result(&self, request: &mut Request) -> Result<Answer, Denied> {
        let admitted = admit(request)?;
        let body = self.read_body(request, admitted.body_len)?;
        handle(&self.engine, admitted.route, &body)
    }

    /// Reads exactly `body_len` bytes. Memory grows with what arrives, not with what was announced.
    fn read_body(&self, request: &mut Request, body_len: usize) -> Result<Vec<u8>, Denied> {
        // What is short was read with the head.
        let peer = request.remote_addr().filter(|_| body_len > READ_WITH_HEAD_MAX);
        let _watch = peer.map(|peer| self.guard.watch(*peer, self.body_timeout));
        let mut body = Vec::new();
        let limit = u64::try_from(body_len).unwrap_or(u64::MAX);
        match request.as_reader().take(limit).read_to_end(&mut body) {
            Ok(len) if len == body_len => Ok(body),
            Ok(_) => Err(Denied::new(400, "the body ended early")),
            Err(error) => Err(Denied::new(400, format!("the body could not be read: {error}"))),
        }
    }

    /// Answers when the rest of the connection cannot be used.
    fn send_last(&self, request: Request, response: Response<io::Cursor<Vec<u8>>>) {
        let peer = request.remote_addr().copied();
        let close = |how| match sever(self.address, how, |other| Some(other) == peer) {
            Ok(_) => {}
            Err(error) => log::debug!("control: a connection cannot be severed: {error}"),
        };
        if request.body_length().is_some_and(|len| len > DRAIN_MAX) {
            // Forgotten, so that nobody drains it: costs a sleeping thread and its socket's handles, not the process.
            log::warn!("control: a body of an absurd length was announced by {peer:?}");
            std::mem::forget(request.upgrade("none", response));
            close(Half::Both);
        } else {
            // Nothing more is received: what tiny_http would wait for ends here.
            close(Half::Read);
            send(request, response);
        }
    }
}

fn admit(request: &Request) -> Result<Admitted, Denied> {
    let method = request.method().to_string();
    let headers: Vec<(&str, &str)> = request
        .headers()
        .iter()
        .map(|header| (header.field.as_str().as_str(), header.value.as_str()))
        .collect();
    Head { method: &method, target: request.url(), headers: &headers }.admit()
}

fn response(status: u16, body: Vec<u8>, allow: Option<&'static str>) -> Response<io::Cursor<Vec<u8>>> {
    with_headers(Response::from_data(body).with_status_code(status), allow)
}

fn with_headers<R: Read>(mut response: Response<R>, allow: Option<&'static str>) -> Response<R> {
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
    response
}

fn send<R: Read>(request: Request, response: Response<R>) {
    if let Err(error) = request.respond(response) {
        log::debug!("control: the answer could not be sent: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;
    use std::time::Instant;

    use super::super::client::ControlClient;
    use super::super::guard::CONNECTIONS_MAX;
    use super::super::tests::{FakeEngine, connect, raw};
    use super::*;

    fn start(workers: usize, body_timeout: Duration) -> ControlServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        ControlServer::serve(listener, workers, body_timeout, Arc::new(FakeEngine::default())).unwrap()
    }

    const LEECH: &str = "POST /leech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

    #[test]
    fn an_absurd_length_is_survived() {
        let server = start(1, BODY_TIMEOUT);
        for length in ["1152921504606846976", "18446744073709551615", "300000000", "150000000"] {
            let (status, ..) =
                raw(server.address(), format!("{LEECH}Content-Length: {length}\r\n\r\nx").as_bytes());
            assert_eq!(status, 413, "{length}");
        }
        assert!(ControlClient::new(server.address().port()).status().is_ok());
    }

    #[test]
    fn a_refused_body_that_never_comes_holds_nobody_up() {
        let server = start(1, BODY_TIMEOUT);
        let mut stream = connect(server.address());
        stream.write_all(format!("{LEECH}Content-Length: 100663297\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(ControlClient::new(server.address().port()).status().is_ok());
    }

    #[test]
    fn a_slow_body_is_cut_off() {
        let server = start(1, Duration::from_millis(50));
        let mut stream = connect(server.address());
        stream.write_all(format!("{LEECH}Content-Length: 5000\r\n\r\n{{").as_bytes()).unwrap();
        // The only worker is free again.
        assert!(ControlClient::new(server.address().port()).status().is_ok());
        let _ = stream.read_to_end(&mut Vec::new());
    }

    #[test]
    fn beyond_the_limit_connections_go() {
        let server = start(1, BODY_TIMEOUT);
        let streams: Vec<TcpStream> = (0..CONNECTIONS_MAX + 10).map(|_| connect(server.address())).collect();
        let patience = Instant::now() + Duration::from_secs(20);
        while streams.iter().filter(|stream| is_ended(stream)).count() < 10 {
            assert!(Instant::now() < patience, "they stay");
            // One that is accepted at once may go unnoticed; the more there are, the less so.
            drop(connect(server.address()));
        }
        assert!(ControlClient::new(server.address().port()).status().is_ok());
    }

    fn is_ended(mut stream: &TcpStream) -> bool {
        stream.set_nonblocking(true).unwrap();
        stream.read(&mut [0]).is_ok()
    }

    /// How many descriptors of this process are the same socket.
    fn handles(listener: &TcpListener) -> usize {
        use std::os::fd::AsRawFd;
        let own = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
        let all = std::fs::read_dir("/proc/self/fd").unwrap();
        all.filter(|entry| std::fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|link| link == own))
            .count()
    }

    #[test]
    fn a_dead_accept_loop_is_replaced() {
        let server = start(2, BODY_TIMEOUT);
        let socket = socket2::SockRef::from(&server.shared.listener);
        // The accept after the next one times out, which ends tiny_http's loop.
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let port = server.address().port();
        assert!(ControlClient::new(port).status().is_ok());
        let before = server.shared.http().unwrap();
        // The loop's own handle of the listening socket goes with it.
        while handles(&server.shared.listener) > 1 {
            std::thread::yield_now();
        }
        socket.set_read_timeout(None).unwrap();
        assert!(ControlClient::new(port).status().is_ok());
        assert!(ControlClient::new(port).status().is_ok());
        assert!(!Arc::ptr_eq(&before, &server.shared.http().unwrap()), "the loop had not died");
    }
}
