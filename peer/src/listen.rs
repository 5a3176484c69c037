//! Takes in connections from strangers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};
use torrent_common::worker::{Shutdown, Worker};

use crate::connection::incoming;
use crate::connection::link::Directory;
use crate::connection::registry::{Connections, Origin, SpawnError};
use crate::wake::Waker;

/// Connections that the system keeps for us while we are busy.
const BACKLOG: i32 = 1024;
/// Pause after the system refused to accept, for lack of descriptors or memory: others may give some back.
const BREATHER: Duration = Duration::from_millis(200);

/// The listening thread. Stops when dropped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    shutdown: Shutdown,
    waker: Waker,
    _worker: Worker,
}

/// What the listening thread works with.
struct Accepting {
    listener: TcpListener,
    shutdown: Shutdown,
    waker: Waker,
    connections: Arc<Connections>,
    directory: Arc<dyn Directory>,
    patience: Duration,
}

impl Listener {
    /// Listens on `host`, `port` (0: any). The unspecified IPv6 address takes IPv4 as well; without IPv6 in the system,
    /// IPv4 alone. A stranger has `patience` for its handshake.
    ///
    /// # Errors
    /// The system's: the port is taken, or the address is not ours.
    pub fn start(
        host: IpAddr,
        port: u16,
        connections: Arc<Connections>,
        directory: Arc<dyn Directory>,
        patience: Duration,
    ) -> io::Result<Self> {
        let listener = bind(SocketAddr::new(host, port))?;
        let address = listener.local_addr()?;
        let (shutdown, waker) = (Shutdown::new(), Waker::new()?);
        let accepting = Accepting {
            listener,
            shutdown: shutdown.clone(),
            waker: waker.clone(),
            connections,
            directory,
            patience,
        };
        let worker = Worker::spawn("listen", move || accepting.run())?;
        Ok(Self { address, shutdown, waker, _worker: worker })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shutdown.set();
        self.waker.ring();
    }
}

impl Accepting {
    fn run(self) {
        while !self.shutdown.is_set() {
            match self.listener.accept() {
                Ok((stream, address)) => self.admit(stream, address),
                Err(error) => self.rest(&error),
            }
        }
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr) {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let (directory, patience) = (Arc::clone(&self.directory), self.patience);
        let started = self.connections.spawn(Origin::Stranger(address.ip()), move |lease| {
            incoming::run(lease, stream, address, &*directory, patience);
        });
        match started {
            Ok(()) | Err(SpawnError::Stopping) => {}
            Err(error @ (SpawnError::Full(_) | SpawnError::Crowded(_) | SpawnError::HalfOpen(_))) => {
                self.connections.blame.tell(address, "refused", &error);
            }
            Err(error @ SpawnError::System(_)) => {
                log::warn!("{address}: refused: {error}");
                self.pause(PollFlags::empty(), Some(Instant::now() + BREATHER));
            }
        }
    }

    fn rest(&self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::WouldBlock => self.pause(PollFlags::IN, None),
            // The stranger gave up before we came: nothing of ours.
            io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
            _ => {
                log::warn!("cannot accept connections for a moment: {error}");
                self.pause(PollFlags::empty(), Some(Instant::now() + BREATHER));
            }
        }
    }

    fn pause(&self, interest: PollFlags, deadline: Option<Instant>) {
        if let Err(error) = self.waker.wait(self.listener.as_fd(), interest, deadline) {
            log::error!("cannot wait for connections: {error}");
            std::thread::sleep(BREATHER);
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match bind_one(address) {
        Err(error) if address.ip().is_unspecified() && address.is_ipv6() && lacks_ipv6(&error) => {
            bind_one(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
        }
        outcome => outcome,
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::link::TorrentLink;
    use std::io::Read;
    use torrent_common::ids::InfoHash;

    struct Nothing;

    impl Directory for Nothing {
        fn find(&self, _: &InfoHash) -> Option<Arc<TorrentLink>> {
            None
        }
    }

    fn listen(max: usize) -> (Listener, Arc<Connections>) {
        let connections = Connections::new(max, max);
        let host = Ipv4Addr::LOCALHOST.into();
        let patience = Duration::from_secs(30);
        let listener =
            Listener::start(host, 0, Arc::clone(&connections), Arc::new(Nothing), patience).unwrap();
        (listener, connections)
    }

    #[test]
    fn strangers_who_name_nothing_of_ours_hear_nothing() {
        use std::io::Write;
        let (listener, connections) = listen(4);
        let mut stream = TcpStream::connect(listener.address()).unwrap();
        let peer_id = torrent_common::ids::PeerId::new([7; 20]);
        let hello = torrent_common::wire::Handshake::new(InfoHash::new([1; 20]), peer_id).encode();
        stream.write_all(&hello).unwrap();
        let mut answer = Vec::new();
        // Unread bytes make the close a reset; either way, nothing was said.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty());
        drop(listener);
        connections.stop();
    }

    #[test]
    fn one_too_many_is_closed_and_stopping_does_not_wait_for_handshakes() {
        let (listener, connections) = listen(1);
        let _first = TcpStream::connect(listener.address()).unwrap();
        let mut second = TcpStream::connect(listener.address()).unwrap();
        // The first holds the only place, without a word; the second is closed.
        assert_eq!(second.read(&mut [0; 1]).unwrap(), 0);
        drop(listener);
        connections.stop();
        assert_eq!(connections.count(), 0);
    }
}
