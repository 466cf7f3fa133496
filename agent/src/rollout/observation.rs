//! What the coordinator sees of a workload while one of its containers is swept. Pure.
//!
//! In: the workload's pods when the sweep is admitted, and from then to its end; what the policy's guards say. Out: harms,
//! each once; and how all but the swept container fared. Must never: call well what was not looked at from the beginning to the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::neighbours::{Pods, digest, of_workload};
use crate::breaker::Sign;
use crate::report::Health;

/// The reason of a harm that a guard shows. No threshold: its author has put that into the query.
pub(super) const GUARD_FAILS: &str = "GuardFails";
/// The reason where a guard could not be heard.
pub(super) const GUARD_UNKNOWN: &str = "GuardUnknown";

/// Kinds of harm, each with a threshold of its own in `breakers.workload`: restarts, OOM kills, not ready; all others.
pub(super) const KINDS: usize = 4;

/// Containers that are swept now, by the uid of their pod: their agents watch them.
pub(super) type Swept = BTreeMap<String, BTreeSet<String>>;

/// What was seen, as it stands in the Sweep's condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Harmed or Unknown.
    pub(super) health: Health,
    /// One stable word.
    pub(super) reason: String,
    /// A sentence that names the pod, or the guard.
    pub(super) message: String,
    /// The guard that showed it, where one did.
    pub(super) guard: Option<String>,
}

/// One sweep's.
#[derive(Debug, Clone, Default)]
pub(super) struct Observation {
    /// The workload's pods, each as it was when it was first seen.
    before: Pods,
    /// Pods whose harm has been counted. Bounded by `before`.
    counted: BTreeSet<String>,
    /// Guards likewise. Bounded by the policy's.
    counted_guards: BTreeSet<String>,
    harms: [u32; KINDS],
    /// Why something was not seen: the first time.
    missed: Option<(String, String)>,
    seen: Option<Seen>,
}

impl Observation {
    /// From the admission on.
    pub(super) fn begin(pods: &Pods, workload: &str) -> Self {
        Self { before: of_workload(pods, workload), ..Self::default() }
    }

    /// By another leader than the one that admitted the sweep, whose pods had this `digest` then: only where nothing has
    /// happened since are they still the ones to compare with.
    pub(super) fn resume(pods: &Pods, workload: &str, before: Option<&str>) -> Self {
        let mut observation = Self::begin(pods, workload);
        if before != Some(observation.digest().as_str()) {
            let why = "another coordinator leads now, and its workload's other pods have changed since the admission";
            observation.miss(Sign::NotWatched.as_str(), why);
        }
        observation
    }

    /// How the pods were at the beginning, for a leader after this one.
    pub(super) fn digest(&self) -> String {
        digest(&self.before)
    }

    /// Something was not seen.
    pub(super) fn miss(&mut self, reason: &str, why: &str) {
        self.missed.get_or_insert_with(|| (reason.to_owned(), why.to_owned()));
    }

    /// A look that counts nothing yet: pods that were made since the last one are compared from now on.
    pub(super) fn meet(&mut self, pods: &Pods, workload: &str) {
        let of_it = pods.iter().filter(|(_, pod)| pod.workload == workload);
        let new = of_it.filter(|(uid, _)| !self.before.contains_key(*uid));
        let new: Vec<_> = new.map(|(uid, pod)| (uid.clone(), Arc::clone(pod))).collect();
        self.before.extend(new);
        self.before.retain(|uid, _| pods.contains_key(uid));
        self.counted.retain(|uid| pods.contains_key(uid));
    }

    /// What pods have suffered that had not when last looked at. Of several sweeps that see the harm of one pod the
    /// first counts it: `credited` has those of this turn.
    pub(super) fn look(
        &mut self,
        pods: &Pods,
        workload: &str,
        swept: &Swept,
        credited: &mut BTreeSet<String>,
    ) -> Vec<Seen> {
        let nobody = BTreeSet::new();
        let mut new = Vec::new();
        for (uid, pod) in pods.iter().filter(|(_, pod)| pod.workload == workload) {
            let Some(before) = self.before.get(uid).filter(|_| !self.counted.contains(uid)) else { continue };
            let Some(found) = pod.harm_since(before, swept.get(uid).unwrap_or(&nobody)) else { continue };
            self.counted.insert(uid.clone());
            if credited.insert(uid.clone()) {
                let reason = found.sign.as_str().to_owned();
                let message = found.message;
                new.push(self.harm(Seen { health: Health::Harmed, reason, message, guard: None }));
            }
        }
        self.meet(pods, workload);
        new
    }

    /// A guard does not hold; counted once for each.
    pub(super) fn fail(&mut self, guard: &str, why: &str) -> Option<Seen> {
        let first = self.counted_guards.insert(guard.to_owned());
        first.then(|| {
            self.harm(Seen {
                health: Health::Harmed,
                reason: GUARD_FAILS.to_owned(),
                message: format!("{guard} does not hold: {why}"),
                guard: Some(guard.to_owned()),
            })
        })
    }

    /// Counts a harm.
    fn harm(&mut self, seen: Seen) -> Seen {
        if let Some(harms) = self.harms.get_mut(kind(&seen.reason)) {
            *harms += 1;
        }
        self.seen.get_or_insert_with(|| seen.clone());
        seen
    }

    /// The sweep has ended: where nothing was harmed, and something not seen, that is what was seen.
    pub(super) fn close(&mut self) {
        self.before.clear();
        self.counted.clear();
        if self.seen.is_none()
            && let Some((reason, message)) = self.missed.take()
        {
            self.seen = Some(Seen { health: Health::Unknown, reason, message, guard: None });
        }
    }

    /// What is known by now; `None`: no harm, and to the end of the sweep nothing else can be said.
    pub(super) fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// Harms by kind.
    pub(super) fn harms(&self) -> [u32; KINDS] {
        self.harms
    }
}

/// Which of the policy's thresholds a harm counts for.
pub(super) fn kind(reason: &str) -> usize {
    match reason {
        "Restarted" | "Gone" => 0,
        "OomKilled" => 1,
        "NotReady" => 2,
        _ => 3,
    }
}
