//! The database's settings and tables. A migration is never changed once released; a new one is added at the end.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::HistoryError;

/// `user_version` of a database is the number of migrations it has had.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE sweep (
        id         TEXT PRIMARY KEY,    -- ULID: sorts by time
        ended_at   TEXT,                -- NULL: has no end yet
        container  TEXT NOT NULL,       -- the runtime's id
        name       TEXT NOT NULL,
        policy     TEXT NOT NULL,
        outcome    TEXT,
        reason     TEXT,
        record     TEXT NOT NULL        -- SweepRecord as JSON; the columns above are for queries
    ) STRICT;
    CREATE INDEX sweep_unfinished ON sweep (id) WHERE ended_at IS NULL;
    CREATE TABLE state (
        key      TEXT PRIMARY KEY,
        written  INTEGER NOT NULL,      -- counts up: the lowest was written longest ago
        value    TEXT NOT NULL
    ) STRICT;
    CREATE INDEX state_written ON state (written);
"];

/// Memory of the page cache, KiB.
const CACHE_KIB: i64 = 2048;
/// Size that the kept journal is cut to after a large transaction: holds what a usual one needs.
const JOURNAL_BYTES: i64 = 1 << 20;
/// Wait for a lock. Only somebody with the sqlite3 shell can hold one: the state folder has one agent.
const BUSY: Duration = Duration::from_secs(2);

pub(super) fn connect(file: &Path) -> Result<Connection, HistoryError> {
    let failed = |source| HistoryError::new("open", file, source);
    // Not CREATE: the caller made the file, with the permissions it must have.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(failed)?;
    configure(&connection).map_err(failed)?;
    check(&connection, file)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "PERSIST")?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "trusted_schema", false)
}

fn check(connection: &Connection, file: &Path) -> Result<(), HistoryError> {
    let detail: String = connection
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .map_err(|source| HistoryError::new("check", file, source))?;
    if detail == "ok" { Ok(()) } else { Err(HistoryError::Corrupt { path: file.to_path_buf(), detail }) }
}

/// The migrations that this database has had; an error where this program does not know them all.
pub(super) fn must_be_known(connection: &Connection, file: &Path) -> Result<usize, HistoryError> {
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|source| HistoryError::new("prepare", file, source))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    if found > MIGRATIONS.len() {
        return Err(HistoryError::Newer { path: file.to_path_buf(), found, known: MIGRATIONS.len() });
    }
    Ok(found)
}

pub(super) fn migrate(connection: &mut Connection, file: &Path) -> Result<(), HistoryError> {
    let found = must_be_known(connection, file)?;
    for (number, migration) in MIGRATIONS.iter().enumerate().skip(found) {
        apply(connection, number + 1, migration)
            .map_err(|source| HistoryError::new("prepare", file, source))?;
    }
    Ok(())
}

fn apply(connection: &mut Connection, number: usize, migration: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(migration)?;
    transaction.pragma_update(None, "user_version", i64::try_from(number).unwrap_or(i64::MAX))?;
    transaction.commit()
}
