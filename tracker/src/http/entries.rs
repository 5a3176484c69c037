//! Published torrents as every listing shows them (JSON, pages, feeds): rows of the catalogue joined with the counts of
//! the swarms; and what a query asks for. All of this belongs on the catalogue's lane: it reads the disk.

use percent_encoding::percent_decode_str;
use serde::Serialize;
use torrent_common::ids::InfoHash;

use crate::catalogue::{CatalogueError, FileList, Row, Search, Sort};
use crate::shared::Shared;

/// Rows in an answer that names no limit.
const DEFAULT_LIMIT: u32 = 50;
/// The most rows in an answer.
const MAX_LIMIT: u32 = 200;
/// The longest search, in bytes.
const MAX_SEARCH_LEN: usize = 512;
/// Files shown of one torrent at most, at a time.
pub(super) const MAX_FILES: u32 = 1000;

/// One published torrent. Name and description are strangers' text, without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Entry {
    pub(super) info_hash: InfoHash,
    pub(super) name: String,
    pub(super) description: String,
    /// Bytes of payload.
    pub(super) size: u64,
    pub(super) files: u64,
    /// Bytes of a piece.
    pub(super) piece_length: u64,
    /// Bytes of the torrent file: for feeds.
    #[serde(skip)]
    pub(super) torrent_size: u64,
    /// When it was published, in seconds since 1970.
    pub(super) created: i64,
    pub(super) seeders: u32,
    pub(super) leechers: u32,
    /// Downloads completed.
    pub(super) completed: u64,
}

/// A part of what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entries {
    pub(super) entries: Vec<Entry>,
    /// How many were found in all.
    pub(super) total: u64,
}

/// What a query (`q`, `sort`, `offset`, `limit`) asks for; other parameters are somebody else's. The error is for whoever
/// asked.
pub(super) fn search_of(query: &str) -> Result<Search, String> {
    let mut search = Search { limit: DEFAULT_LIMIT, ..Search::default() };
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "q" => {
                search.text =
                    text(value).ok_or("q is not valid: percent-encoded UTF-8, at most 512 bytes")?;
            }
            "sort" => search.sort = value.parse().map_err(|error| format!("{error}"))?,
            "offset" => search.offset = value.parse().map_err(|_| "offset is not a number")?,
            "limit" => {
                let limit: u32 = value.parse().map_err(|_| "limit is not a number")?;
                search.limit = limit.clamp(1, MAX_LIMIT);
            }
            _ => {}
        }
    }
    Ok(search)
}

/// A value as forms encode it: `+` is a space.
fn text(encoded: &str) -> Option<String> {
    let spaced = encoded.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8().ok()?;
    (text.len() <= MAX_SEARCH_LEN).then(|| text.into_owned())
}

/// What was looked for, with its swarms' counts.
pub(super) fn find(shared: &Shared, search: &Search) -> Result<Entries, CatalogueError> {
    if search.sort == Sort::Seeders {
        let now_s = shared.clock.now_s();
        shared.catalogue.rank(|info_hash| shared.desk.swarms().scrape(info_hash, now_s).complete)?;
    }
    let page = shared.catalogue.search(search)?;
    Ok(Entries { entries: page.rows.into_iter().map(|row| listed(shared, row)).collect(), total: page.total })
}

/// One torrent; `None` if it is not published.
pub(super) fn entry(shared: &Shared, info_hash: InfoHash) -> Result<Option<Entry>, CatalogueError> {
    Ok(shared.catalogue.entry(info_hash)?.map(|row| listed(shared, row)))
}

/// Some of its files, from number `offset`, at most [`MAX_FILES`]; `None` if it is not published, or its torrent file is
/// gone.
pub(super) fn files(
    shared: &Shared,
    info_hash: InfoHash,
    offset: u64,
    limit: u32,
) -> Result<Option<FileList>, CatalogueError> {
    shared.catalogue.files(info_hash, offset, limit.clamp(1, MAX_FILES))
}

/// A row with its swarm's counts.
pub(super) fn listed(shared: &Shared, row: Row) -> Entry {
    let counts = shared.desk.swarms().scrape(&row.info_hash, shared.clock.now_s());
    Entry {
        info_hash: row.info_hash,
        name: row.name,
        description: row.description,
        size: row.size,
        files: row.files,
        piece_length: row.piece_length,
        torrent_size: row.torrent_size,
        created: row.created_s,
        seeders: counts.complete,
        leechers: counts.incomplete,
        completed: row.completed.saturating_add(counts.downloaded.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_parsed() {
        let parsed = |query| search_of(query).map(|search| (search.text, search.offset, search.limit));
        let ok = |text: &str, offset, limit| Ok((text.to_owned(), offset, limit));
        let refused = |error: &str| Err(error.to_owned());
        for (query, expected) in [
            ("", ok("", 0, 50)),
            ("q=", ok("", 0, 50)),
            ("q=a+b%20c%2B&offset=7&limit=9", ok("a b c+", 7, 9)),
            ("q=%C3%A9&unknown=1&noise", ok("é", 0, 50)),
            ("limit=0", ok("", 0, 1)),
            ("limit=4294967295", ok("", 0, 200)),
            ("limit=4294967296", refused("limit is not a number")),
            ("limit=x", refused("limit is not a number")),
            ("offset=-1", refused("offset is not a number")),
            ("offset=18446744073709551615", ok("", u64::MAX, 50)),
            ("q=%ff", refused("q is not valid: percent-encoded UTF-8, at most 512 bytes")),
            ("sort=best", refused("sort is one of newest, oldest, seeders, size, name, relevance")),
        ] {
            assert_eq!(parsed(query), expected, "{query}");
        }
        assert!(search_of(&format!("q={}", "a".repeat(513))).is_err());
        assert_eq!(search_of("q=a").map(|search| search.sort), Ok(Sort::Newest));
        assert_eq!(search_of("sort=seeders").map(|search| search.sort), Ok(Sort::Seeders));
    }
}
