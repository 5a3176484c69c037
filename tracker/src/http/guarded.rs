//! What the guard asks of the tracker, and has it do.

use std::net::{IpAddr, SocketAddr, TcpListener};

use torrent_guard::source::Source;
use torrent_guard::{Guard, Guarded, Reason, Servers};

use super::Inner;
use crate::metrics::labels::Closed;

impl Guarded for Inner {
    const NAME: &'static str = "http";

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

    fn restarted(&self) {
        self.shared.metrics.restarted();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.is_set()
    }

    fn is_answering(&self, peer: &SocketAddr) -> bool {
        self.turns.has(peer)
    }

    fn has_waiting_bodies(&self) -> bool {
        self.bodies.has_waiting()
    }

    /// It is a proxy's.
    fn is_shared(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.shared.trusted_proxies.iter().any(|network| network.contains(ip))
    }

    fn closed(&self, reason: Reason) {
        self.shared.metrics.closed(match reason {
            Reason::Long => Closed::LongHead,
            Reason::Slow => Closed::SlowHead,
            Reason::Silent => Closed::Idle,
            Reason::TooMany => Closed::TooMany,
            Reason::Deadline => Closed::Deadline,
            Reason::OpenFiles => Closed::OpenFiles,
        });
    }

    fn worn(&self, lost: usize) {
        log::warn!(
            "{lost} requests that tiny_http cannot be rid of were left behind, each with a thread and open files: time to begin anew"
        );
        if let Some(call) = self.worn.get() {
            call();
        }
    }
}
