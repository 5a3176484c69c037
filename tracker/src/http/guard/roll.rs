//! The open connections, each with a duplicate of ours, so that a look at all of them is short.
//!
//! While strangers keep the processors busy, whoever needs long for a look is made to pause in the middle of it. To
//! duplicate a descriptor takes longer than to ask what went through it, so each connection is duplicated once. The
//! numbers of its descriptors are known for as long as it is open: tiny_http shuts a connection down before it closes a
//! descriptor of it.

use std::collections::{HashMap, HashSet};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use rustix::io::ioctl_fionread;
use rustix::net::sockopt::set_socket_linger;

use super::sockets::{Cookie, Sockets, Traffic, drain, traffic};

/// The connections that were found.
#[derive(Debug, Default)]
pub(super) struct Roll {
    members: HashMap<Cookie, Member>,
    /// Descriptors that are a member's.
    numbers: HashSet<RawFd>,
}

#[derive(Debug)]
struct Member {
    stream: TcpStream,
    peer: SocketAddr,
    numbers: Vec<RawFd>,
}

impl Roll {
    /// Shows every open connection with what went through it. False if there was no descriptor left to find the new ones
    /// among them.
    pub(super) fn call(
        &mut self,
        sockets: &Sockets,
        mut see: impl FnMut(Cookie, SocketAddr, Traffic),
    ) -> bool {
        // First those that are gone, so that a number that is used again is not taken for theirs.
        let numbers = &mut self.numbers;
        self.members.retain(|cookie, member| match open_traffic(&member.stream) {
            Some(traffic) => {
                see(*cookie, member.peer, traffic);
                true
            }
            None => {
                member.numbers.iter().for_each(|number| {
                    numbers.remove(number);
                });
                false
            }
        });
        self.enter(sockets, see)
    }

    /// Enters connections that came since.
    fn enter(&mut self, sockets: &Sockets, mut see: impl FnMut(Cookie, SocketAddr, Traffic)) -> bool {
        let Some(numbers) = Sockets::numbers() else { return false };
        for number in numbers {
            if self.numbers.contains(&number) {
                continue;
            }
            let (cookie, stream) = match sockets.duplicate(number) {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(_) => return false,
            };
            if let Some(member) = self.members.get_mut(&cookie) {
                member.numbers.push(number);
            } else {
                let Some(peer) = sockets.peer(&stream) else { continue };
                let Some(traffic) = open_traffic(&stream) else { continue };
                see(cookie, peer, traffic);
                let numbers = vec![number, stream.as_raw_fd()];
                self.numbers.insert(stream.as_raw_fd());
                self.members.insert(cookie, Member { stream, peer, numbers });
            }
            self.numbers.insert(number);
        }
        true
    }

    /// The connections from there.
    pub(super) fn of_peers(&self, peers: &HashSet<SocketAddr>) -> Vec<Cookie> {
        let members = self.members.iter().filter(|(_, member)| peers.contains(&member.peer));
        members.map(|(cookie, _)| *cookie).collect()
    }

    /// Shuts a connection down, and throws away what it sent.
    pub(super) fn close(&self, cookie: Cookie) {
        if let Some(member) = self.members.get(&cookie) {
            // Who still sends hears at once that nobody listens.
            let _ = set_socket_linger(&member.stream, Some(Duration::ZERO));
            let _ = member.stream.shutdown(Shutdown::Both);
            drain(&member.stream);
        }
    }
}

fn open_traffic(stream: &TcpStream) -> Option<Traffic> {
    let traffic = traffic(stream).filter(|traffic| traffic.is_open)?;
    // What was not read yet takes none of our memory. It may be a body that came with its head, which is not to be taken for
    // a long head before anybody had the time to look.
    let unread = ioctl_fionread(stream).unwrap_or(0);
    Some(Traffic { received: traffic.received.saturating_sub(unread), ..traffic })
}
