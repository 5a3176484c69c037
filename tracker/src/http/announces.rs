//! GET /announce, GET /scrape and GET /: answered from memory alone, by the workers that nothing may hold up.

use std::net::IpAddr;

use serde::Serialize;
use torrent_common::announce::http::{
    encode_response, encode_scrape, parse_announce_query, parse_scrape_query,
};

use super::answer::Answer;
use super::full_scrape::FullScrape;
use super::pen::Pen;
use crate::announce::Room;
use crate::metrics::labels::{Failure, Protocol};
use crate::shared::Shared;

/// GET /announce. A refusal has status 200: clients look for the failure reason only then.
pub(super) fn announce(shared: &Shared, query: &str, from: IpAddr, pen: &mut Pen) -> Answer {
    let request = match parse_announce_query(query) {
        Ok(request) => request,
        Err(error) => return refused(shared, Failure::Malformed, &error.to_string()),
    };
    let now_s = shared.clock.now_s();
    let Pen { response, random, .. } = pen;
    match shared.desk.announce_into(response, &request, from, Room::ANY, now_s, random) {
        Ok(()) => {
            shared.metrics.announced(Protocol::Http, request.event);
            log::debug!(
                "announce {} from {from} port {}: {:?}, {} left, {} peers told",
                request.info_hash,
                request.port,
                request.event,
                request.left,
                pen.response.peers.len()
            );
            let mut body = pen.paper();
            encode_response(&pen.response, request.compact, request.no_peer_id, &mut body);
            Answer::bencode(200, body)
        }
        Err(refusal) => refused(shared, refusal, &refusal.to_string()),
    }
}

/// The failure reason for an announce or a scrape.
pub(super) fn refused(shared: &Shared, why: impl Into<Failure>, reason: &str) -> Answer {
    shared.metrics.failed(Protocol::Http, why);
    Answer::failure(200, reason)
}

/// Whether a scrape asks for everything, and gets it.
pub(super) fn is_full_scrape(shared: &Shared, query: &str) -> bool {
    shared.full_scrape && parse_scrape_query(query, 1).is_ok_and(|info_hashes| info_hashes.is_empty())
}

/// GET /scrape: of the torrents named, at most as many as configured. One of everything is refused unless FULL_SCRAPE
/// says otherwise: it has no bound.
pub(super) fn scrape(shared: &Shared, query: &str) -> Answer {
    shared.metrics.scraped(Protocol::Http);
    match parse_scrape_query(query, shared.max_scrape) {
        Ok(info_hashes) if info_hashes.is_empty() && shared.full_scrape => {
            Answer::full_scrape(FullScrape::of(shared.desk.swarms(), shared.clock.now_s()))
        }
        Ok(info_hashes) if info_hashes.is_empty() => {
            refused(shared, Failure::FullScrape, "info_hash is missing: a scrape names torrents")
        }
        Ok(info_hashes) => {
            let mut body = Vec::with_capacity(16 + 80 * info_hashes.len());
            encode_scrape(&shared.desk.scrape(&info_hashes, shared.clock.now_s()), &mut body);
            Answer::bencode(200, body)
        }
        Err(error) => refused(shared, Failure::Malformed, &error.to_string()),
    }
}

#[derive(Serialize)]
struct Status {
    name: &'static str,
    version: &'static str,
    uptime_seconds: u32,
    /// Torrents with peers.
    swarms: usize,
    peers: usize,
    seeders: usize,
    /// Published.
    torrents: usize,
    announces: u64,
    scrapes: u64,
    refused: u64,
    uploads: u64,
    udp_connects: u64,
    udp_announces: u64,
    /// Packets that were no requests, or had no good connection id.
    udp_dropped: u64,
    /// What does not work at the moment; announces do.
    degraded: Vec<String>,
}

/// GET /: who this is, and what it has to do.
pub(super) fn status(shared: &Shared) -> Answer {
    let totals = shared.desk.swarms().totals();
    let status = Status {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: shared.clock.now_s(),
        swarms: totals.swarms,
        peers: totals.peers,
        seeders: totals.seeders,
        torrents: shared.catalogue.count(),
        announces: shared.metrics.announces(),
        scrapes: shared.metrics.scrapes(),
        refused: shared.metrics.refused(),
        uploads: shared.metrics.uploads(),
        udp_connects: shared.metrics.udp_connects(),
        udp_announces: shared.metrics.udp_announces(),
        udp_dropped: shared.metrics.udp_dropped(),
        degraded: shared.health.degraded(),
    };
    Answer::json(200, &status)
}
