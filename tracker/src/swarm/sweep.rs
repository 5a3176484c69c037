//! What is done to all swarms from time to time, in steps: the lock of a shard is taken for each.

use torrent_common::ids::InfoHash;

use super::door::Door;
use super::hash::hash;
use super::large::Sweep;
use super::members::Members;
use super::pace::Demand;
use super::shard::{INDEX_PARTS, Shard, classes};
use super::slabs::Block;
use super::tick::Tick;
use super::{Retired, Swarms, held};

/// Slots of a large swarm looked at under one lock: two or three microseconds, for which a waiter spins and does not sleep.
const SWEEP_SLOTS: usize = 1024;
/// Small swarms looked at under one lock: the same.
const SWEEP_SWARMS: u32 = 16;

impl Swarms {
    /// Forgets the silent peers of shard number `shard` (below [`super::SHARDS`]) and its empty swarms. Those in which
    /// downloads were counted are appended to `retired`, with those that were forgotten since the last sweep for want of
    /// room. The lock is taken for bounded steps: whoever announces meanwhile waits for one of them at most. Returns what
    /// the rest asks of the tracker.
    pub fn sweep(&self, shard: usize, now_s: u32, retired: &mut Vec<Retired>) -> Demand {
        let now = self.ticks.at(now_s);
        retired.append(&mut held(&self.evicted));
        let Some(door) = self.doors.get(shard) else { return Demand::default() };
        let mut demand = Demand::default();
        // From the last to the first, and from short blocks to long ones: what moves meanwhile into a place that was looked
        // at has been looked at, or was announced to, which is as good.
        for class in classes() {
            let mut rest = door.enter_last().count_of(class);
            while rest > 0 {
                let mut swarms = door.enter_last();
                rest = rest.min(swarms.count_of(class));
                for number in (rest.saturating_sub(SWEEP_SWARMS)..rest).rev() {
                    demand += self.sweep_small(&mut swarms, shard, Block { class, number }, now, retired);
                }
                rest = rest.saturating_sub(SWEEP_SWARMS);
            }
        }
        // Likewise, one by one.
        let mut rest = usize::MAX;
        loop {
            let info_hash = {
                let swarms = door.enter_last();
                rest = rest.min(swarms.large().len());
                rest.checked_sub(1).and_then(|last| swarms.large().get(last)).map(|large| *large.info_hash())
            };
            let Some(info_hash) = info_hash else { break };
            demand += self.sweep_large(door, shard, &info_hash, now, retired);
            rest -= 1;
        }
        demand
    }

    /// Forgets all swarms but those of the torrents that `keep` says. Those in which downloads were counted are appended to
    /// `retired`.
    pub fn retain(&self, keep: impl Fn(&InfoHash) -> bool, retired: &mut Vec<Retired>) {
        for (number, door) in self.doors.iter().enumerate() {
            for part in 0..INDEX_PARTS {
                let info_hashes = door.enter_last().part(part);
                for info_hash in info_hashes.iter().filter(|info_hash| !keep(info_hash)) {
                    let mut shard = door.enter_last();
                    let hash = hash(info_hash.as_bytes(), self.key);
                    let Some(at) = shard.find(hash, info_hash) else { continue };
                    match shard.large_mut(at) {
                        Some(large) => self.note_gone(number, large, info_hash, retired),
                        None => self.note_gone(number, &shard.small(at), info_hash, retired),
                    }
                    shard.remove(hash, at);
                }
            }
        }
    }

    fn sweep_small(
        &self,
        shard: &mut Shard,
        number: usize,
        block: Block,
        now: Tick,
        retired: &mut Vec<Retired>,
    ) -> Demand {
        let mut small = shard.small(block);
        let (before, changed) = (small.counts(), small.changed());
        small.expire(now);
        let is_other = small.counts() != before || small.changed() != changed;
        self.count(number, before, small.counts());
        if small.is_empty() {
            self.note_gone(number, &small, small.info_hash(), retired);
            shard.remove(hash(small.info_hash().as_bytes(), self.key), block);
            return Demand::default();
        }
        if is_other {
            shard.store(hash(small.info_hash().as_bytes(), self.key), block, &small);
        }
        self.demand(&small, now)
    }

    fn sweep_large(
        &self,
        door: &Door,
        number: usize,
        info_hash: &InfoHash,
        now: Tick,
        retired: &mut Vec<Retired>,
    ) -> Demand {
        let hash = hash(info_hash.as_bytes(), self.key);
        let mut from = Sweep::default();
        loop {
            let mut shard = door.enter_last();
            let Some(at) = shard.find(hash, info_hash) else { return Demand::default() };
            let Some(large) = shard.large_mut(at) else { return Demand::default() };
            let before = large.counts();
            let rest = large.expire(now, from, SWEEP_SLOTS, self.key);
            self.count(number, before, large.counts());
            if let Some(rest) = rest {
                from = rest;
                continue;
            }
            if large.is_empty() {
                self.note_gone(number, large, info_hash, retired);
                shard.remove(hash, at);
                return Demand::default();
            }
            let demand = self.demand(large, now);
            if Shard::may_shrink(large) {
                shard.shrink(hash, at);
            }
            return demand;
        }
    }

    /// What the peers of a swarm ask of the tracker.
    fn demand(&self, swarm: &dyn Members, now: Tick) -> Demand {
        let counts = swarm.counts();
        self.pace.demand(counts.complete + counts.incomplete, self.ticks.seconds(swarm.quiet(now)))
    }
}
