//! Who may have sent bad pieces. A piece with one sender convicts it. Of a piece with several senders each is put on
//! parole: it fetches whole pieces alone until one of them is good, or the bad piece is good at last and
//! [`evidence`](super::evidence) clears it. So the guilty is found, and nobody else is banned.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::IpAddr;

use torrent_common::ids::PeerId;

use super::event::PeerInfo;

/// Records and bans kept. Beyond that the oldest are forgotten.
const MAX_RECORDS: usize = 1_000;
/// From so many failures on, more failures than successes convict.
const MAX_FAILURES: u32 = 3;

/// A peer beyond one connection: its IP address, or on loopback, where all share that, its peer id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// From another machine.
    Address(IpAddr),
    /// From this machine.
    Local(PeerId),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip) => write!(f, "{ip}"),
            Self::Local(name) => write!(f, "{name} on this host"),
        }
    }
}

impl Identity {
    /// Of a connected peer.
    pub fn of(info: &PeerInfo) -> Self {
        let ip = info.address.ip().to_canonical();
        if ip.is_loopback() { Self::Local(info.peer_id) } else { Self::Address(ip) }
    }
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Fetches whole pieces alone from now on.
    Parole,
    /// Failed too often.
    Ban,
}

#[derive(Debug, Default)]
struct Record {
    /// Its number: the oldest has the least.
    number: u64,
    failures: u32,
    successes: u32,
    parole: bool,
}

/// What is held against whom. Outlives connections.
#[derive(Debug, Default)]
pub struct Suspects {
    records: BTreeMap<Identity, Record>,
    /// Records made so far.
    made: u64,
    bans: VecDeque<Identity>,
}

impl Suspects {
    /// Nobody from here may come in.
    pub fn is_banned(&self, who: Identity) -> bool {
        self.bans.contains(&who)
    }

    /// Bans `who` until the torrent stops.
    pub fn ban(&mut self, who: Identity) {
        self.records.remove(&who);
        if !self.is_banned(who) {
            self.bans.push_back(who);
        }
        if self.bans.len() > MAX_RECORDS {
            self.bans.pop_front();
        }
    }

    /// Nothing is held against anybody.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Fetches whole pieces alone.
    pub fn on_parole(&self, who: Identity) -> bool {
        self.records.get(&who).is_some_and(|record| record.parole)
    }

    /// A piece that `who` contributed to, or sent all of, was good.
    pub fn good(&mut self, who: Identity, all: bool) {
        if let Some(record) = self.records.get_mut(&who) {
            record.successes = record.successes.saturating_add(1);
            record.parole &= !all;
        }
    }

    /// A piece that `who` sent a part of was bad, and it turned out that this part was good.
    pub fn cleared(&mut self, who: Identity) {
        if let Some(record) = self.records.get_mut(&who) {
            record.failures = record.failures.saturating_sub(1);
            record.parole = false;
            if record.failures == 0 {
                self.records.remove(&who);
            }
        }
    }

    /// A piece that `who` sent a part of was bad. On parole nothing is added: pieces already shared when it began
    /// may still fail, and all of that is one piece of evidence.
    pub fn shared_failure(&mut self, who: Identity) -> Verdict {
        if self.records.len() >= MAX_RECORDS && !self.records.contains_key(&who) {
            let oldest = self.records.iter().min_by_key(|(_, record)| record.number).map(|(&who, _)| who);
            oldest.map(|who| self.records.remove(&who));
        }
        let record = self.records.entry(who).or_insert_with(|| {
            self.made += 1;
            Record { number: self.made, ..Record::default() }
        });
        if !record.parole {
            record.failures = record.failures.saturating_add(1);
            record.parole = true;
        }
        if record.failures >= MAX_FAILURES && record.failures > record.successes {
            Verdict::Ban
        } else {
            Verdict::Parole
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torrent::event::Direction;

    fn who(last: u8) -> Identity {
        let address = std::net::SocketAddr::from(([10, 0, 0, last], 1));
        Identity::of(&PeerInfo {
            address,
            peer_id: PeerId::new([last; 20]),
            direction: Direction::Incoming,
            fast: true,
            hidden: false,
        })
    }

    #[test]
    fn failures_at_once_are_one_failure_and_a_good_piece_ends_parole() {
        let mut suspects = Suspects::default();
        for _ in 0..10 {
            assert_eq!(suspects.shared_failure(who(1)), Verdict::Parole);
        }
        suspects.good(who(1), false);
        assert!(suspects.on_parole(who(1)));
        suspects.good(who(1), true);
        assert!(!suspects.on_parole(who(1)));
        assert!(!suspects.on_parole(who(2)));
    }

    #[test]
    fn more_failures_than_successes_convict() {
        let mut suspects = Suspects::default();
        let mut verdicts = Vec::new();
        for _ in 0..3 {
            verdicts.push(suspects.shared_failure(who(1)));
            suspects.good(who(1), true);
        }
        assert_eq!(verdicts, [Verdict::Parole, Verdict::Parole, Verdict::Ban]);
        for _ in 0..9 {
            suspects.good(who(2), true);
        }
    }

    #[test]
    fn who_is_cleared_begins_anew() {
        let mut suspects = Suspects::default();
        suspects.shared_failure(who(1));
        suspects.cleared(who(1));
        assert!(suspects.is_empty() && !suspects.on_parole(who(1)));
        for _ in 0..10 {
            assert_eq!(suspects.shared_failure(who(1)), Verdict::Parole);
            suspects.cleared(who(1));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut suspects = Suspects::default();
        for n in 0..u32::try_from(MAX_RECORDS).unwrap() * 2 {
            let who = Identity::Address(IpAddr::from(n.to_be_bytes()));
            suspects.shared_failure(who);
            suspects.ban(Identity::Address(IpAddr::from((n | 1 << 31).to_be_bytes())));
        }
        assert_eq!((suspects.records.len(), suspects.bans.len()), (MAX_RECORDS, MAX_RECORDS));
    }

    #[test]
    fn the_oldest_is_forgotten_whatever_its_address() {
        let mut suspects = Suspects::default();
        let who = |n: u32| Identity::Address(IpAddr::from(n.to_be_bytes()));
        let last = u32::try_from(MAX_RECORDS).unwrap();
        (0..=last).rev().for_each(|n| assert_eq!(suspects.shared_failure(who(n)), Verdict::Parole));
        assert!(!suspects.on_parole(who(last)) && suspects.on_parole(who(0)));
    }

    #[test]
    fn on_loopback_the_peer_id_counts() {
        let info = |port, id| PeerInfo {
            address: std::net::SocketAddr::from(([127, 0, 0, 1], port)),
            peer_id: PeerId::new([id; 20]),
            direction: Direction::Incoming,
            fast: true,
            hidden: false,
        };
        assert_eq!(Identity::of(&info(1, 7)), Identity::of(&info(2, 7)));
        assert_ne!(Identity::of(&info(1, 7)), Identity::of(&info(1, 8)));
    }
}
