//! A flag in front of a descriptor: ringing again before anybody looked costs no system call, and no ring is lost. The flag
//! and the descriptor are parameters, so that [`model`](crate::model) can try every order of steps.

use std::sync::atomic::{AtomicBool, Ordering};

/// Of every step on the flag. Who finds it raised leaves the waking to whoever raised it: what it put in place before is to
/// be seen by the waiter all the same, for the waiter lowers the flag before it looks.
pub const ORDER: Ordering = Ordering::AcqRel;

/// Somebody rang, and the waiter has not looked yet.
pub trait Flag {
    /// Sets it in one step of [`ORDER`]: what it was.
    fn swap(&self, to: bool) -> bool;
}

/// What the waiter sleeps on: ready from a `fill` to the next `drain`.
pub trait Descriptor {
    /// Makes it ready, however often.
    fn fill(&self);
    /// Makes it wait again.
    fn drain(&self);
}

/// The two together.
#[derive(Debug)]
pub struct Bell<F, D> {
    /// First for who rings, last for who waits.
    pub flag: F,
    /// The other way round.
    pub descriptor: D,
}

impl<F: Flag, D: Descriptor> Bell<F, D> {
    /// Wakes the waiter, now or when it waits next.
    pub fn ring(&self) {
        if !self.flag.swap(true) {
            self.descriptor.fill();
        }
    }

    /// The waiter woke, and looks next. First the descriptor, then the flag: in the other order a ring between the two would
    /// leave the flag set with an empty descriptor, and no later ring would be heard.
    pub fn clear(&self) {
        self.descriptor.drain();
        self.flag.swap(false);
    }
}

impl Flag for AtomicBool {
    fn swap(&self, to: bool) -> bool {
        Self::swap(self, to, ORDER)
    }
}
