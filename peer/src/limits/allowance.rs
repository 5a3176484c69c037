//! What one connection may move in one direction, now.

use std::sync::Arc;
use std::time::Instant;

use super::limiter::{Booking, Limiter};
use crate::torrent::event::PeerKey;
use crate::wake::Waker;

/// An answer to [`Allowance::ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// As much as it likes: there is no limit.
    Free,
    /// So many bytes of payload.
    Bytes(u64),
    /// Nothing before then. The connection is rung if a rate changes earlier.
    Until(Instant),
}

/// One direction of one connection. It asks before it moves payload, says what it moved, and rests when it sleeps for
/// another reason than the limit: nobody holds what others could use.
#[derive(Debug)]
pub struct Allowance {
    key: PeerKey,
    waker: Waker,
    /// Of the torrent's limit, and of everybody's.
    shares: [Share; 2],
}

/// A part of what one limiter gives out. The two limits' parts differ in length: if they were booked as one, a slow
/// torrent's short parts would each wait a whole round of everybody's limit.
#[derive(Debug)]
struct Share {
    limiter: Arc<Limiter>,
    stage: Stage,
    /// Bytes moved without having been granted: the next booking is longer by them.
    debt: u64,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Nothing is booked.
    Idle,
    /// Booked: `part` to move, and `debt` to make up for. Without a part it only makes up for it.
    Waiting { booking: Booking, part: u64, debt: u64 },
    /// So many bytes are left to move.
    Granted { booking: Booking, left: u64 },
}

impl Grant {
    /// How many bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Free => u64::MAX,
            Self::Bytes(bytes) => bytes,
            Self::Until(_) => 0,
        }
    }

    /// What two limits allow together.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Free, grant) | (grant, Self::Free) => grant,
            (Self::Until(one), Self::Until(other)) => Self::Until(one.max(other)),
            (until @ Self::Until(_), _) | (_, until @ Self::Until(_)) => until,
            (Self::Bytes(one), Self::Bytes(other)) => Self::Bytes(one.min(other)),
        }
    }
}

impl Allowance {
    /// For the connection `key`, which listens to `waker`. It is bound by all `limiters` together.
    pub fn new(limiters: [Arc<Limiter>; 2], key: PeerKey, waker: Waker) -> Self {
        Self { key, waker, shares: limiters.map(Share::new) }
    }

    /// How much may be moved at time `now`. Without limits this is a look at two numbers.
    pub fn ask(&mut self, now: Instant) -> Grant {
        let [own, all] = &mut self.shares;
        own.ask(self.key, &self.waker, now).and(all.ask(self.key, &self.waker, now))
    }

    /// So many bytes of payload were moved. What is more than was granted is made up for later.
    pub fn spent(&mut self, bytes: u64) {
        self.shares.iter_mut().for_each(|share| share.spent(bytes));
    }

    /// Nothing is to be moved for a while: gives back what was booked and not moved.
    pub fn rest(&mut self) {
        self.shares.iter_mut().for_each(|share| share.rest(self.key));
    }
}

impl Share {
    const fn new(limiter: Arc<Limiter>) -> Self {
        Self { limiter, stage: Stage::Idle, debt: 0 }
    }

    fn ask(&mut self, key: PeerKey, waker: &Waker, now: Instant) -> Grant {
        let epoch = self.limiter.epoch();
        if self.stage.epoch().is_some_and(|booked| booked != epoch) {
            // The rate has changed: what was granted before does not count.
            self.rest(key);
        }
        if epoch == 0 {
            self.debt = 0;
            return Grant::Free;
        }
        if matches!(self.stage, Stage::Idle) {
            let Some((booking, part)) = self.limiter.book(self.debt, now) else { return Grant::Free };
            self.stage = Stage::Waiting { booking, part, debt: std::mem::take(&mut self.debt) };
        }
        if let Stage::Waiting { booking, part, .. } = self.stage {
            if let Some(due) = self.limiter.wait(booking, key, waker, now) {
                return Grant::Until(due);
            }
            if part == 0 {
                self.stage = Stage::Idle;
                return self.ask(key, waker, now);
            }
            self.stage = Stage::Granted { booking, left: part };
        }
        match self.stage {
            Stage::Granted { left, .. } => Grant::Bytes(left),
            Stage::Idle | Stage::Waiting { .. } => Grant::Free,
        }
    }

    fn spent(&mut self, bytes: u64) {
        if bytes == 0 || self.limiter.epoch() == 0 {
            return;
        }
        let left = match &mut self.stage {
            Stage::Granted { left, .. } => left,
            Stage::Idle | Stage::Waiting { .. } => &mut 0,
        };
        self.debt = self.debt.saturating_add(bytes.saturating_sub(*left));
        *left = left.saturating_sub(bytes);
        if matches!(self.stage, Stage::Granted { left: 0, .. }) {
            self.stage = Stage::Idle;
        }
    }

    fn rest(&mut self, key: PeerKey) {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => {}
            Stage::Waiting { booking, part, debt } => {
                self.debt = self.debt.saturating_add(debt);
                self.limiter.give_back(key, booking, part.saturating_add(debt));
            }
            Stage::Granted { booking, left } => self.limiter.give_back(key, booking, left),
        }
    }
}

impl Stage {
    /// The number of the rate under which something is booked.
    const fn epoch(self) -> Option<u64> {
        match self {
            Self::Idle => None,
            Self::Waiting { booking, .. } | Self::Granted { booking, .. } => Some(booking.epoch()),
        }
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        self.rest();
        for share in self.shares.iter().filter(|share| share.debt > 0) {
            // Who leaves in debt leaves it to the others.
            share.limiter.charge(share.debt);
        }
    }
}
