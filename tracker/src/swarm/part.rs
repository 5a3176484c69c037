//! A part of a [`Table`](super::table::Table): a hash table with linear probing over records of address and time (until
//! when it is remembered), without pointers: 8 bytes a slot for IPv4, 20 for IPv6.
//!
//! It grows by an eighth when it is 7/8 full and shrinks when it is nearly empty, so an IPv4 peer costs 9.1 to 10.3 bytes
//! in all but the smallest, besides what the pages cost that the slots are in ([`Slots`]).

use super::address::Address;
use super::hash::hash;
use super::slots::Slots;
use super::tick::{Tick, is_past};

#[derive(Clone, Copy)]
struct Slot<const N: usize> {
    /// Port 0: the slot is free.
    address: Address<N>,
    until: [u8; 2],
}

impl<const N: usize> Slot<N> {
    const FREE: Self = Self { address: [0; N], until: [0; 2] };

    fn is_free(&self) -> bool {
        self.address.ends_with(&[0, 0])
    }
}

/// A set of addresses with the tick until which each is remembered.
pub(super) struct Part<const N: usize> {
    slots: Slots<Slot<N>>,
    len: u32,
}

const MIN_SLOTS: usize = 3;
/// Slots that a walk looks at in a row. They lie in two cache lines at the most (of IPv6: four).
pub(super) const RUN: usize = 8;

impl<const N: usize> Part<N> {
    pub(super) const fn new() -> Self {
        Self { slots: Slots::none(), len: 0 }
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// Adds or refreshes a peer (its port is not 0). True if it was not there.
    pub(super) fn insert(&mut self, address: Address<N>, until: Tick, key: u64) -> bool {
        if let Some(slot) = self.find(&address, key).and_then(|at| self.slots.get_mut(at)) {
            slot.until = until.to_le_bytes();
            return false;
        }
        if (self.len as usize + 1) * 8 > self.slots.len() * 7 {
            let more = self.slots.len() / 8 + 1;
            self.resize((self.slots.len() + more).max(MIN_SLOTS), key);
        }
        self.place(Slot { address, until: until.to_le_bytes() }, key);
        self.len += 1;
        true
    }

    pub(super) fn contains(&self, address: &Address<N>, key: u64) -> bool {
        self.find(address, key).is_some()
    }

    /// Removes a peer. True if it was there.
    pub(super) fn remove(&mut self, address: &Address<N>, key: u64) -> bool {
        let Some(at) = self.find(address, key) else { return false };
        self.vacate(at, key);
        self.shrink(key);
        true
    }

    /// Forgets those whose time is over among the slots from `from`, looking at no more than `budget` slots. Returns
    /// where to go on, if there is more.
    pub(super) fn expire(&mut self, now: Tick, from: usize, budget: usize, key: u64) -> Option<usize> {
        let mut at = from;
        for _ in 0..budget {
            let Some(slot) = self.slots.get(at) else { break };
            if !slot.is_free() && is_past(Tick::from_le_bytes(slot.until), now) {
                // Another record may move into this slot: it is looked at next.
                self.vacate(at, key);
            } else {
                at += 1;
            }
        }
        if at < self.slots.len() {
            return Some(at);
        }
        self.shrink(key);
        None
    }

    /// The peer in a slot, if there is one.
    pub(super) fn slot(&self, at: usize) -> Option<(&Address<N>, Tick)> {
        let slot = self.slots.get(at).filter(|slot| !slot.is_free())?;
        Some((&slot.address, Tick::from_le_bytes(slot.until)))
    }

    /// Runs of [`RUN`] slots that it has.
    pub(super) fn run_count(&self) -> usize {
        self.slots.len().div_ceil(RUN)
    }

    /// The peers of run number `run`. The runs are counted from slot `first`, modulo the slots that there are, so that a run
    /// is not always made of the same: those in one of few peers would be told more often than others.
    pub(super) fn run(&self, run: usize, first: usize) -> impl Iterator<Item = (&Address<N>, Tick)> {
        let count = self.slots.len();
        let len = RUN.min(count.saturating_sub(run * RUN));
        let at = (first + run * RUN).checked_rem(count).unwrap_or(0);
        let start = self.slots.run(at, len);
        // The rest is on the next page, or on the first one.
        let next = if at + start.len() < count { at + start.len() } else { 0 };
        let rest = self.slots.run(next, len - start.len());
        let slots = start.iter().chain(rest).filter(|slot| !slot.is_free());
        slots.map(|slot| (&slot.address, Tick::from_le_bytes(slot.until)))
    }

    /// Takes out those whose hash `goes`, as a part of their own. Both have room then.
    pub(super) fn split(&mut self, key: u64, goes: impl Fn(u64) -> bool) -> Self {
        let is_going = |slot: &Slot<N>| goes(hash(&slot.address, key));
        let going = self.slots.iter().filter(|slot| !slot.is_free() && is_going(slot)).count();
        let staying = (self.len as usize).saturating_sub(going);
        let old = std::mem::replace(&mut self.slots, Slots::new(roomy(staying), Slot::FREE));
        let mut other = Self { slots: Slots::new(roomy(going), Slot::FREE), len: 0 };
        self.len = 0;
        for slot in old.iter().filter(|slot| !slot.is_free()) {
            let to = if is_going(slot) { &mut other } else { &mut *self };
            to.place(*slot, key);
            to.len += 1;
        }
        other
    }

    /// Every peer, with the tick until which it is remembered.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Address<N>, Tick)> {
        self.slots
            .iter()
            .filter(|slot| !slot.is_free())
            .map(|slot| (&slot.address, Tick::from_le_bytes(slot.until)))
    }

    fn find(&self, address: &Address<N>, key: u64) -> Option<usize> {
        let count = self.slots.len();
        let mut at = self.home(address, key);
        for _ in 0..count {
            let slot = self.slots.get(at)?;
            if slot.is_free() {
                return None;
            }
            if slot.address == *address {
                return Some(at);
            }
            at = (at + 1) % count;
        }
        None
    }

    /// The slot an address goes to if it is free. 0 in an empty table.
    fn home(&self, address: &Address<N>, key: u64) -> usize {
        let scaled = u128::from(hash(address, key)) * self.slots.len() as u128;
        usize::try_from(scaled >> 64).unwrap_or_default()
    }

    fn place(&mut self, new: Slot<N>, key: u64) {
        let count = self.slots.len();
        let mut at = self.home(&new.address, key);
        for _ in 0..count {
            match self.slots.get_mut(at) {
                Some(slot) if slot.is_free() => {
                    *slot = new;
                    return;
                }
                _ => at = (at + 1) % count,
            }
        }
        debug_assert!(false, "no free slot: the table is grown before it is full");
    }

    /// Frees the slot `at`, moving later records of its run back so that each can still be reached from its home.
    fn vacate(&mut self, at: usize, key: u64) {
        let count = self.slots.len();
        let (mut hole, mut next) = (at, at);
        for _ in 0..count {
            next = (next + 1) % count;
            let Some(&slot) = self.slots.get(next).filter(|slot| !slot.is_free()) else { break };
            let home = self.home(&slot.address, key);
            // The distances from the record's home, around the end: it may move if the hole is not before its home.
            if (next + count - home) % count >= (next + count - hole) % count {
                if let Some(free) = self.slots.get_mut(hole) {
                    *free = slot;
                }
                hole = next;
            }
        }
        if let Some(free) = self.slots.get_mut(hole) {
            *free = Slot::FREE;
        }
        self.len = self.len.saturating_sub(1);
    }

    fn shrink(&mut self, key: u64) {
        let count = self.slots.len();
        if self.len == 0 {
            self.slots = Slots::none();
        } else if count > 4 * MIN_SLOTS && (self.len as usize) * 4 < count {
            self.resize(roomy(self.len as usize), key);
        }
    }

    fn resize(&mut self, count: usize, key: u64) {
        let old = std::mem::replace(&mut self.slots, Slots::new(count, Slot::FREE));
        for slot in old.iter().filter(|slot| !slot.is_free()) {
            self.place(*slot, key);
        }
    }
}

/// Slots for so many records and some more.
const fn roomy(len: usize) -> usize {
    if len == 0 { 0 } else { len * 5 / 4 + 1 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn address(number: u16) -> Address<6> {
        let [high, low] = number.to_be_bytes();
        [10, 0, high, low, 0x1a, 0xe1]
    }

    fn filled(count: u16, key: u64) -> Part<6> {
        let mut table = Part::new();
        (0..count).for_each(|n| assert!(table.insert(address(n), n, key)));
        table
    }

    #[test]
    fn a_record_is_eight_bytes_and_a_peer_at_most_twelve() {
        assert_eq!(size_of::<Slot<6>>(), 8);
        assert_eq!(size_of::<Slot<18>>(), 20);
        let mut table = Part::<6>::new();
        for number in 0..20_000 {
            table.insert(address(number), 0, 1);
            if number > 100 {
                assert!(table.slot_count() * 8 <= 12 * usize::from(number + 1), "{number}");
            }
        }
        for number in 0..19_999 {
            table.remove(&address(number), 1);
        }
        assert!(table.slot_count() <= 12, "it shrinks: {}", table.slot_count());
    }

    #[test]
    fn expiry_goes_on_where_it_stopped() {
        let mut table = filled(1000, 5);
        let now = 500;
        let (mut at, mut steps) = (0, 0);
        while let Some(next) = table.expire(now, at, 64, 5) {
            at = next;
            steps += 1;
        }
        assert!(steps > 10);
        assert_eq!(table.len(), 500);
        assert!(table.iter().all(|(_, until)| until >= 500));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u16),
        Remove(u16),
        Expire(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..300_u16).prop_map(Step::Insert),
            3 => (0..300_u16).prop_map(Step::Remove),
            1 => (0..400_u16).prop_map(Step::Expire),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_behaves_like_a_map(steps in prop::collection::vec(step(), 1..600), key: u64) {
            let mut table = Part::<6>::new();
            let mut map = HashMap::new();
            for (now, step) in (0_u16..).zip(steps) {
                match step {
                    Step::Insert(n) => {
                        prop_assert_eq!(table.insert(address(n), now, key), map.insert(address(n), now).is_none());
                    }
                    Step::Remove(n) => {
                        prop_assert_eq!(table.remove(&address(n), key), map.remove(&address(n)).is_some());
                    }
                    Step::Expire(lifetime) => {
                        let now = now.wrapping_sub(lifetime);
                        table.expire(now, 0, usize::MAX, key);
                        map.retain(|_, &mut until| !is_past(until, now));
                    }
                }
                prop_assert_eq!(table.len() as usize, map.len());
                let have: HashMap<_, _> = table.iter().map(|(a, until)| (*a, until)).collect();
                prop_assert_eq!(&have, &map);
                prop_assert!(map.keys().all(|a| table.find(a, key).is_some()));
            }
        }
    }
}
