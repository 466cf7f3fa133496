//! One breaker: a state machine whose states are closed, open and half-open. Pure.
//!
//! ```text
//!            threshold of harms                cool-down over
//!   Closed ─────────────────────────► Open ───────────────────► HalfOpen
//!     ▲                                ▲                          │  │
//!     │                                └───── any harm ───────────┘  │
//!     └─────────────────── the one probe is healthy ─────────────────┘
//! ```
//!
//! Unknown keeps the state; after an unknown probe the next one waits another cool-down. Times are wall clock since
//! 1970, so that they hold across a restart. A clock set back keeps a breaker open for longer; that errs on the safe
//! side, and a person can reset it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Finding, Sign};
use crate::policy::WorkloadBreaker;
use crate::report::Health;

/// Harms that a closed breaker remembers; the oldest go first. A policy's threshold above this counts as this.
pub const MAX_HARMS: usize = 64;

/// A harm that did not open the breaker by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Harm {
    kind: HarmKind,
    times: u64,
    forgotten_at: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum HarmKind {
    Restart,
    OomKill,
    NotReady,
    // No policy has a threshold for the other kinds: one is enough.
    Other,
}

/// Where a breaker is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum BreakerState {
    /// Work flows.
    Closed {
        /// Harms below the threshold, none older than the policy's cool-down. At most [`MAX_HARMS`].
        harms: Vec<Harm>,
    },
    /// Nothing flows.
    Open {
        /// When one probe may try.
        until: Duration,
        /// What opened it.
        reason: String,
    },
    /// One probe flows.
    #[serde(rename_all = "camelCase")]
    HalfOpen {
        /// No probe before this time.
        next_probe: Duration,
        /// The number of the probe that is out.
        probe: Option<u64>,
        /// What opened it.
        reason: String,
    },
}

/// What a finding did to a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that anybody need hear of.
    None,
    /// Work may flow again.
    Closed,
    /// Work stops.
    Opened,
}

/// Why a breaker lets nothing through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Blocked {
    /// Until a time.
    Until(Duration, String),
    /// Until the probe that is out comes back.
    Probing(String),
}

/// One breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Circuit(BreakerState);

impl Default for Circuit {
    fn default() -> Self {
        Self(BreakerState::Closed { harms: Vec::new() })
    }
}

impl Circuit {
    /// Where it is.
    pub fn state(&self) -> &BreakerState {
        &self.0
    }

    /// Holds nothing worth remembering.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        matches!(&self.0, BreakerState::Closed { harms } if harms.iter().all(|harm| harm.forgotten_at <= now))
    }

    /// Whether a sweep may begin; `Ok(true)`: only as the probe.
    pub(super) fn may_pass(&self, now: Duration) -> Result<bool, Blocked> {
        match &self.0 {
            BreakerState::Closed { .. } => Ok(false),
            BreakerState::HalfOpen { probe: Some(_), reason, .. } => Err(Blocked::Probing(reason.clone())),
            BreakerState::Open { until, reason }
            | BreakerState::HalfOpen { next_probe: until, reason, .. } => {
                if now < *until {
                    Err(Blocked::Until(*until, reason.clone()))
                } else {
                    Ok(true)
                }
            }
        }
    }

    /// Lets the probe with this number out. Only after [`Self::may_pass`] said that it may.
    pub(super) fn send_probe(&mut self, number: u64, now: Duration) {
        if let BreakerState::Open { reason, .. } | BreakerState::HalfOpen { reason, .. } = &mut self.0 {
            let reason = std::mem::take(reason);
            self.0 = BreakerState::HalfOpen { next_probe: now, probe: Some(number), reason };
        }
    }

    /// The probe did not take place: another one may go.
    pub(super) fn withdraw_probe(&mut self, number: u64) {
        if let BreakerState::HalfOpen { probe, .. } = &mut self.0
            && *probe == Some(number)
        {
            *probe = None;
        }
    }

    /// Takes what an observation showed. `probe`: the number of the probe that it was of.
    pub(super) fn record(
        &mut self,
        finding: &Finding,
        probe: Option<u64>,
        now: Duration,
        limits: &WorkloadBreaker,
    ) -> Change {
        match (finding.health, &mut self.0) {
            (Health::Harmed, BreakerState::Closed { harms }) => {
                remember(harms, harm(finding.sign, now, limits), now);
                if !threshold_reached(harms, limits) {
                    return Change::None;
                }
                self.open(finding, now, limits)
            }
            (Health::Harmed, BreakerState::Open { .. } | BreakerState::HalfOpen { .. }) => {
                self.open(finding, now, limits)
            }
            (Health::Healthy, BreakerState::HalfOpen { probe: out, .. })
                if probe.is_some() && *out == probe =>
            {
                *self = Self::default();
                Change::Closed
            }
            (Health::Unknown, BreakerState::HalfOpen { probe: out, next_probe, .. })
                if probe.is_some() && *out == probe =>
            {
                *out = None;
                *next_probe = now.saturating_add(limits.cool_down.0);
                Change::None
            }
            (Health::Healthy | Health::Unknown, _) => Change::None,
        }
    }

    /// After a restart of the agent: nobody knows how the probe that was out fared, so no other goes before `wait`
    /// is over.
    pub(super) fn forget_probe(&mut self, now: Duration, wait: Duration) {
        if let BreakerState::HalfOpen { probe, next_probe, .. } = &mut self.0
            && probe.take().is_some()
        {
            *next_probe = now.saturating_add(wait);
        }
    }

    fn open(&mut self, finding: &Finding, now: Duration, limits: &WorkloadBreaker) -> Change {
        let was_open = matches!(self.0, BreakerState::Open { .. });
        let reason = format!("{}: {}", finding.reason(), finding.message);
        self.0 = BreakerState::Open { until: now.saturating_add(limits.cool_down.0), reason };
        if was_open { Change::None } else { Change::Opened }
    }
}

fn harm(sign: Sign, now: Duration, limits: &WorkloadBreaker) -> Harm {
    let (kind, times) = match sign {
        Sign::Restarted | Sign::Gone => (HarmKind::Restart, 1),
        Sign::OomKilled(times) => (HarmKind::OomKill, times),
        Sign::NotReady => (HarmKind::NotReady, 1),
        _ => (HarmKind::Other, 1),
    };
    Harm { kind, times, forgotten_at: now.saturating_add(limits.cool_down.0) }
}

fn remember(harms: &mut Vec<Harm>, harm: Harm, now: Duration) {
    harms.retain(|old| old.forgotten_at > now);
    if harms.len() >= MAX_HARMS {
        harms.remove(0);
    }
    harms.push(harm);
}

fn threshold_reached(harms: &[Harm], limits: &WorkloadBreaker) -> bool {
    let total = |kind| harms.iter().filter(|harm| harm.kind == kind).map(|harm| harm.times).sum::<u64>();
    // A threshold of 0 would be a breaker that is never closed: it counts as 1.
    let needed = |threshold: u32| u64::from(threshold).clamp(1, MAX_HARMS as u64);
    total(HarmKind::Other) > 0
        || total(HarmKind::Restart) >= needed(limits.restarts)
        || total(HarmKind::OomKill) >= needed(limits.oom_kills)
        || total(HarmKind::NotReady) >= needed(limits.not_ready)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    const COOL_DOWN: Duration = Duration::from_secs(100);

    fn limits(restarts: u32, oom_kills: u32) -> WorkloadBreaker {
        WorkloadBreaker { restarts, oom_kills, cool_down: Span(COOL_DOWN), ..WorkloadBreaker::default() }
    }

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn found(sign: Sign) -> Finding {
        Finding::new(sign, "test")
    }

    fn opened_at_zero() -> Circuit {
        let mut circuit = Circuit::default();
        assert_eq!(circuit.record(&found(Sign::Gone), None, at(0), &limits(1, 1)), Change::Opened);
        circuit
    }

    fn half_open() -> Circuit {
        let mut circuit = opened_at_zero();
        assert_eq!(circuit.may_pass(COOL_DOWN), Ok(true));
        circuit.send_probe(7, COOL_DOWN);
        circuit
    }

    #[test]
    fn opens_at_the_threshold_and_not_before() {
        let mut circuit = Circuit::default();
        let mut harm = |sign, second| circuit.record(&found(sign), None, at(second), &limits(2, 3));
        assert_eq!(harm(Sign::Restarted, 0), Change::None);
        assert_eq!(harm(Sign::OomKilled(2), 1), Change::None);
        assert_eq!(harm(Sign::Gone, 2), Change::Opened);
    }

    #[test]
    fn not_being_ready_has_a_threshold_of_its_own() {
        let limits = WorkloadBreaker { not_ready: 2, ..limits(1, 1) };
        let mut circuit = Circuit::default();
        assert_eq!(circuit.record(&found(Sign::NotReady), None, at(0), &limits), Change::None);
        assert_eq!(circuit.record(&found(Sign::NotReady), None, at(1), &limits), Change::Opened);
    }

    #[test]
    fn several_kills_of_one_sweep_count_each() {
        let mut circuit = Circuit::default();
        assert_eq!(circuit.record(&found(Sign::OomKilled(3)), None, at(0), &limits(9, 3)), Change::Opened);
    }

    #[test]
    fn harms_older_than_the_cool_down_are_forgotten() {
        let mut circuit = Circuit::default();
        assert_eq!(circuit.record(&found(Sign::Gone), None, at(0), &limits(2, 1)), Change::None);
        assert_eq!(circuit.record(&found(Sign::Gone), None, at(100), &limits(2, 1)), Change::None);
        assert_eq!(circuit.record(&found(Sign::Gone), None, at(199), &limits(2, 1)), Change::Opened);
    }

    #[test]
    fn frozen_pressed_or_evicted_once_is_enough() {
        for sign in [Sign::Frozen, Sign::PressureHigh, Sign::Evicted] {
            let mut circuit = Circuit::default();
            assert_eq!(circuit.record(&found(sign), None, at(0), &limits(9, 9)), Change::Opened);
        }
    }

    #[test]
    fn a_threshold_of_zero_counts_as_one() {
        let mut circuit = Circuit::default();
        assert_eq!(circuit.record(&found(Sign::Well), None, at(0), &limits(0, 0)), Change::None);
        assert_eq!(circuit.record(&found(Sign::Gone), None, at(0), &limits(0, 0)), Change::Opened);
    }

    #[test]
    fn open_until_the_cool_down_is_over_then_one_probe() {
        let mut circuit = opened_at_zero();
        assert!(matches!(circuit.may_pass(at(99)), Err(Blocked::Until(until, _)) if until == COOL_DOWN));
        assert_eq!(circuit.may_pass(at(100)), Ok(true));
        circuit.send_probe(1, at(100));
        assert!(matches!(circuit.may_pass(at(100)), Err(Blocked::Probing(_))));
    }

    #[test]
    fn only_the_probe_that_is_out_closes_it() {
        let mut circuit = half_open();
        let well = found(Sign::Well);
        assert_eq!(circuit.record(&well, None, at(101), &limits(1, 1)), Change::None);
        assert_eq!(circuit.record(&well, Some(6), at(101), &limits(1, 1)), Change::None);
        assert_eq!(circuit.record(&well, Some(7), at(101), &limits(1, 1)), Change::Closed);
        assert!(circuit.is_idle(at(101)));
    }

    #[test]
    fn a_harmed_probe_reopens_whatever_the_threshold() {
        let mut circuit = half_open();
        assert_eq!(circuit.record(&found(Sign::Gone), Some(7), at(110), &limits(9, 9)), Change::Opened);
        assert!(circuit.may_pass(at(209)).is_err());
        assert_eq!(circuit.may_pass(at(210)), Ok(true));
    }

    #[test]
    fn an_unknown_probe_keeps_it_half_open_and_the_next_one_waits() {
        let mut circuit = half_open();
        assert_eq!(
            circuit.record(&found(Sign::SignalMissing), Some(7), at(110), &limits(1, 1)),
            Change::None
        );
        assert!(matches!(circuit.state(), BreakerState::HalfOpen { .. }));
        assert!(circuit.may_pass(at(209)).is_err());
        assert_eq!(circuit.may_pass(at(210)), Ok(true));
    }

    #[test]
    fn a_healthy_sweep_does_not_close_an_open_breaker() {
        let mut circuit = opened_at_zero();
        assert_eq!(circuit.record(&found(Sign::Well), None, at(1), &limits(1, 1)), Change::None);
        assert!(circuit.may_pass(at(1)).is_err());
    }

    #[test]
    fn further_harm_keeps_it_open_for_longer() {
        let mut circuit = opened_at_zero();
        assert_eq!(circuit.record(&found(Sign::Gone), None, at(50), &limits(1, 1)), Change::None);
        assert!(circuit.may_pass(at(149)).is_err());
    }

    #[test]
    fn a_probe_that_did_not_take_place_frees_its_place() {
        let mut circuit = half_open();
        circuit.withdraw_probe(6);
        assert!(circuit.may_pass(at(101)).is_err());
        circuit.withdraw_probe(7);
        assert_eq!(circuit.may_pass(at(101)), Ok(true));
    }

    #[test]
    fn memory_is_bounded() {
        let mut circuit = Circuit::default();
        for second in 0..200 {
            circuit.record(&found(Sign::OomKilled(0)), None, at(second), &limits(1, 1));
        }
        assert!(matches!(circuit.state(), BreakerState::Closed { harms } if harms.len() <= MAX_HARMS));
    }
}
