//! What a packet is answered. Knows no socket: a packet and its sender in, the bytes of the answer out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use torrent_common::announce::compact::Family;
use torrent_common::announce::udp::{
    TransactionId, UdpRequest, decode_request, encode_announced, encode_connected, encode_error,
    encode_scraped, max_peers,
};
use torrent_common::announce::{AnnounceRequest, AnnounceResponse};
use torrent_common::ids::InfoHash;

use super::ids::ConnectionIds;
use crate::announce::Room;
use crate::metrics::labels::{Dropped, Protocol};
use crate::shared::Shared;

/// Answers packets, on one thread.
pub(crate) struct Clerk {
    shared: Arc<Shared>,
    ids: Arc<ConnectionIds>,
    random: fastrand::Rng,
    /// Used again and again: its list of peers keeps its memory.
    response: AnnounceResponse,
    /// The swarms' clock when the batch came.
    now_s: u32,
    /// When that was.
    began: Instant,
    /// Announces answered since then, refused ones among them.
    announces: u64,
}

impl Clerk {
    pub(crate) fn new(shared: Arc<Shared>, ids: Arc<ConnectionIds>) -> Self {
        Self {
            shared,
            ids,
            random: fastrand::Rng::new(),
            response: AnnounceResponse::default(),
            now_s: 0,
            began: Instant::now(),
            announces: 0,
        }
    }

    /// A batch has come.
    pub(crate) fn begin(&mut self) {
        self.began = Instant::now();
        self.now_s = self.shared.clock.seconds_at(self.began);
        self.announces = 0;
    }

    /// The answers to a batch were sent.
    pub(super) fn end(&mut self) {
        if self.announces > 0 {
            self.shared.metrics.took(Protocol::Udp, self.announces, self.began.elapsed());
        }
    }

    /// Appends the answer to a packet, if it gets one. Without a good connection id that is never longer than the packet.
    pub(crate) fn answer(&mut self, packet: &[u8], from: SocketAddr, out: &mut Vec<u8>) {
        let ip = from.ip().to_canonical();
        let metrics = &self.shared.metrics;
        match decode_request(packet) {
            // Nobody can be answered there.
            _ if from.port() == 0 => metrics.dropped(Dropped::Port),
            Ok(UdpRequest::Connect { transaction }) => {
                metrics.connected();
                encode_connected(transaction, self.ids.give(ip, self.now_s), out);
            }
            Ok(UdpRequest::Announce { id, transaction, request, .. })
                if self.ids.is_good(id, ip, self.now_s) =>
            {
                self.announce(transaction, &request, from, out);
            }
            Ok(UdpRequest::Scrape { id, transaction, info_hashes })
                if self.ids.is_good(id, ip, self.now_s) =>
            {
                self.scrape(transaction, info_hashes, out);
            }
            Ok(UdpRequest::Announce { .. } | UdpRequest::Scrape { .. }) => {
                metrics.dropped(Dropped::ConnectionId)
            }
            Err(_) => metrics.dropped(Dropped::Malformed),
        }
    }

    fn announce(
        &mut self,
        transaction: TransactionId,
        request: &AnnounceRequest,
        from: SocketAddr,
        out: &mut Vec<u8>,
    ) {
        let family = Family::of(from.ip());
        let room = Room { peers: max_peers(family), family: Some(family) };
        let (response, random) = (&mut self.response, &mut self.random);
        let metrics = &self.shared.metrics;
        self.announces += 1;
        match self.shared.desk.announce_into(response, request, from.ip(), room, self.now_s, random) {
            Ok(()) => {
                metrics.announced(Protocol::Udp, request.event);
                log::debug!(
                    "announce {} from {} port {} over UDP: {:?}, {} left, {} peers told",
                    request.info_hash,
                    from.ip(),
                    request.port,
                    request.event,
                    request.left,
                    self.response.peers.len()
                );
                encode_announced(transaction, &self.response, family, out);
            }
            Err(refusal) => {
                metrics.failed(Protocol::Udp, refusal);
                encode_error(transaction, &refusal.to_string(), out);
            }
        }
    }

    /// Of the torrents named, at most as many as configured.
    fn scrape(&mut self, transaction: TransactionId, info_hashes: &[[u8; 20]], out: &mut Vec<u8>) {
        self.shared.metrics.scraped(Protocol::Udp);
        let swarms = self.shared.desk.swarms();
        let hashes = info_hashes.iter().take(self.shared.max_scrape);
        let entries = hashes.map(|hash| swarms.scrape(&InfoHash::new(*hash), self.now_s));
        encode_scraped(transaction, entries, out);
    }
}
