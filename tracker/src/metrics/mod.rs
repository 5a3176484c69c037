//! What a tracker counts, and GET /metrics for Prometheus, which shows it.
//!
//! Counting costs an announce a few nanoseconds and never waits: every thread adds to a stripe of counters that it has
//! to itself, or shares with few, in cache lines of its own; sums are made when somebody asks. What is counted by is a
//! closed list (`labels.rs`): nothing that a stranger sends becomes a label, so nobody can make the page long.
//!
//! Latency is the time that the tracker itself takes: over HTTP from when a worker has the request until its answer is
//! written; over UDP from when a batch of packets is in our memory until its answers are with the system, counted for each
//! announce in it, which costs two looks at the clock for a batch, not two for a packet. What waits in the system's
//! buffers before is in neither.

mod family;
mod histogram;
pub(crate) mod labels;
mod page;
mod process;
mod text;

use std::array;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use family::{Counter, Family, Label};
use histogram::Histogram;
use labels::{AnswerClass, Closed, Dropped, EventLabel, Failure, Page, Protocol, Upload};
pub(crate) use page::page;
pub(crate) use text::CONTENT_TYPE;

/// Threads that count at the same time without being in each other's way. There are seldom more cores where a tracker
/// runs, and a stripe is about 2 KiB.
const STRIPES: usize = 8;

/// What was counted since the start.
pub(crate) struct Metrics {
    stripes: Box<[Stripe; STRIPES]>,
    started_s: u64,
}

/// A part of every counter. Two cache lines apart from the next, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Stripe {
    announces: Family<(Protocol, EventLabel), { Protocol::COUNT * EventLabel::COUNT }>,
    scrapes: Family<Protocol, { Protocol::COUNT }>,
    failures: Family<(Protocol, Failure), { Protocol::COUNT * Failure::COUNT }>,
    latency: [Histogram; Protocol::COUNT],
    udp_connects: Counter,
    udp_dropped: Family<Dropped, { Dropped::COUNT }>,
    http_answers: Family<(Page, AnswerClass), { Page::COUNT * AnswerClass::COUNT }>,
    http_closed: Family<Closed, { Closed::COUNT }>,
    http_restarts: Counter,
    http_abandoned: Counter,
    uploads: Family<Upload, { Upload::COUNT }>,
    bugs: Counter,
}

thread_local! {
    static STRIPE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The stripe of this thread: the threads take them in turns.
fn own_stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    STRIPE.get().unwrap_or_else(|| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
        STRIPE.set(Some(number));
        number
    })
}

impl Metrics {
    /// All are 0, and the tracker starts now.
    pub(crate) fn new() -> Self {
        Self { stripes: Box::new(array::from_fn(|_| Stripe::default())), started_s: Clock::wall_s() }
    }

    fn stripe(&self) -> &Stripe {
        let [first, ..] = &*self.stripes;
        self.stripes.get(own_stripe()).unwrap_or(first)
    }

    /// An announce was answered with peers.
    pub(crate) fn announced(&self, protocol: Protocol, event: impl Into<EventLabel>) {
        self.stripe().announces.add((protocol, event.into()));
    }

    /// So many announces, refused ones among them, were answered after so long.
    pub(crate) fn took(&self, protocol: Protocol, announces: u64, time: Duration) {
        if let Some(histogram) = self.stripe().latency.get(protocol.index()) {
            histogram.observe(time, announces);
        }
    }

    /// A scrape was asked for.
    pub(crate) fn scraped(&self, protocol: Protocol) {
        self.stripe().scrapes.add(protocol);
    }

    /// An announce or a scrape was answered with a failure.
    pub(crate) fn failed(&self, protocol: Protocol, reason: impl Into<Failure>) {
        self.stripe().failures.add((protocol, reason.into()));
    }

    /// A connection id was given.
    pub(crate) fn connected(&self) {
        self.stripe().udp_connects.add();
    }

    /// A packet got no answer.
    pub(crate) fn dropped(&self, reason: Dropped) {
        self.stripe().udp_dropped.add(reason);
    }

    /// An answer was sent over HTTP.
    pub(crate) fn answered(&self, page: impl Into<Page>, status: u16) {
        self.stripe().http_answers.add((page.into(), status.into()));
    }

    /// A connection was shut down by us, because of what its client does or because there are too many.
    pub(crate) fn closed(&self, reason: Closed) {
        self.stripe().http_closed.add(reason);
    }

    /// Accepting had ended, and was begun again.
    pub(crate) fn restarted(&self) {
        self.stripe().http_restarts.add();
    }

    /// A request was left behind with a thread and open files.
    pub(crate) fn abandoned(&self) {
        self.stripe().http_abandoned.add();
    }

    /// An upload was answered with this status.
    pub(crate) fn uploaded(&self, status: u16) {
        self.stripe().uploads.add(status.into());
    }

    /// A request was not answered because of a bug.
    pub(crate) fn bug(&self) {
        self.stripe().bugs.add();
    }

    /// The sum of a counter over all stripes.
    pub(crate) fn sum(&self, read: impl Fn(&Stripe) -> u64) -> u64 {
        self.stripes.iter().map(read).fold(0, u64::wrapping_add)
    }

    /// Announces answered with peers, over both protocols.
    pub(crate) fn announces(&self) -> u64 {
        self.sum(|stripe| stripe.announces.total())
    }

    /// Announces answered with peers over UDP.
    pub(crate) fn udp_announces(&self) -> u64 {
        let of = |stripe: &Stripe, event| stripe.announces.get((Protocol::Udp, event));
        self.sum(|stripe| EventLabel::ALL.iter().map(|event| of(stripe, *event)).sum())
    }

    /// Scrapes, over both protocols.
    pub(crate) fn scrapes(&self) -> u64 {
        self.sum(|stripe| stripe.scrapes.total())
    }

    /// Announces and scrapes answered with a failure, and uploads refused.
    pub(crate) fn refused(&self) -> u64 {
        self.sum(|stripe| {
            let accepted = stripe.uploads.get(Upload::New) + stripe.uploads.get(Upload::Known);
            stripe.failures.total() + stripe.uploads.total() - accepted
        })
    }

    /// Torrents published that were new.
    pub(crate) fn uploads(&self) -> u64 {
        self.sum(|stripe| stripe.uploads.get(Upload::New))
    }

    /// Connection ids given.
    pub(crate) fn udp_connects(&self) -> u64 {
        self.sum(|stripe| stripe.udp_connects.get())
    }

    /// Packets without an answer.
    pub(crate) fn udp_dropped(&self) -> u64 {
        self.sum(|stripe| stripe.udp_dropped.total())
    }
}
