//! One policy file: text to a [`SweepPolicy`] that may be used, or an error that says what to write instead.

use std::path::Path;

use super::{SweepPolicy, validate};
use crate::document::{self, Fields, FileError};

/// A policy that cannot be used: file, line, column, field, remedy.
pub type PolicyError = FileError;

/// Reads and checks one file.
pub fn load_file(path: &Path) -> Result<SweepPolicy, PolicyError> {
    parse(&document::read(path)?, path)
}

/// Reads and checks text; `path` is for errors.
pub fn parse(text: &str, path: &Path) -> Result<SweepPolicy, PolicyError> {
    parse_with_fields(text, path).map(|(policy, _)| policy)
}

/// Also where each field stands, for errors that show only when several files are compared.
pub(super) fn parse_with_fields(text: &str, path: &Path) -> Result<(SweepPolicy, Fields), PolicyError> {
    let (policy, fields) = document::parse(text, path)?;
    let problems = validate(&policy);
    if problems.is_empty() { Ok((policy, fields)) } else { Err(FileError::located(path, &problems, &fields)) }
}
