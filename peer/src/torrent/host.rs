//! Whom connections are counted for, where one host may have only so many.

use std::net::{IpAddr, Ipv6Addr};

/// The first half of an IPv6 address: the network, within which a host chooses addresses as it likes.
const NETWORK: u128 = !0 << 64;

/// Another host, as far as it can be told from outside: an IPv4 address, or an IPv6 network of 64 bits. Link-local
/// addresses stand for themselves: a whole LAN shares their network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Host(IpAddr);

impl Host {
    /// The host with this address.
    pub const fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V6(v6) if !v6.is_unicast_link_local() && !v6.is_loopback() => {
                Self(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & NETWORK)))
            }
            ip => Self(ip),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_one_host_may_choose_are_one_host() {
        let same = |a: &str, b: &str| Host::of(a.parse().unwrap()) == Host::of(b.parse().unwrap());
        assert!(same("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(same("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"));
        assert!(!same("10.0.0.1", "10.0.0.2"));
        assert!(!same("2001:db8:0:1::1", "2001:db8:0:2::1"));
        assert!(!same("fe80::1", "fe80::2"));
        assert!(!same("::1", "::2"));
    }
}
