//! Who is near whom: in the same site (SITES), or in the same subnet. What that means for an answer is said in
//! [`crate::swarm`]'s `choice.rs`.
//!
//! What counts is the address that others are told, since they dial that one. It cannot be feigned: it is where the request
//! came from, or what somebody trusted said. Peers on the tracker's own host announce from loopback, which is in no site
//! unless SITES names it there (`127.0.0.0/8 ::1`): the tracker itself cannot know where it stands for whom.
//!
//! A subnet without a site is a guess: of 24 bits for IPv4, the size that most local networks are made in, and for IPv6 of
//! 64, which every local network has (RFC 4291). Between private addresses it is a good one: who is seen under a private
//! address shares a routed network with the tracker, and neighbours in it reach each other without translation. Between
//! public ones it may be wrong: customers behind a provider's translator have close addresses and cannot reach each other.

use std::net::IpAddr;

use torrent_common::config::Site;
use torrent_common::network::Network;

use crate::address::is_private;

/// The sites, and what is near without them. By default nothing is.
#[derive(Debug, Default)]
pub struct Sites {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    subnets: bool,
}

/// Where each range of addresses begins, and the site that it belongs to. It ends where the next one begins.
#[derive(Debug, Default)]
struct Ranges<T>(Box<[(T, Option<u16>)]>);

/// Where a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Site(u16),
    /// The first 24 bits of an IPv4 address.
    Subnet4(u32),
    /// The first 64 bits of an IPv6 address.
    Subnet6(u128),
}

/// Tells those who are near one peer from the others.
#[derive(Debug, Clone, Copy)]
pub struct Near<'a> {
    sites: &'a Sites,
    place: Place,
    /// How much that is to weigh.
    pub mix: Mix,
}

/// How an answer is made of near peers and others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// Of an answer that is full of peers, one in so many is not a near one.
    pub far_part: usize,
    /// No answer has fewer peers than this for the sake of nearness, if there are so many.
    pub least: usize,
    /// Slots of a swarm that are looked at for near peers.
    pub slots: usize,
    /// Whether only swarms that have no more peers than that are looked at.
    pub small_only: bool,
}

impl Mix {
    /// In a site that the operator has named: so is meant what is told.
    const SITE: Self = Self { far_part: 8, least: 4, slots: 4096, small_only: false };
    /// In a subnet of private addresses. Large swarms are not searched for neighbours that there may not be.
    const PRIVATE: Self = Self { far_part: 4, least: 20, slots: 512, small_only: true };
    /// In a subnet of public addresses: nobody is left out for neighbours, but of two the near one is told.
    const PUBLIC: Self = Self { far_part: 2, least: usize::MAX, slots: 256, small_only: true };
}

impl<T: Ord> Ranges<T> {
    fn site_of(&self, address: &T) -> Option<u16> {
        let after = self.0.partition_point(|(first, _)| first <= address);
        self.0.get(after.checked_sub(1)?)?.1
    }
}

/// Cuts networks that lie within each other into ranges that do not: each address belongs to the smallest network.
/// A network is its first address, its last, the number of its bits, and its site.
fn flatten<T: Ord + Copy>(
    networks: &[(T, T, u8, u16)],
    zero: T,
    after: impl Fn(T) -> Option<T>,
) -> Ranges<T> {
    let mut starts = vec![zero];
    for &(first, last, ..) in networks {
        starts.push(first);
        starts.extend(after(last));
    }
    starts.sort_unstable();
    starts.dedup();
    let owner = |at: T| {
        let inside = networks.iter().filter(|&&(first, last, ..)| first <= at && at <= last);
        inside.max_by_key(|&&(_, _, bits, _)| bits).map(|&(.., site)| site)
    };
    let mut ranges: Vec<_> = starts.into_iter().map(|start| (start, owner(start))).collect();
    ranges.dedup_by_key(|range| range.1);
    Ranges(ranges.into())
}

impl Sites {
    /// The sites as configured, and subnets where there is none.
    pub fn new(sites: &[Site]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (number, site) in (0..=u16::MAX).zip(sites) {
            for network in &site.networks {
                let bits = Network::prefix_bits(network);
                match (network.first(), network.last()) {
                    (IpAddr::V4(first), IpAddr::V4(last)) => {
                        v4.push((first.to_bits(), last.to_bits(), bits, number));
                    }
                    (IpAddr::V6(first), IpAddr::V6(last)) => {
                        v6.push((first.to_bits(), last.to_bits(), bits, number));
                    }
                    _ => {}
                }
            }
        }
        Self {
            v4: flatten(&v4, 0, |last| last.checked_add(1)),
            v6: flatten(&v6, 0, |last| last.checked_add(1)),
            subnets: true,
        }
    }

    /// Who is near the peer at `ip`. `None` if that means nothing.
    pub fn near(&self, ip: IpAddr) -> Option<Near<'_>> {
        let place = self.place_of(ip)?;
        let mix = match place {
            Place::Site(_) => Mix::SITE,
            _ if is_private(ip.to_canonical()) => Mix::PRIVATE,
            _ => Mix::PUBLIC,
        };
        Some(Near { sites: self, place, mix })
    }

    fn site_of(&self, ip: IpAddr) -> Option<u16> {
        match ip {
            IpAddr::V4(ip) => self.v4.site_of(&ip.to_bits()),
            IpAddr::V6(ip) => self.v6.site_of(&ip.to_bits()),
        }
    }

    fn place_of(&self, ip: IpAddr) -> Option<Place> {
        let ip = ip.to_canonical();
        match self.site_of(ip) {
            Some(site) => Some(Place::Site(site)),
            None if self.subnets && !ip.is_loopback() => Some(subnet_of(ip)),
            None => None,
        }
    }
}

const fn subnet_of(ip: IpAddr) -> Place {
    match ip {
        IpAddr::V4(ip) => Place::Subnet4(ip.to_bits() >> 8),
        IpAddr::V6(ip) => Place::Subnet6(ip.to_bits() >> 64),
    }
}

impl Near<'_> {
    /// Whether a peer at `ip` is one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match self.place {
            Place::Site(site) => self.sites.site_of(ip) == Some(site),
            // A part of the subnet may belong to a site.
            place => subnet_of(ip) == place && self.sites.place_of(ip) == Some(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use torrent_common::config::parse_sites;

    use super::*;

    fn sites(text: &str) -> Sites {
        Sites::new(&parse_sites(text).unwrap())
    }

    fn are_near(sites: &Sites, one: &str, other: &str) -> bool {
        sites.near(one.parse().unwrap()).is_some_and(|near| near.contains(other.parse().unwrap()))
    }

    #[test]
    fn sites_and_subnets() {
        let sites = sites(
            "campus: 10.1.0.0/16 2001:db8::/32, lab: 10.1.7.0/24 10.3.0.0/16, edge: 0.0.0.0/8 255.0.0.0/8, \
             half: 192.168.5.128/25, here: 127.0.0.0/8 10.9.0.0/16",
        );
        for (one, other, expected) in [
            ("10.1.0.1", "10.1.255.1", true),
            ("10.1.0.1", "2001:db8:5::1", true),
            ("2001:db8:5::1", "10.1.6.255", true),
            ("10.1.0.1", "10.1.7.1", false),
            ("10.1.7.1", "10.3.0.1", true),
            ("10.1.7.1", "10.1.8.0", false),
            ("10.1.7.1", "10.1.6.255", false),
            ("::ffff:10.1.7.1", "10.3.0.1", true),
            ("0.0.0.1", "255.255.255.255", true),
            ("10.2.0.1", "10.2.0.200", true),
            ("10.2.0.1", "10.2.1.1", false),
            ("192.168.5.1", "192.168.5.127", true),
            ("192.168.5.1", "192.168.5.128", false),
            ("192.168.5.200", "192.168.5.129", true),
            ("192.168.5.200", "192.168.5.1", false),
            ("fd00::1", "fd00::ffff:0:0:1", true),
            ("fd00::1", "fd00:0:0:1::1", false),
            ("127.0.0.1", "10.9.0.1", true),
            ("10.9.0.1", "127.0.0.1", true),
            ("198.51.100.1", "198.51.100.2", true),
        ] {
            assert_eq!(are_near(&sites, one, other), expected, "{one} {other}");
        }
        assert_eq!(sites.near([10, 1, 0, 1].into()).unwrap().mix, Mix::SITE);
        assert_eq!(sites.near([10, 2, 0, 1].into()).unwrap().mix, Mix::PRIVATE);
        assert_eq!(sites.near([198, 51, 100, 1].into()).unwrap().mix, Mix::PUBLIC);
    }

    #[test]
    fn without_sites() {
        let none = Sites::new(&[]);
        assert!(are_near(&none, "10.2.0.1", "10.2.0.200") && !are_near(&none, "10.2.0.1", "10.2.1.1"));
        assert!(none.near([127, 0, 0, 1].into()).is_none(), "the whole host is one");
        assert!(none.near("::1".parse().unwrap()).is_none());
        assert!(Sites::default().near([10, 2, 0, 1].into()).is_none(), "not even subnets");
    }

    proptest! {
        #[test]
        fn the_smallest_network_wins(
            networks in prop::collection::vec((any::<u8>(), 24u8..=32, 0usize..4), 0..12),
            addresses in prop::collection::vec(any::<u8>(), 1..20),
        ) {
            let mut sites: Vec<_> =
                (0..4).map(|n| Site { name: format!("s{n}"), networks: Vec::new() }).collect();
            let mut known = Vec::new();
            for (byte, bits, site) in networks {
                let network = Network::new([10, 0, 0, byte].into(), bits).unwrap();
                if !known.iter().any(|&(other, _)| other == network) {
                    known.push((network, site));
                    sites[site].networks.push(network);
                }
            }
            let flat = Sites::new(&sites);
            for byte in addresses {
                let ip = IpAddr::from([10, 0, 0, byte]);
                let inside = known.iter().filter(|(network, _)| network.contains(ip));
                let smallest = inside.max_by_key(|(network, _)| network.prefix_bits());
                prop_assert_eq!(flat.site_of(ip).map(usize::from), smallest.map(|&(_, site)| site));
            }
        }
    }
}
