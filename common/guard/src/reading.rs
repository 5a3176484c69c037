//! Bodies that are being read, and which of them must not hold up others. A few threads read bodies. While others wait for
//! one of them, a body that comes slowly is cut off; while nobody waits, it has all of its time.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sockets::traffic;

/// How long nothing may come: longer than what is lost on the way takes to be sent again.
const PAUSE: Duration = Duration::from_millis(1500);
/// How long a body may come slower than [`MIN_RATE`], from its beginning.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes per second.
const MIN_RATE: u64 = 8 << 10;

/// One body.
#[derive(Debug)]
pub(crate) struct Reading {
    number: usize,
    stream: Arc<TcpStream>,
    pace: Pace,
}

/// How a body has come so far.
#[derive(Debug, Clone, Copy)]
struct Pace {
    began: Instant,
    first: u64,
    latest: u64,
    progress: Instant,
}

impl Reading {
    /// `number` is that of its watch.
    pub(crate) fn new(number: usize, stream: Arc<TcpStream>, now: Instant) -> Self {
        let received = received(&stream);
        Self { number, stream, pace: Pace { began: now, first: received, latest: received, progress: now } }
    }

    pub(crate) const fn number(&self) -> usize {
        self.number
    }

    /// Looks at what has come. Closes the connection if that is too little; `is_wanted` when others wait for its thread.
    pub(crate) fn look(&mut self, now: Instant, is_wanted: bool) -> bool {
        let is_slow = self.pace.look(received(&self.stream), now) && is_wanted;
        if is_slow {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        is_slow
    }
}

impl Pace {
    /// Whether it is slow, now that so many bytes have come.
    fn look(&mut self, received: u64, now: Instant) -> bool {
        if received > self.latest {
            (self.latest, self.progress) = (received, now);
        }
        let took = now.saturating_duration_since(self.began);
        let enough = MIN_RATE.saturating_mul(took.as_secs());
        now.saturating_duration_since(self.progress) >= PAUSE
            || took >= PATIENCE && self.latest.saturating_sub(self.first) < enough
    }
}

fn received(stream: &TcpStream) -> u64 {
    traffic(stream).map_or(0, |traffic| traffic.received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_drips_or_stops_is_slow() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let pace = || Pace { began: start, first: 500, latest: 500, progress: start };
        let mut stopped = pace();
        assert!(!stopped.look(70_000, at(1000)));
        assert!(!stopped.look(70_000, at(2400)));
        assert!(stopped.look(70_000, at(2500)));
        let mut dripping = pace();
        for step in 0..6 {
            assert!(!dripping.look(500 + step, at(500 * step)), "{step}");
        }
        assert!(dripping.look(510, at(3000)));
        let mut steady = pace();
        for step in 1..1000 {
            assert!(!steady.look(500 + 5_000 * step, at(500 * step)), "{step}");
        }
    }
}
