//! Looks at disks for the control port, at paths that a user names and at other torrents' files: on a disk that does not
//! answer they never end, and its threads are few.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use torrent_common::worker::contain;

use crate::control::engine::Refusal;

/// Whoever asks waits so long for a disk.
const PATIENCE: Duration = Duration::from_secs(2);
/// Looks at a time, those that never end included.
const MAX_LOOKS: usize = 16;

/// The looks under way.
#[derive(Debug, Default)]
pub struct Outside(Arc<AtomicUsize>);

impl Outside {
    /// What a look gives back. One that does not end is left behind with its thread, which nobody can stop: it must change
    /// nothing.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`], and [`Refusal::Internal`] if it panics.
    pub fn look<T: Send + 'static>(&self, look: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        self.look_within(PATIENCE, look)
    }

    fn look_within<T: Send + 'static>(
        &self,
        patience: Duration,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let unavailable = |why: String| Refusal::Unavailable(why);
        let looks = Arc::clone(&self.0);
        if looks.fetch_add(1, Ordering::AcqRel) >= MAX_LOOKS {
            looks.fetch_sub(1, Ordering::AcqRel);
            return Err(unavailable(
                "too many paths are on disks that do not answer: try again later".into(),
            ));
        }
        let (seen, sees) = crossbeam_channel::bounded(1);
        let run = move || {
            let outcome = contain("a look at a disk", look);
            looks.fetch_sub(1, Ordering::AcqRel);
            // Nobody may be waiting any more.
            outcome.map(|outcome| seen.send(outcome));
        };
        if let Err(error) = std::thread::Builder::new().name("outside".into()).spawn(run) {
            self.0.fetch_sub(1, Ordering::AcqRel);
            return Err(unavailable(format!("no room for another thread: {error}")));
        }
        sees.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                unavailable("the disk of that path does not answer: try again later".into())
            }
            RecvTimeoutError::Disconnected => Refusal::Internal("to look at that path failed".into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_does_not_end_is_left_behind_and_they_are_few() {
        let outside = Outside::default();
        assert!(matches!(outside.look(|| 7), Ok(7)));
        let (go_on, may_go_on) = crossbeam_channel::bounded::<()>(0);
        for _ in 0..MAX_LOOKS {
            let may_go_on = may_go_on.clone();
            let hangs = outside.look_within(Duration::ZERO, move || may_go_on.recv().is_ok());
            assert!(matches!(hangs, Err(Refusal::Unavailable(why)) if why.contains("does not answer")));
        }
        assert!(matches!(outside.look(|| 7), Err(Refusal::Unavailable(why)) if why.contains("too many")));
        drop(go_on);
        while outside.0.load(Ordering::Acquire) > 0 {
            std::thread::yield_now();
        }
        assert!(matches!(outside.look(|| 7), Ok(7)));
    }

    #[test]
    fn a_look_that_panics_is_over() {
        let outside = Outside::default();
        for _ in 0..=MAX_LOOKS {
            let panics = outside.look(|| -> u8 { panic!("on purpose") });
            assert!(matches!(panics, Err(Refusal::Internal(_))));
        }
    }
}
