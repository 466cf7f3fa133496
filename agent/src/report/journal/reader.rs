//! The journal read back for a person: the files of one sweep with what became of each.
//!
//! In: the state folder, a sweep's id. Out: one [`Audited`] after the other, in the order of the batches. Holds one
//! batch at a time. Must never: write.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::JournalLimits;
use super::files::oldest_first;
use crate::report::state_dir::open_to_read;
use crate::sweep::Fate;

/// What became of a file, as far as the journal tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The batch ended, and said so.
    Known(Fate),
    /// The agent ended in the middle of the batch, or could not write its end: it may be gone.
    Interrupted,
    /// The batch is being worked off.
    InFlight,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(fate) => write!(f, "{fate:?}"),
            Self::Interrupted | Self::InFlight => write!(f, "{self:?}"),
        }
    }
}

/// One file of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audited {
    /// The file's line, as it is in the journal.
    #[serde(flatten)]
    pub line: Map<String, Value>,
    /// What became of it: `Removed`, `Kept(Open)`, `Interrupted`, …
    #[serde(serialize_with = "as_word")]
    pub result: Ending,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn as_word<S: serde::Serializer>(ending: &Ending, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(ending)
}

#[derive(Deserialize)]
struct Mark {
    event: String,
    sweep: String,
    #[serde(default)]
    others: Vec<Other>,
}

#[derive(Deserialize)]
struct Other {
    index: usize,
    result: Fate,
}

/// Hands each file of a sweep to `each`. What the journal has rotated away is not there any more.
pub fn files_of(
    folder: &Path,
    sweep: &str,
    mut each: impl FnMut(&Audited) -> io::Result<()>,
) -> io::Result<()> {
    let mut batch = Vec::new();
    for path in oldest_first(folder, JournalLimits::MAX_FILES) {
        let file = match open_to_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).split(b'\n') {
            take(&line?, sweep, &mut batch, &mut each)?;
        }
    }
    end(&mut batch, &mut each, |_| Ending::InFlight)
}

fn take(
    line: &[u8],
    sweep: &str,
    batch: &mut Vec<Map<String, Value>>,
    each: &mut impl FnMut(&Audited) -> io::Result<()>,
) -> io::Result<()> {
    // What does not parse is a torn line.
    let Ok(mark) = serde_json::from_slice::<Mark>(line) else { return Ok(()) };
    if mark.sweep != sweep {
        return Ok(());
    }
    match mark.event.as_str() {
        "file" => {
            batch.extend(serde_json::from_slice::<Map<String, Value>>(line));
            Ok(())
        }
        "done" => {
            let others: BTreeMap<usize, Fate> =
                mark.others.into_iter().map(|other| (other.index, other.result)).collect();
            end(batch, each, |file| Ending::Known(result(file, &others)))
        }
        "interrupted" => end(batch, each, |_| Ending::Interrupted),
        _ => Ok(()),
    }
}

fn end(
    batch: &mut Vec<Map<String, Value>>,
    each: &mut impl FnMut(&Audited) -> io::Result<()>,
    ending: impl Fn(&Map<String, Value>) -> Ending,
) -> io::Result<()> {
    for mut line in batch.drain(..) {
        let result = ending(&line);
        for redundant in ["event", "sweep", "index"] {
            line.remove(redundant);
        }
        each(&Audited { line, result })?;
    }
    Ok(())
}

fn result(file: &Map<String, Value>, others: &BTreeMap<usize, Fate>) -> Fate {
    let index = file.get("index").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
    let other = index.and_then(|index| others.get(&index));
    let truncates = file.get("action").and_then(Value::as_str) == Some("Truncate");
    other.copied().unwrap_or(if truncates { Fate::Truncated } else { Fate::Removed })
}
