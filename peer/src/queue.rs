//! A bounded queue that ends with its receiver: what is in it then is dropped, and what comes later is given back. crossbeam's
//! keeps what it holds for as long as anybody may send more, and with a request whom it is to answer: who waits for that
//! would wait for nobody.

use std::fmt::{self, Debug};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

use crossbeam_channel::{SendError, SendTimeoutError, TrySendError};

/// A queue with room for so many items.
pub fn bounded<T>(room: usize) -> (Sender<T>, Receiver<T>) {
    let (items, rest) = crossbeam_channel::bounded(room);
    let end = Arc::new(End { is_over: AtomicBool::new(false), rest });
    (Sender { items, end: Arc::clone(&end) }, Receiver(end))
}

/// Puts items in. Its calls are those of [`crossbeam_channel::Sender`].
pub struct Sender<T> {
    items: crossbeam_channel::Sender<T>,
    end: Arc<End<crossbeam_channel::Receiver<T>>>,
}

/// Takes them out, by the calls of [`crossbeam_channel::Receiver`]. Dropped, it ends the queue.
pub struct Receiver<T>(Arc<End<crossbeam_channel::Receiver<T>>>);

impl<T> Sender<T> {
    /// Waits for room.
    ///
    /// # Errors
    /// The queue has ended: the item.
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        if self.end.is_over.is_set() {
            return Err(SendError(item));
        }
        self.items.send(item)?;
        self.end.passed();
        Ok(())
    }

    /// Never waits.
    ///
    /// # Errors
    /// There is no room, or the queue has ended: the item.
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        if self.end.is_over.is_set() {
            return Err(TrySendError::Disconnected(item));
        }
        self.items.try_send(item)?;
        self.end.passed();
        Ok(())
    }

    /// Waits for room so long.
    ///
    /// # Errors
    /// There was none, or the queue has ended: the item.
    pub fn send_timeout(&self, item: T, patience: Duration) -> Result<(), SendTimeoutError<T>> {
        if self.end.is_over.is_set() {
            return Err(SendTimeoutError::Disconnected(item));
        }
        self.items.send_timeout(item, patience)?;
        self.end.passed();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), end: Arc::clone(&self.end) }
    }
}

impl<T> Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.fmt(f)
    }
}

impl<T> Deref for Receiver<T> {
    type Target = crossbeam_channel::Receiver<T>;

    fn deref(&self) -> &Self::Target {
        &self.0.rest
    }
}

impl<T> Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// How a queue ends: its receiver says so, then empties it; who sends looks whether it has when the item is in, and empties
/// it as well. So one of the two finds every item. The flag and the queue are parameters, so that [`model`](crate::model)
/// can try every order of steps.
#[derive(Debug)]
pub(crate) struct End<R, F = AtomicBool> {
    pub(crate) is_over: F,
    pub(crate) rest: R,
}

/// Set once.
pub(crate) trait Flag {
    fn set(&self);
    fn is_set(&self) -> bool;
    /// Of two who each write, pass this, and look at what the other wrote, one sees it.
    fn fence();
}

/// What is left in a queue.
pub(crate) trait Rest {
    /// Drops it.
    fn empty(&self);
}

impl<R: Rest, F: Flag> End<R, F> {
    /// Nobody will take anything out any more.
    pub(crate) fn end(&self) {
        self.is_over.set();
        F::fence();
        self.rest.empty();
    }

    /// Something was put in.
    pub(crate) fn passed(&self) {
        F::fence();
        if self.is_over.is_set() {
            self.rest.empty();
        }
    }
}

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

impl<T> Rest for crossbeam_channel::Receiver<T> {
    fn empty(&self) {
        self.try_iter().for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use crossbeam_channel::RecvTimeoutError;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn who_waits_for_an_answer_hears_that_there_will_be_none() {
        let (requests, receiver) = bounded(2);
        let (reply, answer) = crossbeam_channel::bounded::<()>(1);
        requests.send(reply).unwrap();
        drop(receiver);
        assert_eq!(answer.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
        let (late, _answer) = crossbeam_channel::bounded(1);
        assert!(requests.send(late.clone()).is_err());
        assert!(matches!(requests.try_send(late.clone()), Err(TrySendError::Disconnected(_))));
        let refused = requests.clone().send_timeout(late, Duration::ZERO);
        assert!(matches!(refused, Err(SendTimeoutError::Disconnected(_))));
    }

    #[test]
    fn who_waits_for_room_is_not_left_waiting() {
        let (requests, receiver) = bounded(1);
        let held = Arc::new(());
        thread::scope(|scope| {
            for _ in 0..8 {
                let (requests, held) = (requests.clone(), Arc::clone(&held));
                scope.spawn(move || while requests.send(Arc::clone(&held)).is_ok() {});
            }
            for _ in 0..100 {
                receiver.recv().unwrap();
            }
            drop(receiver);
        });
        // All have been told, and nothing is left of what they sent.
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn what_was_sent_is_there_when_nobody_sends_any_more() {
        let (items, receiver) = bounded(2);
        items.try_send(1).unwrap();
        items.send_timeout(2, PATIENCE).unwrap();
        assert!(matches!(items.try_send(3), Err(TrySendError::Full(3))));
        drop(items);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(receiver.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
    }
}
