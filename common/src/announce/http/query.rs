//! Query strings: what a peer asks.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::str::from_utf8;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::super::{AnnounceRequest, Event};
use crate::ids::{InfoHash, PeerId};

/// The longest query of an announce, in bytes. Those of other clients are under 500.
pub const MAX_QUERY_LEN: usize = 4096;
/// The longest query of a scrape, in bytes: a thousand info-hashes, each with its name encoded to 71.
const MAX_SCRAPE_QUERY_LEN: usize = 71_000;
/// A number of bytes that is no torrent's: what `left` says when the size is not known. The largest that trackers
/// with signed numbers read.
const LEFT_UNKNOWN: u64 = i64::MAX as u64;
/// Everything but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

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

/// Reads the query of GET /announce (what follows `?`, still percent-encoded). Checks form only: policy is the
/// tracker's. As lenient as clients need:
///
/// - `info_hash`, `peer_id`, `port` (not 0) and `left` must be there, once. `left` may be -1, or a number that no
///   torrent has: not known. `uploaded` and `downloaded` are 0 when missing.
/// - Keys that are not known are skipped, as are an unknown `event`, a negative or unreadable `numwant`, an `ip` that
///   is a host name, a `key` that is not a number of 32 bits, hexadecimal (most clients) or decimal, and a `trackerid`
///   that is not encoded well.
/// - `+` is itself, not a space.
///
/// # Errors
/// [`QueryError`], to be sent back as the failure reason.
pub fn parse_announce_query(query: &str) -> Result<AnnounceRequest, QueryError> {
    if query.len() > MAX_QUERY_LEN {
        return Err(QueryError::TooLong);
    }
    let (mut info_hash, mut peer_id, mut port) = (None, None, None);
    let (mut uploaded, mut downloaded, mut left) = (None, None, None);
    let (mut event, mut numwant, mut ip, mut key) = (Event::None, None, None, None);
    let (mut compact, mut no_peer_id, mut tracker_id) = (true, false, None);
    for (name, value) in pairs(query) {
        match name {
            b"info_hash" => set(&mut info_hash, "info_hash", decode_exactly(value))?,
            b"peer_id" => set(&mut peer_id, "peer_id", decode_exactly(value))?,
            b"port" => {
                set(
                    &mut port,
                    "port",
                    decimal(value).and_then(|n| u16::try_from(n).ok()).filter(|&n| n > 0),
                )?;
            }
            b"uploaded" => set(&mut uploaded, "uploaded", decimal(value))?,
            b"downloaded" => set(&mut downloaded, "downloaded", decimal(value))?,
            b"left" => set(&mut left, "left", parse_left(value))?,
            b"event" => event = parse_event(value),
            b"numwant" => numwant = decimal(value).map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
            b"ip" => ip = parse_ip(value),
            b"key" => key = parse_key(value),
            b"compact" => compact = value != b"0",
            b"no_peer_id" => no_peer_id = value == b"1",
            b"trackerid" => tracker_id = decode_all(value),
            _ => {}
        }
    }
    Ok(AnnounceRequest {
        info_hash: InfoHash::new(info_hash.ok_or(QueryError::Missing("info_hash"))?),
        peer_id: PeerId::new(peer_id.ok_or(QueryError::Missing("peer_id"))?),
        port: port.ok_or(QueryError::Missing("port"))?,
        uploaded: uploaded.unwrap_or(0),
        downloaded: downloaded.unwrap_or(0),
        left: left.ok_or(QueryError::Missing("left"))?,
        event,
        numwant,
        ip,
        key,
        compact,
        no_peer_id,
        tracker_id,
    })
}

/// The info-hashes of GET /scrape: the first `limit`, others are skipped. Empty when the query names none (BEP 48: all
/// torrents are meant).
///
/// # Errors
/// [`QueryError`], to be sent back as the failure reason.
pub fn parse_scrape_query(query: &str, limit: usize) -> Result<Vec<InfoHash>, QueryError> {
    if query.len() > MAX_SCRAPE_QUERY_LEN {
        return Err(QueryError::TooLong);
    }
    pairs(query)
        .filter(|(name, _)| *name == b"info_hash")
        .take(limit)
        .map(|(_, value)| decode_exactly(value).map(InfoHash::new).ok_or(QueryError::Invalid("info_hash")))
        .collect()
}

/// The query of an announce, in the order other clients use; `info_hash` first.
pub fn announce_query(request: &AnnounceRequest) -> String {
    let left = if request.left == u64::MAX { LEFT_UNKNOWN } else { request.left };
    let mut query = format!(
        "info_hash={}&peer_id={}&port={}&uploaded={}&downloaded={}&left={left}",
        percent_encode(request.info_hash.as_bytes(), ENCODED),
        percent_encode(request.peer_id.as_bytes(), ENCODED),
        request.port,
        request.uploaded,
        request.downloaded,
    );
    // Writing to a String cannot fail.
    let event = event_name(request.event);
    if !event.is_empty() {
        let _ = write!(query, "&event={event}");
    }
    if let Some(numwant) = request.numwant {
        let _ = write!(query, "&numwant={numwant}");
    }
    if let Some(key) = request.key {
        let _ = write!(query, "&key={key:08X}");
    }
    query.push_str(if request.compact { "&compact=1" } else { "&compact=0" });
    if request.no_peer_id {
        query.push_str("&no_peer_id=1");
    }
    if let Some(ip) = request.ip {
        let _ = write!(query, "&ip={}", percent_encode(ip.to_string().as_bytes(), ENCODED));
    }
    if let Some(id) = &request.tracker_id {
        let _ = write!(query, "&trackerid={}", percent_encode(id, ENCODED));
    }
    query
}

/// Appends `?query` or `&query` to an announce URL that may already have a query (passkeys). A fragment is dropped.
pub fn with_query(announce_url: &str, query: &str) -> String {
    let url = announce_url.split('#').next().unwrap_or_default();
    let separator = match url.contains('?') {
        false => "?",
        true if url.ends_with(['?', '&']) => "",
        true => "&",
    };
    format!("{url}{separator}{query}")
}

/// Names and values between `&`, still encoded. A name without `=` has an empty value.
fn pairs(query: &str) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.as_bytes(), value.as_bytes())
    })
}

/// Keeps a value that must be valid and may be given only once.
fn set<T>(slot: &mut Option<T>, name: &'static str, value: Option<T>) -> Result<(), QueryError> {
    let value = value.ok_or(QueryError::Invalid(name))?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(QueryError::Repeated(name)),
    }
}

/// Percent-decodes the first byte of `text`, and gives the rest with it. `None` at a `%` without two digits.
fn decode_byte(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    match text {
        [b'%', high, low, rest @ ..] => Some((digit(*high)? << 4 | digit(*low)?, rest)),
        [b'%', ..] | [] => None,
        [byte, rest @ ..] => Some((*byte, rest)),
    }
}

/// A value that is exactly `N` bytes after decoding.
fn decode_exactly<const N: usize>(mut text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for byte in &mut bytes {
        (*byte, text) = decode_byte(text)?;
    }
    text.is_empty().then_some(bytes)
}

/// A value of any length.
fn decode_all(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    while !text.is_empty() {
        let byte;
        (byte, text) = decode_byte(text)?;
        bytes.push(byte);
    }
    Some(bytes)
}

/// Digits and nothing else.
fn decimal(text: &[u8]) -> Option<u64> {
    let add = |number: u64, &digit: &u8| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(digit.into())
    };
    if text.is_empty() { None } else { text.iter().try_fold(0, add) }
}

fn parse_left(text: &[u8]) -> Option<u64> {
    if text == b"-1" {
        return Some(u64::MAX);
    }
    decimal(text).map(|left| if left >= LEFT_UNKNOWN { u64::MAX } else { left })
}

fn parse_event(text: &[u8]) -> Event {
    match text {
        b"started" => Event::Started,
        b"completed" => Event::Completed,
        b"stopped" => Event::Stopped,
        b"paused" => Event::Paused,
        _ => Event::None,
    }
}

fn event_name(event: Event) -> &'static str {
    match event {
        Event::None => "",
        Event::Started => "started",
        Event::Completed => "completed",
        Event::Stopped => "stopped",
        Event::Paused => "paused",
    }
}

/// An address, percent-encoded or not (the colons of IPv6).
fn parse_ip(mut text: &[u8]) -> Option<IpAddr> {
    let mut bytes = [0; 45]; // the longest text of an IPv6 address
    let mut len = 0;
    for slot in &mut bytes {
        let Some((byte, rest)) = decode_byte(text) else { break };
        (*slot, text) = (byte, rest);
        len += 1;
    }
    if !text.is_empty() {
        return None;
    }
    from_utf8(bytes.get(..len)?).ok()?.parse().ok()
}

/// Up to 8 hexadecimal digits, else a decimal number. Which of the two does not matter: a client's key is compared with
/// what the same client sent before.
fn parse_key(text: &[u8]) -> Option<u32> {
    if matches!(text.len(), 1..=8) && text.iter().all(u8::is_ascii_hexdigit) {
        return u32::from_str_radix(from_utf8(text).ok()?, 16).ok();
    }
    decimal(text).and_then(|key| u32::try_from(key).ok())
}

#[cfg(test)]
mod tests;
