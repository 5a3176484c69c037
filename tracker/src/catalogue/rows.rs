//! Rows in and out of the database.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Result, params, params_from_iter};
use torrent_common::ids::InfoHash;

use super::{Publication, Search, Sort};

/// The most words of a query that are looked for; the rest is ignored.
const MAX_WORDS: usize = 16;

/// One published torrent, as a listing shows it. Name and description are strangers' text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub info_hash: InfoHash,
    /// Its name.
    pub name: String,
    /// What its publisher says of it.
    pub description: String,
    /// Bytes of payload.
    pub size: u64,
    /// How many files, padding not counted.
    pub files: u64,
    /// Bytes of a piece.
    pub piece_length: u64,
    /// Bytes of the torrent file.
    pub torrent_size: u64,
    /// When it was published, in seconds since 1970.
    pub created_s: i64,
    /// Downloads completed in swarms that have ended since.
    pub completed: u64,
}

/// A part of what a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How many were found in all.
    pub total: u64,
    /// Those asked for, in the order asked for.
    pub rows: Vec<Row>,
}

pub(super) fn contains(connection: &Connection, info_hash: InfoHash) -> Result<bool> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM torrents WHERE info_hash = ?")?;
    statement.exists([info_hash.as_bytes()])
}

/// How many torrents, and the bytes of their torrent files.
pub(super) fn sums(connection: &Connection) -> Result<(u64, u64)> {
    let mut statement = connection.prepare_cached("SELECT count, torrent_size FROM sums")?;
    let found =
        statement.query_row([], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))).optional()?;
    Ok(found.unwrap_or_default())
}

pub(super) fn insert(connection: &Connection, publication: &Publication<'_>) -> Result<()> {
    let Publication { bytes, metainfo, name, description, created_s } = *publication;
    let files = metainfo.files.iter().filter(|file| !file.padding).count();
    let mut statement = connection.prepare_cached(
        "INSERT INTO torrents (info_hash, name, description, folded, size, files, piece_length, created, torrent_size)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    statement.execute(params![
        metainfo.info_hash.as_bytes(),
        name,
        description,
        format!("{}\n{}", fold(name), fold(description)),
        signed(metainfo.total_len()),
        signed(files as u64),
        i64::from(metainfo.geometry.nominal_piece_len()),
        created_s,
        signed(bytes.len() as u64),
    ])?;
    Ok(())
}

pub(super) fn remove(connection: &Connection, info_hash: InfoHash) -> Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM torrents WHERE info_hash = ?")?;
    statement.execute([info_hash.as_bytes()]).map(drop)
}

pub(super) fn add_completed(connection: &mut Connection, downloads: &[(InfoHash, u32)]) -> Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut statement = transaction
            .prepare_cached("UPDATE torrents SET completed = completed + ? WHERE info_hash = ?")?;
        for (info_hash, count) in downloads {
            statement.execute(params![count, info_hash.as_bytes()])?;
        }
    }
    transaction.commit()
}

const COLUMNS: &str =
    "info_hash, name, description, size, files, piece_length, created, completed, torrent_size";

fn row(row: &rusqlite::Row<'_>) -> Result<Row> {
    Ok(Row {
        info_hash: InfoHash::new(row.get(0)?),
        name: row.get(1)?,
        description: row.get(2)?,
        size: unsigned(row.get(3)?),
        files: unsigned(row.get(4)?),
        piece_length: unsigned(row.get(5)?),
        created_s: row.get(6)?,
        completed: unsigned(row.get(7)?),
        torrent_size: unsigned(row.get(8)?),
    })
}

pub(super) fn entry(connection: &Connection, info_hash: InfoHash) -> Result<Option<Row>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM torrents WHERE info_hash = ?"))?;
    statement.query_row([info_hash.as_bytes()], row).optional()
}

pub(super) fn search(connection: &Connection, search: &Search) -> Result<Page> {
    let folded = fold(&search.text);
    let words: Vec<&str> = folded.split_whitespace().take(MAX_WORDS).collect();
    let total = if words.is_empty() {
        sums(connection)?.0
    } else {
        let mut count =
            connection.prepare_cached(&format!("SELECT count(*) FROM torrents{}", where_all(words.len())))?;
        unsigned(count.query_row(params_from_iter(&words), |row| row.get(0))?)
    };
    let order = match search.sort {
        Sort::Newest | Sort::Seeders => "id DESC",
        Sort::Oldest => "id",
        Sort::Size => "size DESC, id DESC",
        Sort::Name => "lower(name), id DESC",
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM torrents{} ORDER BY {order} LIMIT ? OFFSET ?",
        where_all(words.len())
    ))?;
    let page = [Value::Integer(search.limit.into()), Value::Integer(signed(search.offset))];
    let values = words.iter().map(|&word| Value::Text(word.into())).chain(page);
    let rows = statement.query_map(params_from_iter(values), row)?;
    Ok(Page { total, rows: rows.collect::<Result<_>>()? })
}

/// `instr` takes every word as it stands: nothing in it has a meaning of its own.
fn where_all(words: usize) -> String {
    match words {
        0 => String::new(),
        _ => format!(" WHERE {}", vec!["instr(folded, ?) > 0"; words].join(" AND ")),
    }
}

fn fold(text: &str) -> String {
    text.to_lowercase()
}

/// SQLite knows signed numbers alone.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
