//! HTTP in front of the tracker: tiny_http, a few threads, and what it takes to keep them free.
//!
//! Workers take requests from tiny_http and answer announces and scrapes themselves, from memory. Whatever may take
//! longer goes through a bounded queue to a lane of its own: numbers (GET /metrics), so that they are there when everything
//! else is slow; pages, which fit into a socket's buffer; the catalogue (database, files); and requests with a body
//! (uploads, and bodies that nobody asked for). A full lane refuses, and so does one of which a host has its share; so
//! neither a slow search nor a hundred uploads that never end hold up an announce. Long answers are sent by one thread to
//! all who read them: see [`outbox`].
//!
//! Answers on one connection leave in the order of its requests, and tiny_http makes a thread that answers too early
//! wait. So requests of one connection are taken one at a time: see [`torrent_guard::turns`].

mod announces;
mod answer;
mod entries;
mod forwarded;
mod full_scrape;
mod guarded;
mod lane;
mod listening;
pub(crate) mod multipart;
mod origin;
mod outbox;
mod pages;
mod pen;
mod quota;
mod routes;
mod torrents;
mod upload;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use tiny_http::Request;
use torrent_common::config::MetricsFor;
use torrent_common::worker::Shutdown;
pub(crate) use torrent_guard::Limits;
use torrent_guard::body::Body;
use torrent_guard::source::{BATCH, Source};
use torrent_guard::turns::{Turn, Turns};
use torrent_guard::{Guard, Guarded, Patrol, Servers};

use crate::metrics;
use crate::metrics::labels::{self, Closed, Failure};
use crate::shared::Shared;
use answer::Answer;
use lane::{Lane, Lanes};
pub(crate) use listening::listen;
use listening::send_timeout;
use outbox::Outbox;
use pen::Pen;
pub(crate) use quota::Quota;
pub(crate) use routes::Route;
use routes::{Target, route_of};

/// What a form may have around the torrent file, in bytes.
const FORM_LEN: u64 = 64 << 10;
/// Requests of one host (an IPv4 address, an IPv6 network of 64 bits) that a lane takes, a quarter of what waits in it at
/// most; and those of one address in all lanes beyond which a body is refused.
const MAX_PER_ADDRESS: usize = 16;

/// HTTP at work.
pub(crate) struct Http {
    inner: Arc<Inner>,
    patrol: Patrol,
    lanes: Lanes,
}

/// What all threads of this room share.
struct Inner {
    shared: Arc<Shared>,
    listener: TcpListener,
    stopping: Shutdown,
    guard: Guard,
    /// Called when strangers have worn this process out.
    worn: OnceLock<Box<dyn Fn() + Send + Sync>>,
    turns: Turns,
    metrics: Lane,
    pages: Lane,
    catalogue: Lane,
    bodies: Lane,
    outbox: Outbox,
    servers: Servers,
}

impl Http {
    /// Begins to answer on `listener` with so many workers (0: one per core, at least 2).
    pub(crate) fn start(
        listener: TcpListener,
        shared: Arc<Shared>,
        workers: usize,
        limits: Limits,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let (guard, notices) = Guard::new(address, limits, send_timeout(address))?;
        let (metrics, metrics_jobs) = Lane::new();
        let (pages, page_jobs) = Lane::new();
        let (catalogue, catalogue_jobs) = Lane::new();
        let (bodies, body_jobs) = Lane::new();
        let (outbox, posted) = Outbox::new(guard.limits())?;
        let inner = Arc::new(Inner {
            shared,
            listener,
            stopping: Shutdown::new(),
            guard,
            worn: OnceLock::new(),
            turns: Turns::default(),
            metrics,
            pages,
            catalogue,
            bodies,
            outbox,
            servers: Servers::new(if workers == 0 { cores.max(2) } else { workers }),
        });
        let lanes = Lanes::start(&inner, [&metrics_jobs, &page_jobs, &catalogue_jobs, &body_jobs], posted)?;
        let patrol = inner.servers.start(&inner).and_then(|_| Patrol::start(&inner, notices));
        match patrol {
            Ok(patrol) => Ok(Self { inner, patrol, lanes }),
            Err(error) => {
                // Those that began wait until they are told to end.
                inner.servers.stop();
                lanes.stop(&inner);
                Err(error)
            }
        }
    }

    /// From now on that is called, by a thread that must not wait, when strangers have worn this process out.
    pub(crate) fn when_worn(&self, call: Box<dyn Fn() + Send + Sync>) {
        // Once, at the start: a second one would be a bug of ours, and is ignored.
        let _ = self.inner.worn.set(call);
    }

    /// Answers what was begun, then ends every thread.
    pub(crate) fn stop(self) {
        let Self { inner, patrol, lanes } = self;
        inner.stopping.set();
        inner.guard.stop();
        patrol.join();
        inner.servers.stop();
        // Whoever still waits in accept is woken, and nobody connects any more.
        if let Err(error) = rustix::net::shutdown(&inner.listener, rustix::net::Shutdown::Both) {
            log::debug!("the listening socket was not shut down: {error}");
        }
        lanes.stop(&inner);
        inner.turns.end(|request| inner.let_go(request));
        inner.guard.hang_up_all();
    }
}

impl Inner {
    /// A worker's life.
    fn take_requests(&self, source: &Source) {
        let mut pen = Pen::new();
        let (mut requests, mut ready) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        while let Some(post) = source.post() {
            loop {
                match post.take(&mut requests, ready.is_empty()) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        log::error!("connections are not accepted any more: {error}");
                        self.guard.accept_ended();
                    }
                }
                let is_more = requests.len() == BATCH;
                ready.extend(requests.drain(..).filter_map(|request| self.line_up(request)));
                // What waits in tiny_http has no bound. So first it becomes few, then it is answered.
                if is_more && ready.len() < BATCH {
                    continue;
                }
                if is_more || !self.guard.can_hang_up() {
                    break;
                }
                self.serve_all(&mut ready, &mut pen);
            }
            drop(post);
            self.serve_all(&mut ready, &mut pen);
        }
    }

    /// Finds the place of a request in its connection's line. Gives it back if its turn is now.
    fn line_up(&self, request: Request) -> Option<(Request, SocketAddr)> {
        let from = request.remote_addr().copied()?;
        match self.turns.arrive(from, request) {
            Turn::Now(request) => return Some((request, from)),
            Turn::Later => {}
            Turn::TooMany => {
                if self.guard.hang_up_soon(from) {
                    self.turns.close(&from);
                    self.shared.metrics.closed(Closed::Pipelined);
                }
            }
            Turn::Closed(request) => self.let_go(request),
        }
        None
    }

    fn serve_all(&self, ready: &mut Vec<(Request, SocketAddr)>, pen: &mut Pen) {
        for (request, from) in ready.drain(..) {
            self.serve(request, from, pen);
        }
    }

    /// Answers a request whose turn it is, then those that wait behind it, until one goes to a lane.
    fn serve(&self, request: Request, from: SocketAddr, pen: &mut Pen) {
        let mut next = Some(request);
        while let Some(request) = next {
            let mut is_answered = true;
            self.contain(|| is_answered = self.dispatch(request, from, pen));
            if !is_answered {
                return;
            }
            next = self.turns.finish(&from, |request| self.let_go(request));
        }
    }

    /// A lane has answered a request of this connection: goes on with the next.
    fn go_on(&self, from: SocketAddr, pen: &mut Pen) {
        self.guard.free(&from);
        if let Some(next) = self.turns.finish(&from, |request| self.let_go(request)) {
            self.serve(next, from, pen);
        }
    }

    /// Gets rid of a request whose end is not known or not waited for, without an answer, and of its connection: of what
    /// follows on it nothing is done.
    fn refuse(&self, request: Request, from: SocketAddr) {
        self.turns.close(&from);
        self.discard(request);
    }

    /// Gets rid of a request without an answer: see [`Guard::discard`].
    fn discard(&self, request: Request) {
        if self.guard.discard(request) {
            self.shared.metrics.abandoned();
        }
    }

    /// Gets rid of a request of a connection that was shut down.
    fn let_go(&self, request: Request) {
        if Body::of(&request).is_let_go_at_once(&request) {
            drop(request.into_writer());
        } else {
            self.discard(request);
        }
    }

    /// How many requests of its host a lane takes.
    fn share(&self, ip: IpAddr) -> usize {
        if self.is_shared(ip) { usize::MAX } else { MAX_PER_ADDRESS }
    }

    /// The longest body that is read, in bytes.
    fn max_body_len(&self) -> u64 {
        self.shared.max_torrent_len as u64 + FORM_LEN
    }

    /// Answers a request, or hands it to a lane: then the answer is false.
    fn dispatch(&self, request: Request, from: SocketAddr, pen: &mut Pen) -> bool {
        let body = Body::of(&request);
        if matches!(body, Body::Malformed(_)) {
            // Where this request ends is anybody's guess: nothing more is read or written.
            self.shared.metrics.closed(Closed::Malformed);
            self.refuse(request, from);
            return true;
        }
        let found = route_of(&request);
        let is_page = matches!(found, Route::List | Route::Entry(_) | Route::Form);
        let takes_long = match found {
            Route::Torrents | Route::Torrent(_) | Route::Files(_) | Route::Removal(_) | Route::Feed => true,
            // A few of these fill a buffer.
            Route::Api | Route::Metrics => true,
            Route::Scrape => announces::is_full_scrape(&self.shared, Target::new(request.url()).query),
            _ => is_page,
        };
        let lane = match body {
            Body::None if !takes_long => {
                let began = Instant::now();
                let answer = self.answer(&request, found, from.ip(), pen);
                if answer.is_plain() {
                    self.shared.metrics.answered(found, answer.status);
                    self.sent(pen.send(answer.body, request), from);
                } else {
                    self.send(answer, found, request, from);
                }
                if found == Route::Announce {
                    self.shared.metrics.took(labels::Protocol::Http, 1, began.elapsed());
                }
                return true;
            }
            Body::None if found == Route::Metrics => &self.metrics,
            Body::None if is_page => &self.pages,
            Body::None => &self.catalogue,
            _ => &self.bodies,
        };
        let share = self.share(from.ip());
        let refused = if body != Body::None && self.guard.count_busy(from.ip()) >= share {
            Some(request)
        } else {
            self.guard.busy(from, body.len_max(self.max_body_len()));
            lane.push(request, from, share).inspect(|_| self.guard.free(&from))
        };
        match refused {
            None => return false,
            Some(request) if body == Body::None => {
                self.send(Answer::error(503, "too busy, try again later"), found, request, from);
            }
            Some(request) => {
                self.shared.metrics.closed(Closed::Busy);
                self.refuse(request, from);
            }
        }
        true
    }

    /// The answer to a request whose body does not matter.
    fn answer(&self, request: &Request, found: Route, from: IpAddr, pen: &mut Pen) -> Answer {
        let query = Target::new(request.url()).query;
        match found {
            Route::Announce => match forwarded::client(request, from, &self.shared.trusted_proxies) {
                // Who may name an address may be a browser's user, whom any page can make announce.
                Ok(from) if self.shared.desk.addresses().may_claim(from) && origin::is_foreign(request) => {
                    announces::refused(&self.shared, Failure::WebPage, "web pages do not announce")
                }
                Ok(from) => announces::announce(&self.shared, query, from, pen),
                Err(error) => announces::refused(&self.shared, Failure::Proxy, &error.to_string()),
            },
            Route::Scrape => announces::scrape(&self.shared, query),
            Route::Status => announces::status(&self.shared),
            Route::Metrics => self.metrics(request, from),
            Route::Torrents => torrents::list(&self.shared, query),
            Route::Torrent(info_hash) => torrents::torrent(&self.shared, info_hash),
            Route::Files(info_hash) => torrents::files(&self.shared, info_hash, query),
            Route::Removal(info_hash) => torrents::remove(&self.shared, info_hash, bearer(request)),
            Route::List | Route::Entry(_) | Route::Form | Route::FilledForm | Route::Feed => {
                let site = pages::Site::of(request, from, &self.shared);
                pages::answer(
                    request,
                    found,
                    pages::Visit { shared: &self.shared, site: site.as_ref(), query },
                )
            }
            Route::Style => pages::style(),
            Route::Api => torrents::api(),
            Route::Icon => pages::icon(),
            Route::Upload => Answer::failure(411, "an upload needs a Content-Length and a body"),
            Route::NotFound => Answer::error(404, "there is nothing at this path"),
            Route::WrongMethod(allow) => Answer::wrong_method(allow),
        }
    }

    /// A panic is a bug, but only one request's: its client hears 500, the thread goes on.
    fn contain(&self, run: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            self.shared.metrics.bug();
            log::error!("a request was not answered because of a bug: please report it with the lines above");
        }
    }

    /// GET /metrics, for those to whom METRICS shows it.
    fn metrics(&self, request: &Request, from: IpAddr) -> Answer {
        let is_local = || {
            forwarded::client(request, from, &self.shared.trusted_proxies)
                .is_ok_and(|client| self.shared.desk.addresses().may_claim(client))
        };
        match self.shared.metrics_for {
            MetricsFor::No => Answer::error(404, "METRICS is off here"),
            MetricsFor::Local if !is_local() => {
                Answer::error(403, "METRICS shows them to this machine and TRUSTED_NETWORKS")
            }
            MetricsFor::Local | MetricsFor::All => Answer::metrics(metrics::page(&self.shared)),
        }
    }

    /// Sends an answer.
    fn send(&self, answer: Answer, route: Route, request: Request, from: SocketAddr) {
        self.shared.metrics.answered(route, answer.status);
        let answer = match answer.problem() {
            Some(reason) if routes::wants_page(&request) => {
                let site = pages::Site::of(&request, from.ip(), &self.shared);
                let visit = pages::Visit { shared: &self.shared, site: site.as_ref(), query: "" };
                answer.with_page(pages::problem(visit, answer.status, reason))
            }
            _ => answer,
        };
        self.sent(answer.send(request), from);
    }

    /// Who did not read an answer in time is cut off, so that no other worker waits for the same.
    fn sent(&self, sent: io::Result<()>, from: SocketAddr) {
        if let Err(error) = sent {
            log::debug!("no answer to {from}: {error}");
            if self.guard.hang_up_soon(from) {
                self.turns.close(&from);
                self.shared.metrics.closed(Closed::Unread);
            }
        }
    }
}

/// The token in `Authorization: Bearer`.
fn bearer(request: &Request) -> Option<&str> {
    let header = request.headers().iter().find(|header| header.field.equiv("Authorization"))?;
    let (scheme, token) = header.value.as_str().split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests;
