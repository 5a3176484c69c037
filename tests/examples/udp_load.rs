//! The load of `scripts/bench.sh` on a tracker over UDP: announces from one socket, many with one system call.
//!
//! - `udp_load ADDRESS SECONDS WINDOW PEERS`: keeps that many announces under way for so long, of random ones of so many peers
//!   in 1,000 torrents: those that the next mode has announced.
//! - `udp_load ADDRESS fill PEERS`: announces that many peers, each once, in 1,000 torrents.
//!
//! Prints one line: `answers=N failures=N lost=N p50_us=N p99_us=N p999_us=N`. Failures are answers that are no peers, lost
//! are announces without an answer within a fifth of a second. What an announce waited for includes those before it in
//! the window.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use torrent_common::announce::compact::Family;
use torrent_common::announce::udp::{
    ConnectionId, TransactionId, UdpAnswer, decode_answer, encode_announce, encode_connect,
};
use torrent_common::announce::{AnnounceRequest, Event};
use torrent_common::ids::{InfoHash, PeerId};

const TORRENTS: u32 = 1000;
/// The first port. Peers differ in it, so there are at most 60,000 of a torrent.
const PORT: u32 = 1024;
const MAX_PEERS: u32 = TORRENTS * 60_000;
/// Packets sent or received together at most.
const BATCH: usize = 32;
/// Announces under way while filling.
const FILL_WINDOW: usize = 256;
const PATIENCE: Duration = Duration::from_millis(200);
/// What filling may take.
const FILL_TIME: Duration = Duration::from_secs(120);
/// Latencies kept: of the first so many answers.
const MAX_LATENCIES: usize = 1 << 24;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, mode, count, random_peers) = match &*arguments {
        [address, mode, count] if mode == "fill" => (address, mode, count, "1"),
        [address, mode, count, peers] => (address, mode, count, peers.as_str()),
        _ => return Err(invalid("udp_load ADDRESS SECONDS WINDOW PEERS | udp_load ADDRESS fill PEERS")),
    };
    let random_peers: u32 = random_peers.parse().map_err(|_| invalid("the last argument is a number"))?;
    let peers_of_one = (random_peers / TORRENTS).clamp(1, MAX_PEERS / TORRENTS);
    let address: SocketAddr = address.parse().map_err(|_| invalid("an address is HOST:PORT"))?;
    let count: u32 = count.parse().map_err(|_| invalid("how many is a number"))?;
    let now = Instant::now();
    let (window, peers, end) = if mode == "fill" {
        (FILL_WINDOW, Some(count.clamp(1, MAX_PEERS)), now + FILL_TIME)
    } else {
        let seconds = mode.parse().map_err(|_| invalid("seconds are a number"))?;
        (usize::try_from(count.clamp(1, 4096)).unwrap_or(1), None, now + Duration::from_secs(seconds))
    };
    Load::new(address, window, peers, peers_of_one)?.run(end)
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, text)
}

struct Load {
    socket: UdpSocket,
    id: ConnectionId,
    window: usize,
    /// Every one of so many; none: random ones.
    peers: Option<u32>,
    /// Of one torrent, when they are chosen at random.
    peers_of_one: u32,
    random: fastrand::Rng,
    request: AnnounceRequest,
    /// Announces sent; the next one's transaction.
    sent: u32,
    under_way: usize,
    /// When those under way were sent, by their transaction.
    asked: Vec<Instant>,
    failures: u64,
    lost: usize,
    answers: u64,
    latencies_us: Vec<u32>,
}

impl Load {
    /// Gets a connection id.
    fn new(address: SocketAddr, window: usize, peers: Option<u32>, peers_of_one: u32) -> io::Result<Self> {
        let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let (mut packet, mut answer) = (Vec::new(), [0; 64]);
        encode_connect(TransactionId([7; 4]), &mut packet);
        socket.send(&packet)?;
        let len = socket.recv(&mut answer)?;
        let answer = decode_answer(answer.get(..len).unwrap_or_default(), Family::V4, 0);
        let Ok((_, UdpAnswer::Connected(id))) = answer else { return Err(invalid("no tracker answers")) };
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            id,
            window,
            peers,
            peers_of_one,
            random: fastrand::Rng::with_seed(7),
            request: request(),
            sent: 0,
            under_way: 0,
            asked: vec![Instant::now(); 8192],
            failures: 0,
            lost: 0,
            answers: 0,
            latencies_us: Vec::new(),
        })
    }

    fn run(mut self, end: Instant) -> io::Result<()> {
        let mut buffers = vec![[0; 2048]; BATCH];
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        while Instant::now() < end {
            self.send()?;
            if self.under_way == 0 {
                break;
            }
            let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
            let flags = MsgFlags::MSG_WAITFORONE;
            let lens: Vec<_> =
                match recvmmsg(self.socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None) {
                    Ok(messages) => messages.map(|message| message.bytes).collect(),
                    Err(nix::errno::Errno::EAGAIN) => {
                        self.lost += std::mem::take(&mut self.under_way);
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
            let now = Instant::now();
            for (buffer, len) in buffers.iter().zip(lens) {
                self.receive(buffer.get(..len).unwrap_or_default(), now);
            }
        }
        self.print()
    }

    /// Sends as many as there is room for in the window.
    fn send(&mut self) -> io::Result<()> {
        let left = self.peers.map_or(usize::MAX, |peers| (peers - self.sent.min(peers)) as usize);
        let count = (self.window - self.under_way.min(self.window)).min(BATCH).min(left);
        // Not one by one when the window is large: that would be another load.
        if count < BATCH.min(self.window / 2).min(left) {
            return Ok(());
        }
        let packets: Vec<Vec<u8>> = (0..count).map(|_| self.next()).collect();
        let slices: Vec<_> = packets.iter().map(|packet| [IoSlice::new(packet)]).collect();
        let mut controls: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::new(&mut [])).collect();
        let mut messages: Vec<_> =
            slices.iter().zip(&mut controls).map(|(slice, control)| MMsgHdr::new(slice, control)).collect();
        self.under_way += sendmmsg(&self.socket, &mut messages, SendFlags::empty())?;
        Ok(())
    }

    /// The next announce.
    fn next(&mut self) -> Vec<u8> {
        let (torrent, peer) = match self.peers {
            Some(_) => (self.sent % TORRENTS, self.sent / TORRENTS),
            None => (self.random.u32(..TORRENTS), self.random.u32(..self.peers_of_one)),
        };
        let mut info_hash = *b"BENCHMARK---------\0\0";
        if let Some(number) = info_hash.last_chunk_mut() {
            *number = u16::try_from(torrent).unwrap_or(0).to_be_bytes();
        }
        self.request.info_hash = InfoHash::new(info_hash);
        self.request.port = u16::try_from(PORT + peer).unwrap_or(u16::MAX);
        self.request.left = if peer.is_multiple_of(3) { 0 } else { 1000 };
        if let Some(asked) = self.asked.get_mut(self.sent as usize % 8192) {
            *asked = Instant::now();
        }
        let mut packet = Vec::with_capacity(98);
        let transaction = TransactionId(self.sent.to_be_bytes());
        encode_announce(self.id, transaction, &self.request, "", &mut packet);
        self.sent = self.sent.wrapping_add(1);
        packet
    }

    fn receive(&mut self, packet: &[u8], now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        let Some((&[0, 0, 0, 1, ref transaction @ ..], _)) = packet.split_first_chunk::<8>() else {
            self.failures += 1;
            return;
        };
        self.answers += 1;
        let number = u32::from_be_bytes(*transaction);
        if let Some(asked) = self.asked.get(number as usize % 8192)
            && self.latencies_us.len() < MAX_LATENCIES
        {
            let latency_us = now.saturating_duration_since(*asked).as_micros();
            self.latencies_us.push(u32::try_from(latency_us).unwrap_or(u32::MAX));
        }
    }

    fn print(mut self) -> io::Result<()> {
        self.latencies_us.sort_unstable();
        let part = |thousandth: usize| {
            let at = self.latencies_us.len().saturating_sub(1) * thousandth / 1000;
            self.latencies_us.get(at).copied().unwrap_or(0)
        };
        writeln!(
            io::stdout(),
            "answers={} failures={} lost={} p50_us={} p99_us={} p999_us={}",
            self.answers,
            self.failures,
            self.lost,
            part(500),
            part(990),
            part(999)
        )
    }
}

fn request() -> AnnounceRequest {
    AnnounceRequest {
        info_hash: InfoHash::new([0; 20]),
        peer_id: PeerId::new(*b"-BE0100-000000000000"),
        port: 1,
        uploaded: 0,
        downloaded: 0,
        left: 0,
        event: Event::None,
        numwant: Some(50),
        ip: None,
        key: Some(1),
        compact: true,
        no_peer_id: true,
        tracker_id: None,
    }
}
