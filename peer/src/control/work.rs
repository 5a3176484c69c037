//! Requests are taken from tiny_http, which would keep any number of them, and lined up: one of a connection at a time is
//! answered.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{Shutdown as Half, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, TrySendError, select};
use tiny_http::{Header, Method, Request, Response, StatusCode};
use torrent_guard::body::Body;
use torrent_guard::source::{BATCH, Source};
use torrent_guard::turns::Turn;

use super::admit::{Admitted, Denied, Head};
use super::handle::{Answer, error_body, handle};
use super::route::LEECH_BODY_MAX;
use super::server::Shared;

/// Full batches taken one after the other that show that more come than can be taken.
const FULL_BATCHES: usize = 16;
/// Answers up to this length, in bytes, fit into the system's buffer.
const LONG_ANSWER: usize = 64 << 10;

/// A request whose turn it is.
pub(super) struct Job {
    pub(super) request: Request,
    from: SocketAddr,
}

impl Shared {
    /// The life of the thread that takes requests.
    pub(super) fn take_requests(&self, source: &Source) {
        // Whoever sends thousands at once has a thread that reads for each connection: this one, which sees that they are too
        // many, must not have to wait for its turn among them.
        torrent_guard::prefer_this_thread();
        let mut requests = Vec::with_capacity(BATCH);
        let mut full = 0;
        while let Some(post) = source.post() {
            match post.take(&mut requests, true) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    log::error!("control: connections are not accepted any more: {error}");
                    self.guard.accept_ended();
                }
            }
            full = if requests.len() == BATCH { full + 1 } else { 0 };
            self.is_behind.store(full >= FULL_BATCHES, Ordering::Relaxed);
            requests.drain(..).for_each(|request| self.line_up(request));
        }
    }

    fn line_up(&self, request: Request) {
        let Some(from) = request.remote_addr().copied() else { return };
        match self.turns.arrive(from, request) {
            Turn::Now(request) => {
                self.begin(&request, from);
                match self.jobs.try_send(Job { request, from }) {
                    Ok(()) => {}
                    Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => self.refuse(job),
                }
            }
            Turn::Later => {}
            Turn::TooMany => {
                if self.guard.hang_up_soon(from) {
                    self.turns.close(&from);
                }
            }
            Turn::Closed(request) => self.let_go(request),
        }
    }

    /// Until it is answered the connection may be silent, and send the body.
    fn begin(&self, request: &Request, from: SocketAddr) {
        let max = u64::try_from(LEECH_BODY_MAX).unwrap_or(u64::MAX);
        self.guard.busy(from, Body::of(request).len_max(max));
    }

    /// There are more than all connections there may be.
    fn refuse(&self, Job { request, from }: Job) {
        self.turns.close(&from);
        self.guard.discard(request);
        self.guard.free(&from);
        self.turns.finish(&from, |request| self.let_go(request));
    }

    /// Gets rid of a request of a connection that was shut down.
    pub(super) fn let_go(&self, request: Request) {
        if Body::of(&request).is_let_go_at_once(&request) {
            drop(request.into_writer());
        } else {
            self.guard.discard(request);
        }
    }

    /// A worker's life.
    pub(super) fn answer_all(&self, jobs: &Receiver<Job>, orders: &Receiver<Infallible>) {
        loop {
            select! {
                recv(orders) -> _ => return,
                recv(jobs) -> job => {
                    let Ok(Job { request, from }) = job else { return };
                    self.serve(request, from);
                }
            }
        }
    }

    /// Answers a request whose turn it is, then those that wait behind it.
    fn serve(&self, request: Request, from: SocketAddr) {
        let mut next = Some(request);
        while let Some(request) = next {
            // A bug in one request must not cost a worker: there are few.
            if catch_unwind(AssertUnwindSafe(|| self.answer(request, from))).is_err() {
                log::error!("control: a request from {from} made its worker panic: this is a bug");
            }
            self.guard.free(&from);
            next = self.turns.finish(&from, |request| self.let_go(request));
            if let Some(next) = &next {
                self.begin(next, from);
            }
        }
    }

    fn answer(&self, mut request: Request, from: SocketAddr) {
        // Whatever becomes of it, tiny_http waits for the rest of a body that was not read whole.
        let waits = !Body::of(&request).is_let_go_at_once(&request);
        let body_watch = waits.then(|| self.guard.watch_for(from, self.bounds.body, self.bounds.pause));
        let answer = admit(&request).and_then(|admitted| {
            body_watch.iter().for_each(|watch| watch.begin_body());
            let body = read_body(&mut request, admitted.body_len)?;
            body_watch.iter().for_each(|watch| watch.end_body());
            handle(&self.engine, admitted.route, &body)
        });
        let watch_long = || self.guard.watch_for(from, self.bounds.answer, self.bounds.pause);
        let sent = match answer {
            Ok(Answer::Whole(body)) => {
                drop(body_watch);
                let _watch = (body.len() > LONG_ANSWER).then(watch_long);
                request.respond(response(200, body, None))
            }
            Ok(Answer::Listing(listing)) => {
                drop(body_watch);
                let _watch = watch_long();
                let response = Response::new(200.into(), Vec::new(), listing, None, None);
                request.respond(with_headers(response, None))
            }
            Err(denied) => {
                log::debug!("control: {} refused: {}", denied.status, denied.message);
                if denied.close {
                    self.send_last(request, &denied, from)
                } else {
                    request.respond(response(denied.status, error_body(&denied.message), denied.allow))
                }
            }
        };
        if let Err(error) = sent {
            log::debug!("control: the answer could not be sent: {error}");
            if self.guard.hang_up_soon(from) {
                self.turns.close(&from);
            }
        }
    }

    /// Answers when the rest of the connection cannot be used: what follows on it is not carried out.
    fn send_last(&self, request: Request, denied: &Denied, from: SocketAddr) -> io::Result<()> {
        self.turns.close(&from);
        let last = last_answer(denied, *request.method() != Method::Head);
        let stream = self.guard.connection(from);
        if Body::of(&request).can_be_dropped() {
            // Nothing more is received: what tiny_http would wait for ends here.
            stream.iter().for_each(|stream| drop(stream.shutdown(Half::Read)));
            let mut writer = request.into_writer();
            return writer.write_all(&last).and_then(|()| writer.flush());
        }
        log::debug!("control: a body of an absurd length was announced by {from}");
        self.guard.leave_behind(request);
        stream.map_or(Ok(()), |mut stream| {
            let sent = stream.write_all(&last);
            let _ = stream.shutdown(Half::Both);
            sent
        })
    }
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

fn admit(request: &Request) -> Result<Admitted, Denied> {
    let method = request.method().to_string();
    let headers: Vec<(&str, &str)> = request
        .headers()
        .iter()
        .map(|header| (header.field.as_str().as_str(), header.value.as_str()))
        .collect();
    Head { method: &method, target: request.url(), headers: &headers }.admit()
}

/// An answer that says that there will be no other, which tiny_http leaves out.
fn last_answer(denied: &Denied, has_body: bool) -> Vec<u8> {
    let reason = StatusCode(denied.status).default_reason_phrase();
    let body = error_body(&denied.message);
    let mut answer = format!(
        "HTTP/1.1 {} {reason}\r\nConnection: close\r\nContent-Length: {}\r\n",
        denied.status,
        body.len()
    );
    for (name, value) in fixed_headers(denied.allow) {
        answer.extend([name, ": ", value, "\r\n"]);
    }
    answer.push_str("\r\n");
    let mut answer = answer.into_bytes();
    if has_body {
        answer.extend(body);
    }
    answer
}

fn response(status: u16, body: Vec<u8>, allow: Option<&'static str>) -> Response<io::Cursor<Vec<u8>>> {
    with_headers(Response::from_data(body).with_status_code(status), allow)
}

fn fixed_headers(allow: Option<&'static str>) -> impl Iterator<Item = (&'static str, &'static str)> {
    let fixed = [
        ("Content-Type", "application/json"),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Server", "torrent-daemon"),
    ];
    fixed.into_iter().chain(allow.map(|allow| ("Allow", allow)))
}

fn with_headers<R: Read>(mut response: Response<R>, allow: Option<&'static str>) -> Response<R> {
    for (name, value) in fixed_headers(allow) {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    response
}
