//! Finds batches without an end in the journal. All of it is read: while one sweep works at a slow batch, others may
//! have filled files.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader};

use serde::Deserialize;

use super::files::Files;
use crate::report::state_dir::open_to_read;

/// A batch that was announced and not ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenBatch {
    /// Id of its sweep.
    pub sweep: String,
    /// Its number in the journal.
    pub batch: u64,
}

#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) open: Vec<OpenBatch>,
    pub(super) last_batch: u64,
}

#[derive(Deserialize)]
struct Mark {
    sweep: String,
    batch: u64,
}

pub(super) fn open_batches(files: &Files) -> io::Result<Found> {
    let mut open = BTreeSet::new();
    let mut last_batch = 0;
    for path in files.oldest_first() {
        match open_to_read(&path) {
            Ok(file) => read(BufReader::new(file), &mut open, &mut last_batch)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Found { open: open.into_iter().collect(), last_batch })
}

// Memory: one line, itself within a file of bounded size, and a batch for each sweep that ran.
fn read(mut file: impl BufRead, open: &mut BTreeSet<OpenBatch>, last_batch: &mut u64) -> io::Result<()> {
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line)? > 0 {
        let begins = line.starts_with(br#"{"event":"batch""#);
        let ends = line.starts_with(br#"{"event":"done""#) || line.starts_with(br#"{"event":"interrupted""#);
        // What does not parse is a torn line.
        if (begins || ends)
            && let Ok(Mark { sweep, batch }) = serde_json::from_slice(&line)
        {
            *last_batch = batch.max(*last_batch);
            let mark = OpenBatch { sweep, batch };
            if begins {
                open.insert(mark)
            } else {
                open.remove(&mark)
            };
        }
        line.clear();
    }
    Ok(())
}
