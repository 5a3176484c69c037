//! Requests that two servers in a row could read differently, and names that could end a header.

use super::*;

/// What follows every shape: it must be answered only where nobody can doubt where the shape ends.
const NEXT: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// The status of every answer.
fn statuses(reply: &str) -> Vec<&str> {
    reply.match_indices("HTTP/1.").filter_map(|(at, _)| reply.get(at + 9..at + 12)).collect()
}

#[test]
fn what_can_be_read_in_two_ways_ends_the_connection() {
    let fixture = Fixture::new();
    for (shape, expected) in [
        // Unambiguous, however odd.
        ("GET /scrape HTTP/1.1\r\n\r\n", &["200", "404"][..]),
        ("GET http://elsewhere/scrape HTTP/1.1\r\n\r\n", &["200", "404"]),
        ("get /scrape HTTP/1.1\r\n\r\n", &["405", "404"]),
        ("GET /\0 HTTP/1.1\r\n\r\n", &["404", "404"]),
        ("GET /scrape HTTP/1.1\r\nX: \0\r\n\r\n", &["200", "404"]),
        ("POST /scrape HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", &["405", "404"]),
        ("POST /scrape HTTP/1.1\r\nContent-Length: 003\r\n\r\nabc", &["405", "404"]),
        ("GET /scrape HTTP/1.1\r\nContent-Length: 0\r\n\r\n", &["200", "404"]),
        // No request at all: told, and closed.
        ("GET  /scrape HTTP/1.1\r\n\r\n", &["400"]),
        ("GET /scrape HTTP/1.1\n\n", &["400"]),
        ("GET /scrape HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc", &["400"]),
        ("GET /scrape HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", &["400"]),
        ("GET /scrape HTTP/1.1\r\nX: a\r\n folded\r\n\r\n", &["400"]),
        ("GET /scrape HTTP/1.1\r\nContent-Length 3\r\n\r\n", &["400"]),
        ("\r\nGET /scrape HTTP/1.1\r\n\r\n", &["400"]),
        // Of doubtful length: closed without a word.
        ("POST /scrape HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", &[]),
        ("POST /scrape HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 60\r\n\r\n", &[]),
        ("POST /scrape HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc", &[]),
        ("POST /scrape HTTP/1.1\r\nContent-Length: 0x3\r\n\r\nabc", &[]),
        ("POST /scrape HTTP/1.1\r\nContent-Length: 3 3\r\n\r\nabc", &[]),
        ("POST /scrape HTTP/1.1\r\nContent-Length: \r\n\r\n", &[]),
        ("POST /scrape HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", &[]),
        ("POST /scrape HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[]),
        ("POST /scrape HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", &[]),
        ("POST /scrape HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", &[]),
        ("POST /scrape HTTP/1.1\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", &[]),
    ] {
        let reply = fixture.raw(format!("{shape}{NEXT}").as_bytes());
        assert_eq!(statuses(&reply), expected, "{shape:?}: {reply}");
    }
    fixture.json("/");
}

/// Not only is nothing answered behind a body whose end cannot be known: nothing is done. tiny_http reads on, and its bytes
/// would be requests, such as a proxy would never have let through.
#[test]
fn nothing_is_done_behind_a_body_without_a_known_end() {
    let fixture = Fixture::new();
    let long = "a".repeat((1 << 20) + 1);
    for (number, shape) in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 60\r\n\r\n",
        // tiny_http has read this body before anybody sees the request.
        "Content-Length: 3\r\nContent-Length: 60\r\n\r\nabc",
        "Transfer-Encoding: xchunked\r\n\r\n",
        "Content-Length: x3\r\n\r\n",
        // Given up in the middle.
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        &format!("Transfer-Encoding: chunked\r\n\r\n200000\r\n{long}"),
    ]
    .iter()
    .enumerate()
    {
        let announce = query(1, &format!("10.0.0.{number}"), "left=5");
        let next = format!("GET /announce?{announce} HTTP/1.1\r\n\r\n").repeat(3);
        assert_eq!(
            fixture.raw(format!("POST /scrape HTTP/1.1\r\n{shape}{next}").as_bytes()),
            "",
            "{shape:.60?}"
        );
    }
    for _ in 0..20 {
        assert_eq!(fixture.json("/")["peers"], 0);
    }
}

#[test]
fn names_do_not_become_headers() {
    let fixture = Fixture::new();
    let (bytes, hash) = torrent("evil\r\nX-Injected: 1\r\n\r\n<b>", false);
    assert_eq!(fixture.upload(&[("torrent", &bytes)]).status, 201);
    for name in ["a\r\nX-Injected: 1", "a\nX-Injected: 1", "a\0b"] {
        let (bytes, _) = torrent("other", false);
        assert_eq!(fixture.upload(&[("torrent", &bytes), ("name", name.as_bytes())]).status, 400, "{name:?}");
    }
    for target in [
        format!("/torrents/{hash}"),
        "/torrents".to_owned(),
        "/torrents?q=%0d%0aX-Injected:%201".to_owned(),
        "/scrape?info_hash=%0d%0aX-Injected:%201".to_owned(),
        "/%0d%0aX-Injected:%201".to_owned(),
    ] {
        let reply = fixture.raw(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes());
        let head = reply.split("\r\n\r\n").next().unwrap();
        assert!(reply.starts_with("HTTP/1.0 ") && !head.contains("Injected"), "{target}: {reply}");
    }
}
