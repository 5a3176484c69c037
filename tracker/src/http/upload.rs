//! POST /announce: a torrent file is published, then its publisher is answered like one who announces.
//!
//! Fields of the form: `torrent` (the file), `name` and `description` (else the torrent's own name, and nothing),
//! `info_hash` (40 hexadecimal digits: compared with the torrent's if given), and those of an announce: with `peer_id`
//! (20 bytes, or 40 hexadecimal digits) and `port` the publisher joins the swarm; `left` is then 0 unless given. Where
//! UPLOAD_TOKEN is set it must be in the field `token`, or in a header `Authorization: Bearer`; of a body over 64 KiB the rest
//! is not read unless the field is within these.
//!
//! The answer is that of an announce, with status 201 when the torrent is new and 200 when it was known, in which case
//! the first entry stays as it is; unless UPLOAD_TOKEN is set: then a `name` or a `description` takes the place of what was
//! there. Refusals are a failure reason with a status that fits.

use std::fmt::Write as _;
use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use torrent_common::announce::AnnounceRequest;
use torrent_common::announce::http::{encode_response, parse_announce_query};
use torrent_common::ids::InfoHash;
use torrent_common::metainfo::Metainfo;

use super::answer::Answer;
use super::multipart::{self, Form};
use super::torrents;
use crate::catalogue::{
    MAX_DESCRIPTION_LEN, MAX_NAME_LEN, Publication, Published, Renaming, is_unsafe, metainfo_limits,
    printable,
};
use crate::clock::Clock;
use crate::shared::Shared;

/// The longest field that belongs to the announce, in bytes.
const MAX_FIELD_LEN: usize = 128;
/// What numbers, addresses and words of a query are made of stays as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b':');

/// Why an upload was refused, with the HTTP status that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) reason: String,
}

impl Refused {
    pub(super) fn new(status: u16, reason: impl ToString) -> Self {
        Self { status, reason: reason.to_string() }
    }
}

/// Who uploads.
#[derive(Clone, Copy)]
pub(super) struct Sender<'a> {
    pub(super) from: IpAddr,
    /// The token in the request's head.
    pub(super) bearer: Option<&'a str>,
}

/// Answers an upload whose body was read.
pub(super) fn upload(
    shared: &Shared,
    content_type: &str,
    body: &[u8],
    sender: Sender<'_>,
    random: &mut fastrand::Rng,
) -> Answer {
    match publish(shared, content_type, body, sender) {
        Ok(accepted) => answer(shared, &accepted, sender.from, random),
        Err(Refused { status, reason }) => Answer::failure(status, &reason),
    }
}

/// What was published, and what goes with it.
pub(super) struct Accepted {
    pub(super) info_hash: InfoHash,
    pub(super) published: Published,
    announce: Option<AnnounceRequest>,
}

impl Accepted {
    const fn status(&self) -> u16 {
        match self.published {
            Published::New => 201,
            Published::Known | Published::Renamed => 200,
        }
    }
}

/// Publishes what is in a body. Nobody has joined the swarm then.
///
/// # Errors
/// [`Refused`]; then nothing was published.
pub(super) fn publish(
    shared: &Shared,
    content_type: &str,
    body: &[u8],
    sender: Sender<'_>,
) -> Result<Accepted, Refused> {
    let accepted = check_and_enter(shared, content_type, body, sender);
    let status = match &accepted {
        Ok(accepted) => accepted.status(),
        Err(Refused { status, reason }) => {
            log::debug!("upload from {} refused: {reason}", sender.from);
            *status
        }
    };
    shared.metrics.uploaded(status);
    accepted
}

fn check_and_enter(
    shared: &Shared,
    content_type: &str,
    body: &[u8],
    sender: Sender<'_>,
) -> Result<Accepted, Refused> {
    let boundary = multipart::boundary(content_type).map_err(|error| Refused::new(415, error))?;
    let form = Form::parse(body, boundary).map_err(|error| Refused::new(400, error))?;
    check_token(shared, &form, sender.bearer)?;
    let bytes = form.get("torrent").ok_or_else(|| Refused::new(400, "the form has no field torrent"))?;
    if bytes.len() > shared.max_torrent_len {
        return Err(Refused::new(413, format_args!("the torrent is over {} bytes", shared.max_torrent_len)));
    }
    let metainfo =
        Metainfo::parse(bytes, &metainfo_limits(shared.max_torrent_len)).map_err(|e| Refused::new(400, e))?;
    if metainfo.private {
        return Err(Refused::new(403, "a private torrent is not published"));
    }
    check_info_hash(&form, metainfo.info_hash)?;
    if !shared.desk.access().permits(&metainfo.info_hash) {
        return Err(Refused::new(403, "this torrent is not tracked here"));
    }
    let own_name = printable(&metainfo.name);
    let given_name = text(&form, "name", MAX_NAME_LEN, is_unsafe)?;
    let name = if given_name.is_empty() { &own_name } else { given_name };
    let description =
        text(&form, "description", MAX_DESCRIPTION_LEN, |c| is_unsafe(c) && !"\r\n\t".contains(c))?;
    let announce = announce_request(&form, metainfo.info_hash)?;
    let created_s = i64::try_from(Clock::wall_s()).unwrap_or(i64::MAX);
    let publication = Publication { bytes, metainfo: &metainfo, name, description, created_s, completed: 0 };
    // Who has the token may say better what a known torrent is.
    let renaming = match &shared.upload_token {
        Some(_) => Renaming {
            name: Some(given_name).filter(|name| !name.is_empty()),
            description: Some(description).filter(|description| !description.is_empty()),
        },
        None => Renaming::default(),
    };
    let published = enter(shared, &publication, renaming, sender.from)?;
    Ok(Accepted { info_hash: metainfo.info_hash, published, announce })
}

/// Enters the torrent in the catalogue, if there are not too many from there.
fn enter(
    shared: &Shared,
    publication: &Publication<'_>,
    renaming: Renaming<'_>,
    from: IpAddr,
) -> Result<Published, Refused> {
    let info_hash = publication.metainfo.info_hash;
    let is_counted = !shared.desk.addresses().may_claim(from);
    if is_counted && !shared.quota.take(from, shared.clock.now_s()) {
        return Err(Refused::new(
            429,
            "too many torrents were published from your address, try again in an hour",
        ));
    }
    let published = shared.catalogue.publish(publication, renaming);
    if is_counted && !matches!(published, Ok(Published::New)) {
        shared.quota.give_back(from);
    }
    match published {
        Ok(Published::New) => {
            log::info!(
                "published {info_hash} ({} bytes of payload), from {from}",
                publication.metainfo.total_len()
            );
            Ok(Published::New)
        }
        Ok(known) => {
            if known == Published::Renamed {
                log::info!("{info_hash} has another name or description, from {from}");
            }
            Ok(known)
        }
        Err(error) => {
            let (status, trouble) = torrents::trouble(&error);
            Err(Refused::new(status, format_args!("nothing can be published at the moment: {trouble}")))
        }
    }
}

/// Whether an upload of this beginning may be read further: one whose token is wrong, or not to be seen yet, may not.
///
/// # Errors
/// [`Refused`], with what to do.
pub(super) fn check_start(
    shared: &Shared,
    content_type: &str,
    start: &[u8],
    bearer: Option<&str>,
) -> Result<(), Refused> {
    let boundary = multipart::boundary(content_type).map_err(|error| Refused::new(415, error))?;
    let checked = check_token(shared, &Form::parse_start(start, boundary), bearer);
    if let Err(Refused { status, .. }) = &checked {
        shared.metrics.uploaded(*status);
    }
    checked
}

fn check_token(shared: &Shared, form: &Form, bearer: Option<&str>) -> Result<(), Refused> {
    let Some(secret) = &shared.upload_token else { return Ok(()) };
    match bearer.map(str::as_bytes).or_else(|| form.get("token")) {
        Some(said) if secret.is(said) => Ok(()),
        Some(_) => Err(Refused::new(403, "that is not the tracker's UPLOAD_TOKEN")),
        None => Err(Refused::new(
            403,
            "publishing here needs the tracker's UPLOAD_TOKEN: in config.ini, in a field token before the torrent, or in Authorization: Bearer",
        )),
    }
}

/// The torrent is published whatever the swarm says: a refusal there is a warning here.
fn answer(shared: &Shared, accepted: &Accepted, from: IpAddr, random: &mut fastrand::Rng) -> Answer {
    let (info_hash, announce, status) = (&accepted.info_hash, accepted.announce.as_ref(), accepted.status());
    let now_s = shared.clock.now_s();
    let joined = announce.map(|request| shared.desk.announce(request, from, now_s, random));
    let response = match joined {
        Some(Ok(response)) => response,
        Some(Err(refusal)) => {
            let mut response = shared.desk.counts(info_hash, now_s, random);
            response.warning = Some(format!("published, but not announced: {refusal}"));
            response
        }
        None => shared.desk.counts(info_hash, now_s, random),
    };
    let (compact, no_peer_id) =
        announce.map_or((true, false), |request| (request.compact, request.no_peer_id));
    let mut body = Vec::new();
    encode_response(&response, compact, no_peer_id, &mut body);
    Answer::bencode(status, body)
}

fn check_info_hash(form: &Form, actual: InfoHash) -> Result<(), Refused> {
    let Some(claimed) = form.get("info_hash") else { return Ok(()) };
    let claimed = std::str::from_utf8(claimed).ok().and_then(|text| text.trim().parse::<InfoHash>().ok());
    match claimed {
        Some(claimed) if claimed == actual => Ok(()),
        Some(_) => Err(Refused::new(400, format_args!("info_hash is not the torrent's, which is {actual}"))),
        None => Err(Refused::new(400, "info_hash is not 40 hexadecimal digits")),
    }
}

/// A text field, trimmed; empty if it is not there.
fn text<'a>(
    form: &Form<'a>,
    name: &str,
    max_len: usize,
    forbidden: impl Fn(char) -> bool,
) -> Result<&'a str, Refused> {
    let bytes = form.get(name).unwrap_or_default();
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Refused::new(400, format_args!("{name} is not UTF-8")))?
        .trim();
    if text.len() > max_len {
        return Err(Refused::new(400, format_args!("{name} is over {max_len} bytes")));
    }
    if text.contains(forbidden) {
        return Err(Refused::new(400, format_args!("{name} has control characters")));
    }
    Ok(text)
}

/// The announce in the form, if there is one: read by the same code as a query, so that both mean the same.
fn announce_request(form: &Form, info_hash: InfoHash) -> Result<Option<AnnounceRequest>, Refused> {
    let (Some(peer_id), Some(_)) = (form.get("peer_id"), form.get("port")) else { return Ok(None) };
    let encode = |bytes| percent_encode(bytes, ENCODED);
    let hex_id = std::str::from_utf8(peer_id).ok().and_then(|text| text.parse::<InfoHash>().ok());
    let peer_id = hex_id.as_ref().map_or(peer_id, |id| id.as_bytes());
    let mut query = format!("info_hash={}", encode(info_hash.as_bytes()));
    let fields =
        ["port", "uploaded", "downloaded", "left", "event", "numwant", "ip", "key", "compact", "no_peer_id"];
    let fields = fields.into_iter().filter_map(|name| Some((name, form.get(name)?)));
    for (name, value) in fields.chain([("peer_id", peer_id)]) {
        if value.len() > MAX_FIELD_LEN {
            return Err(Refused::new(400, format_args!("{name} is too long")));
        }
        // Writing to a String cannot fail.
        let _ = write!(query, "&{name}={}", encode(value));
    }
    if form.get("left").is_none() {
        query.push_str("&left=0");
    }
    parse_announce_query(&query).map(Some).map_err(|error| Refused::new(400, error))
}
