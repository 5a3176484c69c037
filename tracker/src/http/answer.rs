//! An answer before it is sent. Header values are made here, of nothing that a stranger chose.

use std::io::{self, Read};

use serde::Serialize;
use tiny_http::{Header, Request, Response, StatusCode};
use torrent_common::announce::http::encode_failure;
use torrent_common::ids::InfoHash;

use super::full_scrape::FullScrape;
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
}

#[derive(Serialize)]
struct JsonError<'a> {
    error: &'a str,
}

impl Answer {
    pub(super) const fn bencode(status: u16, body: Vec<u8>) -> Self {
        Self { status, kind: Kind::Bencode, body, scrape: None, allow: None }
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
        Self { status, kind: Kind::Json, body, scrape: None, allow: None }
    }

    pub(super) fn metrics(page: String) -> Self {
        Self { kind: Kind::Metrics, ..Self::bencode(200, page.into_bytes()) }
    }

    /// A refusal for everything that is not an announcing client.
    pub(super) fn error(status: u16, error: &str) -> Self {
        Self::json(status, &JsonError { error })
    }

    pub(super) fn wrong_method(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::error(405, "this path does not take this method") }
    }

    pub(super) const fn torrent(info_hash: InfoHash, body: Vec<u8>) -> Self {
        Self { status: 200, kind: Kind::Torrent(info_hash), body, scrape: None, allow: None }
    }

    /// Sends it. What is left of the request's body is read and thrown away, which can take as long as the client
    /// likes: see [`super::guard`].
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
            }
            Kind::Metrics => add("Content-Type", metrics::CONTENT_TYPE),
            Kind::Torrent(info_hash) => {
                add("Content-Type", "application/x-bittorrent");
                add("Content-Disposition", &format!("attachment; filename=\"{info_hash}.torrent\""));
                add("X-Content-Type-Options", "nosniff");
            }
        }
        if let Some(allow) = self.allow {
            add("Allow", allow);
        }
        request.respond(response)
    }
}
