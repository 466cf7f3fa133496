//! History as somebody reads it who is not the agent, where no agent runs.
//!
//! In: the state folder. Out: sweeps and state, as they lie there. Must never: write, take the folder's lock, or make
//! a database.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{HistoryError, MAX_LIST, parse, parse_state, queries, schema};
use crate::report::SweepRecord;

/// A database opened to be read.
#[derive(Debug)]
pub struct Reader {
    file: PathBuf,
    connection: Connection,
}

impl Reader {
    /// `None`: there is no database yet. One that a killed agent left in the middle of a change cannot be read without
    /// writing to it: that is an error here, and the next agent's to mend.
    pub fn open(folder: &Path) -> Result<Option<Self>, HistoryError> {
        let file = folder.join("history.db");
        if !file.exists() {
            return Ok(None);
        }
        let failed = |source| HistoryError::new("open", &file, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&file, flags).map_err(failed)?;
        schema::must_be_known(&connection, &file)?;
        Ok(Some(Self { file, connection }))
    }

    /// The newest sweeps first, at most `limit` (and [`MAX_LIST`]).
    pub fn list(&self, limit: usize) -> Result<Vec<SweepRecord>, HistoryError> {
        let rows = queries::list(&self.connection, limit.min(MAX_LIST), None, None);
        let rows = rows.map_err(|source| HistoryError::new("read", &self.file, source))?;
        rows.into_iter().map(|row| parse(row, &self.file)).collect()
    }

    /// The value kept under a key.
    pub fn state(&self, key: &str) -> Result<Option<serde_json::Value>, HistoryError> {
        let text = queries::state(&self.connection, key)
            .map_err(|source| HistoryError::new("read", &self.file, source))?;
        text.map(|text| parse_state(&text, key, &self.file)).transpose()
    }
}
