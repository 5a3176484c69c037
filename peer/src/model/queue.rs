//! A queue that ends while something is put in: nothing is left there.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering, fence};
use loom::thread;

use super::check;
use crate::queue::{End, Flag, Rest};

impl Flag for AtomicBool {
    fn set(&self) {
        self.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.load(Ordering::Acquire)
    }

    fn fence() {
        fence(Ordering::SeqCst);
    }
}

/// A queue, as little as can be assumed of it: the place of each sender, and whether something is there.
struct Places([AtomicBool; 2]);

impl Rest for Places {
    fn empty(&self) {
        for place in self.0.iter().filter(|place| place.load(Ordering::Acquire)) {
            place.store(false, Ordering::Release);
        }
    }
}

#[test]
fn nothing_is_left_in_a_queue_that_has_ended() {
    check(3, || {
        let rest = Places([AtomicBool::new(false), AtomicBool::new(false)]);
        let end = Arc::new(End { is_over: AtomicBool::new(false), rest });
        let senders = [0, 1].map(|number| {
            let end = Arc::clone(&end);
            thread::spawn(move || {
                if !end.is_over.is_set() {
                    end.rest.0[number].store(true, Ordering::Release);
                    end.passed();
                }
            })
        });
        end.end();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert!(end.rest.0.iter().all(|place| !place.load(Ordering::Acquire)));
    });
}
