//! How near an address is.

use std::net::{IpAddr, Ipv6Addr};

/// Where an address is: the later, the nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// Anywhere.
    World,
    /// A network of somebody's own: private (RFC 1918, RFC 4193), of one link, or behind a provider's translator
    /// (RFC 6598).
    Private,
    /// This machine.
    Here,
}

impl Area {
    /// Where an address is.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            ip if ip.is_loopback() || ip.is_unspecified() => Self::Here,
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                let shared = a == 100 && (64..128).contains(&b);
                // All of 0.0.0.0/8 is "this network".
                let own = v4.is_private() || v4.is_link_local() || shared || a == 0;
                if own { Self::Private } else { Self::World }
            }
            IpAddr::V6(v6) if v6.is_unique_local() || v6.is_unicast_link_local() => Self::Private,
            IpAddr::V6(v6) => embedded(v6).map_or(Self::World, Self::of),
        }
    }
}

/// The IPv4 address that a translator would make of one of NAT64 (RFC 6052) or 6to4 (RFC 3056).
fn embedded(v6: Ipv6Addr) -> Option<IpAddr> {
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Some(IpAddr::from([a, b, c, d]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_their_areas() {
        for (ip, area) in [
            ("8.8.8.8", Area::World),
            ("172.32.0.1", Area::World),
            ("100.128.0.1", Area::World),
            ("2001:4860::1", Area::World),
            ("64:ff9b::808:808", Area::World),
            ("10.0.0.1", Area::Private),
            ("172.16.0.1", Area::Private),
            ("192.168.1.1", Area::Private),
            ("169.254.169.254", Area::Private),
            ("100.64.0.1", Area::Private),
            ("0.1.2.3", Area::Private),
            ("fe80::1", Area::Private),
            ("fd00::1", Area::Private),
            ("::ffff:192.168.1.1", Area::Private),
            ("64:ff9b::c0a8:101", Area::Private),
            ("2002:c0a8:101::1", Area::Private),
            ("127.0.0.1", Area::Here),
            ("127.9.9.9", Area::Here),
            ("0.0.0.0", Area::Here),
            ("::1", Area::Here),
            ("::", Area::Here),
            ("::ffff:127.0.0.1", Area::Here),
            ("64:ff9b::7f00:1", Area::Here),
        ] {
            assert_eq!(Area::of(ip.parse().unwrap()), area, "{ip}");
        }
    }
}
