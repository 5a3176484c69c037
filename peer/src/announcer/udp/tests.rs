//! Against trackers played by the test, over loopback.

mod hostile;

use std::net::UdpSocket;

use crossbeam_channel::{Receiver, unbounded};
use torrent_common::announce::udp::{
    UdpRequest, decode_request, encode_announced, encode_connected, encode_error,
};
use torrent_common::announce::{AnnouncedPeer, Event};
use torrent_common::ids::{InfoHash, PeerId};
use torrent_common::worker::{Shutdown, Worker};

use super::*;
use crate::http::HttpOptions;

/// Long enough never to matter.
const AGES: Duration = Duration::from_secs(60);
/// So short that a request is sent again soon: after a third of it.
const SHORT: Duration = Duration::from_millis(300);

/// What a played tracker was sent.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Connect,
    Announce(ConnectionId, String),
}

/// What it sends, each to where the request came from.
type Replies = Vec<Vec<u8>>;

/// A tracker that answers as a function says.
struct Server {
    address: SocketAddr,
    seen: Receiver<Seen>,
    stopping: Shutdown,
    worker: Option<Worker>,
}

impl Server {
    fn start(mut answer: impl FnMut(&UdpRequest<'_>) -> Replies + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let stopping = Shutdown::new();
        let (tell, seen) = unbounded();
        let stop = stopping.clone();
        let run = move || {
            let mut packet = [0; 2048];
            while let Ok((len, from)) = socket.recv_from(&mut packet)
                && !stop.is_set()
            {
                let request = decode_request(&packet[..len]).unwrap();
                let _ = tell.send(match &request {
                    UdpRequest::Announce { id, url_data, .. } => {
                        let url = url_data.collect::<Vec<_>>().concat();
                        Seen::Announce(*id, String::from_utf8(url).unwrap())
                    }
                    _ => Seen::Connect,
                });
                for reply in answer(&request) {
                    socket.send_to(&reply, from).unwrap();
                }
            }
        };
        Self { address, seen, stopping, worker: Some(Worker::spawn("tracker", run).unwrap()) }
    }

    fn url(&self, path: &str) -> String {
        format!("udp://{}{path}", self.address)
    }

    fn saw(&self) -> Vec<Seen> {
        self.seen.try_iter().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.set();
        let woken = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"", self.address));
        woken.unwrap();
        drop(self.worker.take());
    }
}

fn client() -> UdpClient {
    let http =
        HttpClient::new(&HttpOptions { timeout: AGES, max_redirects: 0, max_idle: 0, guard_loopback: false });
    UdpClient::new(http).unwrap()
}

fn request() -> AnnounceRequest {
    AnnounceRequest {
        info_hash: InfoHash::new([1; 20]),
        peer_id: PeerId::new([2; 20]),
        port: 6881,
        uploaded: 1,
        downloaded: 2,
        left: 3,
        event: Event::Started,
        numwant: Some(50),
        ip: None,
        key: Some(4),
        compact: true,
        no_peer_id: true,
        tracker_id: None,
    }
}

fn response() -> AnnounceResponse {
    let peer = |n| AnnouncedPeer { address: ([10, 0, 0, n], 6881).into(), peer_id: None };
    AnnounceResponse {
        interval_s: 120,
        complete: 1,
        incomplete: 2,
        peers: (1..=5).map(peer).collect(),
        ..Default::default()
    }
}

const ID: ConnectionId = ConnectionId([7; 8]);

/// What a good tracker answers.
fn good(request: &UdpRequest<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match request {
        UdpRequest::Connect { transaction } => encode_connected(*transaction, ID, &mut out),
        UdpRequest::Announce { transaction, .. } => {
            encode_announced(*transaction, &response(), Family::V4, &mut out);
        }
        UdpRequest::Scrape { .. } => {}
    }
    out
}

fn announced(id: ConnectionId) -> Seen {
    Seen::Announce(id, String::new())
}

#[test]
fn an_id_is_asked_for_once_in_a_minute() {
    let server = Server::start(|request| vec![good(request)]);
    let client = client();
    let url = server.url("/announce");
    assert_eq!(client.announce(&url, &request(), AGES, 50).unwrap(), response());
    assert_eq!(server.saw(), [Seen::Connect, announced(ID)]);
    assert_eq!(client.announce(&url, &request(), AGES, 2).unwrap().peers.len(), 2);
    assert_eq!(server.saw(), [announced(ID)]);
    let past = Instant::now();
    client.ids.lock().unwrap().get_mut(&server.address).unwrap().1 = past;
    client.announce(&url, &request(), AGES, 50).unwrap();
    assert_eq!(server.saw(), [Seen::Connect, announced(ID)]);
}

#[test]
fn a_passkey_is_sent_along() {
    let server = Server::start(|request| vec![good(request)]);
    let client = client();
    for (path, sent) in
        [("", ""), ("/", ""), ("/x/announce?k=v", "/x/announce?k=v"), ("?k=v#w", "?k=v"), ("/announce", "")]
    {
        client.announce(&server.url(path), &request(), AGES, 50).unwrap();
        let seen = server.saw();
        assert_eq!(seen.last(), Some(&Seen::Announce(ID, sent.to_owned())), "{path}");
    }
}

#[test]
fn what_was_lost_is_sent_again() {
    let mut count = 0;
    let server = Server::start(move |request| {
        count += 1;
        if count % 2 == 1 { Vec::new() } else { vec![good(request)] }
    });
    // The first wait is a third of this.
    let patience = Duration::from_secs(3);
    assert_eq!(client().announce(&server.url(""), &request(), patience, 50).unwrap(), response());
    assert_eq!(server.saw(), [Seen::Connect, Seen::Connect, announced(ID), announced(ID)]);
}

#[test]
fn an_id_that_has_become_bad_is_replaced() {
    for refuses in [false, true] {
        let new = ConnectionId([8; 8]);
        let server = Server::start(move |request| match request {
            UdpRequest::Connect { transaction } => {
                let mut out = Vec::new();
                encode_connected(*transaction, new, &mut out);
                vec![out]
            }
            UdpRequest::Announce { id, .. } if *id == new => vec![good(request)],
            UdpRequest::Announce { transaction, .. } if refuses => {
                let mut out = Vec::new();
                encode_error(*transaction, "bad id", &mut out);
                vec![out]
            }
            _ => Vec::new(),
        });
        let client = client();
        client.keep_id(server.address, ID);
        client.announce(&server.url(""), &request(), Duration::from_secs(3), 50).unwrap();
        assert_eq!(server.saw(), [announced(ID), Seen::Connect, announced(new)]);
        assert_eq!(client.id(server.address), Some(new));
    }
}

#[test]
fn answers_to_other_requests_are_not_taken() {
    let server = Server::start(|request| {
        let right = good(request);
        let mut other = right.clone();
        other[7] ^= 1;
        let mut wrong_kind = right.clone();
        wrong_kind[3] ^= 1;
        let short = right[..right.len().min(15)].to_vec();
        vec![Vec::new(), b"nonsense".to_vec(), other, wrong_kind, short, right]
    });
    let client = client();
    assert_eq!(client.announce(&server.url(""), &request(), AGES, 50).unwrap(), response());
    assert_eq!(server.saw(), [Seen::Connect, announced(ID)]);
}

#[test]
fn answers_from_elsewhere_are_not_taken() {
    let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("udp://{}", socket.local_addr().unwrap());
    let spoof = Worker::spawn("spoof", move || {
        let mut packet = [0; 16];
        let (len, from) = socket.recv_from(&mut packet).unwrap();
        // The right answer, from another port.
        elsewhere.send_to(&good(&decode_request(&packet[..len]).unwrap()), from).unwrap();
        // And no other: sent again, the request finds nobody.
    });
    let error = client().announce(&url, &request(), SHORT, 50).unwrap_err();
    assert!(matches!(error, UdpError::Timeout | UdpError::Io(_)), "{error}");
    spoof.unwrap().join();
}

#[test]
fn a_silent_tracker_costs_the_time_it_has() {
    let server = Server::start(|_| Vec::new());
    let begun = Instant::now();
    let error = client().announce(&server.url(""), &request(), SHORT, 50).unwrap_err();
    assert!(matches!(error, UdpError::Timeout), "{error}");
    assert!(begun.elapsed() >= SHORT);
    let seen = server.saw();
    assert_eq!(seen, [Seen::Connect, Seen::Connect], "at once, and after a third; then two thirds are over");
}

#[test]
fn refusals_and_dead_ports_are_told() {
    let server = Server::start(|request| match request {
        UdpRequest::Announce { transaction, .. } => {
            let mut out = Vec::new();
            encode_error(*transaction, "go away", &mut out);
            vec![out]
        }
        _ => vec![good(request)],
    });
    let error = client().announce(&server.url(""), &request(), AGES, 50).unwrap_err();
    assert_eq!(error.to_string(), "refused: go away");
    let gone = {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    for (url, expected) in [
        (format!("udp://{gone}/announce"), "cannot reach it over UDP: Connection refused"),
        ("udp://239.1.2.3:1".into(), "239.1.2.3 cannot be a tracker's address"),
        ("udp://[::]:1".into(), ":: cannot be a tracker's address"),
        ("udp://host".into(), "not a valid udp address"),
        ("http://host:1/announce".into(), "not a valid udp address"),
    ] {
        let error = client().announce(&url, &request(), AGES, 50).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{url}: {error}");
    }
}

#[test]
fn hanging_up_ends_what_is_under_way() {
    let server = Server::start(|_| Vec::new());
    let client = std::sync::Arc::new(client());
    let (tell, told) = unbounded();
    let (asking, url) = (std::sync::Arc::clone(&client), server.url(""));
    let asker = Worker::spawn("asker", move || {
        tell.send(asking.announce(&url, &request(), AGES, 50)).unwrap();
    });
    assert_eq!(server.seen.recv_timeout(AGES), Ok(Seen::Connect));
    client.hang_up();
    let error = told.recv_timeout(AGES / 2).unwrap().unwrap_err();
    assert!(matches!(error, UdpError::HungUp), "{error}");
    asker.unwrap().join();
}

#[test]
fn ids_kept_are_bounded() {
    let client = client();
    for port in 1..1000 {
        client.keep_id(([10, 0, 0, 1], port).into(), ID);
    }
    assert_eq!(client.ids.lock().unwrap().len(), MAX_IDS);
    client.ids.lock().unwrap().values_mut().for_each(|(_, until)| *until = Instant::now());
    client.keep_id(([10, 0, 0, 2], 1).into(), ID);
    assert_eq!(client.ids.lock().unwrap().len(), 1);
}

#[test]
fn one_address_of_each_protocol_is_tried() {
    let client = client();
    let addresses = ["[::1]:1", "[::2]:1", "127.0.0.1:1", "127.0.0.2:1"].map(|text| text.parse().unwrap());
    let [six, _, four, _] = addresses;
    assert_eq!(client.in_order(&addresses), [six, four]);
    client.keep_id(four, ID);
    assert_eq!(client.in_order(&addresses), [four, six]);
}
