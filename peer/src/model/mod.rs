//! The protocols between threads under loom, which tries every order of their steps that the memory model allows, within a
//! bound of preemptions. The bell and the handle of a connection are the real ones; sockets, descriptors and queues are
//! imitated with what loom knows, for it knows neither the kernel nor crossbeam. In a model nothing times out: who sleeps
//! for ever is found as a deadlock.

mod bell;
mod queue;
mod torrent;

use std::collections::VecDeque;

use crossbeam_channel::{TryRecvError, TrySendError};
use loom::sync::atomic::AtomicBool;
use loom::sync::{Arc, Condvar, Mutex};

use crate::connection::link::{CommandQueue, CommandSource};
use crate::torrent::event::Command;
use crate::wake::Ring;
use crate::wake::bell::{Bell, Descriptor, Flag, ORDER};

/// Runs `model` in every order of steps with so many preemptions; `LOOM_MAX_PREEMPTIONS` asks for more, or fewer.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(model);
}

impl Flag for AtomicBool {
    fn swap(&self, to: bool) -> bool {
        Self::swap(self, to, ORDER)
    }
}

/// An eventfd.
struct Eventfd {
    ready: Mutex<bool>,
    filled: Condvar,
}

impl Descriptor for Eventfd {
    fn fill(&self) {
        *self.ready.lock().unwrap() = true;
        self.filled.notify_one();
    }

    fn drain(&self) {
        *self.ready.lock().unwrap() = false;
    }
}

/// A waker as a connection has it, without a socket.
#[derive(Clone)]
struct ModelWaker(Arc<Bell<AtomicBool, Eventfd>>);

impl ModelWaker {
    fn new() -> Self {
        let descriptor = Eventfd { ready: Mutex::new(false), filled: Condvar::new() };
        Self(Arc::new(Bell { flag: AtomicBool::new(false), descriptor }))
    }

    /// Sleeps until it is rung.
    fn wait(&self) {
        let mut ready = self.0.descriptor.ready.lock().unwrap();
        while !*ready {
            ready = self.0.descriptor.filled.wait(ready).unwrap();
        }
        drop(ready);
        self.0.clear();
    }
}

impl Ring for ModelWaker {
    fn ring(&self) {
        self.0.ring();
    }
}

/// A bounded queue with one receiver. Like [`crate::queue`] it drops what it holds when that goes, and tells who waits for room.
struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    room: usize,
    senders: usize,
    is_read: bool,
}

struct Sender<T>(Arc<Queue<T>>);
struct Receiver<T>(Arc<Queue<T>>);

fn bounded<T>(room: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { items: VecDeque::new(), room, senders: 1, is_read: true };
    let queue = Arc::new(Queue { state: Mutex::new(state), changed: Condvar::new() });
    (Sender(Arc::clone(&queue)), Receiver(queue))
}

impl<T> Sender<T> {
    fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let mut state = self.0.state.lock().unwrap();
        if !state.is_read {
            return Err(TrySendError::Disconnected(item));
        }
        if state.items.len() == state.room {
            return Err(TrySendError::Full(item));
        }
        state.items.push_back(item);
        self.0.changed.notify_all();
        Ok(())
    }

    /// Waits for room. False when nobody listens.
    fn send(&self, item: T) -> bool {
        let mut state = self.0.state.lock().unwrap();
        while state.is_read && state.items.len() == state.room {
            state = self.0.changed.wait(state).unwrap();
        }
        let is_read = state.is_read;
        if is_read {
            state.items.push_back(item);
            self.0.changed.notify_all();
        }
        is_read
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state.lock().unwrap().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().senders -= 1;
        self.0.changed.notify_all();
    }
}

impl<T> Receiver<T> {
    fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.0.state.lock().unwrap();
        let item = state.items.pop_front();
        self.0.changed.notify_all();
        item.ok_or(if state.senders == 0 { TryRecvError::Disconnected } else { TryRecvError::Empty })
    }

    fn recv(&self) -> Option<T> {
        let mut state = self.0.state.lock().unwrap();
        while state.items.is_empty() && state.senders > 0 {
            state = self.0.changed.wait(state).unwrap();
        }
        self.0.changed.notify_all();
        state.items.pop_front()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap();
        state.is_read = false;
        let items = std::mem::take(&mut state.items);
        drop(state);
        self.0.changed.notify_all();
        drop(items);
    }
}

impl CommandSource for Receiver<Command> {
    fn try_recv(&self) -> Result<Command, TryRecvError> {
        Self::try_recv(self)
    }
}

impl CommandQueue for Sender<Command> {
    fn try_send(&self, command: Command) -> Result<(), TrySendError<Command>> {
        Self::try_send(self, command)
    }
}
