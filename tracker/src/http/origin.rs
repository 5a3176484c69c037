//! Requests that a web page made its visitor's browser send. Browsers let any page send forms and load pictures from
//! any address, those of the visitor's own machine included; they say so in headers that no other client sends.

use tiny_http::{Header, Request};

/// Whether a page of another site is behind the request.
pub(super) fn is_foreign(request: &Request) -> bool {
    from_headers(request.headers())
}

fn from_headers(headers: &[Header]) -> bool {
    let value = |name: &'static str| {
        headers.iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
    };
    let is_own = |origin: &str| {
        let site = origin.split_once("://").map(|(_, site)| site);
        site.is_some() && site == value("Host")
    };
    let fetched_elsewhere =
        value("Sec-Fetch-Site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    fetched_elsewhere || value("Origin").is_some_and(|origin| !is_own(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_tell() {
        for (headers, expected) in [
            (&[][..], false),
            (&[("Host", "127.0.0.1:8000")], false),
            (&[("Host", "t:80"), ("Origin", "http://t:80")], false),
            (&[("Host", "t:80"), ("Origin", "http://t:81")], true),
            (&[("Host", "t"), ("Origin", "https://evil.example")], true),
            (&[("Host", "t"), ("Origin", "null")], true),
            (&[("Origin", "http://t")], true),
            (&[("Sec-Fetch-Site", "none")], false),
            (&[("Sec-Fetch-Site", "same-origin")], false),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("Sec-Fetch-Site", "same-site")], true),
        ] {
            let made: Vec<_> =
                headers.iter().map(|(name, value)| Header::from_bytes(*name, *value).unwrap()).collect();
            assert_eq!(from_headers(&made), expected, "{headers:?}");
        }
    }
}
