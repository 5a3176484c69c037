//! When one torrent announces, to whom, and what: a state machine without clock, socket or thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use torrent_common::announce::Event;

use super::tiers::Tiers;

/// After the first round that no tracker answered; doubled after each more. Short: on a local network a tracker is
/// more often restarted than gone.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// Between rounds that no tracker answers, at the most.
const MAX_RETRY: Duration = Duration::from_secs(30 * 60);
/// For a tracker that names no interval.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30 * 60);
/// However long an interval a tracker names.
const MAX_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);
/// Between wanting peers again, for a tracker with a long interval that names no minimum.
const MAX_ASSUMED_MINIMUM: Duration = Duration::from_secs(5 * 60);
/// Added to an interval at the most, at random, so that torrents spread.
const MAX_JITTER: Duration = Duration::from_secs(60);
/// Peers asked for when we know none yet.
const NUMWANT_FIRST: u32 = 200;
/// Peers asked for later. By seeders too: those who cannot be dialled depend on being called by us.
const NUMWANT: u32 = 50;

/// One announce to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The tracker's URL.
    pub url: Arc<str>,
    /// Its host and port.
    pub host: Arc<str>,
    /// What to tell it.
    pub event: Event,
    /// What it named itself.
    pub tracker_id: Option<Vec<u8>>,
    /// How many peers to ask for.
    pub numwant: u32,
}

/// How an announce went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The tracker answered.
    Answered {
        /// The interval it named; zero if none.
        interval: Duration,
        /// The minimum it named.
        min_interval: Option<Duration>,
        /// What it named itself.
        tracker_id: Option<Vec<u8>>,
    },
    /// It said no, or nothing.
    Failed {
        /// It said no: not to be asked again soon.
        refused: bool,
    },
}

/// What [`Schedule::report`] led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Led {
    /// The announce was overtaken by events: its answer is not wanted.
    Nowhere,
    /// A tracker answered; the next announce is due after this.
    ToAnswer(Duration),
    /// The next tracker is to be asked now.
    ToNextTracker,
    /// No tracker answered; the next round begins after this.
    ToRetry(Duration),
}

/// The announces of one torrent.
#[derive(Debug, Clone)]
pub struct Schedule {
    tiers: Tiers,
    /// INTERVAL: between announces at the least.
    floor: Duration,
    deadline: Instant,
    /// No announce for more peers before this; `None` before the first answer.
    earliest: Option<Instant>,
    /// Rounds that failed since the last answer.
    failures: u32,
    /// A tracker of this round refused.
    refused: bool,
    /// `completed` is to be told.
    completed: bool,
    leaving: bool,
    asked: Option<Asked>,
}

#[derive(Debug, Clone)]
struct Asked {
    url: Arc<str>,
    event: Event,
    /// The torrent was added anew meanwhile.
    stale: bool,
}

impl Schedule {
    /// Announces `started` at `deadline`, then at the intervals named but never sooner than `floor`.
    pub fn new(tiers: Tiers, floor: Duration, deadline: Instant) -> Self {
        Self {
            tiers,
            floor,
            deadline,
            earliest: None,
            failures: 0,
            refused: false,
            completed: false,
            leaving: false,
            asked: None,
        }
    }

    /// Takes the place of `old`, of the same torrent, which may have an announce in flight: its answer is dropped.
    pub fn replacing(mut self, old: &Self) -> Self {
        self.asked = old.asked.clone().map(|asked| Asked { stale: true, ..asked });
        self
    }

    /// When [`Schedule::next`] is due; `None` while an announce is in flight, or when there is nobody to ask.
    pub fn deadline(&self) -> Option<Instant> {
        (self.asked.is_none() && self.target().is_some()).then_some(self.deadline)
    }

    /// Whether everybody who had to hear `stopped` was told, so that the torrent can be forgotten.
    pub fn is_over(&self) -> bool {
        self.leaving && self.asked.is_none() && self.tiers.knowing().is_none()
    }

    /// The announce that is due. To be called at the deadline.
    pub fn next(&self) -> Option<Request> {
        let tracker = self.target().filter(|_| self.asked.is_none())?;
        let (event, numwant) = match () {
            () if self.leaving => (Event::Stopped, 0),
            () if !tracker.knows_us => (Event::Started, NUMWANT_FIRST),
            () if self.completed => (Event::Completed, NUMWANT),
            () => (Event::None, NUMWANT),
        };
        let (url, host) = (Arc::clone(&tracker.url), Arc::clone(&tracker.host));
        Some(Request { url, host, event, tracker_id: tracker.id.clone(), numwant })
    }

    /// `request`, from [`Schedule::next`], is being made: [`Schedule::report`] follows.
    pub fn asked(&mut self, request: &Request) {
        self.asked = Some(Asked { url: Arc::clone(&request.url), event: request.event, stale: false });
    }

    /// How the announce in flight went.
    pub fn report(&mut self, outcome: Outcome, now: Instant, random: &mut fastrand::Rng) -> Led {
        let Some(asked) = self.asked.take().filter(|asked| !asked.stale) else { return Led::Nowhere };
        if asked.event == Event::Stopped {
            // Told once: a tracker that did not hear it forgets us by itself.
            self.set_known(&asked.url, false);
            return Led::Nowhere;
        }
        match outcome {
            Outcome::Answered { interval, min_interval, tracker_id } => {
                if let Some(tracker) = self.tiers.find(&asked.url)
                    && tracker_id.is_some()
                {
                    tracker.id = tracker_id;
                }
                self.answered(&asked, interval, min_interval, now, random)
            }
            Outcome::Failed { .. } if self.leaving => Led::Nowhere,
            Outcome::Failed { refused } => self.failed(refused, now, random),
        }
    }

    /// The torrent has become a seeder.
    pub fn complete(&mut self, now: Instant) {
        if self.asked.as_ref().is_some_and(|asked| asked.event == Event::Completed && !asked.stale) {
            return;
        }
        self.completed = true;
        if self.failures == 0 && self.earliest.is_some() {
            self.deadline = now;
        }
    }

    /// The torrent would like more peers before the deadline.
    pub fn want_peers(&mut self, now: Instant) {
        if let Some(earliest) = self.earliest
            && self.failures == 0
        {
            self.deadline = self.deadline.min(earliest.max(now));
        }
    }

    /// The torrent stops: tells whom it must, then [`Schedule::is_over`].
    pub fn leave(&mut self, now: Instant) {
        self.leaving = true;
        self.deadline = now;
    }

    fn target(&self) -> Option<&super::tiers::Tracker> {
        if self.leaving { self.tiers.knowing() } else { self.tiers.next() }
    }

    fn set_known(&mut self, url: &str, known: bool) {
        if let Some(tracker) = self.tiers.find(url) {
            tracker.knows_us = known;
        }
    }

    fn answered(
        &mut self,
        asked: &Asked,
        interval: Duration,
        min_interval: Option<Duration>,
        now: Instant,
        random: &mut fastrand::Rng,
    ) -> Led {
        self.set_known(&asked.url, true);
        self.tiers.answered(&asked.url);
        self.failures = 0;
        self.refused = false;
        if asked.event == Event::Completed {
            self.completed = false;
        }
        let interval = if interval.is_zero() { DEFAULT_INTERVAL } else { interval.min(MAX_INTERVAL) };
        let minimum = min_interval.unwrap_or_else(|| (interval / 2).min(MAX_ASSUMED_MINIMUM));
        let minimum = minimum.min(MAX_INTERVAL).max(self.floor);
        let interval = interval.max(minimum);
        let wait = interval + (interval / 10).min(MAX_JITTER).mul_f64(random.f64());
        self.earliest = Some(now + minimum);
        self.deadline = if self.completed || self.leaving { now } else { now + wait };
        Led::ToAnswer(wait)
    }

    fn failed(&mut self, refused: bool, now: Instant, random: &mut fastrand::Rng) -> Led {
        self.refused |= refused;
        if !self.tiers.failed() {
            self.deadline = now;
            return Led::ToNextTracker;
        }
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let mut wait = (FIRST_RETRY * (1 << doublings)).min(MAX_RETRY);
        if std::mem::take(&mut self.refused) {
            wait = wait.max(self.floor);
        }
        let wait = wait.mul_f64(0.75 + 0.25 * random.f64());
        self.deadline = now + wait;
        Led::ToRetry(wait)
    }
}

#[cfg(test)]
mod tests;
