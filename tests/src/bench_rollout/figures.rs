//! What the benchmark has shown, and how that compares with its aims: the object.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::simulation::Effort;

/// Aims of issue 5: writes of one sweep, requests a second of 1,000 idle agents with everybody else's.
pub(super) const WRITES_AIM: f64 = 12.0;
pub(super) const REQUESTS_AIM: f64 = 20.0;
/// "Independent of the number of nodes": so far apart may the writes of few and of many be.
pub(super) const RATIO_AIM: f64 = 1.05;
/// A coordinator decides once a second where nothing happens: no decision may take as long.
pub(super) const TURN_AIM: f64 = 1000.0;

/// One aim and how it was met.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Aim {
    pub(super) what: &'static str,
    pub(super) at_most: f64,
    pub(super) measured: f64,
    pub(super) met: bool,
}

impl Aim {
    pub(super) fn new(what: &'static str, at_most: f64, measured: f64) -> Self {
        Self { what, at_most, measured, met: measured <= at_most }
    }

    pub(super) fn line(&self) -> String {
        let Self { what, at_most, measured, met } = self;
        let verdict = if *met { "met" } else { "MISSED" };
        format!("aim: {what}: {measured:.2}, at most {at_most}: {verdict}")
    }
}

/// How the sweeps ended.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Outcomes {
    pub(super) succeeded: usize,
    pub(super) failed: usize,
    pub(super) aborted: usize,
    /// Otherwise, or not at all: none is expected.
    pub(super) other: usize,
}

/// From being asked for to being admitted, seconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Queue {
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) max: u64,
}

impl Queue {
    pub(super) fn of(waited: impl Iterator<Item = Duration>) -> Self {
        let mut waited: Vec<_> = waited.map(|waited| waited.as_secs()).collect();
        waited.sort_unstable();
        let at = |percent: usize| {
            let last = waited.len().saturating_sub(1);
            waited.get(last * percent / 100).copied().unwrap_or_default()
        };
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

/// Writes to the API server.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Writes {
    /// Of one sweep: all that there were, by the number of sweeps.
    pub(super) per_sweep: f64,
    /// Of the sweep that cost most, as far as writes are about one sweep.
    pub(super) most: u64,
    /// Sweeps that cost more than the aim.
    pub(super) above_aim: u64,
    /// By what they were for.
    pub(super) by_purpose: BTreeMap<String, u64>,
}

impl Writes {
    pub(super) fn of<K: AsRef<str>>(
        each: impl Iterator<Item = u64>,
        all: u64,
        by_purpose: &BTreeMap<K, u64>,
    ) -> Self {
        let each: Vec<_> = each.collect();
        let above_aim = each.iter().filter(|writes| **writes as f64 > WRITES_AIM).count() as u64;
        let most = each.iter().copied().max().unwrap_or_default();
        let by_purpose = by_purpose.iter().map(|(what, count)| (what.as_ref().to_owned(), *count)).collect();
        Self { per_sweep: all as f64 / each.len().max(1) as f64, most, above_aim, by_purpose }
    }
}

/// The coordinator's own work: deciding, without the writes.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Turns {
    pub(super) count: u64,
    /// CPU time, milliseconds.
    pub(super) mean_ms: f64,
    pub(super) longest_ms: f64,
    pub(super) per_sweep_ms: f64,
    /// Percent of a core, of the simulated time: what a coordinator at this load would use.
    pub(super) of_a_core: f64,
}

impl Turns {
    pub(super) fn of(effort: Effort, sweeps: u64, simulated: Duration) -> Self {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let Effort { turns, cpu, longest } = effort;
        Self {
            count: turns,
            mean_ms: milliseconds(cpu) / turns.max(1) as f64,
            longest_ms: milliseconds(longest),
            per_sweep_ms: milliseconds(cpu) / sweeps.max(1) as f64,
            of_a_core: 100.0 * cpu.as_secs_f64() / simulated.as_secs_f64().max(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_waited() {
        let queue = Queue::of((0..=200).rev().map(Duration::from_secs));
        assert_eq!((queue.p50, queue.p99, queue.max), (100, 198, 200));
        assert_eq!(Queue::of(std::iter::empty()).max, 0);
    }

    #[test]
    fn writes_that_are_about_no_sweep_count_in_the_mean() {
        let writes = Writes::of([9, 13].into_iter(), 24, &BTreeMap::from([("create", 2)]));
        assert_eq!((writes.per_sweep.to_string().as_str(), writes.most, writes.above_aim), ("12", 13, 1));
    }
}
