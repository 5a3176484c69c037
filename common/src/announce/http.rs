//! Announce and scrape over HTTP (BEP 3, BEP 23, BEP 7, BEP 48), both directions: query strings and bencoded bodies.

use super::{AnnounceRequest, AnnounceResponse, ScrapeEntry};
use crate::ids::InfoHash;

/// A query that is no announce: what the tracker answers as `failure reason`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A key that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A key's value makes no sense.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// A key that must be there once is there twice.
    #[error("{0} is given twice")]
    Repeated(&'static str),
    /// More than the tracker reads.
    #[error("the query is too long")]
    TooLong,
}

/// An answer that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The tracker refused: its reason, a stranger's text (not escaped).
    #[error("the tracker refused: {0:?}")]
    Failure(String),
    /// Not bencode, or not a dictionary.
    #[error("the tracker's answer is not valid: {0}")]
    Bencode(#[from] crate::bencode::BencodeError),
    /// A key is missing or of the wrong type.
    #[error("the tracker's answer has no valid {0:?}")]
    Field(&'static str),
}

/// Reads the query of GET /announce (what follows `?`, still percent-encoded). Unknown keys are skipped. Checks form
/// only: policy is the tracker's.
///
/// # Errors
/// [`QueryError`], to be sent back as the failure reason.
pub fn parse_announce_query(query: &str) -> Result<AnnounceRequest, QueryError> {
    todo!()
}

/// The query of an announce, in the order other clients use; `info_hash` first.
pub fn announce_query(request: &AnnounceRequest) -> String {
    todo!()
}

/// Appends `?query` or `&query` to an announce URL that may already have a query (passkeys). A fragment is dropped.
pub fn with_query(announce_url: &str, query: &str) -> String {
    todo!()
}

/// The info-hashes of GET /scrape, at most `limit`.
///
/// # Errors
/// [`QueryError`], to be sent back as the failure reason.
pub fn parse_scrape_query(query: &str, limit: usize) -> Result<Vec<InfoHash>, QueryError> {
    todo!()
}

/// Appends the bencoded answer: `peers` and, when there are any, `peers6`, compact unless the request says otherwise.
pub fn encode_response(response: &AnnounceResponse, compact: bool, no_peer_id: bool, out: &mut Vec<u8>) {
    todo!()
}

/// Appends a bencoded refusal.
pub fn encode_failure(reason: &str, out: &mut Vec<u8>) {
    todo!()
}

/// Reads a tracker's answer: compact or dictionary peers, IPv4 and IPv6. At most `max_peers` peers are kept; peers at
/// port 0 and host names are dropped.
///
/// # Errors
/// [`ResponseError`]: a refusal, or an answer that makes no sense.
pub fn decode_response(body: &[u8], max_peers: usize) -> Result<AnnounceResponse, ResponseError> {
    todo!()
}

/// Appends the bencoded answer to a scrape.
pub fn encode_scrape(entries: &[(InfoHash, ScrapeEntry)], out: &mut Vec<u8>) {
    todo!()
}
