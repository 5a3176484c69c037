//! A small swarm, packed: the whole of it is one block of bytes, 24 and 8 for each IPv4 peer. Most swarms are small, so what
//! a tracker needs is mostly what these need.
//!
//! | bytes | |
//! |---|---|
//! | 20 | info-hash |
//! | 2 | the tick of the last change, little-endian |
//! | 1 | IPv4 seeders |
//! | 1 | IPv4 leechers; the highest bit: the next eight bytes are there |
//! | 4 | downloads, little-endian |
//! | 4 | IPv4 partial seeds, then IPv6 seeders, leechers, partial seeds |
//! | 8 each | IPv4 peers, seeders first: address, port, tick until which the peer is remembered (little-endian) |
//! | 20 each | IPv6 peers likewise |
//!
//! Blocks are as long as a multiple of eight bytes, at most [`MAX_LEN`]. Whoever works with one unpacks it, and packs it
//! again: peers are found by looking at all of them, which with so few takes no longer than hashing does.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use torrent_common::announce::AnnouncedPeer;
use torrent_common::ids::InfoHash;

use super::Role;
use super::address::{Asker, Packed, unpack_v4, unpack_v6};
use super::choice::Population;
use super::members::Members;
use super::tick::{Tick, is_past};

/// The longest block: 59 IPv4 peers, and the eight bytes that are not always there.
pub(super) const MAX_LEN: usize = 504;

const HEAD_LEN: usize = 24;
const EXTRA_LEN: usize = 8;
const HAS_EXTRA: u8 = 0x80;
/// Lengths of records: address and tick.
const LEN4: usize = 8;
const LEN6: usize = 20;
/// Most records in a block.
const MAX_RECORDS: usize = (MAX_LEN - HEAD_LEN) / LEN4;

/// A small swarm, unpacked.
#[derive(Clone)]
pub(super) struct Small {
    info_hash: InfoHash,
    changed: Tick,
    downloaded: u32,
    /// Peers of each group: IPv4 seeders, leechers, partial seeds, then IPv6. Their records lie in this order.
    counts: [u8; 6],
    records: [u8; MAX_LEN - HEAD_LEN],
}

/// One record: where it lies, and what it says.
struct Record {
    group: usize,
    at: usize,
    address: Packed,
    until: Tick,
}

const fn is_v6(group: usize) -> bool {
    group >= 3
}

const fn record_len(group: usize) -> usize {
    if is_v6(group) { LEN6 } else { LEN4 }
}

fn role_of(group: usize) -> Role {
    match group % 3 {
        0 => Role::Seeder,
        1 => Role::Leecher,
        _ => Role::PartialSeed,
    }
}

fn group_of(peer: &Packed, role: Role) -> usize {
    let number = match role {
        Role::Seeder => 0,
        Role::Leecher => 1,
        Role::PartialSeed => 2,
    };
    if matches!(peer, Packed::V6(_)) { number + 3 } else { number }
}

impl Small {
    /// Without peers.
    pub(super) const fn new(info_hash: InfoHash, changed: Tick) -> Self {
        Self { info_hash, changed, downloaded: 0, counts: [0; 6], records: [0; MAX_LEN - HEAD_LEN] }
    }

    /// Which torrent.
    pub(super) const fn info_hash(&self) -> &InfoHash {
        &self.info_hash
    }

    /// From a block that [`Small::pack`] made.
    pub(super) fn unpack(block: &[u8]) -> Self {
        let mut rest = block;
        let mut take = |len: usize| rest.split_off(..len).unwrap_or_default();
        let mut small = Self::new(InfoHash::new(array(take(20))), Tick::from_le_bytes(array(take(2))));
        let [s4, l4] = array(take(2));
        let [mut p4, mut s6, mut l6, mut p6] = [0; 4];
        if l4 & HAS_EXTRA != 0 {
            small.downloaded = u32::from_le_bytes(array(take(4)));
            [p4, s6, l6, p6] = array(take(4));
        }
        small.counts = [s4, l4 & !HAS_EXTRA, p4, s6, l6, p6];
        let len = rest.len().min(small.records.len());
        if let (Some(to), Some(from)) = (small.records.get_mut(..len), rest.get(..len)) {
            to.copy_from_slice(from);
        }
        small
    }

    /// The info-hash of a block, of which the first bytes are enough.
    pub(super) fn info_hash_of(block: &[u8]) -> InfoHash {
        InfoHash::new(array(block.get(..20).unwrap_or_default()))
    }

    /// As a block: writes into `out`, and returns how many bytes. A multiple of eight.
    pub(super) fn pack(&self, out: &mut [u8; MAX_LEN]) -> usize {
        let [s4, l4, p4, s6, l6, p6] = self.counts;
        let extra = self.has_extra();
        let mut rest = out.as_mut_slice();
        let mut put = |bytes: &[u8]| {
            if let Some(to) = rest.split_off_mut(..bytes.len()) {
                to.copy_from_slice(bytes);
            }
        };
        put(self.info_hash.as_bytes());
        put(&self.changed.to_le_bytes());
        put(&[s4, if extra { l4 | HAS_EXTRA } else { l4 }]);
        if extra {
            put(&self.downloaded.to_le_bytes());
            put(&[p4, s6, l6, p6]);
        }
        put(self.records.get(..self.records_len()).unwrap_or_default());
        self.packed_len()
    }

    /// Bytes that it takes, packed.
    pub(super) fn packed_len(&self) -> usize {
        packed_len(self.has_extra(), self.records_len())
    }

    /// Whether it can be packed when this peer has come as well.
    pub(super) fn has_room_for(&self, peer: &Packed, role: Role) -> bool {
        let group = group_of(peer, role);
        packed_len(true, self.records_len() + record_len(group)) <= MAX_LEN
    }

    /// Forgets whose time is over.
    pub(super) fn expire(&mut self, now: Tick) {
        loop {
            let Some(record) = self.records().find(|record| is_past(record.until, now)) else { break };
            self.cut(&record);
        }
        self.bound_quiet(now);
    }

    /// Every peer: address, what it does, and the tick until which it is remembered.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Packed, Role, Tick)> {
        self.records().map(|record| (record.address, role_of(record.group), record.until))
    }

    /// Ticks for which its peers would still be remembered, all together: what is lost with it, but not to the host of
    /// `newcomer`.
    pub(super) fn left(&self, newcomer: &Packed, now: Tick) -> u32 {
        self.records()
            .filter(|record| !is_past(record.until, now) && !record.address.is_of_host(newcomer))
            .map(|record| u32::from(record.until.wrapping_sub(now)))
            .sum()
    }

    fn has_extra(&self) -> bool {
        let [_, _, rare @ ..] = self.counts;
        self.downloaded > 0 || rare != [0; 4]
    }

    fn records_len(&self) -> usize {
        (0..6).zip(self.counts).map(|(group, count)| record_len(group) * usize::from(count)).sum()
    }

    fn records(&self) -> impl Iterator<Item = Record> {
        let mut rest = self.records.as_slice();
        let mut at = 0;
        (0..6).zip(self.counts).flat_map(move |(group, count)| {
            let len = record_len(group);
            let start = at;
            at += len * usize::from(count);
            let group_records = rest.split_off(..len * usize::from(count)).unwrap_or_default();
            group_records.chunks_exact(len).enumerate().map(move |(number, bytes)| {
                let (address, until) = bytes.split_at(len - 2);
                let address =
                    if is_v6(group) { Packed::V6(array(address)) } else { Packed::V4(array(address)) };
                Record { group, at: start + number * len, address, until: Tick::from_le_bytes(array(until)) }
            })
        })
    }

    /// Finds a peer among those of its family: by its bytes, without making records of them.
    fn find(&self, peer: &Packed) -> Option<Record> {
        let [s4, l4, p4, s6, l6, p6] = self.counts.map(usize::from);
        let start6 = (s4 + l4 + p4) * LEN4;
        let (start, len, numbers, groups) = match peer {
            Packed::V4(_) => (0, LEN4, [s4, l4, p4], 0..3),
            Packed::V6(_) => (start6, LEN6, [s6, l6, p6], 3..6),
        };
        let bytes = self.records.get(start..start + numbers.iter().sum::<usize>() * len)?;
        let number = match peer {
            Packed::V4(address) => bytes.chunks_exact(len).position(|record| record.starts_with(address)),
            Packed::V6(address) => bytes.chunks_exact(len).position(|record| record.starts_with(address)),
        }?;
        let mut end = 0;
        let mut group = groups.start;
        for (candidate, count) in groups.zip(numbers) {
            end += count;
            if number < end {
                group = candidate;
                break;
            }
        }
        let at = start + number * len;
        let until = self.records.get(at + len - 2..at + len).unwrap_or_default();
        Some(Record { group, at, address: *peer, until: Tick::from_le_bytes(array(until)) })
    }

    /// Shows peers of some roles that the asker reaches, itself not among them, in a random order, until `take` is false. If
    /// there are no more than `wanted` the order is that of the block: when all are told it does not matter.
    fn shuffled(
        &self,
        is_told: impl Fn(Role) -> bool,
        asker: &Asker,
        now: Tick,
        random: &mut fastrand::Rng,
        wanted: usize,
        mut take: impl FnMut(SocketAddr) -> bool,
    ) {
        let mut found = [(0_u16, false); MAX_RECORDS];
        let mut count = 0;
        let of_use = self.records().filter(|record| {
            is_told(role_of(record.group))
                && asker.reaches(is_v6(record.group))
                && !is_past(record.until, now)
                && record.address != asker.address
        });
        for (to, record) in found.iter_mut().zip(of_use) {
            *to = (u16::try_from(record.at).unwrap_or_default(), is_v6(record.group));
            count += 1;
        }
        let found = found.get_mut(..count).unwrap_or_default();
        for number in 0..count {
            if wanted < count {
                found.swap(number, random.usize(number..count));
            }
            let Some(&(at, of_v6)) = found.get(number) else { break };
            let bytes = self.records.get(usize::from(at)..).unwrap_or_default();
            let goes_on = take(if of_v6 {
                unpack_v6(&array(bytes.get(..18).unwrap_or_default()))
            } else {
                unpack_v4(&array(bytes.get(..6).unwrap_or_default()))
            });
            if !goes_on {
                break;
            }
        }
    }

    /// Takes a record out.
    fn cut(&mut self, record: &Record) {
        let end = self.records_len();
        let len = record_len(record.group);
        if record.at + len <= end && end <= self.records.len() {
            self.records.copy_within(record.at + len..end, record.at);
        }
        if let Some(count) = self.counts.get_mut(record.group) {
            *count = count.saturating_sub(1);
        }
    }

    /// Puts a record in, as the last of its group. There is room: see [`Small::has_room_for`].
    fn put(&mut self, group: usize, address: &[u8], until: Tick) {
        let end = self.records_len();
        let len = record_len(group);
        let groups = (0..=group).zip(self.counts);
        let at: usize = groups.map(|(group, count)| record_len(group) * usize::from(count)).sum();
        if end + len > self.records.len() {
            debug_assert!(false, "a small swarm becomes a large one before it is full");
            return;
        }
        self.records.copy_within(at..end, at + len);
        let bytes = address.iter().copied().chain(until.to_le_bytes());
        for (to, from) in self.records.iter_mut().skip(at).zip(bytes) {
            *to = from;
        }
        if let Some(count) = self.counts.get_mut(group) {
            *count += 1;
        }
    }
}

impl Members for Small {
    fn count_of(&self, role: Role) -> u32 {
        let [s4, l4, p4, s6, l6, p6] = self.counts.map(u32::from);
        match role {
            Role::Seeder => s4 + s6,
            Role::Leecher => l4 + l6,
            Role::PartialSeed => p4 + p6,
        }
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

    fn contains(&self, peer: &Packed, _: u64) -> bool {
        self.find(peer).is_some()
    }

    fn insert(&mut self, peer: Packed, role: Role, until: Tick, _: u64) -> Option<Role> {
        let group = group_of(&peer, role);
        let was = self.find(&peer);
        if let Some(record) = was.as_ref().filter(|record| record.group == group) {
            let at = record.at + record_len(group) - 2;
            if let Some(bytes) = self.records.get_mut(at..at + 2) {
                bytes.copy_from_slice(&until.to_le_bytes());
            }
            return Some(role);
        }
        if let Some(record) = &was {
            self.cut(record);
        }
        match &peer {
            Packed::V4(address) => self.put(group, address, until),
            Packed::V6(address) => self.put(group, address, until),
        }
        was.map(|record| role_of(record.group))
    }

    fn remove(&mut self, peer: &Packed, _: u64) -> Option<Role> {
        let record = self.find(peer)?;
        self.cut(&record);
        Some(role_of(record.group))
    }

    fn expire_if_small(&mut self, now: Tick, _: u64) {
        self.expire(now);
    }

    fn sample(
        &self,
        wanted: usize,
        asker: &Asker,
        now: Tick,
        random: &mut fastrand::Rng,
        told: &mut Vec<AnnouncedPeer>,
    ) {
        if wanted == 0 {
            return;
        }
        let is_told = |role| asker.has_use_for(role);
        let mut left = wanted;
        self.shuffled(is_told, asker, now, random, wanted, |address| {
            told.push(AnnouncedPeer { address, peer_id: None });
            left -= 1;
            left > 0
        });
    }

    fn evict_one(&mut self, newcomer: &Packed, now: Tick, _: u64, _: &mut fastrand::Rng) -> bool {
        let others = self.records().filter(|record| record.address != *newcomer);
        let first = others.min_by_key(|record| {
            let is_over = is_past(record.until, now);
            (!is_over, !record.address.is_of_host(newcomer), record.until.wrapping_sub(now))
        });
        if let Some(record) = &first {
            self.cut(record);
        }
        first.is_some()
    }
}

impl Population for Small {
    fn others_of(&self, role: Role, asker: &Asker) -> u32 {
        let groups = (0..6).zip(self.counts).filter(|&(group, _)| {
            role_of(group) == role && asker.has_use_for(role) && asker.reaches(is_v6(group))
        });
        let all: u32 = groups.map(|(_, count)| u32::from(count)).sum();
        let is_own = role == asker.role && asker.reaches(matches!(asker.address, Packed::V6(_)));
        all.saturating_sub((is_own && asker.has_use_for(role)).into())
    }

    fn visit(
        &self,
        role: Role,
        asker: &Asker,
        _: usize,
        now: Tick,
        random: &mut fastrand::Rng,
        see: &mut dyn FnMut(SocketAddr) -> ControlFlow<()>,
    ) {
        let is_told = |other| other == role && asker.has_use_for(role);
        self.shuffled(is_told, asker, now, random, 0, |address| see(address).is_continue());
    }
}

const fn packed_len(has_extra: bool, records_len: usize) -> usize {
    let extra = if has_extra { EXTRA_LEN } else { 0 };
    (HEAD_LEN + extra + records_len).next_multiple_of(8)
}

/// Bytes that are there; zeros if they are not.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

#[cfg(test)]
mod tests;
