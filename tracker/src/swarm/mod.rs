//! Who shares what: the one owner of peers. Everything else sees [`Swarms`] and the few plain types here.
//!
//! A peer is its address and port: no peer ids are kept (20 bytes each, and nobody has needed them since compact
//! answers), so "not in its own answer" means by address, and lists in dictionary form carry no `peer id`. A peer that
//! comes back on another port is a second peer until the first expires.
//!
//! The swarms are spread over [`SHARDS`] locks by a keyed hash of the info-hash. A lock is held for one announce, or
//! for one bounded step of anything else: no announce waits for a sweep, or until a table has grown. Time and randomness are
//! arguments.
//!
//! Small swarms are packed ([`small`], [`slabs`]) and found by an [`index`]; large ones have tables ([`large`], [`table`]).
//! [`shard`] has both, [`members`] is what both can do, [`door`] is who may work with them, [`evict`] tells what goes when
//! there is too much.

mod address;
mod choice;
mod door;
mod evict;
mod hash;
mod index;
mod large;
mod members;
pub mod pace;
mod part;
mod shard;
mod show;
mod slabs;
mod slots;
mod small;
mod sweep;
mod table;
mod tick;
mod types;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use torrent_common::announce::{AnnouncedPeer, ScrapeEntry};
use torrent_common::ids::InfoHash;

use crate::near::Sites;
use address::{Asker, Packed};
use door::Door;
use evict::Want;
use hash::hash;
use index::SHARD_BITS;
use members::Members;
use pace::Pace;
use shard::{INDEX_PARTS, Shard};
use slabs::Block;
use tick::{Tick, Ticks};
pub use types::{Action, Full, Limits, PeerImage, Retired, Role, SwarmImage, Totals, Visit, Visited};

/// Number of locks: also the number of parts that sweeps are made in.
pub const SHARDS: usize = 1 << SHARD_BITS;

/// Number of parts that the swarms are shown in.
pub const PARTS: usize = SHARDS * INDEX_PARTS;

/// Times that a place is looked for, should others take it.
const EVICTIONS: usize = 8;

/// Peers of one host in a small swarm, beyond which it takes its own places when the tracker is full.
const HOST_SHARE: usize = 3;

/// All swarms.
pub struct Swarms {
    doors: Box<[Door]>,
    /// Peers in each of them.
    loads: Box<[AtomicUsize]>,
    /// Secret, random: hashes are keyed with it.
    key: u64,
    pace: Pace,
    sites: Sites,
    ticks: Ticks,
    limits: Limits,
    swarms: AtomicUsize,
    peers: AtomicUsize,
    seeders: AtomicUsize,
    evictions: AtomicUsize,
    /// With downloads, forgotten since the last sweep because the tracker was full.
    evicted: Mutex<Vec<Retired>>,
}

/// Whether there is a place for a peer.
enum Place {
    /// It has one, or there is one.
    Free,
    /// Another of the swarm has gone for it: the swarm is to be looked for again.
    Moved,
    /// Something has to go: not in this swarm.
    Taken(Want),
}

impl Swarms {
    /// No swarms.
    pub fn new(pace: Pace, limits: Limits, random: &mut fastrand::Rng) -> Self {
        let key = random.u64(..);
        Self {
            doors: (0..SHARDS).map(|_| Door::new(Shard::new(key))).collect(),
            loads: (0..SHARDS).map(|_| AtomicUsize::new(0)).collect(),
            key,
            ticks: Ticks::new(pace.longest_lifetime_s()),
            pace,
            sites: Sites::default(),
            limits,
            swarms: AtomicUsize::new(0),
            peers: AtomicUsize::new(0),
            seeders: AtomicUsize::new(0),
            evictions: AtomicUsize::new(0),
            evicted: Mutex::default(),
        }
    }

    /// The same, but peers near the one who asks come first.
    pub fn with_sites(self, sites: Sites) -> Self {
        Self { sites, ..self }
    }

    /// How soon peers announce again.
    pub const fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Takes note of an announce, and appends up to [`Visit::wanted`] other peers to `peers`, chosen at random
    /// but that near ones come first (see [`Swarms::with_sites`]). `now_s` is in seconds since any fixed moment. Where there are as many as may be, something else is forgotten for a
    /// newcomer.
    ///
    /// # Errors
    /// [`Full`]: nothing was noted.
    pub fn announce(
        &self,
        visit: &Visit,
        now_s: u32,
        random: &mut fastrand::Rng,
        peers: &mut Vec<AnnouncedPeer>,
    ) -> Result<Visited, Full> {
        let now = self.ticks.at(now_s);
        let address = Packed::new(visit.address);
        let hash = hash(visit.info_hash.as_bytes(), self.key);
        if visit.action == Action::Leave {
            return Ok(self.leave(visit, hash, &address, now, random));
        }
        for _ in 0..EVICTIONS {
            let (number, mut shard) = self.shard_of(hash);
            let at = shard.find(hash, &visit.info_hash);
            match self.place(&mut shard, number, at, hash, &address, now, random) {
                Place::Free => {
                    if at.is_none() {
                        self.swarms.fetch_add(1, Ordering::Relaxed);
                    }
                    let newcomer = Some((&address, visit.role));
                    return Ok(shard.with(hash, &visit.info_hash, at, now, newcomer, |swarm| {
                        self.attend(swarm, number, visit, address, now, random, peers)
                    }));
                }
                Place::Moved => {}
                Place::Taken(want) => {
                    drop(shard);
                    if !self.evict(want, &address, &visit.info_hash, now, random) {
                        break;
                    }
                }
            }
        }
        Err(Full)
    }

    /// The counts of a swarm; zeros if there is none.
    pub fn scrape(&self, info_hash: &InfoHash, now_s: u32) -> ScrapeEntry {
        self.scrape_with_downloaders(info_hash, now_s).0
    }

    /// The same, and how many of the incomplete download: all but the partial seeds (BEP 21).
    pub fn scrape_with_downloaders(&self, info_hash: &InfoHash, now_s: u32) -> (ScrapeEntry, u32) {
        let now = self.ticks.at(now_s);
        let hash = hash(info_hash.as_bytes(), self.key);
        let (number, mut shard) = self.shard_of(hash);
        let Some(at) = shard.find(hash, info_hash) else { return (ScrapeEntry::default(), 0) };
        shard.with(hash, info_hash, Some(at), now, None, |swarm| {
            let before = swarm.counts();
            swarm.expire_if_small(now, self.key);
            self.count(number, before, swarm.counts());
            (swarm.counts(), swarm.count_of(Role::Leecher))
        })
    }

    /// Sums over all swarms, as of the last sweep.
    pub fn totals(&self) -> Totals {
        Totals {
            swarms: self.swarms.load(Ordering::Relaxed),
            peers: self.peers.load(Ordering::Relaxed),
            seeders: self.seeders.load(Ordering::Relaxed),
        }
    }

    /// An announce of a peer for which there is a place.
    #[expect(clippy::too_many_arguments, reason = "the parts of one announce")]
    fn attend(
        &self,
        swarm: &mut dyn Members,
        number: usize,
        visit: &Visit,
        address: Packed,
        now: Tick,
        random: &mut fastrand::Rng,
        told: &mut Vec<AnnouncedPeer>,
    ) -> Visited {
        let before = swarm.counts();
        let (mut interval_s, until) = self.term(swarm, now, random);
        let was = swarm.insert(address, visit.role, until, self.key);
        if was != Some(visit.role) {
            swarm.note_change(now, random);
            let until;
            (interval_s, until) = self.term(swarm, now, random);
            swarm.insert(address, visit.role, until, self.key);
        }
        if visit.action == Action::Complete && visit.role == Role::Seeder && was != Some(Role::Seeder) {
            swarm.add_downloads(1);
        }
        swarm.expire_if_small(now, self.key);
        let counts = swarm.counts();
        self.count(number, before, counts);
        let asker = Asker { address, role: visit.role, family: visit.family };
        let chosen = self.sites.near(visit.address.ip()).and_then(|near| {
            let steady = &mut self.steady(&address, now);
            choice::choose(&*swarm, visit.wanted, (&asker, &near), now, (random, steady))
        });
        match chosen {
            Some(chosen) => {
                told.extend(chosen.into_iter().map(|address| AnnouncedPeer { address, peer_id: None }));
            }
            None => swarm.sample(visit.wanted, &asker, now, random, told),
        }
        Visited { counts, interval_s }
    }

    fn leave(
        &self,
        visit: &Visit,
        hash: u64,
        address: &Packed,
        now: Tick,
        random: &mut fastrand::Rng,
    ) -> Visited {
        let interval_s = self.pace.interval_s(0, random);
        let (number, mut shard) = self.shard_of(hash);
        let Some(at) = shard.find(hash, &visit.info_hash) else {
            return Visited { counts: ScrapeEntry::default(), interval_s };
        };
        let counts = shard.with(hash, &visit.info_hash, Some(at), now, None, |swarm| {
            let before = swarm.counts();
            swarm.remove(address, self.key);
            swarm.expire_if_small(now, self.key);
            self.count(number, before, swarm.counts());
            swarm.counts()
        });
        // One without counts worth keeping goes at once; others wait for the sweep.
        if counts == ScrapeEntry::default()
            && let Some(at) = shard.find(hash, &visit.info_hash)
        {
            shard.remove(hash, at);
            self.swarms.fetch_sub(1, Ordering::Relaxed);
        }
        Visited { counts, interval_s }
    }

    /// Whether there is a place for a visitor. In a swarm that is large, or has many of the visitor's host, one is made.
    #[expect(clippy::too_many_arguments, reason = "the parts of one announce")]
    fn place(
        &self,
        shard: &mut Shard,
        number: usize,
        at: Option<Block>,
        hash: u64,
        address: &Packed,
        now: Tick,
        random: &mut fastrand::Rng,
    ) -> Place {
        let is_full = self.peers.load(Ordering::Relaxed) >= self.limits.peers;
        let Some(at) = at else {
            let swarms = self.swarms.load(Ordering::Relaxed);
            return match (is_full, swarms >= self.limits.swarms) {
                (_, true) => Place::Taken(Want::Swarm),
                (true, false) => Place::Taken(Want::Peer),
                (false, false) => Place::Free,
            };
        };
        if !is_full {
            return Place::Free;
        }
        if let Some(large) = shard.large_mut(at) {
            let before = large.counts();
            let has_place =
                large.contains(address, self.key) || large.evict_one(address, now, self.key, random);
            self.note_eviction(large.counts() != before);
            self.count(number, before, large.counts());
            return if has_place { Place::Free } else { Place::Taken(Want::Peer) };
        }
        let mut small = shard.small(at);
        if small.contains(address, self.key) {
            return Place::Free;
        }
        let is_alone = self.swarms.load(Ordering::Relaxed) <= 1;
        if is_alone || small.iter().filter(|(peer, ..)| peer.is_of_host(address)).count() >= HOST_SHARE {
            let before = small.counts();
            self.note_eviction(small.evict_one(address, now, self.key, random));
            self.count(number, before, small.counts());
            shard.store(hash, at, &small);
            // The block may have moved: it is looked for again.
            return if small.counts() == before { Place::Taken(Want::Peer) } else { Place::Moved };
        }
        Place::Taken(Want::Peer)
    }

    /// The shard that a swarm belongs to, by its hash's highest bits.
    fn shard_of(&self, hash: u64) -> (usize, MutexGuard<'_, Shard>) {
        let at = shard_number(hash);
        // There are as many shards as so many bits can say.
        #[expect(clippy::indexing_slicing, reason = "at < SHARDS by the shift")]
        (at, self.doors[at].enter())
    }

    /// In how many seconds a peer is to announce again, and until when it is remembered.
    fn term(&self, swarm: &dyn Members, now: Tick, random: &mut fastrand::Rng) -> (u32, Tick) {
        let interval_s = self.pace.interval_s(self.ticks.seconds(swarm.quiet(now)), random);
        (interval_s, now.wrapping_add(self.ticks.span(Pace::lifetime_s(interval_s))))
    }

    /// Randomness that is the same for a while, to choose who is told to a peer again.
    fn steady(&self, peer: &Packed, now: Tick) -> fastrand::Rng {
        let while_s = self.ticks.seconds(now) / choice::STEADY_S;
        fastrand::Rng::with_seed(peer.hash(self.key ^ u64::from(while_s)))
    }

    /// Brings the sums up to date with one swarm's change. `number` is its shard's.
    fn count(&self, number: usize, before: ScrapeEntry, after: ScrapeEntry) {
        let change = |sum: &AtomicUsize, before: u32, after: u32| {
            if after > before {
                sum.fetch_add((after - before) as usize, Ordering::Relaxed);
            } else if before > after {
                sum.fetch_sub((before - after) as usize, Ordering::Relaxed);
            }
        };
        let peers = |counts: ScrapeEntry| counts.complete + counts.incomplete;
        change(&self.seeders, before.complete, after.complete);
        change(&self.peers, peers(before), peers(after));
        if let Some(load) = self.loads.get(number) {
            change(load, peers(before), peers(after));
        }
    }
}

fn shard_number(hash: u64) -> usize {
    usize::try_from(hash >> (u64::BITS - SHARD_BITS)).unwrap_or_default()
}

/// A panic elsewhere under the lock is a bug, but no reason to stop serving: tables stay consistent enough to go on.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod evict_tests;
#[cfg(test)]
mod members_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
