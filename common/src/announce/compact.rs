//! Peers as 6 bytes (BEP 23) or 18 bytes (BEP 7): address, then port, big-endian.

use std::net::SocketAddr;

/// Appends `peer` to the list of its family: 6 bytes to `v4` or 18 to `v6`. An IPv4-mapped IPv6 address counts as IPv4.
pub fn push(peer: SocketAddr, v4: &mut Vec<u8>, v6: &mut Vec<u8>) {
    todo!()
}

/// The peers of a compact IPv4 list; `None` if its length is not a multiple of 6.
pub fn read_v4(bytes: &[u8]) -> Option<impl Iterator<Item = SocketAddr> + '_> {
    Some(std::iter::empty()).filter(|_| bytes.is_empty())
}

/// The peers of a compact IPv6 list; `None` if its length is not a multiple of 18.
pub fn read_v6(bytes: &[u8]) -> Option<impl Iterator<Item = SocketAddr> + '_> {
    Some(std::iter::empty()).filter(|_| bytes.is_empty())
}
