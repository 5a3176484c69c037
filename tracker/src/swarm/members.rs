//! What swarms of every size do: the small, packed ones and the large ones are used alike.

use torrent_common::announce::{AnnouncedPeer, ScrapeEntry};

use super::Role;
use super::address::{Asker, Packed};
use super::choice::Population;
use super::pace::FEW_PEERS;
use super::tick::{Tick, is_past};

/// Ticks after which it does not matter any more for how long a swarm has been quiet: so they do not wrap around.
const LONGEST_QUIET: Tick = 1 << 14;

/// The peers of one torrent.
pub(super) trait Members: Population {
    /// How many peers do this.
    fn count_of(&self, role: Role) -> u32;

    /// Downloads completed.
    fn downloaded(&self) -> u32;

    /// Counts more of them.
    fn add_downloads(&mut self, count: u32);

    /// The tick at which something last changed that peers should hear of.
    fn changed(&self) -> Tick;

    /// Changes that.
    fn set_changed(&mut self, at: Tick);

    /// Whether a peer is there, whatever it does.
    fn contains(&self, peer: &Packed, key: u64) -> bool;

    /// Adds or refreshes a peer. Returns what it was before, if it was there.
    fn insert(&mut self, peer: Packed, role: Role, until: Tick, key: u64) -> Option<Role>;

    /// Returns what it was, if it was there.
    fn remove(&mut self, peer: &Packed, key: u64) -> Option<Role>;

    /// Forgets silent peers, if that costs an announce little.
    fn expire_if_small(&mut self, now: Tick, key: u64);

    /// Tells up to `wanted` peers at random, of all that the asker reaches and has use for, for a peer that is in the swarm
    /// itself and never in its own answer.
    fn sample(
        &self,
        wanted: usize,
        asker: &Asker,
        now: Tick,
        random: &mut fastrand::Rng,
        told: &mut Vec<AnnouncedPeer>,
    );

    /// Forgets one peer to make room for `newcomer`: of some looked at at random one whose time is over, or one of the same
    /// host, or else the one that would be forgotten first. False if there is none.
    fn evict_one(&mut self, newcomer: &Packed, now: Tick, key: u64, random: &mut fastrand::Rng) -> bool;

    /// Partial seeds count as incomplete (BEP 21).
    fn counts(&self) -> ScrapeEntry {
        ScrapeEntry {
            complete: self.count_of(Role::Seeder),
            incomplete: self.count_of(Role::Leecher) + self.count_of(Role::PartialSeed),
            downloaded: self.downloaded(),
        }
    }

    fn is_empty(&self) -> bool {
        Role::ALL.into_iter().all(|role| self.count_of(role) == 0)
    }

    /// Ticks since something changed. None if that was a moment after `now` was read, by another thread.
    fn quiet(&self, now: Tick) -> Tick {
        if is_past(self.changed(), now) { now.wrapping_sub(self.changed()) } else { 0 }
    }

    /// Takes over for how long a swarm from a snapshot was quiet.
    fn set_quiet(&mut self, quiet: Tick, now: Tick) {
        self.set_changed(now.wrapping_sub(quiet.min(LONGEST_QUIET)));
    }

    /// Keeps the time of the last change from wrapping around. To be called at every sweep.
    fn bound_quiet(&mut self, now: Tick) {
        if self.quiet(now) > LONGEST_QUIET {
            self.set_changed(now.wrapping_sub(LONGEST_QUIET));
        }
    }

    /// Takes note that a peer came or completed, unless that is nothing to the others: see [`super::pace`].
    fn note_change(&mut self, now: Tick, random: &mut fastrand::Rng) {
        let ScrapeEntry { complete, incomplete, .. } = self.counts();
        let peers = complete + incomplete;
        if self.count_of(Role::Leecher) > 0 && (peers <= FEW_PEERS || random.u32(..peers) < FEW_PEERS) {
            self.set_changed(now);
        }
    }
}
