//! The peers of one large swarm that are alike: one address family, all seeders, leechers or partial seeds. Made of
//! [`Part`]s of about [`PART_LEN`] peers, to which the low bits of their hashes assign them: so it grows and shrinks by
//! one part at a time (linear hashing), and no announce waits until a table of a million has been moved.

use std::ops::ControlFlow;

use super::address::Address;
use super::hash::{coprime_stride, hash};
use super::part::{Part, RUN};
use super::tick::{Tick, is_past};

/// Peers of a part in the mean, at the most. To divide one takes about ten microseconds.
const PART_LEN: usize = 1024;
/// Two parts become one when there are so few peers to a part.
const FEW_LEN: usize = PART_LEN / 4;
/// Runs that a search looks at in a row: four cache lines, which the processor reads ahead.
const STRETCH: usize = 4;
/// Parts put back into others in one step of a sweep: with some hundred peers each, as long as the rest of the step.
const JOINS: usize = 4;

/// A set of addresses with the tick until which each is remembered.
pub(super) struct Table<const N: usize> {
    /// Part 0: most tables have no other.
    first: Part<N>,
    more: Vec<Part<N>>,
    len: u32,
    /// The most runs that a part has had, since there was a single one.
    most_runs: u32,
}

/// A place in a table: the part, and the slot in it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cursor {
    part: usize,
    slot: usize,
}

impl<const N: usize> Table<N> {
    pub(super) fn new() -> Self {
        Self { first: Part::new(), more: Vec::new(), len: 0, most_runs: 0 }
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Its slots, if it has one part: then one announce can look at all of them.
    pub(super) fn slots_of_one_part(&self) -> Option<usize> {
        self.is_one_part().then(|| self.first.slot_count())
    }

    const fn is_one_part(&self) -> bool {
        self.more.is_empty()
    }

    /// Adds or refreshes a peer (its port is not 0). True if it was not there.
    pub(super) fn insert(&mut self, address: Address<N>, until: Tick, key: u64) -> bool {
        let at = self.part_of(hash(&address, key));
        let Some(part) = self.part_mut(at) else { return false };
        let is_new = part.insert(address, until, key);
        let runs = u32::try_from(part.run_count()).unwrap_or(u32::MAX);
        self.most_runs = self.most_runs.max(runs);
        if is_new {
            self.len += 1;
            if self.len as usize > self.part_count() * PART_LEN {
                self.divide(key);
            }
        }
        is_new
    }

    pub(super) fn contains(&self, address: &Address<N>, key: u64) -> bool {
        self.part(self.part_of(hash(address, key))).is_some_and(|part| part.contains(address, key))
    }

    /// Removes a peer. True if it was there.
    pub(super) fn remove(&mut self, address: &Address<N>, key: u64) -> bool {
        let at = self.part_of(hash(address, key));
        let was_there = self.part_mut(at).is_some_and(|part| part.remove(address, key));
        if was_there {
            self.len = self.len.saturating_sub(1);
            self.join_if_empty(key);
        }
        was_there
    }

    /// Forgets those whose time is over from `from` on, looking at no more than `budget` slots. Returns where to go on, if
    /// there is more.
    pub(super) fn expire(&mut self, now: Tick, from: Cursor, budget: usize, key: u64) -> Option<Cursor> {
        let Cursor { part: mut at, mut slot } = from;
        let mut budget = budget;
        while let Some(part) = self.part_mut(at) {
            if budget == 0 {
                return Some(Cursor { part: at, slot });
            }
            let (before, len) = (part.slot_count(), part.len());
            let rest = part.expire(now, slot, budget, key);
            let gone = len - part.len();
            self.len = self.len.saturating_sub(gone);
            if let Some(slot) = rest {
                return Some(Cursor { part: at, slot });
            }
            budget = budget.saturating_sub(before.saturating_sub(slot).max(1));
            (at, slot) = (at + 1, 0);
        }
        // Behind the last part: then there are but parts to be put back.
        let is_done = (0..JOINS).any(|_| !self.join_if_empty(key));
        (!is_done).then(|| Cursor { part: self.part_count(), slot: 0 })
    }

    /// The peer in a slot chosen at random, if there is one: every peer as likely as any other. For samples of hardly any,
    /// in which a walk would favour peers behind free slots.
    pub(super) fn pick(&self, random: &mut fastrand::Rng) -> Option<(&Address<N>, Tick)> {
        // As if all parts were as long as the longest.
        let slots =
            if self.is_one_part() { self.first.slot_count() } else { self.most_runs as usize * RUN }.max(1);
        let part = self.part(random.usize(..self.part_count()))?;
        part.slot(random.usize(..slots))
    }

    /// Shows peers, also those whose time is over, in a random order, each once, until `take` is false or about `most_runs`
    /// runs of slots have been looked at; says whether `take` broke off. Runs, not single slots: those would cost a look
    /// into memory each. Every run of every part has a number, as if all parts were as long as the longest; a random stride
    /// comes by each number once.
    pub(super) fn walk(
        &self,
        most_runs: usize,
        random: &mut fastrand::Rng,
        mut take: impl FnMut(&Address<N>, Tick) -> bool,
    ) -> ControlFlow<()> {
        let runs = if self.is_one_part() { self.first.run_count() } else { self.most_runs as usize }.max(1);
        let numbers = runs * self.part_count();
        let (first, stride) = (random.usize(..), coprime_stride(numbers, random));
        let mut number = random.usize(..numbers);
        let mut looked = 0;
        for _ in 0..numbers {
            let (at, run) = if self.is_one_part() { (0, number) } else { (number / runs, number % runs) };
            if let Some(part) = self.part(at).filter(|part| run < part.run_count()) {
                for (address, until) in part.run(run, first >> 1) {
                    if !take(address, until) {
                        return ControlFlow::Break(());
                    }
                }
                looked += 1;
                if looked >= most_runs {
                    break;
                }
            }
            number += stride;
            if number >= numbers {
                number -= numbers;
            }
        }
        ControlFlow::Continue(())
    }

    /// Shows peers whose time is not over, each once, until `take` is false or about `most_slots` slots have been looked at;
    /// says whether `take` broke off. Part by part from a random one on, for searches, which take few of those that they
    /// see; within a part in a random order, or peers in thinly filled places would be taken more often.
    pub(super) fn search(
        &self,
        now: Tick,
        most_slots: usize,
        random: &mut fastrand::Rng,
        mut take: impl FnMut(&Address<N>) -> bool,
    ) -> ControlFlow<()> {
        let (start, first) = (random.usize(..self.part_count()), random.usize(..) >> 1);
        let mut runs_left = most_slots.div_ceil(RUN);
        for part in (start..self.part_count()).chain(0..start).filter_map(|at| self.part(at)) {
            let stretches = part.run_count().div_ceil(STRETCH);
            let stride = coprime_stride(stretches.max(1), random);
            let mut stretch = random.usize(..stretches.max(1));
            for _ in 0..stretches {
                for run in (stretch * STRETCH..part.run_count()).take(STRETCH.min(runs_left)) {
                    for (address, until) in part.run(run, first) {
                        if !is_past(until, now) && !take(address) {
                            return ControlFlow::Break(());
                        }
                    }
                    runs_left -= 1;
                }
                if runs_left == 0 {
                    return ControlFlow::Continue(());
                }
                stretch = (stretch + stride) % stretches;
            }
        }
        ControlFlow::Continue(())
    }

    /// The peers of part number `part`, each with the tick until which it is remembered; `None`: there is no such part.
    pub(super) fn iter_part(&self, part: usize) -> Option<impl Iterator<Item = (&Address<N>, Tick)>> {
        self.part(part).map(Part::iter)
    }

    /// Every peer.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Address<N>, Tick)> {
        self.parts().flat_map(Part::iter)
    }

    const fn part_count(&self) -> usize {
        1 + self.more.len()
    }

    fn parts(&self) -> impl Iterator<Item = &Part<N>> {
        std::iter::once(&self.first).chain(&self.more)
    }

    fn part(&self, at: usize) -> Option<&Part<N>> {
        at.checked_sub(1).map_or(Some(&self.first), |at| self.more.get(at))
    }

    fn part_mut(&mut self, at: usize) -> Option<&mut Part<N>> {
        match at.checked_sub(1) {
            None => Some(&mut self.first),
            Some(at) => self.more.get_mut(at),
        }
    }

    /// The part that a peer belongs to. With parts between two powers of two, those that have been divided already take
    /// one bit more of the hash.
    fn part_of(&self, hash: u64) -> usize {
        let count = self.part_count();
        let mask = count.next_power_of_two() - 1;
        let low = low_bits(hash) & mask;
        if low < count { low } else { low & (mask >> 1) }
    }

    /// Makes one part more, of half of the one whose turn it is.
    fn divide(&mut self, key: u64) {
        let new = self.part_count();
        let bit = 1 << new.ilog2();
        let goes = |hash: u64| low_bits(hash) & bit != 0;
        let Some(part) = self.part_mut(new ^ bit) else { return };
        let part = part.split(key, goes);
        if self.more.capacity() == self.more.len() {
            self.more.reserve_exact(self.more.len() / 8 + 1);
        }
        self.more.push(part);
    }

    /// Puts the last part back into the one that it came from, if there are few peers to a part. False if not.
    fn join_if_empty(&mut self, key: u64) -> bool {
        if self.is_one_part() || self.len as usize > self.part_count() * FEW_LEN {
            return false;
        }
        let Some(last) = self.more.pop() else { return false };
        let from = self.part_count();
        let Some(part) = self.part_mut(from ^ (1 << from.ilog2())) else { return false };
        for (address, until) in last.iter() {
            part.insert(*address, until, key);
        }
        if self.is_one_part() {
            self.more = Vec::new();
            self.most_runs = 0;
        }
        true
    }
}

fn low_bits(hash: u64) -> usize {
    usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
