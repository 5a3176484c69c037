//! The peers of one swarm that are alike: one address family, all seeders or all leechers. A hash table with linear
//! probing over records of address and time (until when it is remembered), without pointers: 8 bytes a slot for IPv4, 20 for IPv6.
//!
//! It grows by a quarter when it is 7/8 full and shrinks when it is nearly empty, so an IPv4 peer costs 9 to 12 bytes
//! in all but the smallest tables.

use std::ops::ControlFlow;

/// A moment: ticks of the store's clock, which wrap around. See [`super::Ticks`].
pub(super) type Tick = u16;

/// Whether a peer that is to be forgotten after `until` is past that. It may have been so for half the range of ticks.
pub(super) const fn is_past(until: Tick, now: Tick) -> bool {
    until.wrapping_sub(now) >= 1 << 15
}

/// A compact address (BEP 23, BEP 7) of `N` bytes; its last two are the port.
pub(super) type Address<const N: usize> = [u8; N];

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
pub(super) struct Table<const N: usize> {
    slots: Box<[Slot<N>]>,
    len: u32,
}

const MIN_SLOTS: usize = 3;
/// Slots that a sample takes in a row. They lie in two cache lines at the most (of IPv6: four).
const RUN: usize = 8;

impl<const N: usize> Table<N> {
    pub(super) fn new() -> Self {
        Self { slots: Box::default(), len: 0 }
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    pub(super) const fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// Adds or refreshes a peer (its port is not 0). True if it was not there.
    pub(super) fn insert(&mut self, address: Address<N>, until: Tick, key: u64) -> bool {
        if let Some(slot) = self.find(&address, key).and_then(|at| self.slots.get_mut(at)) {
            slot.until = until.to_le_bytes();
            return false;
        }
        if (self.len as usize + 1) * 8 > self.slots.len() * 7 {
            let more = self.slots.len() / 4 + 1;
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

    /// Gives `wanted` different peers whose time is not over to `take` (fewer if there are not so many), never
    /// `except`. Looks at a number of slots in proportion to `wanted`, not to the size of the table: see [`Table::visit`].
    pub(super) fn sample(
        &self,
        wanted: usize,
        except: Option<&Address<N>>,
        now: Tick,
        random: &mut fastrand::Rng,
        mut take: impl FnMut(&Address<N>),
    ) {
        let mut left = wanted;
        if left == 0 {
            return;
        }
        let _ = self.visit(usize::MAX, now, random, |address| {
            if except != Some(address) {
                take(address);
                left -= 1;
            }
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }

    /// Shows different peers whose time is not over, until `see` breaks off or about `budget` slots were looked at: one
    /// run of slots after the other, by a random stride that reaches each once. The runs are counted from a random slot on,
    /// so that none is the last, shorter one more often than others; single slots instead of runs cost a look into memory
    /// each.
    pub(super) fn visit(
        &self,
        budget: usize,
        now: Tick,
        random: &mut fastrand::Rng,
        mut see: impl FnMut(&Address<N>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let count = self.slots.len();
        if count == 0 {
            return ControlFlow::Continue(());
        }
        let runs = count.div_ceil(RUN);
        let (first, stride) = (random.usize(..count), coprime_stride(runs, random));
        let mut run = random.usize(..runs);
        for _ in 0..runs.min(budget.div_ceil(RUN)) {
            for at in run * RUN..((run + 1) * RUN).min(count) {
                let at = if first + at < count { first + at } else { first + at - count };
                if let Some(slot) = self.slots.get(at)
                    && !slot.is_free()
                    && !is_past(Tick::from_le_bytes(slot.until), now)
                {
                    see(&slot.address)?;
                }
            }
            run += stride;
            if run >= runs {
                run -= runs;
            }
        }
        ControlFlow::Continue(())
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
            self.slots = Box::default();
        } else if count > 4 * MIN_SLOTS && (self.len as usize) * 4 < count {
            self.resize(self.len as usize * 3 / 2 + 1, key);
        }
    }

    fn resize(&mut self, count: usize, key: u64) {
        let old = std::mem::replace(&mut self.slots, vec![Slot::FREE; count].into());
        for slot in old.iter().filter(|slot| !slot.is_free()) {
            self.place(*slot, key);
        }
    }
}

/// A keyed hash: `key` is secret and random, so that nobody can choose addresses that collide.
pub(super) fn hash(bytes: &[u8], key: u64) -> u64 {
    let mut state = key;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        state = mix(state ^ u64::from_le_bytes(word), 0x9e37_79b9_7f4a_7c15 ^ key.rotate_left(32));
    }
    mix(state, 0xd6e8_feb8_6659_fd93)
}

/// The two halves of the 128-bit product, folded.
fn mix(a: u64, b: u64) -> u64 {
    let [low, high] = [0, 64].map(|shift| (u128::from(a) * u128::from(b)) >> shift & u128::from(u64::MAX));
    u64::try_from(low ^ high).unwrap_or_default()
}

/// A stride below `count` (at least 1) that has no common divisor with it.
fn coprime_stride(count: usize, random: &mut fastrand::Rng) -> usize {
    const fn gcd(mut a: usize, mut b: usize) -> usize {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    }
    (0..8).map(|_| random.usize(..count).max(1)).find(|&stride| gcd(stride, count) == 1).unwrap_or(1)
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

    fn filled(count: u16, key: u64) -> Table<6> {
        let mut table = Table::new();
        (0..count).for_each(|n| assert!(table.insert(address(n), n, key)));
        table
    }

    #[test]
    fn a_record_is_eight_bytes_and_a_peer_at_most_twelve() {
        assert_eq!(size_of::<Slot<6>>(), 8);
        assert_eq!(size_of::<Slot<18>>(), 20);
        let mut table = Table::<6>::new();
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
    fn a_sample_has_no_one_twice_and_not_the_one_who_asks() {
        let mut random = fastrand::Rng::with_seed(3);
        for count in [0, 1, 2, 3, 10, 50, 1000] {
            let table = filled(count, 7);
            for wanted in [0, 1, 2, 49, 50, 2000] {
                let mut seen = Vec::new();
                table.sample(wanted, Some(&address(0)), 0, &mut random, |a| seen.push(*a));
                assert_eq!(seen.len(), wanted.min(usize::from(count).saturating_sub(1)), "{count} {wanted}");
                assert!(!seen.contains(&address(0)));
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen.len(), wanted.min(usize::from(count).saturating_sub(1)), "{count} {wanted}");
            }
        }
    }

    #[test]
    fn every_peer_is_sampled_about_as_often() {
        let table = filled(200, 9);
        let mut random = fastrand::Rng::with_seed(4);
        let mut times = HashMap::new();
        for _ in 0..4000 {
            table.sample(10, None, 0, &mut random, |a| *times.entry(*a).or_insert(0) += 1);
        }
        assert_eq!(times.len(), 200);
        assert!(times.values().all(|&n| (100..=320).contains(&n)), "{times:?}");
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
        let mut seen = 0;
        table.sample(1000, None, now, &mut fastrand::Rng::with_seed(1), |_| seen += 1);
        assert_eq!(seen, 500);
    }

    #[test]
    fn ticks_wrap() {
        assert!(!is_past(5, 5), "until then, and then");
        assert!(is_past(4, 5));
        assert!(!is_past(5, 65_530));
        assert!(is_past(65_530, 5));
        assert!(!is_past((1 << 14) + 7, 7), "the longest lifetime");
        assert!(is_past(7, (1 << 15) + 6), "a late sweep");
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
            let mut table = Table::<6>::new();
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
