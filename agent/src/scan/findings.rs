//! What a walk has found so far, and whether it may go on: the figures of the [`ScanReport`], the limits that the
//! request sets, the stream to the agent.
//!
//! In: entries, candidates, files kept, errors. Out: messages; a [`Halt`] where a limit is reached. Must never: touch
//! a file.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

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
        self.check()
    }

    /// Time, and the agent's patience.
    pub(super) fn check(&mut self) -> Result<(), Halt> {
        let now = self.stream.now();
        if self.stream.own_time(now) >= self.timeout {
            return Err(Halt::End(ScanEnd::Timeout));
        }
        if self.stream.is_due(now) {
            self.ask_to_stop()?;
            self.stream.progress(self.report.entries, self.report.candidates)?;
        }
        Ok(())
    }

    fn ask_to_stop(&mut self) -> Result<(), Halt> {
        if (self.stop)() { Err(Halt::End(ScanEnd::Cancelled)) } else { Ok(()) }
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
        let waited = self.stream.send(&ScanMessage::Candidate(candidate))?;
        // Most often the agent changes its mind while it holds the worker back.
        if waited { self.ask_to_stop() } else { Ok(()) }
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
    pub(crate) fn empty(end: ScanEnd) -> Self {
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
            reads: 0,
            limits: BTreeMap::new(),
            missing_limits: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Identity;
    use super::super::test_clock::{self as clock, SlowReceiver};
    use super::super::wire;
    use super::*;
    use crate::policy::Action;

    /// Files that the sweep removes in a second: a write of 64 KiB of candidates waits for several.
    const PACE: u64 = 200;
    const FILES: u64 = 200_000;

    fn candidate() -> Candidate {
        let identity = Identity {
            device: 64_768,
            inode: 1_000_000,
            mode: 0o100_644,
            uid: 0,
            gid: 0,
            links: 1,
            size: 4096,
            mtime: (1_795_000_000, 123_456_789),
            ctime: (1_795_000_000, 123_456_789),
        };
        Candidate {
            root: 0,
            path: vec![b'x'; 20],
            rule: 0,
            action: Action::Delete,
            identity,
            allocated: 4096,
        }
    }

    /// How a walk of [`FILES`] ends that needs `each` per file, while the sweep takes [`PACE`] a second.
    fn walk(each: Duration, settings: &ScanSettings) -> (ScanEnd, u64) {
        let mut frame = Vec::new();
        wire::append(&ScanMessage::Candidate(candidate()), &mut frame).unwrap();
        let per_write = u64::try_from(wire::MAX_FRAME / frame.len()).unwrap();
        let receiver = SlowReceiver(Duration::from_secs(per_write / PACE));
        let start = clock::now();
        let mut findings = Findings::new(settings, Stream::new(receiver, clock::now), || false);
        let mut end = ScanEnd::Complete;
        for _ in 0..FILES {
            clock::pass(each);
            match findings.entry().and_then(|()| findings.candidate(candidate())) {
                Ok(()) => {}
                Err(Halt::End(reason)) => {
                    end = reason;
                    break;
                }
                Err(Halt::Pipe(error)) => panic!("{error}"),
            }
        }
        (end, (clock::now() - start).as_secs())
    }

    #[test]
    fn the_timeout_counts_the_walk_and_not_the_sweep_that_paces_it() {
        let settings = ScanSettings::default();
        let timeout = settings.timeout.0;
        let (end, took) = walk(Duration::from_micros(10), &settings);
        assert_eq!(end, ScanEnd::Complete);
        assert!(took > timeout.as_secs(), "{took} s show nothing");

        let (end, _) = walk(timeout / 100_000, &settings);
        assert_eq!(end, ScanEnd::Timeout, "a walk that itself takes twice the timeout");
    }

    #[test]
    fn an_agent_that_wants_no_more_is_heard_after_each_write() {
        let mut findings =
            Findings::new(&ScanSettings::default(), Stream::new(Vec::new(), clock::now), || true);
        let sent = (0..FILES).take_while(|_| findings.candidate(candidate()).is_ok()).count();
        // One buffer's worth; no time has passed, so that nothing else asked.
        assert!(sent > 1 && sent < wire::MAX_FRAME / 20, "{sent} candidates");
    }
}
