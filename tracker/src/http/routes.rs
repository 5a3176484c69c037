//! Which request is whose.

use tiny_http::{Method, Request};
use torrent_common::ids::InfoHash;

/// A request's target, split: neither part is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) path: &'a str,
    /// What follows the first `?`; empty if there is none.
    pub(super) query: &'a str,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Status,
    /// For Prometheus.
    Metrics,
    Announce,
    Scrape,
    /// The catalogue, listed or searched.
    Torrents,
    /// A torrent file.
    Torrent(InfoHash),
    /// What is in a torrent.
    Files(InfoHash),
    /// A torrent is to be taken out of the catalogue.
    Removal(InfoHash),
    /// POST /announce.
    Upload,
    /// What browsers get at `/`.
    List,
    /// The page of a torrent.
    Entry(InfoHash),
    /// The page with a form for uploads.
    Form,
    /// What that form sends: POST /upload.
    FilledForm,
    /// The catalogue for feed readers.
    Feed,
    /// What belongs to pages.
    Style,
    /// The same.
    Icon,
    /// All of these, described for programs.
    Api,
    NotFound,
    /// A path that takes only these methods.
    WrongMethod(&'static str),
}

impl<'a> Target<'a> {
    /// In origin form (`/path?query`) or absolute form (`http://host/path?query`, as sent to proxies).
    pub(super) fn new(url: &'a str) -> Self {
        let url = match url.split_once("://") {
            Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
                rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
            }
            _ => url,
        };
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        Self { path, query }
    }
}

/// Whose this request is. Where there is a page and something else, browsers get the page.
pub(super) fn route_of(request: &Request) -> Route {
    match route(request.method(), Target::new(request.url()).path) {
        Route::Status if wants_page(request) => Route::List,
        route => route,
    }
}

/// Whether HTML is asked for by name, as browsers do, and others hardly ever.
pub(super) fn wants_page(request: &Request) -> bool {
    let accept = request.headers().iter().filter(|header| header.field.equiv("Accept"));
    accept.flat_map(|header| header.value.as_str().split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        is_html && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

/// Finds the route. HEAD is GET without the body.
pub(super) fn route(method: &Method, path: &str) -> Route {
    let get = |route| {
        if matches!(method, Method::Get | Method::Head) { route } else { Route::WrongMethod("GET, HEAD") }
    };
    match path {
        "/" => get(Route::Status),
        "/announce" if *method == Method::Post => Route::Upload,
        "/announce" => match get(Route::Announce) {
            Route::WrongMethod(_) => Route::WrongMethod("GET, HEAD, POST"),
            route => route,
        },
        "/metrics" => get(Route::Metrics),
        "/scrape" => get(Route::Scrape),
        "/torrents" => get(Route::Torrents),
        "/torrents.rss" => get(Route::Feed),
        "/upload" if *method == Method::Post => Route::FilledForm,
        "/upload" => match get(Route::Form) {
            Route::WrongMethod(_) => Route::WrongMethod("GET, HEAD, POST"),
            route => route,
        },
        "/style.css" => get(Route::Style),
        "/icon.svg" => get(Route::Icon),
        "/openapi.json" => get(Route::Api),
        _ if path.starts_with("/torrent/") => {
            let name = path.strip_prefix("/torrent/").unwrap_or_default();
            name.parse().map_or(Route::NotFound, |info_hash| get(Route::Entry(info_hash)))
        }
        _ => {
            let name = path.strip_prefix("/torrents/").unwrap_or_default();
            if let Some(Ok(info_hash)) = name.strip_suffix("/files").map(str::parse) {
                return get(Route::Files(info_hash));
            }
            match name.strip_suffix(".torrent").unwrap_or(name).parse() {
                Ok(info_hash) if *method == Method::Delete => Route::Removal(info_hash),
                Ok(info_hash) => match get(Route::Torrent(info_hash)) {
                    Route::WrongMethod(_) => Route::WrongMethod("GET, HEAD, DELETE"),
                    route => route,
                },
                Err(_) => Route::NotFound,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_split() {
        for (url, path, query) in [
            ("/", "/", ""),
            ("/announce?a=b?c", "/announce", "a=b?c"),
            ("/announce?", "/announce", ""),
            ("http://tracker:8000/announce?x=1", "/announce", "x=1"),
            ("http://tracker", "/", ""),
            ("/announce?ip=http://x/y", "/announce", "ip=http://x/y"),
            ("*", "*", ""),
            ("", "", ""),
        ] {
            assert_eq!(Target::new(url), Target { path, query }, "{url}");
        }
    }

    #[test]
    fn routes() {
        let hash = "00112233445566778899aabbccddeeff00112233";
        let torrent = Route::Torrent(hash.parse().unwrap());
        for (method, path, expected) in [
            (Method::Get, "/", Route::Status),
            (Method::Head, "/", Route::Status),
            (Method::Post, "/", Route::WrongMethod("GET, HEAD")),
            (Method::Get, "/announce", Route::Announce),
            (Method::Post, "/announce", Route::Upload),
            (Method::Put, "/announce", Route::WrongMethod("GET, HEAD, POST")),
            (Method::Get, "/announce/", Route::NotFound),
            (Method::Get, "/metrics", Route::Metrics),
            (Method::Post, "/metrics", Route::WrongMethod("GET, HEAD")),
            (Method::Get, "/scrape", Route::Scrape),
            (Method::Delete, "/scrape", Route::WrongMethod("GET, HEAD")),
            (Method::Get, "/torrents", Route::Torrents),
            (Method::Get, &format!("/torrents/{hash}"), torrent),
            (Method::Get, &format!("/torrents/{}.torrent", hash.to_uppercase()), torrent),
            (Method::Delete, &format!("/torrents/{hash}"), Route::Removal(hash.parse().unwrap())),
            (Method::Post, &format!("/torrents/{hash}"), Route::WrongMethod("GET, HEAD, DELETE")),
            (Method::Get, &format!("/torrents/{hash}/files"), Route::Files(hash.parse().unwrap())),
            (Method::Delete, &format!("/torrents/{hash}/files"), Route::WrongMethod("GET, HEAD")),
            (Method::Get, &format!("/torrents/{hash}.torrent/files"), Route::NotFound),
            (Method::Get, "/torrents/", Route::NotFound),
            (Method::Get, "/torrents.rss", Route::Feed),
            (Method::Get, "/upload", Route::Form),
            (Method::Post, "/upload", Route::FilledForm),
            (Method::Delete, "/upload", Route::WrongMethod("GET, HEAD, POST")),
            (Method::Head, &format!("/torrent/{hash}"), Route::Entry(hash.parse().unwrap())),
            (Method::Get, &format!("/torrent/{hash}.torrent"), Route::NotFound),
            (Method::Get, "/torrent/", Route::NotFound),
            (Method::Get, "/style.css", Route::Style),
            (Method::Post, "/icon.svg", Route::WrongMethod("GET, HEAD")),
            (Method::Get, "/torrents/../../etc/passwd", Route::NotFound),
            (Method::Get, "/torrents/00", Route::NotFound),
            (Method::Get, "*", Route::NotFound),
            (Method::Get, "", Route::NotFound),
        ] {
            assert_eq!(route(&method, path), expected, "{method} {path}");
        }
    }
}
