//! The database's tables and settings, by version.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Result, TransactionBehavior};

use super::CatalogueError;

/// How long a writer waits for another program that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// What brings a database from the version before to this one; the position is the version before.
pub(super) const STEPS: [&str; 2] = ["
    CREATE TABLE torrents (
        id INTEGER PRIMARY KEY,
        info_hash BLOB NOT NULL UNIQUE CHECK (length(info_hash) = 20),
        name TEXT NOT NULL,
        description TEXT NOT NULL,
        -- name and description in lower case (all of Unicode, which SQLite's own functions leave alone)
        folded TEXT NOT NULL,
        size INTEGER NOT NULL,
        files INTEGER NOT NULL,
        piece_length INTEGER NOT NULL,
        created INTEGER NOT NULL,
        torrent_size INTEGER NOT NULL,
        completed INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    -- kept by triggers, so that neither a status page nor an upload counts rows
    CREATE TABLE sums (count INTEGER NOT NULL, torrent_size INTEGER NOT NULL) STRICT;
    INSERT INTO sums VALUES (0, 0);
    CREATE TRIGGER added AFTER INSERT ON torrents BEGIN
        UPDATE sums SET count = count + 1, torrent_size = torrent_size + NEW.torrent_size;
    END;
    CREATE TRIGGER removed AFTER DELETE ON torrents BEGIN
        UPDATE sums SET count = count - 1, torrent_size = torrent_size - OLD.torrent_size;
    END;
", "
    -- the name in lower case, for the order by name
    ALTER TABLE torrents ADD COLUMN sort_name TEXT NOT NULL DEFAULT '';
    UPDATE torrents SET sort_name = substr(folded, 1, instr(folded, char(10)) - 1);
    ALTER TABLE torrents DROP COLUMN folded;
    -- whether its words are in the index: the keeper enters those of older versions
    ALTER TABLE torrents ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX by_size ON torrents (size);
    CREATE INDEX by_name ON torrents (sort_name, id DESC);
    CREATE INDEX not_indexed ON torrents (id) WHERE NOT indexed;
    -- an index alone: the texts are in torrents and in the torrent files
    CREATE VIRTUAL TABLE words USING fts5 (
        name, description, files, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
    );
    CREATE TRIGGER not_found AFTER DELETE ON torrents WHEN OLD.indexed BEGIN
        DELETE FROM words WHERE rowid = OLD.id;
    END;
"];

const KNOWN: i64 = 2;

/// Opens the database, makes its tables or brings them up to date.
pub(super) fn open(path: &Path) -> std::result::Result<Connection, CatalogueError> {
    let failed = |source| CatalogueError::Database { path: path.to_path_buf(), source };
    let mut connection = Connection::open(path).map_err(failed)?;
    prepare(&connection).map_err(failed)?;
    let found = migrate(&mut connection).map_err(failed)?;
    if found > KNOWN {
        return Err(CatalogueError::TooNew { path: path.to_path_buf(), found, known: KNOWN });
    }
    Ok(connection)
}

/// Opens a database that nobody can write to, since its disk is read-only, of this version.
pub(super) fn open_read_only(path: &Path) -> Result<Connection> {
    let (connection, found) = open_immutable(path)?;
    if found == KNOWN { Ok(connection) } else { Err(rusqlite::Error::InvalidQuery) }
}

/// Whether a database that is not open could be opened, as far as its beginning tells. Nothing is written.
pub(super) fn check(path: &Path) -> std::result::Result<(), CatalogueError> {
    match open_immutable(path) {
        Ok((_, found)) if found > KNOWN => {
            Err(CatalogueError::TooNew { path: path.to_path_buf(), found, known: KNOWN })
        }
        // It has a name that cannot be looked at like this.
        Ok(_) | Err(rusqlite::Error::InvalidPath(_)) => Ok(()),
        Err(source) => Err(CatalogueError::Database { path: path.to_path_buf(), source }),
    }
}

/// Opens a database as if nobody could change it, and tells its version.
fn open_immutable(path: &Path) -> Result<(Connection, i64)> {
    let mut uri = b"file:".to_vec();
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'?' | b'#' | b'%' => uri.extend(format!("%{byte:02x}").bytes()),
            _ => uri.push(byte),
        }
    }
    // Immutable: without the files for locks, which cannot be made there.
    uri.extend(b"?immutable=1");
    let uri = String::from_utf8(uri).map_err(|_| rusqlite::Error::InvalidPath(path.to_path_buf()))?;
    let connection =
        Connection::open_with_flags(uri, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)?;
    let found = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok((connection, found))
}

fn prepare(connection: &Connection) -> Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // An acknowledged upload survives a power cut, not only a crash of this program.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Kibibytes.
    connection.pragma_update(None, "cache_size", -2048)?;
    // What a large transaction left of the log goes when it is taken over.
    connection.pragma_update(None, "journal_size_limit", 4 << 20)
}

/// Takes the missing steps, and returns the version found. A newer one is left alone.
fn migrate(connection: &mut Connection) -> Result<i64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found < KNOWN {
        for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", KNOWN)?;
    }
    transaction.commit()?;
    Ok(found)
}
