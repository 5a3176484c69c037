//! Packets to the tracker (BEP 15): read, answered, and the answer read.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};

use torrent_common::announce::compact::Family;
use torrent_common::announce::udp::{
    CONNECT_LEN, MAX_ANSWER_LEN, MAX_SCRAPE, TransactionId, UdpAnswer, UdpRequest, decode_answer,
    decode_request, encode_announce, encode_connect, encode_scrape, max_peers,
};
use torrent_common::announce::{AnnounceRequest, Event};
use torrent_common::config::TrackerConfig;
use torrent_common::ids::InfoHash;
use torrent_tracker::fuzzing::Packets;

use super::choice;

thread_local! {
    /// Opened once: the catalogue behind it, which packets never get to, takes a millisecond.
    static PACKETS: RefCell<Option<Packets>> = const { RefCell::new(None) };
}

/// Bits of the first byte: 1 the packet comes over IPv6, 2 it has a good connection id, 4 it comes from this machine,
/// 8 there are more peers than an answer has room for.
pub fn udp_packet(input: &[u8]) {
    let (flags, packet) = choice(input);
    let family = if flags & 1 == 0 { Family::V4 } else { Family::V6 };
    let ip: IpAddr = match (family, flags & 4 != 0) {
        (Family::V4, false) => [192, 0, 2, 1].into(),
        (Family::V4, true) => [127, 0, 0, 1].into(),
        (Family::V6, false) => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
        (Family::V6, true) => [0, 0, 0, 0, 0, 0, 0, 1].into(),
    };
    if let Ok(request) = decode_request(packet) {
        reads_as_written(&request);
    }
    PACKETS.with_borrow_mut(|packets| {
        let packets = packets.get_or_insert_with(|| Packets::new(&config()).unwrap());
        let others = if flags & 8 == 0 { 3 } else { 255 };
        is_answered(packets, packet, SocketAddr::new(ip, 1024), flags & 2 != 0, others);
    });
}

fn config() -> TrackerConfig {
    TrackerConfig { max_numwant: 2000, max_scrape: 1000, ..TrackerConfig::default() }
}

fn is_answered(packets: &mut Packets, packet: &[u8], from: SocketAddr, has_id: bool, others: u8) {
    let family = Family::of(from.ip());
    let mut session = packets.session(&config());
    let mut packet = packet.to_vec();
    let unverified = session.answer(&packet, from);
    assert!(unverified.len() <= packet.len(), "{} bytes for {}", unverified.len(), packet.len());
    let request = decode_request(&packet);
    let is_connect = matches!(request, Ok(UdpRequest::Connect { .. }));
    assert_eq!(!unverified.is_empty(), is_connect, "an id, or silence");
    if is_connect {
        assert_eq!(unverified.len(), CONNECT_LEN);
    }
    if !has_id || is_connect {
        return;
    }
    let id = session.id(from.ip());
    if let Some(start) = packet.get_mut(..8) {
        start.copy_from_slice(&id.0);
    }
    // With the id in its place an announce of a connect's action is none.
    let Ok(request) = decode_request(&packet) else {
        return assert!(session.answer(&packet, from).is_empty());
    };
    if let UdpRequest::Announce { request, .. } = &request {
        for n in 0..others {
            let other = AnnounceRequest { port: 7000 + u16::from(n), event: Event::None, ..request.clone() };
            let other = AnnounceRequest { left: (n % 2).into(), numwant: Some(0), ip: None, ..other };
            let mut announce = Vec::new();
            encode_announce(id, TransactionId([n; 4]), &other, "", &mut announce);
            assert!(!session.answer(&announce, from).is_empty());
        }
    }
    let answer = session.answer(&packet, from);
    assert!(!answer.is_empty() && answer.len() <= MAX_ANSWER_LEN, "{}", answer.len());
    let (transaction, read) = decode_answer(&answer, family, usize::MAX).unwrap();
    match (request, read) {
        (UdpRequest::Announce { transaction: asked, request, .. }, UdpAnswer::Announced(told)) => {
            assert_eq!(transaction, asked);
            assert!(told.peers.len() <= max_peers(family).min(request.numwant.map_or(2000, |n| n as usize)));
            assert!(told.peers.iter().all(|peer| Family::of(peer.address.ip()) == family));
        }
        (UdpRequest::Announce { transaction: asked, request, .. }, UdpAnswer::Refused(_)) => {
            assert_eq!((transaction, request.port), (asked, 0), "nothing else is refused");
        }
        (UdpRequest::Scrape { transaction: asked, info_hashes, .. }, UdpAnswer::Scraped(told)) => {
            assert_eq!((transaction, told.len()), (asked, info_hashes.len()));
        }
        (request, answer) => panic!("{request:?} is answered with {answer:?}"),
    }
    assert!(session.answer(&answer, from).is_empty(), "an answer is no request");
}

/// What our own client would send of the same means the same.
fn reads_as_written(request: &UdpRequest<'_>) {
    let mut packet = Vec::new();
    match request {
        UdpRequest::Connect { transaction } => {
            encode_connect(*transaction, &mut packet);
            assert_eq!(decode_request(&packet).as_ref(), Ok(request));
        }
        UdpRequest::Announce { id, transaction, request, url_data } => {
            let parts: Vec<u8> = url_data.flatten().copied().collect();
            let url = std::str::from_utf8(&parts).unwrap_or_default();
            encode_announce(*id, *transaction, request, url, &mut packet);
            let Ok(UdpRequest::Announce { request: again, url_data, .. }) = decode_request(&packet) else {
                panic!("{}", packet.escape_ascii());
            };
            assert_eq!(again, *request);
            let again: Vec<u8> = url_data.flatten().copied().collect();
            assert_eq!(again, url.as_bytes().get(..1020).unwrap_or(url.as_bytes()));
        }
        UdpRequest::Scrape { id, transaction, info_hashes } => {
            assert!((1..=MAX_SCRAPE).contains(&info_hashes.len()));
            let hashes: Vec<InfoHash> = info_hashes.iter().map(|hash| InfoHash::new(*hash)).collect();
            encode_scrape(*id, *transaction, &hashes, &mut packet);
            assert_eq!(decode_request(&packet).as_ref(), Ok(request));
        }
    }
}
