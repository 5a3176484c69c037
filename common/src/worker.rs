//! Named threads that are told to stop and joined: none outlives its owner.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Shared by an owner and its threads: set once, never cleared.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<AtomicBool>);

impl Shutdown {
    /// A token that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells everyone who looks to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Does something whose panic is to take nothing else with it. `None`: it panicked, and the log says so, naming it `what`.
pub fn contain<T>(what: &str, act: impl FnOnce() -> T) -> Option<T> {
    let outcome = catch_unwind(AssertUnwindSafe(act));
    if outcome.is_err() {
        log::error!("{what} panicked: this is a bug, please report it with the lines above");
    }
    outcome.ok()
}

/// A named thread, joined on drop. The owner must have made it stop before (closed its channel, set its [`Shutdown`]),
/// or the drop waits for ever.
#[derive(Debug)]
pub struct Worker {
    name: String,
    handle: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts `run` on a thread of this name (Linux shows the first 15 bytes).
    ///
    /// # Errors
    /// The system's, when it has no room for another thread.
    pub fn spawn(name: impl Into<String>, run: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let name = name.into();
        let handle = std::thread::Builder::new().name(name.clone()).spawn(run)?;
        Ok(Self { name, handle: Some(handle) })
    }

    /// The same with a stack of `stack_len_bytes`: for threads that there are many of.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread.
    pub fn spawn_small(
        name: impl Into<String>,
        stack_len_bytes: usize,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let name = name.into();
        let handle = std::thread::Builder::new().name(name.clone()).stack_size(stack_len_bytes).spawn(run)?;
        Ok(Self { name, handle: Some(handle) })
    }

    /// Whether the thread has ended by itself.
    pub fn is_finished(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the thread to end.
    pub fn join(mut self) {
        self.wait();
    }

    fn wait(&mut self) {
        if let Some(handle) = self.handle.take()
            && handle.join().is_err()
        {
            log::error!(
                "thread {} panicked: this is a bug, please report it with the lines above",
                self.name
            );
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_joins() {
        let done = Shutdown::new();
        let seen = done.clone();
        drop(Worker::spawn("t", move || seen.set()).unwrap());
        assert!(done.is_set());
    }

    #[test]
    fn a_panic_is_contained() {
        Worker::spawn("t", || panic!("on purpose")).unwrap().join();
        assert_eq!(contain("t", || -> u8 { panic!("on purpose") }), None);
        assert_eq!(contain("t", || 1), Some(1));
    }
}
