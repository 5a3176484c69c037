//! Whom nobody talks to any more. One list for all torrents: who poisons one poisons others.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use torrent_common::ids::PeerId;

use super::suspects::Identity;

/// Entries of each kind; the oldest is forgotten first.
const MAX_ENTRIES: usize = 4096;

/// The list. An address of another host is banned whole. On this host many peers share an address (ours, and every other
/// user's), so there a peer is banned by its name and by its port.
#[derive(Debug, Default)]
pub struct Bans(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    hosts: Recent<IpAddr>,
    local_ports: Recent<SocketAddr>,
    names: Recent<PeerId>,
}

/// A set that forgets its oldest member when it is full.
#[derive(Debug)]
struct Recent<T> {
    members: HashSet<T>,
    order: VecDeque<T>,
}

impl Bans {
    /// Bans a peer.
    pub fn add(&self, address: SocketAddr, name: PeerId) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if address.ip().is_loopback() {
            lists.local_ports.insert(address);
            lists.names.insert(name);
        } else {
            lists.hosts.insert(address.ip());
        }
    }

    /// Bans a peer of which no connection is left.
    pub fn add_absent(&self, who: Identity) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match who {
            Identity::Address(ip) => lists.hosts.insert(ip),
            Identity::Local(name) => lists.names.insert(name),
        }
    }

    /// Whether a peer that has told its name is banned.
    pub fn has(&self, address: SocketAddr, name: PeerId) -> bool {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if address.ip().is_loopback() {
            return lists.local_ports.members.contains(&address) || lists.names.members.contains(&name);
        }
        lists.hosts.members.contains(&address.ip())
    }

    /// Whether an address is not worth dialling.
    pub fn has_address(&self, address: SocketAddr) -> bool {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.local_ports.members.contains(&address) || lists.hosts.members.contains(&address.ip())
    }
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { members: HashSet::new(), order: VecDeque::new() }
    }
}

impl<T: Copy + Eq + Hash> Recent<T> {
    fn insert(&mut self, member: T) {
        if !self.members.insert(member) {
            return;
        }
        self.order.push_back(member);
        if self.order.len() > MAX_ENTRIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.members.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: PeerId = PeerId::new([1; 20]);
    const OTHER: PeerId = PeerId::new([2; 20]);

    #[test]
    fn a_host_is_banned_whole_but_this_one() {
        let bans = Bans::default();
        bans.add("10.0.0.1:5".parse().unwrap(), NAME);
        assert!(bans.has("10.0.0.1:6".parse().unwrap(), OTHER));
        assert!(!bans.has("10.0.0.2:5".parse().unwrap(), NAME));
        bans.add("127.0.0.1:5".parse().unwrap(), NAME);
        assert!(!bans.has("127.0.0.1:6".parse().unwrap(), OTHER));
        assert!(bans.has("127.0.0.1:6".parse().unwrap(), NAME));
        assert!(bans.has_address("127.0.0.1:5".parse().unwrap()));
    }

    #[test]
    fn who_is_gone_stays_out() {
        let bans = Bans::default();
        bans.add_absent(Identity::Address([10, 0, 0, 1].into()));
        bans.add_absent(Identity::Local(NAME));
        assert!(bans.has("10.0.0.1:6".parse().unwrap(), OTHER));
        assert!(bans.has("127.0.0.1:6".parse().unwrap(), NAME));
        assert!(!bans.has("127.0.0.1:6".parse().unwrap(), OTHER));
    }

    #[test]
    fn the_list_is_bounded() {
        let bans = Bans::default();
        for port in 1..=u16::try_from(MAX_ENTRIES + 1).unwrap() {
            bans.add(SocketAddr::new([127, 0, 0, 1].into(), port), NAME);
        }
        assert!(!bans.has_address("127.0.0.1:1".parse().unwrap()));
        assert!(bans.has_address("127.0.0.1:2".parse().unwrap()));
    }
}
