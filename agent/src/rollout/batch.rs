//! A `SweepRollout`: many sweeps by a person's wish, wave by wave. Pure.
//!
//! In: what is asked for, the containers that it is about, and its Sweeps so far. Out: the next ones to make, and the
//! status. Waves are counted from the Sweeps that there are, so a new leader goes on where the last one was. The
//! policy's own waves, serial dimensions and breakers hold besides.

use std::collections::BTreeSet;

use super::entry::{Entry, Verdict};
use crate::kubernetes::resources::{RolloutPhase, RolloutStatus, SweepPhase, SweepRolloutSpec};

/// One container to be swept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its pod's namespace.
    pub namespace: String,
    /// Its pod.
    pub pod: String,
    /// The pod's uid.
    pub pod_uid: String,
    /// Its name in the pod.
    pub container: String,
    /// Its node.
    pub node: String,
    /// Its workload, as `Deployment/cart`.
    pub workload: String,
}

/// What a rollout needs next.
#[derive(Debug, Clone, PartialEq)]
pub struct Next {
    /// Sweeps to be made.
    pub make: Vec<Target>,
    /// How it stands, before these are made.
    pub status: RolloutStatus,
    /// Whether those that wait shall be closed, and those that run be stopped.
    pub abort: bool,
}

/// What its Sweeps say.
#[derive(Debug, Default)]
struct Sum {
    made: u64,
    done: u64,
    healthy: u64,
    harmed: u64,
    unknown: u64,
    skipped: u64,
}

impl Sum {
    fn of<'a>(sweeps: impl Iterator<Item = &'a Entry>) -> Self {
        let mut sum = Self::default();
        for entry in sweeps {
            sum.made += 1;
            sum.done += u64::from(entry.phase.is_ended());
            match entry.verdict() {
                Verdict::Awaited => {}
                Verdict::Healthy => sum.healthy += 1,
                Verdict::Harmed => sum.harmed += 1,
                Verdict::Unknown => sum.unknown += 1,
                // A dry run touches nothing and is as well as can be.
                Verdict::Untouched if entry.phase == SweepPhase::Succeeded => sum.healthy += 1,
                Verdict::Untouched => sum.skipped += 1,
            }
        }
        sum
    }
}

/// `sweeps`: those of this rollout. `targets`: the containers that its selector and its policy name now.
pub(super) fn next<'a>(
    spec: &SweepRolloutSpec,
    generation: i64,
    before: &RolloutStatus,
    sweeps: impl Iterator<Item = &'a Entry> + Clone,
    targets: &[Target],
) -> Next {
    let sum = Sum::of(sweeps.clone());
    let swept: BTreeSet<_> = sweeps.map(|entry| (entry.pod_uid.as_str(), entry.container.as_str())).collect();
    let left: Vec<_> = targets
        .iter()
        .filter(|target| !swept.contains(&(target.pod_uid.as_str(), target.container.as_str())))
        .collect();
    let (wave, size) = wave(spec, sum.made);
    // Whoever changes the spec has seen the outcomes so far.
    let seen = before.observed_generation.is_some_and(|observed| observed < generation);
    let accepted = if seen { sum.unknown } else { before.unknown_accepted };
    let all = sum.made + left.len() as u64;
    let (phase, reason, message) = phase(spec, &sum, accepted, left.is_empty());
    let may_make = phase == RolloutPhase::Running && sum.done == sum.made;
    let make: Vec<_> = if may_make {
        left.into_iter().take(next_size(spec, sum.made)).cloned().collect()
    } else {
        Vec::new()
    };
    let status = RolloutStatus {
        phase,
        reason: reason.map(str::to_owned),
        message,
        wave,
        wave_size: size,
        total: all,
        done: sum.done,
        healthy: sum.healthy,
        harmed: sum.harmed,
        unknown: sum.unknown,
        unknown_accepted: accepted,
        skipped: sum.skipped,
        observed_generation: Some(generation),
        conditions: before.conditions.clone(),
    };
    let abort = matches!(phase, RolloutPhase::Aborted | RolloutPhase::Failed);
    Next { make, status, abort }
}

fn phase(
    spec: &SweepRolloutSpec,
    sum: &Sum,
    accepted: u64,
    nothing_left: bool,
) -> (RolloutPhase, Option<&'static str>, Option<String>) {
    if spec.abort {
        return (RolloutPhase::Aborted, Some("AbortedByPerson"), Some("its spec says abort: true".into()));
    }
    if sum.harmed > 0 {
        let message = format!("{} containers came to harm; no further wave begins", sum.harmed);
        return (RolloutPhase::Failed, Some("Harmed"), Some(message));
    }
    if nothing_left && sum.done == sum.made {
        return (RolloutPhase::Succeeded, None, None);
    }
    if spec.paused {
        return (RolloutPhase::Paused, Some("PausedByPerson"), Some("its spec says paused: true".into()));
    }
    if sum.unknown > accepted {
        let message = format!(
            "how {} containers fared is unknown; look at them, then go on by a change of the spec (paused: true, then false)",
            sum.unknown - accepted
        );
        return (RolloutPhase::Paused, Some("UnknownOutcome"), Some(message));
    }
    let message = (sum.done < sum.made).then(|| format!("{} sweeps have not ended", sum.made - sum.done));
    (RolloutPhase::Running, None, message)
}

/// The wave that the last Sweep made was in, and its size.
fn wave(spec: &SweepRolloutSpec, made: u64) -> (u64, u32) {
    let (mut wave, mut size, mut before) = (0, 0, 0);
    while before < made {
        size = size_after(spec, size);
        wave += 1;
        before += u64::from(size);
    }
    (wave, size)
}

fn next_size(spec: &SweepRolloutSpec, made: u64) -> usize {
    size_after(spec, wave(spec, made).1) as usize
}

fn size_after(spec: &SweepRolloutSpec, size: u32) -> u32 {
    let most = spec.max_wave.max(1);
    if size == 0 { spec.canary.clamp(1, most) } else { size.saturating_mul(spec.growth.max(1)).min(most) }
}
