//! GET /announce and GET /scrape: the query is read, the announce is answered, the answer is read.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use torrent_common::announce::http::{
    MAX_QUERY_LEN, QueryError, ResponseError, announce_query as encode_query, decode_response,
    encode_failure, encode_response, encode_scrape, parse_announce_query, parse_scrape_query,
};
use torrent_common::announce::{AnnounceRequest, Event};
use torrent_common::config::TrackerConfig;
use torrent_common::ids::PeerId;
use torrent_tracker::announce::{Desk, Refusal};

/// Torrents of a scrape at most.
const MAX_SCRAPE: usize = 64;
/// Peers of each family that the announce meets.
const OTHERS: u8 = 120;

/// The input is the query. The announce comes from an address that may name another.
pub fn announce_query(input: &[u8]) {
    let Ok(query) = std::str::from_utf8(input) else { return };
    match parse_announce_query(query) {
        Ok(request) => {
            reads_as_written(&request);
            is_answered(&request);
        }
        Err(error) => is_told(&error),
    }
    match parse_scrape_query(query, MAX_SCRAPE) {
        Ok(info_hashes) => {
            assert!(info_hashes.len() <= MAX_SCRAPE);
            let mut body = Vec::new();
            encode_scrape(&desk().scrape(&info_hashes, 0), &mut body);
            assert!(body.len() <= 16 + 100 * MAX_SCRAPE, "{}", body.len());
        }
        Err(error) => is_told(&error),
    }
}

fn desk() -> Desk {
    Desk::new(&TrackerConfig::default(), &mut fastrand::Rng::with_seed(1))
}

/// What our own client would send of the same announce means the same.
fn reads_as_written(request: &AnnounceRequest) {
    let query = encode_query(request);
    if query.len() <= MAX_QUERY_LEN {
        assert_eq!(parse_announce_query(&query).as_ref(), Ok(request), "{query}");
    }
}

/// A swarm with more peers than fit in an answer tells the announcer as many as it may, and not itself.
fn is_answered(request: &AnnounceRequest) {
    let desk = desk();
    let mut random = fastrand::Rng::with_seed(2);
    for n in 0..OTHERS {
        let other = AnnounceRequest {
            info_hash: request.info_hash,
            peer_id: PeerId::new([n; 20]),
            port: 7000,
            left: u64::from(n % 3),
            event: Event::Started,
            ip: None,
            ..request.clone()
        };
        let v6 = [0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()];
        for from in [IpAddr::from([10, 0, 0, n]), v6.into()] {
            assert!(desk.announce(&other, from, 0, &mut random).is_ok());
        }
    }
    let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let response = match desk.announce(request, from, 1, &mut random) {
        Ok(response) => response,
        Err(refusal) => return assert_eq!(refusal, Refusal::Port, "{request:?}"),
    };
    let config = TrackerConfig::default();
    let most = request.numwant.unwrap_or(config.default_peers).min(config.max_numwant);
    assert!(response.peers.len() <= most as usize, "{} of {most}", response.peers.len());
    let own = SocketAddr::new(request.ip.unwrap_or(from), request.port);
    let told: HashSet<SocketAddr> = response.peers.iter().map(|peer| peer.address).collect();
    assert!(!told.contains(&own), "{own} hears of itself");
    assert_eq!(told.len(), response.peers.len(), "somebody is named twice");
    if request.event == Event::Stopped {
        assert!(told.is_empty(), "who leaves wants nobody");
    }
    assert!(response.interval_s > 0 && response.min_interval_s <= Some(response.interval_s));
    let others = 2 * u32::from(OTHERS);
    assert!((others..=others + 1).contains(&(response.complete + response.incomplete)), "{response:?}");
    for (compact, no_peer_id) in [(true, true), (false, true), (false, false)] {
        let mut body = Vec::new();
        encode_response(&response, compact, no_peer_id, &mut body);
        assert!(body.len() <= 256 + 80 * most as usize, "{}", body.len());
        let read = decode_response(&body, most as usize).unwrap();
        let read_peers: HashSet<SocketAddr> = read.peers.iter().map(|peer| peer.address).collect();
        assert_eq!(read_peers, told);
        assert_eq!(
            (read.interval_s, read.complete, read.incomplete),
            (response.interval_s, response.complete, response.incomplete)
        );
    }
}

/// A client can read why it was refused; the reason is short, and has nothing of what was sent that is not printable.
fn is_told(error: &QueryError) {
    let reason = error.to_string();
    assert!(reason.len() < 100 && !reason.contains(char::is_control), "{reason:?}");
    let mut body = Vec::new();
    encode_failure(&reason, &mut body);
    assert_eq!(decode_response(&body, 1), Err(ResponseError::Failure(reason)));
}
