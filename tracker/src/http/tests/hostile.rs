//! Clients that nobody wants.

use std::time::Instant;

use socket2::{Domain, Socket, Type};

use super::openapi::fill_lane;
use super::*;

const SEARCH: &str = "GET /?q=words HTTP/1.0\r\nAccept: text/html\r\n\r\n";

#[test]
fn bodies_of_unknown_length_end_the_connection() {
    let fixture = Fixture::new();
    let smuggled = "GET /smuggled HTTP/1.1\r\n\r\n";
    for headers in [
        "Content-Length: 3\r\nContent-Length: 30",
        "Content-Length: +3",
        "Content-Length: -1",
        "Content-Length: x",
        "Content-Length: 3, 3",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Transfer-Encoding: gzip",
    ] {
        for target in ["/announce", "/torrents", "/"] {
            let reply = fixture
                .raw(format!("POST {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{smuggled}").as_bytes());
            assert!(!reply.contains("nothing at this path"), "{headers}: {reply}");
        }
    }
    fixture.json("/");
}

#[test]
fn a_chunked_upload_is_refused_in_step() {
    let fixture = Fixture::new();
    let mut stream = fixture.connect();
    stream
        .write_all(
            b"POST /announce HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
              GET /scrape HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 411 "), "{reply}");
    assert!(reply.contains("info_hash is missing"), "the next request is answered: {reply}");
}

#[test]
fn an_impossible_length_does_not_end_the_process() {
    let fixture = Fixture::new();
    for method in ["GET", "POST", "PUT"] {
        for len in ["1000000000000000", "9000000000000000000", "18446744073709551615"] {
            for target in ["/announce", "/"] {
                fixture.raw(
                    format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\nab")
                        .as_bytes(),
                );
            }
        }
    }
    fixture.json("/");
}

#[test]
fn a_long_body_is_refused_before_it_is_read() {
    let fixture = Fixture::with(|config| config.max_torrent_len = 1 << 20);
    let mut stream = fixture.connect();
    let len = 100 << 20;
    write!(stream, "POST /announce HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n").unwrap();
    let mut reply = [0; 16];
    stream.read_exact(&mut reply).unwrap();
    assert!(reply.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&reply));
}

#[test]
fn uploads_that_never_end_do_not_hold_up_others() {
    let fixture = Fixture::new();
    // More than there are threads and places in the queue for.
    let dripping: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = fixture.connect();
            stream
                .write_all(b"POST /announce HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n--x")
                .unwrap();
            stream
        })
        .collect();
    let start = Instant::now();
    for n in 0..20 {
        fixture.announce(&query(1, &format!("10.0.0.{n}"), "left=5"));
        fixture.json("/torrents");
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    drop(dripping);
}

/// What arrives together is served together, also when nobody leaves: clients keep their connections for minutes.
#[test]
fn of_many_that_arrive_at_once_nobody_is_forgotten() {
    let fixture = Fixture::new();
    for _ in 0..8 {
        let together: Vec<_> = (0..40).map(|_| fixture.connect()).collect();
        for mut stream in &together {
            stream.write_all(b"GET /scrape HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        }
        for mut stream in &together {
            stream.read_exact(&mut [0]).expect("an answer, though no other connection ends");
        }
    }
}

#[test]
fn stopping_does_not_wait_for_the_slow() {
    let mut fixture = Fixture::new();
    let mut stream = fixture.connect();
    stream.write_all(b"POST /announce HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n--x").unwrap();
    fixture.json("/");
    let start = Instant::now();
    fixture.running.take().unwrap().stop();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn who_never_reads_does_not_hold_up_others() {
    let fixture = Fixture::with(|config| config.workers = 2);
    let (bytes, hash) = torrent("a", false);
    fixture.upload(&[("torrent", &bytes)]);
    for target in ["/scrape".to_owned(), "/torrents".to_owned(), format!("/torrents/{hash}")] {
        let requests = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(20_000);
        quickest_within(Duration::from_secs(2), || {
            let deaf: Vec<_> = (0..4)
                .map(|_| {
                    let stream = fixture.connect();
                    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
                    // Until nothing more goes in either direction, or the tracker has had enough.
                    let _ = (&stream).write_all(requests.as_bytes());
                    stream
                })
                .collect();
            let start = Instant::now();
            fixture.announce(&query(1, "10.0.0.1", "left=5"));
            drop(deaf);
            start.elapsed()
        });
    }
}

/// The quickest of some tries takes no longer: what is held up is so every time, a busy machine is slow now and then.
fn quickest_within(limit: Duration, mut attempt: impl FnMut() -> Duration) {
    let mut times = Vec::new();
    while times.last().is_none_or(|time| *time >= limit) {
        assert!(times.len() < 5, "{times:?}");
        times.push(attempt());
    }
}

/// A connection from another address of this machine.
fn connect_from(fixture: &Fixture, ip: [u8; 4]) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    socket.connect(&fixture.address().into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.into()
}

#[test]
fn one_address_does_not_take_a_lane_from_others() {
    let fixture = Fixture::new();
    let shared = &fixture.running.as_ref().unwrap().shared;
    for (target, head) in [("/?q=words", "Accept: text/html\r\n"), ("/torrents?q=words", "")] {
        let mut other = connect_from(&fixture, [127, 0, 0, 2]);
        shared.catalogue.while_busy(|| {
            let _held = fill_lane(&fixture, target, head);
            write!(other, "GET {target} HTTP/1.0\r\n{head}\r\n").unwrap();
            let refused = fixture.raw(format!("GET {target} HTTP/1.0\r\n{head}\r\n").as_bytes());
            assert!(refused.starts_with("HTTP/1.0 503 "), "{refused}");
            assert_eq!(fixture.get("/metrics").status, 200, "which is not behind searches");
        });
        let mut reply = String::new();
        other.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.0 200 "), "{reply}");
        // Its share is its own again.
        let until = Instant::now() + Duration::from_secs(20);
        while fixture.raw(SEARCH.as_bytes()).starts_with("HTTP/1.0 503 ") {
            assert!(Instant::now() < until, "its places were not given back");
        }
    }
}

#[test]
fn a_proxy_has_no_share() {
    let fixture = Fixture::with(|config| config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()]);
    let shared = &fixture.running.as_ref().unwrap().shared;
    let mut clients: Vec<_> = (0..40).map(|_| fixture.connect()).collect();
    shared.catalogue.while_busy(|| {
        clients.iter_mut().for_each(|client| client.write_all(SEARCH.as_bytes()).unwrap());
    });
    for mut client in clients {
        let mut reply = String::new();
        client.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.0 200 "), "{reply}");
    }
}

/// What is no announce, and not short, is not sent by those who answer announces.
#[test]
fn who_does_not_read_the_api_does_not_hold_up_announces() {
    let fixture = Fixture::with(|config| config.workers = 2);
    let requests = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(8);
    quickest_within(Duration::from_secs(1), || {
        let deaf: Vec<_> = (0..60)
            .map(|_| {
                let stream = fixture.connect();
                (&stream).write_all(requests.as_bytes()).unwrap();
                stream
            })
            .collect();
        let start = Instant::now();
        fixture.announce(&query(1, "10.0.0.1", "left=5"));
        drop(deaf);
        start.elapsed()
    });
}

/// Some torrents whose descriptions make listings of them long, each answer far longer than what sockets hold.
fn talkative() -> Fixture {
    let fixture = Fixture::new();
    for n in 0..100 {
        let (bytes, _) = torrent(&format!("a{n}"), false);
        let fields: [(&str, &[u8]); 2] = [("torrent", &bytes), ("description", &[b'x'; 8000])];
        assert_eq!(fixture.upload(&fields).status, 201);
    }
    fixture
}

#[test]
fn who_does_not_read_long_answers_does_not_hold_up_the_catalogue() {
    let fixture = talkative();
    let deaf: Vec<_> = ["/torrents?limit=200", "/torrents.rss?limit=200"]
        .iter()
        .cycle()
        .take(50)
        .zip((2..7).cycle())
        .map(|(target, last)| {
            // Of several addresses: one has no more than its share of a lane.
            let mut stream = connect_from(&fixture, [127, 0, 0, last]);
            write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            stream
        })
        .collect();
    // All are under way at once; were any waited for, the last would begin after minutes.
    for mut stream in &deaf {
        stream.read_exact(&mut [0; 1000]).expect("an answer that begins");
    }
    for target in ["/torrents", "/torrents?limit=200", "/torrents?limit=1", "/torrents.rss"] {
        quickest_within(Duration::from_secs(2), || {
            let start = Instant::now();
            assert_eq!(fixture.get(target).status, 200);
            start.elapsed()
        });
    }
    drop(deaf);
}

#[test]
fn behind_a_long_answer_the_connection_goes_on() {
    let fixture = talkative();
    let whole = fixture.get("/torrents?limit=200").body;
    assert!(whole.len() > 800_000);
    let mut stream = fixture.connect();
    let long = "GET /torrents?limit=200 HTTP/1.1\r\nHost: x\r\n\r\n";
    write!(stream, "{long}{long}GET /scrape HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let mut rest = reply.as_slice();
    for _ in 0..2 {
        assert!(rest.starts_with(b"HTTP/1.1 200 OK\r\n"));
        let head = rest.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(&rest[head..head + whole.len()], whole);
        rest = &rest[head + whole.len()..];
    }
    assert!(String::from_utf8_lossy(rest).contains("info_hash is missing"));
}

#[test]
fn nonsense_is_survived() {
    let fixture = Fixture::new();
    for request in [
        &b"\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET /announce?info_hash=%zz%\xff HTTP/1.0\r\n\r\n",
        b"GET /announce?info_hash=%&left=%0d%0aX:y HTTP/1.0\r\n\r\n",
        b"POST /announce HTTP/1.0\r\nContent-Type: multipart/form-data; boundary=\"\\\r\nContent-Length: 1\r\n\r\nx",
        b"POST /announce HTTP/1.0\r\nExpect: nonsense\r\nContent-Length: 1\r\n\r\nx",
        b"POST / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nx",
    ] {
        let mut stream = fixture.connect();
        stream.write_all(request).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
    }
    fixture.json("/");
}

#[test]
fn a_client_that_waits_for_a_go_ahead_gets_one() {
    let fixture = Fixture::new();
    let (bytes, _) = torrent("a", false);
    let head = "--x\r\nContent-Disposition: form-data; name=\"torrent\"\r\n\r\n";
    let body = [head.as_bytes(), &bytes, b"\r\n--x--"].concat();
    let mut stream = fixture.connect();
    write!(
        stream,
        "POST /announce HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\nExpect: 100-continue\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    let mut go = [0; 13];
    stream.read_exact(&mut go).unwrap();
    assert_eq!(&go, b"HTTP/1.1 100 ");
    stream.write_all(&body).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.contains("HTTP/1.1 201 "), "{reply}");
}
