//! GET /announce and /scrape.

use super::*;

fn addresses(response: &AnnounceResponse) -> Vec<String> {
    let mut all: Vec<_> = response.peers.iter().map(|peer| peer.address.to_string()).collect();
    all.sort_unstable();
    all
}

#[test]
fn peers_find_each_other() {
    let fixture = Fixture::new();
    let first = fixture.announce(&query(1, "10.0.0.1", "left=0&event=started"));
    assert_eq!((first.complete, first.incomplete, first.peers.len()), (1, 0, 0));
    assert!((108..=120).contains(&first.interval_s), "{}", first.interval_s);
    assert_eq!(first.min_interval_s, Some(first.interval_s / 4));
    let second = fixture.announce(&query(1, "10.0.0.2", "left=5&event=started"));
    assert_eq!(addresses(&second), ["10.0.0.1:6881"]);
    let third = fixture.announce(&query(1, "2001:db8::3", "left=5"));
    assert_eq!(addresses(&third), ["10.0.0.1:6881", "10.0.0.2:6881"]);
    assert_eq!(
        addresses(&fixture.announce(&query(1, "10.0.0.1", "left=0"))),
        ["10.0.0.2:6881", "[2001:db8::3]:6881"]
    );
    let done = fixture.announce(&query(1, "10.0.0.2", "left=0&event=completed"));
    assert_eq!((done.complete, done.incomplete, done.downloaded), (2, 1, Some(1)));
    assert_eq!(addresses(&done), ["[2001:db8::3]:6881"], "a seeder gets no seeders");
    let gone = fixture.announce(&query(1, "10.0.0.1", "left=0&event=stopped"));
    assert_eq!((gone.complete, gone.peers.len()), (1, 0));
    assert_eq!(fixture.announce(&query(2, "10.0.0.2", "left=0")).peers, []);
}

#[test]
fn the_form_of_the_answer_is_the_clients_choice() {
    let fixture = Fixture::new();
    for ip in ["10.0.0.1", "10.0.0.2", "2001:db8::3"] {
        fixture.announce(&query(1, ip, "left=5"));
    }
    let body = |more: &str| fixture.get(&format!("/announce?{}", query(1, "10.0.0.9", more))).body;
    let text = |more: &str| String::from_utf8_lossy(&body(more)).into_owned();
    assert!(text("left=5").contains("5:peers12:"));
    assert!(text("left=5").contains("6:peers618:"));
    assert!(text("left=5&compact=0").contains("2:ip8:10.0.0.14:porti6881e"));
    assert!(!text("left=5&compact=0&event=started").contains("peer id"));
    assert_eq!(decode_response(&body("left=5&numwant=1"), 100).unwrap().peers.len(), 1);
    assert_eq!(decode_response(&body("left=5&numwant=0"), 100).unwrap().peers.len(), 0);
}

#[test]
fn bad_announces_are_refused_with_a_reason() {
    let fixture = Fixture::new();
    let good = query(1, "10.0.0.1", "left=5");
    for (bad, reason) in [
        (String::new(), "info_hash is missing"),
        ("info_hash=abc".into(), "info_hash is not valid"),
        (good.replace("info_hash", "x"), "info_hash is missing"),
        (good.replace("peer_id", "x"), "peer_id is missing"),
        (good.replace("-XX0001", "XX0001"), "peer_id is not valid"),
        (good.replace("port=6881", "port=0"), "port is not valid"),
        (good.replace("port=6881", "port=65536"), "port is not valid"),
        (good.replace("port=6881", "port="), "port is not valid"),
        (good.replace("port=6881&", ""), "port is missing"),
        (good.replace("left=5", "left=x"), "left is not valid"),
        (good.replace("left=5", ""), "left is missing"),
        (format!("{good}&port=6882"), "port is given twice"),
        (format!("{good}&{}", "x".repeat(5000)), "the query is too long"),
    ] {
        assert_eq!(fixture.refused(&bad), reason, "{bad}");
    }
    assert_eq!(fixture.json("/")["peers"], 0);
}

#[test]
fn a_peer_on_another_port_is_another_peer() {
    let fixture = Fixture::new();
    fixture.announce(&query(1, "10.0.0.1", "left=5"));
    let other = query(1, "10.0.0.1", "left=5").replace("6881", "6882");
    assert_eq!(addresses(&fixture.announce(&other)), ["10.0.0.1:6881"]);
}

#[test]
fn the_configuration_bounds_the_answers() {
    let fixture = Fixture::with(|config| {
        config.default_peers = 3;
        config.max_numwant = 4;
        config.interval_s = 77;
        config.min_interval_s = 11;
        config.workers = 1;
    });
    for n in 1..10 {
        fixture.announce(&query(1, &format!("10.0.0.{n}"), "left=5"));
    }
    let answer = fixture.announce(&query(1, "10.0.0.1", "left=5"));
    assert!((70..=77).contains(&answer.interval_s), "{}", answer.interval_s);
    assert_eq!((answer.min_interval_s, answer.peers.len()), (Some(answer.interval_s / 7), 3));
    assert_eq!(fixture.announce(&query(1, "10.0.0.1", "left=5&numwant=100")).peers.len(), 4);
}

#[test]
fn a_flood_of_torrents_is_taken_and_costs_nobody_else_a_place() {
    let fixture = Fixture::with(|config| (config.max_torrents, config.max_peers) = (20, 60));
    for n in 1..=9 {
        fixture.announce(&query(1, &format!("10.0.0.{n}"), "left=0"));
    }
    for n in 10..=250 {
        let answer = fixture.announce(&query(n, "192.0.2.1", "left=5"));
        assert_eq!((answer.incomplete, answer.peers.len()), (1, 0), "{n}");
    }
    let status = fixture.json("/");
    assert_eq!(
        (&status["swarms"], &status["peers"], &status["refused"]),
        (&20.into(), &28.into(), &0.into())
    );
    let answer = fixture.announce(&query(1, "10.0.0.10", "left=5"));
    assert_eq!((answer.complete, answer.peers.len()), (9, 9));
}

#[test]
fn scrapes() {
    let fixture = Fixture::with(|config| config.max_scrape = 2);
    fixture.announce(&query(1, "10.0.0.1", "left=0"));
    fixture.announce(&query(1, "10.0.0.2", "left=1"));
    fixture.announce(&query(1, "10.0.0.2", "left=0&event=completed"));
    let hash = |n: u8| format!("info_hash={}", format!("%{n:02x}").repeat(20));
    let text =
        |query: &str| String::from_utf8_lossy(&fixture.get(&format!("/scrape?{query}")).body).into_owned();
    let name = "\u{1}".repeat(20);
    assert_eq!(
        text(&hash(1)),
        format!("d5:filesd20:{name}d8:completei2e10:downloadedi1e11:downloadersi0e10:incompletei0eeee")
    );
    let many = text(&[hash(2), hash(1), hash(3)].join("&"));
    assert_eq!(many.matches("complete").count(), 4, "no more than the limit: {many}");
    assert!(many.contains("completei0e10:downloadedi0e11:downloadersi0e"), "{many}");
    fixture.announce(&query(1, "10.0.0.3", "left=1&event=paused"));
    fixture.announce(&query(1, "10.0.0.4", "left=1"));
    assert!(text(&hash(1)).contains("11:downloadersi1e10:incompletei2e"), "{}", text(&hash(1)));
    let reply = fixture.get("/scrape");
    assert_eq!(
        (reply.status, reply.failure().as_str()),
        (200, "info_hash is missing: a scrape names torrents")
    );
    assert_eq!(fixture.get("/scrape?info_hash=x").failure(), "info_hash is not valid");
}

#[test]
fn many_announces_on_one_connection() {
    let fixture = Fixture::new();
    let mut stream = fixture.connect();
    let mut buffer = [0; 4096];
    for n in 0..50 {
        let query = query(1, &format!("10.0.0.{n}"), "left=5");
        stream.write_all(format!("GET /announce?{query} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        let mut reply = Vec::new();
        while !reply.ends_with(b"e") {
            let len = stream.read(&mut buffer).unwrap();
            assert!(len > 0, "closed after {n}");
            reply.extend_from_slice(&buffer[..len]);
        }
        let text = String::from_utf8_lossy(&reply).into_owned();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains(&format!("incompletei{}e", n + 1)),
            "{text}"
        );
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let fixture = Fixture::new();
    let announce = format!("GET /announce?{} HTTP/1.1\r\nHost: x\r\n\r\n", query(1, "10.0.0.1", "left=5"));
    let listing = "GET /torrents HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /scrape HTTP/1.1\r\nConnection: close\r\n\r\n";
    let all = [announce.as_str(), listing].repeat(4).concat() + last;
    let reply = fixture.raw(all.as_bytes());
    let kinds: Vec<_> =
        reply.match_indices("Content-Type: ").map(|(at, _)| reply[at + 14..].starts_with("text")).collect();
    assert_eq!(kinds.len(), 9, "{reply}");
    assert!(kinds.iter().enumerate().all(|(n, is_text)| *is_text == (n % 2 == 0)), "{kinds:?}");
}

#[test]
fn swarms_survive_a_restart() {
    let mut fixture = Fixture::new();
    fixture.announce(&query(1, "10.0.0.1", "left=0"));
    fixture.announce(&query(1, "2001:db8::3", "left=5"));
    fixture.restart();
    let answer = fixture.announce(&query(1, "10.0.0.2", "left=5"));
    assert_eq!((answer.complete, answer.incomplete), (1, 2));
    assert_eq!(addresses(&answer), ["10.0.0.1:6881", "[2001:db8::3]:6881"]);
}

#[test]
fn a_damaged_snapshot_does_not_stop_the_start() {
    let mut fixture = Fixture::new();
    fixture.running.take().unwrap().stop();
    fs::write(&fixture.config.peer_file, "nonsense").unwrap();
    fixture.running = Some(Tracker::start(&fixture.config).unwrap());
    assert_eq!(fixture.json("/")["peers"], 0);
    assert_eq!(fs::read(fixture.folder.path().join("data/peers.bad")).unwrap(), b"nonsense");
}

/// An announce as a proxy on this machine passes it on for `client`.
fn forwarded(fixture: &Fixture, client: &str, query: &str) -> Vec<u8> {
    let url = format!("http://{}/announce?{query}", fixture.address());
    Reply::of(agent().get(url).header("X-Forwarded-For", client).call().unwrap()).body
}

#[test]
fn a_proxy_is_believed_only_if_it_is_known() {
    let plain = query(1, "x", "left=5").replace("&ip=x", "");
    let fixture = Fixture::new();
    let Err(ResponseError::Failure(reason)) = decode_response(&forwarded(&fixture, "192.0.2.7", &plain), 10)
    else {
        panic!("everybody would be local")
    };
    assert!(reason.contains("TRUSTED_PROXIES"), "{reason}");
    assert_eq!(fixture.json("/")["peers"], 0);

    let fixture = Fixture::with(|config| config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()]);
    forwarded(&fixture, "198.51.100.1, 192.0.2.7", &format!("{plain}&ip=203.0.113.1"));
    let told = fixture.announce(&query(1, "10.0.0.1", "left=5"));
    assert_eq!(addresses(&told), ["192.0.2.7:6881"], "a client behind a proxy names no address");
}

#[test]
fn a_peer_on_the_trackers_own_host_is_told_at_its_public_address() {
    let fixture = Fixture::with(|config| {
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        config.public_addresses = vec!["203.0.113.5".parse().unwrap()];
    });
    let plain = |port: &str| query(1, "x", "left=5").replace("&ip=x", "").replace("6881", port);
    assert_eq!(fixture.announce(&plain("6881")).incomplete, 1);
    let far = decode_response(&forwarded(&fixture, "192.0.2.7", &plain("1")), 10).unwrap();
    assert_eq!(addresses(&far), ["203.0.113.5:6881"]);
    assert_eq!(addresses(&fixture.announce(&plain("2"))), ["127.0.0.1:6881", "192.0.2.7:1"]);
}

#[test]
fn a_scrape_of_everything_is_answered_only_if_configured() {
    assert_eq!(Fixture::new().get("/scrape").failure(), "info_hash is missing: a scrape names torrents");
    let fixture = Fixture::with(|config| config.full_scrape = true);
    assert_eq!(fixture.get("/scrape").body, b"d5:filesdee");
    // More than the socket's buffer holds.
    for n in 0..2000_u32 {
        let hash: String =
            InfoHash::of(&n.to_be_bytes()).as_bytes().iter().map(|b| format!("%{b:02x}")).collect();
        let query = query(1, "10.0.0.1", "left=5");
        let (_, rest) = query.split_once("&peer_id").unwrap();
        fixture.announce(&format!("info_hash={hash}&peer_id{rest}"));
    }
    let reply = fixture.get("/scrape");
    assert_eq!((reply.status, reply.kind.as_str()), (200, "text/plain"));
    let text = String::from_utf8_lossy(&reply.body);
    assert_eq!(
        text.matches("d8:completei0e10:downloadedi0e11:downloadersi1e10:incompletei1ee").count(),
        2000
    );
    torrent_common::bencode::scan(&reply.body, &torrent_common::bencode::Limits::for_len(1 << 20)).unwrap();
    assert_eq!(fixture.raw(b"GET /scrape? HTTP/1.0\r\n\r\n").matches("downloaders").count(), 2000);
    assert!(fixture.get("/scrape?info_hash=x").failure().contains("not valid"));
}
