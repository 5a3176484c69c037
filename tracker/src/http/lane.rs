//! Bounded queues, each with a few threads, for what may take longer than an announce.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, select};
use tiny_http::{Method, Request};
use torrent_common::network::Network;

use super::answer::Answer;
use super::listening::SEND_BUFFER;
use super::outbox::{self, Letter, Step, Then};
use super::pages::{self, Site, Visit};
use super::pen::Pen;
use super::routes::{Route, route_of};
use super::upload::Refused;
use super::{FORM_LEN, Inner, bearer, forwarded, origin, upload};
use crate::catalogue::Published;
use crate::metrics::labels::Closed;
use torrent_guard::Crew;
use torrent_guard::body::{Body, BodyError};

/// Requests that wait in a lane at most.
const QUEUE: usize = 64;
/// Threads that make pages.
const PAGE_THREADS: usize = 2;
/// Threads that answer from the catalogue with what may be long.
const CATALOGUE_THREADS: usize = 2;
/// Threads that read bodies.
const BODY_THREADS: usize = 3;
/// The longest that an upload may take.
const UPLOAD_TIME: Duration = Duration::from_secs(60);
/// The longest that anything else may hold up a lane: a refused body that is thrown away.
const OTHER_TIME: Duration = Duration::from_secs(20);
/// Answers over this length, in bytes, may not fit into the socket's buffer, head included, even when it is empty. They are
/// nobody's to wait for: see [`outbox`].
const LONG_ANSWER: usize = SEND_BUFFER - (4 << 10);
/// What stopping waits for, before and after connections are cut.
const GRACE: Duration = Duration::from_secs(1);

/// The end of a queue that requests go into.
pub(super) struct Lane {
    jobs: Sender<Job>,
    places: Arc<Places>,
}

/// How many requests a lane has of each host: an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Default)]
struct Places(Mutex<HashMap<Network, usize>>);

/// A request on its way through a lane.
pub(super) struct Job {
    request: Request,
    from: SocketAddr,
    place: Place,
}

/// What a request has in a lane, until the lane is done with it.
struct Place {
    places: Arc<Places>,
    host: Network,
}

impl Places {
    /// Takes a place, unless a host has as many as it may.
    fn take(self: &Arc<Self>, host: Network, share: usize) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(host).or_default();
        if *count >= share {
            return None;
        }
        *count += 1;
        Some(Place { places: Arc::clone(self), host })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = counts.get(&self.host).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            counts.remove(&self.host);
        } else {
            counts.insert(self.host, left);
        }
    }
}

/// The threads of all lanes.
pub(super) struct Lanes {
    workers: Crew,
    left: [Receiver<Job>; 4],
}

impl Lane {
    pub(super) fn new() -> (Self, Receiver<Job>) {
        let (jobs, receiver) = crossbeam_channel::bounded(QUEUE);
        (Self { jobs, places: Arc::default() }, receiver)
    }

    /// Whether requests wait for a thread.
    pub(super) fn has_waiting(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Hands a request over. What comes back was refused: the lane is full, or has `share` of the host already.
    pub(super) fn push(&self, request: Request, from: SocketAddr, share: usize) -> Option<Request> {
        let Some(place) = self.places.take(Network::of_host(from.ip()), share) else { return Some(request) };
        match self.jobs.try_send(Job { request, from, place }) {
            Ok(()) => None,
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => Some(job.request),
        }
    }
}

impl Lanes {
    pub(super) fn start(
        inner: &Arc<Inner>,
        [metrics, pages, catalogue, bodies]: [&Receiver<Job>; 4],
        posted: Receiver<Letter>,
    ) -> io::Result<Self> {
        let mut workers = Crew::new();
        let mut start = |name: String, jobs: &Receiver<Job>, may_wait: bool| -> io::Result<()> {
            let (inner, jobs) = (Arc::clone(inner), jobs.clone());
            workers.hire(name, move |orders| work(&inner, &jobs, orders, may_wait))
        };
        start("metrics".to_owned(), metrics, true)?;
        for n in 0..PAGE_THREADS {
            start(format!("pages-{n}"), pages, false)?;
        }
        for n in 0..CATALOGUE_THREADS {
            start(format!("catalogue-{n}"), catalogue, true)?;
        }
        for n in 0..BODY_THREADS {
            start(format!("upload-{n}"), bodies, true)?;
        }
        let shared = Arc::clone(inner);
        workers.hire("answers", move |_| outbox::run(&shared, &posted))?;
        Ok(Self { workers, left: [metrics, pages, catalogue, bodies].map(Clone::clone) })
    }

    /// Ends the threads. Who is in the middle of an upload has a moment to finish it.
    pub(super) fn stop(self, inner: &Inner) {
        inner.outbox.stop();
        self.workers.dismiss(&inner.guard, GRACE);
        for job in self.left.iter().flat_map(Receiver::try_iter) {
            inner.discard(job.request);
        }
    }
}

/// `may_wait`: whether long answers are made here.
fn work(inner: &Inner, jobs: &Receiver<Job>, orders: &Receiver<Infallible>, may_wait: bool) {
    let mut pen = Pen::new();
    loop {
        select! {
            recv(orders) -> _ => return,
            recv(jobs) -> job => {
                let Ok(Job { request, from, place }) = job else { return };
                let mut is_answered = true;
                inner.contain(|| is_answered = serve(inner, request, from, &mut pen, may_wait));
                drop(place);
                if is_answered {
                    inner.go_on(from, &mut pen);
                }
            }
        }
    }
}

/// Answers a request, with or without a body; or hands it on to those who may wait: then the result is false.
fn serve(inner: &Inner, mut request: Request, from: SocketAddr, pen: &mut Pen, may_wait: bool) -> bool {
    let body = Body::of(&request);
    let found = route_of(&request);
    if body == Body::None {
        let answer = inner.answer(&request, found, from.ip(), pen);
        let is_long = answer.len() > LONG_ANSWER;
        if is_long && !may_wait {
            // It is made again there: long answers are not to wait in memory.
            return hand_on(inner, found, request, from);
        }
        if is_long {
            return send_long(inner, answer, found, request, from);
        }
        inner.send(answer, found, request, from);
        return true;
    }
    let is_upload = matches!(found, Route::Upload | Route::FilledForm);
    let watch = inner.guard.watch(from, if is_upload { UPLOAD_TIME } else { OTHER_TIME });
    watch.begin_body();
    let max_len = if is_upload { inner.max_body_len() } else { FORM_LEN };
    let mut start = Vec::new();
    if is_upload
        && body.is_longer_than(FORM_LEN)
        && !body.is_longer_than(max_len)
        && let Err(refused) = admit(inner, &mut request, body, &mut start)
    {
        drop(watch);
        let answer = match found {
            Route::FilledForm => publish_form(inner, &request, from, &start, Some(refused)),
            _ => Answer::failure(refused.status, &refused.reason),
        };
        return turn_away(inner, answer, found, request, from);
    }
    let read = body.read(&mut request, max_len, start);
    if read.is_ok() {
        // Of a body that is refused the rest is thrown away with the answer.
        watch.end_body();
    }
    let refused = match &read {
        Ok(_) if is_upload && origin::is_foreign(&request) => {
            Some(Refused::new(403, "web pages of other sites do not publish"))
        }
        Err(error @ BodyError::TooLong(_)) if body.can_be_dropped() => Some(Refused::new(413, error)),
        Err(error @ BodyError::Chunked) => Some(Refused::new(411, error)),
        Err(error) => {
            log::debug!("a request from {from} was not read: {error}");
            inner.shared.metrics.closed(Closed::Body);
            inner.refuse(request, from);
            return true;
        }
        Ok(_) => None,
    };
    let bytes = read.unwrap_or_default();
    let answer = match (found, refused) {
        (Route::FilledForm, refused) => publish_form(inner, &request, from, &bytes, refused),
        (_, Some(Refused { status, reason })) => Answer::failure(status, &reason),
        (Route::Upload, None) => publish(inner, &request, from, &bytes, &mut pen.random),
        (_, None) => inner.answer(&request, found, from.ip(), pen),
    };
    inner.send(answer, found, request, from);
    true
}

/// Looks at what can be known of a long upload before all of it is read. `start` gets what was.
fn admit(inner: &Inner, request: &mut Request, body: Body, start: &mut Vec<u8>) -> Result<(), Refused> {
    if origin::is_foreign(request) {
        return Err(Refused::new(403, "web pages of other sites do not publish"));
    }
    if inner.shared.upload_token.is_none() {
        return Ok(());
    }
    if bearer(request).is_none() {
        // What cannot be read now cannot be read later: that is told there.
        *start = body.read_start(request, FORM_LEN).unwrap_or_default();
    }
    upload::check_start(&inner.shared, content_type(request), start, bearer(request))
}

/// Refuses a request whose body is not to be read. The connection ends, since the next request is somewhere behind it. False
/// if that takes its time.
fn turn_away(inner: &Inner, answer: Answer, found: Route, request: Request, from: SocketAddr) -> bool {
    let parts = inner.guard.connection(from).zip(answer.clone().into_parts(&request, true).ok());
    let Some((stream, (head, rest))) = parts else {
        // Only where connections cannot be seen from outside: the body is read and thrown away.
        inner.send(answer, found, request, from);
        return true;
    };
    inner.shared.metrics.answered(found, answer.status);
    inner.outbox.post(Letter::new(from, stream, Then::End(request), head, rest));
    false
}

/// Sends an answer that may not fit into the socket's buffer. False if it is still under way, and [`outbox`] goes on.
fn send_long(inner: &Inner, answer: Answer, found: Route, request: Request, from: SocketAddr) -> bool {
    let has_body = answer.status == 200 && *request.method() != Method::Head;
    let stream = if has_body { inner.guard.connection(from) } else { None };
    let Some(stream) = stream else {
        let _watch = inner.guard.watch(from, OTHER_TIME);
        inner.send(answer, found, request, from);
        return true;
    };
    inner.shared.metrics.answered(found, answer.status);
    let (head, rest) = match answer.into_parts(&request, false) {
        Ok(parts) => parts,
        Err(error) => {
            inner.sent(Err(error), from);
            return true;
        }
    };
    let rest = if let Route::Torrent(info_hash) = found { inner.outbox.share(info_hash, rest) } else { rest };
    let mut letter = Letter::new(from, stream, Then::GoOn(request.into_writer()), head, rest);
    match letter.advance(Instant::now()) {
        Ok(Step::Done) => true,
        Ok(Step::Waits) => {
            inner.outbox.post(letter);
            false
        }
        Err(error) => {
            inner.sent(Err(error), from);
            true
        }
    }
}

/// Gives a request to the lane for long answers. True if that was full, and the client has heard so.
fn hand_on(inner: &Inner, found: Route, request: Request, from: SocketAddr) -> bool {
    let refused = inner.catalogue.push(request, from, inner.share(from.ip()));
    let is_answered = refused.is_some();
    if let Some(request) = refused {
        inner.send(Answer::error(503, "too busy, try again later"), found, request, from);
    }
    is_answered
}

/// What a body says to be; empty if nothing.
fn content_type(request: &Request) -> &str {
    let header = request.headers().iter().find(|header| header.field.equiv("Content-Type"));
    header.map_or("", |header| header.value.as_str())
}

/// Who sends this upload, and as what.
fn sender<'a>(
    inner: &Inner,
    request: &'a Request,
    from: SocketAddr,
) -> Result<(&'a str, upload::Sender<'a>), Refused> {
    let content_type = content_type(request);
    match forwarded::client(request, from.ip(), &inner.shared.trusted_proxies) {
        Ok(client) => Ok((content_type, upload::Sender { from: client, bearer: bearer(request) })),
        Err(error) => Err(Refused::new(403, error)),
    }
}

/// An upload of a program.
fn publish(
    inner: &Inner,
    request: &Request,
    from: SocketAddr,
    body: &[u8],
    random: &mut fastrand::Rng,
) -> Answer {
    match sender(inner, request, from) {
        Ok((content_type, sender)) => upload::upload(&inner.shared, content_type, body, sender, random),
        Err(Refused { status, reason }) => Answer::failure(status, &reason),
    }
}

/// An upload of a person, who is shown the torrent's page, or the form again.
fn publish_form(
    inner: &Inner,
    request: &Request,
    from: SocketAddr,
    body: &[u8],
    refused: Option<Refused>,
) -> Answer {
    let site = Site::of(request, from.ip(), &inner.shared);
    let visit = Visit { shared: &inner.shared, site: site.as_ref(), query: "" };
    let published = match refused {
        Some(refused) => Err(refused),
        None => sender(inner, request, from)
            .and_then(|(content_type, sender)| upload::publish(&inner.shared, content_type, body, sender)),
    };
    match published {
        Ok(accepted) => Answer::published(accepted.info_hash, accepted.published == Published::New),
        Err(refused) => pages::refused(visit, &refused, request, body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_share_whatever_addresses_it_uses() {
        let places = Arc::new(Places::default());
        let take = |ip: &str| places.take(Network::of_host(ip.parse().unwrap()), 2);
        let held = [take("2001:db8::1"), take("2001:db8::2:2")];
        assert!(held.iter().all(Option::is_some) && take("2001:db8::3:3:3").is_none());
        assert!(take("2001:db8:0:1::1").is_some() && take("::ffff:10.0.0.1").is_some());
        let one = take("10.0.0.1");
        assert!(take("::ffff:10.0.0.1").is_some() && take("10.0.0.2").is_some());
        drop((held, one));
        assert!(places.0.lock().unwrap().is_empty(), "what is given back is forgotten");
    }
}
