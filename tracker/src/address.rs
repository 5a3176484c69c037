//! Where a peer is: what is written down of it, and what others are told.
//!
//! Written down is the address that a request came from. What a peer claims (`ip=`) counts only from this machine, where
//! the address of the connection says nothing to others, and from TRUSTED_NETWORKS; anybody else could send a whole swarm
//! to a victim's address.
//!
//! A peer on this machine may announce to 127.0.0.1, and be written down there. Its neighbours on this machine are told
//! so. Nobody else could reach it: they are told the address from which this machine would send them a packet, which is the
//! one that they reached the tracker at, or PUBLIC_ADDRESS where a router stands between and the machine cannot know its own
//! address. Who asks from a private network is behind the same router more likely than not, and hears a public
//! PUBLIC_ADDRESS only if there is no other: many routers do not let their own side in by their outside address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use torrent_common::announce::AnnouncedPeer;
use torrent_common::config::TrackerConfig;
use torrent_common::network::Network;

/// The policy of addresses.
pub struct Addresses {
    trusted: Vec<Network>,
    public: Vec<IpAddr>,
    /// The address from which this machine sends to another.
    towards: fn(IpAddr) -> Option<IpAddr>,
}

impl Addresses {
    /// As configured.
    pub fn new(config: &TrackerConfig) -> Self {
        Self {
            trusted: config.trusted_networks.clone(),
            public: config.public_addresses.clone(),
            towards: local_towards,
        }
    }

    /// Whether one who asks from there may say where it is.
    pub fn may_claim(&self, from: IpAddr) -> bool {
        let from = from.to_canonical();
        from.is_loopback() || self.trusted.iter().any(|network| network.contains(from))
    }

    /// What is written down of a peer whose request came from `from` and says that it is at `claimed`.
    pub fn written(&self, claimed: Option<IpAddr>, from: IpAddr) -> IpAddr {
        let from = from.to_canonical();
        let Some(claimed) = claimed.map(|ip| ip.to_canonical()) else { return from };
        // This machine's own loopback is nobody else's.
        let makes_sense = can_be_dialled(claimed) && (!claimed.is_loopback() || from.is_loopback());
        if makes_sense && self.may_claim(from) { claimed } else { from }
    }

    /// Makes what was written down of peers of this machine into what one who asks from `from`, and is itself written
    /// down at `own`, can reach. Peers for whom there is nothing such are left out.
    pub fn tell(&self, peers: &mut Vec<AnnouncedPeer>, from: IpAddr, own: SocketAddr) {
        let from = from.to_canonical();
        if from.is_loopback() || !peers.iter().any(|peer| peer.address.ip().is_loopback()) {
            return;
        }
        let here = self.here(from);
        let (local, mut told): (Vec<_>, Vec<_>) =
            std::mem::take(peers).into_iter().partition(|peer| peer.address.ip().is_loopback());
        for peer in local {
            let Some(ip) = here else { continue };
            let address = SocketAddr::new(ip, peer.address.port());
            // It may be in the swarm under this address as well, or be the one who asks.
            if address != own && !told.iter().any(|known| known.address == address) {
                told.push(AnnouncedPeer { address, ..peer });
            }
        }
        *peers = told;
    }

    /// Where `asker`, who is on another machine, reaches this one.
    fn here(&self, asker: IpAddr) -> Option<IpAddr> {
        let public = self.public.iter().copied().find(|ip| ip.is_ipv4() == asker.is_ipv4());
        let is_outside = |ip: &IpAddr| is_private(asker) && !is_private(*ip);
        public.filter(|ip| !is_outside(ip)).or_else(|| (self.towards)(asker)).or(public)
    }
}

/// Asks the system by which of its addresses it would send to `other`: no packet is sent.
fn local_towards(other: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match other {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // The port means nothing here: that of the discard service.
    let socket = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((other, 9))?;
        socket.local_addr()
    });
    let ip = socket.ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// Whether a host can have this address.
pub(crate) fn can_be_dialled(ip: IpAddr) -> bool {
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || is_broadcast)
}

/// Whether an address means something in a local network alone (RFC 1918, 3927, 4193, 4291, 6598).
pub(crate) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host at 192.168.1.5 and fd00::5, which has no other IPv6.
    fn addresses(public: &[&str]) -> Addresses {
        Addresses {
            trusted: vec!["10.1.0.0/16".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()],
            public: public.iter().map(|ip| ip.parse().unwrap()).collect(),
            towards: |other| match other {
                IpAddr::V4(_) => Some([192, 168, 1, 5].into()),
                IpAddr::V6(ip) => ip.is_unique_local().then(|| "fd00::5".parse().unwrap()),
            },
        }
    }

    #[test]
    fn only_this_machine_and_trusted_networks_may_name_an_address() {
        for (claimed, from, expected) in [
            (None, "10.0.0.1", "10.0.0.1"),
            (Some("10.9.9.9"), "10.0.0.1", "10.0.0.1"),
            (Some("10.9.9.9"), "127.0.0.1", "10.9.9.9"),
            (Some("10.9.9.9"), "127.3.2.1", "10.9.9.9"),
            (Some("10.9.9.9"), "::1", "10.9.9.9"),
            (Some("2001:db8::1"), "127.0.0.1", "2001:db8::1"),
            (Some("10.9.9.9"), "::ffff:127.0.0.1", "10.9.9.9"),
            (Some("10.9.9.9"), "::ffff:10.0.0.1", "10.0.0.1"),
            (Some("10.9.9.9"), "10.1.2.3", "10.9.9.9"),
            (Some("10.9.9.9"), "::ffff:10.1.2.3", "10.9.9.9"),
            (Some("10.9.9.9"), "10.2.0.1", "10.2.0.1"),
            (Some("2001:db8::9"), "2001:db8:1::7", "2001:db8::9"),
            (Some("2001:db8::9"), "2001:db8:2::7", "2001:db8:2::7"),
            (Some("127.0.0.1"), "10.1.2.3", "10.1.2.3"),
            (Some("::ffff:127.0.0.1"), "10.1.2.3", "10.1.2.3"),
            (Some("::1"), "127.0.0.1", "::1"),
            (Some("0.0.0.0"), "127.0.0.1", "127.0.0.1"),
            (Some("::"), "127.0.0.1", "127.0.0.1"),
            (Some("224.0.0.1"), "127.0.0.1", "127.0.0.1"),
            (Some("255.255.255.255"), "127.0.0.1", "127.0.0.1"),
            (None, "::1", "::1"),
        ] {
            let claimed = claimed.map(|ip| ip.parse().unwrap());
            let written = addresses(&[]).written(claimed, from.parse().unwrap());
            assert_eq!(written.to_string(), expected, "{claimed:?} {from}");
        }
    }

    fn told(addresses: &Addresses, peers: &[&str], from: &str) -> Vec<String> {
        let mut peers: Vec<_> = peers
            .iter()
            .map(|peer| AnnouncedPeer { address: peer.parse().unwrap(), peer_id: None })
            .collect();
        let from: IpAddr = from.parse().unwrap();
        addresses.tell(&mut peers, from, SocketAddr::new(from.to_canonical(), 7));
        peers.iter().map(|peer| peer.address.to_string()).collect()
    }

    #[test]
    fn peers_of_this_machine_are_told_so_that_the_asker_can_reach_them() {
        let (plain, global, local) =
            (addresses(&[]), addresses(&["203.0.113.1", "2001:db8::1"]), addresses(&["10.0.0.9"]));
        for (addresses, from, expected) in [
            (&plain, "127.0.0.1", "127.0.0.1:5"),
            (&plain, "::1", "127.0.0.1:5"),
            (&plain, "192.168.1.9", "192.168.1.5:5"),
            (&plain, "198.51.100.7", "192.168.1.5:5"),
            (&plain, "::ffff:198.51.100.7", "192.168.1.5:5"),
            (&plain, "fd00::9", "[fd00::5]:5"),
            (&plain, "2001:db8::9", ""),
            (&global, "127.0.0.1", "127.0.0.1:5"),
            (&global, "198.51.100.7", "203.0.113.1:5"),
            (&global, "2001:db8::9", "[2001:db8::1]:5"),
            (&global, "192.168.1.9", "192.168.1.5:5"),
            (&global, "100.64.0.1", "192.168.1.5:5"),
            (&global, "fe80::9", "[2001:db8::1]:5"),
            (&local, "192.168.1.9", "10.0.0.9:5"),
            (&local, "198.51.100.7", "10.0.0.9:5"),
        ] {
            let told = told(addresses, &["127.0.0.1:5"], from);
            assert_eq!(told.join(" "), expected, "{:?} {from}", addresses.public);
        }
    }

    #[test]
    fn nobody_is_told_twice_or_of_itself() {
        let here = addresses(&[]);
        assert_eq!(
            told(&here, &["127.0.0.1:5", "10.0.0.1:5", "192.168.1.5:5", "[::1]:5", "[::1]:6"], "10.0.0.2"),
            ["10.0.0.1:5", "192.168.1.5:5", "192.168.1.5:6"]
        );
        assert_eq!(told(&here, &["127.0.0.1:7", "127.0.0.1:8"], "192.168.1.5"), ["192.168.1.5:8"]);
    }

    #[test]
    fn the_system_is_asked() {
        assert_eq!(local_towards([127, 0, 0, 1].into()), None, "loopback is reached from loopback");
    }
}
