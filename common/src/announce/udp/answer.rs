//! What a tracker answers.

use std::net::IpAddr;

use super::super::compact::{self, Family};
use super::super::{AnnounceResponse, AnnouncedPeer, ScrapeEntry};
use super::{ANNOUNCE, CONNECT, ConnectionId, ERROR, SCRAPE, TransactionId, UdpError, take, take_u32};

/// The longest text of an error that is kept, in bytes.
const MAX_TEXT_LEN: usize = 1024;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UdpAnswer {
    /// To a connect request.
    Connected(ConnectionId),
    /// To an announce: the numbers that UDP has, and the peers.
    Announced(AnnounceResponse),
    /// To a scrape: in the order of its info-hashes.
    Scraped(Vec<ScrapeEntry>),
    /// The tracker refused: its reason, a stranger's text (not escaped).
    Refused(String),
}

/// Appends the answer to a connect request.
pub fn encode_connected(transaction: TransactionId, ConnectionId(id): ConnectionId, out: &mut Vec<u8>) {
    head(CONNECT, transaction, out);
    out.extend_from_slice(&id);
}

/// Appends the answer to an announce, with the peers of `family`. How many there are is for the caller to bound: see
/// [`max_peers`](super::max_peers).
pub fn encode_announced(
    transaction: TransactionId,
    response: &AnnounceResponse,
    family: Family,
    out: &mut Vec<u8>,
) {
    head(ANNOUNCE, transaction, out);
    for number in [response.interval_s, response.incomplete, response.complete] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    for peer in &response.peers {
        match (family, peer.address.ip().to_canonical()) {
            (Family::V4, IpAddr::V4(ip)) => out.extend_from_slice(&ip.octets()),
            (Family::V6, IpAddr::V6(ip)) => out.extend_from_slice(&ip.octets()),
            _ => continue,
        }
        out.extend_from_slice(&peer.address.port().to_be_bytes());
    }
}

/// Appends the answer to a scrape.
pub fn encode_scraped(
    transaction: TransactionId,
    entries: impl IntoIterator<Item = ScrapeEntry>,
    out: &mut Vec<u8>,
) {
    head(SCRAPE, transaction, out);
    for entry in entries {
        for number in [entry.complete, entry.downloaded, entry.incomplete] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// Appends a refusal.
pub fn encode_error(transaction: TransactionId, reason: &str, out: &mut Vec<u8>) {
    head(ERROR, transaction, out);
    out.extend_from_slice(reason.as_bytes());
}

/// Reads an answer, in which peers are of `family`. At most `max_peers` of them are kept, none at port 0; a last one that
/// is cut off is dropped.
///
/// # Errors
/// [`UdpError`]: to be treated as if it had not come.
pub fn decode_answer(
    packet: &[u8],
    family: Family,
    max_peers: usize,
) -> Result<(TransactionId, UdpAnswer), UdpError> {
    let rest = &mut &*packet;
    let action = take_u32(rest)?;
    let transaction = TransactionId(take(rest)?);
    let answer = match action {
        CONNECT => UdpAnswer::Connected(ConnectionId(take(rest)?)),
        ANNOUNCE => UdpAnswer::Announced(announced(rest, family, max_peers)?),
        SCRAPE => UdpAnswer::Scraped(scraped(rest)),
        ERROR => {
            let text = rest.get(..MAX_TEXT_LEN).unwrap_or(rest);
            UdpAnswer::Refused(String::from_utf8_lossy(text).into_owned())
        }
        other => return Err(UdpError::Action(other)),
    };
    Ok((transaction, answer))
}

fn announced(rest: &mut &[u8], family: Family, max_peers: usize) -> Result<AnnounceResponse, UdpError> {
    let (interval_s, incomplete, complete) = (take_u32(rest)?, take_u32(rest)?, take_u32(rest)?);
    let whole = rest.get(..rest.len() - rest.len() % family.peer_len()).unwrap_or_default();
    let bare = |address| AnnouncedPeer { address, peer_id: None };
    let can_be_dialled = |peer: &AnnouncedPeer| peer.address.port() != 0;
    let peers = match family {
        Family::V4 => compact::read_v4(whole)
            .into_iter()
            .flatten()
            .map(bare)
            .filter(can_be_dialled)
            .take(max_peers)
            .collect(),
        Family::V6 => compact::read_v6(whole)
            .into_iter()
            .flatten()
            .map(bare)
            .filter(can_be_dialled)
            .take(max_peers)
            .collect(),
    };
    Ok(AnnounceResponse { interval_s, incomplete, complete, peers, ..AnnounceResponse::default() })
}

fn scraped(mut rest: &[u8]) -> Vec<ScrapeEntry> {
    let mut entries = Vec::with_capacity((rest.len() / 12).min(super::MAX_SCRAPE));
    while entries.len() < super::MAX_SCRAPE
        && let (Ok(complete), Ok(downloaded), Ok(incomplete)) =
            (take_u32(&mut rest), take_u32(&mut rest), take_u32(&mut rest))
    {
        entries.push(ScrapeEntry { complete, downloaded, incomplete });
    }
    entries
}

fn head(action: u32, TransactionId(transaction): TransactionId, out: &mut Vec<u8>) {
    out.extend_from_slice(&action.to_be_bytes());
    out.extend_from_slice(&transaction);
}
