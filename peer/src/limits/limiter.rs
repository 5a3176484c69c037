//! A limit that threads share: a [`Bucket`] while there is a limit, and who waits for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use crate::torrent::event::PeerKey;
use crate::wake::Waker;

/// One limit in one direction: a torrent's, or everybody's. Made without a limit.
#[derive(Debug, Default)]
pub struct Limiter {
    /// 0 while there is no limit: all that a connection looks at then. Otherwise a number that changes with the rate.
    epoch: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    changes: u64,
    rate: u64,
    bucket: Option<Bucket>,
    /// Connections that wait for what they booked.
    waiting: HashMap<PeerKey, Waker>,
}

/// A place in the queue of a [`Limiter`]: of no worth once the rate has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booking {
    epoch: u64,
    end: u64,
    debt: Option<Debt>,
}

/// What was moved before it was booked, and more than a part: each who waits beside the debtor gets as much first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Debt {
    len: u64,
    /// What had accrued then.
    from: u64,
    /// Who waited then. Whoever comes later has no claim.
    others: usize,
}

/// A debtor looks again in this time: those it lets pass may have gone, and nobody tells it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Limiter {
    /// Sets the limit in bytes per second; 0: none. Those who wait are rung, and ask anew.
    pub fn set(&self, rate: u64, now: Instant) {
        let woken = {
            let mut state = self.lock();
            if state.rate == rate {
                return;
            }
            state.rate = rate;
            state.changes += 1;
            state.bucket = (rate > 0).then(|| Bucket::new(rate, now));
            self.epoch.store(if rate > 0 { state.changes } else { 0 }, Ordering::Release);
            std::mem::take(&mut state.waiting)
        };
        woken.values().for_each(Waker::ring);
    }

    /// The limit in bytes per second; 0: none.
    pub fn rate(&self) -> u64 {
        self.lock().rate
    }

    /// 0: there is no limit. Another number: there is one, and what was booked under another number is void.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Books a part, and `debt` bytes more that were moved already: the place, and the length of the part. `None`: there
    /// is no limit.
    ///
    /// Who owes more than a part gets none now, but a place behind those who wait: the limit holds for all together, so
    /// they lost as much time as the debtor gained, and first get as much as it had.
    pub(super) fn book(&self, debt: u64, now: Instant) -> Option<(Booking, u64)> {
        let mut state = self.lock();
        let (epoch, waiting) = (state.changes, state.waiting.len());
        let bucket = state.bucket.as_mut()?;
        let part = bucket.part(waiting);
        if debt <= part {
            let end = bucket.book(part.saturating_add(debt), now);
            return Some((Booking { epoch, end, debt: None }, part));
        }
        let owed = Debt { len: debt, from: bucket.accrued(now), others: waiting };
        Some((Booking { epoch, end: bucket.book(debt, now), debt: Some(owed) }, 0))
    }

    /// So many bytes were moved, and nobody will make up for them.
    pub(super) fn charge(&self, len: u64) {
        if let Some(bucket) = &mut self.lock().bucket {
            bucket.book(len, Instant::now());
        }
    }

    /// `None` if what was booked has come, or the booking is void. Otherwise when it will: the connection `key` is rung
    /// if the rate changes before.
    pub(super) fn wait(
        &self,
        booking: Booking,
        key: PeerKey,
        waker: &Waker,
        now: Instant,
    ) -> Option<Instant> {
        let mut state = self.lock();
        let valid = booking.epoch == state.changes;
        let others = state.waiting.len() - usize::from(state.waiting.contains_key(&key));
        let end = booking.end_beside(others);
        let due = state.bucket.as_ref().filter(|_| valid).and_then(|bucket| bucket.due(end, now));
        let due = if booking.debt.is_some() { due.map(|due| due.min(now + LOOK_AGAIN)) } else { due };
        if due.is_some() {
            state.waiting.entry(key).or_insert_with(|| waker.clone());
        } else {
            state.waiting.remove(&key);
        }
        due
    }

    /// The connection `key` waits no more, and gives back `len` bytes of what it booked.
    pub(super) fn give_back(&self, key: PeerKey, booking: Booking, len: u64) {
        let mut state = self.lock();
        state.waiting.remove(&key);
        if booking.epoch == state.changes
            && let Some(bucket) = &mut state.bucket
        {
            bucket.unbook(len);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }
}

impl Booking {
    /// The number of the rate it was made under.
    pub(super) const fn epoch(self) -> u64 {
        self.epoch
    }

    /// Up to which byte of the stream it lasts while so many others wait.
    fn end_beside(self, others: usize) -> u64 {
        let Some(Debt { len, from, others: before }) = self.debt else { return self.end };
        let all = u64::try_from(others.min(before)).unwrap_or(u64::MAX).saturating_add(1);
        self.end.max(from.saturating_add(len.saturating_mul(all)))
    }
}
