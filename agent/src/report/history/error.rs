//! What can go wrong with history, in words that say what to do.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::report::StateDirError;

/// History failed.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] StateDirError),
    /// No space left, and the reserve is used up. Nothing was changed; worth trying again later.
    #[error("{path}: the disk is full and history's reserve is used up; free some space")]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// Not a database, or a damaged one. It is left as it is.
    #[error(
        "{path}: not a readable SQLite database ({detail}); move the file away, then start again: \
             podsweep makes a new one (the old history and the breakers' state are in the moved file)"
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// Made by a newer podsweep.
    #[error(
        "{path}: made by a newer podsweep (schema {found}, this one knows up to {known}); run that one, or move \
             the file away to begin with an empty history"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema's number.
        found: usize,
        /// The newest that this program knows.
        known: usize,
    },
    /// There is no such sweep on record.
    #[error("no sweep {id} on record")]
    NoSuchSweep {
        /// The id asked for.
        id: String,
    },
    /// A value is larger than history takes.
    #[error("{what} {key:?} has {bytes} bytes and the limit is {limit}")]
    TooLarge {
        /// `sweep` or `state`.
        what: &'static str,
        /// Its id or key.
        key: String,
        /// Its size.
        bytes: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// A value cannot be written as, or read from, JSON.
    #[error("{path}: {what}: {source}")]
    NotJson {
        /// The database.
        path: PathBuf,
        /// Which value.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// Anything else.
    #[error("cannot {operation} {path}: {source}")]
    Sqlite {
        /// What was tried.
        operation: &'static str,
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

impl HistoryError {
    pub(super) fn new(operation: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Corrupt { path, detail: source.to_string() }
            }
            _ => Self::Sqlite { operation, path, source },
        }
    }

    /// The disk is full: worth trying again when a sweep has freed some of it.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

pub(super) fn check_size(
    what: &'static str,
    key: &str,
    bytes: usize,
    limit: usize,
) -> Result<(), HistoryError> {
    if bytes <= limit {
        Ok(())
    } else {
        Err(HistoryError::TooLarge { what, key: key.to_owned(), bytes, limit })
    }
}
