//! Announces and scrapes over UDP (BEP 15): packets in, values out, for both sides. All numbers are big-endian.
//!
//! | request  | 0..8            | 8..12  | 12..16      | from 16 on |
//! |----------|-----------------|--------|-------------|------------|
//! | connect  | [`PROTOCOL_ID`] | 0      | transaction | |
//! | announce | connection id   | 1      | transaction | 82 bytes: see `request.rs`; from byte 98 on options (BEP 41) |
//! | scrape   | connection id   | 2      | transaction | info-hashes, 20 bytes each |
//!
//! | answer   | 0..4 | 4..8        | from 8 on |
//! |----------|------|-------------|-----------|
//! | connect  | 0    | transaction | connection id, 8 bytes |
//! | announce | 1    | transaction | interval, leechers, seeders (4 bytes each), peers of 6 bytes (over IPv6: 18) |
//! | scrape   | 2    | transaction | seeders, downloads, leechers (4 bytes each) of every info-hash |
//! | error    | 3    | transaction | text |

mod answer;
mod request;
#[cfg(test)]
mod tests;

pub use answer::{
    UdpAnswer, decode_answer, encode_announced, encode_connected, encode_error, encode_scraped,
};
pub use request::{UdpRequest, UrlData, decode_request, encode_announce, encode_connect, encode_scrape};

use super::compact::Family;

/// What a connect request has in place of a connection id.
pub const PROTOCOL_ID: u64 = 0x0417_2710_1980;
/// Bytes of a connect request, and of the answer to it.
pub const CONNECT_LEN: usize = 16;
/// Bytes of an announce without options.
pub const ANNOUNCE_LEN: usize = 98;
/// Bytes of an answer to an announce before the peers.
pub const ANNOUNCED_LEN: usize = 20;
/// Info-hashes in a scrape at most: as many as BEP 15 has room for.
pub const MAX_SCRAPE: usize = 74;
/// Bytes that a path carries in one piece over IPv6 whatever it is made of (1,280), without the headers of IPv6 and
/// UDP. An answer that is longer may be lost because of a lost part of it, or of a firewall that drops parts.
pub const MAX_ANSWER_LEN: usize = 1232;

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;

/// What a tracker gives to who has shown that it gets what is sent to its address, and wants to see again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub [u8; 8]);

/// What ties an answer to its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransactionId(pub [u8; 4]);

/// Peers that an answer of [`MAX_ANSWER_LEN`] has room for: 202, and 67 over IPv6.
pub const fn max_peers(family: Family) -> usize {
    (MAX_ANSWER_LEN - ANNOUNCED_LEN) / family.peer_len()
}

/// A packet that is none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UdpError {
    /// Shorter than what it says it is.
    #[error("the packet is too short")]
    TooShort,
    /// None of the four actions.
    #[error("the packet is for action {0}, which is not known")]
    Action(u32),
}

/// Takes `N` bytes off the front.
fn take<const N: usize>(packet: &mut &[u8]) -> Result<[u8; N], UdpError> {
    let (first, rest) = packet.split_first_chunk::<N>().ok_or(UdpError::TooShort)?;
    *packet = rest;
    Ok(*first)
}

fn take_u32(packet: &mut &[u8]) -> Result<u32, UdpError> {
    take(packet).map(u32::from_be_bytes)
}

fn take_u64(packet: &mut &[u8]) -> Result<u64, UdpError> {
    take(packet).map(u64::from_be_bytes)
}
