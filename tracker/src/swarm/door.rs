//! The lock of a shard, at which those go first who are waited for.
//!
//! A mutex of the standard library is not fair: who lets go of it and takes it again at once has it before a waiter has
//! woken. A sweep, which does that thousands of times, would keep an announce waiting for many of its steps. So whoever has
//! to wait says so, and a sweep stands back as long as somebody does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

use super::held;
use super::shard::Shard;

/// Times that a sweep stands back before one step, so that it comes to an end however many announce: each is the time of a
/// system call, or longer if there is something else to do.
const PATIENCE: usize = 256;

/// A shard, and who waits for it.
pub(super) struct Door {
    shard: Mutex<Shard>,
    waiting: AtomicUsize,
}

impl Door {
    pub(super) const fn new(shard: Shard) -> Self {
        Self { shard: Mutex::new(shard), waiting: AtomicUsize::new(0) }
    }

    /// For an announce, and whatever else is waited for.
    pub(super) fn enter(&self) -> MutexGuard<'_, Shard> {
        match self.shard.try_lock() {
            Ok(shard) => shard,
            Err(TryLockError::Poisoned(shard)) => shard.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                let shard = held(&self.shard);
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                shard
            }
        }
    }

    /// For who has time: a sweep, a snapshot.
    pub(super) fn enter_last(&self) -> MutexGuard<'_, Shard> {
        self.stand_back(std::thread::yield_now);
        held(&self.shard)
    }

    fn stand_back(&self, mut pause: impl FnMut()) {
        for _ in 0..PATIENCE {
            if self.waiting.load(Ordering::Relaxed) == 0 {
                break;
            }
            pause();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// How many times somebody with time stands back while another waits, who gets in after `pauses` times.
    fn stands_back(pauses: usize) -> usize {
        let door = Door::new(Shard::new(1));
        door.waiting.store(1, Ordering::Relaxed);
        let mut times = 0;
        door.stand_back(|| {
            times += 1;
            if times == pauses {
                door.waiting.store(0, Ordering::Relaxed);
            }
        });
        times
    }

    #[test]
    fn who_has_time_stands_back_but_not_for_ever() {
        assert_eq!([1, 10, PATIENCE, usize::MAX].map(stands_back), [1, 10, PATIENCE, PATIENCE]);
    }

    #[test]
    fn who_waits_says_so_and_no_longer_than_that() {
        let door = Door::new(Shard::new(1));
        assert_eq!(door.waiting.load(Ordering::Relaxed), 0);
        thread::scope(|scope| {
            let inside = door.enter();
            let waiter = scope.spawn(|| drop(door.enter()));
            while door.waiting.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            drop(inside);
            waiter.join().unwrap();
        });
        assert_eq!(door.waiting.load(Ordering::Relaxed), 0);
        drop(door.enter_last());
    }
}
