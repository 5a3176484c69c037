//! One swarm: its seeders and leechers of both address families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use torrent_common::announce::{ScrapeEntry, compact};

use super::pace::FEW_PEERS;
use super::table::{Address, Table, Tick, is_past};

/// Seeders and leechers of one address family.
pub(super) struct Family<const N: usize> {
    pub(super) seeders: Table<N>,
    pub(super) leechers: Table<N>,
}

/// The peers of one torrent. Those of IPv6 are kept apart: most swarms have none.
pub(super) struct Swarm {
    v4: Family<6>,
    v6: Option<Box<Family<18>>>,
    downloaded: u32,
    /// The tick at which the tables were last swept through.
    swept: Tick,
    /// The tick at which something last changed that peers should hear of, at the most [`LONGEST_QUIET`] ago.
    changed: Tick,
}

/// Ticks after which it does not matter any more for how long a swarm has been quiet: so they do not wrap around.
const LONGEST_QUIET: Tick = 1 << 14;

/// A peer's address, packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packed {
    V4(Address<6>),
    V6(Address<18>),
}

/// What a peer was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Was {
    Unknown,
    Leecher,
    Seeder,
}

/// The peer that a sample is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) address: Packed,
    pub(super) is_seeder: bool,
    pub(super) wants_seeders: bool,
    /// Wants peers of this family alone.
    pub(super) family: Option<compact::Family>,
}

/// How far a sweep through a swarm has come: the table (0 to 3), and the slot in it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sweep {
    table: u8,
    slot: usize,
}

impl Packed {
    pub(super) fn new(address: SocketAddr) -> Self {
        let [high, low] = address.port().to_be_bytes();
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                Self::V4([a, b, c, d, high, low])
            }
            IpAddr::V6(ip) => {
                let mut bytes = [0; 18];
                for (to, from) in bytes.iter_mut().zip(ip.octets().into_iter().chain([high, low])) {
                    *to = from;
                }
                Self::V6(bytes)
            }
        }
    }

    #[cfg(test)]
    fn get(&self) -> SocketAddr {
        match self {
            Self::V4(bytes) => unpack_v4(bytes),
            Self::V6(bytes) => unpack_v6(bytes),
        }
    }
}

fn unpack_v4(&[a, b, c, d, high, low]: &Address<6>) -> SocketAddr {
    (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into()
}

fn unpack_v6(bytes: &Address<18>) -> SocketAddr {
    let (ip, port) = (bytes.first_chunk::<16>(), bytes.last_chunk::<2>());
    (Ipv6Addr::from(*ip.unwrap_or(&[0; 16])), u16::from_be_bytes(*port.unwrap_or(&[0; 2]))).into()
}

impl<const N: usize> Family<N> {
    fn new() -> Self {
        Self { seeders: Table::new(), leechers: Table::new() }
    }

    fn is_empty(&self) -> bool {
        self.seeders.len() == 0 && self.leechers.len() == 0
    }

    fn remove(&mut self, address: &Address<N>, key: u64) -> Was {
        if self.seeders.remove(address, key) {
            Was::Seeder
        } else if self.leechers.remove(address, key) {
            Was::Leecher
        } else {
            Was::Unknown
        }
    }

    fn insert(&mut self, address: Address<N>, seeder: bool, until: Tick, key: u64) -> Was {
        let (into, other) = match seeder {
            true => (&mut self.seeders, &mut self.leechers),
            false => (&mut self.leechers, &mut self.seeders),
        };
        let was_other = other.remove(&address, key);
        let was_same = !into.insert(address, until, key);
        match (was_same, was_other) {
            (false, false) => Was::Unknown,
            (true, _) if seeder => Was::Seeder,
            (true, _) => Was::Leecher,
            (false, true) if seeder => Was::Leecher,
            (false, true) => Was::Seeder,
        }
    }
}

impl Swarm {
    pub(super) fn new(now: Tick) -> Self {
        Self { v4: Family::new(), v6: None, downloaded: 0, swept: now, changed: now }
    }

    pub(super) fn counts(&self) -> ScrapeEntry {
        let (seeders6, leechers6) =
            self.v6.as_ref().map_or((0, 0), |v6| (v6.seeders.len(), v6.leechers.len()));
        ScrapeEntry {
            complete: self.v4.seeders.len() + seeders6,
            incomplete: self.v4.leechers.len() + leechers6,
            downloaded: self.downloaded,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.as_ref().is_none_or(|v6| v6.is_empty())
    }

    pub(super) const fn downloaded(&self) -> u32 {
        self.downloaded
    }

    pub(super) const fn add_downloads(&mut self, count: u32) {
        self.downloaded = self.downloaded.saturating_add(count);
    }

    /// Ticks since something changed. None if that was a moment after `now` was read, by another thread.
    pub(super) const fn quiet(&self, now: Tick) -> Tick {
        if is_past(self.changed, now) { now.wrapping_sub(self.changed) } else { 0 }
    }

    /// Takes over for how long a swarm from a snapshot was quiet.
    pub(super) fn set_quiet(&mut self, quiet: Tick, now: Tick) {
        self.changed = now.wrapping_sub(quiet.min(LONGEST_QUIET));
    }

    /// Takes note that a peer came or completed, unless that is nothing to the others: see [`super::pace`].
    pub(super) fn note_change(&mut self, now: Tick, random: &mut fastrand::Rng) {
        let ScrapeEntry { complete, incomplete, .. } = self.counts();
        let peers = complete + incomplete;
        if incomplete > 0 && (peers <= FEW_PEERS || random.u32(..peers) < FEW_PEERS) {
            self.changed = now;
        }
    }

    pub(super) fn contains(&self, peer: &Packed, key: u64) -> bool {
        match peer {
            Packed::V4(a) => self.v4.seeders.contains(a, key) || self.v4.leechers.contains(a, key),
            Packed::V6(a) => {
                self.v6.as_ref().is_some_and(|v6| v6.seeders.contains(a, key) || v6.leechers.contains(a, key))
            }
        }
    }

    pub(super) fn insert(&mut self, peer: Packed, seeder: bool, until: Tick, key: u64) -> Was {
        match peer {
            Packed::V4(address) => self.v4.insert(address, seeder, until, key),
            Packed::V6(address) => {
                self.v6.get_or_insert_with(|| Box::new(Family::new())).insert(address, seeder, until, key)
            }
        }
    }

    pub(super) fn remove(&mut self, peer: &Packed, key: u64) -> Was {
        match (peer, &mut self.v6) {
            (Packed::V4(address), _) => self.v4.remove(address, key),
            (Packed::V6(address), Some(v6)) => v6.remove(address, key),
            (Packed::V6(_), None) => Was::Unknown,
        }
    }

    /// Up to `wanted` peers at random, each table in proportion to its size, for a peer that is in the swarm itself
    /// and never in its own answer.
    pub(super) fn sample(
        &self,
        wanted: usize,
        asker: &Asker,
        now: Tick,
        random: &mut fastrand::Rng,
        mut take: impl FnMut(SocketAddr),
    ) {
        let (except4, except6) = match &asker.address {
            Packed::V4(address) => (Some(address), None),
            Packed::V6(address) => (None, Some(address)),
        };
        let v6 = self.v6.as_deref();
        // Others of one table, the asker not counted.
        let others = |len: u32, seeders: bool, of_v6: bool| {
            let own = seeders == asker.is_seeder && of_v6 == matches!(asker.address, Packed::V6(_));
            let is_wanted = match asker.family {
                None => true,
                Some(family) => of_v6 == (family == compact::Family::V6),
            };
            if !is_wanted || seeders && !asker.wants_seeders { 0 } else { len.saturating_sub(own.into()) }
        };
        let sizes = [
            others(self.v4.seeders.len(), true, false),
            others(self.v4.leechers.len(), false, false),
            others(v6.map_or(0, |v6| v6.seeders.len()), true, true),
            others(v6.map_or(0, |v6| v6.leechers.len()), false, true),
        ];
        let [s4, l4, s6, l6] = shares(sizes, wanted, random);
        self.v4.seeders.sample(s4, except4, now, random, |a| take(unpack_v4(a)));
        self.v4.leechers.sample(l4, except4, now, random, |a| take(unpack_v4(a)));
        if let Some(v6) = v6 {
            v6.seeders.sample(s6, except6, now, random, |a| take(unpack_v6(a)));
            v6.leechers.sample(l6, except6, now, random, |a| take(unpack_v6(a)));
        }
    }

    /// Slots of all tables: what a whole sweep looks at.
    pub(super) fn slot_count(&self) -> usize {
        let v6 = self.v6.as_ref().map_or(0, |v6| v6.seeders.slot_count() + v6.leechers.slot_count());
        self.v4.seeders.slot_count() + self.v4.leechers.slot_count() + v6
    }

    /// Whether every slot has been swept at this tick.
    pub(super) const fn is_swept(&self, now: Tick) -> bool {
        self.swept == now
    }

    /// Forgets silent peers, looking at about `budget` slots from where `from` says. Returns where to go on.
    pub(super) fn expire(&mut self, now: Tick, from: Sweep, budget: usize, key: u64) -> Option<Sweep> {
        let Sweep { mut table, mut slot } = from;
        loop {
            let rest = match (table, &mut self.v6) {
                (0, _) => self.v4.seeders.expire(now, slot, budget, key),
                (1, _) => self.v4.leechers.expire(now, slot, budget, key),
                (2, Some(v6)) => v6.seeders.expire(now, slot, budget, key),
                (3, Some(v6)) => v6.leechers.expire(now, slot, budget, key),
                _ => break,
            };
            if let Some(slot) = rest {
                return Some(Sweep { table, slot });
            }
            (table, slot) = (table + 1, 0);
        }
        if self.v6.as_ref().is_some_and(|v6| v6.is_empty()) {
            self.v6 = None;
        }
        self.swept = now;
        if self.quiet(now) > LONGEST_QUIET {
            self.changed = now.wrapping_sub(LONGEST_QUIET);
        }
        None
    }

    /// Every peer: address, whether a seeder, and the tick until which it is remembered.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, bool, Tick)> {
        fn both<const N: usize>(
            family: &Family<N>,
            unpack: fn(&Address<N>) -> SocketAddr,
        ) -> impl Iterator<Item = (SocketAddr, bool, Tick)> {
            let seeders = family.seeders.iter().map(move |(a, until)| (unpack(a), true, until));
            seeders.chain(family.leechers.iter().map(move |(a, until)| (unpack(a), false, until)))
        }
        both(&self.v4, unpack_v4).chain(self.v6.as_deref().into_iter().flat_map(|v6| both(v6, unpack_v6)))
    }
}

/// How many to take of each table: all if `wanted` is enough for all, else in proportion, rounded at random.
fn shares(sizes: [u32; 4], wanted: usize, random: &mut fastrand::Rng) -> [usize; 4] {
    let mut total: u64 = sizes.iter().map(|&size| u64::from(size)).sum();
    let mut left = wanted as u64;
    sizes.map(|size| {
        let size = u64::from(size);
        let share = if left >= total { size } else { (left * size + random.u64(..total)) / total };
        let share = share.min(size).min(left);
        total -= size;
        left -= share;
        usize::try_from(share).unwrap_or(usize::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_packed_and_unpacked() {
        for text in ["1.2.3.4:6881", "[2001:db8::1]:1", "255.255.255.255:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Packed::new(address).get(), address);
        }
        let mapped: SocketAddr = "[::ffff:1.2.3.4]:80".parse().unwrap();
        assert_eq!(Packed::new(mapped), Packed::V4([1, 2, 3, 4, 0, 80]));
    }

    #[test]
    fn shares_add_up() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..1000 {
            let sizes = [(); 4].map(|()| random.u32(..100));
            let wanted = random.usize(..300);
            let total: u32 = sizes.iter().sum();
            let shares = shares(sizes, wanted, &mut random);
            assert_eq!(shares.iter().sum::<usize>(), wanted.min(total as usize), "{sizes:?} {wanted}");
            assert!(shares.iter().zip(sizes).all(|(&share, size)| share <= size as usize));
        }
    }

    #[test]
    fn a_peer_changes_sides() {
        let mut swarm = Swarm::new(0);
        for text in ["1.2.3.4:6881", "[2001:db8::1]:6881"] {
            let peer = Packed::new(text.parse().unwrap());
            assert_eq!(swarm.insert(peer, false, 0, 1), Was::Unknown);
            assert_eq!(swarm.insert(peer, false, 0, 1), Was::Leecher);
            assert_eq!(swarm.insert(peer, true, 0, 1), Was::Leecher);
            assert_eq!(swarm.insert(peer, true, 0, 1), Was::Seeder);
            assert_eq!(swarm.insert(peer, false, 0, 1), Was::Seeder);
            assert_eq!(swarm.insert(peer, true, 0, 1), Was::Leecher);
        }
        assert_eq!(swarm.counts(), ScrapeEntry { complete: 2, incomplete: 0, downloaded: 0 });
        assert_eq!(swarm.remove(&Packed::new("1.2.3.4:6881".parse().unwrap()), 1), Was::Seeder);
        assert_eq!(swarm.remove(&Packed::new("1.2.3.4:6881".parse().unwrap()), 1), Was::Unknown);
        assert!(!swarm.is_empty());
    }
}
