//! The connections that tiny_http keeps to itself, seen from outside.
//!
//! A process may duplicate its own descriptors by number (pidfd_getfd, Linux 5.6; forbidden in some containers). A
//! duplicate is the same connection: it can be asked what has gone through it (TCP_INFO), and shut down.

use std::fs::DirEntry;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::libc;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::GetStruct;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::net::sockopt::socket_cookie;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// The connections to one address of this process.
pub struct Sockets {
    address: SocketAddr,
    process: OwnedFd,
}

/// What has gone through a connection, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traffic {
    /// Received by the system, read or not.
    pub(crate) received: u64,
    /// Written by us, on its way or not.
    pub(crate) written: u64,
    /// We have not shut it down, nor has the other side reset it.
    pub(crate) is_open: bool,
}

/// Bytes that are thrown away at once, and how often. A connection's buffer holds less.
const DRAIN_LEN: usize = 16 << 10;
const DRAINS: usize = 32;

/// States of a connection that both sides may still use, or the other has ended: ESTABLISHED, SYN_RECV, CLOSE_WAIT.
const OPEN: [u8; 3] = [1, 3, 8];

/// State of a socket that listens.
const LISTENING: u8 = 10;

/// What is at a number.
#[derive(Debug)]
pub(crate) enum Descriptor {
    Closed,
    Socket(Cookie, TcpStream),
    /// A file, say.
    Other,
}

/// This process has no descriptor left.
#[derive(Debug)]
pub(crate) struct NoDescriptors;

/// The system's number for a socket: never used twice.
pub(crate) type Cookie = u64;

impl Sockets {
    /// Those to this address; whichever address of this machine they are to, if it is the unspecified one.
    ///
    /// # Errors
    /// The system's, where descriptors cannot be duplicated like this.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let process = pidfd_open(getpid(), PidfdFlags::empty())?;
        pidfd_getfd(&process, process.as_raw_fd(), PidfdGetfdFlags::empty())?;
        Ok(Self { address, process })
    }

    /// The numbers of all descriptors of this process; none if there was no descriptor left to look with.
    pub(crate) fn numbers() -> Option<Vec<RawFd>> {
        let entries = std::fs::read_dir("/proc/self/fd").ok()?;
        let number = |entry: DirEntry| entry.file_name().to_str()?.parse().ok();
        entries.map(|entry| entry.ok().and_then(number)).collect()
    }

    /// What is at a number, with a duplicate if it is a socket.
    ///
    /// # Errors
    /// [`NoDescriptors`].
    pub(crate) fn duplicate(&self, number: RawFd) -> Result<Descriptor, NoDescriptors> {
        match pidfd_getfd(&self.process, number, PidfdGetfdFlags::empty()) {
            Ok(duplicate) => Ok(match socket_cookie(&duplicate) {
                Ok(cookie) => Descriptor::Socket(cookie, TcpStream::from(duplicate)),
                Err(_) => Descriptor::Other,
            }),
            Err(Errno::MFILE | Errno::NFILE) => Err(NoDescriptors),
            Err(_) => Ok(Descriptor::Closed),
        }
    }

    /// Whether that number is a descriptor of this very socket. When it cannot be told, it is taken for one.
    pub(crate) fn is_socket(&self, number: RawFd, cookie: Cookie) -> bool {
        match self.duplicate(number) {
            Ok(Descriptor::Socket(found, _)) => found == cookie,
            Ok(_) => false,
            Err(NoDescriptors) => true,
        }
    }

    /// Every socket of this process, most of them more than once, as far as there are descriptors to look with. Some
    /// microseconds for each.
    pub(crate) fn all(&self) -> impl Iterator<Item = TcpStream> {
        let numbers = Self::numbers().unwrap_or_default().into_iter();
        numbers.map_while(|number| self.duplicate(number).ok()).filter_map(Descriptor::socket)
    }

    /// Whether that is a connection to the address, or was, or listens there.
    pub(crate) fn is_ours(&self, stream: &TcpStream) -> bool {
        let Self { address, .. } = self;
        stream.local_addr().is_ok_and(|local| {
            local.port() == address.port()
                && (address.ip().is_unspecified() || local.ip().to_canonical() == address.ip().to_canonical())
        })
    }

    /// The other side of a connection to the address; none for any other socket.
    pub(crate) fn peer(&self, stream: &TcpStream) -> Option<SocketAddr> {
        if self.is_ours(stream) { stream.peer_addr().ok() } else { None }
    }

    /// A duplicate of the connection from there; none if it is closed by now.
    ///
    /// # Errors
    /// [`NoDescriptors`].
    pub(crate) fn find(&self, from: SocketAddr) -> Result<Option<TcpStream>, NoDescriptors> {
        for number in Self::numbers().ok_or(NoDescriptors)? {
            let found = self.duplicate(number)?.socket();
            if let Some(stream) = found.filter(|stream| self.peer(stream) == Some(from)) {
                return Ok(Some(stream));
            }
        }
        Ok(None)
    }
}

impl Descriptor {
    fn socket(self) -> Option<TcpStream> {
        match self {
            Self::Socket(_, stream) => Some(stream),
            Self::Closed | Self::Other => None,
        }
    }
}

/// What the system says of a connection; none for what is no TCP socket, or listens.
pub(crate) fn traffic(stream: &TcpStream) -> Option<Traffic> {
    let info = getsockopt(stream, TcpInfo).ok().filter(|info| info.state != LISTENING)?;
    let sent = info.bytes_sent.saturating_sub(info.bytes_retrans);
    Some(Traffic {
        received: info.bytes_received,
        written: sent.saturating_add(info.notsent_bytes.into()),
        is_open: OPEN.contains(&info.state),
    })
}

/// Throws away what has arrived on a connection and was not read. Shut down or not, tiny_http would read it to its end.
pub(crate) fn drain(stream: &TcpStream) {
    // Nothing is written to it. It is not from the heap: where hundreds of threads ask the system for memory, one more
    // that does waits for all of them.
    let mut nowhere = [0; DRAIN_LEN];
    let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
    for _ in 0..DRAINS {
        if !rustix::net::recv(stream, &mut nowhere, flags).is_ok_and(|(len, _)| len > 0) {
            return;
        }
    }
}

/// The first part of Linux's `struct tcp_info`, as long as it is since Linux 4.19.
#[derive(Debug)]
#[repr(C)]
struct Info {
    state: u8,
    before: [u8; 127],
    bytes_received: u64,
    segments: [u32; 2],
    notsent_bytes: u32,
    between: [u32; 3],
    rates: [u64; 4],
    delivered: [u32; 2],
    bytes_sent: u64,
    bytes_retrans: u64,
}

/// TCP_INFO.
#[derive(Debug, Clone, Copy)]
struct TcpInfo;

nix::getsockopt_impl!(TcpInfo, libc::IPPROTO_TCP, libc::TCP_INFO, Info, GetStruct<Info>);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_went_through_a_connection_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut accepted, from) = listener.accept().unwrap();
        let sockets = Sockets::open(listener.local_addr().unwrap()).unwrap();
        assert_eq!(traffic(&accepted), Some(Traffic { received: 0, written: 0, is_open: true }));
        client.write_all(&[1; 1000]).unwrap();
        accepted.read_exact(&mut [0; 10]).unwrap();
        accepted.write_all(&[2; 77]).unwrap();
        let seen = sockets.find(from).unwrap().expect("the connection is among our descriptors");
        assert_eq!(traffic(&seen), Some(Traffic { received: 1000, written: 77, is_open: true }));
        assert_eq!(sockets.peer(&seen), Some(from));
        assert_eq!(sockets.peer(&client), None, "that is the other end");
        let second = accepted.try_clone().unwrap();
        let found = sockets.all().filter(|stream| sockets.peer(stream) == Some(from)).count();
        assert!(found >= 3, "two descriptors, and what was found: {found}");
        let cookie = socket_cookie(&accepted).unwrap();
        assert!(sockets.is_socket(accepted.as_raw_fd(), cookie));
        assert!(sockets.is_socket(second.as_raw_fd(), cookie), "one connection");
        assert!(!sockets.is_socket(listener.as_raw_fd(), cookie));
        assert_eq!(traffic(&TcpStream::from(OwnedFd::from(listener.try_clone().unwrap()))), None);
        drop(second);
        client.write_all(&[1; 100_000]).unwrap();
        let len = 990 + 100_000;
        while traffic(&accepted).unwrap().received < 10 + len {
            std::thread::yield_now();
        }
        drain(&accepted);
        accepted.set_nonblocking(true).unwrap();
        let error = accepted.read(&mut [0]).expect_err("all is gone");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        accepted.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(!traffic(&seen).unwrap().is_open);
    }
}
