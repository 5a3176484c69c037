//! The load of `scripts/bench.sh` on a tracker: announces over HTTP, from one thread, over many connections.
//!
//! `load ADDRESS SECONDS CONNECTIONS keep-alive|close`: each connection announces a random peer to one of 1,000 torrents,
//! reads the answer, and announces the next; with `close`, over a new connection each time. Prints one line:
//! `answers=N refusals=N failures=N p50_us=N p99_us=N`. Refusals are answers without peers, failures no answers at all.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

const TORRENTS: u16 = 1000;
const PEERS: u16 = 1000;
/// What one connection may wait for its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than any answer with 50 peers.
const ANSWER_LEN: usize = 16 << 10;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [address, seconds, connections, mode @ ("keep-alive" | "close")] = *arguments else {
        return Err(invalid("load ADDRESS SECONDS CONNECTIONS keep-alive|close"));
    };
    let address: SocketAddr = address.parse().map_err(|_| invalid("an address is HOST:PORT"))?;
    let seconds = seconds.parse().map_err(|_| invalid("seconds are a number"))?;
    let connections: usize = connections.parse().map_err(|_| invalid("connections are a number"))?;
    let mut load = Load {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        address,
        close: mode == "close",
        random: fastrand::Rng::with_seed(7),
        count: Count::default(),
        request: String::new(),
    };
    load.run(connections.clamp(1, 10_000), Instant::now() + Duration::from_secs(seconds))?;
    load.count.print()
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, text)
}

/// What happened.
#[derive(Default)]
struct Count {
    refusals: u64,
    failures: u64,
    /// Of every answer.
    latencies_us: Vec<u32>,
}

impl Count {
    fn print(mut self) -> io::Result<()> {
        self.latencies_us.sort_unstable();
        let part = |percent: usize| {
            let at = self.latencies_us.len().saturating_sub(1) * percent / 100;
            self.latencies_us.get(at).copied().unwrap_or(0)
        };
        writeln!(
            io::stdout(),
            "answers={} refusals={} failures={} p50_us={} p99_us={}",
            self.latencies_us.len(),
            self.refusals,
            self.failures,
            part(50),
            part(99)
        )
    }
}

/// One connection, and what has come of its answer.
struct Connection {
    stream: TcpStream,
    asked: Instant,
    answer: Vec<u8>,
}

struct Load {
    epoll: OwnedFd,
    address: SocketAddr,
    close: bool,
    random: fastrand::Rng,
    count: Count,
    /// Reused.
    request: String,
}

impl Load {
    fn run(&mut self, connections: usize, end: Instant) -> io::Result<()> {
        let mut open = Vec::new();
        for index in 0..connections {
            open.push(self.dial(index)?);
        }
        let (mut events, mut buffer) = (Vec::with_capacity(256), vec![0; ANSWER_LEN]);
        let mut look = Instant::now() + PATIENCE;
        while Instant::now() < end {
            events.clear();
            let tenth = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&tenth))?;
            for event in &events {
                let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                if let Some(connection) = open.get_mut(index) {
                    self.advance(index, connection, &mut buffer)?;
                }
            }
            if look < Instant::now() {
                look = Instant::now() + PATIENCE;
                self.give_up(&mut open)?;
            }
        }
        Ok(())
    }

    /// Those that wait for too long begin anew.
    fn give_up(&mut self, open: &mut [Connection]) -> io::Result<()> {
        for (index, connection) in open.iter_mut().enumerate() {
            if connection.asked.elapsed() > PATIENCE {
                self.count.failures += 1;
                *connection = self.dial(index)?;
            }
        }
        Ok(())
    }

    /// Bytes are here, or the end of a connection.
    fn advance(&mut self, index: usize, connection: &mut Connection, buffer: &mut [u8]) -> io::Result<()> {
        let len = match connection.stream.read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            result => result.unwrap_or(0),
        };
        if len == 0 || connection.answer.len() > ANSWER_LEN {
            self.count.failures += 1;
            *connection = self.dial(index)?;
            return Ok(());
        }
        connection.answer.extend_from_slice(buffer.get(..len).unwrap_or_default());
        let Some(answer) = Answer::read(&connection.answer) else { return Ok(()) };
        let latency_us = u32::try_from(connection.asked.elapsed().as_micros()).unwrap_or(u32::MAX);
        self.count.latencies_us.push(latency_us);
        self.count.refusals += u64::from(answer.refuses);
        if self.close || answer.closes {
            *connection = self.dial(index)?;
            return Ok(());
        }
        connection.answer.clear();
        self.ask(connection);
        Ok(())
    }

    /// A new connection in this place, with its first announce sent. Epoll forgets the old one when it is closed.
    fn dial(&mut self, index: usize) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nonblocking(true)?;
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        let mut connection = Connection { stream, asked: Instant::now(), answer: Vec::new() };
        self.ask(&mut connection);
        Ok(connection)
    }

    /// Sends the next announce. Should that fail, the connection is at its end: reading tells.
    fn ask(&mut self, connection: &mut Connection) {
        use std::fmt::Write as _;
        let (torrent, peer) = (self.random.u16(..TORRENTS), self.random.u16(..PEERS));
        let [high, low] = torrent.to_be_bytes();
        self.request.clear();
        // Writing to a String cannot fail. A third of the peers are seeders.
        let _ = write!(
            self.request,
            "GET /announce?info_hash=BENCHMARK---------%{high:02X}%{low:02X}&peer_id=-BE0100-{peer:012}&port={}\
             &uploaded=0&downloaded=0&left={}&compact=1&numwant=50 HTTP/1.1\r\nHost: tracker\r\n{}\r\n",
            1024 + peer,
            if peer.is_multiple_of(3) { 0 } else { 1000 },
            if self.close { "Connection: close\r\n" } else { "" },
        );
        connection.asked = Instant::now();
        let _ = connection.stream.write_all(self.request.as_bytes());
    }
}

/// What is to be known of a whole answer.
struct Answer {
    /// It holds no peers.
    refuses: bool,
    /// The other side will close.
    closes: bool,
}

impl Answer {
    /// None while head or body are not all here.
    fn read(answer: &[u8]) -> Option<Self> {
        let head_len = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
        let (head, body) = (std::str::from_utf8(answer.get(..head_len)?).ok()?, answer.get(head_len + 4..)?);
        let (mut len, mut closes) = (0, false);
        for (name, value) in head.split("\r\n").filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                len = value.trim().parse().ok()?;
            } else if name.eq_ignore_ascii_case("connection") {
                closes = value.trim().eq_ignore_ascii_case("close");
            }
        }
        let refuses = body.starts_with(b"d14:failure reason") || !head.contains(" 200 ");
        (body.len() >= len).then_some(Self { refuses, closes })
    }
}
