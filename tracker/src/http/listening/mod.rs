//! The socket that the tracker listens on. The options set here are inherited by every connection.

mod defer;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

#[cfg(doc)]
use torrent_guard::Guard;
use torrent_guard::sockets::Sockets;

use crate::StartError;

/// Connections that the system holds until they are accepted.
const BACKLOG: i32 = 512;
/// What a connection's buffer for answers holds, in bytes: every answer to an announce fits.
pub(super) const SEND_BUFFER: usize = 64 << 10;
/// What a connection's buffer for requests holds, in bytes. Left to itself the system makes it grow to megabytes.
const RECEIVE_BUFFER: usize = 16 << 10;
/// How long an answer waits when that buffer is full. Only who asks again and again without reading fills it, and the
/// worker is to be free for others. Long answers have more time: see [`Guard::watch`].
const SEND_TIMEOUT: Duration = Duration::from_millis(50);
/// The same where they cannot be given more time.
const LONE_SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that is silent for longer is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Listens.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::InUse(address),
        _ => StartError::Listen { address, source },
    };
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.ip() == IpAddr::from([0; 16]) {
            socket.set_only_v6(false)?;
        }
        socket.set_tcp_nodelay(true)?;
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.set_write_timeout(Some(send_timeout(address)))?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4))?;
        if let Err(error) = defer::defer_accept(&socket) {
            log::debug!("connections are accepted before their first bytes: {error}");
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(failed)
}

/// How long an answer waits for its client.
pub(super) fn send_timeout(address: SocketAddr) -> Duration {
    if Sockets::open(address).is_ok() { SEND_TIMEOUT } else { LONE_SEND_TIMEOUT }
}
