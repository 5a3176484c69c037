//! One announce: over HTTP, or over UDP.

use std::time::Duration;

use torrent_common::announce::http::{
    MAX_RESPONSE_LEN, ResponseError, announce_query, decode_response, with_query,
};
use torrent_common::announce::{AnnounceRequest, AnnouncedPeer, Event};

use super::AnnouncerConfig;
use super::queue::Task;
use super::udp::{UdpClient, UdpError, is_udp};
use super::words::{Failure, Result};
use crate::http::area::Area;
use crate::http::{HttpClient, Once};
use crate::text::escape_for_log;
use crate::torrent::dial::dialable;

/// Peers taken from an answer.
const MAX_PEERS: usize = 500;
/// Characters of a reason.
const MAX_REASON: usize = 200;

/// What speaks to trackers.
#[derive(Debug)]
pub struct Clients {
    /// For http and https.
    pub http: HttpClient,
    /// For udp.
    pub udp: UdpClient,
}

impl Clients {
    /// Breaks off what is under way, and lets nothing new begin.
    pub fn hang_up(&self) {
        self.http.hang_up();
        self.udp.hang_up();
    }
}

/// Makes the announce, within `timeout` instead of the configured time if given.
///
/// # Errors
/// [`Failure`], for the schedule and the user.
pub fn announce(
    clients: &Clients,
    config: &AnnouncerConfig,
    task: &Task,
    timeout: Option<Duration>,
) -> Result {
    let (uploaded, downloaded, left) = task.transfer.read();
    let event = match task.request.event {
        // Said in every announce of one.
        Event::Started | Event::None if task.transfer.is_partial_seed() => Event::Paused,
        event => event,
    };
    let request = AnnounceRequest {
        info_hash: task.info_hash,
        peer_id: config.peer_id,
        port: config.listen_port,
        uploaded,
        downloaded,
        left,
        event,
        numwant: Some(task.request.numwant),
        ip: None,
        key: Some(config.key),
        compact: true,
        no_peer_id: true,
        tracker_id: task.request.tracker_id.clone(),
    };
    if is_udp(&task.request.url) {
        over_udp(&clients.udp, config, task, &request, timeout)
    } else {
        over_http(&clients.http, task, &request, timeout)
    }
}

fn over_udp(
    client: &UdpClient,
    config: &AnnouncerConfig,
    task: &Task,
    request: &AnnounceRequest,
    timeout: Option<Duration>,
) -> Result {
    let answer = client.announce(&task.request.url, request, timeout.unwrap_or(config.timeout), MAX_PEERS);
    answer.map_err(|error| failure(&error.to_string(), matches!(error, UdpError::Refused(_))))
}

fn over_http(
    client: &HttpClient,
    task: &Task,
    request: &AnnounceRequest,
    timeout: Option<Duration>,
) -> Result {
    let url = with_query(&task.request.url, &announce_query(request));
    let max_len = u64::try_from(MAX_RESPONSE_LEN).unwrap_or(u64::MAX);
    let answer = client
        .get(&url, max_len, Once { timeout, close: !task.more })
        .map_err(|error| failure(&error.to_string(), false))?;
    // A refusal may come with any status; it says more than the status.
    match decode_response(&answer.body, MAX_PEERS) {
        Err(ResponseError::Failure(reason)) => Err(failure(&format!("refused: {reason}"), true)),
        _ if answer.status != 200 => {
            Err(failure(&format!("answered with HTTP status {}", answer.status), false))
        }
        Ok(mut response) => {
            keep_believable(&mut response.peers, answer.area);
            Ok(response)
        }
        Err(error) => Err(failure(&error.to_string(), false)),
    }
}

/// Drops peers at addresses that are none, and those on this machine unless the tracker is here as well: to others such
/// an address means themselves, and ours has services that expect no strangers' orders.
pub(super) fn keep_believable(peers: &mut Vec<AnnouncedPeer>, tracker: Area) {
    let is_here = |peer: &AnnouncedPeer| Area::of(peer.address.ip()) == Area::Here;
    peers.retain(|peer| dialable(peer.address) && (tracker == Area::Here || !is_here(peer)));
}

fn failure(reason: &str, refused: bool) -> Failure {
    Failure { reason: escape_for_log(reason, MAX_REASON), refused }
}
