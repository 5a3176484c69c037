//! Connection ids (BEP 15), without a table of them.
//!
//! *Threat.* The sender of a UDP packet can write any address as its own. So a stranger could put others into swarms (and
//! send the swarm's peers to them), push out those who are in, and have answers, which are longer than requests, sent to
//! a victim. An announce or a scrape therefore needs an id that was sent to its address before: whoever cannot read what
//! arrives there does not have one. Until then nobody gets more bytes than it sent: 16 for 16. Ids that are not good are
//! answered with silence. An error would help a client after a restart of the tracker (its id has become bad), but who
//! floods us would get us to send to addresses of its choice, and be worth twice the work. Clients that hear
//! nothing connect anew after a minute at the latest, ours sooner.
//!
//! *Layout.* The id is SipHash-2-4, keyed with 128 random bits of this start, of the sender's address (16 bytes, IPv4 as
//! mapped IPv6) and the number of the time slot (8 bytes). Slots are 120 seconds long, and an id is good in its own and
//! the next: for at least the two minutes that BEP 15 wants, and for less than four. The port is left out: routers change
//! it. Ids die with the process.
//!
//! *Cost.* One hash of 24 bytes for an id that is given, or checked in its own slot; two for an old or a bad one. No memory. A
//! guess hits one of 2^63; a million packets a second for the life of a key of a year hit once in 300,000 tries. Who can
//! read what is sent to an address can use its id from anywhere for as long as it is good: BEP 15 has no cure for that.

use std::io;
use std::net::IpAddr;

use rustix::rand::{GetRandomFlags, getrandom};
use siphasher::sip::SipHasher24;
use torrent_common::announce::udp::ConnectionId;

/// How long the ids of a slot are given out. They are good for as long again.
const SLOT_S: u32 = 120;

/// Gives and checks connection ids.
#[derive(Clone)]
pub(crate) struct ConnectionIds {
    hasher: SipHasher24,
}

impl ConnectionIds {
    /// With a new key.
    ///
    /// # Errors
    /// The system's, when it has no random numbers.
    pub(crate) fn new() -> io::Result<Self> {
        let mut key = [0; 16];
        let len = getrandom(&mut key, GetRandomFlags::empty())?;
        if len < key.len() {
            return Err(io::Error::other("the system gave too few random numbers"));
        }
        Ok(Self::keyed(&key))
    }

    fn keyed(key: &[u8; 16]) -> Self {
        Self { hasher: SipHasher24::new_with_key(key) }
    }

    /// The id for whoever gets what is sent to `ip`. `now_s` is any clock that does not go back.
    pub(crate) fn give(&self, ip: IpAddr, now_s: u32) -> ConnectionId {
        self.of_slot(ip, now_s / SLOT_S)
    }

    /// Whether the id was given for `ip` not too long ago.
    pub(super) fn is_good(&self, id: ConnectionId, ip: IpAddr, now_s: u32) -> bool {
        let slot = now_s / SLOT_S;
        id == self.of_slot(ip, slot) || slot.checked_sub(1).is_some_and(|slot| id == self.of_slot(ip, slot))
    }

    fn of_slot(&self, ip: IpAddr, slot: u32) -> ConnectionId {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut message = [0; 24];
        let (ip_part, slot_part) = message.split_at_mut(16);
        ip_part.copy_from_slice(&ip.octets());
        slot_part.copy_from_slice(&u64::from(slot).to_le_bytes());
        ConnectionId(self.hasher.hash(&message).to_ne_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_id_is_good_for_its_address_from_two_to_four_minutes() {
        let ids = ConnectionIds::keyed(&[7; 16]);
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        for given in [0, 1, 119, 120, 1000, u32::MAX - 500] {
            let id = ids.give(ip, given);
            for age in 0..=120 {
                assert!(ids.is_good(id, ip, given + age), "{given} {age}");
            }
            assert!(!ids.is_good(id, ip, given + 240), "{given}");
            for other in ["10.0.0.2", "::10.0.0.1", "2001:db8::1"] {
                assert!(!ids.is_good(id, other.parse().unwrap(), given), "{other}");
            }
            let mapped = "::ffff:10.0.0.1".parse().unwrap();
            assert!(ids.is_good(id, mapped, given), "the same address on a socket for both protocols");
        }
        let later = ids.give(ip, 240);
        assert!(!ids.is_good(later, ip, 0), "not before its slot");
    }

    #[test]
    fn ids_depend_on_every_part() {
        let ids = [ConnectionIds::keyed(&[7; 16]), ConnectionIds::keyed(&[8; 16])];
        let mut seen = HashSet::new();
        for ids in &ids {
            for ip in ["10.0.0.1", "10.0.0.2", "1.0.0.10", "2001:db8::1"] {
                for slot in 0..3 {
                    assert!(seen.insert(ids.give(ip.parse().unwrap(), slot * SLOT_S)));
                }
            }
        }
        let ip = "10.0.0.1".parse().unwrap();
        let [a, b] = [ConnectionIds::new().unwrap(), ConnectionIds::new().unwrap()];
        assert_ne!(a.give(ip, 0), b.give(ip, 0), "every start has a key of its own");
        let id = a.give(ip, 0);
        for bit in 0..64 {
            let wrong = ConnectionId((u64::from_ne_bytes(id.0) ^ 1 << bit).to_ne_bytes());
            assert!(!a.is_good(wrong, ip, 0));
        }
    }
}
