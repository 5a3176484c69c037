//! An answer before it is sent. Header values are made here, of nothing that a stranger chose.

use std::hash::Hasher;
use std::io::{self, Read};
use std::sync::Arc;

use serde::Serialize;
use siphasher::sip::SipHasher24;
use tiny_http::{Header, Request, Response, StatusCode};
use torrent_common::announce::http::encode_failure;
use torrent_common::ids::InfoHash;

use super::full_scrape::{self, FullScrape};
use crate::metrics;

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) kind: Kind,
    pub(super) body: Vec<u8>,
    /// Is the body instead, made as it is sent.
    scrape: Option<FullScrape>,
    /// Methods to name in `Allow`, with status 405.
    allow: Option<&'static str>,
    /// The torrent whose page to go to, and whether it was new.
    published: Option<(InfoHash, bool)>,
    /// Tells versions of the body apart.
    etag: Option<u64>,
    /// Why there is nothing else.
    problem: Option<String>,
}

/// A body that is sent in parts.
pub(super) enum Rest {
    Bytes(Vec<u8>),
    /// The same for several clients, and how far this one has come.
    Shared(Arc<Vec<u8>>, usize),
    /// With its length in bytes.
    Scrape(full_scrape::Reader, usize),
}

/// Bytes of a scrape that are made at a time, and of what is shared that are copied.
const PART: u64 = 64 << 10;
const SHARED_PART: usize = 64 << 10;

impl Rest {
    /// Bytes that are left, of a scrape in all.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Shared(bytes, at) => bytes.len().saturating_sub(*at),
            Self::Scrape(_, len) => *len,
        }
    }

    /// Bytes of memory that it takes: its share of those that others have, too.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.capacity(),
            Self::Shared(bytes, _) => bytes.capacity() / Arc::strong_count(bytes).max(1),
            Self::Scrape(reader, _) => reader.held(),
        }
    }

    /// The next part, in place of what is in `bytes`. False when there is none.
    pub(super) fn next(&mut self, bytes: &mut Vec<u8>) -> io::Result<bool> {
        match self {
            Self::Bytes(rest) => *bytes = std::mem::take(rest),
            Self::Shared(all, at) => {
                let rest = all.get(*at..).unwrap_or_default();
                let part = rest.get(..SHARED_PART).unwrap_or(rest);
                bytes.clear();
                bytes.extend_from_slice(part);
                *at += part.len();
            }
            Self::Scrape(reader, _) => {
                bytes.clear();
                reader.take(PART).read_to_end(bytes)?;
            }
        }
        Ok(!bytes.is_empty())
    }
}

/// What the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bencode for a client: as plain text, like other trackers.
    Bencode,
    Json,
    /// Numbers for Prometheus.
    Metrics,
    /// The torrent file of this info-hash, to be saved under that name.
    Torrent(InfoHash),
    /// HTML, with what it may load and where its forms may go.
    Page,
    /// RSS.
    Feed,
    /// What belongs to pages: it never changes at its address.
    Style,
    /// The same.
    Icon,
}

/// What a page may do, whatever stands in it: show our style and our icon, and send forms here. No scripts, no frames.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
                           base-uri 'none'; frame-ancestors 'none'";
/// Other sites are not told where their visitors came from. `no-referrer` would make browsers hide the origin of our own
/// forms, too, which [`super::origin`] looks at.
const REFERRER_POLICY: &str = "same-origin";

#[derive(Serialize)]
struct JsonError<'a> {
    error: &'a str,
}

impl Answer {
    pub(super) const fn bencode(status: u16, body: Vec<u8>) -> Self {
        Self::new(status, Kind::Bencode, body)
    }

    const fn new(status: u16, kind: Kind, body: Vec<u8>) -> Self {
        Self { status, kind, body, scrape: None, allow: None, published: None, etag: None, problem: None }
    }

    pub(super) fn full_scrape(scrape: FullScrape) -> Self {
        Self { scrape: Some(scrape), ..Self::bencode(200, Vec::new()) }
    }

    /// Bytes of the body.
    pub(super) fn len(&self) -> usize {
        self.scrape.as_ref().map_or(self.body.len(), FullScrape::len_bytes)
    }

    /// A refusal that an announcing client shows.
    pub(super) fn failure(status: u16, reason: &str) -> Self {
        let mut body = Vec::new();
        encode_failure(reason, &mut body);
        Self::bencode(status, body)
    }

    pub(super) fn json(status: u16, value: &impl Serialize) -> Self {
        // Only maps with keys that are no strings, and failing Serialize implementations, are errors: we have neither.
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self::new(status, Kind::Json, body)
    }

    pub(super) fn metrics(page: String) -> Self {
        Self { kind: Kind::Metrics, ..Self::bencode(200, page.into_bytes()) }
    }

    /// A refusal for everything that is not an announcing client.
    pub(super) fn error(status: u16, error: &str) -> Self {
        Self { problem: Some(error.to_owned()), ..Self::json(status, &JsonError { error }) }
    }

    /// The reason of a refusal that was not for an announcing client.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The same refusal for people.
    pub(super) fn with_page(&self, page: Self) -> Self {
        Self { allow: self.allow, ..page }
    }

    pub(super) fn wrong_method(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::error(405, "this path does not take this method") }
    }

    pub(super) const fn torrent(info_hash: InfoHash, body: Vec<u8>) -> Self {
        Self::new(200, Kind::Torrent(info_hash), body)
    }

    pub(super) fn page(status: u16, html: String) -> Self {
        Self::new(status, Kind::Page, html.into_bytes())
    }

    /// `kind` is one of those that never change.
    pub(super) fn asset(kind: Kind, text: &str) -> Self {
        Self::new(200, kind, text.as_bytes().to_vec())
    }

    /// The way to the page of a torrent that was just published with a form, or was known.
    pub(super) fn published(info_hash: InfoHash, is_new: bool) -> Self {
        Self { published: Some((info_hash, is_new)), ..Self::new(303, Kind::Page, Vec::new()) }
    }

    pub(super) fn feed(xml: String) -> Self {
        let mut hasher = SipHasher24::new();
        hasher.write(xml.as_bytes());
        Self { etag: Some(hasher.finish()), ..Self::new(200, Kind::Feed, xml.into_bytes()) }
    }

    /// Without its body if the client has the same already, as it says in If-None-Match.
    pub(super) fn unless_known(self, request: &Request) -> Self {
        let Some(etag) = self.etag.map(quoted).filter(|_| self.status == 200) else { return self };
        let known = request.headers().iter().filter(|header| header.field.equiv("If-None-Match"));
        let mut known = known.flat_map(|header| header.value.as_str().split(','));
        // Compared weakly (RFC 9110, 13.1.2): a proxy that compresses weakens it.
        if known.any(|tag| tag.trim().trim_start_matches("W/") == etag) {
            // tiny_http leaves the body out, but tells its length, which has to be that of 200 (RFC 9110, 8.6).
            Self { status: 304, ..self }
        } else {
            self
        }
    }

    /// Whether it is bencode, with status 200, and all in its body: see [`super::pen`].
    pub(super) fn is_plain(&self) -> bool {
        self.status == 200 && self.kind == Kind::Bencode && self.scrape.is_none()
    }

    /// Sends it. What is left of the request's body is read and thrown away, which can take as long as the client
    /// likes: see [`torrent_guard`].
    pub(super) fn send(mut self, request: Request) -> io::Result<()> {
        let len = self.len();
        match self.scrape.take() {
            Some(scrape) => self.send_body(request, scrape.into_reader(), len),
            None => {
                let body = std::mem::take(&mut self.body);
                self.send_body(request, body.as_slice(), len)
            }
        }
    }

    fn send_body(self, request: Request, body: impl Read, len: usize) -> io::Result<()> {
        request.respond(self.response(body, len))
    }

    /// The head as it is to be sent, and what follows it. `is_last`: the connection ends behind it.
    pub(super) fn into_parts(mut self, request: &Request, is_last: bool) -> io::Result<(Vec<u8>, Rest)> {
        let len = self.len();
        let rest = match self.scrape.take() {
            Some(scrape) => Rest::Scrape(scrape.into_reader(), len),
            None => Rest::Bytes(std::mem::take(&mut self.body)),
        };
        let mut head = Vec::new();
        let response = self.response(io::empty(), len);
        response.raw_print(&mut head, request.http_version().clone(), request.headers(), true, None)?;
        if is_last && head.ends_with(b"\r\n\r\n") {
            head.truncate(head.len() - 2);
            head.extend_from_slice(b"Connection: close\r\n\r\n");
        }
        Ok((head, rest))
    }

    fn response<R: Read>(self, body: R, len: usize) -> Response<R> {
        let mut response = Response::new(StatusCode(self.status), Vec::new(), body, Some(len), None)
            .with_chunked_threshold(usize::MAX);
        let mut add = |name: &str, value: &str| {
            if let Ok(header) = Header::from_bytes(name, value) {
                response.add_header(header);
            }
        };
        match self.kind {
            Kind::Bencode => add("Content-Type", "text/plain"),
            Kind::Json => {
                add("Content-Type", "application/json");
                add("X-Content-Type-Options", "nosniff");
                // At some paths browsers get a page.
                add("Vary", "Accept");
            }
            Kind::Metrics => add("Content-Type", metrics::CONTENT_TYPE),
            Kind::Torrent(info_hash) => {
                add("Content-Type", "application/x-bittorrent");
                add("Content-Disposition", &format!("attachment; filename=\"{info_hash}.torrent\""));
                add("X-Content-Type-Options", "nosniff");
            }
            Kind::Page => {
                add("Content-Type", "text/html; charset=utf-8");
                add("Content-Security-Policy", PAGE_POLICY);
                add("Referrer-Policy", REFERRER_POLICY);
                add("X-Content-Type-Options", "nosniff");
                add("Vary", "Accept");
            }
            Kind::Feed => {
                add("Content-Type", "application/rss+xml; charset=utf-8");
                add("X-Content-Type-Options", "nosniff");
            }
            Kind::Style | Kind::Icon => {
                let is_style = self.kind == Kind::Style;
                add("Content-Type", if is_style { "text/css; charset=utf-8" } else { "image/svg+xml" });
                add("Content-Security-Policy", "default-src 'none'");
                add("X-Content-Type-Options", "nosniff");
                add("Cache-Control", "public, max-age=31536000, immutable");
            }
        }
        if let Some((info_hash, is_new)) = self.published {
            let said = if is_new { "published" } else { "known" };
            add("Location", &format!("/torrent/{info_hash}?{said}"));
        }
        if let Some(etag) = self.etag {
            add("ETag", &quoted(etag));
        }
        if let Some(allow) = self.allow {
            add("Allow", allow);
        }
        response
    }
}

/// An ETag as it is sent.
fn quoted(etag: u64) -> String {
    format!("\"{etag:016x}\"")
}
