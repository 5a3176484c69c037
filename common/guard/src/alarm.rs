//! Wakes the guard when this process has worked for a while, whoever made it work.
//!
//! A stranger's bytes cost memory only as fast as a processor reads them. So what can have come since the last look is
//! bounded by the processor time that this process took since, on however many cores; and while it takes none, nobody
//! needs to look. The system counts it, and sends a signal to the guard's thread alone, which reads it from a
//! descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::signal::{SigEvent, SigSet, SigevNotify, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

/// Belongs to the thread that made it.
pub(crate) struct Alarm {
    signals: SignalFd,
    timer: Timer,
    processor_time: Duration,
}

impl Alarm {
    /// Rings whenever this process has taken so much processor time again.
    ///
    /// # Errors
    /// The system's, where there are no such timers.
    pub(crate) fn every(processor_time: Duration) -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGVTALRM);
        signals.thread_block()?;
        let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let notify = notify().ok_or(io::ErrorKind::Unsupported)?;
        let mut timer = Timer::new(ClockId::CLOCK_PROCESS_CPUTIME_ID, SigEvent::new(notify))?;
        timer.set(Expiration::Interval(processor_time.into()), TimerSetTimeFlags::empty())?;
        Ok(Self { signals, timer, processor_time })
    }

    /// From now on it rings that often.
    pub(crate) fn set(&mut self, processor_time: Duration) {
        if self.processor_time != processor_time {
            let interval = Expiration::Interval(processor_time.into());
            match self.timer.set(interval, TimerSetTimeFlags::empty()) {
                Ok(()) => self.processor_time = processor_time,
                Err(error) => log::debug!("processor time is counted as before: {error}"),
            }
        }
    }

    /// Whether it rang since it was asked last.
    pub(crate) fn has_rung(&self) -> bool {
        matches!(self.signals.read_signal(), Ok(Some(_)))
    }
}

/// A signal for this thread alone. nix has it for glibc and uclibc.
#[cfg(any(target_env = "gnu", target_env = "uclibc"))]
fn notify() -> Option<SigevNotify<'static>> {
    let thread_id = nix::unistd::gettid().as_raw();
    Some(SigevNotify::SigevThreadId { signal: Signal::SIGVTALRM, thread_id, si_value: 0 })
}

#[cfg(not(any(target_env = "gnu", target_env = "uclibc")))]
fn notify() -> Option<SigevNotify<'static>> {
    None
}

/// Readable when it has rung.
impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}
