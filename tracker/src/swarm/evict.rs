//! What is forgotten when the tracker is full, so that a newcomer need not be refused.
//!
//! **A newcomer to a large swarm takes the place of one in it**, of sixteen chosen at random: of one whose time is over, of
//! one of its own host, or else of the one that would be forgotten first. So a flood of peers into one swarm turns over in that swarm.
//!
//! **Anything else takes the place of a small swarm**, of which some are looked at: those of one peer or few, some at
//! random and some of the newest. One goes whose peers would be remembered for the least time, all together: that is,
//! oldest and emptiest in one number. Peers of a young swarm are remembered for minutes, those of one that has been stable
//! for up to an hour (see [`super::pace`]); so torrents that somebody makes up go before a seed that has been there for
//! long and waits. If most peers are in large swarms, and peers are too many, one of the largest gives up one. A new swarm
//! takes the place of one of its own shard, so that all shards stay as full as they are; a new peer that of one in any, each
//! in proportion to what it has.
//!
//! **Who comes from one host again and again takes its own places**: peers of the newcomer's address (IPv6: /64) count for
//! nothing, so a swarm that has no others goes before any other that was looked at. Of a host that holds a fifth of what is
//! there, one is found nearly always. Whom it has joined in a swarm, it does not take along. A large swarm is never
//! forgotten for a new one.
//!
//! What was looked at is a constant, so whoever comes waits for about a microsecond; and what is lost are announces: an
//! honest peer is back with its next one.

use std::sync::atomic::Ordering;

use torrent_common::announce::ScrapeEntry;
use torrent_common::ids::InfoHash;

use super::address::Packed;
use super::hash::hash;
use super::members::Members;
use super::shard::{Shard, classes};
use super::slabs::Block;
use super::small::Small;
use super::tick::Tick;
use super::{Retired, SHARDS, Swarms, held, shard_number};

/// Classes of blocks in which swarms of one to three IPv4 peers are, or of one IPv6 peer.
const EMPTIEST: std::ops::RangeInclusive<u8> = 3..=7;
/// Swarms of each class looked at, at random and of the newest.
const LOOKS: u32 = 8;
/// The newest of a class.
const NEWEST: u32 = 64;
/// Shards looked at for one that has most of its peers in large swarms.
const SHARD_LOOKS: usize = 3;
/// Large swarms of which the largest gives up a peer.
const LARGE_LOOKS: usize = 4;

/// Swarms with downloads that were forgotten since the last sweep, at most: 1.5 MB. Of more the downloads are lost.
const MAX_RETIRED: usize = 1 << 16;

/// What there is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// A place for a swarm.
    Swarm,
    /// A place for a peer alone.
    Peer,
}

impl Swarms {
    /// Forgets something for `newcomer`, but not the swarm `except`: for a peer, at least one peer. False if there is
    /// nothing.
    pub(super) fn evict(
        &self,
        want: Want,
        newcomer: &Packed,
        except: &InfoHash,
        now: Tick,
        random: &mut fastrand::Rng,
    ) -> bool {
        // A place for a swarm comes from the shard that the newcomer belongs to, so that all stay as full as they are.
        let mut first = shard_number(hash(except.as_bytes(), self.key));
        if want == Want::Peer {
            for _ in 0..SHARD_LOOKS {
                // The last one that was looked at in vain is one by its share of peers in small swarms.
                first = self.busy_shard(random);
                if self.evict_from_large(first, newcomer, now, random) {
                    self.note_eviction(true);
                    return true;
                }
            }
        }
        let mut retired = Vec::new();
        // Where there are few torrents, a shard may have none of those with few peers: the others are asked before.
        let mut is_done = (0..2 * SHARDS).any(|step| {
            let number = (first + step) % SHARDS;
            let Some(door) = self.doors.get(number) else { return false };
            let shard = &mut *door.enter();
            let most = if step < SHARDS { *EMPTIEST.end() } else { u8::MAX };
            let needless =
                |small: &Small| small.info_hash() != except && (want == Want::Swarm || !small.is_empty());
            let found = dispensable(shard, most, needless, newcomer, now, random);
            let Some((block, small)) = found else { return false };
            shard.remove(hash(small.info_hash().as_bytes(), self.key), block);
            self.note_gone(number, &small, small.info_hash(), &mut retired);
            true
        });
        // There may be hardly any swarm but large ones.
        if !is_done && want == Want::Peer {
            is_done = (0..SHARDS).any(|number| self.evict_in(number, newcomer, now, random, |_| true));
        }
        self.note_eviction(is_done);
        if !retired.is_empty() {
            let mut evicted = held(&self.evicted);
            if evicted.len() < MAX_RETIRED {
                evicted.append(&mut retired);
            }
        }
        is_done
    }

    /// Times that a peer or a swarm was forgotten because there was no room for a newcomer.
    pub fn evictions(&self) -> usize {
        self.evictions.load(Ordering::Relaxed)
    }

    pub(super) fn note_eviction(&self, is_done: bool) {
        if is_done {
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes a swarm that is gone out of the sums.
    pub(super) fn note_gone(
        &self,
        shard: usize,
        swarm: &dyn Members,
        info_hash: &InfoHash,
        retired: &mut Vec<Retired>,
    ) {
        self.count(shard, swarm.counts(), ScrapeEntry::default());
        self.swarms.fetch_sub(1, Ordering::Relaxed);
        if swarm.downloaded() > 0 {
            retired.push(Retired { info_hash: *info_hash, downloaded: swarm.downloaded() });
        }
    }

    /// A shard at random, in proportion to its peers.
    fn busy_shard(&self, random: &mut fastrand::Rng) -> usize {
        let mut left = random.usize(..self.totals().peers.max(1));
        let loads = self.loads.iter().map(|load| load.load(Ordering::Relaxed));
        for (number, load) in loads.enumerate() {
            if left < load {
                return number;
            }
            left -= load;
        }
        random.usize(..SHARDS)
    }

    /// Tells of shard number `number` by chance: the more likely the more of its peers are in large swarms.
    fn is_mostly_large(
        &self,
        number: usize,
        random: &mut fastrand::Rng,
    ) -> impl FnOnce(&Shard) -> bool + use<> {
        let load = self.loads.get(number).map_or(0, |load| load.load(Ordering::Relaxed));
        let chosen = random.usize(..load.max(1));
        move |shard| {
            let peers = |class| shard.count_of(class) as usize * usize::from(class).saturating_sub(3);
            chosen >= classes().map(peers).sum()
        }
    }

    /// Forgets a peer of a large swarm of shard number `number`, if that has most of its peers in such.
    fn evict_from_large(
        &self,
        number: usize,
        newcomer: &Packed,
        now: Tick,
        random: &mut fastrand::Rng,
    ) -> bool {
        let is_mostly_large = self.is_mostly_large(number, random);
        self.evict_in(number, newcomer, now, random, is_mostly_large)
    }

    /// Forgets a peer of a large swarm of shard number `number`, if `is_apt` says so of the shard.
    fn evict_in(
        &self,
        number: usize,
        newcomer: &Packed,
        now: Tick,
        random: &mut fastrand::Rng,
        is_apt: impl FnOnce(&Shard) -> bool,
    ) -> bool {
        let Some(door) = self.doors.get(number) else { return false };
        let shard = &mut *door.enter();
        let count = shard.large().len();
        if count == 0 || !is_apt(shard) {
            return false;
        }
        let looks = (0..LARGE_LOOKS).filter_map(|_| shard.large().get(random.usize(..count)));
        let Some(info_hash) = looks
            .max_by_key(|large| large.counts().complete + large.counts().incomplete)
            .map(|large| *large.info_hash())
        else {
            return false;
        };
        let at = shard.find(hash(info_hash.as_bytes(), self.key), &info_hash);
        let Some(large) = at.and_then(|at| shard.large_mut(at)) else { return false };
        let before = large.counts();
        let is_done = large.evict_one(newcomer, now, self.key, random);
        self.count(number, before, large.counts());
        is_done
    }
}

/// The small swarm that is missed least, of some looked at: in blocks of up to `most` units, and such as `is_apt`.
fn dispensable(
    shard: &Shard,
    most: u8,
    is_apt: impl Fn(&Small) -> bool,
    newcomer: &Packed,
    now: Tick,
    random: &mut fastrand::Rng,
) -> Option<(Block, Small)> {
    let mut found: Option<(u32, Block, Small)> = None;
    for class in classes().take_while(|&class| class <= most) {
        let count = shard.count_of(class);
        if count == 0 {
            continue;
        }
        if !EMPTIEST.contains(&class) && found.is_some() {
            break;
        }
        for look in 0..2 * LOOKS {
            let from = if look < LOOKS { 0 } else { count.saturating_sub(NEWEST) };
            let block = Block { class, number: random.u32(from..count) };
            let small = shard.small(block);
            let loss = small.left(newcomer, now);
            if found.as_ref().is_none_or(|(least, ..)| loss < *least) && is_apt(&small) {
                found = Some((loss, block, small));
            }
        }
    }
    found.map(|(_, block, small)| (block, small))
}
