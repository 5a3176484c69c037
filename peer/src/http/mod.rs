//! Requests over HTTP, bounded in every way: time, redirects, length of header and body, idle connections. For trackers,
//! the catalogue, and the commands' talk with the daemon. No proxy from the environment, no cookies.

pub mod area;
mod dial;
mod names;
mod trip;

use std::convert::Infallible;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use rustls::CertificateError;
use ureq::http::Response;
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::Resolver;
use ureq::unversioned::transport::{Connector, NextTimeout, RustlsConnector};
use ureq::{Agent, Body, Error, Timeout};

use area::Area;
use dial::Dial;
use names::{Lookup, Names, Refused};
use trip::Trip;

/// What we call ourselves.
pub const USER_AGENT: &str = concat!("torrent-daemon/", env!("CARGO_PKG_VERSION"));

/// Looking up a name, and connecting, may take so long each, even when more is left of the whole time.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The header of an answer, in bytes.
const MAX_HEADER_LEN: usize = 16 << 10;
/// Buffers of a connection, in bytes each way. A request line must fit.
const BUFFER_LEN: usize = 16 << 10;
/// How long an idle connection is good for another request.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpOptions {
    /// For one request in all: name, connection, redirects, the answer's last byte.
    pub timeout: Duration,
    /// Redirects followed; 0 takes none, and hands the redirect out as the answer.
    pub max_redirects: u32,
    /// Connections kept open between requests.
    pub max_idle: usize,
    /// Refuse loopback addresses unless the path ends in `/announce`: whoever makes a torrent must not make us send
    /// requests to other services of this machine.
    pub guard_loopback: bool,
}

/// Why there is no answer. May quote a stranger: escape it where it is printed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not a URL, or not http or https.
    #[error("not a valid http or https address")]
    BadUrl,
    /// The host's name is not known.
    #[error("the host's name cannot be resolved: {0}")]
    NameNotFound(String),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// Too slow.
    #[error("no answer in time")]
    Timeout,
    /// See [`HttpOptions::guard_loopback`].
    #[error("refused: the address of a tracker on this machine must end in /announce")]
    Loopback,
    /// A redirect from farther away than where it leads: see [`trip`].
    #[error("refused: it redirects into a network of our own")]
    Inward,
    /// The server cannot show that it is who it is said to be; why.
    #[error("refused: its certificate {0}")]
    Certificate(String),
    /// The answer is too long.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(u64),
    /// See [`HttpOptions::max_redirects`].
    #[error("too many redirects")]
    Redirects,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(io::Error),
    /// Not HTTP, or not TLS.
    #[error("{0}")]
    Protocol(String),
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// 200 is well.
    pub status: u16,
    /// Decompressed.
    pub body: Vec<u8>,
    /// Where the server is.
    pub area: Area,
}

/// How one request differs from the client's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Once {
    /// In place of [`HttpOptions::timeout`].
    pub timeout: Option<Duration>,
    /// Close the connection after the answer.
    pub close: bool,
}

/// A client, cheap to clone: clones share their idle connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    agent: Agent,
    /// For those who speak another protocol.
    names: Arc<Names>,
    /// While it is there, names are waited for.
    hold: Arc<Mutex<Option<Sender<Infallible>>>>,
}

impl HttpClient {
    /// A client that has opened no connection yet.
    pub fn new(options: &HttpOptions) -> Self {
        Self::with_parts(options, Arc::new(names::system), TlsConfig::default())
    }

    fn with_parts(options: &HttpOptions, lookup: Lookup, tls: TlsConfig) -> Self {
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .http_status_as_error(false)
            .user_agent(USER_AGENT)
            .timeout_global(Some(options.timeout))
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .max_redirects(options.max_redirects)
            .max_response_header_size(MAX_HEADER_LEN)
            .input_buffer_size(BUFFER_LEN)
            .output_buffer_size(BUFFER_LEN)
            .max_idle_connections(options.max_idle)
            .max_idle_connections_per_host(options.max_idle)
            .max_idle_age(MAX_IDLE)
            .build();
        let (hold, hung_up) = crossbeam_channel::bounded(0);
        let names = Names::new(lookup, hung_up, options.guard_loopback);
        let unguarded = Arc::new(names.unguarded());
        let agent = Agent::with_parts(config, Dial.chain(RustlsConnector::default()), names);
        Self { agent, names: unguarded, hold: Arc::new(Mutex::new(Some(hold))) }
    }

    /// GET; an answer of more than `max_len` bytes (decompressed) is an error.
    ///
    /// # Errors
    /// [`HttpError`]; an answer of any status is none.
    pub fn get(&self, url: &str, max_len: u64, once: Once) -> Result<HttpAnswer, HttpError> {
        let trip = Trip::begin(max_len);
        let mut request = self.agent.get(url);
        if once.close {
            request = request.header("connection", "close");
        }
        let response = match once.timeout {
            Some(timeout) => request.config().timeout_global(Some(timeout)).build().call(),
            None => request.call(),
        };
        let answer = response.map_err(classify).and_then(|response| read(response, max_len, &trip));
        answer.map_err(|error| sized(error, max_len))
    }

    /// POST; else as [`HttpClient::get`].
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub fn post(
        &self,
        url: &str,
        content_type: &str,
        body: &[u8],
        max_len: u64,
    ) -> Result<HttpAnswer, HttpError> {
        let trip = Trip::begin(max_len);
        let response = self.agent.post(url).content_type(content_type).send(body).map_err(classify);
        let answer = response.and_then(|response| read(response, max_len, &trip));
        answer.map_err(|error| sized(error, max_len))
    }

    /// The addresses of a host, for whoever speaks another protocol. An IPv6 address stands in brackets. Takes no longer
    /// than `timeout` and [`CONNECT_TIMEOUT`].
    ///
    /// # Errors
    /// [`HttpError`]; not knowing the name is the usual one.
    pub fn resolve(&self, host: &str, port: u16, timeout: Duration) -> Result<Vec<SocketAddr>, HttpError> {
        let uri = format!("http://{host}:{port}/").parse().map_err(|_| HttpError::BadUrl)?;
        let timeout = NextTimeout {
            after: timeout.min(CONNECT_TIMEOUT).into(),
            reason: Timeout::Resolve,
            ..NextTimeout::default()
        };
        let addresses = self.names.resolve(&uri, self.agent.config(), timeout).map_err(classify)?;
        Ok(addresses.to_vec())
    }

    /// Breaks every connection of this client and its clones, those in use too, and lets no new one be made. Nobody waits
    /// for a name or for a connection any more.
    pub fn hang_up(&self) {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.agent.clone().shutdown();
    }
}

fn read(mut response: Response<Body>, max_len: u64, trip: &Trip) -> Result<HttpAnswer, HttpError> {
    let status = response.status().as_u16();
    let body = read_body(response.body_mut(), max_len).map_err(classify)?;
    Ok(HttpAnswer { status, body, area: trip.area() })
}

/// All of a body, if it has at most `max_len` bytes, unpacked. ureq's own limit is for what comes before it is unpacked: of a
/// mebibyte it would make a gibibyte.
///
/// # Errors
/// [`Error::BodyExceedsLimit`], and what breaks the connection.
pub fn read_body(body: &mut Body, max_len: u64) -> Result<Vec<u8>, Error> {
    // One more than allowed: ureq's reader fails at the limit itself, even when nothing follows.
    let limit = max_len.saturating_add(1);
    let mut bytes = Vec::new();
    body.with_config().limit(limit).reader().take(limit).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= max_len) {
        Ok(bytes)
    } else {
        Err(Error::BodyExceedsLimit(max_len))
    }
}

/// With the limit that was told to us, not to ureq.
fn sized(error: HttpError, max_len: u64) -> HttpError {
    if matches!(error, HttpError::TooLarge(_)) { HttpError::TooLarge(max_len) } else { error }
}

fn classify(error: Error) -> HttpError {
    match error {
        Error::BadUri(_) | Error::Http(_) | Error::RequireHttpsOnly(_) => HttpError::BadUrl,
        Error::Timeout(_) => HttpError::Timeout,
        Error::HostNotFound => HttpError::NameNotFound("it has no address".into()),
        Error::TooManyRedirects => HttpError::Redirects,
        Error::BodyExceedsLimit(limit) => HttpError::TooLarge(limit),
        Error::Rustls(error) => untrusted(&error),
        Error::Io(error) => classify_io(error),
        Error::Other(inner) => match inner.downcast::<Refused>() {
            Ok(refused) => match *refused {
                Refused::Loopback => HttpError::Loopback,
                Refused::Inward => HttpError::Inward,
                Refused::Name(reason) => HttpError::NameNotFound(reason),
                Refused::Flood => HttpError::TooLarge(0),
            },
            Err(other) => HttpError::Protocol(other.to_string()),
        },
        other => HttpError::Protocol(other.to_string()),
    }
}

/// What broke the connection may have been put into an error of the system's: by ureq, which reads bodies as streams, and
/// by rustls.
fn classify_io(error: io::Error) -> HttpError {
    if is_connect(error.kind()) {
        return HttpError::Connect(error);
    }
    match error.downcast::<Error>() {
        Ok(inner) => classify(inner),
        Err(error) => match error.downcast::<rustls::Error>() {
            Ok(inner) => untrusted(&inner),
            Err(error) => HttpError::Io(error),
        },
    }
}

fn untrusted(error: &rustls::Error) -> HttpError {
    let rustls::Error::InvalidCertificate(reason) = error else {
        return HttpError::Protocol(error.to_string());
    };
    HttpError::Certificate(match reason {
        CertificateError::UnknownIssuer => "is signed by nobody whom the world knows".into(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet: is the clock right?".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is another host's".into()
        }
        // What `openssl req -x509` makes; rustls has no name of its own for it.
        CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => {
            "is an authority's, not a host's: signed by itself, perhaps".into()
        }
        other => format!("is not valid: {other}"),
    })
}

fn is_connect(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(
        kind,
        K::ConnectionRefused
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::AddrNotAvailable
            | K::PermissionDenied
    )
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
