//! What a tracker answers: bencode written straight into the buffer, keys in order.

use std::net::{IpAddr, SocketAddr};

use super::super::compact::{V4_LEN, V6_LEN};
use super::super::{AnnounceResponse, AnnouncedPeer, ScrapedTorrent};
use crate::bencode::write::{self, DictionaryWriter};

/// Appends the bencoded answer: `peers` and, when there are any, `peers6`, compact unless the request says otherwise.
/// A list that is not compact holds both families.
pub fn encode_response(response: &AnnounceResponse, compact: bool, no_peer_id: bool, out: &mut Vec<u8>) {
    write::dictionary(out, |answer| {
        answer.integer(b"complete", response.complete.into());
        if let Some(downloaded) = response.downloaded {
            answer.integer(b"downloaded", downloaded.into());
        }
        if let Some(ip) = response.external_ip {
            match ip.to_canonical() {
                IpAddr::V4(ip) => answer.bytes(b"external ip", &ip.octets()),
                IpAddr::V6(ip) => answer.bytes(b"external ip", &ip.octets()),
            }
        }
        answer.integer(b"incomplete", response.incomplete.into());
        answer.integer(b"interval", response.interval_s.into());
        if let Some(interval_s) = response.min_interval_s {
            answer.integer(b"min interval", interval_s.into());
        }
        if compact {
            compact_peers(&response.peers, answer);
        } else {
            answer.list(b"peers", |out| {
                response.peers.iter().for_each(|peer| peer_dictionary(peer, no_peer_id, out));
            });
        }
        if let Some(id) = &response.tracker_id {
            answer.bytes(b"tracker id", id);
        }
        if let Some(warning) = &response.warning {
            answer.bytes(b"warning message", warning.as_bytes());
        }
    });
}

/// Appends a bencoded refusal.
pub fn encode_failure(reason: &str, out: &mut Vec<u8>) {
    write::dictionary(out, |answer| answer.bytes(b"failure reason", reason.as_bytes()));
}

/// Appends the bencoded answer to a scrape. The entries may be in any order; of those with the same info-hash one is
/// written.
pub fn encode_scrape(entries: &[ScrapedTorrent], out: &mut Vec<u8>) {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by_key(|entry| entry.info_hash);
    sorted.dedup_by_key(|entry| entry.info_hash);
    out.extend_from_slice(SCRAPE_HEAD);
    sorted.into_iter().for_each(|entry| encode_scraped(entry, out));
    out.extend_from_slice(SCRAPE_TAIL);
}

/// What stands before the torrents of a scrape.
pub const SCRAPE_HEAD: &[u8] = b"d5:filesd";
/// What stands behind them.
pub const SCRAPE_TAIL: &[u8] = b"ee";

/// Appends one torrent of a scrape: between [`SCRAPE_HEAD`] and [`SCRAPE_TAIL`] they stand in the order of their
/// info-hashes, each once.
pub fn encode_scraped(torrent: &ScrapedTorrent, out: &mut Vec<u8>) {
    let ScrapedTorrent { info_hash, counts, downloaders } = torrent;
    write::bytes(out, info_hash.as_bytes());
    write::dictionary(out, |entry| {
        entry.integer(b"complete", counts.complete.into());
        entry.integer(b"downloaded", counts.downloaded.into());
        entry.integer(b"downloaders", (*downloaders).into());
        entry.integer(b"incomplete", counts.incomplete.into());
    });
}

/// `peers` and, when there are any, `peers6`: their lengths come first, so the list is walked once to count.
fn compact_peers(peers: &[AnnouncedPeer], answer: &mut DictionaryWriter) {
    let v4_count = peers.iter().filter(|peer| peer.address.ip().to_canonical().is_ipv4()).count();
    let v6_count = peers.len() - v4_count;
    let out = answer.key(b"peers");
    write::bytes_header(out, v4_count * V4_LEN);
    for peer in peers {
        if let IpAddr::V4(ip) = peer.address.ip().to_canonical() {
            out.extend_from_slice(&ip.octets());
            out.extend_from_slice(&peer.address.port().to_be_bytes());
        }
    }
    if v6_count == 0 {
        return;
    }
    let out = answer.key(b"peers6");
    write::bytes_header(out, v6_count * V6_LEN);
    for peer in peers {
        if let IpAddr::V6(ip) = peer.address.ip().to_canonical() {
            out.extend_from_slice(&ip.octets());
            out.extend_from_slice(&peer.address.port().to_be_bytes());
        }
    }
}

/// A peer as BEP 3 has it: `ip` as text.
fn peer_dictionary(peer: &AnnouncedPeer, no_peer_id: bool, out: &mut Vec<u8>) {
    let address = SocketAddr::new(peer.address.ip().to_canonical(), peer.address.port());
    write::dictionary(out, |entry| {
        entry.bytes(b"ip", address.ip().to_string().as_bytes());
        if let Some(id) = peer.peer_id.filter(|_| !no_peer_id) {
            entry.bytes(b"peer id", id.as_bytes());
        }
        entry.integer(b"port", address.port().into());
    });
}

#[cfg(test)]
mod tests {
    use super::super::super::ScrapeEntry;
    use super::*;
    use crate::ids::{InfoHash, PeerId};

    fn peer(address: &str) -> AnnouncedPeer {
        AnnouncedPeer { address: address.parse().unwrap(), peer_id: Some(PeerId::new([b'p'; 20])) }
    }

    fn response(peers: &[&str]) -> AnnounceResponse {
        AnnounceResponse {
            interval_s: 120,
            complete: 1,
            incomplete: 20,
            peers: peers.iter().map(|address| peer(address)).collect(),
            ..AnnounceResponse::default()
        }
    }

    fn encoded(response: &AnnounceResponse, compact: bool, no_peer_id: bool) -> String {
        let mut out = Vec::new();
        encode_response(response, compact, no_peer_id, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn the_least_answer() {
        assert_eq!(
            encoded(&response(&[]), true, false),
            "d8:completei1e10:incompletei20e8:intervali120e5:peers0:e"
        );
        assert_eq!(
            encoded(&response(&[]), false, false),
            "d8:completei1e10:incompletei20e8:intervali120e5:peerslee"
        );
    }

    #[test]
    fn a_full_answer_has_its_keys_in_order() {
        let response = AnnounceResponse {
            min_interval_s: Some(60),
            downloaded: Some(7),
            tracker_id: Some(b"t".to_vec()),
            warning: Some("w".into()),
            external_ip: Some(IpAddr::from([49, 50, 51, 52])),
            ..response(&[
                "65.66.67.68:16961",
                "[4142:4344:4546:4748:494a:4b4c:4d4e:4f50]:16961",
                "[::ffff:65.65.65.65]:16961",
            ])
        };
        assert_eq!(
            encoded(&response, true, false),
            "d8:completei1e10:downloadedi7e11:external ip4:123410:incompletei20e8:intervali120e\
             12:min intervali60e5:peers12:ABCDBAAAAABA6:peers618:ABCDEFGHIJKLMNOPBA\
             10:tracker id1:t15:warning message1:we"
        );
    }

    #[test]
    fn dictionaries_hold_both_families() {
        let response = response(&["10.0.0.1:80", "[::1]:81"]);
        let id = "7:peer id20:pppppppppppppppppppp";
        assert!(
            encoded(&response, false, false)
                .ends_with(&format!("5:peersld2:ip8:10.0.0.1{id}4:porti80eed2:ip3:::1{id}4:porti81eeee"))
        );
        assert!(
            encoded(&response, false, true)
                .ends_with("5:peersld2:ip8:10.0.0.14:porti80eed2:ip3:::14:porti81eeee")
        );
    }

    #[test]
    fn refusals() {
        let mut out = Vec::new();
        encode_failure("port is missing", &mut out);
        assert_eq!(out, b"d14:failure reason15:port is missinge");
    }

    #[test]
    fn scrapes_are_sorted_and_name_a_torrent_once() {
        let counts = ScrapeEntry { complete: 1, downloaded: 2, incomplete: 4 };
        let entry =
            |letter| ScrapedTorrent { info_hash: InfoHash::new([letter; 20]), counts, downloaders: 3 };
        let mut out = Vec::new();
        encode_scrape(&[entry(b'b'), entry(b'a'), entry(b'b')], &mut out);
        let counts = "d8:completei1e10:downloadedi2e11:downloadersi3e10:incompletei4ee";
        let expected = format!("d5:filesd20:aaaaaaaaaaaaaaaaaaaa{counts}20:bbbbbbbbbbbbbbbbbbbb{counts}ee");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
