//! Ranges of addresses as people write them: `10.0.0.0/8`, `2001:db8::/32`, or one address alone.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The addresses that have their first bits in common (CIDR, RFC 4632 and RFC 4291).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// The first of them: the bits after the prefix are 0.
    first: IpAddr,
    prefix_bits: u8,
}

/// A text that names no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a network such as 10.0.0.0/8 or 2001:db8::/32, or an address")]
pub struct NetworkError;

impl Network {
    /// The network of `prefix_bits` bits that `address` is in. `None` if an address has not so many bits.
    pub fn new(address: IpAddr, prefix_bits: u8) -> Option<Self> {
        let first = match address {
            IpAddr::V4(ip) if prefix_bits <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix_bits)).unwrap_or(0);
                Ipv4Addr::from_bits(ip.to_bits() & mask).into()
            }
            IpAddr::V6(ip) if prefix_bits <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0);
                Ipv6Addr::from_bits(ip.to_bits() & mask).into()
            }
            _ => return None,
        };
        Some(Self { first, prefix_bits })
    }

    /// What one customer of a provider has at the least, so that addresses of it count as one: an IPv4 address, or an
    /// IPv6 network of 64 bits. An IPv4-mapped address counts as IPv4.
    pub fn of_host(address: IpAddr) -> Self {
        match address.to_canonical() {
            ip @ IpAddr::V4(_) => Self { first: ip, prefix_bits: 32 },
            IpAddr::V6(ip) => Self {
                first: Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
                prefix_bits: 64,
            },
        }
    }

    /// Its first address.
    pub const fn first(&self) -> IpAddr {
        self.first
    }

    /// Its last address.
    pub fn last(&self) -> IpAddr {
        match self.first {
            IpAddr::V4(ip) => {
                let rest = u32::MAX.checked_shr(self.prefix_bits.into()).unwrap_or(0);
                Ipv4Addr::from_bits(ip.to_bits() | rest).into()
            }
            IpAddr::V6(ip) => {
                let rest = u128::MAX.checked_shr(self.prefix_bits.into()).unwrap_or(0);
                Ipv6Addr::from_bits(ip.to_bits() | rest).into()
            }
        }
    }

    /// The bits that its addresses have in common.
    pub const fn prefix_bits(&self) -> u8 {
        self.prefix_bits
    }

    /// Whether `address` is in it. An IPv4-mapped address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::new(address.to_canonical(), self.prefix_bits) == Some(*self)
    }
}

/// With or without the number of bits. What follows the prefix must be 0: `10.0.0.1/8` may be meant in two ways.
impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            None => whole,
            // `parse` alone would take `+8`.
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| NetworkError)?
            }
            Some(_) => return Err(NetworkError),
        };
        let network = Self::new(address, prefix_bits).filter(|network| network.first == address);
        network.ok_or(NetworkError)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts() {
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), expected, "{text}");
        }
        for bad in [
            "",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "::/256",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.1/8",
            "2001:db8::1/64",
            "10.0.0/8",
            "host",
            "10.0.0.0/8/8",
            "10.0.0.0 /8",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(NetworkError), "{bad}");
        }
    }

    #[test]
    fn members() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("0.0.0.0/0", "255.0.0.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "10.0.0.1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network} {address}");
        }
        for (network, first, last, bits) in [
            ("0.0.0.0/0", "0.0.0.0", "255.255.255.255", 0),
            ("10.64.0.0/10", "10.64.0.0", "10.127.255.255", 10),
            ("::1", "::1", "::1", 128),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(
                (network.first().to_string(), network.last().to_string()),
                (first.into(), last.into())
            );
            assert_eq!(network.prefix_bits(), bits);
        }
    }

    #[test]
    fn hosts() {
        let host = |text: &str| Network::of_host(text.parse().unwrap()).to_string();
        assert_eq!(host("192.0.2.7"), "192.0.2.7/32");
        assert_eq!(host("::ffff:192.0.2.7"), "192.0.2.7/32");
        assert_eq!(host("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    }

    proptest! {
        #[test]
        fn a_network_has_the_addresses_that_begin_like_it(a: u128, b: u128, bits in 0_u8..=128) {
            let network = Network::new(Ipv6Addr::from_bits(a).into(), bits).unwrap();
            let same = bits == 0 || (a ^ b) >> (128 - u32::from(bits)) == 0;
            let b = IpAddr::from(Ipv6Addr::from_bits(b));
            prop_assume!(b.to_canonical() == b);
            prop_assert_eq!(network.contains(b), same);
            prop_assert_eq!((network.first()..=network.last()).contains(&b), same);
            prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
        }
    }
}
