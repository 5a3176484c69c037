//! UDP in front of the tracker (BEP 15): a few threads, each with a socket of its own on the same port (SO_REUSEPORT), among
//! which the system spreads the senders. A thread takes what has come, a bounded batch with one system call, answers
//! each packet from memory (`clerk.rs`), and sends the answers with another. Nothing is allocated for a packet, nothing
//! is remembered of who asked but what announces are for, and a sender that is not there any more costs a dropped
//! packet: sending never waits.
//!
//! An answer leaves by the address that was asked, on a wildcard address too (`local.rs`).

mod batch;
mod clerk;
mod ids;
mod local;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{SockaddrIn, SockaddrIn6};
use socket2::{Domain, Protocol, Socket, Type};
use torrent_common::worker::{Shutdown, Worker};

use crate::shared::Shared;
use batch::{Batch, Name};
pub(crate) use clerk::Clerk;
pub(crate) use ids::ConnectionIds;

/// Threads when their number is left to us: two keep a network of 1 Gbit/s busy.
const MAX_DEFAULT_WORKERS: usize = 4;
/// Bytes of packets that the system holds for a socket until it is read, as far as it lets us: some thousand announces.
const RECEIVE_BUFFER: usize = 1 << 20;
/// After an error that reading a socket may bring again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// UDP at work.
pub(crate) struct Udp {
    sockets: Vec<Arc<UdpSocket>>,
    workers: Vec<Worker>,
    stopping: Shutdown,
}

/// Opens the sockets of so many workers (0: one per core, at most [`MAX_DEFAULT_WORKERS`]).
///
/// # Errors
/// The system's. `AddrInUse` also when another program is ready to share the port: it would get a part of the requests.
pub(crate) fn listen(address: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    drop(open(address, false)?);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let workers = if workers == 0 { cores.min(MAX_DEFAULT_WORKERS) } else { workers };
    (0..workers).map(|_| open(address, true)).collect()
}

fn open(address: SocketAddr, is_shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.ip() == IpAddr::from([0; 16]) {
        socket.set_only_v6(false)?;
    }
    if is_shared {
        rustix::net::sockopt::set_socket_reuseport(&socket, true)?;
    }
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
        log::debug!("the receive buffer stays as it is: {error}");
    }
    if address.ip().is_unspecified() {
        local::watch(&socket, address.is_ipv6())?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

impl Udp {
    /// Begins to answer on sockets of [`listen`].
    pub(crate) fn start(sockets: Vec<UdpSocket>, shared: &Arc<Shared>) -> io::Result<Self> {
        let ids = Arc::new(ConnectionIds::new()?);
        let mut udp = Self {
            sockets: sockets.into_iter().map(Arc::new).collect(),
            workers: Vec::new(),
            stopping: Shutdown::new(),
        };
        for number in 0..udp.sockets.len() {
            let Some(socket) = udp.sockets.get(number).map(Arc::clone) else { break };
            let clerk = Clerk::new(Arc::clone(shared), Arc::clone(&ids));
            let stopping = udp.stopping.clone();
            // When this fails, dropping `udp` ends the threads before it.
            udp.workers.push(Worker::spawn(format!("udp-{number}"), move || {
                let address = socket.local_addr();
                let says_where = address.as_ref().is_ok_and(|address| address.ip().is_unspecified());
                match address {
                    Ok(SocketAddr::V6(_)) => {
                        work(&socket, Batch::<SockaddrIn6>::new(says_where), clerk, &stopping)
                    }
                    _ => work(&socket, Batch::<SockaddrIn>::new(says_where), clerk, &stopping),
                };
            })?);
        }
        Ok(udp)
    }

    /// Ends every thread.
    pub(crate) fn stop(self) {
        drop(self);
    }
}

impl Drop for Udp {
    fn drop(&mut self) {
        self.stopping.set();
        for socket in &self.sockets {
            // Wakes whoever waits for a packet. Linux also says that the socket was not connected.
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
        self.workers.clear();
    }
}

fn work<S: Name>(socket: &UdpSocket, mut batch: Batch<S>, mut clerk: Clerk, stopping: &Shutdown) {
    while !stopping.is_set() {
        match batch.receive(socket, stopping) {
            Ok(()) => {
                // A panic is a bug, but only one batch's: senders ask again, the thread goes on.
                let answered = catch_unwind(AssertUnwindSafe(|| {
                    clerk.begin();
                    batch.answer(|packet, from, out| clerk.answer(packet, from, out));
                }));
                if answered.is_err() {
                    log::error!(
                        "requests over UDP were not answered because of a bug: please report it with the lines above"
                    );
                }
                batch.send(socket);
                clerk.end();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                log::warn!("reading from the UDP socket failed: {error}");
                thread::sleep(PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests;
