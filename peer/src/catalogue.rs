//! The tracker's catalogue, from outside: list and search it, take torrents from it, publish to it.

mod multipart;

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use torrent_common::announce::http::{ResponseError, decode_response};
use torrent_common::announce::{AnnounceRequest, Event};
use torrent_common::config::is_tracker_url;
use torrent_common::ids::{InfoHash, PeerId};
use torrent_common::metainfo::{Metainfo, MetainfoError, MetainfoLimits};
use torrent_common::secret::Secret;

use crate::http::{HttpAnswer, HttpClient, HttpError, HttpOptions, Once};
use crate::text::escape_for_log;

/// The longest JSON answer read, in bytes.
const MAX_JSON_LEN: u64 = 4 << 20;
/// The longest answer to a publication read, in bytes.
const MAX_ANSWER_LEN: u64 = 1 << 20;
/// Peers read from the answer to a publication: the next announce brings them.
const MAX_PEERS: usize = 0;
/// Characters of a stranger's reason.
const MAX_REASON: usize = 200;

/// One published torrent. Texts are strangers': escape them for the medium.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// Which.
    pub info_hash: InfoHash,
    /// Its name.
    pub name: String,
    /// What its publisher says of it.
    #[serde(default)]
    pub description: String,
    /// Bytes of payload.
    #[serde(default)]
    pub size: u64,
    /// How many files.
    #[serde(default)]
    pub files: u64,
    /// Peers that have all of it.
    #[serde(default)]
    pub seeders: u32,
    /// Peers that have not.
    #[serde(default)]
    pub leechers: u32,
    /// Downloads completed.
    #[serde(default)]
    pub completed: u64,
    /// When it was published, in seconds since 1970.
    #[serde(default)]
    pub created: i64,
}

/// A part of what was searched.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Page {
    /// How many there are in all.
    #[serde(default)]
    pub total: u64,
    /// Those of this page.
    pub torrents: Vec<Entry>,
}

/// GET /: who answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TrackerInfo {
    /// The program's name.
    pub name: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Torrents published.
    #[serde(default)]
    pub torrents: u64,
    /// Torrents with peers.
    #[serde(default)]
    pub swarms: u64,
    /// Peers of all of them.
    #[serde(default)]
    pub peers: u64,
}

/// What to publish, and the announce that goes with it.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// The torrent file.
    pub torrent: &'a [u8],
    /// Which torrent that is.
    pub info_hash: InfoHash,
    /// The name to list it under. One that the tracker would not list (empty, too long, control characters) is left to
    /// the tracker, which takes the torrent's own.
    pub name: &'a str,
    /// Free text.
    pub description: &'a str,
    /// Who we are.
    pub peer_id: PeerId,
    /// Where peers reach us.
    pub port: u16,
    /// Proves our identity when our address changes.
    pub key: u32,
    /// Bytes we lack ourselves: 0 for a seeder.
    pub left: u64,
    /// What the tracker wants to hear from who publishes.
    pub token: Option<&'a Secret>,
}

/// Publishing led to this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The catalogue did not have it before. If it did, the first entry stays as it is.
    pub is_new: bool,
    /// Something the tracker wants the user to read: a stranger's text.
    pub warning: Option<String>,
}

/// Why the catalogue did not do as asked, and what to do about it. Safe to print.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The configured address is none.
    #[error(
        "{0} is not a tracker's address: it should look like http://host:8000/announce (TRACKER_URL in config.ini)"
    )]
    BadUrl(String),
    /// Nobody answers.
    #[error(
        "no answer from the tracker at {url}: {reason}; is torrent-tracker running there, and TRACKER_URL right?"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// Somebody answers, but no tracker of ours.
    #[error("what answers at {url} is no torrent-tracker with a catalogue ({reason}); is TRACKER_URL right?")]
    NoCatalogue {
        /// Where.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The tracker says no.
    #[error("the tracker at {url} refused: {reason}")]
    Refused {
        /// Where.
        url: String,
        /// Its words.
        reason: String,
    },
    /// No such torrent.
    #[error("the catalogue has no torrent {0}; torrent-fetch lists what it has")]
    NotFound(InfoHash),
    /// The torrent file it sent is not acceptable.
    #[error("the catalogue's torrent {0} is not usable: {1}")]
    BadTorrent(InfoHash, #[source] MetainfoError),
    /// The torrent file it sent is another one.
    #[error("asked for torrent {asked}, the catalogue sent {got}: the tracker is broken or lies")]
    WrongTorrent {
        /// What was asked for.
        asked: InfoHash,
        /// What came.
        got: InfoHash,
    },
}

/// A client of one tracker's catalogue. Each call blocks for at most the timeout.
#[derive(Debug, Clone)]
pub struct CatalogueClient {
    http: HttpClient,
    /// Where announces go.
    announce_url: String,
    /// What the paths of the catalogue are appended to: without `/` at the end.
    base: String,
    limits: MetainfoLimits,
}

impl CatalogueClient {
    /// For the tracker that announces go to at `tracker_url`. `timeout` is for one call.
    ///
    /// # Errors
    /// [`CatalogueError::BadUrl`].
    pub fn new(tracker_url: &str, timeout: Duration) -> Result<Self, CatalogueError> {
        let bad = || CatalogueError::BadUrl(escape_for_log(tracker_url, MAX_REASON));
        let announce_url = over_http(tracker_url);
        let base = base_of(&announce_url).ok_or_else(bad)?.to_owned();
        let http =
            HttpClient::new(&HttpOptions { timeout, max_redirects: 0, max_idle: 0, guard_loopback: false });
        Ok(Self { http, announce_url, base, limits: MetainfoLimits::default() })
    }

    /// Other limits than the default ones on what a torrent file of the catalogue may cost.
    pub fn with_limits(self, limits: MetainfoLimits) -> Self {
        Self { limits, ..self }
    }

    /// Whether the tracker is there, and what it says of itself.
    ///
    /// # Errors
    /// [`CatalogueError`], in words for the user.
    pub fn ping(&self) -> Result<TrackerInfo, CatalogueError> {
        self.get_json("/")
    }

    /// Published torrents, those that match `query` if there is one, from number `offset` on.
    ///
    /// # Errors
    /// [`CatalogueError`], in words for the user.
    pub fn search(&self, query: Option<&str>, offset: u64, limit: u32) -> Result<Page, CatalogueError> {
        let query = query
            .map_or(String::new(), |query| format!("&q={}", utf8_percent_encode(query, NON_ALPHANUMERIC)));
        self.get_json(&format!("/torrents?offset={offset}&limit={limit}{query}"))
    }

    /// The torrent file of a published torrent: parsed, and the right one.
    ///
    /// # Errors
    /// [`CatalogueError`], in words for the user.
    pub fn fetch(&self, info_hash: InfoHash) -> Result<Vec<u8>, CatalogueError> {
        let max_len = u64::try_from(self.limits.max_len).unwrap_or(u64::MAX);
        let answer = self.get(&format!("/torrents/{info_hash}"), max_len)?;
        if answer.status == 404 {
            return Err(CatalogueError::NotFound(info_hash));
        }
        let torrent = self.expect_ok(answer)?;
        let metainfo = Metainfo::parse(&torrent, &self.limits)
            .map_err(|error| CatalogueError::BadTorrent(info_hash, error))?;
        if metainfo.info_hash == info_hash {
            Ok(torrent)
        } else {
            Err(CatalogueError::WrongTorrent { asked: info_hash, got: metainfo.info_hash })
        }
    }

    /// Publishes a torrent and announces it: POST to the announce URL of a form with the fields of the announce, the
    /// texts `name` and `description`, and the file `torrent`.
    ///
    /// # Errors
    /// [`CatalogueError`], in words for the user.
    pub fn publish(&self, publication: &Publication<'_>) -> Result<Published, CatalogueError> {
        let form = multipart::form(publication, &announce_of(publication), &mut fastrand::Rng::new());
        let answer = self
            .http
            .post(&self.announce_url, &form.content_type, &form.body, MAX_ANSWER_LEN)
            .map_err(|error| self.unreachable(&error))?;
        match decode_response(&answer.body, MAX_PEERS) {
            Ok(response) if matches!(answer.status, 200 | 201) => {
                Ok(Published { is_new: answer.status == 201, warning: response.warning })
            }
            Err(ResponseError::Failure(reason)) => Err(self.refused(&reason)),
            Err(error) if matches!(answer.status, 200 | 201) => Err(self.no_catalogue(&error.to_string())),
            _ => Err(self.status_error(&answer)),
        }
    }

    /// Ends the calls that wait, those of its clones too, and lets no new one begin.
    pub fn hang_up(&self) {
        self.http.hang_up();
    }

    fn get(&self, path: &str, max_len: u64) -> Result<HttpAnswer, CatalogueError> {
        let url = format!("{}{path}", self.base);
        let once = Once { close: true, ..Once::default() };
        self.http.get(&url, max_len, once).map_err(|error| self.unreachable(&error))
    }

    fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, CatalogueError> {
        let body = self.expect_ok(self.get(path, MAX_JSON_LEN)?)?;
        serde_json::from_slice(&body).map_err(|error| self.no_catalogue(&error.to_string()))
    }

    fn expect_ok(&self, answer: HttpAnswer) -> Result<Vec<u8>, CatalogueError> {
        if answer.status == 200 { Ok(answer.body) } else { Err(self.status_error(&answer)) }
    }

    /// What an answer other than 200 means. Our tracker says why in JSON.
    fn status_error(&self, answer: &HttpAnswer) -> CatalogueError {
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
        }
        match serde_json::from_slice::<Refusal>(&answer.body) {
            Ok(refusal) => self.refused(&refusal.error),
            Err(_) => self.no_catalogue(&format!("HTTP status {}", answer.status)),
        }
    }

    fn unreachable(&self, error: &HttpError) -> CatalogueError {
        let reason = escape_for_log(&error.to_string(), MAX_REASON);
        match error {
            HttpError::BadUrl => CatalogueError::BadUrl(escape_for_log(&self.announce_url, MAX_REASON)),
            HttpError::TooLarge(_) | HttpError::Protocol(_) => self.no_catalogue(&reason),
            _ => CatalogueError::Unreachable { url: self.shown(), reason },
        }
    }

    fn refused(&self, reason: &str) -> CatalogueError {
        CatalogueError::Refused { url: self.shown(), reason: escape_for_log(reason, MAX_REASON) }
    }

    fn no_catalogue(&self, reason: &str) -> CatalogueError {
        CatalogueError::NoCatalogue { url: self.shown(), reason: escape_for_log(reason, MAX_REASON) }
    }

    /// The tracker's address for messages: without the query, which may hold a passkey.
    fn shown(&self) -> String {
        escape_for_log(&self.base, MAX_REASON)
    }
}

/// The announce URL for HTTP: torrent-tracker answers at the same port number as over UDP.
fn over_http(announce_url: &str) -> String {
    match announce_url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("udp") && is_tracker_url(announce_url) => {
            // There the path often is left out.
            let path = if rest.trim_end_matches('/').contains(['/', '?', '#']) { "" } else { "/announce" };
            format!("http://{}{path}", rest.trim_end_matches('/'))
        }
        _ => announce_url.to_owned(),
    }
}

/// The URL that the catalogue's paths are appended to; `None` if this is no announce URL.
fn base_of(announce_url: &str) -> Option<&str> {
    let url = announce_url.split(['?', '#']).next()?;
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let base = url.strip_suffix("/announce").or_else(|| url.strip_suffix('/')).unwrap_or(url);
    let is_other_page = !url.ends_with("/announce") && rest.trim_end_matches('/').contains('/');
    (!is_other_page && base.len() > scheme.len() + "://".len()).then_some(base)
}

fn announce_of(publication: &Publication<'_>) -> AnnounceRequest {
    AnnounceRequest {
        info_hash: publication.info_hash,
        peer_id: publication.peer_id,
        port: publication.port,
        uploaded: 0,
        downloaded: 0,
        left: publication.left,
        event: Event::Started,
        numwant: Some(0),
        ip: None,
        key: Some(publication.key),
        compact: true,
        no_peer_id: true,
        tracker_id: None,
    }
}

#[cfg(test)]
mod tests;
