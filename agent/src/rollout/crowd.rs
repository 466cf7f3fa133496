//! Who runs now, and beside whom one more may run.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::Entry;
use super::rules::Rules;
use super::waves::Wait;
use crate::policy::{Reason, SerialBy};

const DIMENSIONS: [SerialBy; 4] = [SerialBy::Workload, SerialBy::Node, SerialBy::Namespace, SerialBy::Zone];

/// The sweeps that have a slot.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    policies: BTreeMap<String, u32>,
    workloads: BTreeSet<String>,
    // A dimension holds between two sweeps whose policies both name it: who leaves it out agrees to run beside others.
    alone: [BTreeSet<String>; DIMENSIONS.len()],
}

impl Crowd {
    /// One that runs. Without rules (its policy was deleted) it wants to be alone in every dimension.
    pub(super) fn add(&mut self, entry: &Entry, rules: Option<&Rules>) {
        *self.policies.entry(entry.policy.clone()).or_default() += 1;
        self.workloads.insert(entry.workload.clone());
        let dimensions = rules.map_or(&DIMENSIONS[..], |rules| &rules.serial_by);
        for dimension in dimensions {
            let (alone, value) = place(*dimension, entry);
            self.alone[alone].insert(value.to_owned());
        }
    }

    /// Whether one of this workload runs.
    pub(super) fn has_workload(&self, workload: &str) -> bool {
        self.workloads.contains(workload)
    }

    /// Whether one more may run beside these.
    pub(super) fn judge(&self, entry: &Entry, rules: &Rules) -> Result<(), Wait> {
        let running = self.policies.get(&entry.policy).copied().unwrap_or_default();
        if running >= rules.max_parallel {
            let message = format!(
                "{running} sweeps of policy {} run and its maxParallel is {}",
                entry.policy, rules.max_parallel
            );
            return Err((Reason::MaxParallel, message));
        }
        let related = rules.serial_by.iter().find(|dimension| {
            let (alone, value) = place(**dimension, entry);
            self.alone[alone].contains(value)
        });
        related.map_or(Ok(()), |dimension| Err(serial(*dimension)))
    }
}

/// Which of the dimensions, and where in it a sweep is.
fn place(dimension: SerialBy, entry: &Entry) -> (usize, &str) {
    match dimension {
        SerialBy::Workload => (0, &entry.workload),
        SerialBy::Node => (1, &entry.node),
        SerialBy::Namespace => (2, entry.namespace()),
        // All that say no zone are taken for one: two of them may be in the same.
        SerialBy::Zone => (3, entry.zone.as_deref().unwrap_or_default()),
    }
}

fn serial(dimension: SerialBy) -> Wait {
    let (reason, word) = match dimension {
        SerialBy::Workload => (Reason::SerialWorkload, "workload"),
        SerialBy::Node => (Reason::SerialNode, "node"),
        SerialBy::Namespace => (Reason::SerialNamespace, "namespace"),
        SerialBy::Zone => (Reason::SerialZone, "zone"),
    };
    (reason, format!("a sweep of the same {word} runs (serialBy)"))
}
