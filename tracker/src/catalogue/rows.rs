//! Rows in and out of the database. Each function that writes is part of the caller's transaction.

use rusqlite::{Connection, OptionalExtension, Result, params};
use torrent_common::ids::InfoHash;
use torrent_common::metainfo::Metainfo;

use super::text::safe;
use super::{Publication, words};

/// One published torrent, as a listing shows it. Name and description are strangers' text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub info_hash: InfoHash,
    /// Its name, on one line.
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

const COLUMNS: &str =
    "info_hash, name, description, size, files, piece_length, created, completed, torrent_size";

fn row(row: &rusqlite::Row<'_>) -> Result<Row> {
    let name: String = row.get(1)?;
    Ok(Row {
        info_hash: InfoHash::new(row.get(0)?),
        // Older versions let more through.
        name: safe(&name),
        description: row.get(2)?,
        size: unsigned(row.get(3)?),
        files: unsigned(row.get(4)?),
        piece_length: unsigned(row.get(5)?),
        created_s: row.get(6)?,
        completed: unsigned(row.get(7)?),
        torrent_size: unsigned(row.get(8)?),
    })
}

pub(super) fn contains(connection: &Connection, info_hash: InfoHash) -> Result<bool> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM torrents WHERE info_hash = ?")?;
    statement.exists([info_hash.as_bytes()])
}

pub(super) fn entry(connection: &Connection, info_hash: InfoHash) -> Result<Option<Row>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM torrents WHERE info_hash = ?"))?;
    statement.query_row([info_hash.as_bytes()], row).optional()
}

/// Those of the rows that are there, in the order of `ids`.
pub(super) fn of_ids(connection: &Connection, ids: &[i64]) -> Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM torrents WHERE id = ?"))?;
    let rows = ids.iter().filter_map(|id| statement.query_row([id], row).optional().transpose());
    rows.collect()
}

/// The next of all rows in the order of their info-hashes, with their ids.
pub(super) fn after(
    connection: &Connection,
    info_hash: Option<InfoHash>,
    limit: u32,
) -> Result<Vec<(InfoHash, i64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT info_hash, id FROM torrents WHERE info_hash > ? ORDER BY info_hash LIMIT ?",
    )?;
    // Nothing at all is before every info-hash.
    let begin = info_hash.as_ref().map_or(&[][..], |info_hash| info_hash.as_bytes());
    let rows =
        statement.query_map(params![begin, limit], |row| Ok((InfoHash::new(row.get(0)?), row.get(1)?)))?;
    rows.collect()
}

/// How many torrents, and the bytes of their torrent files.
pub(super) fn sums(connection: &Connection) -> Result<(u64, u64)> {
    let mut statement = connection.prepare_cached("SELECT count, torrent_size FROM sums")?;
    let found =
        statement.query_row([], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))).optional()?;
    Ok(found.unwrap_or_default())
}

/// Writes without changing anything.
pub(super) fn touch(connection: &Connection) -> Result<()> {
    connection.prepare_cached("UPDATE sums SET count = count")?.execute([]).map(drop)
}

pub(super) fn insert(connection: &Connection, publication: &Publication<'_>) -> Result<()> {
    let Publication { bytes, metainfo, name, description, created_s, completed } = *publication;
    let mut statement = connection.prepare_cached(
        "INSERT INTO torrents (info_hash, name, description, sort_name, size, files, piece_length, created,
                               torrent_size, completed, indexed)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
    )?;
    let id = statement.insert(params![
        metainfo.info_hash.as_bytes(),
        name,
        description,
        name.to_lowercase(),
        signed(metainfo.total_len()),
        signed(metainfo.payload_files().count() as u64),
        i64::from(metainfo.geometry.nominal_piece_len()),
        created_s,
        signed(bytes.len() as u64),
        signed(completed),
    ])?;
    index(connection, id, name, description, &file_words(metainfo))
}

/// What is found by its file names.
pub(super) fn file_words(metainfo: &Metainfo) -> String {
    words::of_files(metainfo.payload_files().map(|file| file.path.as_str()))
}

fn index(connection: &Connection, id: i64, name: &str, description: &str, files: &str) -> Result<()> {
    let mut statement = connection
        .prepare_cached("INSERT INTO words (rowid, name, description, files) VALUES (?, ?, ?, ?)")?;
    statement.execute(params![id, words::spread(name), words::spread(description), files]).map(drop)
}

/// A row whose words are not in the index.
pub(super) struct NotIndexed {
    id: i64,
    pub(super) info_hash: InfoHash,
    name: String,
    description: String,
}

/// The newest of them.
pub(super) fn not_indexed(connection: &Connection, limit: u32) -> Result<Vec<NotIndexed>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, info_hash, name, description FROM torrents WHERE NOT indexed ORDER BY id DESC LIMIT ?",
    )?;
    let rows = statement.query_map([limit], |row| {
        Ok(NotIndexed {
            id: row.get(0)?,
            info_hash: InfoHash::new(row.get(1)?),
            name: row.get(2)?,
            description: row.get(3)?,
        })
    })?;
    rows.collect()
}

/// Enters its words, with those of its files, unless the row is gone or entered meanwhile.
pub(super) fn index_late(connection: &Connection, row: &NotIndexed, files: &str) -> Result<()> {
    let mut statement = connection
        .prepare_cached("UPDATE torrents SET indexed = 1 WHERE id = ? AND info_hash = ? AND NOT indexed")?;
    if statement.execute(params![row.id, row.info_hash.as_bytes()])? == 0 {
        return Ok(());
    }
    index(connection, row.id, &row.name, &row.description, files)
}

/// Gives a torrent another name, or another description. Its words are entered again later.
pub(super) fn rename(
    connection: &Connection,
    info_hash: InfoHash,
    name: Option<&str>,
    description: Option<&str>,
) -> Result<()> {
    let mut forget = connection.prepare_cached(
        "DELETE FROM words WHERE rowid = (SELECT id FROM torrents WHERE info_hash = ? AND indexed)",
    )?;
    forget.execute([info_hash.as_bytes()])?;
    let mut statement = connection.prepare_cached(
        "UPDATE torrents SET name = coalesce(?2, name), sort_name = coalesce(?3, sort_name),
                             description = coalesce(?4, description), indexed = 0
         WHERE info_hash = ?1",
    )?;
    statement.execute(params![info_hash.as_bytes(), name, name.map(str::to_lowercase), description]).map(drop)
}

pub(super) fn remove(connection: &Connection, info_hash: InfoHash) -> Result<bool> {
    let mut statement = connection.prepare_cached("DELETE FROM torrents WHERE info_hash = ?")?;
    Ok(statement.execute([info_hash.as_bytes()])? > 0)
}

pub(super) fn add_completed(
    connection: &Connection,
    downloads: impl Iterator<Item = (InfoHash, u64)>,
) -> Result<()> {
    let mut statement =
        connection.prepare_cached("UPDATE torrents SET completed = completed + ? WHERE info_hash = ?")?;
    for (info_hash, count) in downloads {
        statement.execute(params![signed(count), info_hash.as_bytes()])?;
    }
    Ok(())
}

/// SQLite knows signed numbers alone.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
