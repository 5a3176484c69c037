//! What strangers send: bad ids, nonsense, floods, and packets with somebody else's address on them.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use torrent_common::announce::udp::{CONNECT_LEN, PROTOCOL_ID};
use torrent_common::worker::{Shutdown, Worker};

use super::super::clerk::Clerk;
use super::super::ids::ConnectionIds;
use super::*;
use crate::announce::Desk;
use crate::catalogue::Catalogue;
use crate::shared::Shared;

const VICTIM: &str = "192.0.2.1:53";

/// A clerk with a swarm that has much to tell, and the folder it needs.
fn clerk() -> (Clerk, ConnectionIds, TempDir) {
    let (mut config, folder) = configured();
    config.max_scrape = 74;
    let mut random = fastrand::Rng::with_seed(1);
    let catalogue =
        Catalogue::open(&config.torrent_file, &config.torrent_dir, 1 << 20, 0, Arc::default()).unwrap();
    let desk = Desk::new(&config, &mut random);
    for n in 0..250 {
        desk.announce(&request(1000), [10, 0, 0, n].into(), 0, &mut random).unwrap();
    }
    let shared = Shared::new(&config, desk, catalogue, Arc::default(), None);
    let ids = ConnectionIds::new().unwrap();
    (Clerk::new(Arc::new(shared), Arc::new(ids.clone())), ids, folder)
}

/// An announce of another's address would be one of 98 bytes with an answer of 320.
#[test]
fn nobody_gets_more_than_it_sent_without_an_id() {
    let (mut clerk, ids, _folder) = clerk();
    let victim: SocketAddr = VICTIM.parse().unwrap();
    let ip = victim.ip();
    let others_id = ids.give("192.0.2.2".parse().unwrap(), 0).0;
    let old_id = ids.give(ip, 1_000_000).0;
    let starts = [[0; 8], [0xff; 8], PROTOCOL_ID.to_be_bytes(), others_id, old_id];
    let mut answered = 0;
    for start in starts {
        for action in [0_u32, 1, 2, 3, 4, 0x0100_0000, u32::MAX] {
            for fill in [0, 1, 0xff] {
                for len in (0..=400).chain([1000, 1232, 1496, 1536]) {
                    let mut packet = [&start[..], &action.to_be_bytes()].concat();
                    packet.resize(len, fill);
                    let mut out = Vec::new();
                    clerk.answer(&packet, victim, &mut out);
                    assert!(out.len() <= packet.len(), "{} for {}", out.len(), packet.escape_ascii());
                    answered += usize::from(!out.is_empty());
                    // Only a connect request is answered at all.
                    let is_connect = len >= CONNECT_LEN && start == PROTOCOL_ID.to_be_bytes() && action == 0;
                    assert_eq!(!out.is_empty(), is_connect, "{}", packet.escape_ascii());
                }
            }
        }
    }
    assert!(answered > 100, "connect requests were among them");
    // The same announce with the id that its sender was given, so that the test shows what it is about.
    let mut packet = Vec::new();
    encode_announce(ids.give(ip, 0), TransactionId([0; 4]), &request(1), "", &mut packet);
    let mut out = Vec::new();
    clerk.answer(&packet, victim, &mut out);
    assert!(out.len() == 20 + 50 * 6, "{}", out.len());
    out.clear();
    clerk.answer(&packet, "192.0.2.2:53".parse().unwrap(), &mut out);
    assert!(out.is_empty(), "from another address");
    clerk.answer(&packet, "192.0.2.1:0".parse().unwrap(), &mut out);
    assert!(out.is_empty(), "to a port that is none");
}

/// Two trackers, or one and itself, shall not answer each other's answers.
#[test]
fn an_answer_is_no_request() {
    let (mut clerk, ids, _folder) = clerk();
    let victim: SocketAddr = VICTIM.parse().unwrap();
    for transaction in [[0; 4], [0xff; 4], [0, 0, 4, 0x17], [0x27, 0x10, 0x19, 0x80]] {
        let transaction = TransactionId(transaction);
        let mut requests = [Vec::new(), Vec::new(), Vec::new()];
        let id = ids.give(victim.ip(), 0);
        encode_connect(transaction, &mut requests[0]);
        encode_announce(id, transaction, &request(0), "", &mut requests[1]);
        encode_announce(id, transaction, &request(1), "", &mut requests[2]);
        for packet in requests {
            let (mut first, mut second) = (Vec::new(), Vec::new());
            clerk.answer(&packet, victim, &mut first);
            assert!(!first.is_empty());
            clerk.answer(&first, victim, &mut second);
            assert!(second.is_empty(), "{}", first.escape_ascii());
        }
    }
}

#[test]
fn a_flood_of_bad_ids_beside_an_honest_peer() {
    let fixture = Fixture::with(|config| config.workers = 1);
    let address = fixture.running.address();
    let stopping = Shutdown::new();
    let flood = {
        let (stopping, mut client) = (stopping.clone(), Client::new(address));
        Worker::spawn("flood", move || {
            let (mut random, request) = (fastrand::Rng::new(), request(6666));
            while !stopping.is_set() {
                client.id = ConnectionId(random.u64(..).to_ne_bytes());
                client.send(|id, transaction, out| encode_announce(id, transaction, &request, "", out));
                // What is no request at all.
                let _ = client.socket.send(&[0; 20]);
            }
        })
        .unwrap()
    };
    let mut honest = fixture.client();
    honest.socket.set_read_timeout(Some(SHORT)).unwrap();
    for port in 1..=50 {
        let request = request(port);
        // The system may have dropped the request, or the answer: ask again, as every client does.
        let answer = (0..100).find_map(|_| {
            let asked = honest.send(|id, transaction, out| {
                encode_announce(id, transaction, &request, "", out);
            });
            std::iter::from_fn(|| honest.hear()).find(|(transaction, _)| *transaction == asked)
        });
        let Some((_, UdpAnswer::Announced(response))) = answer else { panic!("{answer:?}") };
        assert_eq!(response.incomplete, u32::from(port), "and nobody else came in");
    }
    // However slow this machine is: it was a flood.
    let enough = (0..10_000).any(|_| fixture.count("udp_dropped") > 1000);
    stopping.set();
    flood.join();
    assert!(enough, "{}", fixture.count("udp_dropped"));
    assert_eq!(fixture.count("peers"), 50);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn any_packets_are_harmless(packets in vec((vec(any::<u8>(), 0..200), 0_u8..4, any::<u16>()), 0..50)) {
        let (mut clerk, ids, _folder) = clerk();
        for (mut packet, action, port) in packets {
            let from: SocketAddr = ([10, 0, 0, 1], port).into();
            let mut out = Vec::new();
            clerk.answer(&packet, from, &mut out);
            prop_assert!(out.len() <= packet.len());
            // Beyond the id: an answer fits in one packet.
            if let Some(head) = packet.first_chunk_mut::<12>() {
                head[..8].copy_from_slice(&ids.give(from.ip(), 0).0);
                head[8..].copy_from_slice(&u32::from(action).to_be_bytes());
            }
            out.clear();
            clerk.answer(&packet, from, &mut out);
            prop_assert!(out.len() <= 1232);
        }
    }
}
