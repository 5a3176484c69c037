mod hostile;

use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender, unbounded};
use torrent_common::announce::{
    AnnounceResponse, AnnouncedPeer, http::encode_failure, http::encode_response,
};

use super::*;
use crate::http::testing::{Reply, Request, Server};

/// Long enough never to matter.
const AGES: Duration = Duration::from_secs(60);
/// Short enough to wait for.
const SOON: Duration = Duration::from_millis(200);

pub(super) fn start(timeout: Duration, threads: usize) -> (Announcer, Receiver<Answer>) {
    let (tell, told) = unbounded();
    let config = AnnouncerConfig {
        peer_id: PeerId::new(*b"-TF0100-abcdefghijkl"),
        key: 0xc0ffee,
        listen_port: 7001,
        min_interval: Duration::from_millis(10),
        timeout,
        threads,
    };
    // Whoever does not listen any more does not want to know.
    let announcer = Announcer::start(config, move |answer| drop(tell.send(answer))).unwrap();
    (announcer, told)
}

pub(super) fn hash(number: u8) -> InfoHash {
    InfoHash::new([number; 20])
}

pub(super) fn target(number: u8, tiers: &[String]) -> AnnounceTarget {
    let tiers = tiers.iter().map(|url| vec![url.clone()]).collect();
    AnnounceTarget { info_hash: hash(number), tiers, transfer: Arc::new(Transfer::new(1000)) }
}

fn answer(interval_s: u32) -> Reply {
    let addresses = ["10.0.0.1:7000", "[2001:db8::1]:7000"];
    let peer = |address: &str| AnnouncedPeer { address: address.parse().unwrap(), peer_id: None };
    let peers = addresses.map(peer).to_vec();
    let response = AnnounceResponse { interval_s, complete: 1, incomplete: 2, peers, ..Default::default() };
    let mut body = Vec::new();
    encode_response(&response, true, true, &mut body);
    Reply::Body(200, body)
}

fn refusal(status: u16, reason: &str) -> Reply {
    let mut body = Vec::new();
    encode_failure(reason, &mut body);
    Reply::Body(status, body)
}

/// A tracker that answers every announce alike, and what it was sent.
fn tracker(reply: Reply) -> (Server, Receiver<Request>) {
    let (tell, told) = unbounded();
    (Server::start(move |request| record(&tell, request, &reply)), told)
}

fn record(tell: &Sender<Request>, request: &Request, reply: &Reply) -> Reply {
    let _ = tell.send(request.clone());
    reply.clone()
}

fn event(request: &Request) -> &str {
    request.query("event").unwrap_or("none")
}

pub(super) fn failure(told: &Receiver<Answer>) -> String {
    match told.recv_timeout(AGES).unwrap() {
        Answer::Failed { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_life() {
    let (server, asked) = tracker(answer(1800));
    let (announcer, told) = start(AGES, 2);
    let target = target(0xab, &[server.url("/announce?passkey=x")]);
    target.transfer.uploaded.store(5, Ordering::Relaxed);
    let transfer = Arc::clone(&target.transfer);
    announcer.add(target, false);

    let request = asked.recv_timeout(AGES).unwrap();
    assert!(request.target.starts_with("/announce?passkey=x&info_hash=%AB%AB"), "{}", request.target);
    for (key, value) in [
        ("peer_id", "-TF0100-abcdefghijkl"),
        ("port", "7001"),
        ("uploaded", "5"),
        ("downloaded", "0"),
        ("left", "1000"),
        ("event", "started"),
        ("numwant", "200"),
        ("compact", "1"),
        ("key", "00C0FFEE"),
    ] {
        assert_eq!(request.query(key), Some(value), "{key}");
    }
    assert_eq!(request.header("connection"), Some("close"), "nothing else is due");
    let Answer::Peers { info_hash, peers, complete: 1, incomplete: 2, interval } =
        told.recv_timeout(AGES).unwrap()
    else {
        panic!()
    };
    assert_eq!((info_hash, peers.len()), (hash(0xab), 2));
    assert!(interval >= Duration::from_secs(1800));
    let message = announcer.message(hash(0xab)).unwrap();
    assert!(message.ends_with(": 1 seeder, 2 leechers, 2 peers received"), "{message}");

    transfer.left.store(0, Ordering::Relaxed);
    announcer.completed(hash(0xab));
    let request = asked.recv_timeout(AGES).unwrap();
    assert_eq!((event(&request), request.query("left")), ("completed", Some("0")));
    told.recv_timeout(AGES).unwrap();

    announcer.remove(hash(0xab));
    let request = asked.recv_timeout(AGES).unwrap();
    assert_eq!((event(&request), request.query("numwant")), ("stopped", Some("0")));
    announcer.stop(AGES);
    assert_eq!(announcer.message(hash(0xab)), None);
    assert!(told.try_recv().is_err(), "nobody wants to know what is said to stopped");
    assert!(asked.try_recv().is_err());
}

#[test]
fn a_partial_seed_says_so_in_every_announce() {
    let (server, asked) = tracker(answer(1));
    let (announcer, _told) = start(AGES, 1);
    let target = target(1, &[server.url("/announce")]);
    target.transfer.lacking.store(0, Ordering::Relaxed);
    let transfer = Arc::clone(&target.transfer);
    announcer.add(target, false);
    for _ in 0..2 {
        let request = asked.recv_timeout(AGES).unwrap();
        assert_eq!((event(&request), request.query("left")), ("paused", Some("1000")));
    }
    // More is wanted.
    transfer.lacking.store(1, Ordering::Relaxed);
    while event(&asked.recv_timeout(AGES).unwrap()) == "paused" {}
    transfer.lacking.store(0, Ordering::Relaxed);
    announcer.remove(hash(1));
    while event(&asked.recv_timeout(AGES).unwrap()) != "stopped" {}
    announcer.stop(AGES);
}

#[test]
fn at_the_interval_again() {
    let (server, asked) = tracker(answer(1));
    let (announcer, _told) = start(AGES, 1);
    announcer.add(target(1, &[server.url("/announce")]), false);
    let events: Vec<String> = (0..3).map(|_| event(&asked.recv_timeout(AGES).unwrap()).to_owned()).collect();
    assert_eq!(events, ["started", "none", "none"]);
}

#[test]
fn failures_are_told_in_words() {
    let head = "HTTP/1.1 200 x\r\n\r\n".as_bytes();
    for (reply, words) in [
        (refusal(200, "go \x1b[2Jaway"), ": refused: go \\u{1b}[2Jaway"),
        (refusal(403, "no"), ": refused: no"),
        (Reply::Body(500, b"oops".to_vec()), ": answered with HTTP status 500"),
        (Reply::Body(200, b"<html>".to_vec()), ": the tracker's answer is not valid"),
        (Reply::Body(200, b"l".repeat(500_000)), ": the tracker's answer is not valid"),
        (Reply::Endless(head.to_vec(), vec![b'1'; 4096]), ": the answer is longer than"),
        (Reply::Redirect("/announce".into()), ": too many redirects"),
    ] {
        let (server, _asked) = tracker(reply);
        let (announcer, told) = start(AGES, 1);
        announcer.add(target(1, &[server.url("/announce")]), false);
        let reason = failure(&told);
        assert!(reason.contains(words), "{reason:?} has no {words:?}");
        assert!(reason.chars().count() <= 200);
        assert_eq!(announcer.message(hash(1)), Some(reason));
    }
    for reply in [Reply::Silence, Reply::Drip(head.to_vec())] {
        let (server, _asked) = tracker(reply);
        let (announcer, told) = start(SOON, 1);
        announcer.add(target(1, &[server.url("/announce")]), false);
        let reason = failure(&told);
        assert!(reason.ends_with(": no answer in time"), "{reason}");
    }
}

#[test]
fn the_next_tier_is_asked_when_one_fails() {
    let (well, asked) = tracker(answer(1800));
    let (broken, broken_asked) = tracker(Reply::Body(502, vec![]));
    let gone = tracker(Reply::Silence).0.url("/announce");
    let urls = ["udp://127.0.0.1:1/announce".into(), gone, broken.url("/announce"), well.url("/announce")];
    let (announcer, told) = start(AGES, 3);
    announcer.add(target(1, &urls), false);
    assert!(matches!(told.recv_timeout(AGES).unwrap(), Answer::Peers { .. }));
    assert_eq!(event(&asked.recv().unwrap()), "started");
    assert_eq!(event(&broken_asked.recv().unwrap()), "started");
    announcer.stop(AGES);
    assert_eq!(event(&asked.recv().unwrap()), "stopped");
    assert!(broken_asked.try_recv().is_err(), "it does not know us");
}

#[test]
fn a_silent_tracker_starves_no_other() {
    let (silent, silent_asked) = tracker(Reply::Silence);
    let (well, _asked) = tracker(answer(1800));
    let (announcer, told) = start(AGES, 2);
    for number in 0..50 {
        announcer.add(target(number, &[silent.url("/announce")]), false);
    }
    silent_asked.recv_timeout(AGES).unwrap();
    for number in 100..110 {
        announcer.add(target(number, &[well.url("/announce")]), false);
    }
    for _ in 0..10 {
        assert!(matches!(told.recv_timeout(AGES).unwrap(), Answer::Peers { .. }));
    }
    announcer.stop(SOON);
}

#[test]
fn what_is_due_later_does_not_wait_for_what_is_in_flight() {
    let (silent, _asked) = tracker(Reply::Silence);
    let (well, _asked) = tracker(answer(1800));
    for _ in 0..20 {
        let (announcer, told) = start(AGES, 2);
        announcer.add(target(1, &[silent.url("/announce")]), true);
        announcer.add(target(2, &[silent.url("/announce")]), true);
        announcer.add(target(3, &[well.url("/announce")]), true);
        assert!(matches!(told.recv_timeout(AGES / 2).unwrap(), Answer::Peers { .. }));
    }
}

#[test]
fn many_torrents_are_announced_and_stopped_each_once() {
    let (server, asked) = tracker(answer(1800));
    let (announcer, told) = start(AGES, 4);
    for number in 0..100 {
        announcer.add(target(number, &[server.url("/announce")]), number % 2 == 0);
    }
    for _ in 0..100 {
        told.recv_timeout(AGES).unwrap();
    }
    announcer.stop(AGES);
    announcer.add(target(200, &[server.url("/announce")]), false);
    let mut seen: Vec<(String, String)> = asked
        .try_iter()
        .map(|request| (event(&request).to_owned(), request.query("info_hash").unwrap().to_owned()))
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 200);
    assert_eq!(seen.iter().filter(|(event, _)| event == "stopped").count(), 100);
}

#[test]
fn stopping_does_not_wait_for_a_tracker_that_says_nothing() {
    let calls = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&calls);
    // Answers the first announce, and never again.
    let server = Server::start(move |_| {
        let mut calls = counter.lock().unwrap();
        *calls += 1;
        if *calls == 1 { answer(1800) } else { Reply::Silence }
    });
    let (announcer, told) = start(AGES, 2);
    announcer.add(target(1, &[server.url("/announce")]), false);
    told.recv_timeout(AGES).unwrap();
    announcer.add(target(2, &[server.url("/announce")]), false);
    let begun = Instant::now();
    announcer.stop(SOON);
    assert!(begun.elapsed() < AGES / 2, "{:?}", begun.elapsed());
    announcer.stop(AGES);
    drop(announcer);
    assert!(told.try_recv().is_err());
}

#[test]
fn dropping_hangs_up() {
    let (server, asked) = tracker(Reply::Silence);
    let (announcer, told) = start(AGES, 2);
    announcer.add(target(1, &[server.url("/announce")]), false);
    asked.recv_timeout(AGES).unwrap();
    let begun = Instant::now();
    drop(announcer);
    assert!(begun.elapsed() < AGES / 2);
    assert!(told.recv().is_err(), "the sink is gone, so every thread is");
}

#[test]
fn a_tracker_that_comes_back_is_found_again() {
    let calls = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&calls);
    let server = Server::start(move |_| {
        let mut calls = counter.lock().unwrap();
        *calls += 1;
        if *calls == 1 { Reply::Raw(vec![]) } else { answer(1800) }
    });
    let (announcer, told) = start(AGES, 1);
    announcer.add(target(1, &[server.url("/announce")]), false);
    failure(&told);
    assert!(matches!(told.recv_timeout(AGES).unwrap(), Answer::Peers { .. }));
}

#[test]
fn more_peers_on_demand() {
    let (server, asked) = tracker({
        let mut body = Vec::new();
        let response =
            AnnounceResponse { interval_s: 1800, min_interval_s: Some(0), ..AnnounceResponse::default() };
        encode_response(&response, true, true, &mut body);
        Reply::Body(200, body)
    });
    let (announcer, told) = start(AGES, 1);
    announcer.add(target(1, &[server.url("/announce")]), false);
    told.recv_timeout(AGES).unwrap();
    announcer.want_peers(hash(1));
    told.recv_timeout(AGES).unwrap();
    assert_eq!(
        asked.try_iter().map(|request| event(&request).to_owned()).collect::<Vec<_>>(),
        ["started", "none"]
    );
    announcer.want_peers(hash(77));
    announcer.completed(hash(77));
    announcer.remove(hash(77));
    assert_eq!(announcer.message(hash(77)), None);
}
