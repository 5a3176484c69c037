//! Announces over HTTP (BEP 3, BEP 7, BEP 23) and UDP (BEP 15): reading what a peer asks and writing what it is answered, and the same
//! from the peer's side. `cargo bench -p torrent-common --bench announce`
#![allow(clippy::unwrap_used, reason = "a benchmark's inputs are its own")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use torrent_common::announce::compact::Family;
use torrent_common::announce::http::{
    announce_query, decode_response, encode_response, encode_scrape, parse_announce_query,
};
use torrent_common::announce::udp::{
    ConnectionId, TransactionId, decode_answer, decode_request, encode_announce, encode_announced,
};
use torrent_common::announce::{
    AnnounceRequest, AnnounceResponse, AnnouncedPeer, Event, ScrapeEntry, ScrapedTorrent,
};
use torrent_common::ids::{InfoHash, PeerId};

/// Peers in an answer: what clients ask for, and the most that a tracker gives.
const PEERS: [u16; 2] = [50, 200];

fn main() {
    divan::main();
}

fn request() -> AnnounceRequest {
    AnnounceRequest {
        info_hash: InfoHash::of(b"a torrent"),
        peer_id: PeerId::new(*b"-TF0100-0123456789ab"),
        port: 6881,
        uploaded: 1 << 40,
        downloaded: 1 << 30,
        left: 123_456_789,
        event: Event::Started,
        numwant: Some(50),
        ip: None,
        key: Some(0xdead_beef),
        compact: true,
        no_peer_id: true,
        tracker_id: None,
    }
}

/// An answer in which every eighth peer has an IPv6 address.
fn response(peers: u16) -> AnnounceResponse {
    let peer = |number: u16| {
        let ip = match number % 8 {
            0 => IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number)),
            _ => IpAddr::from(Ipv4Addr::from(0x0a00_0000 + u32::from(number))),
        };
        AnnouncedPeer { address: SocketAddr::new(ip, 6881), peer_id: None }
    };
    AnnounceResponse {
        interval_s: 120,
        min_interval_s: Some(30),
        complete: 3,
        incomplete: 997,
        peers: (0..peers).map(peer).collect(),
        ..AnnounceResponse::default()
    }
}

#[divan::bench]
fn read_query(bencher: Bencher<'_, '_>) {
    let query = announce_query(&request());
    bencher.counter(ItemsCount::new(1_u32)).bench(|| parse_announce_query(black_box(&query)));
}

#[divan::bench]
fn write_query(bencher: Bencher<'_, '_>) {
    let request = request();
    bencher.counter(ItemsCount::new(1_u32)).bench(|| announce_query(black_box(&request)));
}

#[divan::bench(args = PEERS)]
fn write_answer(bencher: Bencher<'_, '_>, peers: u16) {
    let (response, mut out) = (response(peers), Vec::new());
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        out.clear();
        encode_response(black_box(&response), true, true, &mut out);
        out.len()
    });
}

#[divan::bench(args = PEERS)]
fn read_answer(bencher: Bencher<'_, '_>, peers: u16) {
    let mut body = Vec::new();
    encode_response(&response(peers), true, true, &mut body);
    assert_eq!(decode_response(&body, 200).unwrap().peers.len(), usize::from(peers));
    bencher.counter(ItemsCount::new(1_u32)).bench(|| decode_response(black_box(&body), 200));
}

#[divan::bench]
fn read_packet(bencher: Bencher<'_, '_>) {
    let mut packet = Vec::new();
    encode_announce(ConnectionId([1; 8]), TransactionId([2; 4]), &request(), "", &mut packet);
    bencher.counter(ItemsCount::new(1_u32)).bench(|| decode_request(black_box(&packet)).is_ok());
}

#[divan::bench(args = PEERS)]
fn write_packet(bencher: Bencher<'_, '_>, peers: u16) {
    let (response, mut out) = (response(peers), Vec::new());
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        out.clear();
        encode_announced(TransactionId([2; 4]), black_box(&response), Family::V4, &mut out);
        out.len()
    });
}

#[divan::bench(args = PEERS)]
fn read_answer_packet(bencher: Bencher<'_, '_>, peers: u16) {
    let mut packet = Vec::new();
    encode_announced(TransactionId([2; 4]), &response(peers), Family::V4, &mut packet);
    bencher
        .counter(ItemsCount::new(1_u32))
        .bench(|| decode_answer(black_box(&packet), Family::V4, 200).is_ok());
}

/// A scrape of as many torrents as are answered at once (BEP 48).
#[divan::bench]
fn write_scrape(bencher: Bencher<'_, '_>) {
    let counts = ScrapeEntry { complete: 12, downloaded: 3456, incomplete: 78 };
    let entry = |number| ScrapedTorrent { info_hash: InfoHash::of(&[number]), counts, downloaders: 76 };
    let entries: Vec<_> = (0..64_u8).map(entry).collect();
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(entries.len())).bench_local(|| {
        out.clear();
        encode_scrape(black_box(&entries), &mut out);
        out.len()
    });
}
