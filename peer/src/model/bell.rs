//! No ring is lost, and what was in place before one is seen after it.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::{ModelWaker, Ring, check};

/// Puts things in place where nothing but the bell makes them seen, and rings for each.
fn ringer(waker: &ModelWaker, place: &AtomicU32, things: u32) {
    for thing in 1..=things {
        place.store(thing, Ordering::Relaxed);
        waker.ring();
    }
}

#[test]
fn one_ringer_is_always_heard() {
    check(4, || {
        let (waker, place) = (ModelWaker::new(), Arc::new(AtomicU32::new(0)));
        let (ringing, there) = (waker.clone(), Arc::clone(&place));
        let ringer = thread::spawn(move || ringer(&ringing, &there, 3));
        while place.load(Ordering::Relaxed) < 3 {
            waker.wait();
        }
        ringer.join().unwrap();
    });
}

#[test]
fn two_ringers_are_both_heard() {
    check(3, || {
        let waker = ModelWaker::new();
        let places = [Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0))];
        let ringers = places.clone().map(|place| {
            let waker = waker.clone();
            thread::spawn(move || ringer(&waker, &place, 1))
        });
        while places.iter().any(|place| place.load(Ordering::Relaxed) < 1) {
            waker.wait();
        }
        ringers.into_iter().for_each(|ringer| ringer.join().unwrap());
    });
}
