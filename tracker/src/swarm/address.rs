//! Peers' addresses as they are kept, and who asks for whom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use torrent_common::announce::compact;

use super::Role;
use super::hash::hash;

/// A compact address (BEP 23, BEP 7) of `N` bytes; its last two are the port.
pub(super) type Address<const N: usize> = [u8; N];

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

impl Asker {
    /// Whether peers that do this are told: who needs nothing gets those alone who do.
    pub(super) fn has_use_for(&self, role: Role) -> bool {
        self.role == Role::Leecher || role == Role::Leecher
    }

    /// Whether peers of this family are told.
    pub(super) fn reaches(&self, of_v6: bool) -> bool {
        self.family.is_none_or(|family| of_v6 == (family == compact::Family::V6))
    }

    /// Its address in either family.
    pub(super) const fn split(&self) -> (Option<&Address<6>>, Option<&Address<18>>) {
        match &self.address {
            Packed::V4(address) => (Some(address), None),
            Packed::V6(address) => (None, Some(address)),
        }
    }
}

impl Packed {
    /// A keyed hash of it.
    pub(super) fn hash(&self, key: u64) -> u64 {
        match self {
            Self::V4(bytes) => hash(bytes, key),
            Self::V6(bytes) => hash(bytes, key),
        }
    }

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

    pub(super) fn get(&self) -> SocketAddr {
        match self {
            Self::V4(bytes) => unpack_v4(bytes),
            Self::V6(bytes) => unpack_v6(bytes),
        }
    }

    /// Whether both may be the same host: the same IPv4 address, the same /64 of IPv6.
    pub(super) fn is_of_host(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::V4(a), Self::V4(b)) => a.first_chunk::<4>() == b.first_chunk(),
            (Self::V6(a), Self::V6(b)) => a.first_chunk::<8>() == b.first_chunk(),
            _ => false,
        }
    }
}

pub(super) fn unpack_v4(&[a, b, c, d, high, low]: &Address<6>) -> SocketAddr {
    (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into()
}

pub(super) fn unpack_v6(bytes: &Address<18>) -> SocketAddr {
    let (ip, port) = (bytes.first_chunk::<16>(), bytes.last_chunk::<2>());
    (Ipv6Addr::from(*ip.unwrap_or(&[0; 16])), u16::from_be_bytes(*port.unwrap_or(&[0; 2]))).into()
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
    fn hosts_are_told_apart() {
        let packed = |text: &str| Packed::new(text.parse().unwrap());
        assert!(packed("1.2.3.4:5").is_of_host(&packed("1.2.3.4:6")));
        assert!(!packed("1.2.3.4:5").is_of_host(&packed("1.2.3.5:5")));
        assert!(packed("[2001:db8::1]:5").is_of_host(&packed("[2001:db8::2]:5")));
        assert!(!packed("[2001:db8::1]:5").is_of_host(&packed("[2001:db8:0:1::1]:5")));
        assert!(!packed("[2001:db8::1]:5").is_of_host(&packed("1.2.3.4:5")));
    }
}
