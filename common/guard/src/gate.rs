//! Who may connect: the system drops the packets of others before there is a connection.
//!
//! Whoever is cut off for what he sent comes back at once, with the same. To accept him costs a thread, and the one that read
//! what he sent before has to be done with that first. Hundreds of threads that want to run make each other wait, those that
//! answer announces among them, and each holds what it has read. So from where such a connection came nobody comes in
//! until it is gone, and nobody at all while there are too many, for a moment. Who is kept out is not refused: his system
//! tries again after a second.
//!
//! It is a filter on the listening socket (SO_ATTACH_FILTER, socket(7)), a program of the classic BPF that the system runs
//! for each packet to it. Connections that are accepted meanwhile inherit it: it lets their own packets through. Not those of
//! one that comes in at the very moment when everybody, or its address, begins to be kept out: nothing more is heard of it,
//! and it is cut off as silent ones are.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr, TcpListener};
use std::time::{Duration, Instant};

use socket2::{SockFilter, SockRef};

/// Addresses that are kept out at most.
const MAX_BARRED: usize = 64;
/// For how long everybody is kept out at most, and how long the gate is open then in any case.
const SHUT: Duration = Duration::from_millis(300);
const OPEN: Duration = Duration::from_millis(200);

/// Who is kept out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Barred {
    /// Addresses, each as [`network`] has it.
    From(BTreeSet<IpAddr>),
    Everybody,
}

/// The gate, and who is kept out by it.
#[derive(Debug)]
pub(crate) struct Gate {
    barred: Barred,
    /// When everybody was last begun to be kept out.
    shut: Option<Instant>,
    /// How often somebody was kept out.
    count: usize,
    /// It was said that nobody can be.
    is_told: bool,
}

impl Default for Barred {
    fn default() -> Self {
        Self::From(BTreeSet::new())
    }
}

impl Barred {
    /// Nobody is.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::From(addresses) if addresses.is_empty())
    }

    /// The first of these. With many strangers at it, the rest of them is not worth to keep others out for.
    pub(crate) fn from(addresses: impl Iterator<Item = IpAddr>) -> Self {
        let mut barred = BTreeSet::new();
        for address in addresses {
            if barred.len() == MAX_BARRED {
                break;
            }
            barred.insert(network(address));
        }
        Self::From(barred)
    }
}

impl Gate {
    /// Open.
    pub(crate) fn new() -> Self {
        Self { barred: Barred::default(), shut: None, count: 0, is_told: false }
    }

    /// From now on these are kept out, and nobody else; if that is everybody, not for long.
    pub(crate) fn set(&mut self, listener: &TcpListener, barred: Barred, now: Instant) {
        let barred =
            if barred == Barred::Everybody && !self.may_be_shut(now) { Barred::default() } else { barred };
        if barred == self.barred {
            return;
        }
        match apply(listener, &barred) {
            Ok(()) => {
                log::debug!("kept out: {barred:?}");
                self.count += usize::from(self.barred.is_empty());
                self.barred = barred;
            }
            Err(error) if !std::mem::replace(&mut self.is_told, true) => log::warn!(
                "the system lets nobody be kept out who comes back when he is cut off ({error}): floods of requests \
                 may cost much memory: run this where it may set SO_ATTACH_FILTER, or limit its memory (MemoryMax= in \
                 a unit)"
            ),
            Err(error) => log::debug!("who is kept out cannot be changed: {error}"),
        }
    }

    /// Whether nobody is kept out.
    pub(crate) fn is_open(&self) -> bool {
        self.barred.is_empty()
    }

    /// How often it was shut for somebody since this was asked.
    pub(crate) fn take_count(&mut self) -> usize {
        std::mem::take(&mut self.count)
    }

    fn may_be_shut(&mut self, now: Instant) -> bool {
        let age = self.shut.map(|since| now.saturating_duration_since(since));
        match age {
            Some(age) if age < SHUT => true,
            Some(age) if age < SHUT + OPEN => false,
            _ => {
                self.shut = Some(now);
                true
            }
        }
    }
}

fn apply(listener: &TcpListener, barred: &Barred) -> io::Result<()> {
    let socket = SockRef::from(listener);
    if barred.is_empty() { socket.detach_filter() } else { socket.attach_filter(&program(barred)) }
}

/// What one stranger has: an address of IPv4, or 64 bits of one of IPv6.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// The commands of the classic BPF that are used here (linux/bpf_common.h).
mod command {
    /// Loads four bytes of the packet.
    pub(crate) const LOAD: u16 = 0x20;
    /// Loads one.
    pub(crate) const LOAD_BYTE: u16 = 0x30;
    /// Shifts to the right.
    pub(crate) const SHIFT: u16 = 0x74;
    /// Skips so many commands if it is equal, and so many if not.
    pub(crate) const IS_EQUAL: u16 = 0x15;
    /// Ends, and keeps so many bytes of the packet.
    pub(crate) const KEEP: u16 = 0x06;
}

/// Where the header of the network's protocol begins (SKF_NET_OFF): the packet itself begins with TCP's.
const HEADER: u32 = 0xfff0_0000;
/// Where addresses of who sent it are in it.
const FROM_V4: u32 = HEADER + 12;
const FROM_V6: u32 = HEADER + 8;

/// What is kept of a packet, in bytes.
const NOTHING: u32 = 0;
const ALL: u32 = u32::MAX;

fn program(barred: &Barred) -> Vec<SockFilter> {
    let keep = |bytes| SockFilter::new(command::KEEP, 0, 0, bytes);
    let load = |at| SockFilter::new(command::LOAD, 0, 0, at);
    let skip_unless = |value, count| SockFilter::new(command::IS_EQUAL, 0, count, value);
    let Barred::From(addresses) = barred else { return vec![keep(NOTHING)] };
    let (mut v4, mut v6) = (vec![load(FROM_V4)], Vec::new());
    for ip in addresses {
        match ip {
            IpAddr::V4(ip) => v4.extend([skip_unless(ip.to_bits(), 1), keep(NOTHING)]),
            IpAddr::V6(ip) => {
                let [high, low] = halves(*ip);
                v6.extend([load(FROM_V6), skip_unless(high, 3), load(FROM_V6 + 4)]);
                v6.extend([skip_unless(low, 1), keep(NOTHING)]);
            }
        }
    }
    v4.push(keep(ALL));
    v6.push(keep(ALL));
    // A command can skip 255 at most: MAX_BARRED addresses of IPv4 are fewer.
    let version =
        [SockFilter::new(command::LOAD_BYTE, 0, 0, HEADER), SockFilter::new(command::SHIFT, 0, 0, 4)];
    let is_v4 = skip_unless(4, u8::try_from(v4.len()).unwrap_or(u8::MAX));
    version.into_iter().chain([is_v4]).chain(v4).chain(v6).collect()
}

/// The first 64 bits of an address.
fn halves(ip: Ipv6Addr) -> [u32; 2] {
    let [a, b, c, d, ..] = ip.segments().map(u32::from);
    [a << 16 | b, c << 16 | d]
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use socket2::{Domain, Socket, Type};

    use super::*;

    /// Begins to connect.
    fn knock(from: IpAddr, to: SocketAddr) -> Socket {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&to.into());
        socket
    }

    fn is_in(socket: &Socket, patience: Duration) -> bool {
        let patience = Timespec::try_from(patience).unwrap();
        poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&patience)).unwrap() > 0
            && socket.peer_addr().is_ok()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn from(addresses: &[&str]) -> Barred {
        Barred::from(addresses.iter().map(|text| ip(text)))
    }

    #[test]
    fn who_is_kept_out_comes_in_when_the_gate_is_opened() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let mut gate = Gate::new();
        gate.set(&listener, from(&["127.0.0.2", "::ffff:127.0.0.4", "2001:db8::1"]), Instant::now());
        let (second, fourth) = (knock(ip("127.0.0.2"), at), knock(ip("127.0.0.4"), at));
        assert!(is_in(&knock(ip("127.0.0.3"), at), Duration::from_secs(10)));
        assert!(!is_in(&second, Duration::ZERO));
        assert!(!is_in(&fourth, Duration::ZERO));
        gate.set(&listener, from(&["127.0.0.4"]), Instant::now());
        assert!(is_in(&second, Duration::from_secs(30)));
        assert!(!is_in(&fourth, Duration::ZERO));
        gate.set(&listener, Barred::Everybody, Instant::now());
        let third = knock(ip("127.0.0.3"), at);
        assert!(!is_in(&third, Duration::from_millis(50)));
        gate.set(&listener, Barred::default(), Instant::now());
        assert!(is_in(&third, Duration::from_secs(30)));
        assert!(is_in(&fourth, Duration::from_secs(30)));
    }

    #[test]
    fn of_ipv6_half_an_address_counts() {
        let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
        let at = listener.local_addr().unwrap();
        let mut gate = Gate::new();
        gate.set(&listener, from(&["127.0.0.1", "2001:db8::1", "0:0:0:1::1"]), Instant::now());
        assert!(is_in(&knock(ip("::1"), at), Duration::from_secs(10)));
        gate.set(&listener, from(&["2001:db8::1", "::77"]), Instant::now());
        assert!(!is_in(&knock(ip("::1"), at), Duration::from_millis(50)));
    }

    #[test]
    fn everybody_is_kept_out_for_a_moment_only() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut gate, start) = (Gate::new(), Instant::now());
        let mut is_open = |at_ms| {
            gate.set(&listener, Barred::Everybody, start + Duration::from_millis(at_ms));
            gate.is_open()
        };
        assert!(!is_open(0) && !is_open(200));
        assert!(is_open(300) && is_open(499));
        assert!(!is_open(500) && !is_open(799));
        assert!(is_open(800));
    }

    #[test]
    fn of_many_the_first_are_kept_out() {
        let addresses = |count: u32| Barred::from((0..count).map(|n| Ipv4Addr::from_bits(n).into()));
        assert_eq!(addresses(65), addresses(64));
        assert_ne!(addresses(63), addresses(64));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mixed = (0..64).map(|n| {
            if n % 2 == 0 {
                Ipv4Addr::from_bits(n).into()
            } else {
                Ipv6Addr::from_bits(u128::from(n) << 64).into()
            }
        });
        for barred in [addresses(64), Barred::from(mixed)] {
            apply(&listener, &barred).expect("the system takes it");
            let client = TcpStream::connect(listener.local_addr().unwrap());
            assert!(client.is_ok(), "none of these");
        }
    }
}
