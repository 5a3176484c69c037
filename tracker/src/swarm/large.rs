//! A swarm too large to be packed: tables of its seeders, leechers and partial seeds of both address families.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use torrent_common::announce::AnnouncedPeer;
use torrent_common::ids::InfoHash;

use super::Role;
use super::address::{Asker, Packed, unpack_v4, unpack_v6};
use super::choice::Population;
use super::members::Members;
use super::table::{Cursor, Table};
use super::tick::{Tick, is_past};

/// Swarms of up to so many slots are swept whole whenever they are touched, so that their counts are exact.
const SMALL_SLOTS: usize = 512;

/// Runs of slots that a sample looks at, at the most: more than one part has.
const MOST_RUNS: usize = 512;

/// Peers of a table that are chosen one by one if no more are wanted of it.
const FEW: usize = 7;
/// Slots looked at for them: enough by far, if not most peers' time is over.
const FEW_LOOKS: usize = 64;

/// Peers from whom one is chosen that is forgotten for a newcomer.
const CANDIDATES: usize = 16;

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
pub(super) struct Large {
    info_hash: InfoHash,
    v4: Family<6>,
    rare: Option<Box<Rare>>,
    downloaded: u32,
    /// The tick at which the tables were last swept through.
    swept: Tick,
    changed: Tick,
}

/// How far a sweep through a swarm has come: the table (0 to 5), and where in it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sweep {
    table: u8,
    at: Cursor,
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

impl Large {
    /// Without peers.
    pub(super) fn new(info_hash: InfoHash, changed: Tick) -> Self {
        Self { info_hash, v4: Family::new(), rare: None, downloaded: 0, swept: changed, changed }
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

    /// Which torrent.
    pub(super) const fn info_hash(&self) -> &InfoHash {
        &self.info_hash
    }

    fn remove_from(&mut self, role: Role, peer: &Packed, key: u64) -> bool {
        match peer {
            Packed::V4(a) => self.table4_mut(role).is_some_and(|table| table.remove(a, key)),
            Packed::V6(a) => self.table6_mut(role).is_some_and(|table| table.remove(a, key)),
        }
    }

    /// Peers of each table.
    fn sizes(&self) -> [u32; 6] {
        let [s4, l4, p4] = Role::ALL.map(|role| self.table4(role).map_or(0, Table::len));
        let [s6, l6, p6] = Role::ALL.map(|role| self.table6(role).map_or(0, Table::len));
        [s4, l4, p4, s6, l6, p6]
    }

    /// Peers of one role and family that are of use to the asker, who is not counted.
    fn others(&self, role: Role, of_v6: bool, asker: &Asker) -> u32 {
        let len = if of_v6 { self.table6(role).map(Table::len) } else { self.table4(role).map(Table::len) };
        let own = role == asker.role && of_v6 == matches!(asker.address, Packed::V6(_));
        let is_told = asker.has_use_for(role) && asker.reaches(of_v6);
        if is_told { len.unwrap_or(0).saturating_sub(own.into()) } else { 0 }
    }

    /// Whether one announce may look at all of it. Parts are not counted: there may be ten thousand.
    fn is_short(&self) -> bool {
        let slots_of = |role| {
            let (four, six) = (self.table4(role), self.table6(role));
            let four = four.map_or(Some(0), Table::slots_of_one_part)?;
            Some(four + six.map_or(Some(0), Table::slots_of_one_part)?)
        };
        Role::ALL
            .into_iter()
            .try_fold(0, |sum, role| Some(sum + slots_of(role)?))
            .is_some_and(|slots| slots <= SMALL_SLOTS)
    }

    /// Forgets silent peers, looking at about `budget` slots from where `from` says. Returns where to go on.
    pub(super) fn expire(&mut self, now: Tick, from: Sweep, budget: usize, key: u64) -> Option<Sweep> {
        let Sweep { mut table, mut at } = from;
        let (v4, v6) = ([0, 1, 2], [3, 4, 5]);
        for (number, role) in v4.into_iter().zip(Role::ALL).chain(v6.into_iter().zip(Role::ALL)) {
            if number < table {
                continue;
            }
            let rest = if v4.contains(&number) {
                self.table4_mut(role).and_then(|table| table.expire(now, at, budget, key))
            } else {
                self.table6_mut(role).and_then(|table| table.expire(now, at, budget, key))
            };
            if let Some(at) = rest {
                return Some(Sweep { table, at });
            }
            (table, at) = (number + 1, Cursor::default());
        }
        let is_bare = |role: Role| {
            self.table6(role).is_none_or(|table| table.len() == 0)
                && (role != Role::PartialSeed || self.table4(role).is_none_or(|table| table.len() == 0))
        };
        if self.rare.is_some() && Role::ALL.into_iter().all(is_bare) {
            self.rare = None;
        }
        self.swept = now;
        self.bound_quiet(now);
        None
    }

    /// The peers of one table's one part: address, what they do, and the tick until which each is remembered. `at` is then
    /// the next part, `None` when there is no other.
    pub(super) fn show_part(
        &self,
        at: &mut Option<(u8, usize)>,
        mut show: impl FnMut(SocketAddr, Role, Tick),
    ) {
        let Some((number, part)) = *at else { return };
        let role = Role::ALL.get(usize::from(number % 3)).copied().unwrap_or(Role::Leecher);
        let shown = if number < 3 {
            let peers = self.table4(role).and_then(|table| table.iter_part(part));
            peers.map(|peers| peers.for_each(|(a, until)| show(unpack_v4(a), role, until)))
        } else {
            let peers = self.table6(role).and_then(|table| table.iter_part(part));
            peers.map(|peers| peers.for_each(|(a, until)| show(unpack_v6(a), role, until)))
        };
        *at = match shown {
            Some(()) => Some((number, part + 1)),
            None if number < 5 => Some((number + 1, 0)),
            None => None,
        };
    }

    /// Every peer: address, what it does, and the tick until which it is remembered.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Packed, Role, Tick)> {
        let v4 = Role::ALL.into_iter().filter_map(move |role| Some((role, self.table4(role)?)));
        let v6 = Role::ALL.into_iter().filter_map(move |role| Some((role, self.table6(role)?)));
        let v4 =
            v4.flat_map(|(role, table)| table.iter().map(move |(a, until)| (Packed::V4(*a), role, until)));
        v4.chain(
            v6.flat_map(|(role, table)| table.iter().map(move |(a, until)| (Packed::V6(*a), role, until))),
        )
    }
}

impl Members for Large {
    fn count_of(&self, role: Role) -> u32 {
        self.table4(role).map_or(0, Table::len) + self.table6(role).map_or(0, Table::len)
    }

    fn downloaded(&self) -> u32 {
        self.downloaded
    }

    fn add_downloads(&mut self, count: u32) {
        self.downloaded = self.downloaded.saturating_add(count);
    }

    fn changed(&self) -> Tick {
        self.changed
    }

    fn set_changed(&mut self, at: Tick) {
        self.changed = at;
    }

    fn contains(&self, peer: &Packed, key: u64) -> bool {
        Role::ALL.into_iter().any(|role| match peer {
            Packed::V4(a) => self.table4(role).is_some_and(|table| table.contains(a, key)),
            Packed::V6(a) => self.table6(role).is_some_and(|table| table.contains(a, key)),
        })
    }

    fn insert(&mut self, peer: Packed, role: Role, until: Tick, key: u64) -> Option<Role> {
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

    fn remove(&mut self, peer: &Packed, key: u64) -> Option<Role> {
        Role::ALL.into_iter().find(|&role| self.remove_from(role, peer, key))
    }

    fn expire_if_small(&mut self, now: Tick, key: u64) {
        if self.swept != now && self.is_short() {
            self.expire(now, Sweep::default(), usize::MAX, key);
        }
    }

    /// Each table in proportion to its size.
    fn sample(
        &self,
        wanted: usize,
        asker: &Asker,
        now: Tick,
        random: &mut fastrand::Rng,
        told: &mut Vec<AnnouncedPeer>,
    ) {
        let mut take = |address| told.push(AnnouncedPeer { address, peer_id: None });
        let (except4, except6) = asker.split();
        let [s4, l4, p4] = Role::ALL.map(|role| self.others(role, false, asker));
        let [s6, l6, p6] = Role::ALL.map(|role| self.others(role, true, asker));
        let [s4, l4, p4, s6, l6, p6] = shares([s4, l4, p4, s6, l6, p6], wanted, random);
        for (role, share) in Role::ALL.into_iter().zip([s4, l4, p4]) {
            if let Some(table) = self.table4(role) {
                sample_table(table, share, except4, now, random, |a| take(unpack_v4(a)));
            }
        }
        for (role, share) in Role::ALL.into_iter().zip([s6, l6, p6]) {
            if let Some(table) = self.table6(role) {
                sample_table(table, share, except6, now, random, |a| take(unpack_v6(a)));
            }
        }
    }

    fn evict_one(&mut self, newcomer: &Packed, now: Tick, key: u64, random: &mut fastrand::Rng) -> bool {
        let mut found: Option<(u32, Packed)> = None;
        let sizes = self.sizes();
        let mut weigh = |peer: Packed, until: Tick| {
            let left = match (is_past(until, now), peer.is_of_host(newcomer)) {
                (true, _) => 0,
                (_, true) => 1,
                _ => 2 + u32::from(until.wrapping_sub(now)),
            };
            if peer != *newcomer && found.is_none_or(|(least, _)| left < least) {
                found = Some((left, peer));
            }
        };
        for (number, share) in (0..6_u8).zip(shares(sizes, CANDIDATES, random)) {
            let mut rest = share;
            let mut look = |peer, until| {
                weigh(peer, until);
                rest = rest.saturating_sub(1);
                rest > 0
            };
            let role = Role::ALL.get(usize::from(number % 3)).copied().unwrap_or(Role::Leecher);
            if share == 0 {
                continue;
            } else if number < 3 {
                if let Some(table) = self.table4(role) {
                    let _ = table.walk(CANDIDATES, random, |a, until| look(Packed::V4(*a), until));
                }
            } else if let Some(table) = self.table6(role) {
                let _ = table.walk(CANDIDATES, random, |a, until| look(Packed::V6(*a), until));
            }
        }
        found.is_some_and(|(_, peer)| self.remove(&peer, key).is_some())
    }
}

impl Population for Large {
    fn others_of(&self, role: Role, asker: &Asker) -> u32 {
        self.others(role, false, asker) + self.others(role, true, asker)
    }

    fn visit(
        &self,
        role: Role,
        asker: &Asker,
        budget: usize,
        now: Tick,
        random: &mut fastrand::Rng,
        see: &mut dyn FnMut(SocketAddr) -> ControlFlow<()>,
    ) {
        let (except4, except6) = asker.split();
        let (four, six) = (self.others(role, false, asker), self.others(role, true, asker));
        if four + six == 0 {
            return;
        }
        // Either family may come first, so that it is not always the other one in which `see` breaks off.
        let six_first = random.u32(..four + six) < six;
        for of_six in [six_first, !six_first] {
            let flow = match (of_six, self.table4(role), self.table6(role)) {
                (false, Some(table), _) if four > 0 => table.search(now, budget, random, |address| {
                    except4 == Some(address) || see(unpack_v4(address)).is_continue()
                }),
                (true, _, Some(table)) if six > 0 => table.search(now, budget, random, |address| {
                    except6 == Some(address) || see(unpack_v6(address)).is_continue()
                }),
                _ => ControlFlow::Continue(()),
            };
            if flow.is_break() {
                return;
            }
        }
    }
}

/// Gives `wanted` different peers whose time is not over to `take` (fewer if there are not so many), never `except`.
fn sample_table<const N: usize>(
    table: &Table<N>,
    wanted: usize,
    except: Option<&[u8; N]>,
    now: Tick,
    random: &mut fastrand::Rng,
    mut take: impl FnMut(&[u8; N]),
) {
    if wanted == 0 {
        return;
    }
    let is_fit = |address: &[u8; N], until| !is_past(until, now) && except != Some(address);
    let mut left = wanted;
    let mut few: [Option<&[u8; N]>; FEW] = [None; FEW];
    let is_few = wanted <= FEW && wanted < table.len() as usize;
    let picked = (0..if is_few { FEW_LOOKS } else { 0 }).filter_map(|_| table.pick(random));
    for (address, until) in picked {
        if is_fit(address, until) && !few.contains(&Some(address)) {
            take(address);
            left -= 1;
            if let Some(place) = few.get_mut(left) {
                *place = Some(address);
            }
            if left == 0 {
                return;
            }
        }
    }
    let _ = table.walk(MOST_RUNS.max(wanted), random, |address, until| {
        if is_fit(address, until) && !(is_few && few.contains(&Some(address))) {
            take(address);
            left -= 1;
        }
        left > 0
    });
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
mod tests;
