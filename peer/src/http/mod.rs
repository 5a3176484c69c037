//! Requests over HTTP, bounded in every way: time, redirects, length of header and body, idle connections. For trackers,
//! the catalogue, and the commands' talk with the daemon. No proxy from the environment, no cookies.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ureq::http::{Response, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error, Timeout};

/// What we call ourselves.
pub const USER_AGENT: &str = concat!("torrent-daemon/", env!("CARGO_PKG_VERSION"));

/// Looking up a name, and connecting, may take so long each, even when more is left of the whole time: neither can be
/// interrupted by [`HttpClient::hang_up`].
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
    /// The answer is too long.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(u64),
    /// See [`HttpOptions::max_redirects`].
    #[error("too many redirects")]
    Redirects,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(io::Error),
    /// Not HTTP, a bad certificate, or the like.
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
}

impl HttpClient {
    /// A client that has opened no connection yet.
    pub fn new(options: &HttpOptions) -> Self {
        let config = Agent::config_builder()
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
        let names = Names { inner: DefaultResolver::default(), guard_loopback: options.guard_loopback };
        Self { agent: Agent::with_parts(config, DefaultConnector::default(), names) }
    }

    /// GET; an answer of more than `max_len` bytes (decompressed) is an error.
    ///
    /// # Errors
    /// [`HttpError`]; an answer of any status is none.
    pub fn get(&self, url: &str, max_len: u64, once: Once) -> Result<HttpAnswer, HttpError> {
        let mut request = self.agent.get(url);
        if once.close {
            request = request.header("connection", "close");
        }
        let response = match once.timeout {
            Some(timeout) => request.config().timeout_global(Some(timeout)).build().call(),
            None => request.call(),
        };
        read(response.map_err(classify)?, max_len)
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
        let response = self.agent.post(url).content_type(content_type).send(body).map_err(classify)?;
        read(response, max_len)
    }

    /// The addresses of a host, for whoever speaks another protocol. An IPv6 address stands in brackets. Takes no longer
    /// than `timeout` and [`CONNECT_TIMEOUT`].
    ///
    /// # Errors
    /// [`HttpError`]; not knowing the name is the usual one.
    pub fn resolve(&self, host: &str, port: u16, timeout: Duration) -> Result<Vec<SocketAddr>, HttpError> {
        let uri = format!("http://{host}:{port}/").parse().map_err(|_| HttpError::BadUrl)?;
        let names = Names { inner: DefaultResolver::default(), guard_loopback: false };
        let timeout = NextTimeout {
            after: timeout.min(CONNECT_TIMEOUT).into(),
            reason: Timeout::Resolve,
            ..NextTimeout::default()
        };
        let addresses = names.resolve(&uri, self.agent.config(), timeout).map_err(classify)?;
        Ok(addresses.to_vec())
    }

    /// Breaks every connection of this client and its clones, those in use too, and lets no new one be made.
    pub fn hang_up(&self) {
        self.agent.clone().shutdown();
    }
}

fn read(mut response: Response<Body>, max_len: u64) -> Result<HttpAnswer, HttpError> {
    let status = response.status().as_u16();
    // The limit is one more than allowed: ureq's reader fails at the limit itself, even when nothing follows.
    let limit = max_len.saturating_add(1);
    let body = response.body_mut().with_config().limit(limit).read_to_vec().map_err(classify)?;
    if u64::try_from(body.len()).is_ok_and(|len| len <= max_len) {
        Ok(HttpAnswer { status, body })
    } else {
        Err(HttpError::TooLarge(max_len))
    }
}

fn classify(error: Error) -> HttpError {
    match error {
        Error::BadUri(_) | Error::Http(_) | Error::RequireHttpsOnly(_) => HttpError::BadUrl,
        Error::Timeout(_) => HttpError::Timeout,
        Error::HostNotFound => HttpError::NameNotFound("it has no address".into()),
        Error::TooManyRedirects => HttpError::Redirects,
        Error::BodyExceedsLimit(limit) => HttpError::TooLarge(limit.saturating_sub(1)),
        Error::Io(error) if is_connect(error.kind()) => HttpError::Connect(error),
        Error::Io(error) => HttpError::Io(error),
        Error::Other(inner) => match inner.downcast::<Refused>() {
            Ok(refused) => match *refused {
                Refused::Loopback => HttpError::Loopback,
                Refused::Name(reason) => HttpError::NameNotFound(reason),
            },
            Err(other) => HttpError::Protocol(other.to_string()),
        },
        other => HttpError::Protocol(other.to_string()),
    }
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

/// Why [`Names`] gave no address.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("loopback")]
    Loopback,
    #[error("{0}")]
    Name(String),
}

/// Looks names up with ureq's own resolver, which takes a thread for it; an address needs none.
#[derive(Debug)]
struct Names {
    inner: DefaultResolver,
    guard_loopback: bool,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        if has_bad_port(uri) {
            return Err(Error::BadUri("port".into()));
        }
        let addresses = match literal(uri) {
            Some(address) => {
                let mut one = self.empty();
                one.push(address);
                one
            }
            None => self.inner.resolve(uri, config, timeout).map_err(|error| match error {
                Error::Io(error) => Error::Other(Box::new(Refused::Name(error.to_string()))),
                other => other,
            })?,
        };
        let is_local =
            |address: &SocketAddr| address.ip().to_canonical().is_loopback() || address.ip().is_unspecified();
        if self.guard_loopback && addresses.iter().any(is_local) && !uri.path().ends_with("/announce") {
            return Err(Error::Other(Box::new(Refused::Loopback)));
        }
        Ok(addresses)
    }
}

/// Whether a URL names a port that is none: it would be taken for the default one.
fn has_bad_port(uri: &Uri) -> bool {
    let Some(authority) = uri.authority() else { return false };
    let after_user = authority.as_str().rsplit('@').next().unwrap_or_default();
    let after_host = after_user.strip_prefix(authority.host()).unwrap_or_default();
    after_host.len() > 1 && authority.port_u16().is_none()
}

/// The address of a URL that names its host by address.
fn literal(uri: &Uri) -> Option<SocketAddr> {
    let host = uri.host()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address: IpAddr = host.parse().ok()?;
    let port = match (uri.port_u16(), uri.scheme_str()) {
        (Some(port), Some("http" | "https")) => port,
        (None, Some("http")) => 80,
        (None, Some("https")) => 443,
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
