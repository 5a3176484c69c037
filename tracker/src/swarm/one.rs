//! One swarm: its seeders, leechers and partial seeds of both address families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;

use torrent_common::announce::{ScrapeEntry, compact};

use super::Role;
use super::choice::Population;
use super::pace::FEW_PEERS;
use super::table::{Address, Table, Tick, is_past};

/// Seeders and leechers of one address family.
struct Family<const N: usize> {
    seeders: Table<N>,
    leechers: Table<N>,
}

/// What most swarms have none of.
struct Rare {
    v6: Family<18>,
    partial4: Table<6>,
    partial6: Table<18>,
}

/// The peers of one torrent. Each is in one table.
pub(super) struct Swarm {
    v4: Family<6>,
    rare: Option<Box<Rare>>,
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

/// The peer that a sample is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) address: Packed,
    pub(super) role: Role,
    /// Wants peers of this family alone.
    pub(super) family: Option<compact::Family>,
}

/// How far a sweep through a swarm has come: the table (0 to 5), and the slot in it.
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

    const fn family(&self) -> compact::Family {
        match self {
            Self::V4(_) => compact::Family::V4,
            Self::V6(_) => compact::Family::V6,
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

impl Asker {
    /// Its address in either family.
    const fn split(&self) -> (Option<&Address<6>>, Option<&Address<18>>) {
        match &self.address {
            Packed::V4(address) => (Some(address), None),
            Packed::V6(address) => (None, Some(address)),
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
}

impl Rare {
    fn new() -> Self {
        Self { v6: Family::new(), partial4: Table::new(), partial6: Table::new() }
    }
}

impl Swarm {
    pub(super) fn new(now: Tick) -> Self {
        Self { v4: Family::new(), rare: None, downloaded: 0, swept: now, changed: now }
    }

    fn table4(&self, role: Role) -> Option<&Table<6>> {
        match role {
            Role::Seeder => Some(&self.v4.seeders),
            Role::Leecher => Some(&self.v4.leechers),
            Role::PartialSeed => self.rare.as_deref().map(|rare| &rare.partial4),
        }
    }

    fn table4_mut(&mut self, role: Role) -> Option<&mut Table<6>> {
        match role {
            Role::Seeder => Some(&mut self.v4.seeders),
            Role::Leecher => Some(&mut self.v4.leechers),
            Role::PartialSeed => self.rare.as_deref_mut().map(|rare| &mut rare.partial4),
        }
    }

    fn table6(&self, role: Role) -> Option<&Table<18>> {
        self.rare.as_deref().map(|rare| match role {
            Role::Seeder => &rare.v6.seeders,
            Role::Leecher => &rare.v6.leechers,
            Role::PartialSeed => &rare.partial6,
        })
    }

    fn table6_mut(&mut self, role: Role) -> Option<&mut Table<18>> {
        self.rare.as_deref_mut().map(|rare| match role {
            Role::Seeder => &mut rare.v6.seeders,
            Role::Leecher => &mut rare.v6.leechers,
            Role::PartialSeed => &mut rare.partial6,
        })
    }

    /// How many peers do this.
    pub(super) fn count_of(&self, role: Role) -> u32 {
        self.table4(role).map_or(0, Table::len) + self.table6(role).map_or(0, Table::len)
    }

    /// Partial seeds count as incomplete (BEP 21).
    pub(super) fn counts(&self) -> ScrapeEntry {
        ScrapeEntry {
            complete: self.count_of(Role::Seeder),
            incomplete: self.count_of(Role::Leecher) + self.count_of(Role::PartialSeed),
            downloaded: self.downloaded,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        Role::ALL.into_iter().all(|role| self.count_of(role) == 0)
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
        if self.count_of(Role::Leecher) > 0 && (peers <= FEW_PEERS || random.u32(..peers) < FEW_PEERS) {
            self.changed = now;
        }
    }

    pub(super) fn contains(&self, peer: &Packed, key: u64) -> bool {
        Role::ALL.into_iter().any(|role| match peer {
            Packed::V4(a) => self.table4(role).is_some_and(|table| table.contains(a, key)),
            Packed::V6(a) => self.table6(role).is_some_and(|table| table.contains(a, key)),
        })
    }

    /// Adds or refreshes a peer. Returns what it was before, if it was there.
    pub(super) fn insert(&mut self, peer: Packed, role: Role, until: Tick, key: u64) -> Option<Role> {
        let mut others = Role::ALL.into_iter().filter(|&other| other != role);
        let was = others.find(|&other| self.remove_from(other, &peer, key));
        if role == Role::PartialSeed || matches!(peer, Packed::V6(_)) {
            self.rare.get_or_insert_with(|| Box::new(Rare::new()));
        }
        let is_new = match peer {
            Packed::V4(a) => self.table4_mut(role).is_some_and(|table| table.insert(a, until, key)),
            Packed::V6(a) => self.table6_mut(role).is_some_and(|table| table.insert(a, until, key)),
        };
        if is_new { was } else { Some(role) }
    }

    /// Returns what it was, if it was there.
    pub(super) fn remove(&mut self, peer: &Packed, key: u64) -> Option<Role> {
        Role::ALL.into_iter().find(|&role| self.remove_from(role, peer, key))
    }

    fn remove_from(&mut self, role: Role, peer: &Packed, key: u64) -> bool {
        match peer {
            Packed::V4(a) => self.table4_mut(role).is_some_and(|table| table.remove(a, key)),
            Packed::V6(a) => self.table6_mut(role).is_some_and(|table| table.remove(a, key)),
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
        let (except4, except6) = asker.split();
        let [s4, l4, p4] = Role::ALL.map(|role| self.others(role, compact::Family::V4, asker));
        let [s6, l6, p6] = Role::ALL.map(|role| self.others(role, compact::Family::V6, asker));
        let [s4, l4, p4, s6, l6, p6] = shares([s4, l4, p4, s6, l6, p6], wanted, random);
        for (role, share) in Role::ALL.into_iter().zip([s4, l4, p4]) {
            if let Some(table) = self.table4(role) {
                table.sample(share, except4, now, random, |a| take(unpack_v4(a)));
            }
        }
        for (role, share) in Role::ALL.into_iter().zip([s6, l6, p6]) {
            if let Some(table) = self.table6(role) {
                table.sample(share, except6, now, random, |a| take(unpack_v6(a)));
            }
        }
    }

    /// Peers of one role and family that are of use to the asker, who is not counted: who needs nothing gets those alone
    /// who do.
    fn others(&self, role: Role, family: compact::Family, asker: &Asker) -> u32 {
        let len = match family {
            compact::Family::V4 => self.table4(role).map(Table::len),
            compact::Family::V6 => self.table6(role).map(Table::len),
        };
        let own = role == asker.role && family == asker.address.family();
        let is_of_use = asker.role == Role::Leecher || role == Role::Leecher;
        let is_reached = asker.family.is_none_or(|only| only == family);
        if is_of_use && is_reached { len.unwrap_or(0).saturating_sub(own.into()) } else { 0 }
    }

    /// Slots of all tables: what a whole sweep looks at.
    pub(super) fn slot_count(&self) -> usize {
        Role::ALL.into_iter().map(|role| self.slots_of(role)).sum()
    }

    /// Whether every slot has been swept at this tick.
    pub(super) const fn is_swept(&self, now: Tick) -> bool {
        self.swept == now
    }

    /// Forgets silent peers, looking at about `budget` slots from where `from` says. Returns where to go on.
    pub(super) fn expire(&mut self, now: Tick, from: Sweep, budget: usize, key: u64) -> Option<Sweep> {
        let Sweep { mut table, mut slot } = from;
        let (v4, v6) = ([0, 1, 2], [3, 4, 5]);
        for (number, role) in v4.into_iter().zip(Role::ALL).chain(v6.into_iter().zip(Role::ALL)) {
            if number < table {
                continue;
            }
            let rest = if v4.contains(&number) {
                self.table4_mut(role).and_then(|table| table.expire(now, slot, budget, key))
            } else {
                self.table6_mut(role).and_then(|table| table.expire(now, slot, budget, key))
            };
            if let Some(slot) = rest {
                return Some(Sweep { table, slot });
            }
            (table, slot) = (number + 1, 0);
        }
        let is_bare = |role: Role| {
            self.table6(role).is_none_or(|table| table.len() == 0)
                && (role != Role::PartialSeed || self.table4(role).is_none_or(|table| table.len() == 0))
        };
        if self.rare.is_some() && Role::ALL.into_iter().all(is_bare) {
            self.rare = None;
        }
        self.swept = now;
        if self.quiet(now) > LONGEST_QUIET {
            self.changed = now.wrapping_sub(LONGEST_QUIET);
        }
        None
    }

    /// Every peer: address, what it does, and the tick until which it is remembered.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, Role, Tick)> {
        let v4 = Role::ALL.into_iter().filter_map(move |role| Some((role, self.table4(role)?)));
        let v6 = Role::ALL.into_iter().filter_map(move |role| Some((role, self.table6(role)?)));
        let v4 = v4.flat_map(|(role, table)| table.iter().map(move |(a, until)| (unpack_v4(a), role, until)));
        v4.chain(v6.flat_map(|(role, table)| table.iter().map(move |(a, until)| (unpack_v6(a), role, until))))
    }
}

impl Population for Swarm {
    fn others_of(&self, role: Role, asker: &Asker) -> u32 {
        self.others(role, compact::Family::V4, asker) + self.others(role, compact::Family::V6, asker)
    }

    fn slots_of(&self, role: Role) -> usize {
        self.table4(role).map_or(0, Table::slot_count) + self.table6(role).map_or(0, Table::slot_count)
    }

    fn visit(
        &self,
        role: Role,
        asker: &Asker,
        budget: usize,
        now: Tick,
        random: &mut fastrand::Rng,
        mut see: impl FnMut(SocketAddr) -> ControlFlow<()>,
    ) {
        let (except4, except6) = asker.split();
        let (four, six) =
            (self.others(role, compact::Family::V4, asker), self.others(role, compact::Family::V6, asker));
        if four + six == 0 {
            return;
        }
        // Either family may come first, so that it is not always the other one in which `see` breaks off.
        let six_first = random.u32(..four + six) < six;
        for of_six in [six_first, !six_first] {
            let flow = match (of_six, self.table4(role), self.table6(role)) {
                (false, Some(table), _) if four > 0 => {
                    table.visit(budget, now, random, |address| match except4 {
                        Some(own) if own == address => ControlFlow::Continue(()),
                        _ => see(unpack_v4(address)),
                    })
                }
                (true, _, Some(table)) if six > 0 => {
                    table.visit(budget, now, random, |address| match except6 {
                        Some(own) if own == address => ControlFlow::Continue(()),
                        _ => see(unpack_v6(address)),
                    })
                }
                _ => ControlFlow::Continue(()),
            };
            if flow.is_break() {
                return;
            }
        }
    }
}

/// How many to take of each table: all if `wanted` is enough for all, else in proportion, rounded at random.
pub(super) fn shares<const N: usize>(
    sizes: [u32; N],
    wanted: usize,
    random: &mut fastrand::Rng,
) -> [usize; N] {
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
        let (seeder, leecher, partial) = (Role::Seeder, Role::Leecher, Role::PartialSeed);
        for text in ["1.2.3.4:6881", "[2001:db8::1]:6881"] {
            let peer = Packed::new(text.parse().unwrap());
            let mut was = None;
            for role in [
                leecher, leecher, seeder, seeder, leecher, partial, partial, seeder, partial, leecher, seeder,
            ] {
                assert_eq!(swarm.insert(peer, role, 0, 1), was);
                assert!(swarm.contains(&peer, 1));
                was = Some(role);
            }
        }
        assert_eq!(swarm.counts(), ScrapeEntry { complete: 2, incomplete: 0, downloaded: 0 });
        let six = Packed::new("[2001:db8::2]:6881".parse().unwrap());
        swarm.insert(six, partial, 0, 1);
        assert_eq!(swarm.counts(), ScrapeEntry { complete: 2, incomplete: 1, downloaded: 0 });
        assert_eq!(swarm.count_of(leecher), 0);
        assert_eq!(swarm.remove(&six, 1), Some(partial));
        assert_eq!(swarm.remove(&Packed::new("1.2.3.4:6881".parse().unwrap()), 1), Some(seeder));
        assert_eq!(swarm.remove(&Packed::new("1.2.3.4:6881".parse().unwrap()), 1), None);
        assert!(!swarm.is_empty());
    }

    #[test]
    fn a_swarm_without_rare_peers_is_small() {
        assert!(size_of::<Swarm>() <= 64, "{}", size_of::<Swarm>());
        let mut swarm = Swarm::new(0);
        let partial = Packed::new("1.2.3.4:6881".parse().unwrap());
        swarm.insert(partial, Role::PartialSeed, 5, 1);
        swarm.expire(5, Sweep::default(), usize::MAX, 1);
        assert!(swarm.rare.is_some());
        swarm.expire(6, Sweep::default(), usize::MAX, 1);
        assert!(swarm.rare.is_none() && swarm.is_empty());
    }
}
