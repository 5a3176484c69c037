//! Connections are accepted with their first bytes, not before (TCP_DEFER_ACCEPT, tcp(7)).
//!
//! A client sends its request in the packet after the handshake. Accepted at once, the connection would wake tiny_http's
//! accept thread and the thread that it hands the connection to, and that one would sleep again until the request is
//! there. Linux can keep the connection to itself until then, which costs it neither a descriptor nor a thread: of the
//! processor time of an announce over a new connection a quarter is saved. Who has sent nothing within [`WAIT_S`] is
//! accepted all the same.

use std::io;

use nix::sys::socket::setsockopt;
use socket2::Socket;

/// How long a connection without a byte is kept back, in seconds: for as long as a new connection may take to come
/// through. The system counts in its own steps, of which this is the first.
const WAIT_S: usize = 1;

mod option {
    // What the macros of nix expect to be in scope. The call in them is theirs: an option of this type, which is an int.
    use nix::{libc, setsockopt_impl, sockopt_impl};

    sockopt_impl!(
        /// TCP_DEFER_ACCEPT: seconds.
        DeferAccept,
        SetOnly,
        libc::IPPROTO_TCP,
        libc::TCP_DEFER_ACCEPT,
        usize
    );
}

/// To be called before listening.
///
/// # Errors
/// The system's: then connections are accepted at once.
pub(super) fn defer_accept(socket: &Socket) -> io::Result<()> {
    Ok(setsockopt(socket, option::DeferAccept, &WAIT_S)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use socket2::{Domain, Type};

    use super::*;

    fn is_readable(socket: &Socket, patience: Duration) -> bool {
        let patience = Timespec::try_from(patience).unwrap();
        poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&patience)).unwrap() > 0
    }

    #[test]
    fn a_connection_comes_with_its_first_byte_or_late() {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        defer_accept(&listener).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(8).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        assert!(!is_readable(&listener, Duration::ZERO));
        client.write_all(b"G").unwrap();
        assert!(is_readable(&listener, Duration::from_secs(10)));
        listener.accept().unwrap();
        let _silent = TcpStream::connect(address).unwrap();
        assert!(is_readable(&listener, Duration::from_secs(30)));
    }
}
