//! What a tracker answered.

use std::net::{IpAddr, SocketAddr};

use super::super::{AnnounceResponse, AnnouncedPeer, compact};
use crate::bencode::{BencodeError, Limits, Value, scan};
use crate::ids::PeerId;

/// The longest answer that [`decode_response`] reads, in bytes: a reader of the body may stop here.
pub const MAX_RESPONSE_LEN: usize = 1 << 20;
/// The interval of an answer that has peers but names none, in seconds.
pub const DEFAULT_INTERVAL_S: u32 = 1800;

/// The longest text or tracker id that is kept of an answer, in bytes.
const MAX_TEXT_LEN: usize = 1024;

/// An answer that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The tracker refused: its reason, a stranger's text (not escaped).
    #[error("the tracker refused: {0:?}")]
    Failure(String),
    /// Not bencode, or not a dictionary.
    #[error("the tracker's answer is not valid: {0}")]
    Bencode(#[from] BencodeError),
    /// A key is missing or of the wrong type.
    #[error("the tracker's answer has no valid {0:?}")]
    Field(&'static str),
}

/// Reads a tracker's answer: compact or dictionary peers, IPv4 and IPv6. At most `max_peers` peers are kept; peers at
/// port 0 and host names are dropped. `interval` must be there, except that an answer with peers but without an interval
/// (some trackers') has [`DEFAULT_INTERVAL_S`]. Numbers that are missing or make no sense are 0 or absent;
/// texts are cut after 1 KiB, and a tracker id longer than that is dropped.
///
/// # Errors
/// [`ResponseError`]: a refusal, or an answer that makes no sense.
pub fn decode_response(body: &[u8], max_peers: usize) -> Result<AnnounceResponse, ResponseError> {
    // Some trackers end with a line feed.
    let document = scan(body.trim_ascii_end(), &Limits::for_len(MAX_RESPONSE_LEN))?;
    let entries = document.root.as_dictionary().ok_or(BencodeError::UnexpectedByte(0))?;
    let mut response = AnnounceResponse::default();
    let (mut interval, mut peers, mut peers6) = (None, None, None);
    for (key, value) in entries {
        match key {
            b"failure reason" => {
                let reason = value.as_bytes().ok_or(ResponseError::Field("failure reason"))?;
                return Err(ResponseError::Failure(text(reason)));
            }
            b"interval" => interval = Some(value.as_u64().ok_or(ResponseError::Field("interval"))?),
            b"min interval" => response.min_interval_s = value.as_u64().map(saturated),
            b"complete" => response.complete = value.as_u64().map_or(0, saturated),
            b"incomplete" => response.incomplete = value.as_u64().map_or(0, saturated),
            b"downloaded" => response.downloaded = value.as_u64().map(saturated),
            b"peers" => peers = Some(value),
            b"peers6" => peers6 = Some(value),
            b"tracker id" => {
                response.tracker_id =
                    value.as_bytes().filter(|id| id.len() <= MAX_TEXT_LEN).map(<[u8]>::to_vec);
            }
            b"warning message" => response.warning = value.as_bytes().map(text),
            b"external ip" => response.external_ip = value.as_bytes().and_then(packed_ip),
            _ => {}
        }
    }
    response.interval_s = match interval {
        Some(interval) => saturated(interval),
        None if peers.is_some() || peers6.is_some() => DEFAULT_INTERVAL_S,
        None => return Err(ResponseError::Field("interval")),
    };
    response.peers = merge(peers, peers6, max_peers)?;
    Ok(response)
}

/// The peers of both keys, up to the limit.
fn merge(
    peers: Option<Value>,
    peers6: Option<Value>,
    max_peers: usize,
) -> Result<Vec<AnnouncedPeer>, ResponseError> {
    let mut found = Vec::new();
    if let Some(peers) = peers {
        if let Some(list) = peers.as_list() {
            found.extend(list.filter_map(peer).filter(is_peer).take(max_peers));
        } else {
            let list = peers.as_bytes().and_then(compact::read_v4).ok_or(ResponseError::Field("peers"))?;
            found.extend(list.map(bare).filter(is_peer).take(max_peers));
        }
    }
    if let Some(peers6) = peers6 {
        let room = max_peers.saturating_sub(found.len());
        let list = peers6.as_bytes().and_then(compact::read_v6).ok_or(ResponseError::Field("peers6"))?;
        found.extend(list.map(bare).filter(is_peer).take(room));
    }
    Ok(found)
}

fn bare(address: SocketAddr) -> AnnouncedPeer {
    AnnouncedPeer { address, peer_id: None }
}

fn is_peer(peer: &AnnouncedPeer) -> bool {
    peer.address.port() != 0
}

/// A peer in dictionary form; `None` if it is none, or at a host name, which nobody here looks up.
fn peer(entry: Value) -> Option<AnnouncedPeer> {
    let ip: IpAddr = entry.get(b"ip")?.as_str()?.parse().ok()?;
    let port = u16::try_from(entry.get(b"port")?.as_u64()?).ok()?;
    let peer_id = entry.get(b"peer id").and_then(|id| id.as_bytes()?.try_into().ok()).map(PeerId::new);
    Some(AnnouncedPeer { address: SocketAddr::new(ip.to_canonical(), port), peer_id })
}

/// An address in the 4 or 16 bytes of BEP 24.
fn packed_ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|ip| ip.to_canonical())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..MAX_TEXT_LEN).unwrap_or(bytes)).into_owned()
}

fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::encode::{encode_failure, encode_response};
    use super::*;

    fn peers(body: &[u8], max_peers: usize) -> Vec<String> {
        let response = decode_response(body, max_peers).unwrap();
        response.peers.iter().map(|peer| peer.address.to_string()).collect()
    }

    #[test]
    fn a_full_answer() {
        let body =
            b"d8:completei1e10:downloadedi7e11:external ip4:\x0a\0\0\x0110:incompletei2e8:intervali1800e\
            12:min intervali60e5:peers12:\x0a\0\0\x02\x1a\xe1\x0a\0\0\x03\0\0\
            6:peers618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1\
            10:tracker id2:\xff\x0015:warning message5:slow!e\r\n";
        let expected = AnnounceResponse {
            interval_s: 1800,
            min_interval_s: Some(60),
            complete: 1,
            incomplete: 2,
            downloaded: Some(7),
            // The third, at port 0, is dropped.
            peers: ["10.0.0.2:6881", "[2001:db8::1]:6881"].map(|peer| bare(peer.parse().unwrap())).into(),
            tracker_id: Some(vec![0xff, 0]),
            warning: Some("slow!".into()),
            external_ip: Some(IpAddr::from([10, 0, 0, 1])),
        };
        assert_eq!(decode_response(body, 50), Ok(expected));
    }

    #[test]
    fn dictionary_peers() {
        let body = b"d8:intervali9e5:peersl\
            d2:ip8:10.0.0.17:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti1ee\
            d2:ip3:::17:peer id3:abc4:porti2ee\
            d2:ip11:example.com4:porti3ee\
            d2:ip8:10.0.0.14:porti0ee\
            d2:ip8:10.0.0.14:porti65536ee\
            d2:ip8:10.0.0.1e\
            i5e\
            ee";
        let found = decode_response(body, 50).unwrap().peers;
        let ids: Vec<_> = found.iter().map(|peer| peer.peer_id).collect();
        assert_eq!(ids, [Some(PeerId::new([b'a'; 20])), None]);
        assert_eq!(peers(body, 50), ["10.0.0.1:1", "[::1]:2"]);
    }

    #[test]
    fn the_limit_counts_both_families() {
        let mut response = AnnounceResponse { interval_s: 1, ..AnnounceResponse::default() };
        for i in 1..10 {
            response.peers.push(bare(SocketAddr::from(([10, 0, 0, 1], i))));
            response.peers.push(bare(SocketAddr::from(([1; 8], i))));
        }
        for compact in [true, false] {
            let mut body = Vec::new();
            encode_response(&response, compact, false, &mut body);
            for (max_peers, expected) in [(0, 0), (5, 5), (9, 9), (12, 12), (100, 18)] {
                assert_eq!(peers(&body, max_peers).len(), expected);
            }
        }
    }

    #[test]
    fn refusals() {
        let mut body = Vec::new();
        encode_failure("not today", &mut body);
        assert_eq!(decode_response(&body, 1), Err(ResponseError::Failure("not today".into())));
        // A refusal is one whatever else there is, and is shown escaped.
        let error = decode_response(b"d8:completei1e14:failure reason2:\x1b\xffe", 1).unwrap_err();
        assert_eq!(error.to_string(), "the tracker refused: \"\\u{1b}\u{fffd}\"");
        let long = [b"d14:failure reason5000:", &[b'x'; 5000][..], b"e"].concat();
        assert_eq!(decode_response(&long, 1), Err(ResponseError::Failure("x".repeat(MAX_TEXT_LEN))));
    }

    #[test]
    fn answers_that_make_no_sense() {
        let field = |name| Err(ResponseError::Field(name));
        let table: [(&[u8], Result<AnnounceResponse, ResponseError>); 8] = [
            (b"de", field("interval")),
            (b"d8:interval1:xe", field("interval")),
            (b"d8:intervali-1ee", field("interval")),
            (b"d14:failure reasoni1ee", field("failure reason")),
            (b"d8:intervali1e5:peers5:aaaaae", field("peers")),
            (b"d8:intervali1e5:peersi1ee", field("peers")),
            (b"d8:intervali1e6:peers66:aaaaaae", field("peers6")),
            (b"le", Err(BencodeError::UnexpectedByte(0).into())),
        ];
        for (body, expected) in table {
            assert_eq!(decode_response(body, 1), expected, "{}", body.escape_ascii());
        }
        for body in [&b""[..], b"<html>", b"d8:intervali1e", b"d8:intervali1eex"] {
            let error = decode_response(body, 1).unwrap_err();
            assert!(matches!(error, ResponseError::Bencode(_)), "{}", body.escape_ascii());
        }
        let long = [b"d1:x1048576:", &vec![b'x'; 1 << 20][..], b"8:intervali1ee"].concat();
        let error = decode_response(&long, 1).unwrap_err();
        assert_eq!(error, BencodeError::TooLong(MAX_RESPONSE_LEN).into());
    }

    #[test]
    fn what_can_be_understood_is() {
        assert_eq!(decode_response(b"d5:peers0:e", 1).unwrap().interval_s, DEFAULT_INTERVAL_S);
        // Out of order, out of range, of another type, unknown.
        let body =
            b"d8:intervali9999999999e5:peers0:8:completei-1e10:incompletei9999999999e1:xle10:tracker idi1ee";
        let response = decode_response(body, 1).unwrap();
        assert_eq!((response.interval_s, response.complete, response.incomplete), (u32::MAX, 0, u32::MAX));
        assert_eq!(response.tracker_id, None);
    }

    fn response() -> impl Strategy<Value = AnnounceResponse> {
        let peer = (any::<IpAddr>(), 1..=u16::MAX, any::<Option<[u8; 20]>>()).prop_map(|(ip, port, id)| {
            AnnouncedPeer { address: SocketAddr::new(ip.to_canonical(), port), peer_id: id.map(PeerId::new) }
        });
        let numbers = (any::<[u32; 3]>(), any::<[Option<u32>; 2]>());
        let texts = (any::<Option<Vec<u8>>>(), any::<Option<String>>(), any::<Option<IpAddr>>());
        (numbers, vec(peer, 0..20), texts).prop_map(|(numbers, peers, (tracker_id, warning, ip))| {
            let ([interval_s, complete, incomplete], [min_interval_s, downloaded]) = numbers;
            let external_ip = ip.map(|ip| ip.to_canonical());
            AnnounceResponse {
                interval_s,
                min_interval_s,
                complete,
                incomplete,
                downloaded,
                peers,
                tracker_id,
                warning,
                external_ip,
            }
        })
    }

    proptest! {
        #[test]
        fn what_a_tracker_of_ours_says_is_read_back(response in response(), compact: bool, no_peer_id: bool) {
            let mut body = Vec::new();
            encode_response(&response, compact, no_peer_id, &mut body);
            let mut expected = response;
            if compact {
                expected.peers.sort_by_key(|peer| peer.address.is_ipv6());
            }
            if compact || no_peer_id {
                expected.peers.iter_mut().for_each(|peer| peer.peer_id = None);
            }
            prop_assert_eq!(decode_response(&body, 100), Ok(expected));
        }

        #[test]
        fn changed_answers_are_harmless(response in response(), compact: bool, at: prop::sample::Index, byte: u8) {
            let mut body = Vec::new();
            encode_response(&response, compact, false, &mut body);
            *at.get_mut(&mut body) = byte;
            let kept = decode_response(&body, 3).map_or(0, |response| response.peers.len());
            prop_assert!(kept <= 3);
        }

        #[test]
        fn random_bytes_are_harmless(body in vec(any::<u8>(), 0..300)) {
            let _ = decode_response(&body, 3);
        }
    }
}
