//! Lets connections wait until a torrent that was just woken takes them in.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::connection::link::TorrentLink;

/// Closed at first; opened once by the torrent's thread, or shut for good when it will not serve.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    /// It checks its data first, which takes long: nobody waits for that.
    Checking,
    Open(Arc<TorrentLink>),
    Shut,
}

impl Gate {
    /// Those who wait are turned away until the gate opens.
    pub fn checking(&self) {
        self.set(State::Checking);
    }

    /// Lets everybody in; false if it was shut before.
    pub fn open(&self, link: Arc<TorrentLink>) -> bool {
        !matches!(self.set(State::Open(link)), State::Shut)
    }

    /// Turns everybody away for good; true if they were let in before.
    pub fn shut(&self) -> bool {
        matches!(self.set(State::Shut), State::Open(_))
    }

    /// The torrent, when it takes connections within `patience`.
    pub fn wait(&self, patience: Duration) -> Option<Arc<TorrentLink>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = |state: &mut State| matches!(state, State::Closed);
        let (state, _) =
            self.changed.wait_timeout_while(state, patience, closed).unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Open(link) => Some(Arc::clone(link)),
            State::Closed | State::Checking | State::Shut => None,
        }
    }

    /// The torrent, if it takes connections now.
    pub fn link(&self) -> Option<Arc<TorrentLink>> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Open(link) => Some(Arc::clone(link)),
            State::Closed | State::Checking | State::Shut => None,
        }
    }

    /// Gives back what it was before.
    fn set(&self, next: State) -> State {
        let before = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match *state {
                State::Shut => State::Shut,
                _ => std::mem::replace(&mut *state, next),
            }
        };
        self.changed.notify_all();
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_shut_out_stays_out() {
        let gate = Gate::default();
        assert!(!gate.shut(), "nobody was in");
        gate.checking();
        assert!(!gate.shut() && gate.wait(Duration::ZERO).is_none());
    }
}
