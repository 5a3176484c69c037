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

    /// Lets everybody in.
    pub fn open(&self, link: Arc<TorrentLink>) {
        self.set(State::Open(link));
    }

    /// Turns everybody away for good.
    pub fn shut(&self) {
        self.set(State::Shut);
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

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.changed.notify_all();
    }
}
