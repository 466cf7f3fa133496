//! When what happened, microseconds since 1970. The storm's begin is the workload's, the decision's the agent's.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use podsweep::report::SweepRecord;

use super::oracle::Span;

/// The policy's `for`.
const FOR: u64 = 30_000_000;

/// Of one demo.
#[derive(Debug)]
pub(super) struct Timeline {
    storm_began: u64,
    decided: u64,
    removal_over: Option<u64>,
    sweep_over: u64,
}

impl Timeline {
    pub(super) fn new(storm_began: u64, record: &SweepRecord) -> Result<Self> {
        let decided: Timestamp = record.started_at.parse().context("startedAt is no RFC 3339 time")?;
        let decided = u64::try_from(decided.as_microsecond())?;
        Ok(Self { storm_began, decided, removal_over: None, sweep_over: decided })
    }

    /// Seen just now, for the first time or again.
    pub(super) fn removal_is_over(&mut self) {
        self.removal_over.get_or_insert_with(now);
    }

    pub(super) fn sweep_is_over(&mut self) {
        self.removal_is_over();
        self.sweep_over = now();
    }

    /// From the decision to the end of the last batch.
    pub(super) fn sweep(&self) -> Span {
        Span { decided: self.decided, ended: self.removal_over.unwrap_or(self.sweep_over) }
    }

    /// So long before the storm.
    pub(super) fn before(&self, span: u64) -> (u64, u64) {
        (self.storm_began - span, self.storm_began)
    }

    /// So long after the sweep.
    pub(super) fn after(&self, span: u64) -> (u64, u64) {
        (self.sweep_over, self.sweep_over + span)
    }

    /// From the moment the condition had held to the decision. The condition holds from the storm's first file on:
    /// its first second alone makes more files than the policy allows.
    pub(super) fn detected_after_ms(&self) -> i64 {
        let held = self.storm_began + FOR;
        i64::try_from(self.decided / 1000).unwrap_or(i64::MAX)
            - i64::try_from(held / 1000).unwrap_or(i64::MAX)
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_policy_and_the_timeline_agree() {
        let wanted = format!("for: {}s}}", super::FOR / 1_000_000);
        assert!(crate::demo::POLICY.contains(&wanted), "policies/demo.yaml does not say {wanted}");
    }
}
