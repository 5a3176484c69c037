//! From a host's name to its addresses, and whether a request may go there.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, select};
use ureq::Error;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::area::Area;
use super::trip;

/// Names being looked up at once. The system gives up on a server that never answers only after some ten seconds, and
/// nobody can stop it: those who wait have gone by then, the threads that ask have not.
const MAX_LOOKUPS: usize = 32;
/// Addresses taken of a name: as many as there is room for in ureq's answer.
const MAX_ADDRESSES: usize = 16;

/// Why a request goes no farther, where that is for us to decide.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Of this machine, and not the address of a tracker.
    #[error("loopback")]
    Loopback,
    /// A redirect that leads nearer than where it came from.
    #[error("inward")]
    Inward,
    /// No address, and why.
    #[error("{0}")]
    Name(String),
    /// More came than an answer can be worth.
    #[error("flood")]
    Flood,
}

/// Asks the system for the addresses of `host:port`; takes as long as it takes.
pub type Lookup = Arc<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// Looks names up, each on a thread of its own; an address needs none.
pub struct Names {
    lookup: Lookup,
    running: Arc<AtomicUsize>,
    /// Disconnected once nobody is to wait any more.
    hung_up: Receiver<Infallible>,
    guard_loopback: bool,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("guard_loopback", &self.guard_loopback).finish_non_exhaustive()
    }
}

/// One of [`MAX_LOOKUPS`], until this is dropped.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The system's own way.
pub fn system(host_and_port: &str) -> io::Result<Vec<SocketAddr>> {
    host_and_port.to_socket_addrs().map(|addresses| addresses.take(MAX_ADDRESSES).collect())
}

impl Names {
    /// Asks `lookup`, until the other end of `hung_up` is dropped. With `guard_loopback` addresses of this machine are
    /// refused unless the path ends in `/announce`.
    pub fn new(lookup: Lookup, hung_up: Receiver<Infallible>, guard_loopback: bool) -> Self {
        Self { lookup, running: Arc::default(), hung_up, guard_loopback }
    }

    /// The same without the guard; what is being looked up is counted together.
    pub fn unguarded(&self) -> Self {
        let (running, hung_up) = (Arc::clone(&self.running), self.hung_up.clone());
        Self { lookup: Arc::clone(&self.lookup), running, hung_up, guard_loopback: false }
    }

    fn look_up(&self, host_and_port: String, timeout: NextTimeout) -> Result<Vec<SocketAddr>, Error> {
        let refused = |reason: String| Error::Other(Box::new(Refused::Name(reason)));
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        let running = Running(Arc::clone(&self.running));
        if before >= MAX_LOOKUPS {
            return Err(refused(
                "too many names are being looked up: the name server does not answer".into(),
            ));
        }
        let (tell, told) = crossbeam_channel::bounded(1);
        let lookup = Arc::clone(&self.lookup);
        let thread = std::thread::Builder::new().name("lookup".into()).spawn(move || {
            let _running = running;
            // Nobody may be waiting any more.
            let _ = tell.send(lookup(&host_and_port));
        });
        thread.map_err(|error| refused(format!("no room for another thread: {error}")))?;
        select! {
            recv(told) -> found => match found {
                Ok(found) => found.map_err(|error| refused(error.to_string())),
                Err(_) => Err(refused("looking it up failed".into())),
            },
            recv(self.hung_up) -> _ => Err(refused("given up: the program ends".into())),
            default(*timeout.after) => Err(Error::Timeout(timeout.reason)),
        }
    }
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let bad = |what: &str| Error::BadUri(what.into());
        if has_bad_port(uri) {
            return Err(bad("port"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("host"))?;
        let port = port(uri).ok_or_else(|| bad("scheme"))?;
        let found = match literal(host) {
            Some(ip) => vec![SocketAddr::new(ip, port)],
            None => self.look_up(format!("{host}:{port}"), timeout)?,
        };
        let mut addresses = self.empty();
        let family = config.ip_family();
        let wanted = family.keep_wanted(found.into_iter());
        wanted.take(MAX_ADDRESSES).for_each(|address| addresses.push(address));
        if addresses.is_empty() {
            return Err(Error::HostNotFound);
        }
        let is_here = |address: &SocketAddr| Area::of(address.ip()) == Area::Here;
        if self.guard_loopback && addresses.iter().any(is_here) && !uri.path().ends_with("/announce") {
            return Err(Error::Other(Box::new(Refused::Loopback)));
        }
        if !trip::lead(&addresses) {
            return Err(Error::Other(Box::new(Refused::Inward)));
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

fn port(uri: &Uri) -> Option<u16> {
    match (uri.port_u16(), uri.scheme_str()) {
        (Some(port), Some("http" | "https")) => Some(port),
        (None, Some("http")) => Some(80),
        (None, Some("https")) => Some(443),
        _ => None,
    }
}

/// The address of a host that is named by it.
fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::{Sender, bounded};
    use ureq::Timeout;

    use super::*;
    use crate::http::trip::Trip;

    /// Long enough never to matter.
    const AGES: Duration = Duration::from_secs(60);

    fn names(
        lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
        guard_loopback: bool,
    ) -> (Names, Sender<Infallible>) {
        let (hold, hung_up) = bounded(0);
        (Names::new(Arc::new(lookup), hung_up, guard_loopback), hold)
    }

    fn resolve(names: &Names, url: &str, after: Duration) -> Result<Vec<SocketAddr>, Error> {
        let timeout = NextTimeout { after: after.into(), reason: Timeout::Resolve, ..NextTimeout::default() };
        let config = ureq::Agent::config_builder().build();
        names.resolve(&url.parse().unwrap(), &config, timeout).map(|addresses| addresses.to_vec())
    }

    fn silent(_: &str) -> io::Result<Vec<SocketAddr>> {
        loop {
            std::thread::park();
        }
    }

    #[test]
    fn a_name_server_that_never_answers_costs_time_and_few_threads() {
        let (names, _hold) = names(silent, false);
        let soon = Duration::from_millis(1);
        for _ in 0..MAX_LOOKUPS {
            assert!(matches!(resolve(&names, "http://a.example/", soon), Err(Error::Timeout(_))));
        }
        // Whoever comes now is told at once.
        let error = resolve(&names, "http://a.example/", AGES).unwrap_err();
        assert!(error.to_string().contains("too many names"), "{error:?}");
        assert_eq!(names.running.load(Ordering::Relaxed), MAX_LOOKUPS);
        // An address needs no name server.
        assert_eq!(resolve(&names, "http://10.0.0.1/", soon).unwrap(), ["10.0.0.1:80".parse().unwrap()]);
    }

    #[test]
    fn nobody_waits_for_a_name_when_the_program_ends() {
        let (names, hold) = names(silent, false);
        let asking = names.unguarded();
        let asker = std::thread::spawn(move || resolve(&asking, "http://a.example/", AGES));
        while names.running.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        drop(hold);
        assert!(asker.join().unwrap().unwrap_err().to_string().contains("given up"));
    }

    #[test]
    fn a_name_is_looked_up_and_its_thread_ends() {
        let (many, _hold) = names(|_| Ok(vec![([10, 0, 0, 1], 8000).into(); 100]), false);
        assert_eq!(resolve(&many, "http://a.example:8000/", AGES).unwrap().len(), MAX_ADDRESSES);
        while many.running.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        let (none, _hold) = names(|_| Ok(vec![]), false);
        assert!(matches!(resolve(&none, "http://a.example/", AGES), Err(Error::HostNotFound)));
        let (unknown, _hold) = names(|_| Err(io::Error::other("no such name")), false);
        let error = resolve(&unknown, "http://a.example/", AGES).unwrap_err();
        assert_eq!(error.to_string(), "other: no such name");
    }

    #[test]
    fn a_redirect_does_not_lead_into_the_users_network() {
        let (names, _hold) = names(|_| Ok(vec![([192, 168, 1, 1], 80).into()]), true);
        let refused = |url| match resolve(&names, url, AGES) {
            Err(Error::Other(error)) => matches!(error.downcast_ref(), Some(Refused::Inward)),
            other => panic!("{other:?}"),
        };
        let trip = Trip::begin(0);
        resolve(&names, "http://203.0.113.9/announce", AGES).unwrap();
        for url in [
            "http://192.168.1.1/reboot",
            "http://router.example/reboot",
            "http://127.0.0.1:9000/announce",
            "http://[fd00::1]/announce",
            "https://169.254.169.254/latest/announce",
        ] {
            assert!(refused(url), "{url}");
        }
        resolve(&names, "http://203.0.113.10/announce", AGES).unwrap();
        drop(trip);
        // Named in the torrent itself it may be meant.
        let _trip = Trip::begin(0);
        resolve(&names, "http://router.example/announce", AGES).unwrap();
    }

    #[test]
    fn this_machine_is_known_however_it_is_spelled() {
        let (names, _hold) = names(system, true);
        for host in
            ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0", "[::]", "[::ffff:7f00:1]", "localhost"]
        {
            let url = format!("http://{host}/admin");
            match resolve(&names, &url, AGES) {
                Err(Error::Other(error)) => {
                    assert!(matches!(error.downcast_ref(), Some(Refused::Loopback)), "{host}: {error}");
                }
                other => panic!("{host}: {other:?}"),
            }
        }
    }
}
