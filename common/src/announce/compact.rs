//! Peers as 6 bytes (BEP 23) or 18 bytes (BEP 7): address, then port, big-endian.

use std::net::{IpAddr, SocketAddr};

/// Bytes of an IPv4 peer.
pub const V4_LEN: usize = 6;
/// Bytes of an IPv6 peer.
pub const V6_LEN: usize = 18;

/// The addresses of a list: all of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// 6 bytes each.
    V4,
    /// 18 bytes each.
    V6,
}

impl Family {
    /// Of whoever has this address. An IPv4-mapped IPv6 address is one of IPv4.
    pub const fn of(ip: IpAddr) -> Self {
        if ip.to_canonical().is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The one that this is not.
    pub const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// Bytes of a peer.
    pub const fn peer_len(self) -> usize {
        match self {
            Self::V4 => V4_LEN,
            Self::V6 => V6_LEN,
        }
    }
}

/// Appends `peer` to the list of its family: 6 bytes to `v4` or 18 to `v6`. An IPv4-mapped IPv6 address counts as IPv4.
pub fn push(peer: SocketAddr, v4: &mut Vec<u8>, v6: &mut Vec<u8>) {
    match peer.ip().to_canonical() {
        IpAddr::V4(ip) => {
            v4.extend(ip.octets());
            v4.extend(peer.port().to_be_bytes());
        }
        IpAddr::V6(ip) => {
            v6.extend(ip.octets());
            v6.extend(peer.port().to_be_bytes());
        }
    }
}

/// The peers of a compact IPv4 list; `None` if its length is not a multiple of 6.
pub fn read_v4(bytes: &[u8]) -> Option<impl ExactSizeIterator<Item = SocketAddr> + '_> {
    let (peers, rest) = bytes.as_chunks::<V4_LEN>();
    let read = |&[a, b, c, d, high, low]: &[u8; V4_LEN]| {
        SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])))
    };
    rest.is_empty().then(|| peers.iter().map(read))
}

/// The peers of a compact IPv6 list; `None` if its length is not a multiple of 18. An IPv4-mapped address is given as
/// IPv4.
pub fn read_v6(bytes: &[u8]) -> Option<impl ExactSizeIterator<Item = SocketAddr> + '_> {
    let (peers, rest) = bytes.as_chunks::<V6_LEN>();
    let read = |&[ref ip @ .., high, low]: &[u8; V6_LEN]| {
        SocketAddr::new(IpAddr::from(*ip).to_canonical(), u16::from_be_bytes([high, low]))
    };
    rest.is_empty().then(|| peers.iter().map(read))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn lists(peers: &[SocketAddr]) -> (Vec<u8>, Vec<u8>) {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        peers.iter().for_each(|peer| push(*peer, &mut v4, &mut v6));
        (v4, v6)
    }

    #[test]
    fn bytes_are_as_in_bep_23_and_bep_7() {
        let (v4, v6) = lists(&["10.0.0.1:6881".parse().unwrap(), "[2001:db8::1]:51413".parse().unwrap()]);
        assert_eq!(v4, [10, 0, 0, 1, 0x1a, 0xe1]);
        assert_eq!(v6, *b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\xc8\xd5");
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let (v4, v6) = lists(&["[::ffff:10.0.0.1]:80".parse().unwrap()]);
        assert_eq!((v4.as_slice(), v6.as_slice()), (&[10, 0, 0, 1, 0, 80][..], &[][..]));
        let mapped = b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\x01\0\x50";
        assert_eq!(read_v6(mapped).unwrap().next(), Some("10.0.0.1:80".parse().unwrap()));
    }

    #[test]
    fn lists_of_other_lengths_are_refused() {
        for len in (0..40).filter(|len| len % V4_LEN != 0) {
            assert!(read_v4(&vec![0; len]).is_none());
        }
        for len in (0..40).filter(|len| len % V6_LEN != 0) {
            assert!(read_v6(&vec![0; len]).is_none());
        }
        assert_eq!((read_v4(b"").unwrap().len(), read_v6(b"").unwrap().len()), (0, 0));
    }

    proptest! {
        #[test]
        fn round_trip(peers in vec((any::<IpAddr>(), any::<u16>()), 0..20)) {
            let peers: Vec<SocketAddr> =
                peers.into_iter().map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port)).collect();
            let (v4, v6) = lists(&peers);
            let (want_v4, want_v6): (Vec<_>, Vec<_>) = peers.into_iter().partition(SocketAddr::is_ipv4);
            prop_assert_eq!(read_v4(&v4).unwrap().collect::<Vec<_>>(), want_v4);
            prop_assert_eq!(read_v6(&v6).unwrap().collect::<Vec<_>>(), want_v6);
        }
    }
}
