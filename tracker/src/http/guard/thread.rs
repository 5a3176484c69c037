//! The guard's thread. Without connections it sleeps until one comes; otherwise it wakes twice a second, and whenever
//! this process has worked for a while.

use std::collections::{HashMap, HashSet};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_cookie;

use super::Notice;
use super::accepting::{Acceptance, Nudger, is_waiting};
use super::alarm::Alarm;
use super::census::{Census, Reason};
use super::reading::Reading;
use super::roll::Roll;
use super::stuck::Stuck;
use super::wear::Wear;
use crate::http::Inner;
use crate::metrics::labels::Closed;

/// How often connections are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// The same while connections wait to be accepted, and after the first one came.
const SOON: Duration = Duration::from_millis(50);
/// Processor time of this process after which they are looked at again. A processor makes up to 0.6 GB/s out of request
/// heads: this is 15 MB.
const WORK: Duration = Duration::from_millis(25);
/// How often they are looked at where nobody counts processor time.
const TICK: Duration = Duration::from_millis(20);
/// How often connections are looked for that tiny_http has accepted and forgotten.
const NUDGE: Duration = Duration::from_secs(1);
/// What the guard's thread has ahead of others, where it may: as root, or with `LimitNICE=`.
const PRIORITY: i32 = -15;
/// How often it is said at most that connections were closed.
const REPORT: Duration = Duration::from_secs(60);

/// What the thread knows.
struct Watchman<'a> {
    inner: &'a Arc<Inner>,
    alarm: Option<Alarm>,
    roll: Roll,
    census: Census,
    acceptance: Acceptance,
    watched: Vec<(usize, Instant, Arc<TcpStream>)>,
    readings: Vec<Reading>,
    /// None while there are no connections.
    next_look: Option<Instant>,
    next_nudge: Instant,
    nudger: Nudger,
    wear: Wear,
    stuck: Stuck,
    closed: HashMap<Reason, usize>,
    next_report: Instant,
}

/// Runs until it is told to stop.
pub(in crate::http) fn run(inner: &Arc<Inner>, notices: &Receiver<Notice>, nudger: Nudger) {
    // Where hundreds of threads read what strangers send, one that is no more than they waits for all of them.
    if let Err(error) = rustix::process::setpriority_process(None, PRIORITY) {
        log::debug!("the guard's priority stays as it is: {error}");
    }
    let alarm = Alarm::every(WORK);
    if let Err(error) = &alarm {
        log::debug!("processor time is not counted ({error}): connections are looked at all the time");
    }
    let now = Instant::now();
    let mut this = Watchman {
        inner,
        alarm: alarm.ok(),
        roll: Roll::default(),
        census: Census::default(),
        acceptance: Acceptance::default(),
        watched: Vec::new(),
        readings: Vec::new(),
        next_look: Some(now + SOON),
        next_nudge: now + NUDGE,
        nudger,
        wear: Wear::new(now),
        stuck: Stuck::default(),
        closed: HashMap::new(),
        next_report: now,
    };
    loop {
        let has_rung = this.wait();
        loop {
            match notices.try_recv() {
                Ok(Notice::Stop) | Err(TryRecvError::Disconnected) => return this.nudger.stop(),
                Ok(Notice::Watch(number, deadline, stream)) => this.watched.push((number, deadline, stream)),
                Ok(Notice::Reading(number, stream)) => {
                    this.readings.push(Reading::new(number, stream, Instant::now()));
                }
                Ok(Notice::Read(number)) => this.readings.retain(|reading| reading.number() != number),
                Ok(Notice::Done(number)) => {
                    this.watched.retain(|(other, ..)| *other != number);
                    this.readings.retain(|reading| reading.number() != number);
                }
                Ok(Notice::AcceptEnded) => this.acceptance.ended(Instant::now()),
                Err(TryRecvError::Empty) => break,
            }
        }
        let now = Instant::now();
        for _ in 0..hang_up_late(&mut this.watched, now) {
            inner.shared.metrics.closed(Closed::Deadline);
        }
        let doomed = inner.guard.take_doomed();
        if has_rung || !doomed.is_empty() || this.next_look.is_some_and(|at| at <= now) {
            this.look(now, &doomed);
        }
        if this.acceptance.is_due(now) {
            this.acceptance.renew(inner);
        }
        this.look_at_wear(now);
    }
}

impl Watchman<'_> {
    /// Sleeps until there is something to do. True if this process has worked, or a connection came after there was none.
    fn wait(&mut self) -> bool {
        let deadlines = self.watched.iter().map(|(_, deadline, _)| *deadline);
        let wear = self.wear.due(self.lost());
        let until = deadlines.chain(self.acceptance.due()).chain(self.next_look).chain(wear).min();
        let timeout =
            until.and_then(|until| Timespec::try_from(until.saturating_duration_since(Instant::now())).ok());
        let mut descriptors = vec![PollFd::new(&self.inner.guard.bell, PollFlags::IN)];
        descriptors.extend(self.alarm.as_ref().map(|alarm| PollFd::new(alarm, PollFlags::IN)));
        if self.next_look.is_none() {
            descriptors.push(PollFd::from_borrowed_fd(self.inner.listener.as_fd(), PollFlags::IN));
        }
        if let Err(error) = poll(&mut descriptors, timeout.as_ref())
            && error != rustix::io::Errno::INTR
        {
            log::error!("the guard cannot sleep: {error}");
            std::thread::sleep(SOON);
        }
        drop(descriptors);
        let _ = rustix::io::read(&self.inner.guard.bell, &mut [0; 8]);
        if self.next_look.is_none() && is_waiting(self.inner) {
            self.next_look = Some(Instant::now() + SOON);
        }
        self.alarm.as_ref().is_some_and(Alarm::has_rung)
    }

    /// Looks at every connection, and closes those that have to go, and the `doomed`.
    fn look(&mut self, now: Instant, doomed: &HashSet<SocketAddr>) {
        let guard = &self.inner.guard;
        if let Some(sockets) = &guard.sockets {
            let busy = guard.busy.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let census = &mut self.census;
            census.begin();
            let is_complete = self.roll.call(sockets, |cookie, peer, traffic| {
                census.see(cookie, peer, traffic, busy.get(&peer).copied(), now);
            });
            if is_complete {
                census.end();
            } else {
                self.acceptance.short(now);
                guard.has_descriptors(&self.inner.shared.metrics);
            }
            if !doomed.is_empty() {
                self.roll.of_peers(doomed).into_iter().for_each(|cookie| self.roll.close(cookie));
            }
            self.close(now);
            self.stuck.look(sockets, socket_cookie(&self.inner.listener).ok(), now);
            let is_wanted = self.inner.bodies.has_waiting();
            self.readings.retain_mut(|reading| {
                let is_slow = reading.look(now, is_wanted);
                if is_slow {
                    self.inner.shared.metrics.closed(Closed::Deadline);
                }
                !is_slow
            });
        }
        let is_waiting = is_waiting(self.inner);
        self.acceptance.look(self.inner, is_waiting, self.census.newcomers(), now);
        let is_quiet = guard.sockets.is_some() && self.census.len() == 0;
        if !is_quiet && self.next_nudge <= now && !is_waiting {
            self.nudger.nudge();
            self.next_nudge = now + NUDGE;
        }
        self.next_look = match () {
            () if is_waiting => Some(now + SOON),
            () if is_quiet => None,
            () if self.alarm.is_none() => Some(now + TICK),
            () => Some(now + LOOK),
        };
        self.report(now);
    }

    fn close(&mut self, now: Instant) {
        let inner = self.inner;
        let is_answering = |peer: &SocketAddr| inner.turns.has(peer);
        let doomed = self.census.doomed(&inner.guard.limits, now, is_answering);
        for (cookie, reason) in doomed {
            self.roll.close(cookie);
            inner.shared.metrics.closed(match reason {
                Reason::Long => Closed::LongHead,
                Reason::Slow => Closed::SlowHead,
                Reason::Silent => Closed::Idle,
                Reason::TooMany => Closed::TooMany,
            });
            *self.closed.entry(reason).or_default() += 1;
        }
    }

    /// Threads that are lost, each with a connection: of requests left behind, and of those that tiny_http is stuck with.
    fn lost(&self) -> usize {
        self.inner.guard.count_abandoned().max(self.stuck.count())
    }

    /// Asks for a new beginning when too much was lost.
    fn look_at_wear(&mut self, now: Instant) {
        let (guard, lost) = (&self.inner.guard, self.lost());
        if self.wear.take_due(lost, now) {
            log::warn!(
                "{lost} requests that tiny_http cannot be rid of were left behind, each with a thread and open files: time to begin anew"
            );
            if let Some(call) = guard.worn.get() {
                call();
            }
        }
    }

    /// Says what was closed: a line a minute at most, whatever strangers do.
    fn report(&mut self, now: Instant) {
        if self.closed.is_empty() || now < self.next_report {
            return;
        }
        let mut count = |reason| self.closed.remove(&reason).unwrap_or(0);
        let (long, slow, many) = (count(Reason::Long), count(Reason::Slow), count(Reason::TooMany));
        self.closed.clear();
        if long + slow + many > 0 {
            log::warn!(
                "connections closed: {long} with long requests, {slow} with slow ones, {many} because there were too many"
            );
            self.next_report = now + REPORT;
        }
    }
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
