//! Who shares what: the one owner of peers. Everything else sees [`Swarms`] and the few plain types here.
//!
//! A peer is its address and port: no peer ids are kept (20 bytes each, and nobody has needed them since compact
//! answers), so "not in its own answer" means by address, and lists in dictionary form carry no `peer id`. A peer that
//! comes back on another port is a second peer until the first expires.
//!
//! The swarms are spread over [`SHARDS`] locks by a keyed hash of the info-hash. A lock is held for one announce, or
//! for one bounded step of a sweep: no announce waits for a sweep of everything. Time and randomness are arguments.

mod choice;
mod one;
pub mod pace;
mod table;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use torrent_common::announce::compact::Family;
use torrent_common::announce::{AnnouncedPeer, ScrapeEntry, ScrapedTorrent};
use torrent_common::ids::InfoHash;

use crate::near::Sites;
use one::{Asker, Packed, Swarm, Sweep};
use pace::{Demand, Pace};
use table::{Tick, is_past};

/// Number of locks: also the number of parts that a snapshot is taken in.
pub const SHARDS: usize = 256;

/// Slots looked at under one lock: about 20 microseconds.
const SWEEP_SLOTS: usize = 16_384;

/// Swarms of up to so many slots are swept whole whenever they are touched, so that their counts are exact.
const SMALL_SWARM_SLOTS: usize = 512;

/// What strangers can make us remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Swarms, each about 150 bytes.
    pub swarms: usize,
    /// Peers of all swarms together, about 12 bytes each (IPv6: 30).
    pub peers: usize,
}

/// 1,048,576 swarms and 16,777,216 peers: about 400 MB at the worst.
impl Default for Limits {
    fn default() -> Self {
        Self { swarms: 1 << 20, peers: 1 << 24 }
    }
}

/// What a peer does by announcing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is there.
    Stay,
    /// It has just completed its download.
    Complete,
    /// It leaves: it is forgotten at once, and gets no peers.
    Leave,
}

/// What a peer is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It has everything.
    Seeder,
    /// It lacks something, and wants it.
    Leecher,
    /// It lacks something, and does not want it (BEP 21).
    PartialSeed,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Seeder, Self::Leecher, Self::PartialSeed];
}

/// One announce, cleaned.
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Where the peer can be dialled; its port is not 0.
    pub address: SocketAddr,
    /// What it is. Seeders and partial seeds get leechers alone.
    pub role: Role,
    /// What it does.
    pub action: Action,
    /// Peers it gets at most.
    pub wanted: usize,
    /// Gets peers of this family alone; `None`: of both.
    pub family: Option<Family>,
}

/// What an announce found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visited {
    /// The swarm's counts, the visitor included.
    pub counts: ScrapeEntry,
    /// Seconds until it is to announce again.
    pub interval_s: u32,
}

/// The tracker remembers as much as it may: no newcomer is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tracker is full, try again later")]
pub struct Full;

/// Sums over all swarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Swarms that have peers.
    pub swarms: usize,
    /// Peers, seeders included.
    pub peers: usize,
    /// Seeders.
    pub seeders: usize,
}

/// A peer as a snapshot keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerImage {
    /// Where it can be dialled.
    pub address: SocketAddr,
    /// What it is.
    pub role: Role,
    /// Seconds until it is forgotten.
    pub left_s: u32,
}

/// A swarm as a snapshot keeps it, without its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwarmImage {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Downloads completed.
    pub downloaded: u32,
    /// Seconds since something changed in it, if that is not long ago.
    pub quiet_s: u32,
}

/// A swarm that was forgotten because its last peer had gone, with the downloads counted in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Downloads completed: at least 1.
    pub downloaded: u32,
}

/// All swarms.
pub struct Swarms {
    shards: Box<[Mutex<Shard>]>,
    /// Secret, random: hashes are keyed with it.
    key: u64,
    pace: Pace,
    sites: Sites,
    ticks: Ticks,
    limits: Limits,
    swarms: AtomicUsize,
    peers: AtomicUsize,
    seeders: AtomicUsize,
}

type Shard = HashMap<InfoHash, Swarm>;

/// Seconds as 16-bit ticks: as fine as lets the longest lifetime be a quarter of the range, so that a sweep may be late.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    tick_s: u32,
}

impl Ticks {
    fn new(longest_lifetime_s: u32) -> Self {
        Self { tick_s: longest_lifetime_s.div_ceil(1 << 14).max(1) }
    }

    fn at(self, now_s: u32) -> Tick {
        let [low, high, ..] = (now_s / self.tick_s).to_le_bytes();
        Tick::from_le_bytes([low, high])
    }

    /// So many seconds, rounded up. No more than the longest lifetime.
    fn span(self, len_s: u32) -> Tick {
        Tick::try_from(len_s.div_ceil(self.tick_s)).unwrap_or(1 << 14).min(1 << 14)
    }

    fn seconds(self, ticks: Tick) -> u32 {
        u32::from(ticks) * self.tick_s
    }
}

impl Swarms {
    /// No swarms.
    pub fn new(pace: Pace, limits: Limits, random: &mut fastrand::Rng) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            key: random.u64(..),
            ticks: Ticks::new(pace.longest_lifetime_s()),
            pace,
            sites: Sites::default(),
            limits,
            swarms: AtomicUsize::new(0),
            peers: AtomicUsize::new(0),
            seeders: AtomicUsize::new(0),
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
    /// but that near ones come first (see [`Swarms::with_sites`]). `now_s` is in seconds since any fixed moment.
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
        let mut shard = self.shard_of(&visit.info_hash);
        if visit.action == Action::Leave {
            let interval_s = self.pace.interval_s(0, random);
            let Some(swarm) = shard.get_mut(&visit.info_hash) else {
                return Ok(Visited { counts: ScrapeEntry::default(), interval_s });
            };
            let before = swarm.counts();
            swarm.remove(&address, self.key);
            self.sweep_if_small(swarm, now);
            let counts = swarm.counts();
            self.count(before, counts);
            self.retire_if_bare(&mut shard, &visit.info_hash);
            return Ok(Visited { counts, interval_s });
        }
        let swarm = self.entry(&mut shard, visit.info_hash, &address, now)?;
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
        self.sweep_if_small(swarm, now);
        let counts = swarm.counts();
        self.count(before, counts);
        let asker = Asker { address, role: visit.role, family: visit.family };
        let mut take = |address| peers.push(AnnouncedPeer { address, peer_id: None });
        let chosen = self.sites.near(visit.address.ip()).and_then(|near| {
            let steady = &mut self.steady(&address, now_s);
            choice::choose(&*swarm, visit.wanted, (&asker, &near), now, (random, steady))
        });
        match chosen {
            Some(chosen) => chosen.into_iter().for_each(take),
            None => swarm.sample(visit.wanted, &asker, now, random, &mut take),
        }
        Ok(Visited { counts, interval_s })
    }

    /// The counts of a swarm; zeros if there is none.
    pub fn scrape(&self, info_hash: &InfoHash, now_s: u32) -> ScrapeEntry {
        self.scrape_with_downloaders(info_hash, now_s).0
    }

    /// The same, and how many of the incomplete download: all but the partial seeds (BEP 21).
    pub fn scrape_with_downloaders(&self, info_hash: &InfoHash, now_s: u32) -> (ScrapeEntry, u32) {
        let mut shard = self.shard_of(info_hash);
        let Some(swarm) = shard.get_mut(info_hash) else { return (ScrapeEntry::default(), 0) };
        let before = swarm.counts();
        self.sweep_if_small(swarm, self.ticks.at(now_s));
        self.count(before, swarm.counts());
        (swarm.counts(), swarm.count_of(Role::Leecher))
    }

    /// Sums over all swarms, as of the last sweep.
    pub fn totals(&self) -> Totals {
        Totals {
            swarms: self.swarms.load(Ordering::Relaxed),
            peers: self.peers.load(Ordering::Relaxed),
            seeders: self.seeders.load(Ordering::Relaxed),
        }
    }

    /// Forgets the silent peers of shard number `shard` (below [`SHARDS`]) and its empty swarms. Those in which
    /// downloads were counted are appended to `retired`. The lock is taken for bounded steps: whoever announces
    /// meanwhile waits for one of them at most. Returns what the rest asks of the tracker.
    pub fn sweep(&self, shard: usize, now_s: u32, retired: &mut Vec<Retired>) -> Demand {
        let now = self.ticks.at(now_s);
        let mut large = Vec::new();
        let mut demands = Vec::new();
        let Some(lock) = self.shards.get(shard) else { return Demand::default() };
        {
            let mut swarms = held(lock);
            swarms.retain(|info_hash, swarm| {
                if swarm.slot_count() > SWEEP_SLOTS {
                    large.push(*info_hash);
                    return true;
                }
                self.expire(swarm, now, Sweep::default(), usize::MAX);
                let stays = !swarm.is_empty();
                if stays {
                    demands.push(self.demand(swarm, now));
                } else {
                    self.swarms.fetch_sub(1, Ordering::Relaxed);
                    retired.extend(retired_of(*info_hash, swarm));
                }
                stays
            });
            if swarms.capacity() > 64 && swarms.len() * 4 < swarms.capacity() {
                swarms.shrink_to_fit();
            }
        }
        for info_hash in large {
            let mut from = Some(Sweep::default());
            while let Some(at) = from {
                let mut swarms = held(lock);
                let Some(swarm) = swarms.get_mut(&info_hash) else { break };
                from = self.expire(swarm, now, at, SWEEP_SLOTS);
                if from.is_none() {
                    demands.push(self.demand(swarm, now));
                }
            }
        }
        demands.into_iter().sum()
    }

    /// Forgets all swarms but those of the torrents that `keep` says. Those in which downloads were counted are appended to
    /// `retired`.
    pub fn retain(&self, keep: impl Fn(&InfoHash) -> bool, retired: &mut Vec<Retired>) {
        for lock in &self.shards {
            held(lock).retain(|info_hash, swarm| {
                let stays = keep(info_hash);
                if !stays {
                    self.count(swarm.counts(), ScrapeEntry::default());
                    self.swarms.fetch_sub(1, Ordering::Relaxed);
                    retired.extend(retired_of(*info_hash, swarm));
                }
                stays
            });
        }
    }

    /// Shows every swarm of shard number `shard` (below [`SHARDS`]) with its living peers. The shard's lock is held
    /// meanwhile: `show` should only copy.
    pub fn each_of_shard(
        &self,
        shard: usize,
        now_s: u32,
        mut show: impl FnMut(&SwarmImage, &mut dyn Iterator<Item = PeerImage>),
    ) {
        let now = self.ticks.at(now_s);
        let Some(shard) = self.shards.get(shard) else { return };
        for (info_hash, swarm) in held(shard).iter() {
            let image = SwarmImage {
                info_hash: *info_hash,
                downloaded: swarm.downloaded(),
                quiet_s: self.ticks.seconds(swarm.quiet(now)),
            };
            let mut peers =
                swarm.iter().filter(|&(_, _, until)| !is_past(until, now)).map(|(address, role, until)| {
                    PeerImage { address, role, left_s: self.ticks.seconds(until.wrapping_sub(now)) }
                });
            show(&image, &mut peers);
        }
    }

    /// Shows the counts of every swarm of shard number `shard` (below [`SHARDS`]). The shard's lock is held meanwhile.
    pub fn each_scraped(&self, shard: usize, now_s: u32, mut show: impl FnMut(ScrapedTorrent)) {
        let Some(shard) = self.shards.get(shard) else { return };
        for (info_hash, swarm) in held(shard).iter_mut() {
            let before = swarm.counts();
            self.sweep_if_small(swarm, self.ticks.at(now_s));
            self.count(before, swarm.counts());
            if !swarm.is_empty() {
                let downloaders = swarm.count_of(Role::Leecher);
                show(ScrapedTorrent { info_hash: *info_hash, counts: swarm.counts(), downloaders });
            }
        }
    }

    /// Takes a swarm back from a snapshot. Peers beyond the limits are left out. False if that left nobody: then there
    /// is no swarm, and its downloads are not counted here.
    pub fn restore(&self, image: &SwarmImage, peers: impl Iterator<Item = PeerImage>, now_s: u32) -> bool {
        let now = self.ticks.at(now_s);
        let mut shard = self.shard_of(&image.info_hash);
        let mut counted = false;
        for peer in peers {
            if peer.address.port() == 0 {
                continue;
            }
            let address = Packed::new(peer.address);
            let Ok(swarm) = self.entry(&mut shard, image.info_hash, &address, now) else { return counted };
            let before = swarm.counts();
            if !std::mem::replace(&mut counted, true) {
                swarm.add_downloads(image.downloaded);
                swarm.set_quiet(self.ticks.span(image.quiet_s), now);
            }
            let until = now.wrapping_add(self.ticks.span(peer.left_s));
            swarm.insert(address, peer.role, until, self.key);
            self.count(before, swarm.counts());
        }
        counted
    }

    fn shard_of(&self, info_hash: &InfoHash) -> MutexGuard<'_, Shard> {
        let at = table::hash(info_hash.as_bytes(), self.key) % SHARDS as u64;
        // There is at least one shard, and the remainder names one that exists.
        #[expect(
            clippy::indexing_slicing,
            clippy::cast_possible_truncation,
            reason = "at < SHARDS by the remainder"
        )]
        held(&self.shards[at as usize])
    }

    /// The swarm that a peer is in or may join.
    fn entry<'a>(
        &self,
        shard: &'a mut Shard,
        info_hash: InfoHash,
        peer: &Packed,
        now: Tick,
    ) -> Result<&'a mut Swarm, Full> {
        let full = self.peers.load(Ordering::Relaxed) >= self.limits.peers;
        match shard.entry(info_hash) {
            Entry::Occupied(entry) if full && !entry.get().contains(peer, self.key) => Err(Full),
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(_) if full || self.swarms.load(Ordering::Relaxed) >= self.limits.swarms => {
                Err(Full)
            }
            Entry::Vacant(entry) => {
                self.swarms.fetch_add(1, Ordering::Relaxed);
                Ok(entry.insert(Swarm::new(now)))
            }
        }
    }

    /// In how many seconds a peer is to announce again, and until when it is remembered.
    fn term(&self, swarm: &Swarm, now: Tick, random: &mut fastrand::Rng) -> (u32, Tick) {
        let interval_s = self.pace.interval_s(self.ticks.seconds(swarm.quiet(now)), random);
        (interval_s, now.wrapping_add(self.ticks.span(Pace::lifetime_s(interval_s))))
    }

    /// Randomness that is the same for a while, to choose who is told to a peer again.
    fn steady(&self, peer: &Packed, now_s: u32) -> fastrand::Rng {
        let bytes: &[u8] = match peer {
            Packed::V4(bytes) => bytes,
            Packed::V6(bytes) => bytes,
        };
        fastrand::Rng::with_seed(table::hash(bytes, self.key ^ u64::from(now_s / choice::STEADY_S)))
    }

    fn sweep_if_small(&self, swarm: &mut Swarm, now: Tick) {
        if !swarm.is_swept(now) && swarm.slot_count() <= SMALL_SWARM_SLOTS {
            swarm.expire(now, Sweep::default(), usize::MAX, self.key);
        }
    }

    /// A step of a sweep through a swarm: see [`Swarm::expire`].
    fn expire(&self, swarm: &mut Swarm, now: Tick, from: Sweep, budget: usize) -> Option<Sweep> {
        let before = swarm.counts();
        let rest = swarm.expire(now, from, budget, self.key);
        self.count(before, swarm.counts());
        rest
    }

    /// What the peers of a swarm ask of the tracker.
    fn demand(&self, swarm: &Swarm, now: Tick) -> Demand {
        let counts = swarm.counts();
        self.pace.demand(counts.complete + counts.incomplete, self.ticks.seconds(swarm.quiet(now)))
    }

    /// Drops a swarm without peers and without counts worth keeping; others wait for the sweep.
    fn retire_if_bare(&self, shard: &mut Shard, info_hash: &InfoHash) {
        if shard.get(info_hash).is_some_and(|swarm| swarm.is_empty() && swarm.downloaded() == 0) {
            shard.remove(info_hash);
            self.swarms.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Brings the sums up to date with one swarm's change.
    fn count(&self, before: ScrapeEntry, after: ScrapeEntry) {
        let change = |sum: &AtomicUsize, before: u32, after: u32| {
            if after > before {
                sum.fetch_add((after - before) as usize, Ordering::Relaxed);
            } else if before > after {
                sum.fetch_sub((before - after) as usize, Ordering::Relaxed);
            }
        };
        change(&self.seeders, before.complete, after.complete);
        change(&self.peers, before.complete + before.incomplete, after.complete + after.incomplete);
    }
}

fn retired_of(info_hash: InfoHash, swarm: &Swarm) -> Option<Retired> {
    (swarm.downloaded() > 0).then(|| Retired { info_hash, downloaded: swarm.downloaded() })
}

/// A panic elsewhere under the lock is a bug, but no reason to stop serving: tables stay consistent enough to go on.
fn held(lock: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
