//! What a walk has found so far, and whether it may go on: the figures of the [`ScanReport`], the limits that the
//! request sets, the stream to the agent.
//!
//! In: entries, candidates, files kept, errors. Out: messages; a [`Halt`] where a limit is reached. Must never: touch
//! a file.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::stream::Stream;
use super::wire::WireError;
use super::{Candidate, Kept, ScanEnd, ScanMessage, ScanReport};
use crate::policy::ScanSettings;

/// Errors told on stderr, with path and errno; the rest is counted only.
const MAX_TOLD: u64 = 20;

/// End of a path that is told with an error, bytes.
const MAX_TOLD_PATH: usize = 256;

/// Why the walk does not go on.
#[derive(Debug)]
pub(super) enum Halt {
    /// One of the request's limits, or the receiver.
    End(ScanEnd),
    /// The pipe to the agent.
    Pipe(WireError),
}

impl From<WireError> for Halt {
    fn from(error: WireError) -> Self {
        Self::Pipe(error)
    }
}

/// The figures of one scan and the stream they go to.
#[derive(Debug)]
pub(super) struct Findings<W, Stop> {
    stream: Stream<W>,
    /// Whether the agent wants no more.
    stop: Stop,
    max_entries: u64,
    timeout: Duration,
    report: ScanReport,
}

impl<W: Write, Stop: FnMut() -> bool> Findings<W, Stop> {
    pub(super) fn new(settings: &ScanSettings, stream: Stream<W>, stop: Stop) -> Self {
        let report = ScanReport::empty(ScanEnd::Complete);
        Self { stream, stop, max_entries: settings.max_entries, timeout: settings.timeout.0, report }
    }

    /// Counts one entry, unless the operation limit is reached.
    pub(super) fn entry(&mut self) -> Result<(), Halt> {
        if self.report.entries >= self.max_entries {
            return Err(Halt::End(ScanEnd::EntryLimit));
        }
        self.report.entries += 1;
        self.check(Instant::now())
    }

    /// Time, and the agent's patience.
    pub(super) fn check(&mut self, now: Instant) -> Result<(), Halt> {
        if self.stream.own_time(now) >= self.timeout {
            return Err(Halt::End(ScanEnd::Timeout));
        }
        if self.stream.is_due(now) {
            if (self.stop)() {
                return Err(Halt::End(ScanEnd::Cancelled));
            }
            self.stream.progress(self.report.entries, self.report.candidates)?;
        }
        Ok(())
    }

    pub(super) fn directory(&mut self) {
        self.report.directories += 1;
    }

    pub(super) fn keep(&mut self, reason: Kept, files: u64) {
        if files > 0 {
            *self.report.kept.entry(reason).or_default() += files;
        }
    }

    pub(super) fn candidate(&mut self, candidate: Candidate) -> Result<(), Halt> {
        self.report.candidates += 1;
        self.report.candidate_bytes += candidate.allocated;
        Ok(self.stream.send(&ScanMessage::Candidate(candidate))?)
    }

    pub(super) fn error(&mut self, path: &[u8], errno: Errno) {
        self.report.errors += 1;
        if self.report.errors <= MAX_TOLD {
            let path = String::from_utf8_lossy(&path[path.len().saturating_sub(MAX_TOLD_PATH)..]);
            // Nothing to be done where the agent does not listen.
            let _ = writeln!(std::io::stderr(), "cannot read {path:?}: {errno}");
        }
    }

    /// Tells the end.
    pub(super) fn finish(mut self, end: ScanEnd) -> Result<(), WireError> {
        self.report.end = end;
        self.stream.send(&ScanMessage::End(self.report))?;
        self.stream.flush()
    }
}

impl ScanReport {
    /// A report of nothing yet, ended so.
    pub(super) fn empty(end: ScanEnd) -> Self {
        Self {
            end,
            entries: 0,
            directories: 0,
            candidates: 0,
            candidate_bytes: 0,
            kept: BTreeMap::new(),
            errors: 0,
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            throttled: Duration::ZERO,
            read_bytes: 0,
            limits: BTreeMap::new(),
            missing_limits: Vec::new(),
        }
    }
}
