//! What the guard asks of the control server, and has it do.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::Ordering;

use torrent_guard::source::Source;
use torrent_guard::{Guard, Guarded, Reason, Servers};

use super::server::Shared;

impl Guarded for Shared {
    const NAME: &'static str = "control";

    fn guard(&self) -> &Guard {
        &self.guard
    }

    fn listener(&self) -> &TcpListener {
        &self.listener
    }

    fn servers(&self) -> &Servers {
        &self.servers
    }

    fn work(&self, source: &Source) {
        self.take_requests(source);
    }

    fn restarted(&self) {}

    fn is_stopping(&self) -> bool {
        self.stopping.is_set() || self.is_worn.load(Ordering::Relaxed)
    }

    fn is_answering(&self, peer: &SocketAddr) -> bool {
        self.turns.has(peer)
    }

    fn has_waiting_bodies(&self) -> bool {
        !self.jobs.is_empty()
    }

    fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Relaxed)
    }

    /// All of this machine come from one address: to keep out who attacked would keep out the user's commands, for seconds.
    fn is_shared(&self, _: IpAddr) -> bool {
        true
    }

    fn closed(&self, reason: Reason) {
        log::trace!("control: a connection was closed: {reason:?}");
    }

    /// Downloads and uploads are not ended for that, and are to have the threads and descriptors that are left: so nobody is
    /// let in any more.
    fn worn(&self, lost: usize) {
        if self.is_worn.swap(true, Ordering::Relaxed) {
            return;
        }
        log::error!(
            "control: a program on this machine has sent {lost} requests that tiny_http cannot be rid of, and each keeps a thread and open files: the control port is closed, and what is shared goes on; find that program, then stop torrent-daemon by a signal and start it again"
        );
        self.close_port();
    }
}
