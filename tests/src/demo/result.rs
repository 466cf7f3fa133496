//! The demo's figures, and what they must be for the demo to have succeeded. Pure.

use std::collections::BTreeMap;

use podsweep::report::{Outcome, SweepRecord};
use serde::Serialize;

use crate::workload::Beat;

/// The object that `-o json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// `uname -r`.
    pub kernel: String,
    /// Which hooks counted.
    pub tier: String,
    /// Names and inodes made, by the workload's own count.
    pub created: u64,
    /// The same, by the agent's.
    pub counted: u64,
    /// From the moment the policy's condition had held to the agent's decision; negative: too early.
    pub detected_after_ms: i64,
    /// Files that the scan found to match the policy.
    pub candidates: u64,
    /// Files removed.
    pub removed: u64,
    /// Files that a rule's paths cover and that stayed, by reason.
    pub kept: BTreeMap<String, u64>,
    /// Files that are gone and should not be, by the demo's own listing.
    pub wrongly_removed: u64,
    /// Files that are there and should not be.
    pub missed: u64,
    /// Times the container was not the one that was started.
    pub container_restarts: u64,
    /// The service's latency.
    pub heartbeat_us: Heartbeats,
    /// The scan.
    pub scan: Scan,
    /// The removal.
    pub sweep: Sweep,
    /// How the sweep ended.
    pub outcome: Option<Outcome>,
}

/// The service's latency, microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Heartbeats {
    /// In the seconds before the storm.
    pub before: Percentiles,
    /// From the decision to the end of the last batch.
    pub during: Percentiles,
    /// In the seconds after the sweep's end.
    pub after: Percentiles,
}

/// Of one stretch of time, microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50: u64,
    /// Of a hundred, all but the slowest.
    pub p99: u64,
}

/// What the scan did and cost.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Scan {
    /// Directory entries looked at.
    pub entries: u64,
    /// From start to end.
    pub wall_ms: u64,
    /// CPU time.
    pub cpu_ms: u64,
    /// Time held back by the CPU limit.
    pub throttled_ms: u64,
    /// Read from the device.
    pub read_bytes: u64,
    /// Limits in force, as read back from the kernel.
    pub limits: BTreeMap<String, String>,
}

/// What the removal did.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Sweep {
    /// Batches.
    pub batches: u64,
    /// From the first to the last.
    pub wall_ms: u64,
}

impl Scan {
    /// From the sweep's record.
    pub fn of(record: &SweepRecord) -> Self {
        let Some(scan) = &record.scan else { return Self::default() };
        let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            entries: scan.entries,
            wall_ms: millis(scan.wall),
            cpu_ms: millis(scan.cpu),
            throttled_ms: millis(scan.throttled),
            read_bytes: scan.read_bytes,
            limits: scan.limits.clone(),
        }
    }
}

impl Percentiles {
    /// Of the beats that began in this stretch, microseconds since 1970.
    pub fn of(beats: &[Beat], from: u64, to: u64) -> Self {
        let within = beats.iter().filter(|beat| (from..to).contains(&beat.at));
        let mut micros: Vec<_> = within.map(|beat| beat.micros).collect();
        micros.sort_unstable();
        let at =
            |percent: usize| micros.get((micros.len() * percent / 100).min(micros.len().saturating_sub(1)));
        Self { p50: at(50).copied().unwrap_or(0), p99: at(99).copied().unwrap_or(0) }
    }
}

impl Figures {
    /// Detection may take this long.
    const DETECTED_WITHIN_MS: i64 = 1000;

    /// What is not as it must be, a sentence each.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                failures.push(what);
            }
        };
        must(self.counted == self.created, format!("{} made, {} counted", self.created, self.counted));
        must(self.wrongly_removed == 0, format!("{} files were wrongly removed", self.wrongly_removed));
        must(self.missed == 0, format!("{} files were missed", self.missed));
        must(self.removed > 0, "nothing was removed".into());
        must(self.container_restarts == 0, "the container is not the one that was started".into());
        let detected = self.detected_after_ms;
        must((0..=Self::DETECTED_WITHIN_MS).contains(&detected), format!("detected after {detected} ms"));
        must(self.outcome == Some(Outcome::Complete), format!("the sweep ended {:?}", self.outcome));
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_stretch_asked_for() {
        let beats: Vec<_> = (0..200).map(|at| Beat { at, micros: at }).collect();
        assert_eq!(Percentiles::of(&beats, 100, 200), Percentiles { p50: 150, p99: 199 });
        assert_eq!(Percentiles::of(&[], 0, 1), Percentiles::default());
    }
}
