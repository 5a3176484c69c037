//! Bounds what tiny_http does not, from outside: for the tracker, and for the daemon's control port.
//!
//! - Connections: how many there are, how long one may say nothing or drag out the head of a request, and how long a
//!   head may be. Each is looked at twice a second, and oftener while this process works: see [`census`], [`alarm`].
//! - Time: tiny_http reads bodies and writes answers for as long as a client cares to drag them out. A request that
//!   may take long is watched: at its deadline its connection is shut down, and the thread that waits for it is free.
//! - Requests sent without waiting for answers: one of a connection at a time is taken up, few wait: see [`turns`].
//! - Requests that must not be dropped in the ordinary way: [`Guard::discard`]. They wear this process out: [`wear`].
//! - Accepting: tiny_http's accept thread ends at the first error, and panics when it is out of descriptors. Errors
//!   are told by the workers; that a thread is just gone is seen from its socket. Either way a new server is started on
//!   the same listening socket.
//! - Who comes back when he is cut off: the system keeps him out until what he left behind is gone: see [`gate`].
//! - Connections that are accepted and then forgotten: see [`nudge`].
//! - Descriptors: when they have run out, half of the connections are shut down, chosen at random. Who is served that
//!   hardly notices, and who only holds connections open does not keep others out.
//!
//! tiny_http keeps its sockets to itself; [`sockets`] finds them all the same, but not in every container. Where it
//! does not, nothing but the number of descriptors bounds connections, and a body may take for ever, which costs a
//! thread, never one that answers announces.
//!
//! A program implements [`Guarded`], makes a [`Guard`], and starts a [`Patrol`]. Threads of its own that answer requests are a
//! [`Crew`], whose end no client delays for long.
#![forbid(unsafe_code)]

mod accepting;
mod alarm;
pub mod body;
mod census;
mod crew;
mod gate;
mod guard;
mod in_work;
mod nudge;
mod numbers;
mod reading;
mod roll;
mod servers;
pub mod sockets;
pub mod source;
mod thread;
pub mod turns;
mod wear;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

pub use census::{Limits, MAX_HEAD_LEN};
pub use crew::Crew;
pub use guard::{Guard, Notices, Watch};
pub use servers::{Server, Servers};
use source::Source;
pub use thread::{Patrol, prefer_this_thread};

/// What is guarded: a tiny_http server on a listening socket, and what takes its requests.
pub trait Guarded: Send + Sync + 'static {
    /// What it is called in the log, and its threads.
    const NAME: &'static str;

    /// The guard.
    fn guard(&self) -> &Guard;
    /// The listening socket.
    fn listener(&self) -> &TcpListener;
    /// Its servers.
    fn servers(&self) -> &Servers;
    /// A worker's life: takes requests until there are none any more.
    fn work(&self, source: &Source);
    /// Another server accepts connections now.
    fn restarted(&self);
    /// Nothing new is to be started any more.
    fn is_stopping(&self) -> bool;
    /// Whether a request of that connection is in work.
    fn is_answering(&self, peer: &SocketAddr) -> bool;
    /// Whether requests wait for those who read bodies: then one that comes slowly is cut off.
    fn has_waiting_bodies(&self) -> bool;
    /// Whether more requests wait to be taken than are soon: then nobody comes in for a moment.
    fn is_behind(&self) -> bool {
        false
    }
    /// Whether many clients come from that address: it is never kept out.
    fn is_shared(&self, ip: IpAddr) -> bool;
    /// A connection was closed by the guard.
    fn closed(&self, reason: Reason);
    /// So many requests were left behind, each with a thread and descriptors, that the process should begin anew. Must not
    /// wait. Called again every ten seconds while that lasts.
    fn worn(&self, lost: usize);
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its request is too long.
    Long,
    /// Its request takes too long.
    Slow,
    /// It asks nothing.
    Silent,
    /// There are too many, and it is of less use than others.
    TooMany,
    /// The time of its body or its answer is over.
    Deadline,
    /// There are no descriptors left.
    OpenFiles,
}

/// An address to reach a listener at from this machine.
pub fn loopback(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}
