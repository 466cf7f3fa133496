//! What each container does. Its series go when it goes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::{IntCounterVec, IntGauge, Result};

use super::total::Total;
use super::{Metrics, Register};
use crate::inventory::{CgroupId, Container};

/// Containers with series of their own: as many as inventory knows by default. Beyond it they are counted in
/// `podsweep_limit_reached_total{limit="metrics_containers"}`.
pub const MAX_CONTAINERS: usize = 4096;

const LABELS: [&str; 3] = ["container", "namespace", "pod"];

pub(super) struct Containers {
    number: IntGauge,
    creates: IntCounterVec,
    removals: IntCounterVec,
    known: Mutex<BTreeMap<CgroupId, Known>>,
}

struct Known {
    labels: [String; 3],
    creates: Total,
    removals: Total,
}

impl Containers {
    pub(super) fn new(register: &mut Register) -> Result<Self> {
        Ok(Self {
            number: register.gauge("podsweep_containers", "Containers that the agent knows.")?,
            creates: register.counters(
                "podsweep_container_creates_total",
                &LABELS,
                "Files, directories, links and other names made in a container, counted in the kernel.",
            )?,
            removals: register.counters(
                "podsweep_container_removals_total",
                &LABELS,
                "Files, directories, links and other names removed in a container, counted in the kernel.",
            )?,
            known: Mutex::default(),
        })
    }

    fn counted(&self, container: &Container, creates: u64, removals: u64) -> bool {
        let labels = labels(container);
        let mut known = self.lock();
        match known.get(&container.cgroup) {
            Some(found) if found.labels == labels => {}
            // It has got a name meanwhile: its series move.
            Some(_) => self.forget(&mut known, container.cgroup),
            None if known.len() >= MAX_CONTAINERS => return false,
            None => {}
        }
        let entry = known.entry(container.cgroup).or_insert_with(|| Known {
            labels,
            creates: Total::default(),
            removals: Total::default(),
        });
        self.creates.with_label_values(&entry.labels).inc_by(entry.creates.advance(creates));
        self.removals.with_label_values(&entry.labels).inc_by(entry.removals.advance(removals));
        true
    }

    // A restarted container of a pod has the name of the one before it: the series stay for it.
    fn forget(&self, known: &mut BTreeMap<CgroupId, Known>, id: CgroupId) {
        let Some(gone) = known.remove(&id) else { return };
        if !known.values().any(|other| other.labels == gone.labels) {
            // The only error is that there is no such series.
            let _ = self.creates.remove_label_values(&gone.labels);
            let _ = self.removals.remove_label_values(&gone.labels);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<CgroupId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metrics {
    /// How many containers there are.
    pub fn containers(&self, number: usize) {
        self.containers.number.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// A container's totals, as the kernel has counted them.
    pub fn container_counts(&self, container: &Container, creates: u64, removals: u64) {
        if !self.containers.counted(container, creates, removals) {
            self.limit_reached("metrics_containers");
        }
    }

    /// The container is gone.
    pub fn remove_container(&self, id: CgroupId) {
        self.containers.forget(&mut self.containers.lock(), id);
    }
}

fn labels(container: &Container) -> [String; 3] {
    let names = &container.names;
    [container.short(), names.namespace.clone().unwrap_or_default(), names.pod.clone().unwrap_or_default()]
}
