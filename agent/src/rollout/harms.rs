//! What breakers hear: how sweeps ended, what befell the workload beside them, and when that is enough to open one.
//!
//! In: verdicts, harms. Out: open breakers; the mark that a harm was heard. Must never: let a harm be forgotten of which
//! no other leader could know.

use std::time::Duration;

use super::decide::Circumstances;
use super::entry::{Entry, Verdict};
use super::index::Index;
use super::key::SweepKey;
use super::observation::{KINDS, Seen};
use super::step::Step;
use crate::policy::WorkloadBreaker;

impl Index {
    /// Tells the breakers how sweeps ended.
    pub(super) fn hear_of_ends(&mut self, Circumstances { now, wall, .. }: &Circumstances) {
        for key in std::mem::take(&mut self.ended) {
            let Some(entry) = self.sweeps.get(&key) else { continue };
            let workload = entry.workload.clone();
            match entry.verdict() {
                Verdict::Healthy => self.circuits.healthy(&workload),
                Verdict::Unknown => self.circuits.unknown(&workload, *now, *wall),
                Verdict::Harmed if entry.has_uncounted_harm() => {
                    let limits = self.limits(&entry.policy);
                    if self.threshold_reached(&workload, &limits, *now) {
                        let sign = entry.health_reason.as_deref().unwrap_or("Harmed");
                        let cause = format!("{sign} after sweep {key}");
                        self.circuits.open(
                            &workload,
                            cause,
                            limits.cool_down.0,
                            self.settings.global,
                            *now,
                            *wall,
                        );
                    }
                }
                Verdict::Harmed | Verdict::Awaited | Verdict::Untouched => {}
            }
        }
    }

    fn limits(&self, policy: &str) -> WorkloadBreaker {
        self.rules.get(policy).map_or_else(WorkloadBreaker::default, |rules| rules.breaker)
    }

    /// Whether the harms of a workload within its cool-down open its breaker.
    fn threshold_reached(&self, workload: &str, limits: &WorkloadBreaker, now: Duration) -> bool {
        let mut times = [0_u32; KINDS];
        let lately =
            |entry: &&Entry| entry.ended_at.is_none_or(|at| now <= at.saturating_add(limits.cool_down.0));
        let of_workload = self.sweeps.values().filter(|entry| entry.workload == workload);
        for entry in of_workload.filter(lately) {
            for (times, harms) in times.iter_mut().zip(entry.harms()) {
                *times = times.saturating_add(harms);
            }
        }
        let needed = [limits.restarts, limits.oom_kills, limits.not_ready, 1];
        times.into_iter().zip(needed).any(|(times, needed)| times >= needed.max(1))
    }

    /// Marks the harms of which the breakers have heard, once that is on the API server.
    pub(super) fn count_harms(&self, steps: &mut Vec<Step>) {
        let heard = self
            .sweeps
            .iter()
            .filter(|(_, entry)| entry.has_uncounted_harm() && self.circuits.is_saved(&entry.workload));
        steps.extend(heard.map(|(key, _)| Step::CountHarm { sweep: key.clone() }));
    }

    /// A pod beside a sweep came to harm, or a guard failed.
    pub(super) fn hear_of_harm_beside(&mut self, key: &SweepKey, seen: &Seen, circumstances: &Circumstances) {
        let Some(entry) = self.sweeps.get(key) else { return };
        let (workload, limits) = (entry.workload.clone(), self.limits(&entry.policy));
        let Circumstances { now, wall, .. } = circumstances;
        // Once is enough: a workload that breaks down as a whole must not be a write for each of its pods.
        if self.circuits.is_open(&workload) || !self.threshold_reached(&workload, &limits, *now) {
            return;
        }
        // One guard that fails is one place, however many workloads are swept under it: see `Circuits::harmed_within`.
        let cause = match &seen.guard {
            Some(guard) => format!("{}: {guard} does not hold", seen.reason),
            None => format!("{} beside sweep {key}: {}", seen.reason, seen.message),
        };
        self.circuits.open(&workload, cause, limits.cool_down.0, self.settings.global, *now, *wall);
    }
}
