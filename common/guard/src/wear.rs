//! What is lost for good, and when that is enough to begin anew.
//!
//! A request that must not be dropped (see [`super::Guard::discard`]) takes a thread of tiny_http and two descriptors
//! with it until this process ends. Any stranger can send such requests. So before descriptors run out the tracker asks
//! its program to stop in order and to execute itself again; which is not done often, since nobody is served meanwhile.

use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

/// Requests that are too many, whatever the limit of descriptors is: their threads cost memory, too.
const MAX_SOME: usize = 256;
/// Fewer are never worth a new beginning.
const MIN_SOME: usize = 4;
/// How long a beginning lasts at least, while there is room for more.
const PAUSE: Duration = Duration::from_secs(10);
/// The same when there soon is none.
const SHORT_PAUSE: Duration = Duration::from_secs(1);

/// How many requests may be left behind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Enough to begin anew when it suits.
    some: usize,
    /// Enough to do so soon: a quarter of the descriptors.
    many: usize,
}

/// Since when this process is worn, and what was done about it.
#[derive(Debug)]
pub(crate) struct Wear {
    bounds: Bounds,
    /// When the tracker began, or asked to begin anew.
    since: Instant,
}

impl Bounds {
    /// By the limit of open files.
    fn of(descriptors: usize) -> Self {
        let some = (descriptors / 16).clamp(MIN_SOME, MAX_SOME);
        Self { some, many: (descriptors / 8).max(some) }
    }

    /// How long after the last beginning there has to be another, with so many requests left behind.
    const fn pause(self, lost: usize) -> Option<Duration> {
        match lost {
            lost if lost >= self.many => Some(SHORT_PAUSE),
            lost if lost >= self.some => Some(PAUSE),
            _ => None,
        }
    }
}

impl Wear {
    /// The tracker begins.
    pub(crate) fn new(now: Instant) -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        Self { bounds: Bounds::of(limit), since: now }
    }

    /// When to begin anew, with so many requests left behind.
    pub(crate) fn due(&self, lost: usize) -> Option<Instant> {
        Some(self.since + self.bounds.pause(lost)?)
    }

    /// Whether it is time for that. If so, it is told once, and again after a pause if nothing came of it.
    pub(crate) fn take_due(&mut self, lost: usize, now: Instant) -> bool {
        let is_due = self.due(lost).is_some_and(|at| at <= now);
        if is_due {
            self.since = now;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_beginning_is_asked_for_in_time_and_seldom() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut wear = Wear { bounds: Bounds::of(8192), since: start };
        assert_eq!(wear.due(255), None);
        assert_eq!(wear.due(256), Some(at(10)));
        assert_eq!(wear.due(1023), Some(at(10)));
        assert_eq!(wear.due(1024), Some(at(1)), "a quarter of the descriptors is gone");
        assert!(!wear.take_due(1023, at(9)));
        assert!(wear.take_due(1023, at(10)));
        assert!(!wear.take_due(1023, at(19)), "it was asked for");
        assert!(!wear.take_due(10, at(1000)));
        assert!(wear.take_due(256, at(20)), "and nothing came of it");
        assert!(wear.take_due(9999, at(21)));
    }

    #[test]
    fn bounds_leave_descriptors_to_connections() {
        for (descriptors, some, many) in [
            (0, 4, 4),
            (64, 4, 8),
            (256, 16, 32),
            (1024, 64, 128),
            (8192, 256, 1024),
            (usize::MAX, 256, usize::MAX / 8),
        ] {
            let bounds = Bounds::of(descriptors);
            assert_eq!((bounds.some, bounds.many), (some, many), "{descriptors}");
        }
    }
}
