//! What a sweep tells while it runs, and when it is done. Plain data.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::kernel::Psi;
use crate::report::{Outcome, SweepFigures};
use crate::scan::ScanReport;

/// One step of a sweep. Sent without waiting: a receiver that lags misses some, the sweep does not stand still.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The scan runs.
    ScanStarted {
        /// Limits in force, as read back from the kernel.
        limits: BTreeMap<String, String>,
        /// Limits that this host cannot give.
        missing: Vec<String>,
    },
    /// Where the scan is.
    ScanProgress {
        /// Entries seen so far.
        entries: u64,
        /// Candidates so far.
        candidates: u64,
    },
    /// A batch is done.
    Batch {
        /// From 1.
        number: u64,
        /// Files removed or truncated.
        removed: u64,
        /// Dry run: files that would have been.
        would_remove: u64,
        /// Files that stay.
        kept: u64,
        /// How long it took.
        took: Duration,
        /// Until the next one may start, at the present pressure.
        next_pause: Duration,
    },
    /// Waits for the pressure to fall.
    Waiting {
        /// The container's, or the node's where that is what holds the sweep up.
        psi: Psi,
    },
    /// The scan is over.
    ScanEnded(ScanReport),
    /// Something an author of policies should know.
    Note(String),
}

/// What a sweep came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in one stable word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// The scan's report; `None` where it never started.
    pub scan: Option<ScanReport>,
    /// What was done.
    pub figures: SweepFigures,
    /// Things an author of policies should know.
    pub notes: Vec<String>,
    /// Dry run: the first [`SAMPLE`](super::SAMPLE) that would go: path as the container sees it, rule, bytes on disk.
    pub sample: Vec<(Vec<u8>, String, u64)>,
}
