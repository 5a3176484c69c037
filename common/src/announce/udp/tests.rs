//! The packets of BEP 15 field by field, and both sides against each other.

use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{AnnounceRequest, AnnounceResponse, AnnouncedPeer, Event, ScrapeEntry};
use super::*;
use crate::ids::{InfoHash, PeerId};

const TRANSACTION: TransactionId = TransactionId(*b"trid");
const ID: ConnectionId = ConnectionId(*b"\x01\x02\x03\x04\x05\x06\x07\x08");

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

fn request() -> AnnounceRequest {
    AnnounceRequest {
        info_hash: InfoHash::new([b'h'; 20]),
        peer_id: PeerId::new([b'p'; 20]),
        port: 6881,
        uploaded: 3,
        downloaded: 1,
        left: 2,
        event: Event::Started,
        numwant: Some(50),
        ip: Some([10, 0, 0, 1].into()),
        key: Some(0xdead_beef),
        compact: true,
        no_peer_id: true,
        tracker_id: None,
    }
}

#[test]
fn a_connect_request_is_as_in_bep_15() {
    let packet = encoded(|out| encode_connect(TRANSACTION, out));
    assert_eq!(packet, b"\x00\x00\x04\x17\x27\x10\x19\x80\0\0\0\0trid");
    assert_eq!(decode_request(&packet), Ok(UdpRequest::Connect { transaction: TRANSACTION }));
    let packet = encoded(|out| encode_connected(TRANSACTION, ID, out));
    assert_eq!(packet, b"\0\0\0\0trid\x01\x02\x03\x04\x05\x06\x07\x08");
    assert_eq!(packet.len(), CONNECT_LEN);
    assert_eq!(decode_answer(&packet, Family::V4, 0), Ok((TRANSACTION, UdpAnswer::Connected(ID))));
}

#[test]
fn an_announce_is_as_in_bep_15() {
    let mut expected = Vec::new();
    for field in [
        &b"\x01\x02\x03\x04\x05\x06\x07\x08"[..], // connection id
        b"\0\0\0\x01",                            // action
        b"trid",                                  // transaction
        b"hhhhhhhhhhhhhhhhhhhh",                  // info-hash
        b"pppppppppppppppppppp",                  // peer id
        b"\0\0\0\0\0\0\0\x01",                    // downloaded
        b"\0\0\0\0\0\0\0\x02",                    // left
        b"\0\0\0\0\0\0\0\x03",                    // uploaded
        b"\0\0\0\x02",                            // event: started
        b"\x0a\0\0\x01",                          // ip
        b"\xde\xad\xbe\xef",                      // key
        b"\0\0\0\x32",                            // num_want
        b"\x1a\xe1",                              // port
    ] {
        expected.extend_from_slice(field);
    }
    assert_eq!(expected.len(), ANNOUNCE_LEN);
    assert_eq!(encoded(|out| encode_announce(ID, TRANSACTION, &request(), "", out)), expected);
    let read = decode_request(&expected).unwrap();
    let url_data = UrlData::default();
    assert_eq!(read, UdpRequest::Announce { id: ID, transaction: TRANSACTION, request: request(), url_data });
}

#[test]
fn what_is_not_said_is_read_so() {
    let said = AnnounceRequest { numwant: None, ip: None, left: u64::MAX, ..request() };
    let mut packet = encoded(|out| encode_announce(ID, TRANSACTION, &said, "", out));
    assert_eq!(packet[92..96], [0xff; 4], "-1");
    let UdpRequest::Announce { request, .. } = decode_request(&packet).unwrap() else { panic!() };
    assert_eq!(request, said);
    for (event, expected) in [
        (0, Event::None),
        (1, Event::Completed),
        (2, Event::Started),
        (3, Event::Stopped),
        (4, Event::Paused),
        (5, Event::None),
    ] {
        packet[83] = event;
        let UdpRequest::Announce { request, .. } = decode_request(&packet).unwrap() else { panic!() };
        assert_eq!(request.event, expected);
    }
    packet[64] = 0x80;
    let UdpRequest::Announce { request, .. } = decode_request(&packet).unwrap() else { panic!() };
    assert_eq!(request.left, u64::MAX, "negative");
}

#[test]
fn urls_are_sent_in_parts() {
    for url in ["", "/announce?passkey=x", &"x".repeat(300), &"y".repeat(1020)] {
        let packet = encoded(|out| encode_announce(ID, TRANSACTION, &request(), url, out));
        let UdpRequest::Announce { url_data, .. } = decode_request(&packet).unwrap() else { panic!() };
        assert_eq!(url_data.collect::<Vec<_>>().concat(), url.as_bytes());
    }
    let long = encoded(|out| encode_announce(ID, TRANSACTION, &request(), &"z".repeat(5000), out));
    assert!(long.len() <= MAX_ANSWER_LEN, "{}", long.len());
}

#[test]
fn options_of_bep_41() {
    let mut packet = encoded(|out| encode_announce(ID, TRANSACTION, &request(), "", out));
    for (options, expected) in [
        (&b""[..], &[][..]),
        (b"\x00\x02\x01x", &[]),
        (b"\x01\x01\x02\x02ab\x01\x02\x01c\x00\x02\x01d", &[&b"ab"[..], b"c"]),
        (b"\x02\x00\x02\x01x", &[b"", b"x"]),
        // One that is not known is skipped.
        (b"\x07\x03abc\x02\x01x", &[b"x"]),
        // Those that are cut off.
        (b"\x02", &[]),
        (b"\x02\x05abcd", &[]),
        (b"\x02\x01x\x07\xff", &[b"x"]),
    ] {
        packet.truncate(ANNOUNCE_LEN);
        packet.extend_from_slice(options);
        let UdpRequest::Announce { url_data, .. } = decode_request(&packet).unwrap() else { panic!() };
        assert_eq!(url_data.collect::<Vec<_>>(), expected, "{}", options.escape_ascii());
    }
}

#[test]
fn a_scrape_is_as_in_bep_15() {
    let hashes: Vec<_> = (0..100).map(|n| InfoHash::new([n; 20])).collect();
    let packet = encoded(|out| encode_scrape(ID, TRANSACTION, &hashes[..2], out));
    assert_eq!(packet[..16], *b"\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\x02trid");
    assert_eq!((packet.len(), packet[16], packet[55]), (56, 0, 1));
    let info_hashes = &[[0; 20], [1; 20]][..];
    let expected = UdpRequest::Scrape { id: ID, transaction: TRANSACTION, info_hashes };
    assert_eq!(decode_request(&packet), Ok(expected.clone()));
    assert_eq!(decode_request(&[&packet[..], b"rest"].concat()), Ok(expected));
    let most = encoded(|out| encode_scrape(ID, TRANSACTION, &hashes, out));
    assert_eq!(most.len(), 16 + 74 * 20);
    let longer = [&most[..], &[9; 60]].concat();
    let UdpRequest::Scrape { info_hashes, .. } = decode_request(&longer).unwrap() else { panic!() };
    assert_eq!(info_hashes.len(), MAX_SCRAPE);

    let entry = ScrapeEntry { complete: 1, downloaded: 2, incomplete: 3 };
    let packet = encoded(|out| encode_scraped(TRANSACTION, [entry], out));
    assert_eq!(packet, b"\0\0\0\x02trid\0\0\0\x01\0\0\0\x02\0\0\0\x03");
    let read = decode_answer(&[&packet[..], b"\0\0\0\0rest"].concat(), Family::V4, 0);
    assert_eq!(read, Ok((TRANSACTION, UdpAnswer::Scraped(vec![entry]))));
}

#[test]
fn answers_are_as_in_bep_15() {
    let peer = |address: &str| AnnouncedPeer { address: address.parse().unwrap(), peer_id: None };
    let peers = vec![peer("10.0.0.1:6881"), peer("[2001:db8::1]:51413"), peer("10.0.0.2:0")];
    let all = AnnounceResponse { interval_s: 120, complete: 3, incomplete: 4, peers, ..Default::default() };
    let head = b"\0\0\0\x01trid\0\0\0\x78\0\0\0\x04\0\0\0\x03";
    let v4 = encoded(|out| encode_announced(TRANSACTION, &all, Family::V4, out));
    assert_eq!(v4, [&head[..], b"\x0a\0\0\x01\x1a\xe1", b"\x0a\0\0\x02\0\0"].concat());
    let v6 = encoded(|out| encode_announced(TRANSACTION, &all, Family::V6, out));
    assert_eq!(v6, [&head[..], b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\xc8\xd5"].concat());
    for (packet, family, expected) in [(v4, Family::V4, 0), (v6, Family::V6, 1)] {
        let one = AnnounceResponse { peers: vec![all.peers[expected]], ..all.clone() };
        for rest in [&b""[..], b"abc"] {
            let read = decode_answer(&[&packet[..], rest].concat(), family, 5);
            assert_eq!(read, Ok((TRANSACTION, UdpAnswer::Announced(one.clone()))));
        }
    }
    let packet = encoded(|out| encode_error(TRANSACTION, "no", out));
    assert_eq!(packet, b"\0\0\0\x03tridno");
    assert_eq!(decode_answer(&packet, Family::V4, 0), Ok((TRANSACTION, UdpAnswer::Refused("no".into()))));
    let long = encoded(|out| encode_error(TRANSACTION, &"x".repeat(5000), out));
    let Ok((_, UdpAnswer::Refused(text))) = decode_answer(&long, Family::V4, 0) else { panic!() };
    assert_eq!(text.len(), 1024);
}

#[test]
fn packets_that_make_no_sense() {
    let announce = encoded(|out| encode_announce(ID, TRANSACTION, &request(), "", out));
    let scrape = encoded(|out| encode_scrape(ID, TRANSACTION, &[InfoHash::new([1; 20])], out));
    let connect = encoded(|out| encode_connect(TRANSACTION, out));
    for whole in [announce, scrape, connect] {
        for len in 0..whole.len() {
            assert_eq!(decode_request(&whole[..len]), Err(UdpError::TooShort), "{len}");
        }
    }
    assert_eq!(decode_request(&[0; 98]), Err(UdpError::Action(0)), "not the protocol's id");
    assert_eq!(decode_request(&[9; 98]), Err(UdpError::Action(0x0909_0909)));
    for (packet, len) in [(encoded(|out| encode_connected(TRANSACTION, ID, out)), 16), (vec![0, 0, 0, 1], 20)]
    {
        let mut packet = packet;
        packet.resize(len, 0);
        for len in 0..len {
            assert_eq!(decode_answer(&packet[..len], Family::V4, 1), Err(UdpError::TooShort), "{len}");
        }
    }
    assert_eq!(decode_answer(&[9; 98], Family::V4, 1), Err(UdpError::Action(0x0909_0909)));
}

#[test]
fn the_longest_answers_go_in_one_piece() {
    for (family, peers, address) in [(Family::V4, 202, "10.0.0.1:1"), (Family::V6, 67, "[2001:db8::1]:1")] {
        assert_eq!(max_peers(family), peers);
        let address: SocketAddr = address.parse().unwrap();
        assert_eq!(Family::of(address.ip()), family);
        let peers = vec![AnnouncedPeer { address, peer_id: None }; max_peers(family)];
        let response = AnnounceResponse { peers, ..Default::default() };
        let packet = encoded(|out| encode_announced(TRANSACTION, &response, family, out));
        assert!(packet.len() <= MAX_ANSWER_LEN && packet.len() + family.peer_len() > MAX_ANSWER_LEN);
    }
    assert_eq!(Family::of("::ffff:10.0.0.1".parse().unwrap()), Family::V4);
    let entries = [ScrapeEntry::default(); MAX_SCRAPE];
    assert!(encoded(|out| encode_scraped(TRANSACTION, entries, out)).len() <= MAX_ANSWER_LEN);
}

fn any_request() -> impl Strategy<Value = AnnounceRequest> {
    let event = prop::sample::select(vec![
        Event::None,
        Event::Started,
        Event::Completed,
        Event::Stopped,
        Event::Paused,
    ]);
    let left = prop_oneof![0..=i64::MAX.cast_unsigned(), Just(u64::MAX)];
    let ip = any::<Option<[u8; 4]>>().prop_map(|ip| ip.filter(|ip| *ip != [0; 4]).map(IpAddr::from));
    let numwant = prop::option::of(0..=i32::MAX.cast_unsigned());
    let ids = any::<([u8; 20], [u8; 20])>();
    (ids, any::<(u16, u64, u64, u32)>(), left, event, numwant, ip).prop_map(
        |((hash, peer), (port, uploaded, downloaded, key), left, event, numwant, ip)| AnnounceRequest {
            info_hash: InfoHash::new(hash),
            peer_id: PeerId::new(peer),
            port,
            uploaded,
            downloaded,
            left,
            event,
            numwant,
            ip,
            key: Some(key),
            ..request()
        },
    )
}

proptest! {
    #[test]
    fn announces_are_read_as_they_were_written(request in any_request(), id: [u8; 8], url in "[a-z/?=]{0,600}") {
        let id = ConnectionId(id);
        let packet = encoded(|out| encode_announce(id, TRANSACTION, &request, &url, out));
        let read = decode_request(&packet).unwrap();
        let UdpRequest::Announce { id: read_id, transaction, request: read, url_data } = read else { panic!() };
        prop_assert_eq!((read_id, transaction, read), (id, TRANSACTION, request));
        prop_assert_eq!(url_data.collect::<Vec<_>>().concat(), url.as_bytes());
    }

    #[test]
    fn answers_are_read_as_they_were_written(
        numbers: [u32; 3],
        peers in vec((any::<[u8; 4]>(), 1..=u16::MAX), 0..60),
    ) {
        let peers: Vec<_> = peers.into_iter()
            .map(|(ip, port)| AnnouncedPeer { address: (ip, port).into(), peer_id: None })
            .collect();
        let [interval_s, complete, incomplete] = numbers;
        let response = AnnounceResponse { interval_s, complete, incomplete, peers, ..Default::default() };
        let packet = encoded(|out| encode_announced(TRANSACTION, &response, Family::V4, out));
        let read = decode_answer(&packet, Family::V4, 100);
        prop_assert_eq!(read, Ok((TRANSACTION, UdpAnswer::Announced(response))));
    }

    #[test]
    fn any_packet_is_harmless(mut packet in vec(any::<u8>(), 0..300), action in 0_u8..5, v6: bool) {
        if let Ok(UdpRequest::Announce { url_data, .. }) = decode_request(&packet) {
            prop_assert!(url_data.map(<[u8]>::len).sum::<usize>() <= packet.len());
        }
        let family = if v6 { Family::V6 } else { Family::V4 };
        for at in [8, 0] {
            if let Some(bytes) = packet.get_mut(at..at + 4) {
                bytes.copy_from_slice(&[0, 0, 0, action]);
            }
            if let Ok(UdpRequest::Announce { url_data, .. }) = decode_request(&packet) {
                prop_assert!(url_data.map(<[u8]>::len).sum::<usize>() <= packet.len());
            }
            if let Ok((_, UdpAnswer::Announced(response))) = decode_answer(&packet, family, 3) {
                prop_assert!(response.peers.len() <= 3);
            }
        }
    }
}
