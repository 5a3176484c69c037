//! UDP over real sockets, on a port that the system chose; and the clerk alone.

mod hostile;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use tempfile::TempDir;
use torrent_common::announce::compact::Family;
use torrent_common::announce::udp::{
    ConnectionId, TransactionId, UdpAnswer, decode_answer, encode_announce, encode_connect, encode_scrape,
    max_peers,
};
use torrent_common::announce::{AnnounceRequest, AnnounceResponse, Event, ScrapeEntry};
use torrent_common::config::TrackerConfig;
use torrent_common::ids::{InfoHash, PeerId};

use crate::{Running, StartError, Tracker};

/// How long an answer may take that must come.
const AGES: Duration = Duration::from_secs(60);
/// How long one is waited for that may have been lost in a flood.
const SHORT: Duration = Duration::from_millis(100);

struct Fixture {
    running: Running,
    config: TrackerConfig,
    _folder: TempDir,
}

fn configured() -> (TrackerConfig, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = TrackerConfig {
        port: 0,
        torrent_dir: folder.path().join("torrents"),
        torrent_file: folder.path().join("catalogue.db"),
        peer_file: folder.path().join("peers"),
        ..TrackerConfig::default()
    };
    (config, folder)
}

impl Fixture {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut TrackerConfig)) -> Self {
        let (mut config, folder) = configured();
        change(&mut config);
        Self { running: Tracker::start(&config).unwrap(), config, _folder: folder }
    }

    fn client(&self) -> Client {
        Client::connected(self.running.address())
    }

    /// A number of GET /.
    fn count(&self, name: &str) -> u64 {
        let url = format!("http://{}/", self.running.address());
        let body = ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap();
        let status: serde_json::Value = serde_json::from_str(&body).unwrap();
        status[name].as_u64().unwrap_or_else(|| panic!("{name}: {body}"))
    }
}

/// A peer.
struct Client {
    socket: UdpSocket,
    family: Family,
    id: ConnectionId,
    transactions: u32,
}

impl Client {
    /// Without a connection id.
    fn new(to: SocketAddr) -> Self {
        let any: SocketAddr = if to.is_ipv4() { ([127, 0, 0, 1], 0).into() } else { ([0; 16], 0).into() };
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(AGES)).unwrap();
        Self { socket, family: Family::of(to.ip()), id: ConnectionId([0; 8]), transactions: 0 }
    }

    fn connected(to: SocketAddr) -> Self {
        let mut client = Self::new(to);
        let UdpAnswer::Connected(id) = client.ask(|_, transaction, out| encode_connect(transaction, out))
        else {
            panic!()
        };
        client.id = id;
        client
    }

    fn send(&mut self, encode: impl FnOnce(ConnectionId, TransactionId, &mut Vec<u8>)) -> TransactionId {
        self.transactions += 1;
        let transaction = TransactionId(self.transactions.to_be_bytes());
        let mut packet = Vec::new();
        encode(self.id, transaction, &mut packet);
        self.socket.send(&packet).unwrap();
        transaction
    }

    /// The next answer, if there is one in time.
    fn hear(&self) -> Option<(TransactionId, UdpAnswer)> {
        let mut packet = [0; 2048];
        let len = self.socket.recv(&mut packet).ok()?;
        Some(decode_answer(&packet[..len], self.family, 1000).unwrap())
    }

    fn ask(&mut self, encode: impl FnOnce(ConnectionId, TransactionId, &mut Vec<u8>)) -> UdpAnswer {
        let transaction = self.send(encode);
        let (answered, answer) = self.hear().unwrap();
        assert_eq!(answered, transaction);
        answer
    }

    fn announce(&mut self, request: &AnnounceRequest) -> AnnounceResponse {
        match self.ask(|id, transaction, out| encode_announce(id, transaction, request, "/announce", out)) {
            UdpAnswer::Announced(response) => response,
            other => panic!("{other:?}"),
        }
    }

    fn scrape(&mut self, hashes: &[InfoHash]) -> Vec<ScrapeEntry> {
        match self.ask(|id, transaction, out| encode_scrape(id, transaction, hashes, out)) {
            UdpAnswer::Scraped(entries) => entries,
            other => panic!("{other:?}"),
        }
    }
}

fn hash(n: u8) -> InfoHash {
    InfoHash::new([n; 20])
}

fn request(port: u16) -> AnnounceRequest {
    AnnounceRequest {
        info_hash: hash(1),
        peer_id: PeerId::new([b'p'; 20]),
        port,
        uploaded: 0,
        downloaded: 0,
        left: 1,
        event: Event::Started,
        numwant: None,
        ip: None,
        key: Some(7),
        compact: true,
        no_peer_id: true,
        tracker_id: None,
    }
}

fn seeder(port: u16) -> AnnounceRequest {
    AnnounceRequest { left: 0, ..request(port) }
}

fn told(response: &AnnounceResponse) -> HashSet<String> {
    response.peers.iter().map(|peer| peer.address.to_string()).collect()
}

fn set(addresses: &[&str]) -> HashSet<String> {
    addresses.iter().map(|&address| address.to_owned()).collect()
}

#[test]
fn announces_and_scrapes() {
    let fixture = Fixture::with(|config| config.max_scrape = 3);
    let mut client = fixture.client();
    let response = client.announce(&seeder(1001));
    assert_eq!((response.complete, response.incomplete, response.peers.len()), (1, 0, 0));
    let interval_s = fixture.config.interval_s;
    assert!((interval_s * 9 / 10..=interval_s).contains(&response.interval_s), "{}", response.interval_s);
    let response = client.announce(&request(1002));
    assert_eq!((response.complete, response.incomplete), (1, 1));
    assert_eq!(told(&response), set(&["127.0.0.1:1001"]));
    let completed = AnnounceRequest { event: Event::Completed, ..seeder(1002) };
    assert_eq!(client.announce(&completed).complete, 2);
    let stopped = AnnounceRequest { event: Event::Stopped, ..seeder(1001) };
    assert_eq!(client.announce(&stopped).complete, 1);
    let expected = ScrapeEntry { complete: 1, downloaded: 1, incomplete: 0 };
    assert_eq!(client.scrape(&[hash(2), hash(1)]), [ScrapeEntry::default(), expected]);
    assert_eq!(client.scrape(&[hash(1); 74]), [expected; 3], "no more than MAX_SCRAPE");

    // Over HTTP it is the same swarm.
    let address = fixture.running.address();
    let query = "info_hash=%01%01%01%01%01%01%01%01%01%01%01%01%01%01%01%01%01%01%01%01\
                 &peer_id=aaaaaaaaaaaaaaaaaaaa&port=1003&left=1";
    ureq::get(&format!("http://{address}/announce?{query}")).call().unwrap();
    assert_eq!(told(&client.announce(&seeder(1002))), set(&["127.0.0.1:1003"]));
    for (name, expected) in [
        ("announces", 6),
        ("udp_announces", 5),
        ("scrapes", 2),
        ("udp_connects", 1),
        ("udp_dropped", 0),
        ("refused", 0),
    ] {
        assert_eq!(fixture.count(name), expected, "{name}");
    }
}

#[test]
fn a_refusal_says_why() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    let answer = client.ask(|id, transaction, out| encode_announce(id, transaction, &request(0), "", out));
    assert_eq!(answer, UdpAnswer::Refused("port 0 cannot be dialled".into()));
    assert_eq!(fixture.count("refused"), 1);
}

#[test]
fn a_flood_of_torrents_and_peers_stops_at_the_limits() {
    let fixture = Fixture::with(|config| (config.max_torrents, config.max_peers) = (30, 200));
    let mut client = fixture.client();
    for n in 0..500_u16 {
        let info_hash = InfoHash::of(&n.to_le_bytes());
        assert_eq!(client.announce(&AnnounceRequest { info_hash, ..request(1) }).incomplete, 1);
    }
    assert_eq!((fixture.count("swarms"), fixture.count("peers")), (30, 30));
    for port in 1..=1000 {
        client.announce(&request(port));
    }
    assert!(fixture.count("swarms") <= 30 && fixture.count("peers") <= 200);
    assert_eq!((fixture.count("refused"), client.announce(&request(1001)).peers.len()), (0, 50));
}

#[test]
fn as_many_peers_as_wanted_and_as_fit() {
    let fixture = Fixture::with(|config| (config.default_peers, config.max_numwant) = (5, 2000));
    let mut client = fixture.client();
    for port in 1..=300 {
        client.announce(&AnnounceRequest { numwant: Some(0), ..request(port) });
    }
    for (numwant, expected) in [(None, 5), (Some(0), 0), (Some(7), 7), (Some(u32::MAX), 202)] {
        let response = client.announce(&AnnounceRequest { numwant, ..request(1) });
        assert_eq!(response.peers.len(), expected, "{numwant:?}");
        assert_eq!(told(&response).len(), expected, "none twice");
        assert_eq!(response.incomplete, 300);
    }
    assert_eq!(max_peers(Family::V4), 202);
}

#[test]
fn an_address_is_believed_from_this_machine() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.announce(&AnnounceRequest { ip: Some([10, 1, 2, 3].into()), ..seeder(1001) });
    assert_eq!(told(&client.announce(&request(1002))), set(&["10.1.2.3:1001"]));
}

#[test]
fn ipv6_and_ipv4_on_one_port() {
    let any: IpAddr = "::".parse().unwrap();
    let fixture = Fixture::with(|config| config.host = any);
    let port = fixture.running.address().port();
    let mut four = Client::connected(([127, 0, 0, 1], port).into());
    let mut six = Client::connected((std::net::Ipv6Addr::LOCALHOST, port).into());
    four.announce(&seeder(4));
    six.announce(&seeder(6));
    let response = four.announce(&request(44));
    assert_eq!(told(&response), set(&["127.0.0.1:4"]), "peers of the protocol that carries the answer");
    assert_eq!((response.complete, response.incomplete), (2, 1), "but the counts are everybody's");
    let response = six.announce(&request(66));
    assert_eq!(told(&response), set(&["[::1]:6"]));
    assert_eq!((response.complete, response.incomplete), (2, 2));
    for port in 100..200 {
        six.announce(&AnnounceRequest { numwant: Some(0), ..request(port) });
    }
    let response = six.announce(&AnnounceRequest { numwant: Some(200), ..request(66) });
    assert_eq!(response.peers.len(), max_peers(Family::V6));
}

/// A connected socket hears nothing that comes from elsewhere.
#[test]
fn on_a_wildcard_address_an_answer_comes_from_the_address_that_was_asked() {
    for host in ["0.0.0.0", "::"] {
        let fixture = Fixture::with(|config| {
            config.host = host.parse().unwrap();
            config.workers = 1;
        });
        let port = fixture.running.address().port();
        let mut clients = [[127, 0, 0, 1], [127, 0, 0, 5], [127, 1, 2, 3]]
            .map(|address| Client::connected((address, port).into()));
        for n in 1..=20 {
            // Those that are answered together have asked at different addresses.
            let asked = clients.each_mut().map(|client| {
                client.send(|id, transaction, out| encode_announce(id, transaction, &request(n), "", out))
            });
            for (client, asked) in clients.iter().zip(asked) {
                assert_eq!(client.hear().unwrap().0, asked, "{host}");
            }
        }
        if host == "::" {
            Client::connected((std::net::Ipv6Addr::LOCALHOST, port).into()).announce(&request(1));
        }
    }
}

#[test]
fn many_at_once_are_all_answered() {
    let fixture = Fixture::with(|config| config.workers = 1);
    let mut client = fixture.client();
    for _ in 0..20 {
        let mut missing = HashSet::new();
        for port in 1..=100 {
            let request = request(port);
            missing.insert(client.send(|id, transaction, out| {
                encode_announce(id, transaction, &request, "", out);
            }));
        }
        while !missing.is_empty() {
            let (transaction, _) = client.hear().unwrap();
            assert!(missing.remove(&transaction));
        }
    }
}

#[test]
fn stopping_ends_threads_and_frees_the_port() {
    for (workers, used) in [(1, false), (3, true)] {
        // On an address of its own: elsewhere another test might take the port meanwhile.
        let host = IpAddr::from([127, 77, 0, 1]);
        let Fixture { running, _folder, .. } =
            Fixture::with(|config| (config.host, config.workers) = (host, workers));
        let address = running.address();
        if used {
            (0..9).for_each(|_| drop(Client::connected(address)));
        }
        running.stop();
        // Every thread holds its socket.
        UdpSocket::bind(address).unwrap();
    }
}

#[test]
fn a_port_that_is_not_free_for_udp() {
    let host = [127, 77, 0, 2];
    let others = [false, true].map(|is_shared| super::open((host, 0).into(), is_shared).unwrap());
    for other in others {
        let (mut config, _folder) = configured();
        config.host = host.into();
        config.port = other.local_addr().unwrap().port();
        let Err(error) = Tracker::start(&config) else { panic!("started") };
        assert!(matches!(error, StartError::UdpInUse(_)), "{error}");
        assert!(error.to_string().contains("UDP = no"), "{error}");
        config.udp = false;
        let running = Tracker::start(&config).unwrap();
        assert_eq!(running.address().port(), config.port);
    }
}
