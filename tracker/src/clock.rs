//! What time it is: the only place in this program that asks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Seconds since the tracker started, and since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Whole seconds since the start: never goes back.
    pub(crate) fn now_s(&self) -> u32 {
        self.seconds_at(Instant::now())
    }

    /// The same at another moment.
    pub(crate) fn seconds_at(&self, moment: Instant) -> u32 {
        u32::try_from(moment.saturating_duration_since(self.start).as_secs()).unwrap_or(u32::MAX)
    }

    /// Whole seconds since 1970, as the system has it: may jump.
    pub(crate) fn wall_s() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}
