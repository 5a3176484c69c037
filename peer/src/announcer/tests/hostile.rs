//! Trackers that mean no good: each costs bounded time and memory, is told of in words that are safe to print, and the next
//! tracker is asked.

use super::*;
use crate::http::testing::gzip_of_zeros;

/// What a tracker says, by its answer's bytes.
fn said(body: impl Into<Vec<u8>>) -> Reply {
    Reply::Body(200, body.into())
}

/// Announces to a tracker that answers so, then to a good one; gives what the first is said to have done.
fn attacked(reply: Reply, timeout: Duration) -> String {
    let (bad, _asked) = tracker(reply);
    let (announcer, told) = start(timeout, 1);
    announcer.add(target(1, &[bad.url("/announce")]), false);
    let reason = failure(&told);
    assert!(reason.chars().count() <= 200, "{reason}");
    assert!(!reason.chars().any(char::is_control), "{reason:?}");
    assert_eq!(announcer.message(hash(1)).as_ref(), Some(&reason));
    let (good, asked) = tracker(answer(1800));
    announcer.add(target(2, &[bad.url("/announce"), good.url("/announce")]), false);
    asked.recv_timeout(AGES).unwrap();
    while !matches!(told.recv_timeout(AGES).unwrap(), Answer::Peers { info_hash, .. } if info_hash == hash(2))
    {
    }
    reason
}

#[test]
fn a_page_of_escapes_is_shown_in_part_and_escaped() {
    let ugly = "\x1b]0;owned\x07\x1b[2J\u{202e}\r\n".repeat(50_000);
    let mut body = Vec::new();
    encode_failure(&ugly, &mut body);
    assert!(body.len() > 900_000 && body.len() < 1 << 20, "{}", body.len());
    let reason = attacked(said(body), AGES);
    assert!(reason.contains(": refused: \\u{1b}]0;owned\\u{7}"), "{reason}");
    let mut body = Vec::new();
    encode_failure(&ugly.repeat(2), &mut body);
    assert!(attacked(said(body), AGES).contains(": the answer is longer than 1048576 bytes"));
}

#[test]
fn what_expands_is_cut_at_the_limit() {
    let mut bomb = gzip_of_zeros(4 << 20);
    assert!(bomb.len() < 30_000, "{}", bomb.len());
    // Its checksum is wrong, which is not found out: it is not unpacked to its end.
    bomb.iter_mut().rev().take(8).for_each(|byte| *byte ^= 0xff);
    let head = format!("HTTP/1.1 200 x\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len());
    let reason = attacked(Reply::Raw([head.as_bytes(), &bomb].concat()), AGES);
    assert!(reason.contains(": the answer is longer than 1048576 bytes"), "{reason}");
}

#[test]
fn nobody_is_led_astray() {
    for (to, words) in [
        ("/announce", ": too many redirects"),
        // The address of a file is a path of the same tracker like any other, and not one of an announce.
        ("file:///etc/passwd", ": refused: the address of a tracker on this machine must end in /announce"),
        ("http://127.0.0.1:1/admin", ": refused: the address of a tracker on this machine"),
        ("http://[::1]:1/admin?/announce", ": refused: the address of a tracker on this machine"),
        ("ftp://127.0.0.1/announce", ": not a valid http or https address"),
        ("gopher://x/announce", ": not a valid http or https address"),
        ("javascript:alert(1)", ": refused: the address of a tracker on this machine"),
        ("http://", ": refused: the address of a tracker on this machine"),
    ] {
        let reason = attacked(Reply::Redirect(to.into()), AGES);
        assert!(reason.contains(words), "{to}: {reason}");
    }
}

#[test]
fn statuses_and_pages_are_told_in_words() {
    for status in [201, 304, 400, 403, 404, 410, 429, 451, 500, 502, 503, 599] {
        let reason = attacked(Reply::Body(status, b"<h1>\x1b[31mno</h1>".to_vec()), AGES);
        assert!(reason.contains(&format!(": answered with HTTP status {status}")), "{reason}");
    }
}

#[test]
fn silence_dripping_and_floods_end_in_time() {
    let head = b"HTTP/1.1 200 x\r\nContent-Length: 1000\r\n\r\n".to_vec();
    for reply in [Reply::Silence, Reply::Drip(head.clone()), Reply::Drip(b"HTTP/1.1 200 x\r\nA: ".to_vec())] {
        assert!(attacked_until(reply).ends_with(": no answer in time"));
    }
    let endless = Reply::Endless(b"HTTP/1.1 200 x\r\n\r\nd8:interval".to_vec(), vec![b'1'; 65_536]);
    assert!(attacked(endless, AGES).contains(": the answer is longer than"));
    let endless = Reply::Endless(b"HTTP/1.1 200 x\r\n".to_vec(), b"a: b\r\n".repeat(1000));
    assert!(!attacked(endless, AGES).is_empty());
}

/// Only the bad tracker: with so little time an honest one might be late as well.
fn attacked_until(reply: Reply) -> String {
    let (bad, _asked) = tracker(reply);
    let (announcer, told) = start(SOON, 1);
    announcer.add(target(1, &[bad.url("/announce")]), false);
    failure(&told)
}

fn peers_of(announced: &[&str], count: usize) -> Vec<String> {
    let peer = |address: &&str| AnnouncedPeer { address: address.parse().unwrap(), peer_id: None };
    let peers: Vec<_> = announced.iter().map(peer).cycle().take(count).collect();
    let response = AnnounceResponse { interval_s: 1800, peers, ..AnnounceResponse::default() };
    let mut body = Vec::new();
    encode_response(&response, true, true, &mut body);
    let (server, _asked) = tracker(said(body));
    let (announcer, told) = start(AGES, 1);
    announcer.add(target(1, &[server.url("/announce")]), false);
    let Answer::Peers { peers, .. } = told.recv_timeout(AGES).unwrap() else { panic!() };
    peers.iter().map(ToString::to_string).collect()
}

#[test]
fn of_fifty_thousand_peers_a_few_are_taken() {
    assert_eq!(peers_of(&["10.0.0.1:7000"], 50_000).len(), 500);
    assert_eq!(peers_of(&["[2001:db8::1]:7000"], 50_000).len(), 500);
}

#[test]
fn addresses_that_are_none_are_dropped() {
    let announced = [
        "10.0.0.1:0",
        "0.0.0.0:7000",
        "0.1.2.3:7000",
        "224.0.0.1:7000",
        "255.255.255.255:7000",
        "[::]:7000",
        "[ff02::1]:7000",
        "[fe80::1]:7000",
        "10.0.0.2:7000",
        "127.0.0.1:7000",
        "[2001:db8::1]:7000",
    ];
    // This tracker is on our machine, so its peers may be.
    let taken = ["10.0.0.2:7000", "127.0.0.1:7000", "[2001:db8::1]:7000"];
    assert_eq!(peers_of(&announced, announced.len()), taken);
}

#[test]
fn a_tracker_elsewhere_names_no_peers_on_this_machine() {
    use crate::http::area::Area;
    let addresses = ["127.0.0.1:22", "127.8.8.8:22", "[::1]:22", "[::ffff:127.0.0.1]:22", "192.168.1.7:22"];
    for (tracker, kept) in [(Area::Here, 5), (Area::Private, 1), (Area::World, 1)] {
        let peer = |address: &str| AnnouncedPeer { address: address.parse().unwrap(), peer_id: None };
        let mut peers = addresses.map(peer).to_vec();
        exchange::keep_believable(&mut peers, tracker);
        assert_eq!(peers.len(), kept, "{tracker:?}");
    }
}
