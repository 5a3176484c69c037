//! The announces of all torrents: what is due next, with so many in flight per tracker at most, so that one which does
//! not answer leaves threads for the others. Pure, like [`schedule`](super::schedule).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use torrent_common::announce::AnnounceResponse;
use torrent_common::ids::InfoHash;

use super::schedule::{Led, Outcome, Request, Schedule};
use super::tiers::Tiers;
use super::words::{self, Line, Told};
use super::{AnnounceTarget, Transfer};

/// Between the first announces of torrents added with `spread`.
const SPREAD_STEP: Duration = Duration::from_millis(5);
/// A connection is kept for an announce that is due within this time: a new one costs both sides more than the announce.
const SOON: Duration = Duration::from_secs(1);
/// Names of trackers remembered, so that torrents share them.
const MAX_NAMES: usize = 32;
/// Hosts remembered only because they failed.
const MAX_IDLE_HOSTS: usize = 1000;

/// An announce to be made now.
#[derive(Debug, Clone)]
pub struct Task {
    /// For which torrent.
    pub info_hash: InfoHash,
    /// To whom, and what.
    pub request: Request,
    /// The counters to tell.
    pub transfer: Arc<Transfer>,
    /// More announces are due: keep the connection.
    pub more: bool,
}

/// What [`Queue::next`] says.
#[derive(Debug)]
pub enum Next {
    /// Make this announce, then [`Queue::report`] it.
    Task(Task),
    /// Nothing is due before this, unless something is added or reported; `None`: nothing at all.
    Wait(Option<Instant>),
}

/// See the module.
#[derive(Debug)]
pub struct Queue {
    floor: Duration,
    in_flight_per_host: usize,
    random: fastrand::Rng,
    /// Addresses and hosts of trackers, the last used first.
    names: VecDeque<Arc<str>>,
    torrents: HashMap<InfoHash, Torrent>,
    /// The deadlines of the torrents that are [`Place::Planned`].
    planned: BTreeSet<(Instant, InfoHash)>,
    hosts: HashMap<Arc<str>, Host>,
    /// Hosts that torrents are queued for and that may be asked again.
    ready: BTreeSet<Arc<str>>,
    /// When the last torrent added with `spread` is announced.
    last_spread: Option<Instant>,
    closing: bool,
}

#[derive(Debug)]
struct Torrent {
    schedule: Schedule,
    transfer: Arc<Transfer>,
    place: Place,
    message: Option<String>,
    warned: bool,
}

/// Where a torrent waits.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// For its deadline.
    Planned(Instant),
    /// For an announce of another torrent to this host.
    Queued(Arc<str>),
    /// For the answer to its announce.
    InFlight,
    /// For nothing: no usable tracker.
    Idle,
}

#[derive(Debug, Default)]
struct Host {
    in_flight: usize,
    queued: VecDeque<InfoHash>,
    /// The last announce to it failed.
    failing: bool,
}

impl Queue {
    /// An empty queue: at least `floor` between announces of a torrent, at most `in_flight_per_host` at once.
    pub fn new(floor: Duration, in_flight_per_host: usize, random: fastrand::Rng) -> Self {
        Self {
            floor,
            in_flight_per_host,
            random,
            names: VecDeque::new(),
            torrents: HashMap::new(),
            planned: BTreeSet::new(),
            hosts: HashMap::new(),
            ready: BTreeSet::new(),
            last_spread: None,
            closing: false,
        }
    }

    /// See [`Announcer::add`](super::Announcer::add). The log line says which trackers are not usable.
    pub fn add(&mut self, target: &AnnounceTarget, spread: bool, now: Instant) -> Told {
        if self.closing {
            return Told::default();
        }
        let (tiers, unusable) = Tiers::sharing(&target.tiers, &mut self.random, &mut self.names);
        self.names.truncate(MAX_NAMES);
        let is_usable = tiers.next().is_some();
        let mut schedule = Schedule::new(tiers, self.floor, self.first_deadline(spread, now));
        let old = self.take(&target.info_hash);
        let is_in_flight = old.as_ref().is_some_and(|old| old.place == Place::InFlight);
        if let Some(old) = old {
            schedule = schedule.replacing(&old.schedule);
        }
        let (message, line) = words::unusable(target.info_hash, &unusable, is_usable).unzip();
        let place = if is_in_flight { Place::InFlight } else { Place::Idle };
        let transfer = Arc::clone(&target.transfer);
        self.torrents.insert(target.info_hash, Torrent { schedule, transfer, place, message, warned: false });
        self.plan(target.info_hash);
        Told { answer: None, line }
    }

    /// See [`Announcer::completed`](super::Announcer::completed).
    pub fn completed(&mut self, info_hash: InfoHash, now: Instant) {
        self.change(info_hash, |schedule| schedule.complete(now));
    }

    /// See [`Announcer::want_peers`](super::Announcer::want_peers).
    pub fn want_peers(&mut self, info_hash: InfoHash, now: Instant) {
        self.change(info_hash, |schedule| schedule.want_peers(now));
    }

    /// See [`Announcer::remove`](super::Announcer::remove).
    pub fn remove(&mut self, info_hash: InfoHash, now: Instant) {
        // It may be queued for a tracker that has nothing to hear from it any more.
        if let Some(torrent) = self.take(&info_hash) {
            self.torrents.insert(info_hash, torrent);
            self.change(info_hash, |schedule| schedule.leave(now));
        }
    }

    /// Removes every torrent; from now on a host that fails once is not asked again.
    pub fn close(&mut self, now: Instant) {
        self.closing = true;
        for host in self.hosts.values_mut() {
            host.failing = false;
            host.queued.clear();
        }
        let all: Vec<InfoHash> = self.torrents.keys().copied().collect();
        for info_hash in all {
            self.remove(info_hash, now);
        }
    }

    /// Whether the torrent was added and not removed.
    pub fn knows(&self, info_hash: InfoHash) -> bool {
        self.torrents.contains_key(&info_hash)
    }

    /// What the torrent's tracker said last.
    pub fn message(&self, info_hash: InfoHash) -> Option<&str> {
        self.torrents.get(&info_hash)?.message.as_deref()
    }

    /// When the first of the torrents that wait for their time is due.
    pub fn earliest(&self) -> Option<Instant> {
        self.planned.first().map(|&(deadline, _)| deadline)
    }

    /// The next announce that is due, if there is one.
    pub fn next(&mut self, now: Instant) -> Next {
        while let Some(info_hash) = self.pop_queued() {
            if let Some(task) = self.dispatch(info_hash, now) {
                return Next::Task(task);
            }
        }
        loop {
            let Some(&(deadline, info_hash)) = self.planned.first() else { return Next::Wait(None) };
            if deadline > now {
                return Next::Wait(Some(deadline));
            }
            self.planned.pop_first();
            if let Some(task) = self.dispatch(info_hash, now) {
                return Next::Task(task);
            }
        }
    }

    /// A torrent that was queued for a host which may be asked again.
    fn pop_queued(&mut self) -> Option<InfoHash> {
        while let Some(name) = self.ready.first() {
            if let Some(host) = self.hosts.get_mut(name)
                && host.in_flight < self.in_flight_per_host
                && let Some(info_hash) = host.queued.pop_front()
            {
                return Some(info_hash);
            }
            self.ready.pop_first();
        }
        None
    }

    /// Makes a task of a torrent that was just taken from where it waited, or puts it elsewhere.
    fn dispatch(&mut self, info_hash: InfoHash, now: Instant) -> Option<Task> {
        let torrent = self.torrents.get_mut(&info_hash)?;
        torrent.place = Place::Idle;
        let request = torrent.schedule.next()?;
        let host = self.hosts.entry(Arc::clone(&request.host)).or_default();
        if self.closing && host.failing {
            torrent.schedule.asked(&request);
            torrent.schedule.report(Outcome::Failed { refused: false }, now, &mut self.random);
            self.plan(info_hash);
            return None;
        }
        if host.in_flight >= self.in_flight_per_host {
            torrent.place = Place::Queued(Arc::clone(&request.host));
            host.queued.push_back(info_hash);
            return None;
        }
        host.in_flight += 1;
        torrent.schedule.asked(&request);
        torrent.place = Place::InFlight;
        let (queued, transfer) = (!host.queued.is_empty(), Arc::clone(&torrent.transfer));
        let more = queued || self.is_asked_soon(&request.host, now);
        Some(Task { info_hash, request, transfer, more })
    }

    /// Whether the next announce is due soon, and to this host.
    fn is_asked_soon(&self, host: &str, now: Instant) -> bool {
        let soon = self.planned.first().filter(|(deadline, _)| *deadline <= now + SOON);
        let next = soon.and_then(|(_, info_hash)| self.torrents.get(info_hash)?.schedule.next());
        next.is_some_and(|next| *next.host == *host)
    }

    /// How a task of [`Queue::next`] went.
    pub fn report(&mut self, task: &Task, result: words::Result, now: Instant) -> Told {
        let mut told = Told { line: self.free_host(task, &result), answer: None };
        if let Some(torrent) = self.torrents.get_mut(&task.info_hash) {
            torrent.place = Place::Idle;
            let led = torrent.schedule.report(words::outcome_of(&result), now, &mut self.random);
            if led != Led::Nowhere {
                torrent.message = Some(words::describe(&task.request.host, &result));
                if let Ok(AnnounceResponse { warning: Some(warning), .. }) = &result
                    && !std::mem::replace(&mut torrent.warned, true)
                {
                    told.line.get_or_insert(words::warning_line(task, warning));
                }
            }
            told.answer = words::answer_of(task, led, result);
        }
        self.plan(task.info_hash);
        told
    }

    /// One announce to the task's host less is in flight. Says so when the host begins or ends to fail.
    fn free_host(&mut self, task: &Task, result: &words::Result) -> Option<Line> {
        let host = self.hosts.get_mut(&task.request.host)?;
        host.in_flight = host.in_flight.saturating_sub(1);
        let is_failing = result.as_ref().is_err_and(|failure| !failure.refused);
        let was_failing = std::mem::replace(&mut host.failing, is_failing);
        if !host.queued.is_empty() {
            self.ready.insert(Arc::clone(&task.request.host));
        } else if host.in_flight == 0 && !host.failing {
            self.hosts.remove(&task.request.host);
        }
        if self.hosts.len() > MAX_IDLE_HOSTS {
            self.hosts.retain(|_, host| host.in_flight > 0 || !host.queued.is_empty());
        }
        words::host_line(task, was_failing, result)
    }

    fn first_deadline(&mut self, spread: bool, now: Instant) -> Instant {
        if !spread {
            return now;
        }
        let deadline = self.last_spread.map_or(now, |last| now.max(last + SPREAD_STEP));
        self.last_spread = Some(deadline);
        deadline
    }

    fn change(&mut self, info_hash: InfoHash, change: impl FnOnce(&mut Schedule)) {
        if let Some(torrent) = self.torrents.get_mut(&info_hash) {
            change(&mut torrent.schedule);
            self.plan(info_hash);
        }
    }

    /// Takes a torrent out, from wherever it waits.
    fn take(&mut self, info_hash: &InfoHash) -> Option<Torrent> {
        let mut torrent = self.torrents.remove(info_hash)?;
        match &torrent.place {
            Place::Planned(deadline) => {
                self.planned.remove(&(*deadline, *info_hash));
            }
            Place::Queued(host) => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.queued.retain(|queued| queued != info_hash);
                }
            }
            Place::InFlight | Place::Idle => return Some(torrent),
        }
        torrent.place = Place::Idle;
        Some(torrent)
    }

    /// Puts a torrent where its schedule says; forgets it when that is over.
    fn plan(&mut self, info_hash: InfoHash) {
        let Some(torrent) = self.torrents.get_mut(&info_hash) else { return };
        if torrent.schedule.is_over() {
            self.take(&info_hash);
            return;
        }
        if matches!(torrent.place, Place::InFlight | Place::Queued(_)) {
            return;
        }
        if let Place::Planned(deadline) = torrent.place {
            self.planned.remove(&(deadline, info_hash));
        }
        torrent.place = match torrent.schedule.deadline() {
            Some(deadline) => {
                self.planned.insert((deadline, info_hash));
                Place::Planned(deadline)
            }
            None => Place::Idle,
        };
    }
}

#[cfg(test)]
mod tests;
