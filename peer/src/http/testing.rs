//! A server for tests: on a port of its own, it answers as it is told, also as no server should.

pub(crate) mod tls;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use torrent_common::worker::{Shutdown, Worker};

/// What came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// Method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Header lines.
    pub(crate) headers: Vec<String>,
    /// Body.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The value of a key of the query, still percent-encoded.
    pub(crate) fn query(&self, key: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(k, value)| (k == key).then_some(value))
    }
}

/// How to answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// With this status and body, properly.
    Body(u16, Vec<u8>),
    /// To another place.
    Redirect(String),
    /// With exactly these bytes; then the connection is closed.
    Raw(Vec<u8>),
    /// With these bytes, then these again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// With these bytes, then one more now and then.
    Drip(Vec<u8>),
    /// Never.
    Silence,
}

/// The server: ended and joined on drop, whatever its clients do.
pub(crate) struct Server {
    address: std::net::SocketAddr,
    accepted: Arc<AtomicUsize>,
    stop: Shutdown,
    /// Dropped to end those who are silent.
    hold: Option<Sender<()>>,
    thread: Option<Worker>,
}

impl Server {
    /// Starts a server that asks `answer` what to do.
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    /// The same where somebody else has chosen.
    pub(crate) fn start_on(
        listener: TcpListener,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::run(listener, move |stream, held| serve(stream, &answer, held))
    }

    /// Begins a thread for each connection. The client may go at any time: that is what many tests are about.
    fn run(
        listener: TcpListener,
        talk: impl Fn(&TcpStream, &Receiver<()>) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let stop = Shutdown::new();
        let (hold, held) = crossbeam_channel::bounded(0);
        let (talk, stopped) = (Arc::new(talk), stop.clone());
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let thread = Worker::spawn("test-server", move || {
            let mut connections = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                if stopped.is_set() {
                    break;
                }
                count.fetch_add(1, Ordering::Relaxed);
                let (talk, held) = (Arc::clone(&talk), held.clone());
                let other_end = stream.try_clone().unwrap();
                let thread = Worker::spawn("test-connection", move || {
                    let _ = talk(&stream, &held);
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                });
                connections.push((other_end, thread.unwrap()));
            }
            for (stream, _) in &connections {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        });
        Self { address, accepted, stop, hold: Some(hold), thread: Some(thread.unwrap()) }
    }

    /// Starts a server that hears nobody out: to everyone who connects it says the same.
    pub(crate) fn start_deaf(listener: TcpListener, reply: Reply) -> Self {
        Self::run(listener, move |mut stream, held| {
            speak(stream, &reply, held)?;
            // What the client had sent must not make the system reset the connection.
            stream.shutdown(std::net::Shutdown::Write)?;
            std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
        })
    }

    /// Connections that were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Where it is.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port` and `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.set();
        self.hold = None;
        let _ = TcpStream::connect(self.address);
        self.thread = None;
    }
}

fn serve(stream: &TcpStream, answer: &dyn Fn(&Request) -> Reply, held: &Receiver<()>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read(&mut reader)? {
        let more = speak(stream, &answer(&request), held)?;
        if !more || request.header("connection") == Some("close") {
            break;
        }
    }
    Ok(())
}

/// False if nothing more is to be said.
fn speak(mut stream: &TcpStream, reply: &Reply, held: &Receiver<()>) -> std::io::Result<bool> {
    match reply {
        Reply::Body(status, body) => {
            let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), body].concat())?;
        }
        Reply::Redirect(to) => {
            let head = format!("HTTP/1.1 302 x\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes())?;
        }
        Reply::Raw(bytes) => {
            stream.write_all(bytes)?;
            return Ok(false);
        }
        Reply::Endless(first, again) => {
            stream.write_all(first)?;
            loop {
                stream.write_all(again)?;
            }
        }
        Reply::Drip(first) => {
            stream.write_all(first)?;
            while held.recv_timeout(Duration::from_millis(20)).is_err_and(|error| error.is_timeout()) {
                stream.write_all(b" ")?;
            }
        }
        Reply::Silence => {
            let _ = held.recv();
        }
    }
    Ok(true)
}

fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut request = Request::default();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if request.method.is_empty() {
            let mut words = line.split(' ').map(str::to_owned);
            request.method = words.next().unwrap_or_default();
            request.target = words.next().unwrap_or_default();
        } else if line.is_empty() {
            break;
        } else {
            request.headers.push(line.to_owned());
        }
    }
    let len = request.header("content-length").map_or(0, |len| len.parse().unwrap());
    reader.take(len).read_to_end(&mut request.body)?;
    Ok(Some(request))
}

/// A gzip member with so many zeros, about a thousandth as long. One fixed-Huffman block: a zero, then matches of 258
/// bytes at distance 1.
pub(crate) fn gzip_of_zeros(count: u32) -> Vec<u8> {
    let mut bits: Vec<bool> = vec![true, true, false];
    let mut code = |text: &str| bits.extend(text.chars().map(|bit| bit == '1'));
    // Literal 0 is 00110000, most significant bit first.
    code("00110000");
    let mut len = 1;
    while len + 258 <= count {
        // Length 258 is symbol 285: 11000101; distance 1 is symbol 0: 00000.
        code("1100010100000");
        len += 258;
    }
    (len..count).for_each(|_| code("00110000"));
    // The end of the block.
    code("0000000");
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    out.extend(bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |all, bit| all << 1 | u8::from(*bit))));
    let crc = (0..count).fold(u32::MAX, |crc, _| {
        (0..8).fold(crc, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    out.extend((!crc).to_le_bytes());
    out.extend(count.to_le_bytes());
    out
}
