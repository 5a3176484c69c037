//! A search: which torrents, in which order.
//!
//! First the numbers of all rows that match, from the index of words; then an index in the wanted order is walked until
//! the page is full, and only the rows of the page are read. So a search costs what its longest list of numbers costs, and
//! nothing is sorted. Rows are numbered in the order of publishing.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Result, ffi};

use super::ranking::Ranking;
use super::rows::{self, Row, signed, sums};
use super::words::Wanted;
use super::{Search, Sort};

/// The longest that a search may take: other listings wait for it.
const MAX_TIME: Duration = Duration::from_millis(1500);
/// Steps of SQLite's machine between two looks at the clock: a few microseconds.
const STEPS: i32 = 1000;

/// A word in the name says more than one in the description, and that more than one among the names of many files.
const BY_RELEVANCE: &str = "bm25(words, 8.0, 2.0, 1.0), rowid DESC";

/// A part of what a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How many were found in all.
    pub total: u64,
    /// Those asked for, in the order asked for.
    pub rows: Vec<Row>,
}

/// Looks for a page; interrupted when it takes too long.
pub(super) fn search(connection: &mut Connection, search: &Search, ranking: &Ranking) -> Result<Page> {
    let until = Instant::now() + MAX_TIME;
    connection.progress_handler(STEPS, Some(move || Instant::now() > until))?;
    let found = find(connection, search, ranking);
    connection.progress_handler(0, None::<fn() -> bool>)?;
    found
}

fn find(connection: &mut Connection, search: &Search, ranking: &Ranking) -> Result<Page> {
    // One state of the database for all questions.
    let connection = connection.transaction()?;
    let Search { offset, limit, sort, .. } = *search;
    let mut matching = match Wanted::of(&search.text) {
        Wanted::Everything => None,
        Wanted::Nothing => Some(Vec::new()),
        Wanted::Matching(words) if sort == Sort::Relevance => {
            Some(matching(&connection, &words, BY_RELEVANCE)?)
        }
        Wanted::Matching(words) => Some(matching(&connection, &words, "rowid")?),
    };
    let total = match &matching {
        Some(ids) => ids.len() as u64,
        None => sums(&connection)?.0,
    };
    let ids = match (sort, &mut matching) {
        (Sort::Newest | Sort::Relevance, None) => {
            walk(&connection, "ORDER BY id DESC LIMIT ?1 OFFSET ?2", offset, limit)?
        }
        (Sort::Oldest, None) => walk(&connection, "ORDER BY id LIMIT ?1 OFFSET ?2", offset, limit)?,
        (Sort::Newest, Some(ids)) => page(ids.iter().rev().copied(), offset, limit),
        // In the wanted order already.
        (Sort::Oldest | Sort::Relevance, Some(ids)) => page(ids.iter().copied(), offset, limit),
        (Sort::Seeders, Some(ids)) => {
            ids.sort_by_cached_key(|&id| Reverse((ranking.seeders(id), id)));
            page(ids.iter().copied(), offset, limit)
        }
        (Sort::Seeders, None) => {
            let ranked = ranking.ids();
            let mut ids = page(ranked.iter().copied(), offset, limit);
            let room = limit.saturating_sub(u32::try_from(ids.len()).unwrap_or(u32::MAX));
            let offset = offset.saturating_sub(ranked.len() as u64);
            ids.extend(filter(&connection, "ORDER BY id DESC", offset, room, |id| ranking.seeders(id) == 0)?);
            ids
        }
        (Sort::Size | Sort::Name, matching) => {
            let order = match sort {
                Sort::Size => "ORDER BY size DESC, id DESC",
                _ => "ORDER BY sort_name, id DESC",
            };
            match matching {
                None => walk(&connection, &format!("{order} LIMIT ?1 OFFSET ?2"), offset, limit)?,
                Some(ids) => filter(&connection, order, offset, limit, |id| ids.binary_search(&id).is_ok())?,
            }
        }
    };
    let rows = rows::of_ids(&connection, &ids)?;
    // A ranking may be older than the rows; all else is of one state of the database.
    let may_miss = sort == Sort::Seeders && matching.is_none();
    if rows.len() < ids.len() && !may_miss {
        return Err(damaged("an index has rows that are not there"));
    }
    Ok(Page { total, rows })
}

/// Damage that SQLite does not notice.
fn damaged(what: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(what.to_owned()))
}

/// The numbers of the rows that have the words, in an order.
fn matching(connection: &Connection, words: &str, order: &str) -> Result<Vec<i64>> {
    let mut statement = connection
        .prepare_cached(&format!("SELECT rowid FROM words WHERE words MATCH ? ORDER BY {order}"))?;
    let ids = statement.query_map([words], |row| row.get(0))?;
    ids.collect()
}

/// A page of all rows in an order.
fn walk(connection: &Connection, order: &str, offset: u64, limit: u32) -> Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(&format!("SELECT id FROM torrents {order}"))?;
    let ids = statement.query_map((limit, signed(offset)), |row| row.get(0))?;
    ids.collect()
}

/// A page of those rows in an order that are wanted.
fn filter(
    connection: &Connection,
    order: &str,
    offset: u64,
    limit: u32,
    is_wanted: impl Fn(i64) -> bool,
) -> Result<Vec<i64>> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare_cached(&format!("SELECT id FROM torrents {order}"))?;
    let ids = statement.query_map([], |row| row.get(0))?;
    let wanted = ids.filter(|id| id.as_ref().map_or(true, |&id| is_wanted(id)));
    wanted.skip(usize::try_from(offset).unwrap_or(usize::MAX)).take(len(limit)).collect()
}

fn page(ids: impl Iterator<Item = i64>, offset: u64, limit: u32) -> Vec<i64> {
    ids.skip(usize::try_from(offset).unwrap_or(usize::MAX)).take(len(limit)).collect()
}

fn len(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
