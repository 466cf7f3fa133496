//! A strict YAML file, read into a type: the form of policies and of the node's configuration.
//!
//! In: text, the path to name in errors. Out: the value and where each of its fields stands, or a [`FileError`] that
//! names file, line, column, field and remedy. Must never: guess (an unknown field, a second document, a duplicate
//! key is an error), or read more than [`MAX_FILE_BYTES`].

mod fields;
mod message;
mod problem;
mod suggest;

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

pub use fields::Fields;
pub use problem::{Problem, Problems};

/// Size of one file: a policy with every field set is 4 KiB, so this is already a mistake or an attack.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// One thing wrong with a file, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// From 1; 0 where the file as a whole is meant.
    pub line: u64,
    /// From 1, in characters.
    pub column: u64,
    /// As `spec.junk[0].olderThan`; empty for the file as a whole.
    pub field: String,
    /// What is wrong; what to do.
    pub message: String,
}

/// A file that cannot be used. `Display` is one line for each fault, `FILE:LINE:COLUMN: FIELD: PROBLEM; REMEDY`.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Reading failed.
    #[error("{}: cannot read it: {source}; check the path and its permissions", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Too large, too many, not UTF-8.
    #[error("{}: {problem}", path.display())]
    Unusable {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong; what to do.
        problem: String,
    },
    /// Read, and wrong.
    #[error("{}", FaultLines(path, faults))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// At least one.
        faults: Vec<Fault>,
    },
}

impl FileError {
    /// Problems of a value, each with its place in the file that it was read from.
    pub fn located(path: &Path, problems: &[Problem], fields: &Fields) -> Self {
        let faults = problems.iter().map(|problem| {
            let (line, column) = fields.locate(&problem.field);
            Fault { line, column, field: problem.field.clone(), message: problem.message.clone() }
        });
        Self::Invalid { path: path.to_path_buf(), faults: faults.collect() }
    }
}

struct FaultLines<'a>(&'a Path, &'a [Fault]);

impl fmt::Display for FaultLines<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.1.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            write!(formatter, "{}", self.0.display())?;
            if fault.line > 0 {
                write!(formatter, ":{}:{}", fault.line, fault.column)?;
            }
            if !fault.field.is_empty() {
                write!(formatter, ": {}", fault.field)?;
            }
            write!(formatter, ": {}", fault.message)?;
        }
        Ok(())
    }
}

/// The text of one file, at most [`MAX_FILE_BYTES`].
pub fn read(path: &Path) -> Result<String, FileError> {
    let failed = |source| FileError::Read { path: path.to_path_buf(), source };
    let unusable = |problem: String| FileError::Unusable { path: path.to_path_buf(), problem };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(unusable(format!("is larger than {MAX_FILE_BYTES} bytes; split it into several files")));
    }
    String::from_utf8(bytes).map_err(|error| {
        unusable(format!("is not UTF-8 (byte {}); save it as UTF-8", error.utf8_error().valid_up_to()))
    })
}

/// The value of one document, and where its fields stand.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<(T, Fields), FileError> {
    match serde_saphyr::from_str_with_options(text, strict()) {
        Ok(value) => Ok((value, Fields::of(text))),
        Err(error) => {
            let fault = message::fault(error.without_snippet(), &Fields::of(text));
            Err(FileError::Invalid { path: path.to_path_buf(), faults: vec![fault] })
        }
    }
}

/// YAML 1.2 and nothing that makes one text mean two things.
fn strict() -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}
