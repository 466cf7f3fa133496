//! How long after a burst's condition had held the agent decided. Pure.
//!
//! In: bursts as their containers carried them, the agent's log. Out: [`Detection`]. Must never: count a burst that the
//! machine did not carry, for or against the agent.
//!
//! The condition is the policy's own words: so many files in every second, for so long. A burst at a rate above the
//! limit fulfils them from its first file on, so it has held at its beginning and `for`. That the agent can only see
//! a rate after some of it has come is the agent's affair, and part of the figure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::schedule::FOR;

/// The longest silence in a burst at 300 a second that leaves more than the limit of 200 in each second.
const LONGEST_GAP: u64 = 300_000;
/// A decision that comes later after the burst's beginning belongs to none.
const BELONGS_WITHIN: u64 = 4_000_000;

/// One burst of the container with this cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Burst {
    pub(super) cgroup: String,
    /// Microseconds since 1970, as the other times here.
    pub(super) began: u64,
    pub(super) longest_gap: u64,
}

/// Figures of all bursts. Times in milliseconds from the moment that the condition had held to the line in the
/// agent's log; negative is too early.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Detection {
    /// Bursts that their containers carried as ordered.
    pub(super) bursts: usize,
    /// Bursts that the machine had no time for.
    pub(super) not_carried: usize,
    /// Of the carried ones, those that the agent never decided on.
    pub(super) missed: usize,
    /// Decisions that no burst asked for.
    pub(super) unasked: usize,
    pub(super) min_ms: Option<f64>,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) max_ms: Option<f64>,
}

/// A decision of the agent.
type Decisions = BTreeMap<String, Vec<u64>>;

impl Detection {
    pub(super) fn of(bursts: &[Burst], log: &str) -> Self {
        let mut decisions = decisions(log);
        let (mut latencies, mut missed, mut not_carried) = (Vec::new(), 0, 0);
        for burst in bursts {
            let decided = take_decision(&mut decisions, burst);
            match decided {
                _ if burst.longest_gap > LONGEST_GAP => not_carried += 1,
                None => missed += 1,
                Some(at) => latencies.push(milliseconds(at, burst.began + FOR)),
            }
        }
        latencies.sort_by(f64::total_cmp);
        Self {
            bursts: bursts.len() - not_carried,
            not_carried,
            missed,
            unasked: decisions.values().map(Vec::len).sum(),
            min_ms: latencies.first().copied(),
            p50_ms: percentile(&latencies, 50),
            p99_ms: percentile(&latencies, 99),
            max_ms: latencies.last().copied(),
        }
    }
}

fn take_decision(decisions: &mut Decisions, burst: &Burst) -> Option<u64> {
    let of_container = decisions.get_mut(&burst.cgroup)?;
    let within = burst.began..burst.began + BELONGS_WITHIN;
    let index = of_container.iter().position(|at| within.contains(at))?;
    Some(of_container.remove(index))
}

fn decisions(log: &str) -> Decisions {
    #[derive(Deserialize)]
    struct Line {
        timestamp: Timestamp,
        message: String,
        cgroup: Option<String>,
    }
    let mut decisions = Decisions::new();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    for line in lines.filter(|line| line.message == "policy asks for a sweep") {
        if let (Some(cgroup), Ok(at)) = (line.cgroup, u64::try_from(line.timestamp.as_microsecond())) {
            decisions.entry(cgroup).or_default().push(at);
        }
    }
    decisions
}

/// To a tenth.
fn milliseconds(at: u64, since: u64) -> f64 {
    let micros = i64::try_from(at).unwrap_or(i64::MAX) - i64::try_from(since).unwrap_or(i64::MAX);
    (micros as f64 / 100.0).round() / 10.0
}

/// Nearest rank: the smallest value that so many percent of all are not above.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burst(cgroup: &str, began: u64, longest_gap: u64) -> Burst {
        Burst { cgroup: cgroup.into(), began, longest_gap }
    }

    fn line(cgroup: &str, millis: i64) -> String {
        let timestamp = Timestamp::from_millisecond(millis).unwrap();
        format!(
            "{{\"timestamp\":\"{timestamp}\",\"level\":\"INFO\",\"message\":\"policy asks for a sweep\",\
             \"cgroup\":\"{cgroup}\"}}\n"
        )
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([50, 99, 100].map(|percent| percentile(&hundred, percent)), [50.0, 99.0, 100.0].map(Some));
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 50), Some(2.0));
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn each_decision_belongs_to_one_burst_or_none() {
        let bursts = [
            burst("/a", 10_000_000, 20_000),
            burst("/a", 60_000_000, 20_000),
            burst("/b", 20_000_000, 20_000),
            burst("/c", 30_000_000, LONGEST_GAP + 1),
        ];
        let log = ["no JSON at all\n", &line("/a", 11_200), &line("/a", 61_300), &line("/d", 5_000)].concat()
            + &line("/c", 31_400);
        let detection = Detection::of(&bursts, &log);
        let Detection { bursts, not_carried, missed, unasked, .. } = detection;
        assert_eq!((bursts, not_carried, missed, unasked), (3, 1, 1, 1));
        assert_eq!((detection.min_ms, detection.max_ms), (Some(200.0), Some(300.0)));
    }

    #[test]
    fn what_is_decided_too_early_shows() {
        let detection = Detection::of(&[burst("/a", 10_000_000, 0)], &line("/a", 10_900));
        assert_eq!(detection.min_ms, Some(-100.0));
    }
}
