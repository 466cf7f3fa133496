//! The SQL.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::error::check_size;
use super::{HistoryError, MAX_RECORD_BYTES, MAX_STATE_ENTRIES};
use crate::report::SweepRecord;

/// A sweep as the table has it.
pub(super) struct Row<'a> {
    record: &'a SweepRecord,
    json: String,
}

impl<'a> Row<'a> {
    pub(super) fn new(record: &'a SweepRecord, file: &Path) -> Result<Self, HistoryError> {
        let json = serde_json::to_string(record).map_err(|source| HistoryError::NotJson {
            path: file.to_path_buf(),
            what: format!("sweep {}", record.id),
            source,
        })?;
        check_size("sweep", &record.id, json.len(), MAX_RECORD_BYTES)?;
        Ok(Self { record, json })
    }

    pub(super) fn insert(&self, connection: &Connection) -> rusqlite::Result<usize> {
        self.execute(
            connection,
            "INSERT INTO sweep (id, ended_at, container, name, policy, outcome, reason, record)
             VALUES (:id, :ended_at, :container, :name, :policy, :outcome, :reason, :record)",
        )
    }

    pub(super) fn update(&self, connection: &Connection) -> rusqlite::Result<usize> {
        self.execute(
            connection,
            "UPDATE sweep SET ended_at = :ended_at, container = :container, name = :name, policy = :policy,
                    outcome = :outcome, reason = :reason, record = :record
             WHERE id = :id",
        )
    }

    fn execute(&self, connection: &Connection, sql: &str) -> rusqlite::Result<usize> {
        let SweepRecord { id, ended_at, container, policy, outcome, reason, .. } = self.record;
        connection.prepare_cached(sql)?.execute(named_params! {
            ":id": id,
            ":ended_at": ended_at,
            ":container": container.id,
            ":name": container.name,
            ":policy": policy,
            ":outcome": outcome.map(crate::report::Outcome::as_str),
            ":reason": reason,
            ":record": self.json,
        })
    }
}

/// Id and JSON of a sweep.
pub(super) type Stored = (String, String);

fn stored(row: &rusqlite::Row<'_>) -> rusqlite::Result<Stored> {
    Ok((row.get(0)?, row.get(1)?))
}

pub(super) fn get(connection: &Connection, id: &str) -> rusqlite::Result<Option<Stored>> {
    connection
        .prepare_cached("SELECT id, record FROM sweep WHERE id = ?1")?
        .query_row([id], stored)
        .optional()
}

pub(super) fn list(
    connection: &Connection,
    limit: usize,
    container: Option<&str>,
    before: Option<&str>,
) -> rusqlite::Result<Vec<Stored>> {
    connection
        .prepare_cached(
            "SELECT id, record FROM sweep
             WHERE (?1 IS NULL OR name = ?1 OR substr(container, 1, length(?1)) = ?1) AND (?2 IS NULL OR id < ?2)
             ORDER BY id DESC LIMIT ?3",
        )?
        .query_map(params![container, before, i64::try_from(limit).unwrap_or(i64::MAX)], stored)?
        .collect()
}

pub(super) fn unfinished(connection: &Connection) -> rusqlite::Result<Vec<Stored>> {
    connection
        .prepare_cached("SELECT id, record FROM sweep WHERE ended_at IS NULL ORDER BY id")?
        .query_map([], stored)?
        .collect()
}

// A sweep that has no end stays: it is what the next start must find. There are no more of these than slots.
pub(super) fn keep_newest(connection: &Connection, max_sweeps: u32) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "DELETE FROM sweep WHERE ended_at IS NOT NULL
             AND id <= (SELECT id FROM sweep ORDER BY id DESC LIMIT 1 OFFSET ?1)",
        )?
        .execute([max_sweeps])
}

pub(super) fn keep_newest_refused(connection: &Connection, max_refused: u32) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "DELETE FROM sweep WHERE outcome = 'Refused'
             AND id <= (SELECT id FROM sweep WHERE outcome = 'Refused' ORDER BY id DESC LIMIT 1 OFFSET ?1)",
        )?
        .execute([max_refused])
}

pub(super) fn forget_before(connection: &Connection, oldest: Duration) -> rusqlite::Result<usize> {
    // The lowest ULID of that millisecond: ids sort by the time they were made.
    let milliseconds = u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX);
    let lowest = ulid::Ulid::from_parts(milliseconds, 0).to_string();
    connection.prepare_cached("DELETE FROM sweep WHERE ended_at IS NOT NULL AND id < ?1")?.execute([lowest])
}

pub(super) fn put_state(connection: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO state (key, written, value)
             VALUES (?1, (SELECT coalesce(max(written), 0) + 1 FROM state), ?2)
             ON CONFLICT (key) DO UPDATE SET written = excluded.written, value = excluded.value",
        )?
        .execute([key, value])?;
    match key.find('/') {
        Some(slash) => keep_newest_state(connection, &key[..=slash]),
        None => Ok(()),
    }
}

fn keep_newest_state(connection: &Connection, group: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM state WHERE substr(key, 1, length(?1)) = ?1 AND written <=
             (SELECT written FROM state WHERE substr(key, 1, length(?1)) = ?1
              ORDER BY written DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![group, i64::try_from(MAX_STATE_ENTRIES).unwrap_or(i64::MAX)])
        .map(drop)
}

pub(super) fn state(connection: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM state WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()
}
