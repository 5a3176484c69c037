//! The thread that waits for the next change by schedule. It sleeps until then, or for ever.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use jiff::Timestamp;
use rustix::event::PollFlags;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use torrent_common::worker::{Shutdown, Worker};

use super::RateControl;
use crate::wake::Waker;

/// Keeps the limits to the schedule while it lives.
pub struct RateClock {
    shutdown: Shutdown,
    waker: Waker,
    worker: Option<Worker>,
}

impl RateClock {
    /// Begins to watch the clock for `control`.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread or descriptor.
    pub fn start(control: Arc<RateControl>) -> io::Result<Self> {
        let (shutdown, waker) = (Shutdown::new(), Waker::new()?);
        control.watch(waker.clone());
        // A clock that is set, or stood still while the machine slept, must not make us late: so it is the clock on
        // the wall that is waited for, and a change of it ends the wait.
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let (told, rung) = (shutdown.clone(), waker.clone());
        let worker = Worker::spawn("rates", move || {
            if let Err(error) = watch(&control, &timer, &told, &rung) {
                log::error!("alternative limits do not follow ALT_SCHEDULE any more: {error}");
            }
        })?;
        Ok(Self { shutdown, waker, worker: Some(worker) })
    }
}

impl Drop for RateClock {
    fn drop(&mut self) {
        self.shutdown.set();
        self.waker.ring();
        self.worker.take().into_iter().for_each(Worker::join);
    }
}

fn watch(control: &RateControl, timer: &OwnedFd, shutdown: &Shutdown, waker: &Waker) -> io::Result<()> {
    while !shutdown.is_set() {
        let next = control.apply();
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(timer, flags, &at(next))?;
        if waker.wait(timer.as_fd(), PollFlags::IN, None)?.readable {
            // How often it went off, or that the clock was set: both mean to look again.
            let _ = rustix::io::read(timer, &mut [0; 8]);
        }
    }
    Ok(())
}

/// Once, at `time`; never without one.
fn at(time: Option<Timestamp>) -> Itimerspec {
    // Before 1970 is now, and the zeroth nanosecond would be never.
    let value = time.map_or(Timespec { tv_sec: 0, tv_nsec: 0 }, |time| Timespec {
        tv_sec: time.as_second().max(1),
        tv_nsec: 0,
    });
    Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Rates;

    #[test]
    fn it_applies_what_is_set_and_ends_when_it_is_dropped() {
        let control = Arc::new(RateControl::default());
        let clock = RateClock::start(Arc::clone(&control)).unwrap();
        control.set(Rates { download: 7, ..Rates::default() });
        assert_eq!(control.limits().down.rate(), 7);
        drop(clock);
        assert_eq!(Arc::strong_count(&control), 1);
    }
}
