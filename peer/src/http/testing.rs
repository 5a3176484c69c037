//! A server for tests: on a port of its own, it answers as it is told, also as no server should.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
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
    stop: Shutdown,
    /// Dropped to end those who are silent.
    hold: Option<Sender<()>>,
    thread: Option<Worker>,
}

impl Server {
    /// Starts a server that asks `answer` what to do.
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Shutdown::new();
        let (hold, held) = crossbeam_channel::bounded(0);
        let (answer, stopped) = (Arc::new(answer), stop.clone());
        let thread = Worker::spawn("test-server", move || {
            let mut connections = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                if stopped.is_set() {
                    break;
                }
                let (answer, held) = (Arc::clone(&answer), held.clone());
                let other_end = stream.try_clone().unwrap();
                let thread = Worker::spawn("test-connection", move || {
                    // The client may go at any time: that is what many tests are about.
                    let _ = serve(&stream, &*answer, &held);
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                });
                connections.push((other_end, thread.unwrap()));
            }
            for (stream, _) in &connections {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        });
        Self { address, stop, hold: Some(hold), thread: Some(thread.unwrap()) }
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

fn serve(
    mut stream: &TcpStream,
    answer: &dyn Fn(&Request) -> Reply,
    held: &Receiver<()>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read(&mut reader)? {
        match answer(&request) {
            Reply::Body(status, body) => {
                let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), &body].concat())?;
            }
            Reply::Redirect(to) => {
                stream.write_all(
                    format!("HTTP/1.1 302 x\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").as_bytes(),
                )?;
            }
            Reply::Raw(bytes) => {
                stream.write_all(&bytes)?;
                return Ok(());
            }
            Reply::Endless(first, again) => {
                stream.write_all(&first)?;
                loop {
                    stream.write_all(&again)?;
                }
            }
            Reply::Drip(first) => {
                stream.write_all(&first)?;
                while held.recv_timeout(Duration::from_millis(20)).is_err_and(|error| error.is_timeout()) {
                    stream.write_all(b" ")?;
                }
            }
            Reply::Silence => {
                let _ = held.recv();
            }
        }
        if request.header("connection") == Some("close") {
            break;
        }
    }
    Ok(())
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
