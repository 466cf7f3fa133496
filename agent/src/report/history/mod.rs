//! History: every sweep with its decision, numbers and outcome, and the little state that outlives a restart
//! (breakers, paused), in one SQLite database.
//!
//! In: [`SweepRecord`]s and JSON values. Out: the same. Must never: lose what it said it keeps, delete a database it
//! cannot read, or be the reason that a node with a full disk is not swept.
//!
//! **A full disk is the normal case here**, since it is what the agent is for:
//! - the rollback journal is kept from one transaction to the next (`journal_mode=PERSIST`), so its blocks are ours
//!   already. WAL would need new blocks for every change, and again for its checkpoint;
//! - pages of pruned sweeps are used again before the file grows (no vacuum);
//! - a ballast of [`BALLAST_BYTES`]: a few MiB given up when SQLite says "full", so that the sweep that frees the disk is on record.
//!
//! `synchronous=FULL`: a commit is on disk when it returns (measured on ext4 with eight builds beside it: 8 ms in the
//! median, 28 ms at p99). A sweep commits a handful of times, and a power cut leaves at most a sweep to be found as
//! abandoned.
//!
//! All calls block; call them from `spawn_blocking`.

mod ballast;
mod error;
mod queries;
mod reader;
mod schema;

#[cfg(test)]
mod full_disk_test;

pub use ballast::BALLAST_BYTES;
pub use error::HistoryError;
pub use reader::Reader;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction};

use self::ballast::Ballast;
use super::state_dir::StateLock;
use super::{Outcome, StateDirError, SweepRecord};

/// Longest record, bytes of JSON. Its lists are bounded where they are made; a typical record has 2 KiB.
pub const MAX_RECORD_BYTES: usize = 256 << 10;
/// Longest state value, bytes of JSON: all breakers of a board at its bound have about 1 MiB.
pub const MAX_STATE_BYTES: usize = 4 << 20;
/// Entries of one group of state (`last-sweep/…`: what stands before the slash); the ones written longest ago go
/// first. Keys without a slash are a fixed few and stay.
pub const MAX_STATE_ENTRIES: usize = 4096;
/// Most records that one [`History::list`] returns.
pub const MAX_LIST: usize = 1000;

/// Refused sweeps that stay, the newest (fewer where half of [`HistoryLimits::max_sweeps`] is less): what is asked for often and always refused must not push the sweeps that ran
/// out of history, nor out of what a start reads of it to remember the cool-downs ([`MAX_LIST`]).
pub const MAX_REFUSED: u32 = 200;

/// How much history stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Sweeps; the oldest go first.
    pub max_sweeps: u32,
    /// Age of a sweep, from its start.
    pub max_age: Duration,
}

/// The database. One process at a time, any number of threads.
#[derive(Debug)]
pub struct History {
    file: PathBuf,
    limits: HistoryLimits,
    inner: Mutex<Inner>,
    _lock: StateLock,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    ballast: Ballast,
}

impl History {
    /// Opens the database in the state folder, making both where they are missing.
    pub fn open(folder: &Path, limits: HistoryLimits) -> Result<Self, HistoryError> {
        let lock = StateLock::take(folder)?;
        let file = folder.join("history.db");
        super::state_dir::open_private(&file).map_err(|source| StateDirError::Io {
            operation: "open",
            path: file.clone(),
            source,
        })?;
        let ballast = Ballast::new(folder);
        let mut connection = schema::connect(&file)?;
        schema::migrate(&mut connection, &file)?;
        let history = Self { file, limits, inner: Mutex::new(Inner { connection, ballast }), _lock: lock };
        history.lock().ballast.fill();
        Ok(history)
    }

    /// A sweep has begun, or was refused. Keeps the number of sweeps in bounds at the same time.
    pub fn begin(&self, record: &SweepRecord) -> Result<(), HistoryError> {
        let row = queries::Row::new(record, &self.file)?;
        let max_sweeps = self.limits.max_sweeps;
        self.write(|transaction| {
            row.insert(transaction)?;
            if record.outcome == Some(Outcome::Refused) {
                queries::keep_newest_refused(transaction, MAX_REFUSED.min(max_sweeps / 2))?;
            }
            queries::keep_newest(transaction, max_sweeps).map(drop)
        })
    }

    /// A sweep went on or ended.
    pub fn update(&self, record: &SweepRecord) -> Result<(), HistoryError> {
        let row = queries::Row::new(record, &self.file)?;
        match self.write(|transaction| row.update(transaction))? {
            0 => Err(HistoryError::NoSuchSweep { id: record.id.clone() }),
            _ => Ok(()),
        }
    }

    /// One sweep.
    pub fn get(&self, id: &str) -> Result<Option<SweepRecord>, HistoryError> {
        self.read(|connection| queries::get(connection, id))?.map(|row| parse(row, &self.file)).transpose()
    }

    /// The newest sweeps first, at most `limit` (and [`MAX_LIST`]); only of the container with this id (or the first
    /// characters of it) or name; only such as began before the sweep with the id `before`.
    pub fn list(
        &self,
        limit: usize,
        container: Option<&str>,
        before: Option<&str>,
    ) -> Result<Vec<SweepRecord>, HistoryError> {
        let limit = limit.min(MAX_LIST);
        let rows = self.read(|connection| queries::list(connection, limit, container, before))?;
        Ok(self.readable(rows))
    }

    /// Sweeps that have no end, oldest first: at the agent's start, those that the last agent left behind.
    pub fn unfinished(&self) -> Result<Vec<SweepRecord>, HistoryError> {
        let rows = self.read(queries::unfinished)?;
        Ok(self.readable(rows))
    }

    /// Forgets sweeps older than the limit. `now`: since 1970. Returns how many. Call now and then.
    pub fn prune(&self, now: Duration) -> Result<usize, HistoryError> {
        let oldest = now.saturating_sub(self.limits.max_age);
        self.write(|transaction| queries::forget_before(transaction, oldest))
    }

    /// Keeps a value under a key: `breakers`, `paused`, `last-sweep/ID`.
    pub fn put_state(&self, key: &str, value: &serde_json::Value) -> Result<(), HistoryError> {
        let text = value.to_string();
        error::check_size("state", key, text.len(), MAX_STATE_BYTES)?;
        self.write(|transaction| queries::put_state(transaction, key, &text))
    }

    /// Whether a sweep could be put on record now, found out by writing.
    pub fn writable(&self) -> Result<(), HistoryError> {
        self.put_state("writable", &serde_json::Value::Bool(true))
    }

    /// The value kept under a key.
    pub fn state(&self, key: &str) -> Result<Option<serde_json::Value>, HistoryError> {
        let text = self.read(|connection| queries::state(connection, key))?;
        text.map(|text| parse_state(&text, key, &self.file)).transpose()
    }

    // A full disk: gives the ballast up and tries once more.
    fn write<T>(&self, change: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, HistoryError> {
        let mut inner = self.lock();
        let mut result = commit(&mut inner.connection, &change);
        if result.as_ref().is_err_and(error::is_full) && inner.ballast.give_up() {
            tracing::warn!(file = ?self.file, "the disk is full; history gave its reserve up");
            result = commit(&mut inner.connection, &change);
        }
        if result.is_ok() {
            inner.ballast.fill();
        }
        result.map_err(|source| HistoryError::new("write to", &self.file, source))
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, HistoryError> {
        query(&self.lock().connection).map_err(|source| HistoryError::new("read", &self.file, source))
    }

    // One record that this program cannot read must not hide the others, or keep the agent from starting.
    fn readable(&self, rows: Vec<queries::Stored>) -> Vec<SweepRecord> {
        rows.into_iter()
            .filter_map(|row| {
                parse(row, &self.file).inspect_err(|error| tracing::warn!(%error, "left out of history")).ok()
            })
            .collect()
    }

    // SQLite rolls back what a thread that panicked left open, so the connection is whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse((id, json): queries::Stored, file: &Path) -> Result<SweepRecord, HistoryError> {
    serde_json::from_str(&json).map_err(|source| not_json(file, format!("sweep {id}"), source))
}

fn parse_state(text: &str, key: &str, file: &Path) -> Result<serde_json::Value, HistoryError> {
    serde_json::from_str(text).map_err(|source| not_json(file, format!("state {key:?}"), source))
}

fn not_json(file: &Path, what: String, source: serde_json::Error) -> HistoryError {
    HistoryError::NotJson { path: file.to_path_buf(), what, source }
}

fn commit<T>(
    connection: &mut Connection,
    change: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction()?;
    let value = change(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

#[cfg(test)]
pub(crate) mod tests;
