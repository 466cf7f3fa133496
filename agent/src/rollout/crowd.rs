//! Who runs now, and beside whom one more may run.

use std::collections::{BTreeMap, HashSet};

use super::entry::Entry;
use super::rules::Rules;
use super::wait::Wait;
use crate::policy::SerialBy;

const DIMENSIONS: [SerialBy; 4] = [SerialBy::Workload, SerialBy::Node, SerialBy::Namespace, SerialBy::Zone];

/// The sweeps that have a slot.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    policies: BTreeMap<String, u32>,
    workloads: HashSet<String>,
    // A dimension holds between two sweeps whose policies both name it: who leaves it out agrees to run beside others.
    alone: [HashSet<String>; DIMENSIONS.len()],
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
    pub(super) fn judge(&self, entry: &Entry, rules: &Rules) -> Result<(), Wait<'static>> {
        let running = self.policies.get(&entry.policy).copied().unwrap_or_default();
        if running >= rules.max_parallel {
            return Err(Wait::MaxParallel { running, most: rules.max_parallel });
        }
        let related = rules.serial_by.iter().find(|dimension| {
            let (alone, value) = place(**dimension, entry);
            self.alone[alone].contains(value)
        });
        related.map_or(Ok(()), |dimension| Err(Wait::Serial(*dimension)))
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
