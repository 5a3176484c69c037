//! What a packet is answered. Knows no socket: a packet and its sender in, the bytes of the answer out.

use std::net::SocketAddr;
use std::sync::Arc;

use torrent_common::announce::compact::Family;
use torrent_common::announce::udp::{
    TransactionId, UdpRequest, decode_request, encode_announced, encode_connected, encode_error,
    encode_scraped, max_peers,
};
use torrent_common::announce::{AnnounceRequest, AnnounceResponse};
use torrent_common::ids::InfoHash;

use super::ids::ConnectionIds;
use crate::announce::Room;
use crate::shared::Shared;

/// Answers packets, on one thread.
pub(super) struct Clerk {
    shared: Arc<Shared>,
    ids: Arc<ConnectionIds>,
    random: fastrand::Rng,
    /// Used again and again: its list of peers keeps its memory.
    response: AnnounceResponse,
    /// The swarms' clock when the batch came.
    now_s: u32,
    tally: Tally,
}

/// What was done since the shared counters were brought up to date.
#[derive(Debug, Default)]
struct Tally {
    connects: usize,
    announces: usize,
    scrapes: usize,
    refused: usize,
    dropped: usize,
}

impl Clerk {
    pub(super) fn new(shared: Arc<Shared>, ids: Arc<ConnectionIds>) -> Self {
        Self {
            shared,
            ids,
            random: fastrand::Rng::new(),
            response: AnnounceResponse::default(),
            now_s: 0,
            tally: Tally::default(),
        }
    }

    /// A batch has come.
    pub(super) fn begin(&mut self) {
        self.now_s = self.shared.clock.now_s();
    }

    /// A batch is over: the counters that all threads share hear of it.
    pub(super) fn end(&mut self) {
        let Tally { connects, announces, scrapes, refused, dropped } = std::mem::take(&mut self.tally);
        let served = &self.shared.served;
        for (counter, count) in [
            (&served.udp_connects, connects),
            (&served.udp_announces, announces),
            (&served.announces, announces),
            (&served.scrapes, scrapes),
            (&served.refused, refused),
            (&served.udp_dropped, dropped),
        ] {
            counter.add_many(count);
        }
    }

    /// Appends the answer to a packet, if it gets one. Without a good connection id that is never longer than the packet.
    pub(super) fn answer(&mut self, packet: &[u8], from: SocketAddr, out: &mut Vec<u8>) {
        let ip = from.ip().to_canonical();
        match decode_request(packet) {
            // Nobody can be answered there.
            _ if from.port() == 0 => self.tally.dropped += 1,
            Ok(UdpRequest::Connect { transaction }) => {
                self.tally.connects += 1;
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
            Ok(UdpRequest::Announce { .. } | UdpRequest::Scrape { .. }) | Err(_) => self.tally.dropped += 1,
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
        match self.shared.desk.announce_into(response, request, from.ip(), room, self.now_s, random) {
            Ok(()) => {
                self.tally.announces += 1;
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
                self.tally.refused += 1;
                encode_error(transaction, &refusal.to_string(), out);
            }
        }
    }

    /// Of the torrents named, at most as many as configured.
    fn scrape(&mut self, transaction: TransactionId, info_hashes: &[[u8; 20]], out: &mut Vec<u8>) {
        self.tally.scrapes += 1;
        let swarms = self.shared.desk.swarms();
        let hashes = info_hashes.iter().take(self.shared.max_scrape);
        let entries = hashes.map(|hash| swarms.scrape(&InfoHash::new(*hash), self.now_s));
        encode_scraped(transaction, entries, out);
    }
}
