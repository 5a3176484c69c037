//! What a tracker answers the daemon, over HTTP and UDP.

use torrent_common::announce::AnnounceResponse;
use torrent_common::announce::compact::Family;
use torrent_common::announce::http::{decode_response, encode_response};
use torrent_common::announce::udp::{MAX_SCRAPE, UdpAnswer, decode_answer};

use super::choice;

/// Peers kept of an answer.
const MAX_PEERS: usize = 50;

/// The first byte says what carried the rest: 0 HTTP, 1 UDP over IPv4, 2 over IPv6.
pub fn tracker_answer(input: &[u8]) {
    let (carrier, body) = choice(input);
    let family = match carrier % 3 {
        0 => return http(body),
        1 => Family::V4,
        _ => Family::V6,
    };
    match decode_answer(body, family, MAX_PEERS) {
        Ok((_, UdpAnswer::Announced(response))) => is_bounded(&response),
        Ok((_, UdpAnswer::Scraped(entries))) => assert!(entries.len() <= MAX_SCRAPE),
        Ok((_, UdpAnswer::Refused(reason))) => assert!(reason.len() <= 3 * body.len()),
        Ok((_, UdpAnswer::Connected(_))) | Err(_) => {}
    }
}

fn http(body: &[u8]) {
    let Ok(response) = decode_response(body, MAX_PEERS) else { return };
    is_bounded(&response);
    for compact in [true, false] {
        let mut again = Vec::new();
        encode_response(&response, compact, true, &mut again);
        let read = decode_response(&again, MAX_PEERS).unwrap();
        let addresses = |response: &AnnounceResponse| {
            let mut all: Vec<_> = response.peers.iter().map(|peer| peer.address).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(addresses(&read), addresses(&response));
        let rest = |response: &AnnounceResponse| AnnounceResponse { peers: Vec::new(), ..response.clone() };
        assert_eq!(rest(&read), rest(&response));
    }
}

fn is_bounded(response: &AnnounceResponse) {
    assert!(response.peers.len() <= MAX_PEERS);
    assert!(response.peers.iter().all(|peer| peer.address.port() != 0), "nobody can be dialled at port 0");
    assert!(response.tracker_id.as_ref().is_none_or(|id| id.len() <= 1024));
    assert!(response.warning.as_ref().is_none_or(|warning| warning.len() <= 3 * 1024));
}
