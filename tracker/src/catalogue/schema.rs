//! The database's tables and settings, by version.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Result, TransactionBehavior};

use super::CatalogueError;

/// What brings a database from the version before to this one; the position is the version before.
const STEPS: [&str; 1] = ["
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
"];

/// Opens the database, makes its tables or brings them up to date.
pub(super) fn open(path: &Path) -> std::result::Result<Connection, CatalogueError> {
    let failed = |source| CatalogueError::Database { path: path.to_path_buf(), source };
    let mut connection = Connection::open(path).map_err(failed)?;
    prepare(&connection).map_err(failed)?;
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let found = migrate(&mut connection, known).map_err(failed)?;
    if found > known {
        return Err(CatalogueError::TooNew { path: path.to_path_buf(), found, known });
    }
    Ok(connection)
}

fn prepare(connection: &Connection) -> Result<()> {
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // An acknowledged upload survives a power cut, not only a crash of this program.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Kibibytes: enough for tens of thousands of rows.
    connection.pragma_update(None, "cache_size", -4096)
}

/// Takes the missing steps, and returns the version found. A newer one is left alone.
fn migrate(connection: &mut Connection, known: i64) -> Result<i64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found < known {
        for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", known)?;
    }
    transaction.commit()?;
    Ok(found)
}
