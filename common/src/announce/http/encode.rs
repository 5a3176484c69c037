//! What a tracker answers: bencode written straight into the buffer, keys in order.

use std::net::{IpAddr, SocketAddr};

use super::super::compact::{V4_LEN, V6_LEN};
use super::super::{AnnounceResponse, AnnouncedPeer, ScrapeEntry};
use crate::ids::InfoHash;

/// Appends the bencoded answer: `peers` and, when there are any, `peers6`, compact unless the request says otherwise.
/// A list that is not compact holds both families.
pub fn encode_response(response: &AnnounceResponse, compact: bool, no_peer_id: bool, out: &mut Vec<u8>) {
    out.push(b'd');
    integer(b"8:complete", response.complete, out);
    if let Some(downloaded) = response.downloaded {
        integer(b"10:downloaded", downloaded, out);
    }
    if let Some(ip) = response.external_ip {
        out.extend_from_slice(b"11:external ip");
        match ip.to_canonical() {
            IpAddr::V4(ip) => string(&ip.octets(), out),
            IpAddr::V6(ip) => string(&ip.octets(), out),
        }
    }
    integer(b"10:incomplete", response.incomplete, out);
    integer(b"8:interval", response.interval_s, out);
    if let Some(interval_s) = response.min_interval_s {
        integer(b"12:min interval", interval_s, out);
    }
    if compact {
        compact_peers(&response.peers, out);
    } else {
        out.extend_from_slice(b"5:peersl");
        for peer in &response.peers {
            peer_dictionary(peer, no_peer_id, out);
        }
        out.push(b'e');
    }
    if let Some(id) = &response.tracker_id {
        out.extend_from_slice(b"10:tracker id");
        string(id, out);
    }
    if let Some(warning) = &response.warning {
        out.extend_from_slice(b"15:warning message");
        string(warning.as_bytes(), out);
    }
    out.push(b'e');
}

/// Appends a bencoded refusal.
pub fn encode_failure(reason: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"d14:failure reason");
    string(reason.as_bytes(), out);
    out.push(b'e');
}

/// Appends the bencoded answer to a scrape. The entries may be in any order; an info-hash must not come twice.
pub fn encode_scrape(entries: &[(InfoHash, ScrapeEntry)], out: &mut Vec<u8>) {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_unstable_by_key(|(info_hash, _)| *info_hash);
    out.extend_from_slice(b"d5:filesd");
    for (info_hash, entry) in sorted {
        string(info_hash.as_bytes(), out);
        out.push(b'd');
        integer(b"8:complete", entry.complete, out);
        integer(b"10:downloaded", entry.downloaded, out);
        integer(b"10:incomplete", entry.incomplete, out);
        out.push(b'e');
    }
    out.extend_from_slice(b"ee");
}

/// `peers` and, when there are any, `peers6`: their lengths come first, so the list is walked once to count.
fn compact_peers(peers: &[AnnouncedPeer], out: &mut Vec<u8>) {
    let v4_count = peers.iter().filter(|peer| peer.address.ip().to_canonical().is_ipv4()).count();
    let v6_count = peers.len() - v4_count;
    out.extend_from_slice(b"5:peers");
    string_len(v4_count * V4_LEN, out);
    for peer in peers {
        if let IpAddr::V4(ip) = peer.address.ip().to_canonical() {
            out.extend_from_slice(&ip.octets());
            out.extend_from_slice(&peer.address.port().to_be_bytes());
        }
    }
    if v6_count == 0 {
        return;
    }
    out.extend_from_slice(b"6:peers6");
    string_len(v6_count * V6_LEN, out);
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
    out.extend_from_slice(b"d2:ip");
    string(address.ip().to_string().as_bytes(), out);
    if let Some(id) = peer.peer_id.filter(|_| !no_peer_id) {
        out.extend_from_slice(b"7:peer id");
        string(id.as_bytes(), out);
    }
    integer(b"4:port", address.port().into(), out);
    out.push(b'e');
}

/// An encoded key and its integer.
fn integer(key: &[u8], value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    out.push(b'i');
    digits(value.into(), out);
    out.push(b'e');
}

fn string(bytes: &[u8], out: &mut Vec<u8>) {
    string_len(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// What stands before the bytes of a string.
fn string_len(len: usize, out: &mut Vec<u8>) {
    digits(u64::try_from(len).unwrap_or(u64::MAX), out);
    out.push(b':');
}

/// A number in decimal.
fn digits(mut number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        // A digit is below 10.
        out.push(b'0' + u8::try_from(number % 10).unwrap_or_default());
        number /= 10;
        if number == 0 {
            break;
        }
    }
    if let Some(written) = out.get_mut(start..) {
        written.reverse();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::PeerId;

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
    fn scrapes_are_sorted() {
        let entry = ScrapeEntry { complete: 1, downloaded: 2, incomplete: 3 };
        let mut out = Vec::new();
        encode_scrape(&[(InfoHash::new([b'b'; 20]), entry), (InfoHash::new([b'a'; 20]), entry)], &mut out);
        let counts = "d8:completei1e10:downloadedi2e10:incompletei3ee";
        let expected = format!("d5:filesd20:aaaaaaaaaaaaaaaaaaaa{counts}20:bbbbbbbbbbbbbbbbbbbb{counts}ee");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn numbers_are_decimal(number: u64) {
            let mut out = b"x".to_vec();
            digits(number, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("x{number}"));
        }
    }
}
