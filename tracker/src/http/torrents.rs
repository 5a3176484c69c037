//! /torrents and /torrents/{info_hash}: the catalogue, read; and entries taken out.

use percent_encoding::percent_decode_str;
use serde::Serialize;
use torrent_common::ids::InfoHash;

use super::answer::Answer;
use crate::catalogue::Row;
use crate::shared::Shared;

const DEFAULT_LIMIT: u32 = 50;
/// The most rows in an answer.
const MAX_LIMIT: u32 = 200;
/// The longest search, in bytes.
const MAX_SEARCH_LEN: usize = 512;

/// What a listing asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listing {
    search: String,
    offset: u64,
    limit: u32,
}

#[derive(Serialize)]
struct Page {
    torrents: Vec<Entry>,
    total: u64,
    offset: u64,
    limit: u32,
}

#[derive(Serialize)]
struct Entry {
    info_hash: InfoHash,
    name: String,
    description: String,
    /// Bytes of payload.
    size: u64,
    files: u64,
    piece_length: u64,
    /// Seconds since 1970.
    created: i64,
    seeders: u32,
    leechers: u32,
    completed: u64,
}

/// GET /torrents.
pub(super) fn list(shared: &Shared, query: &str) -> Answer {
    let listing = match Listing::parse(query) {
        Ok(listing) => listing,
        Err(error) => return Answer::error(400, error),
    };
    match shared.catalogue.search(&listing.search, listing.offset, listing.limit) {
        Ok(page) => Answer::json(
            200,
            &Page {
                torrents: page.rows.into_iter().map(|row| entry(shared, row)).collect(),
                total: page.total,
                offset: listing.offset,
                limit: listing.limit,
            },
        ),
        Err(error) => {
            log::error!("a listing failed: {error}");
            Answer::error(500, "the catalogue failed")
        }
    }
}

fn entry(shared: &Shared, row: Row) -> Entry {
    let counts = shared.desk.swarms().scrape(&row.info_hash, shared.clock.now_s());
    Entry {
        info_hash: row.info_hash,
        name: row.name,
        description: row.description,
        size: row.size,
        files: row.files,
        piece_length: row.piece_length,
        created: row.created_s,
        seeders: counts.complete,
        leechers: counts.incomplete,
        completed: row.completed.saturating_add(counts.downloaded.into()),
    }
}

/// GET /torrents/{info_hash}.
pub(super) fn torrent(shared: &Shared, info_hash: InfoHash) -> Answer {
    match shared.catalogue.torrent(info_hash) {
        Ok(Some(bytes)) => Answer::torrent(info_hash, bytes),
        Ok(None) => Answer::error(404, "no such torrent"),
        Err(error) => {
            log::error!("{info_hash} could not be read: {error}");
            Answer::error(500, "the catalogue failed")
        }
    }
}

#[derive(Serialize)]
struct Removed {
    removed: InfoHash,
}

/// DELETE /torrents/{info_hash}: only with the token. The swarm lives on: ACCESS = deny ends it.
pub(super) fn remove(shared: &Shared, info_hash: InfoHash, token: Option<&str>) -> Answer {
    let Some(secret) = &shared.upload_token else {
        return Answer::error(403, "nothing is taken out: the tracker has no UPLOAD_TOKEN");
    };
    if !token.is_some_and(|token| secret.is(token.as_bytes())) {
        return Answer::error(403, "the tracker's UPLOAD_TOKEN is needed, in Authorization: Bearer");
    }
    match shared.catalogue.remove(info_hash) {
        Ok(true) => {
            log::info!("{info_hash} was taken out of the catalogue");
            Answer::json(200, &Removed { removed: info_hash })
        }
        Ok(false) => Answer::error(404, "no such torrent"),
        Err(error) => {
            log::error!("{info_hash} was not taken out: {error}");
            Answer::error(500, "the catalogue failed")
        }
    }
}

impl Listing {
    fn parse(query: &str) -> Result<Self, &'static str> {
        let mut listing = Self { search: String::new(), offset: 0, limit: DEFAULT_LIMIT };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "q" => {
                    listing.search =
                        text(value).ok_or("q is not valid: percent-encoded UTF-8, at most 512 bytes")?
                }
                "offset" => listing.offset = value.parse().map_err(|_| "offset is not a number")?,
                "limit" => {
                    let limit: u32 = value.parse().map_err(|_| "limit is not a number")?;
                    listing.limit = limit.clamp(1, MAX_LIMIT);
                }
                _ => {}
            }
        }
        Ok(listing)
    }
}

/// A value as forms encode it: `+` is a space.
fn text(encoded: &str) -> Option<String> {
    let spaced = encoded.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8().ok()?;
    (text.len() <= MAX_SEARCH_LEN).then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_parsed() {
        let parsed = |query| Listing::parse(query).map(|l| (l.search, l.offset, l.limit));
        let ok = |search: &str, offset, limit| Ok((search.to_owned(), offset, limit));
        for (query, expected) in [
            ("", ok("", 0, 50)),
            ("q=", ok("", 0, 50)),
            ("q=a+b%20c%2B&offset=7&limit=9", ok("a b c+", 7, 9)),
            ("q=%C3%A9&unknown=1&noise", ok("é", 0, 50)),
            ("limit=0", ok("", 0, 1)),
            ("limit=4294967295", ok("", 0, 200)),
            ("limit=4294967296", Err("limit is not a number")),
            ("limit=x", Err("limit is not a number")),
            ("offset=-1", Err("offset is not a number")),
            ("offset=18446744073709551615", ok("", u64::MAX, 50)),
            ("q=%ff", Err("q is not valid: percent-encoded UTF-8, at most 512 bytes")),
        ] {
            assert_eq!(parsed(query), expected, "{query}");
        }
        assert!(Listing::parse(&format!("q={}", "a".repeat(513))).is_err());
    }
}
