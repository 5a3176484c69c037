//! A connection that a stranger began.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::greet::Greeter;
use super::link::Directory;
use super::registry::Lease;
use super::run::Connection;
use super::visits::SHORT;
use super::{End, Violation};
use crate::torrent::event::Direction;

/// Serves an accepted connection until its end. Nothing is answered before the stranger has named a torrent that is
/// here.
pub fn run(
    lease: Lease,
    stream: TcpStream,
    address: SocketAddr,
    directory: &dyn Directory,
    patience: Duration,
) {
    let (registry, begin) = (Arc::clone(lease.registry()), Instant::now());
    match accept(lease, stream, address, directory, patience) {
        Ok(connection) => {
            let useless = connection.run().filter(|_| begin.elapsed() < SHORT);
            if let Some(end) = useless.filter(End::is_idle_visit) {
                registry.blame.visited(address, &end);
            }
        }
        Err(end) if end.is_idle_visit() => registry.blame.visited(address, &end),
        Err(end) if end.is_foul() => registry.blame.tell(address, "refused", &end),
        Err(End::TimedOut) => registry.blame.tell(address, "refused", &"it did not finish its handshake"),
        Err(end) => log::debug!("{address}: refused: {end}"),
    }
}

fn accept(
    lease: Lease,
    stream: TcpStream,
    address: SocketAddr,
    directory: &dyn Directory,
    patience: Duration,
) -> Result<Connection, End> {
    stream.set_nonblocking(true)?;
    let greeter = Greeter::new(&stream, &lease, Instant::now() + patience);
    let head = greeter.hear_head()?;
    let link = directory.find(&head.info_hash).ok_or(Violation::UnknownTorrent)?;
    greeter.say(link.info_hash, link.own_peer_id)?;
    let theirs = greeter.hear_rest(&head)?;
    Connection::open(stream, lease, &link, address, Direction::Incoming, &theirs)
}
