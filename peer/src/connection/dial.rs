//! A connection that we began.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};

use super::greet::Greeter;
use super::link::TorrentLink;
use super::registry::Lease;
use super::run::Connection;
use super::{End, Violation};
use crate::torrent::event::Direction;
use crate::torrent::input::Input;

/// Dials `address` for a torrent and serves the connection until its end. The torrent hears of a failure to connect.
pub fn run(lease: Lease, link: &Arc<TorrentLink>, address: SocketAddr) {
    let registry = Arc::clone(lease.registry());
    match connect(lease, link, address) {
        Ok(connection) => _ = connection.run(),
        Err(end) => {
            if end.is_foul() {
                registry.blame.tell(address, "not connected", &end);
            } else {
                log::debug!("{address}: not connected: {end}");
            }
            // Gone means the torrent was stopped: nobody is left to tell.
            let _ = link.inputs.send(Input::DialFailed(address));
        }
    }
}

fn connect(lease: Lease, link: &Arc<TorrentLink>, address: SocketAddr) -> Result<Connection, End> {
    let deadline = Instant::now() + link.timeouts.connect;
    let stream = open(&lease, address, deadline)?;
    let greeter = Greeter::new(&stream, &lease, Instant::now() + link.timeouts.connect);
    greeter.say(link.info_hash, link.own_peer_id)?;
    let head = greeter.hear_head()?;
    if head.info_hash != link.info_hash {
        return Err(Violation::UnknownTorrent.into());
    }
    let theirs = greeter.hear_rest(&head)?;
    Connection::open(stream, lease, link, address, Direction::Outgoing, &theirs)
}

fn open(lease: &Lease, address: SocketAddr, deadline: Instant) -> Result<TcpStream, End> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    let pending = match socket.connect(&address.into()) {
        Ok(()) => false,
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => true,
        Err(error) => return Err(error.into()),
    };
    let stream = TcpStream::from(socket);
    if pending {
        Greeter::new(&stream, lease, deadline).wait(PollFlags::OUT)?;
        if let Some(error) = stream.take_error()? {
            return Err(error.into());
        }
        // Connected to ourselves by a coincidence of ports: TCP allows it.
        if stream.peer_addr()? == stream.local_addr()? {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        }
    }
    Ok(stream)
}
