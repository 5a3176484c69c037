//! Addresses to dial: which are known, which are due, how long to wait after a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use torrent_common::ids::PeerId;

/// Addresses kept.
pub const MAX_KNOWN: usize = 1_000;
/// After so many failures in a row an address rests until it is named again.
const MAX_FAILURES: u32 = 8;
/// The first wait after a failure. It triples each time, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// A connection that lived so long was no failure.
const LONG_ENOUGH: Duration = Duration::from_secs(60);
/// The wait for an address that leads to a peer we talk to already.
const KNOWN_PEER_WAIT: Duration = Duration::from_secs(5 * 60);
/// The wait after the daemon had no room for a connection.
const ROOM_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be dialled from then on. The number puts equals in random order.
    Waiting(Instant, u32),
    Dialling,
    Connected(Instant),
    /// Failed too often: rests until a tracker names it again.
    Resting,
    /// It has everything and we wanted nothing: of no use unless we want more.
    Sated,
    /// Ourselves, or banned.
    Never,
}

#[derive(Debug)]
struct Candidate {
    state: State,
    failures: u32,
    /// Who answered there last.
    peer_id: Option<PeerId>,
}

/// How an outgoing connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By them, by an error, or to make room.
    Lost,
    /// We talk to the same peer elsewhere.
    Duplicate,
    /// Neither wants anything of the other.
    Sated,
    /// Never to be dialled again: ourselves, banned.
    Never,
}

/// The addresses of one torrent.
#[derive(Debug, Default)]
pub struct Dialler {
    known: BTreeMap<SocketAddr, Candidate>,
    due: BTreeSet<(Instant, u32, SocketAddr)>,
    dialling: usize,
    /// There was no room for a connection: nobody is dialled before.
    resumes: Option<Instant>,
}

impl Dialler {
    /// Addresses being dialled.
    pub const fn dialling(&self) -> usize {
        self.dialling
    }

    /// When the next address is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|&(due, _, _)| self.resumes.map_or(due, |resumes| due.max(resumes)))
    }

    /// Someone named this address. Nonsense is dropped.
    pub fn found(&mut self, address: SocketAddr, now: Instant, random: &mut fastrand::Rng) {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if !dialable(address) {
            return;
        }
        if let Some(candidate) = self.known.get_mut(&address) {
            if candidate.state != State::Resting {
                return;
            }
            candidate.failures = 0;
        } else {
            if self.known.len() >= MAX_KNOWN && !self.forget_one() {
                return;
            }
            self.known.insert(address, Candidate { state: State::Resting, failures: 0, peer_id: None });
        }
        self.set(address, State::Waiting(now, random.u32(..)));
    }

    /// The next address to dial now. Ends in [`Dialler::failed`] or [`Dialler::connected`]. `talking_to`: whether
    /// we are connected to a peer id; its address waits.
    pub fn next(&mut self, now: Instant, talking_to: impl Fn(PeerId) -> bool) -> Option<SocketAddr> {
        if self.resumes.is_some_and(|resumes| resumes > now) {
            return None;
        }
        while let Some(&(due, tie, address)) = self.due.first()
            && due <= now
        {
            let known_peer =
                self.known.get(&address).and_then(|candidate| candidate.peer_id).is_some_and(&talking_to);
            if !known_peer {
                self.set(address, State::Dialling);
                return Some(address);
            }
            self.set(address, State::Waiting(now + KNOWN_PEER_WAIT, tie));
        }
        None
    }

    /// Dialling failed.
    pub fn failed(&mut self, address: SocketAddr, now: Instant, random: &mut fastrand::Rng) {
        if self.state(address) == Some(State::Dialling) {
            self.wait_longer(address, now, random);
        }
    }

    /// The address was not even dialled, for want of room in the daemon. It stays in the line, which stands still for a
    /// while.
    pub fn no_room(&mut self, address: SocketAddr, now: Instant) {
        if self.state(address) == Some(State::Dialling) {
            self.resumes = Some(now + ROOM_WAIT);
            self.set(address, State::Waiting(now, 0));
        }
    }

    /// The address answered: this peer is there.
    pub fn connected(&mut self, address: SocketAddr, peer_id: PeerId, now: Instant) {
        if let Some(candidate) = self.known.get_mut(&address) {
            candidate.peer_id = Some(peer_id);
            self.set(address, State::Connected(now));
        }
    }

    /// The outgoing connection to this address ended.
    pub fn ended(&mut self, address: SocketAddr, ending: Ending, now: Instant, random: &mut fastrand::Rng) {
        let Some(State::Connected(since)) = self.state(address) else { return };
        match ending {
            Ending::Never => self.set(address, State::Never),
            Ending::Sated => self.set(address, State::Sated),
            Ending::Duplicate => self.set(address, State::Waiting(now + KNOWN_PEER_WAIT, random.u32(..))),
            Ending::Lost => {
                if now.saturating_duration_since(since) >= LONG_ENOUGH
                    && let Some(candidate) = self.known.get_mut(&address)
                {
                    candidate.failures = 0;
                }
                self.wait_longer(address, now, random);
            }
        }
    }

    /// We want more: those who have everything are worth dialling again.
    pub fn revive(&mut self, now: Instant, random: &mut fastrand::Rng) {
        let sated = self.known.iter().filter(|(_, candidate)| candidate.state == State::Sated);
        for address in sated.map(|(&address, _)| address).collect::<Vec<_>>() {
            self.set(address, State::Waiting(now, random.u32(..)));
        }
    }

    fn wait_longer(&mut self, address: SocketAddr, now: Instant, random: &mut fastrand::Rng) {
        let Some(candidate) = self.known.get_mut(&address) else { return };
        let wait = FIRST_WAIT.saturating_mul(3u32.saturating_pow(candidate.failures)).min(LONGEST_WAIT);
        candidate.failures += 1;
        let rest = candidate.failures >= MAX_FAILURES;
        self.set(address, if rest { State::Resting } else { State::Waiting(now + wait, random.u32(..)) });
    }

    /// Makes room, if an address can be spared.
    fn forget_one(&mut self) -> bool {
        let worth = |candidate: &Candidate| match candidate.state {
            State::Resting => Some(0),
            State::Never | State::Sated => Some(1),
            State::Waiting(..) if candidate.failures > 0 => Some(2),
            _ => None,
        };
        let worst =
            self.known.iter().filter_map(|(&address, candidate)| Some((worth(candidate)?, address))).min();
        let Some((_, address)) = worst else { return false };
        self.set(address, State::Resting);
        self.known.remove(&address);
        true
    }

    fn state(&self, address: SocketAddr) -> Option<State> {
        self.known.get(&address).map(|candidate| candidate.state)
    }

    /// The only place where a state changes: keeps `due` and `dialling` true to it.
    fn set(&mut self, address: SocketAddr, state: State) {
        let Some(candidate) = self.known.get_mut(&address) else { return };
        match std::mem::replace(&mut candidate.state, state) {
            State::Waiting(due, tie) => _ = self.due.remove(&(due, tie, address)),
            State::Dialling => self.dialling -= 1,
            _ => {}
        }
        match state {
            State::Waiting(due, tie) => _ = self.due.insert((due, tie, address)),
            State::Dialling => self.dialling += 1,
            _ => {}
        }
    }

    /// Checks the books against each other.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        let count =
            |want: fn(&State) -> bool| self.known.values().filter(|candidate| want(&candidate.state)).count();
        assert_eq!(count(|state| *state == State::Dialling), self.dialling);
        assert_eq!(count(|state| matches!(state, State::Waiting(..))), self.due.len());
        assert!(self.known.len() <= MAX_KNOWN);
    }
}

/// Whether a connection to this address can be meant seriously.
pub fn dialable(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let is_host = match ip {
        // All of 0.0.0.0/8 is "this network".
        IpAddr::V4(v4) => !v4.is_broadcast() && v4.octets()[0] != 0,
        // An address of one link is none without the link's name.
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_unicast_link_local(),
    };
    address.port() != 0 && is_host && !ip.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: PeerId = PeerId::new([7; 20]);

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 6881))
    }

    struct World(Dialler, fastrand::Rng, Instant);

    impl World {
        fn new() -> Self {
            Self(Dialler::default(), fastrand::Rng::with_seed(1), Instant::now())
        }

        fn found(&mut self, address: SocketAddr) {
            self.0.found(address, self.2, &mut self.1);
            self.0.check_invariants();
        }

        fn next(&mut self) -> Option<SocketAddr> {
            let next = self.0.next(self.2, |_| false);
            self.0.check_invariants();
            next
        }
    }

    #[test]
    fn nonsense_is_not_dialled() {
        let mut world = World::new();
        let odd = [
            "0.0.0.0:1",
            "0.1.2.3:1",
            "10.0.0.1:0",
            "224.0.0.1:9",
            "255.255.255.255:9",
            "[::]:9",
            "[ff02::1]:9",
            "[fe80::1]:9",
            "[::ffff:224.0.0.1]:9",
            "[::ffff:0.0.0.0]:9",
        ];
        for text in odd {
            world.found(text.parse().unwrap());
        }
        assert_eq!(world.next(), None);
        world.found("[::ffff:10.0.0.1]:6881".parse().unwrap());
        world.found(address(1));
        assert_eq!(world.next(), Some(address(1)));
        assert_eq!(world.next(), None);
    }

    #[test]
    fn waits_grow_until_it_rests_and_a_tracker_wakes_it() {
        let mut world = World::new();
        world.found(address(1));
        let mut waits = Vec::new();
        while let Some(due) = world.0.next_due() {
            waits.push(due.saturating_duration_since(world.2).as_secs());
            world.2 = due;
            assert_eq!(world.next(), Some(address(1)));
            world.0.failed(address(1), world.2, &mut world.1);
            world.0.failed(address(1), world.2, &mut world.1);
        }
        assert_eq!(waits, [0, 5, 15, 45, 135, 405, 900, 900]);
        world.found(address(1));
        assert_eq!(world.next(), Some(address(1)));
    }

    #[test]
    fn without_room_the_line_stands_still_and_nobody_is_blamed() {
        let mut world = World::new();
        (1..=3).for_each(|last| world.found(address(last)));
        for _ in 0..20 {
            let address = world.next().unwrap();
            world.0.no_room(address, world.2);
            assert_eq!(world.next(), None, "the others would find no room either");
            let due = world.0.next_due().unwrap();
            assert_eq!(due - world.2, ROOM_WAIT);
            world.2 = due;
        }
        while let Some(address) = world.next() {
            world.0.failed(address, world.2, &mut world.1);
        }
        assert_eq!(world.0.due.len(), 3);
        assert_eq!(world.0.next_due().unwrap() - world.2, FIRST_WAIT, "their first failures");
    }

    #[test]
    fn endings_decide_about_the_next_time() {
        let mut world = World::new();
        let mut wait = |ending, lived: u64| {
            world.found(address(1));
            world.2 = world.0.next_due().unwrap_or(world.2);
            world.next()?;
            world.0.connected(address(1), ID, world.2);
            assert_eq!(world.0.next_due(), None);
            world.2 += Duration::from_secs(lived);
            world.0.ended(address(1), ending, world.2, &mut world.1);
            world.0.check_invariants();
            world.0.next_due().map(|due| (due - world.2).as_secs())
        };
        let cases = [
            (Ending::Lost, 1),
            (Ending::Lost, 1),
            (Ending::Lost, 99),
            (Ending::Duplicate, 1),
            (Ending::Never, 1),
        ];
        let waits: Vec<_> = cases.into_iter().map(|(ending, lived)| wait(ending, lived)).collect();
        assert_eq!(waits, [Some(5), Some(15), Some(5), Some(300), None]);
    }

    #[test]
    fn a_peer_we_talk_to_is_not_dialled() {
        let mut world = World::new();
        world.found(address(1));
        world.next();
        world.0.connected(address(1), ID, world.2);
        world.0.ended(address(1), Ending::Lost, world.2, &mut world.1);
        world.2 += FIRST_WAIT;
        assert_eq!(world.0.next(world.2, |id| id == ID), None);
        assert!(world.0.next_due() > Some(world.2));
    }

    #[test]
    fn memory_is_bounded_and_the_tried_give_way_to_the_new() {
        let mut world = World::new();
        let nth = |n: u16| SocketAddr::from(([10, 1, 0, 0], n + 1));
        (0..2_000).for_each(|n| world.found(nth(n)));
        assert_eq!(world.0.known.len(), MAX_KNOWN);
        let first = world.next().unwrap();
        world.0.failed(first, world.2, &mut world.1);
        world.found(nth(5_000));
        assert!(world.0.known.contains_key(&nth(5_000)) && !world.0.known.contains_key(&first));
    }
}
