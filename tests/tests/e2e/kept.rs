//! A connection that is kept, to the control port or to a tracker: whatever is asked on it, and whenever the guard looks, it is
//! answered, and goes on. A proxy in front of a tracker sends what many clients ask on a few such connections.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use torrent_tests::daemon::Daemon;
use torrent_tests::room::Room;
use torrent_tests::tracker::Tracker;

/// Rounds in the normal run; `KEPT_ROUNDS` says how many else.
const ROUNDS: usize = 15;
/// Bodies in bytes: more than a head may have, and, together with others, than all heads may have.
const BODIES: [usize; 3] = [20_000, 300_000, 1_200_000];
/// Announces of a round: their heads together are longer than one head may be.
const ANNOUNCES: usize = 60;

const FORM: &str = "multipart/form-data; boundary=XX";
const JSON: &str = "application/json";

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

fn post(target: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Asks, and gives the status of the answer, whose body has to be of the length that its head says.
fn ask(stream: &mut TcpStream, request: &[u8]) -> u16 {
    stream.write_all(request).expect("the connection is open");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mut body = vec![0; field("content-length:").expect(&head).parse().unwrap()];
    stream.read_exact(&mut body).expect("all of the answer");
    assert_ne!(field("connection:"), Some("close"), "{head}");
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Has all of a conversation, again and again, on one connection: requests, each with the status of its answer.
fn converse(address: SocketAddr, requests: &[(Vec<u8>, u16)]) {
    let rounds = std::env::var("KEPT_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for _ in 0..rounds {
        for (request, status) in requests {
            let start = || String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
            assert_eq!(ask(&mut stream, request), *status, "{}", start());
        }
    }
}

#[test]
fn no_conversation_with_a_daemon_breaks_off() {
    let room = Room::new("kept-control");
    let daemon = Daemon::start(&room, "daemon", "http://127.0.0.1:9/announce");
    let leech = |len| format!(r#"{{"torrent_base64":"{}","output":"/out"}}"#, "x".repeat(len));
    let unknown = br#"{"info_hash":"0808080808080808080808080808080808080808"}"#;
    let short = [
        (post("/pause", JSON, unknown), 404),
        (get("/settings"), 200),
        (post("/settings", JSON, b"{}"), 200),
        (post("/resume", JSON, unknown), 404),
        (post("/leech", JSON, leech(3).as_bytes()), 400),
        (get("/"), 200),
        (post("/nowhere", JSON, unknown), 404),
        (post("/settings", JSON, b"[]"), 400),
    ];
    let mut requests = Vec::new();
    for (len, times) in BODIES.into_iter().zip(1..) {
        requests.push((post("/leech", JSON, leech(len).as_bytes()), 400));
        (0..times).for_each(|_| requests.extend_from_slice(&short));
    }
    converse(daemon.control(), &requests);
    daemon.stop();
}

#[test]
fn no_conversation_with_a_tracker_breaks_off() {
    let room = Room::new("kept-tracker");
    let tracker = Tracker::start(&room);
    let (hash, peer) = ("a".repeat(20), "b".repeat(20));
    let announce = get(&format!("/announce?info_hash={hash}&peer_id={peer}&port=6881&left=5&ip=10.0.0.1"));
    let short = [
        (get("/torrents?q=a"), 200),
        (get("/scrape"), 200),
        (post("/announce", FORM, b"x"), 400),
        (get("/nowhere"), 404),
        (get("/"), 200),
    ];
    let mut requests = Vec::new();
    for len in BODIES {
        let start = "--XX\r\nContent-Disposition: form-data; name=\"torrent\"\r\n\r\n";
        let no_torrent = [start.as_bytes(), &vec![b'd'; len], b"\r\n--XX--\r\n"].concat();
        requests.push((post("/announce", FORM, &no_torrent), 400));
        requests.extend_from_slice(&short);
    }
    requests.extend(std::iter::repeat_n((announce, 200), ANNOUNCES));
    converse(tracker.address(), &requests);
    tracker.stop();
}
