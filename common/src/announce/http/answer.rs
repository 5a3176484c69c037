//! What a tracker answered.

use super::super::AnnounceResponse;

/// The longest answer that [`decode_response`] reads, in bytes: a reader of the body may stop here.
pub const MAX_RESPONSE_LEN: usize = 1 << 20;
/// The interval of an answer that has peers but names none, in seconds.
pub const DEFAULT_INTERVAL_S: u32 = 1800;

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

/// Reads a tracker's answer: compact or dictionary peers, IPv4 and IPv6. At most `max_peers` peers are kept; peers at
/// port 0 and host names are dropped.
///
/// # Errors
/// [`ResponseError`]: a refusal, or an answer that makes no sense.
pub fn decode_response(body: &[u8], max_peers: usize) -> Result<AnnounceResponse, ResponseError> {
    todo!()
}
