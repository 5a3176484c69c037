//! One announce over UDP (BEP 15).
//!
//! The tracker first gives a connection id, which shows it that we get what is sent to our address, and which is used
//! for a minute. A request that hears nothing is sent again, as BEP 15 has it after 15 seconds, then 30, and so on, but
//! sooner where the whole announce may take less than 45: after a third of its time. An id of an earlier announce gets one such
//! wait: the tracker may have been started anew, or our address may be another now.
//!
//! Addresses of this machine are not kept out, as they are over HTTP but for `/announce`: the first packet is sixteen bytes
//! that whoever made the torrent cannot choose, and without a proper answer there is no second.
//!
//! Answers are taken from the tracker's address alone (the socket is connected), and only with the random transaction id of
//! the request.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::rand::{GetRandomFlags, getrandom};
use torrent_common::announce::compact::Family;
use torrent_common::announce::udp::{
    ConnectionId, TransactionId, UdpAnswer, decode_answer, encode_announce, encode_connect,
};
use torrent_common::announce::{AnnounceRequest, AnnounceResponse};
use torrent_common::config::is_tracker_url;

use super::exchange::keep_believable;
use crate::http::area::Area;
use crate::http::{HttpClient, HttpError};
use crate::wake::poll_until;

/// Before a request is sent again, if there is time. Doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(15);
/// How long a connection id is used (BEP 15).
const ID_AGE: Duration = Duration::from_secs(60);
/// Connection ids kept.
const MAX_IDS: usize = 256;
/// Bytes of an answer that are read: 500 peers over IPv6.
const READ_LEN: usize = 20 + 500 * 18;

/// Why there is no answer. May quote a stranger: escape it where it is printed.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    /// No host, or no port.
    #[error("not a valid udp address")]
    BadUrl,
    /// The host's name is not known.
    #[error(transparent)]
    Name(HttpError),
    /// Nobody can be there.
    #[error("{0} cannot be a tracker's address")]
    Unusable(IpAddr),
    /// Nothing is sent or received.
    #[error("cannot reach it over UDP: {0}")]
    Io(#[from] io::Error),
    /// Too slow, or lost.
    #[error("no answer in time")]
    Timeout,
    /// The tracker said no, and why.
    #[error("refused: {0}")]
    Refused(String),
    /// See [`UdpClient::hang_up`].
    #[error("given up: the daemon ends")]
    HungUp,
}

/// A client, shared by all who announce.
#[derive(Debug)]
pub struct UdpClient {
    /// Looks names up.
    http: HttpClient,
    /// Readable once everybody is to give up.
    hung_up: OwnedFd,
    ids: Mutex<HashMap<SocketAddr, (ConnectionId, Instant)>>,
}

/// Whether an announce URL is for [`UdpClient`].
pub fn is_udp(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("udp"))
}

/// The parts of an announce URL.
struct Target<'a> {
    host: &'a str,
    port: u16,
    /// What the tracker is to know of the URL (BEP 41).
    url_data: &'a str,
}

impl<'a> Target<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (_, rest) = url.split_once("://").filter(|_| is_udp(url) && is_tracker_url(url))?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, url_data) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = authority.rsplit('@').next()?.rsplit_once(':')?;
        // What nearly every tracker has is not worth the bytes.
        let url_data = if matches!(url_data, "/" | "/announce") { "" } else { url_data };
        Some(Self { host, port: port.parse().ok()?, url_data })
    }
}

impl UdpClient {
    /// A client that looks names up with `http`.
    ///
    /// # Errors
    /// The system's, when it has no descriptor left.
    pub fn new(http: HttpClient) -> io::Result<Self> {
        let hung_up = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { http, hung_up, ids: Mutex::default() })
    }

    /// Makes the announce, within `timeout`. Keeps at most `max_peers` peers of the answer.
    ///
    /// # Errors
    /// [`UdpError`].
    pub fn announce(
        &self,
        url: &str,
        request: &AnnounceRequest,
        timeout: Duration,
        max_peers: usize,
    ) -> Result<AnnounceResponse, UdpError> {
        let end = Instant::now() + timeout;
        let target = Target::of(url).ok_or(UdpError::BadUrl)?;
        let addresses = self.http.resolve(target.host, target.port, timeout).map_err(UdpError::Name)?;
        let addresses = self.in_order(&addresses);
        let mut error = UdpError::Timeout;
        for (tried, address) in (0_u32..).zip(&addresses) {
            let rest = end.saturating_duration_since(Instant::now());
            let others = u32::try_from(addresses.len()).unwrap_or(u32::MAX).saturating_sub(tried);
            let talk = Talk::begin(self, *address, rest / others.max(1), max_peers);
            match talk.and_then(|mut talk| talk.announce(request, target.url_data)) {
                Ok(mut response) => {
                    keep_believable(&mut response.peers, Area::of(address.ip()));
                    return Ok(response);
                }
                // A tracker has spoken: its other address would say the same.
                Err(answer @ (UdpError::Refused(_) | UdpError::HungUp)) => return Err(answer),
                Err(other) => error = other,
            }
        }
        Err(error)
    }

    /// Ends every announce, those under way too.
    pub fn hang_up(&self) {
        // It can only fail when the counter is full: then it is readable.
        let _ = rustix::io::write(&self.hung_up, &1_u64.to_ne_bytes());
    }

    /// The first address of each protocol; one that we have an id for first.
    fn in_order(&self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut chosen: Vec<SocketAddr> = Vec::with_capacity(2);
        for &address in addresses {
            if chosen.iter().all(|other| other.is_ipv4() != address.is_ipv4()) {
                chosen.push(address);
            }
        }
        chosen.sort_by_key(|address| self.id(*address).is_none());
        chosen
    }

    fn id(&self, tracker: SocketAddr) -> Option<ConnectionId> {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.get(&tracker).filter(|(_, until)| Instant::now() < *until).map(|(id, _)| *id)
    }

    fn keep_id(&self, tracker: SocketAddr, id: ConnectionId) {
        let now = Instant::now();
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() >= MAX_IDS {
            ids.retain(|_, (_, until)| now < *until);
        }
        if ids.len() < MAX_IDS || ids.contains_key(&tracker) {
            ids.insert(tracker, (id, now + ID_AGE));
        }
    }

    fn forget_id(&self, tracker: SocketAddr) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).remove(&tracker);
    }
}

/// The talk with one address of a tracker.
struct Talk<'a> {
    client: &'a UdpClient,
    socket: UdpSocket,
    tracker: SocketAddr,
    end: Instant,
    first_wait: Duration,
    max_peers: usize,
}

impl<'a> Talk<'a> {
    fn begin(
        client: &'a UdpClient,
        tracker: SocketAddr,
        timeout: Duration,
        max_peers: usize,
    ) -> Result<Self, UdpError> {
        let ip = tracker.ip().to_canonical();
        if ip.is_multicast() || ip.is_unspecified() {
            return Err(UdpError::Unusable(ip));
        }
        let any: SocketAddr = if tracker.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
        let socket = UdpSocket::bind(any)?;
        socket.connect(tracker)?;
        socket.set_nonblocking(true)?;
        let (end, first_wait) = (Instant::now() + timeout, FIRST_WAIT.min(timeout / 3));
        Ok(Self { client, socket, tracker, end, first_wait, max_peers })
    }

    fn announce(&mut self, request: &AnnounceRequest, url_data: &str) -> Result<AnnounceResponse, UdpError> {
        let with = |id| {
            move |transaction, out: &mut Vec<u8>| encode_announce(id, transaction, request, url_data, out)
        };
        if let Some(id) = self.client.id(self.tracker) {
            let soon = self.end.min(Instant::now() + self.first_wait);
            match self.ask(with(id), announced, soon) {
                // It may be about the id.
                Err(UdpError::Timeout | UdpError::Refused(_)) => self.client.forget_id(self.tracker),
                other => return other,
            }
        }
        let id = self.ask(encode_connect, connected, self.end)?;
        self.client.keep_id(self.tracker, id);
        self.ask(with(id), announced, self.end)
    }

    /// Sends a request until `take` takes an answer to it.
    fn ask<T>(
        &self,
        encode: impl Fn(TransactionId, &mut Vec<u8>),
        take: impl Fn(UdpAnswer) -> Option<T>,
        until: Instant,
    ) -> Result<T, UdpError> {
        let transaction = random_transaction()?;
        let mut packet = Vec::with_capacity(256);
        encode(transaction, &mut packet);
        let mut wait = self.first_wait;
        while Instant::now() < until {
            self.socket.send(&packet)?;
            let next = until.min(Instant::now() + wait);
            while let Some(answer) = self.hear(transaction, next)? {
                if let UdpAnswer::Refused(reason) = answer {
                    return Err(UdpError::Refused(reason));
                }
                if let Some(taken) = take(answer) {
                    return Ok(taken);
                }
            }
            wait *= 2;
        }
        Err(UdpError::Timeout)
    }

    /// The next answer to this request before `until`. Of packets that are none, or not the right ones, there may be no end:
    /// so the time is looked at, and whether we are to end, before each.
    fn hear(&self, transaction: TransactionId, until: Instant) -> Result<Option<UdpAnswer>, UdpError> {
        let mut packet = [0; READ_LEN];
        while Instant::now() < until && self.wait(until)? {
            match self.socket.recv(&mut packet) {
                Ok(len) => {
                    let packet = packet.get(..len).unwrap_or_default();
                    let answer = decode_answer(packet, Family::of(self.tracker.ip()), self.max_peers);
                    if let Ok((answered, answer)) = answer
                        && answered == transaction
                    {
                        return Ok(Some(answer));
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Waits for a packet: false if none came.
    fn wait(&self, until: Instant) -> Result<bool, UdpError> {
        let (socket, hung_up) = (self.socket.as_fd(), self.client.hung_up.as_fd());
        let mut descriptors = [
            PollFd::from_borrowed_fd(socket, PollFlags::IN),
            PollFd::from_borrowed_fd(hung_up, PollFlags::IN),
        ];
        poll_until(&mut descriptors, Some(until))?;
        let [socket, hung_up] = &descriptors;
        if !hung_up.revents().is_empty() {
            return Err(UdpError::HungUp);
        }
        Ok(!socket.revents().is_empty())
    }
}

fn connected(answer: UdpAnswer) -> Option<ConnectionId> {
    if let UdpAnswer::Connected(id) = answer { Some(id) } else { None }
}

fn announced(answer: UdpAnswer) -> Option<AnnounceResponse> {
    if let UdpAnswer::Announced(response) = answer { Some(response) } else { None }
}

/// From the system, not from a generator whose earlier numbers other trackers have seen.
fn random_transaction() -> Result<TransactionId, UdpError> {
    let mut transaction = [0; 4];
    getrandom(&mut transaction, GetRandomFlags::empty()).map_err(io::Error::from)?;
    Ok(TransactionId(transaction))
}

#[cfg(test)]
mod tests;
