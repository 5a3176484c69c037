//! Whose request it is that a reverse proxy passed on: X-Forwarded-For, believed from TRUSTED_PROXIES alone.
//!
//! Every proxy adds the address that it was asked from at the end, so what stands on the left may be anybody's invention.
//! Read from the right, the first address that is no trusted proxy is the client's. A proxy that says "127.0.0.1" means its
//! own machine, and so its own address.

use std::net::{IpAddr, SocketAddr};

use tiny_http::{Header, Request};
use torrent_common::network::Network;

use crate::address::can_be_dialled;

/// Addresses looked at: there are not so many proxies in a row.
const MAX_HOPS: usize = 16;
/// What is believed.
const FORWARDED_FOR: &str = "X-Forwarded-For";
/// What proxies also say. It is not read, but no client on this machine says it.
const OTHERS: [&str; 3] = ["Forwarded", "X-Real-IP", "Via"];

/// Why nobody knows whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ForwardedError {
    /// To believe this machine would make every client a local one.
    #[error("this request came through a proxy on the tracker's machine that TRUSTED_PROXIES does not name")]
    UnknownProxy,
    /// A trusted proxy says something that is no address, or none that a client has.
    #[error("the proxy's X-Forwarded-For is not understood")]
    Unreadable,
    /// A trusted proxy says that it is one, but not for whom: its clients would pass for local ones.
    #[error("the proxy sends no X-Forwarded-For: the tracker's operator has to make it do so")]
    Silent,
}

/// Who asks, when the request came over a connection from `from`.
///
/// # Errors
/// [`ForwardedError`], to be sent back as the failure reason.
pub(super) fn client(request: &Request, from: IpAddr, proxies: &[Network]) -> Result<IpAddr, ForwardedError> {
    from_headers(request.headers(), from.to_canonical(), proxies)
}

fn from_headers(headers: &[Header], from: IpAddr, proxies: &[Network]) -> Result<IpAddr, ForwardedError> {
    let is_proxy = |ip: IpAddr| proxies.iter().any(|network| network.contains(ip));
    let says = |name: &'static str| headers.iter().any(|header| header.field.equiv(name));
    let is_forwarded = || says(FORWARDED_FOR) || OTHERS.into_iter().any(says);
    if !is_proxy(from) {
        // What others say in these headers means nothing; but no client on this machine says anything.
        return if from.is_loopback() && is_forwarded() {
            Err(ForwardedError::UnknownProxy)
        } else {
            Ok(from)
        };
    }
    let lists = headers.iter().rev().filter(|header| header.field.equiv(FORWARDED_FOR));
    let mut hops = lists.flat_map(|header| header.value.as_str().rsplit(',')).take(MAX_HOPS).peekable();
    if hops.peek().is_none() && is_forwarded() {
        return Err(ForwardedError::Silent);
    }
    let mut client = from;
    for hop in hops {
        let said = address(hop.trim()).filter(|ip| can_be_dialled(*ip)).ok_or(ForwardedError::Unreadable)?;
        if !said.is_loopback() || client.is_loopback() {
            client = said;
        }
        if !is_proxy(said) {
            break;
        }
    }
    Ok(client)
}

/// An address, with or without brackets, a port, and the interface that it was seen at (RFC 4007).
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let bare = bare.split_once('%').map_or(bare, |(bare, _)| bare);
    let ip = bare.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    ip.ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(from: &str, lines: &[&str]) -> Result<String, ForwardedError> {
        let proxies = ["127.0.0.1", "10.0.0.0/24", "2001:db8::/32"].map(|text| text.parse().unwrap());
        let mut headers = vec![Header::from_bytes("Host", "t").unwrap()];
        headers.extend(lines.iter().map(|line| Header::from_bytes("x-forwarded-for", *line).unwrap()));
        from_headers(&headers, from.parse().unwrap(), &proxies).map(|ip| ip.to_string())
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_clients() {
        for (from, lines, expected) in [
            ("127.0.0.1", &["192.0.2.7"][..], "192.0.2.7"),
            ("127.0.0.1", &[" 198.51.100.1 , 192.0.2.7 "], "192.0.2.7"),
            ("127.0.0.1", &["nonsense, 192.0.2.7"], "192.0.2.7"),
            ("127.0.0.1", &["192.0.2.7, 10.0.0.3"], "192.0.2.7"),
            ("127.0.0.1", &["192.0.2.7", "10.0.0.3"], "192.0.2.7"),
            ("127.0.0.1", &["198.51.100.1", "192.0.2.7"], "192.0.2.7"),
            ("10.0.0.9", &["::ffff:192.0.2.7"], "192.0.2.7"),
            ("10.0.0.9", &["[2001:db9::7]:4711"], "2001:db9::7"),
            ("10.0.0.9", &["[2001:db9::7]"], "2001:db9::7"),
            ("2001:db8::1", &["192.0.2.7:4711"], "192.0.2.7"),
            // Nobody but proxies: the first of them asks for itself.
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
            // A client on a proxy's machine.
            ("127.0.0.1", &["127.0.0.1"], "127.0.0.1"),
            ("10.0.0.9", &["127.0.0.1"], "10.0.0.9"),
            ("10.0.0.9", &["192.0.2.7, ::1"], "10.0.0.9"),
            ("127.0.0.1", &["192.0.2.7, 127.0.0.1, 10.0.0.9"], "192.0.2.7"),
            ("127.0.0.1", &["127.0.0.1, 10.0.0.9"], "10.0.0.9"),
            ("127.0.0.1", &["192.0.2.7, 127.0.0.1"], "192.0.2.7"),
            ("10.0.0.9", &["fe80::7%eth0"], "fe80::7"),
            // From strangers the header means nothing.
            ("10.0.1.1", &["192.0.2.7"], "10.0.1.1"),
            ("203.0.113.1", &["127.0.0.1"], "203.0.113.1"),
        ] {
            assert_eq!(found(from, lines).as_deref(), Ok(expected), "{from} {lines:?}");
        }
    }

    #[test]
    fn what_would_be_a_guess_is_refused() {
        for line in [
            "",
            "unknown",
            "192.0.2.7, unknown",
            "192.0.2.7,",
            "192.0.2.7 10.0.0.1",
            "0.0.0.0",
            "::",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
        ] {
            assert_eq!(found("127.0.0.1", &[line]), Err(ForwardedError::Unreadable), "{line:?}");
        }
        assert_eq!(found("127.0.0.2", &["192.0.2.7"]), Err(ForwardedError::UnknownProxy));
        assert_eq!(found("::1", &["192.0.2.7"]), Err(ForwardedError::UnknownProxy));
        for other in ["Forwarded", "x-real-ip", "Via"] {
            let headers = [Header::from_bytes(other, "for=192.0.2.7").unwrap()];
            let proxies = ["127.0.0.1".parse().unwrap()];
            let found = |from: &str| from_headers(&headers, from.parse().unwrap(), &proxies);
            assert_eq!(found("127.0.0.1"), Err(ForwardedError::Silent), "{other}");
            assert_eq!(found("127.0.0.2"), Err(ForwardedError::UnknownProxy), "{other}");
            assert_eq!(found("192.0.2.1"), Ok([192, 0, 2, 1].into()), "{other}");
        }
    }

    #[test]
    fn a_long_line_costs_little() {
        let line = "10.0.0.1,".repeat(10_000) + "10.0.0.1";
        assert_eq!(found("127.0.0.1", &[&line]).as_deref(), Ok("10.0.0.1"));
    }
}
