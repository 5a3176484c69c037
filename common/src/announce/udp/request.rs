//! What a peer asks. The 82 bytes of an announce behind the first 16:
//!
//! | from | bytes | what |
//! |-----:|------:|------|
//! |   16 |    20 | info-hash |
//! |   36 |    20 | peer id |
//! |   56 |     8 | downloaded |
//! |   64 |     8 | left; negative: not known |
//! |   72 |     8 | uploaded |
//! |   80 |     4 | event: 0 none, 1 completed, 2 started, 3 stopped, 4 paused |
//! |   84 |     4 | IPv4 address; 0: the sender's |
//! |   88 |     4 | key |
//! |   92 |     4 | peers wanted; -1: as the tracker likes |
//! |   96 |     2 | port |
//!
//! BEP 15 has no event 4, and BEP 21 no number for `paused`: that is how libtorrent says it.
//!
//! The options behind (BEP 41) are a byte each that says what follows: 0 the end, 1 nothing, 2 a part of the URL's path
//! and query, after a byte with its length. Others have a length as well, and are skipped.

use std::net::{IpAddr, Ipv4Addr};

use super::super::{AnnounceRequest, Event};
use super::{
    ANNOUNCE, CONNECT, CONNECT_LEN, ConnectionId, MAX_SCRAPE, PROTOCOL_ID, SCRAPE, TransactionId, UdpError,
    take, take_u32, take_u64,
};
use crate::ids::{InfoHash, PeerId};

const END: u8 = 0;
const NOTHING: u8 = 1;
const URL_DATA: u8 = 2;
/// Bytes of the longest part of an URL in one option.
const MAX_PART_LEN: usize = 255;
/// Bytes of an URL's path and query that are sent at most: one packet takes them in one piece.
const MAX_URL_DATA_LEN: usize = 4 * MAX_PART_LEN;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UdpRequest<'a> {
    /// Asks for a connection id.
    Connect {
        /// To be sent back.
        transaction: TransactionId,
    },
    /// An announce.
    Announce {
        /// As the tracker gave it.
        id: ConnectionId,
        /// To be sent back.
        transaction: TransactionId,
        /// What it says. `numwant` is `None` for -1.
        request: AnnounceRequest,
        /// The path and query of the URL that it was made to.
        url_data: UrlData<'a>,
    },
    /// Asks for the counts of some torrents.
    Scrape {
        /// As the tracker gave it.
        id: ConnectionId,
        /// To be sent back.
        transaction: TransactionId,
        /// Which: from 1 to [`MAX_SCRAPE`].
        info_hashes: &'a [[u8; 20]],
    },
}

/// The path and query of an announce URL, in the parts that its options hold (BEP 41).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UrlData<'a>(&'a [u8]);

impl<'a> Iterator for UrlData<'a> {
    type Item = &'a [u8];

    /// The next part. Options that are cut off end the list.
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let (&kind, rest) = self.0.split_first()?;
            self.0 = match kind {
                END => &[],
                NOTHING => rest,
                _ => {
                    let (&len, rest) = rest.split_first()?;
                    let (value, rest) = rest.split_at_checked(len.into())?;
                    self.0 = rest;
                    if kind == URL_DATA {
                        return Some(value);
                    }
                    continue;
                }
            };
        }
    }
}

/// Reads a request. Checks form only: whether the connection id is good is the tracker's business, and so is policy. What
/// stands behind a request is skipped, and so are info-hashes beyond [`MAX_SCRAPE`] and a last one that is cut off. An
/// event that is not known is none.
///
/// # Errors
/// [`UdpError`]: to be answered with silence.
pub fn decode_request(packet: &[u8]) -> Result<UdpRequest<'_>, UdpError> {
    let rest = &mut &*packet;
    let id = take(rest)?;
    let action = take_u32(rest)?;
    let transaction = TransactionId(take(rest)?);
    match action {
        CONNECT if u64::from_be_bytes(id) == PROTOCOL_ID => Ok(UdpRequest::Connect { transaction }),
        ANNOUNCE => {
            let request = announce(rest)?;
            Ok(UdpRequest::Announce { id: ConnectionId(id), transaction, request, url_data: UrlData(rest) })
        }
        SCRAPE => {
            let (info_hashes, _) = rest.as_chunks();
            let info_hashes = info_hashes.get(..MAX_SCRAPE).unwrap_or(info_hashes);
            if info_hashes.is_empty() {
                return Err(UdpError::TooShort);
            }
            Ok(UdpRequest::Scrape { id: ConnectionId(id), transaction, info_hashes })
        }
        other => Err(UdpError::Action(other)),
    }
}

fn announce(rest: &mut &[u8]) -> Result<AnnounceRequest, UdpError> {
    let info_hash = InfoHash::new(take(rest)?);
    let peer_id = PeerId::new(take(rest)?);
    let (downloaded, left, uploaded) = (take_u64(rest)?, take_u64(rest)?, take_u64(rest)?);
    let event = match take_u32(rest)? {
        1 => Event::Completed,
        2 => Event::Started,
        3 => Event::Stopped,
        4 => Event::Paused,
        _ => Event::None,
    };
    let ip = Ipv4Addr::from(take::<4>(rest)?);
    let key = take_u32(rest)?;
    let numwant = take_u32(rest)?;
    let port = take(rest).map(u16::from_be_bytes)?;
    Ok(AnnounceRequest {
        info_hash,
        peer_id,
        port,
        uploaded,
        downloaded,
        left: if i64::try_from(left).is_ok() { left } else { u64::MAX },
        event,
        numwant: i32::try_from(numwant).ok().map(i32::cast_unsigned),
        ip: (!ip.is_unspecified()).then_some(IpAddr::V4(ip)),
        key: Some(key),
        compact: true,
        no_peer_id: true,
        tracker_id: None,
    })
}

/// Appends a connect request.
pub fn encode_connect(transaction: TransactionId, out: &mut Vec<u8>) {
    out.reserve(CONNECT_LEN);
    head(ConnectionId(PROTOCOL_ID.to_be_bytes()), CONNECT, transaction, out);
}

/// Appends an announce. `url_data` is the path and query of the tracker's URL, and may be empty; what is beyond 1,020
/// bytes is left out. An IPv6 `ip` is not sent: there is no room for it.
pub fn encode_announce(
    id: ConnectionId,
    transaction: TransactionId,
    request: &AnnounceRequest,
    url_data: &str,
    out: &mut Vec<u8>,
) {
    head(id, ANNOUNCE, transaction, out);
    out.extend_from_slice(request.info_hash.as_bytes());
    out.extend_from_slice(request.peer_id.as_bytes());
    // Sizes that are not known are negative, as they are for those who read signed numbers.
    for number in [request.downloaded, request.left, request.uploaded] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    let event: u32 = match request.event {
        Event::None => 0,
        Event::Completed => 1,
        Event::Started => 2,
        Event::Stopped => 3,
        Event::Paused => 4,
    };
    out.extend_from_slice(&event.to_be_bytes());
    let ip = match request.ip {
        Some(IpAddr::V4(ip)) => ip,
        Some(IpAddr::V6(_)) | None => Ipv4Addr::UNSPECIFIED,
    };
    out.extend_from_slice(&ip.octets());
    out.extend_from_slice(&request.key.unwrap_or(0).to_be_bytes());
    let numwant = request.numwant.map_or(-1, |numwant| i32::try_from(numwant).unwrap_or(i32::MAX));
    out.extend_from_slice(&numwant.to_be_bytes());
    out.extend_from_slice(&request.port.to_be_bytes());
    let url_data = url_data.as_bytes();
    for part in url_data.get(..MAX_URL_DATA_LEN).unwrap_or(url_data).chunks(MAX_PART_LEN) {
        out.extend([URL_DATA, u8::try_from(part.len()).unwrap_or(u8::MAX)]);
        out.extend_from_slice(part);
    }
}

/// Appends a scrape of the first [`MAX_SCRAPE`] of these torrents.
pub fn encode_scrape(
    id: ConnectionId,
    transaction: TransactionId,
    info_hashes: &[InfoHash],
    out: &mut Vec<u8>,
) {
    head(id, SCRAPE, transaction, out);
    for info_hash in info_hashes.iter().take(MAX_SCRAPE) {
        out.extend_from_slice(info_hash.as_bytes());
    }
}

fn head(
    ConnectionId(id): ConnectionId,
    action: u32,
    TransactionId(transaction): TransactionId,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(&id);
    out.extend_from_slice(&action.to_be_bytes());
    out.extend_from_slice(&transaction);
}
