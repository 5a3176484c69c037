use std::sync::{Arc, Mutex};

use super::*;
use crate::http::testing::{Reply, Request, Server};

const AGES: Duration = Duration::from_secs(60);
const TORRENT: &[u8] = b"d4:infod6:lengthi5e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee";

fn client(server: &Server) -> CatalogueClient {
    CatalogueClient::new(&server.url("/announce?passkey=s3cret"), AGES).unwrap()
}

fn info_hash() -> InfoHash {
    InfoHash::of(&TORRENT[b"d4:info".len()..TORRENT.len() - 1])
}

fn publication() -> Publication<'static> {
    let (name, description) = ("a", "about a");
    let peer_id = PeerId::new([b'p'; 20]);
    Publication {
        torrent: TORRENT,
        info_hash: info_hash(),
        name,
        description,
        peer_id,
        port: 7,
        key: 8,
        left: 0,
        token: None,
    }
}

/// A server that answers every request with this.
fn answering(status: u16, body: &[u8]) -> Server {
    let body = body.to_vec();
    Server::start(move |_| Reply::Body(status, body.clone()))
}

#[test]
fn addresses() {
    for (url, base) in [
        ("http://host:8000/announce", Some("http://host:8000")),
        ("https://host/a/b/announce?x=/announce", Some("https://host/a/b")),
        ("HTTP://host/announce#x", Some("HTTP://host")),
        ("http://host:8000", Some("http://host:8000")),
        ("http://host:8000/", Some("http://host:8000")),
        ("http://host/announce.php", None),
        ("http://host/other/", None),
        ("udp://host:1/announce", None),
        ("http://", None),
        ("host:8000", None),
        ("", None),
    ] {
        assert_eq!(base_of(url), base, "{url}");
    }
    for (url, http) in [
        ("udp://host:1/announce", "http://host:1/announce"),
        ("UDP://[::1]:6969", "http://[::1]:6969/announce"),
        ("udp://host:1/", "http://host:1/announce"),
        ("udp://host:1/x/announce?k=v", "http://host:1/x/announce?k=v"),
        ("udp://host/announce", "udp://host/announce"),
        ("https://host/announce", "https://host/announce"),
    ] {
        assert_eq!(over_http(url), http, "{url}");
    }
    let error = CatalogueClient::new("udp://\x1b[2Jhost/", AGES).unwrap_err().to_string();
    assert!(error.starts_with("udp://\\u{1b}[2Jhost/ is not a tracker's address"), "{error}");
}

#[test]
fn a_listing_is_read_leniently() {
    let seen = Arc::new(Mutex::new(String::new()));
    let see = Arc::clone(&seen);
    let hash = "0f".repeat(20);
    let server = Server::start(move |request| {
        see.lock().unwrap().clone_from(&request.target);
        let entry = format!(
            r#"{{"info_hash":"{hash}","name":"n","size":9007199254740993,"seeders":1,"new_field":[{{}}]}}"#
        );
        Reply::Body(200, format!(r#"{{"torrents":[{entry}],"total":41,"more":null}}"#).into_bytes())
    });
    let page = client(&server).search(Some("größer & böser#"), 20, 10).unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        "/torrents?offset=20&limit=10&q=gr%C3%B6%C3%9Fer%20%26%20b%C3%B6ser%23"
    );
    let [entry] = page.torrents.as_slice() else { panic!("{page:?}") };
    assert_eq!((page.total, entry.size, entry.seeders, entry.leechers), (41, 9_007_199_254_740_993, 1, 0));
    client(&server).search(None, 0, 50).unwrap();
    assert_eq!(*seen.lock().unwrap(), "/torrents?offset=0&limit=50");
}

#[test]
fn ping_tells_who_answers() {
    let server =
        answering(200, br#"{"name":"torrent-tracker","version":"0.1.0","torrents":2,"peers":3,"x":1}"#);
    let info = client(&server).ping().unwrap();
    assert_eq!((info.name.as_str(), info.torrents, info.peers), ("torrent-tracker", 2, 3));
}

#[test]
fn a_torrent_is_fetched_and_checked() {
    let server = Server::start(|request| {
        if request.target == format!("/torrents/{}", info_hash()) {
            Reply::Body(200, TORRENT.into())
        } else if request.target.ends_with("ff") {
            Reply::Body(404, br#"{"error":"no such torrent"}"#.into())
        } else {
            Reply::Body(200, if request.target.ends_with("00") { TORRENT } else { b"d4:infoi1ee" }.into())
        }
    });
    let client = client(&server);
    assert_eq!(client.fetch(info_hash()).unwrap(), TORRENT);
    let fetch = |byte| client.fetch(InfoHash::new([byte; 20]));
    assert!(matches!(fetch(0xff), Err(CatalogueError::NotFound(_))));
    assert!(matches!(fetch(0x00), Err(CatalogueError::WrongTorrent { .. })));
    assert!(matches!(fetch(0x11), Err(CatalogueError::BadTorrent(..))));
    let small = client.with_limits(MetainfoLimits::new(TORRENT.len() - 1, 16384));
    assert!(matches!(small.fetch(info_hash()), Err(CatalogueError::NoCatalogue { .. })));
}

#[test]
fn publishing() {
    let seen = Arc::new(Mutex::new(Request::default()));
    let see = Arc::clone(&seen);
    let server = Server::start(move |request| {
        *see.lock().unwrap() = request.clone();
        Reply::Body(201, b"d8:intervali60e5:peers0:15:warning message3:hoie".into())
    });
    let published = client(&server).publish(&publication()).unwrap();
    assert_eq!(published, Published { is_new: true, warning: Some("hoi".into()) });
    let request = seen.lock().unwrap().clone();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/announce?passkey=s3cret"));
    assert!(request.header("content-type").unwrap().starts_with("multipart/form-data; boundary="));
    assert!(request.body.windows(TORRENT.len()).any(|window| window == TORRENT));
    let known = answering(200, b"d8:intervali60e5:peers0:e");
    assert_eq!(client(&known).publish(&publication()).unwrap(), Published { is_new: false, warning: None });
}

#[test]
fn refusals_are_told_in_the_trackers_words_but_escaped() {
    for status in [200, 403, 500] {
        let server = answering(status, b"d14:failure reason12:no \x1b[31mway!e");
        let error = client(&server).publish(&publication()).unwrap_err();
        assert!(matches!(error, CatalogueError::Refused { .. }), "{error:?}");
        assert!(error.to_string().ends_with("refused: no \\u{1b}[31mway!"), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
    let server = answering(503, br#"{"error":"busy"}"#);
    let error = client(&server).search(None, 0, 1).unwrap_err();
    assert!(matches!(&error, CatalogueError::Refused { reason, .. } if reason == "busy"), "{error:?}");
}

#[test]
fn what_is_no_tracker_is_said_to_be_none() {
    for (status, body) in
        [(200, "<html>hello</html>"), (404, "not found"), (302, ""), (200, "[1]"), (200, "d4:infoe")]
    {
        let server = answering(status, body.as_bytes());
        for error in [
            client(&server).ping().unwrap_err(),
            client(&server).search(None, 0, 1).unwrap_err(),
            client(&server).publish(&publication()).unwrap_err(),
        ] {
            assert!(matches!(error, CatalogueError::NoCatalogue { .. }), "{status} {body}: {error:?}");
            assert!(error.to_string().contains("TRACKER_URL"), "{error}");
        }
    }
}

#[test]
fn nobody_there() {
    let gone = client(&answering(200, b""));
    let error = gone.ping().unwrap_err();
    assert!(matches!(error, CatalogueError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("is torrent-tracker running"), "{error}");
    let silent = Server::start(|_| Reply::Silence);
    let client = CatalogueClient::new(&silent.url("/announce"), Duration::from_millis(100)).unwrap();
    assert!(matches!(client.ping(), Err(CatalogueError::Unreachable { .. })));
}
