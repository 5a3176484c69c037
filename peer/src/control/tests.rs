//! The server over real sockets: what a stranger may send, and what our own client sends.

mod engines;
mod hostile;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use torrent_common::ids::InfoHash;

use super::api::{JobStatus, LeechRequest, SeedRequest};
use super::client::{ClientError, ControlClient};
use super::engine::Engine;
use super::server::ControlServer;
use crate::options::{FilePriority, OptionsPatch, Priority};
use crate::settings::SettingsPatch;
use engines::{FakeEngine, Many, known, torrent};

fn start() -> (ControlServer, Arc<FakeEngine>) {
    let engine = Arc::new(FakeEngine::default());
    let server = ControlServer::start(0, 2, Arc::clone(&engine) as Arc<dyn Engine>).unwrap();
    (server, engine)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends a request as it stands, and gives the status, the headers and the body of the answer.
fn raw(address: SocketAddr, request: &[u8]) -> (u16, HashMap<String, String>, String) {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    parse_answer(&String::from_utf8(answer).unwrap())
}

fn parse_answer(answer: &str) -> (u16, HashMap<String, String>, String) {
    let (head, body) = answer.split_once("\r\n\r\n").expect(answer);
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(k, v)| (k.to_ascii_lowercase(), v.into()))
        .collect();
    (status, headers, body.into())
}

fn post(target: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}")
        .into_bytes()
}

#[test]
fn a_strangers_request_never_reaches_the_engine() {
    let (server, engine) = start();
    let seed = r#"{"path":"/etc"}"#;
    let head =
        |extra: &str| format!("POST /seed HTTP/1.1\r\n{extra}Content-Length: {}\r\n\r\n{seed}", seed.len());
    let json = "Content-Type: application/json\r\n";
    for (request, expected) in [
        (head(&format!("Host: evil.example\r\n{json}")), 403),
        (head(json), 400),
        (head("Host: localhost\r\n"), 415),
        (head("Host: localhost\r\nContent-Type: text/plain\r\n"), 415),
        (head(&format!("Host: localhost\r\nOrigin: http://evil.example\r\n{json}")), 403),
        (head(&format!("Host: localhost\r\nOrigin: null\r\n{json}")), 403),
        (head(&format!("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n{json}")), 403),
        (head(&format!("Host: localhost\r\nSec-Fetch-Site: same-site\r\n{json}")), 403),
        (head(&format!("Host: localhost\r\nTransfer-Encoding: chunked\r\n{json}")), 411),
        (format!("PUT /seed HTTP/1.1\r\nHost: localhost\r\n{json}\r\n"), 405),
        (format!("OPTIONS /seed HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n{json}\r\n"), 405),
        ("GET /seed HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 405),
        ("GET /status HTTP/1.1\r\nHost: evil.example:5000\r\n\r\n".into(), 403),
        ("GET /status HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n".into(), 403),
        ("GET /status HTTP/1.0\r\n\r\n".into(), 400),
        ("GET /../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 404),
        ("GET http://evil.example/status HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 400),
        (format!("POST /seed HTTP/1.1\r\nHost: localhost\r\n{json}Content-Length: 70000\r\n\r\n"), 413),
        (format!("POST /seed HTTP/1.1\r\nHost: localhost\r\n{json}Content-Length: 5000\r\n\r\n{seed}"), 400),
        (format!("POST /leech HTTP/1.1\r\nHost: localhost\r\n{json}Content-Length: 100663297\r\n\r\n"), 413),
        ("nonsense\r\n\r\n".into(), 400),
    ] {
        let (status, headers, body) = raw(server.address(), request.as_bytes());
        assert_eq!(status, expected, "{request}\n{body}");
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
    assert_eq!(engine.calls(), Vec::<String>::new());
}

#[test]
fn bad_bodies_are_refused_in_words() {
    let (server, engine) = start();
    let deep = format!("{{\"path\":{}", "[".repeat(60_000));
    for (target, body) in [
        ("/seed", ""),
        ("/seed", "{"),
        ("/seed", "[]"),
        ("/seed", "{}"),
        ("/seed", r#"{"path":"relative"}"#),
        ("/seed", r#"{"path":"/x","surprise":1}"#),
        ("/seed", r#"{"path":"/x","piece_length":-1}"#),
        ("/seed", r#"{"path":"/x"} trailing"#),
        ("/seed", deep.as_str()),
        ("/leech", "{}"),
        ("/leech", r#"{"torrent_base64":"eA==","torrent_path":"/x"}"#),
        ("/leech", r#"{"torrent_path":"x"}"#),
        ("/leech", r#"{"torrent_base64":"eA==","output":"x"}"#),
        ("/pause", r#"{"info_hash":"x"}"#),
        ("/pause", r#"{"info_hash":"0707070707070707070707070707070707070707","delete_data":true}"#),
        ("/remove", "{}"),
        ("/settings", r#"{"max_active_seeds":-1}"#),
        ("/settings", r#"{"peer_port":1}"#),
        ("/torrents/0707070707070707070707070707070707070707/options", r#"{"upload_limit":"much"}"#),
    ] {
        let (status, _, answer) = raw(server.address(), &post(target, body));
        assert_eq!(status, 400, "{target} {body}");
        assert!(answer.starts_with("{\"error\":\""), "{answer}");
    }
    assert_eq!(engine.calls(), Vec::<String>::new());
}

#[test]
fn every_answer_has_the_careful_headers() {
    let (server, _engine) = start();
    for request in ["GET / HTTP/1.1\r\nHost: [::1]:9\r\n\r\n", "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let (_, headers, _) = raw(server.address(), request.as_bytes());
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-content-type-options"], "nosniff");
    }
    let (status, headers, _) = raw(server.address(), b"DELETE /seed HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((status, headers["allow"].as_str()), (405, "POST"));
}

#[test]
fn the_client_speaks_with_the_server() {
    let (server, engine) = start();
    let client = ControlClient::new(server.address().port());
    assert_eq!(client.info().unwrap().peer_port, 6881);
    assert_eq!(client.status().unwrap().torrents, [torrent()]);
    assert_eq!(client.details(&known()).unwrap().piece_count, 4);
    assert_eq!(client.torrent_status(&known()).unwrap(), torrent());
    let seed = |name: &str| SeedRequest {
        path: "/data".into(),
        private: true,
        piece_length: Some(16384),
        trackers: vec!["http://a/announce".into()],
        name: Some(name.into()),
        description: None,
        options: OptionsPatch::default(),
    };
    assert_eq!(client.seed(&seed("x")).unwrap(), 9);
    assert_eq!(client.job(9).unwrap(), JobStatus::Running { done: 1, total: 2 });
    assert!(matches!(client.job(10).unwrap(), JobStatus::Failed { .. }));
    assert!(matches!(client.job(11).unwrap(), JobStatus::Done(_)));
    client.cancel_job(9).unwrap();
    let leech = |base64: String| LeechRequest {
        torrent_base64: Some(base64),
        torrent_path: None,
        output: Some(PathBuf::from("/out")),
        options: OptionsPatch { upload_limit: Some(Some(7)), ..OptionsPatch::default() },
    };
    assert_eq!(client.leech(&leech("x".repeat(5_000_000))).unwrap(), torrent());
    client.pause(known()).unwrap();
    client.resume(known()).unwrap();
    client.remove(known(), true).unwrap();
    assert_eq!(
        engine.calls(),
        ["seed /data", "cancel 9", "leech 5000000 Some(\"/out\")", "pause", "resume", "remove true"]
    );

    let patch = OptionsPatch {
        seed_ratio: Some(None),
        upload_limit: Some(Some(5)),
        files: vec![FilePriority { index: 1, priority: Priority::Skip }],
        ..OptionsPatch::default()
    };
    let set = client.set_options(known(), &patch).unwrap();
    assert_eq!((set.options.upload_limit, set.options.priority(1)), (Some(5), Priority::Skip));
    assert_eq!(client.settings().unwrap(), engine.settings());
    let more = SettingsPatch { max_active_seeds: Some(Some(4)), ..SettingsPatch::default() };
    assert_eq!(client.set_settings(&more).unwrap().max_active_seeds, 4);
    assert_eq!(
        engine.calls(),
        ["options Some(None) [FilePriority { index: 1, priority: Skip }]", "settings Some(Some(4))"]
    );

    let unknown = InfoHash::new([8; 20]);
    for (result, expected) in [
        (client.details(&unknown).map(|_| ()), 404),
        (client.torrent_status(&unknown).map(|_| ()), 404),
        (client.job(1).map(|_| ()), 404),
        (client.cancel_job(1), 404),
        (client.pause(unknown), 404),
        (client.set_options(unknown, &patch).map(|_| ()), 404),
        (client.set_settings(&SettingsPatch { seed_ratio: Some(Some(-1.0)), ..more }).map(|_| ()), 400),
        (client.leech(&leech("bad".into())).map(|_| ()), 400),
        (client.leech(&leech("other".into())).map(|_| ()), 409),
        (client.seed(&seed("busy")).map(|_| ()), 503),
        (client.seed(&seed("broken")).map(|_| ()), 500),
    ] {
        let Err(ClientError::Refused { status, .. }) = result else { panic!("{result:?}") };
        assert_eq!(status, expected);
    }
}

#[test]
fn nobody_and_somebody_else_are_told_apart() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = free.accept().unwrap();
        let _ = stream.read(&mut [0; 1000]);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    });
    let client = ControlClient::new(port);
    assert!(matches!(client.info(), Err(ClientError::Stranger { .. })));
    other.join().unwrap();
    let error = client.info().unwrap_err();
    assert!(matches!(error, ClientError::NotRunning(_)), "{error:?}");
    assert!(error.to_string().contains("start one with `torrent-daemon`"));
}

#[test]
fn panics_of_the_engine_cost_no_worker() {
    let (server, _engine) = start();
    for _ in 0..5 {
        let (status, ..) = raw(server.address(), &post("/seed", r#"{"path":"/x","name":"panic"}"#));
        assert_eq!(status, 500);
    }
    assert!(ControlClient::new(server.address().port()).status().is_ok());
}

#[test]
fn stop_frees_the_port_with_clients_connected() {
    let (server, _engine) = start();
    let address = server.address();
    let client = ControlClient::new(address.port());
    client.status().unwrap();
    server.stop();
    assert!(matches!(client.status(), Err(ClientError::NotRunning(_) | ClientError::Broken { .. })));
}

#[test]
fn a_long_list_is_made_page_by_page() {
    for count in [0, 1, 10, 5001] {
        let server = ControlServer::start(0, 1, Arc::new(Many(count))).unwrap();
        let status = ControlClient::new(server.address().port()).status().unwrap();
        let names: Vec<_> = status.torrents.iter().map(|torrent| torrent.name.clone()).collect();
        assert_eq!(names, (0..count).map(|number| format!("torrent \"{number}\"")).collect::<Vec<_>>());
        let peers = u32::try_from(count).unwrap();
        assert_eq!((status.download_rate, status.upload_rate, status.peers), (3 * count, 2 * count, peers));
        let request = b"GET /torrents HTTP/1.0\r\nHost: localhost\r\n\r\n";
        let (code, _, body) = raw(server.address(), request);
        let list: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((code, list["torrents"].as_array().unwrap().len() as u64), (200, count));
        assert_eq!(list.as_object().unwrap().len(), 1);
    }
}
