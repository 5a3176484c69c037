//! Which requests reach the engine. The daemon obeys whoever can speak to it, so this is what stands between a web page
//! in the user's browser and the user's files.
//!
//! Threats, and what answers them:
//! - DNS rebinding: a page of evil.example, whose name suddenly means 127.0.0.1, reads and commands us as its own
//!   origin. Its requests carry `Host: evil.example`: only names of this machine are accepted.
//! - Cross-site requests: any page may send simple POSTs to 127.0.0.1. They carry a foreign `Origin` or
//!   `Sec-Fetch-Site`, and cannot be `application/json` without a preflight, which we never grant.
//! - Bodies without end or with two opinions about their length: only one plain Content-Length within the route's limit.

use super::route::{BODY_MAX, Route};

/// Bytes of the path and query at most.
const TARGET_MAX: usize = 4096;

/// A request that is not done, with the HTTP status and the reason for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// 4xx or 5xx.
    pub status: u16,
    /// Without the stranger's text.
    pub message: String,
    /// For the Allow header of a 405.
    pub allow: Option<&'static str>,
    /// Where the body ends is not known, or it is too long to be read: the connection can only be closed.
    pub close: bool,
}

impl Denied {
    /// Why not.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), allow: None, close: false }
    }

    /// Why not, and the connection cannot be used again.
    fn closing(status: u16, message: impl Into<String>) -> Self {
        Self { close: true, ..Self::new(status, message) }
    }
}

/// What comes before a request's body.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// As sent.
    pub method: &'a str,
    /// Path and query, as sent.
    pub target: &'a str,
    /// Names and values, as sent, in order.
    pub headers: &'a [(&'a str, &'a str)],
}

/// A request that may be done once its body has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// What to do.
    pub route: Route,
    /// Bytes of the body, within the route's limit.
    pub body_len: usize,
}

impl<'a> Head<'a> {
    /// Every value of a header.
    fn values(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|&(_, value)| value.trim())
    }

    /// Checks everything that can be known before the body.
    ///
    /// # Errors
    /// [`Denied`] with the status to answer.
    pub fn admit(&self) -> Result<Admitted, Denied> {
        // The length first: whatever else is wrong, the answer must know what to do about the body.
        let body_len = self.body_len()?;
        let checked = self.check_origin().and_then(|()| self.route()).and_then(|route| {
            if body_len > route.body_max() {
                return Err(Denied::new(413, format!("the body has more than {} bytes", route.body_max())));
            }
            Ok(Admitted { route, body_len })
        });
        checked.map_err(|denied| Denied { close: denied.close || body_len > BODY_MAX, ..denied })
    }

    /// The body's length, if it is said once and plainly.
    fn body_len(&self) -> Result<usize, Denied> {
        if self.values("Transfer-Encoding").next().is_some() {
            return Err(Denied::closing(411, "send Content-Length, not Transfer-Encoding"));
        }
        let mut lengths = self.values("Content-Length");
        let Some(length) = lengths.next() else { return Ok(0) };
        if lengths.next().is_some() {
            return Err(Denied::closing(400, "more than one Content-Length"));
        }
        // `parse` alone would take `+5`.
        if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Denied::closing(400, "Content-Length is not a number"));
        }
        length.parse().map_err(|_| Denied::closing(413, "the body is too long"))
    }

    /// Whether it was sent to this machine's name, and not by somebody else's web page.
    fn check_origin(&self) -> Result<(), Denied> {
        let mut hosts = self.values("Host");
        let Some(host) = hosts.next() else {
            return Err(Denied::new(400, "no Host header"));
        };
        if hosts.next().is_some() {
            return Err(Denied::new(400, "more than one Host header"));
        }
        if !is_loopback_host(host) {
            return Err(Denied::new(
                403,
                "the control port is called 127.0.0.1, localhost or [::1], nothing else",
            ));
        }
        let own = |origin: &str| {
            let (scheme, authority) = origin.split_at_checked("http://".len()).unwrap_or_default();
            scheme.eq_ignore_ascii_case("http://") && authority.eq_ignore_ascii_case(host)
        };
        if !self.values("Origin").all(own) {
            return Err(Denied::new(403, "requests by web pages of other origins are refused"));
        }
        // A page of another port of this machine is "same-site": foreign all the same.
        if !self.values("Sec-Fetch-Site").all(|site| site == "same-origin" || site == "none") {
            return Err(Denied::new(403, "requests by web pages of other sites are refused"));
        }
        Ok(())
    }

    fn route(&self) -> Result<Route, Denied> {
        if !self.target.starts_with('/') {
            return Err(Denied::new(400, "the request's target is not a path"));
        }
        if self.target.len() > TARGET_MAX {
            return Err(Denied::new(414, "the path is too long"));
        }
        let path = self.target.split_once('?').map_or(self.target, |(path, _)| path);
        let route = Route::parse(path, self.method)?;
        if self.method != route.method() {
            let allow = Some(route.allowed());
            return Err(Denied {
                allow,
                ..Denied::new(405, format!("this path takes {} only", route.allowed()))
            });
        }
        if route.method() == "POST" {
            let mut types = self.values("Content-Type");
            if !types.next().is_some_and(is_json) || types.next().is_some() {
                return Err(Denied::new(415, "send Content-Type: application/json"));
            }
        }
        Ok(route)
    }
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split_once(';').map_or(content_type, |(kind, _)| kind);
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// 127.0.0.1, localhost or [::1], with or without a port. Which port is not checked: it may have been forwarded.
fn is_loopback_host(host: &str) -> bool {
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| {
        let (start, rest) = host.split_at_checked(name.len()).unwrap_or_default();
        let port =
            |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
        start.eq_ignore_ascii_case(name) && (rest.is_empty() || rest.strip_prefix(':').is_some_and(port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: (&str, &str) = ("Host", "127.0.0.1:5000");
    const JSON: (&str, &str) = ("Content-Type", "application/json");

    fn admit(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Admitted, Denied> {
        Head { method, target, headers }.admit()
    }

    fn status(method: &str, target: &str, headers: &[(&str, &str)]) -> u16 {
        admit(method, target, headers).map_or_else(|denied| denied.status, |_| 200)
    }

    #[test]
    fn hosts() {
        for good in ["127.0.0.1", "127.0.0.1:5000", "localhost", "LocalHost:1", "[::1]", "[::1]:65535"] {
            assert_eq!(status("GET", "/", &[("host", good)]), 200, "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evil.example:5000",
            "127.0.0.2",
            "127.0.0.1:",
            "127.0.0.1:5x",
            "127.0.0.1:123456",
            "::1",
            "[::1]x",
            "user@127.0.0.1",
            "127.0.0.1 ,evil",
            "0.0.0.0",
            "127.1",
            "localhost.",
            "é27.0.0.1",
        ] {
            assert_eq!(status("GET", "/", &[("Host", bad)]), 403, "{bad}");
        }
        assert_eq!(status("GET", "/", &[]), 400);
        assert_eq!(status("GET", "/", &[HOST, HOST]), 400);
    }

    #[test]
    fn origins() {
        for (good, host) in [("http://127.0.0.1:5000", "127.0.0.1:5000"), ("http://LOCALHOST", "localhost")] {
            assert_eq!(status("GET", "/status", &[("Host", host), ("Origin", good)]), 200, "{good}");
        }
        for bad in [
            "null",
            "",
            "http://evil.example",
            "https://127.0.0.1:5000",
            "http://127.0.0.1:3000",
            "http://localhost:5000",
            "http://127.0.0.1:5000.evil.example",
            "file://",
        ] {
            assert_eq!(status("GET", "/status", &[HOST, ("Origin", bad)]), 403, "{bad}");
            assert_eq!(status("POST", "/seed", &[HOST, JSON, ("Origin", bad)]), 403, "{bad}");
        }
        for (site, expected) in
            [("none", 200), ("same-origin", 200), ("same-site", 403), ("cross-site", 403), ("", 403)]
        {
            assert_eq!(status("POST", "/seed", &[HOST, JSON, ("sec-fetch-site", site)]), expected, "{site}");
            assert_eq!(status("GET", "/", &[HOST, ("Sec-Fetch-Site", site)]), expected, "{site}");
        }
    }

    #[test]
    fn content_types() {
        for good in
            ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;x"]
        {
            assert_eq!(status("POST", "/seed", &[HOST, ("Content-Type", good)]), 200, "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "text/plain; application/json",
            "application/x-www-form-urlencoded",
            "application/jsonp",
        ] {
            assert_eq!(status("POST", "/seed", &[HOST, ("Content-Type", bad)]), 415, "{bad}");
        }
        assert_eq!(status("POST", "/seed", &[HOST]), 415);
        assert_eq!(status("POST", "/seed", &[HOST, JSON, ("Content-Type", "text/plain")]), 415);
    }

    #[test]
    fn lengths() {
        let post = |target, length| admit("POST", target, &[HOST, JSON, ("Content-Length", length)]);
        assert_eq!(post("/seed", "65536").map(|a| a.body_len), Ok(65536));
        assert_eq!(post("/leech", "100663296").map(|a| a.body_len), Ok(96 << 20));
        for (target, length, expected, close) in [
            ("/seed", "65537", 413, true),
            ("/leech", "100663297", 413, true),
            ("/seed", "18446744073709551615", 413, true),
            ("/seed", "18446744073709551616", 413, true),
            ("/seed", "+5", 400, true),
            ("/seed", "-1", 400, true),
            ("/seed", "5, 5", 400, true),
            ("/seed", "", 400, true),
            ("/nowhere", "99999999", 404, true),
            ("/nowhere", "5", 404, false),
        ] {
            let denied = post(target, length).unwrap_err();
            assert_eq!((denied.status, denied.close), (expected, close), "{target} {length}");
        }
        assert_eq!(status("GET", "/", &[HOST, ("Content-Length", "1")]), 413);
        assert_eq!(status("GET", "/", &[HOST, ("Content-Length", "0")]), 200);
        let twice = [HOST, JSON, ("Content-Length", "5"), ("Content-Length", "5")];
        assert_eq!(status("POST", "/seed", &twice), 400);
        assert_eq!(status("POST", "/seed", &[HOST, JSON, ("Transfer-Encoding", "chunked")]), 411);
        assert_eq!(
            status(
                "POST",
                "/seed",
                &[HOST, JSON, ("Transfer-Encoding", "identity"), ("Content-Length", "5")]
            ),
            411
        );
    }

    #[test]
    fn routes_and_methods() {
        let hash = "00112233445566778899aabbccddeeff0a0b0c0d";
        let torrent = format!("/torrents/{hash}");
        let brief = format!("{torrent}/status");
        let options = format!("{torrent}/options");
        for (method, target, route) in [
            ("GET", "/", Route::Info),
            ("GET", "/?x=1", Route::Info),
            ("GET", "/status", Route::Status),
            ("GET", "/torrents", Route::Torrents),
            ("GET", torrent.as_str(), Route::Torrent(hash.parse().unwrap())),
            ("GET", brief.as_str(), Route::TorrentStatus(hash.parse().unwrap())),
            ("GET", "/jobs/7", Route::Job(7)),
            ("POST", "/jobs/7/cancel", Route::CancelJob(7)),
            ("POST", "/seed", Route::Seed),
            ("POST", "/leech", Route::Leech),
            ("POST", "/pause", Route::Pause),
            ("POST", "/resume", Route::Resume),
            ("POST", "/remove", Route::Remove),
            ("POST", options.as_str(), Route::Options(hash.parse().unwrap())),
        ] {
            assert_eq!(admit(method, target, &[HOST, JSON]).map(|a| a.route), Ok(route), "{target}");
            for other in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "get"] {
                if other != method {
                    let denied = admit(other, target, &[HOST, JSON]).unwrap_err();
                    assert_eq!((denied.status, denied.allow), (405, Some(method)), "{other} {target}");
                }
            }
        }
        for (method, route) in [("GET", Route::Settings), ("POST", Route::SetSettings)] {
            assert_eq!(admit(method, "/settings", &[HOST, JSON]).map(|a| a.route), Ok(route));
        }
        let denied = admit("PUT", "/settings", &[HOST, JSON]).unwrap_err();
        assert_eq!((denied.status, denied.allow), (405, Some("GET, POST")));
        for (target, expected) in [
            ("/nowhere", 404),
            ("/torrents/x/options", 400),
            ("/settings/x", 404),
            ("/status/x", 404),
            ("/torrents/x", 400),
            ("/torrents/", 400),
            ("/jobs/", 400),
            ("/jobs/x", 400),
            ("/jobs/+1", 400),
            ("/jobs/99999999999999999999", 404),
            ("/jobs/1/2", 404),
            ("/jobs/1/cancel/x", 404),
            ("*", 400),
            ("http://127.0.0.1:5000/", 400),
            ("", 400),
            ("/Status", 404),
        ] {
            assert_eq!(status("GET", target, &[HOST]), expected, "{target}");
        }
        assert_eq!(status("GET", &format!("/{}", "x".repeat(5000)), &[HOST]), 414);
    }
}
