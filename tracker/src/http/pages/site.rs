//! Under which address a visitor has reached this tracker, for links that leave the page: announce URLs, magnet links,
//! feeds. The Host header is a stranger's text, so only what can be nothing but a host and a port is taken from it.

use std::net::{IpAddr, Ipv6Addr};

use tiny_http::{Header, Request};

use crate::shared::Shared;

/// The longest name of a host (RFC 1035), in bytes.
const MAX_NAME_LEN: usize = 253;

/// Where the visitor thinks that this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct Site {
    is_https: bool,
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    host: String,
    port: Option<u16>,
    /// Where announces over UDP go, if anywhere.
    udp_port: Option<u16>,
}

impl Site {
    /// `from` is who sent the request: a trusted proxy may say that its client used https (X-Forwarded-Proto).
    pub(in crate::http) fn of(request: &Request, from: IpAddr, shared: &Shared) -> Option<Self> {
        let from = from.to_canonical();
        let is_proxied = shared.trusted_proxies.iter().any(|network| network.contains(from));
        Self::from_headers(request.headers(), is_proxied, shared.udp_port)
    }

    fn from_headers(headers: &[Header], is_proxied: bool, udp_port: Option<u16>) -> Option<Self> {
        let value = |name: &'static str| {
            headers.iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
        };
        let (host, port) = host(value("Host")?)?;
        let is_https = is_proxied && value("X-Forwarded-Proto").is_some_and(|proto| proto == "https");
        Some(Self { is_https, host, port, udp_port })
    }

    /// `http://host:port`, to which paths are added.
    pub(super) fn base(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        match self.port {
            Some(port) => format!("{scheme}://{}:{port}", self.host),
            None => format!("{scheme}://{}", self.host),
        }
    }

    /// The announce URLs, HTTP first.
    pub(super) fn trackers(&self) -> Vec<String> {
        let udp = self.udp_port.map(|port| format!("udp://{}:{port}/announce", self.host));
        [format!("{}/announce", self.base())].into_iter().chain(udp).collect()
    }
}

/// The parts of `host`, `host:port`, `[address]` or `[address]:port`.
fn host(text: &str) -> Option<(String, Option<u16>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            (format!("[{}]", address.parse::<Ipv6Addr>().ok()?), rest)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let (name, rest) = text.split_at_checked(end)?;
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let valid = (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(allowed);
            (valid.then(|| name.to_ascii_lowercase())?, rest)
        }
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0)?)
        }
        _ => return None,
    };
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_are_hosts() {
        for (text, expected) in [
            ("tracker.example", Some(("tracker.example", None))),
            ("Tracker:8000", Some(("tracker", Some(8000)))),
            ("192.0.2.7:1", Some(("192.0.2.7", Some(1)))),
            ("[2001:db8::0:1]:8000", Some(("[2001:db8::1]", Some(8000)))),
            ("[::1]", Some(("[::1]", None))),
            ("", None),
            (":80", None),
            ("a:", None),
            ("a:0", None),
            ("a:65536", None),
            ("a:+80", None),
            ("a:80:80", None),
            ("a b", None),
            ("a/b", None),
            ("a@b", None),
            ("a\"><script>", None),
            ("é", None),
            ("::1", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[v1.x]", None),
            ("[fe80::1%25eth0]", None),
        ] {
            let found = host(text);
            assert_eq!(found.as_ref().map(|(host, port)| (host.as_str(), *port)), expected, "{text}");
        }
        assert!(host(&"a".repeat(253)).is_some() && host(&"a".repeat(254)).is_none());
    }

    #[test]
    fn urls() {
        let site = |headers: &[(&str, &str)], is_proxied, udp| {
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| Header::from_bytes(*name, *value).unwrap()).collect();
            Site::from_headers(&headers, is_proxied, udp)
        };
        let plain = site(&[("Host", "t.example:8000"), ("X-Forwarded-Proto", "https")], false, None).unwrap();
        assert_eq!(plain.trackers(), ["http://t.example:8000/announce"]);
        let proxied =
            site(&[("host", "t.example"), ("X-Forwarded-Proto", "https")], true, Some(8000)).unwrap();
        assert_eq!(proxied.base(), "https://t.example");
        assert_eq!(proxied.trackers(), ["https://t.example/announce", "udp://t.example:8000/announce"]);
        assert_eq!(site(&[], false, None), None);
        assert_eq!(site(&[("Host", "a b")], false, None), None);
    }
}
