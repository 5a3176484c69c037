//! Ctrl-C and SIGTERM, waited for together with time.

use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Failure;

/// The exit code after a second signal: 128 + SIGINT, as shells have it.
const IMPATIENT: i32 = 130;

/// Knows when the user wants to stop. The second signal ends the process at once, unless that says that a terminal was
/// closed: of which a shell tells, and then the system, to nobody's impatience.
#[derive(Debug)]
pub struct Interrupt {
    signals: Receiver<i32>,
}

impl Interrupt {
    /// Takes SIGINT, SIGTERM and SIGHUP over.
    ///
    /// # Errors
    /// [`Failure::Failed`] when the system has no room for it.
    pub fn new() -> Result<Self, Failure> {
        Self::take_over().map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))
    }

    fn take_over() -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let (sender, receiver) = crossbeam_channel::bounded(1);
        // Lives as long as the process. It alone counts, so that no signal can be the first to one and unheard by another.
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            let mut heard = signals.forever();
            if let Some(first) = heard.next() {
                let _ = sender.try_send(first);
            }
            if heard.any(|signal| signal != SIGHUP) {
                signal_hook::low_level::exit(IMPATIENT);
            }
        })?;
        Ok(Self { signals: receiver })
    }

    /// Waits for `time` or a signal; whether there was one.
    pub fn wait(&self, time: Duration) -> bool {
        match self.signals.recv_timeout(time) {
            Ok(_) => true,
            Err(RecvTimeoutError::Timeout) => false,
            // The thread is gone, which it never is: do not spin.
            Err(RecvTimeoutError::Disconnected) => true,
        }
    }

    /// Waits for a signal.
    pub fn wait_for_ever(&self) {
        let _ = self.signals.recv();
    }
}
