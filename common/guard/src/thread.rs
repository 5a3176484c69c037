//! The guard's thread. Without connections it sleeps until one comes; otherwise it wakes twice a second, and whenever
//! this process has worked for a while.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use torrent_common::worker::Worker;

use crate::accepting::{Acceptance, Nudger, is_waiting};
use crate::alarm::Alarm;
use crate::census::Census;
use crate::gate::{Barred, Gate};
use crate::guard::{Notice, Notices};
use crate::reading::Reading;
use crate::roll::Roll;
use crate::sockets::Sockets;
use crate::wear::Wear;
use crate::{Guarded, Reason};

/// How often connections are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// The same while connections wait to be accepted, and after the first one came.
const SOON: Duration = Duration::from_millis(50);
/// Processor time of this process after which they are looked at again. A processor makes up to 0.6 GB/s out of request
/// heads: this is 6 MB.
const WORK: Duration = Duration::from_millis(10);
/// The same where connections are so many that looking at all of them takes long, and not [`SOME`] more than before.
const LONG_WORK: Duration = Duration::from_millis(25);
/// The longest, whatever there is to be looked at.
const MAX_WORK: Duration = Duration::from_millis(100);
/// So many.
const MANY: usize = 200;
const SOME: usize = 20;
/// Processor time for each descriptor that is not a connection of ours: of what this process does, looking at all of them
/// is a few hundredths.
const WORK_PER_OTHER: Duration = Duration::from_micros(100);
/// So many times as long may it work where there is no connection, as far as is known: then one that comes wakes the guard
/// by itself, nearly always.
const QUIET: u32 = 5;
/// How often they are looked at where nobody counts processor time.
const TICK: Duration = Duration::from_millis(20);
/// How often connections are looked for that tiny_http has accepted and forgotten.
const NUDGE: Duration = Duration::from_secs(1);
/// Connections that there is room for from the start.
const MAX_ROOM: usize = 1 << 12;
/// What the guard's thread has ahead of others, where it may: as root, or with `LimitNICE=`.
const PRIORITY: i32 = -15;
/// How often it is said at most that connections were closed.
const REPORT: Duration = Duration::from_secs(60);

/// The guard's thread, and its helper.
#[derive(Debug)]
pub struct Patrol(Worker);

impl Patrol {
    /// Begins to look.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread.
    pub fn start<H: Guarded>(host: &Arc<H>, Notices(notices): Notices) -> io::Result<Self> {
        let (host, nudger) = (Arc::clone(host), Nudger::start(H::NAME, host.listener())?);
        let name = format!("{}-guard", H::NAME);
        Ok(Self(Worker::spawn(name, move || run(&host, &notices, nudger))?))
    }

    /// Waits for its end, after [`crate::Guard::stop`].
    pub fn join(self) {
        self.0.join();
    }
}

/// What the thread knows.
struct Watchman<'a, H: Guarded> {
    host: &'a Arc<H>,
    alarm: Option<Alarm>,
    roll: Roll,
    /// How many were on it at the last look.
    count: usize,
    gate: Gate,
    census: Census,
    acceptance: Acceptance,
    watched: Vec<(usize, Instant, Arc<TcpStream>)>,
    readings: Vec<Reading>,
    /// None while there are no connections.
    next_look: Option<Instant>,
    next_nudge: Instant,
    nudger: Nudger,
    wear: Wear,
    /// Connections that tiny_http will never let go of.
    stuck: usize,
    next_thorough: Instant,
    closed: HashMap<Reason, usize>,
    next_report: Instant,
}

/// Runs until it is told to stop.
fn run<H: Guarded>(host: &Arc<H>, notices: &Receiver<Notice>, nudger: Nudger) {
    // Where hundreds of threads read what strangers send, one that is no more than they waits for all of them.
    prefer_this_thread();
    let alarm = Alarm::every(WORK);
    if let Err(error) = &alarm {
        log::debug!("processor time is not counted ({error}): connections are looked at all the time");
    }
    let now = Instant::now();
    let room = (2 * host.guard().limits.connections).min(MAX_ROOM);
    let mut this = Watchman {
        host,
        alarm: alarm.ok(),
        roll: Roll::with_room(room),
        count: 0,
        gate: Gate::new(),
        census: Census::with_room(room),
        acceptance: Acceptance::of(host.listener()),
        watched: Vec::new(),
        readings: Vec::new(),
        next_look: Some(now + SOON),
        next_nudge: now + NUDGE,
        nudger,
        wear: Wear::new(now),
        stuck: 0,
        next_thorough: now,
        closed: HashMap::new(),
        next_report: now,
    };
    loop {
        let has_rung = this.wait();
        loop {
            match notices.try_recv() {
                Ok(Notice::Stop) | Err(TryRecvError::Disconnected) => {
                    // Or threads of this process could not connect to it to be woken.
                    this.gate.set(host.listener(), Barred::default(), Instant::now());
                    return this.nudger.stop();
                }
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
            host.closed(Reason::Deadline);
        }
        if has_rung || !host.guard().doomed.1.is_empty() || this.next_look.is_some_and(|at| at <= now) {
            this.look(now, has_rung);
        }
        if this.acceptance.is_due(now) {
            this.acceptance.renew(host, &this.nudger);
        }
        this.look_at_wear(now);
    }
}

impl<H: Guarded> Watchman<'_, H> {
    /// Sleeps until there is something to do. True if this process has worked, or a connection came after there was none.
    fn wait(&mut self) -> bool {
        let deadlines = self.watched.iter().map(|(_, deadline, _)| *deadline);
        let is_stopping = self.host.is_stopping();
        let wear = self.wear.due(self.lost()).filter(|_| !is_stopping);
        let until = deadlines.chain(self.acceptance.due()).chain(self.next_look).chain(wear).min();
        let timeout =
            until.and_then(|until| Timespec::try_from(until.saturating_duration_since(Instant::now())).ok());
        let mut descriptors = vec![PollFd::new(&self.host.guard().bell, PollFlags::IN)];
        descriptors.extend(self.alarm.as_ref().map(|alarm| PollFd::new(alarm, PollFlags::IN)));
        // Then nobody comes any more, and a listening socket that was shut down is ready for ever.
        let may_come = self.next_look.is_none() && !is_stopping;
        if may_come {
            descriptors.push(PollFd::from_borrowed_fd(self.host.listener().as_fd(), PollFlags::IN));
        }
        if let Err(error) = poll(&mut descriptors, timeout.as_ref())
            && error != rustix::io::Errno::INTR
        {
            log::error!("the guard cannot sleep: {error}");
            std::thread::sleep(SOON);
        }
        drop(descriptors);
        let _ = rustix::io::read(&self.host.guard().bell, &mut [0; 8]);
        if may_come && is_waiting(self.host.listener()) {
            self.next_look = Some(Instant::now() + SOON);
        }
        self.alarm.as_ref().is_some_and(Alarm::has_rung)
    }

    /// Looks at everything. `is_working`: this process was at work.
    fn look(&mut self, now: Instant, is_working: bool) {
        let guard = self.host.guard();
        let mut is_barred = false;
        if let Some(sockets) = &guard.sockets {
            self.look_at_connections(sockets, now);
            is_barred = self.set_gate(now);
            self.set_alarm(now, is_working && !is_barred);
            self.stuck = self.roll.count_stuck(now);
            let is_wanted = self.host.has_waiting_bodies();
            self.readings.retain_mut(|reading| {
                let is_slow = reading.look(now, is_wanted);
                if is_slow {
                    self.host.closed(Reason::Deadline);
                }
                !is_slow
            });
        }
        let is_waiting = is_waiting(self.host.listener());
        self.acceptance.look(&**self.host, is_waiting, now);
        let is_quiet = guard.sockets.is_some() && !self.roll.has_news(now);
        if !is_quiet && self.next_nudge <= now && !is_waiting {
            self.nudger.nudge();
            self.next_nudge = now + NUDGE;
        }
        self.next_look = match () {
            () if is_barred => Some(now + TICK),
            () if is_waiting => Some(now + SOON),
            () if is_quiet => None,
            () if self.alarm.is_none() => Some(now + TICK),
            () => Some(now + LOOK),
        };
        self.report(now);
    }

    /// Looks at every connection, and closes those that have to go, and the doomed.
    fn look_at_connections(&mut self, sockets: &Sockets, now: Instant) {
        let guard = self.host.guard();
        let is_thorough = self.next_thorough <= now;
        if is_thorough {
            self.next_thorough = now + LOOK;
        }
        let noted = guard.in_work.note();
        let has_work = (!noted.is_idle()).then_some(|peer: &SocketAddr| noted.is_busy(peer));
        let census = &mut self.census;
        census.begin();
        let is_complete = self.roll.call(sockets, is_thorough, has_work, now, |cookie, peer, traffic| {
            census.see(cookie, peer, traffic, noted.of(&peer), now);
        });
        if is_complete {
            census.end();
        } else {
            guard.has_descriptors(H::NAME, |reason| self.host.closed(reason));
        }
        for doomed in guard.doomed.1.try_iter() {
            if let Some(cookie) = self.roll.of_peer(&doomed) {
                self.roll.close(cookie, true, now);
            }
        }
        self.close(now);
    }

    /// True if somebody is kept out.
    fn set_gate(&mut self, now: Instant) -> bool {
        let barred = if self.roll.len(now) > self.host.guard().limits.kept() || self.host.is_behind() {
            Barred::Everybody
        } else {
            let host = self.host;
            // Behind a proxy are many who did nothing.
            Barred::from(self.roll.guilty(now).filter(|ip| !host.is_shared(*ip)))
        };
        self.gate.set(self.host.listener(), barred, now);
        !self.gate.is_open()
    }

    fn set_alarm(&mut self, now: Instant, may_pause: bool) {
        let count = self.roll.len(now);
        let before = std::mem::replace(&mut self.count, count);
        if let Some(alarm) = &mut self.alarm {
            // To accept a connection takes little: a long pause is for those that are known, and work.
            let is_calm = may_pause && count < before + SOME;
            let work = if is_calm && count > MANY { LONG_WORK } else { WORK };
            let others = u32::try_from(self.roll.others()).unwrap_or(u32::MAX);
            let costs = WORK_PER_OTHER.saturating_mul(others).min(MAX_WORK);
            let is_quiet = costs > WORK && !self.roll.has_news(now);
            alarm.set(if is_quiet { QUIET * costs } else { work.max(costs) });
        }
    }

    fn close(&mut self, now: Instant) {
        let Self { host, roll, census, closed, .. } = self;
        let guard = host.guard();
        // Whose request ends does so for the guard first: asked in this order, neither can be missed.
        let has_more = |peer: &SocketAddr, is_busy: bool| {
            !is_busy && host.is_answering(peer) || guard.in_work.has_ended_since(peer)
        };
        census.doom(&guard.limits, now, has_more, |cookie, reason| {
            roll.close(cookie, reason == Reason::Long, now);
            host.closed(reason);
            *closed.entry(reason).or_default() += 1;
        });
    }

    /// Threads that are lost, each with a connection: of requests left behind, and of those that tiny_http is stuck with.
    fn lost(&self) -> usize {
        self.host.guard().count_abandoned().max(self.stuck)
    }

    /// Asks for a new beginning when too much was lost.
    fn look_at_wear(&mut self, now: Instant) {
        let lost = self.lost();
        if self.wear.take_due(lost, now) {
            self.host.worn(lost);
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
            let shut = self.gate.take_count();
            log::warn!(
                "{}: connections closed: {long} with long requests, {slow} with slow ones, {many} because there were too many; new ones from such addresses had to wait {shut} times",
                H::NAME
            );
            self.next_report = now + REPORT;
        }
    }
}

/// Gives the calling thread its turn before others, where that is allowed.
pub fn prefer_this_thread() {
    if let Err(error) = rustix::process::setpriority_process(None, PRIORITY) {
        log::debug!("a thread's priority stays as it is: {error}");
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
