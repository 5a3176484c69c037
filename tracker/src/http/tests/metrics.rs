//! GET /metrics: that it is what Prometheus reads, that it counts, and that nothing of strangers is in it.

use std::collections::{BTreeMap, BTreeSet};

use torrent_common::announce::udp::{ConnectionId, TransactionId, encode_connect};
use torrent_common::config::MetricsFor;
use torrent_common::secret::Secret;

use super::*;

/// A page, checked: the type of each metric, and each sample by its name and labels.
struct Page {
    kinds: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Page {
    fn of(fixture: &Fixture) -> Self {
        let reply = fixture.get("/metrics");
        assert_eq!((reply.status, reply.kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
        Self::parse(&String::from_utf8(reply.body).unwrap())
    }

    /// Panics at whatever Prometheus, or its conventions, would not have.
    fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has an end");
        let mut page = Self { kinds: BTreeMap::new(), samples: BTreeMap::new() };
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let (name, help) = line.strip_prefix("# HELP ").unwrap().split_once(' ').unwrap();
            assert!(help.ends_with('.') && !help.contains('\\'), "{line}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(["torrent_tracker_", "process_"].iter().any(|own| name.starts_with(own)), "{name}");
            let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            assert_eq!(page.kinds.insert(name.to_owned(), kind.to_owned()), None, "{name} twice");
            let mut count = 0;
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                page.sample(name, kind, line);
                count += 1;
            }
            assert!(count > 0, "{name} has no samples");
        }
        page
    }

    fn sample(&mut self, name: &str, kind: &str, line: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (sampled, labels) = series.split_once('{').unwrap_or((series, "}"));
        let suffix = sampled.strip_prefix(name).unwrap();
        let suffixes = if kind == "histogram" { &["_bucket", "_sum", "_count"][..] } else { &[""] };
        assert!(suffixes.contains(&suffix), "{line}");
        for label in labels.strip_suffix('}').unwrap().split(',').filter(|label| !label.is_empty()) {
            let (key, word) = label.split_once('=').unwrap();
            let word = word.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            assert!(!word.is_empty() && !word.contains(['"', '\\']), "{line}");
            let known =
                ["protocol", "event", "reason", "page", "code", "result", "role", "part", "version", "le"];
            assert!(known.contains(&key), "{key}: a new label? never one that a stranger chooses");
        }
        let value = value.parse().unwrap();
        assert_eq!(self.samples.insert(series.to_owned(), value), None, "{series} twice");
    }

    fn get(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("{series}: {:?}", self.samples.keys()))
    }

    /// The sum of all samples of a metric.
    fn sum(&self, name: &str) -> f64 {
        let own = |series: &&String| *series == name || series.starts_with(&format!("{name}{{"));
        let found: Vec<_> = self.samples.keys().filter(own).collect();
        assert!(!found.is_empty(), "{name}");
        found.into_iter().map(|series| self.samples[series]).sum()
    }
}

#[test]
fn everything_that_happens_is_counted_where_it_belongs() {
    let fixture = Fixture::with(|config| config.upload_token = Secret::new("a-token-of-some-length"));
    fixture.announce(&query(1, "10.0.0.1", "left=0&event=started"));
    fixture.announce(&query(1, "10.0.0.2", "left=1"));
    fixture.announce(&query(2, "10.0.0.3", "left=1&event=paused"));
    fixture.refused("");
    fixture.refused(&query(1, "10.0.0.1", "left=1").replace("port=6881", "port=0"));
    fixture.get("/scrape");
    let (torrent, hash) = torrent("a", false);
    fixture.upload(&[("torrent", &torrent)]);
    let token = ("token", &b"a-token-of-some-length"[..]);
    fixture.upload(&[("torrent", &torrent), token]);
    fixture.upload(&[("torrent", &torrent), token]);
    fixture.upload(&[("torrent", b"no torrent"), token]);
    fixture.get("/torrents");
    fixture.get(&format!("/torrents/{hash}"));
    fixture.get("/nothing");
    fixture.raw(b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n");
    let page = Page::of(&fixture);
    for (series, expected) in [
        ("announces_total{protocol=\"http\",event=\"started\"}", 1.0),
        ("announces_total{protocol=\"http\",event=\"none\"}", 1.0),
        ("announces_total{protocol=\"http\",event=\"paused\"}", 1.0),
        ("announces_total{protocol=\"http\",event=\"stopped\"}", 0.0),
        ("announces_total{protocol=\"udp\",event=\"none\"}", 0.0),
        ("failures_total{protocol=\"http\",reason=\"malformed\"}", 2.0),
        ("failures_total{protocol=\"http\",reason=\"full_scrape\"}", 1.0),
        ("scrapes_total{protocol=\"http\"}", 1.0),
        ("announce_duration_seconds_count{protocol=\"http\"}", 5.0),
        ("announce_duration_seconds_bucket{protocol=\"http\",le=\"+Inf\"}", 5.0),
        ("uploads_total{result=\"forbidden\"}", 1.0),
        ("uploads_total{result=\"new\"}", 1.0),
        ("uploads_total{result=\"known\"}", 1.0),
        ("uploads_total{result=\"malformed\"}", 1.0),
        ("http_answers_total{page=\"announce\",code=\"2xx\"}", 5.0),
        ("http_answers_total{page=\"upload\",code=\"2xx\"}", 2.0),
        ("http_answers_total{page=\"upload\",code=\"4xx\"}", 2.0),
        ("http_answers_total{page=\"torrents\",code=\"2xx\"}", 1.0),
        ("http_answers_total{page=\"torrent\",code=\"2xx\"}", 1.0),
        ("http_answers_total{page=\"other\",code=\"4xx\"}", 1.0),
        ("http_closed_connections_total{reason=\"malformed\"}", 1.0),
        ("swarms", 2.0),
        ("peers{role=\"seeder\"}", 1.0),
        ("peers{role=\"leecher\"}", 2.0),
        ("catalogue_torrents", 1.0),
        ("bugs_total", 0.0),
        ("degraded{part=\"catalogue\"}", 0.0),
        (concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ] {
        assert_eq!(page.get(&format!("torrent_tracker_{series}")), expected, "{series}");
    }
    assert_eq!(page.sum("torrent_tracker_http_closed_connections_total"), 1.0);
    assert!(page.get("torrent_tracker_catalogue_database_bytes") > 0.0);
    assert!(page.get("torrent_tracker_announce_duration_seconds_sum{protocol=\"http\"}") > 0.0);
    let status = fixture.json("/");
    assert_eq!((status["announces"].as_f64(), status["refused"].as_f64()), (Some(3.0), Some(5.0)));
}

#[test]
fn packets_are_counted() {
    let fixture = Fixture::new();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(fixture.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut packet = Vec::new();
    encode_connect(TransactionId([1; 4]), &mut packet);
    socket.send(&[0; 3]).unwrap();
    socket.send(&[0; 98]).unwrap();
    socket.send(&[&[0xff; 8][..], &[0, 0, 0, 1], &[0; 86]].concat()).unwrap();
    // Packets of one sender are taken in their order.
    socket.send(&packet).unwrap();
    let mut answer = [0; 100];
    assert_eq!(socket.recv(&mut answer).unwrap(), 16);
    let id = ConnectionId(answer[8..16].try_into().unwrap());
    for (port, event) in [(0_u16, 0_u32), (7, 1), (7, 3)] {
        let announce = [
            &id.0[..],
            &[0, 0, 0, 1, 9, 9, 9, 9],
            &[7; 40],
            &[0; 24],
            &event.to_be_bytes(),
            &[0; 8],
            &[0xff; 4],
            &port.to_be_bytes(),
        ];
        // BEP 15: 1 completed, 2 started, 3 stopped.
        socket.send(&announce.concat()).unwrap();
        assert!(socket.recv(&mut answer).unwrap() >= 8);
    }
    let page = Page::of(&fixture);
    for (series, expected) in [
        ("udp_connects_total", 1.0),
        ("udp_dropped_packets_total{reason=\"malformed\"}", 2.0),
        ("udp_dropped_packets_total{reason=\"connection_id\"}", 1.0),
        ("udp_dropped_packets_total{reason=\"port\"}", 0.0),
        ("announces_total{protocol=\"udp\",event=\"completed\"}", 1.0),
        ("announces_total{protocol=\"udp\",event=\"stopped\"}", 1.0),
        ("failures_total{protocol=\"udp\",reason=\"port\"}", 1.0),
    ] {
        assert_eq!(page.get(&format!("torrent_tracker_{series}")), expected, "{series}");
    }
    assert_eq!(page.sum("torrent_tracker_announces_total"), 2.0);
}

/// However many torrents, peers and words are sent: the page grows by no line, and has none of them.
#[test]
fn strangers_add_no_series() {
    let fixture = Fixture::new();
    let before: BTreeSet<_> = Page::of(&fixture).samples.into_keys().collect();
    for n in 0..50 {
        fixture.announce(&query(n, "10.0.0.1", "left=1"));
        fixture.refused(&query(n, "10.0.0.1", "left=1&port=x"));
        fixture.get(&format!("/{n}"));
        fixture.raw(format!("METHOD{n} /x HTTP/1.0\r\n\r\n").as_bytes());
    }
    let after: BTreeSet<_> = Page::of(&fixture).samples.into_keys().collect();
    assert_eq!(before, after);
}

#[test]
fn metrics_are_for_those_whom_they_are_for() {
    let fixture = Fixture::with(|config| {
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        config.trusted_networks = vec!["10.1.0.0/16".parse().unwrap()];
    });
    let asked = |fixture: &Fixture, client: &str| {
        let head = format!("GET /metrics HTTP/1.0\r\nX-Forwarded-For: {client}\r\n\r\n");
        fixture.raw(head.as_bytes())
    };
    assert!(asked(&fixture, "10.1.2.3").contains("\r\n\r\n# HELP "));
    for client in ["10.2.0.1", "nobody"] {
        let reply = asked(&fixture, client);
        assert!(reply.starts_with("HTTP/1.0 403 ") && !reply.contains("# HELP"), "{reply}");
    }
    // A proxy on this machine that nobody has named speaks for strangers.
    let fixture = Fixture::new();
    assert!(asked(&fixture, "10.1.2.3").starts_with("HTTP/1.0 403 "));
    let fixture = Fixture::with(|config| config.metrics = MetricsFor::All);
    assert!(asked(&fixture, "192.0.2.1").contains("\r\n\r\n# HELP "));
    let fixture = Fixture::with(|config| config.metrics = MetricsFor::No);
    assert_eq!(fixture.get("/metrics").status, 404);
}

/// The dashboard asks for nothing that does not exist, forgets nothing that does, and every number in it has a unit.
#[test]
fn the_dashboard_shows_what_there_is() {
    let dashboard: Value =
        serde_json::from_str(include_str!("../../../../scripts/grafana/torrent-tracker.json")).unwrap();
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{}", panel["title"]);
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "it can be imported anywhere");
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let names =
                words.filter(|word| word.starts_with("torrent_tracker_") || word.starts_with("process_"));
            asked.extend(names.map(str::to_owned));
        }
    }
    let page = Page::of(&Fixture::new());
    let suffixed = |(name, kind): (&String, &String)| match kind.as_str() {
        "histogram" => ["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")).to_vec(),
        _ => vec![name.clone()],
    };
    let mut there: BTreeSet<_> = page.kinds.iter().flat_map(suffixed).collect();
    // Addresses that are reserved say nothing.
    there.remove("process_virtual_memory_bytes");
    assert_eq!(asked, there);
}
