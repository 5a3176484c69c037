//! Trackers that mean no good: what they send costs bounded time and memory, and is told in words that are safe to print.

use super::*;
use crate::announcer::tests::{failure, start, target};

/// A tracker that answers connects as it should, announces so: the bytes after action and transaction id.
fn saying(action: u32, rest: Vec<u8>) -> Server {
    Server::start(move |request| match request {
        UdpRequest::Announce { transaction, .. } => {
            vec![[&action.to_be_bytes()[..], &transaction.0, &rest].concat()]
        }
        _ => vec![good(request)],
    })
}

const ANNOUNCED: u32 = 1;
const REFUSED: u32 = 3;

/// Interval, leechers, seeders.
const NUMBERS: [u8; 12] = [0, 0, 7, 8, 0, 0, 0, 1, 0, 0, 0, 2];

#[test]
fn lengths_that_lie_are_cut_or_not_taken() {
    let peer = [10, 0, 0, 1, 0x1a, 0xe1];
    let many = peer.repeat(10_000);
    for (peers, taken) in
        [(&many[..0], 0), (&many[..5], 0), (&many[..6], 1), (&many[..11], 1), (&many[..60_000], 500)]
    {
        let server = saying(ANNOUNCED, [&NUMBERS[..], peers].concat());
        let response = client().announce(&server.url(""), &request(), AGES, 500).unwrap();
        assert_eq!((response.peers.len(), response.interval_s), (taken, 1800), "{} bytes", peers.len());
    }
    for rest in [&NUMBERS[..0], &NUMBERS[..11]] {
        let server = saying(ANNOUNCED, rest.to_vec());
        let error = client().announce(&server.url(""), &request(), SHORT, 500).unwrap_err();
        assert!(matches!(error, UdpError::Timeout), "as if nothing had come: {error}");
    }
}

#[test]
fn numbers_without_measure_are_only_numbers() {
    let server = saying(ANNOUNCED, vec![0xff; 12]);
    let response = client().announce(&server.url(""), &request(), AGES, 500).unwrap();
    assert_eq!((response.complete, response.incomplete), (u32::MAX, u32::MAX));
    let (announcer, told) = start(AGES, 1);
    announcer.add(target(1, &[server.url("")]), false);
    let crate::announcer::Answer::Peers { interval, .. } = told.recv_timeout(AGES).unwrap() else { panic!() };
    assert!(interval <= Duration::from_secs(86_400), "{interval:?}");
}

#[test]
fn a_page_of_escapes_is_shown_in_part_and_escaped() {
    let ugly = "\x1b]0;owned\x07\x1b[2J\u{202e}\r\n".repeat(2_500);
    let server = saying(REFUSED, ugly.into_bytes());
    let (announcer, told) = start(AGES, 1);
    announcer.add(target(1, &[server.url("/announce")]), false);
    let reason = failure(&told);
    assert!(reason.contains(": refused: \\u{1b}]0;owned\\u{7}"), "{reason}");
    assert!(reason.chars().count() <= 200 && !reason.contains(char::is_control), "{reason:?}");
}

#[test]
fn addresses_that_are_none_are_dropped() {
    let server = saying(
        ANNOUNCED,
        [
            &NUMBERS[..],
            &[10, 0, 0, 1, 0, 0],
            &[0, 0, 0, 0, 1, 1],
            &[224, 0, 0, 1, 1, 1],
            &[255, 255, 255, 255, 1, 1],
            &[10, 0, 0, 2, 1, 1],
            // The tracker is on this machine: so may its peers be.
            &[127, 0, 0, 1, 1, 1],
        ]
        .concat(),
    );
    let response = client().announce(&server.url(""), &request(), AGES, 500).unwrap();
    let told: Vec<String> = response.peers.iter().map(|peer| peer.address.to_string()).collect();
    assert_eq!(told, ["10.0.0.2:257", "127.0.0.1:257"]);
}

/// Sends the same to whoever asks first, again and again, until it is dropped.
struct Flood {
    address: SocketAddr,
    begun: Receiver<()>,
    stopping: Shutdown,
    worker: Option<Worker>,
}

impl Flood {
    fn start(packet: impl Fn(TransactionId) -> Vec<u8> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let stopping = Shutdown::new();
        let stop = stopping.clone();
        let (tell, begun) = unbounded();
        let run = move || {
            let mut request = [0; 2048];
            let (len, from) = socket.recv_from(&mut request).unwrap();
            if let Ok(UdpRequest::Connect { transaction }) = decode_request(&request[..len]) {
                let packet = packet(transaction);
                for sent in 0_u32.. {
                    // Whoever asked may be gone.
                    let _ = socket.send_to(&packet, from);
                    if sent == 100 {
                        let _ = tell.send(());
                    }
                    if stop.is_set() {
                        break;
                    }
                }
            }
        };
        Self { address, begun, stopping, worker: Some(Worker::spawn("flood", run).unwrap()) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stopping.set();
        // If nobody has asked.
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"", self.address));
        drop(self.worker.take());
    }
}

#[test]
fn a_flood_ends_with_the_time_or_when_we_end() {
    let nonsense = |_| b"nonsense".to_vec();
    // To the right request, but no answer to it.
    let scraped = |transaction: TransactionId| [&[0, 0, 0, 2][..], &transaction.0].concat();
    for packet in [nonsense, scraped as fn(TransactionId) -> Vec<u8>] {
        for hangs_up in [false, true] {
            // Joined last, also when this fails: the end of the flood ends it.
            let mut askers = Vec::new();
            let flood = Flood::start(packet);
            let client = std::sync::Arc::new(client());
            let (asking, url) = (std::sync::Arc::clone(&client), format!("udp://{}", flood.address));
            let (tell, told) = unbounded();
            let patience = if hangs_up { AGES } else { SHORT };
            let ask = move || drop(tell.send(asking.announce(&url, &request(), patience, 50)));
            askers.push(Worker::spawn("asker", ask).unwrap());
            flood.begun.recv_timeout(AGES).unwrap();
            if hangs_up {
                client.hang_up();
            }
            let error = told.recv_timeout(AGES / 4).unwrap().unwrap_err();
            assert_eq!(matches!(error, UdpError::HungUp), hangs_up, "{error}");
        }
    }
}
