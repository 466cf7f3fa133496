//! The loop's care for containers: those that came, changed or went; their counts, nested cgroups included; the
//! figures that Prometheus and the control endpoint show of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::shared::{Seen, lock};
use super::watched::Watched;
use super::{TOP_DIRECTORIES, Watch};
use crate::inventory::{CgroupId, Changes, Container};
use crate::kernel::Free;
use crate::policy::choose;
use crate::report::metrics::LossTotals;

impl Watch {
    /// Brings the inventory up to date: fresh cgroups each tick, the whole tree now and then.
    pub(super) fn settle(&mut self, now: Duration) {
        // Not held while the changes are taken in: that takes other locks.
        let changes = lock(&self.shared.inventory).settle();
        self.take_in(changes);
        if now >= self.next_rescan {
            self.next_rescan = now + self.shared.config.rescan.0;
            let changes = lock(&self.shared.inventory).rescan();
            self.take_in(changes);
        }
        self.names_of_pods();
    }

    // What the API told of pods since the last tick.
    fn names_of_pods(&mut self) {
        let touched = self.shared.stores.pods.as_ref().map(|index| index.take_touched());
        let Some(touched) = touched.filter(|touched| !touched.is_empty()) else { return };
        let changes = lock(&self.shared.inventory).ask_names(|uid| touched.has(uid));
        self.take_in(changes);
    }

    pub(super) fn take_in(&mut self, changes: Changes) {
        if changes.added.is_empty() && changes.changed.is_empty() && changes.removed.is_empty() {
            return;
        }
        let set = Arc::clone(&lock(&self.shared.policies).set);
        let wall = jiff::Zoned::now();
        for container in changes.added.into_iter().chain(changes.changed) {
            let choice = choose(&set, &container);
            if let Some(watched) = self.watched.get_mut(&container.cgroup) {
                watched.container = container;
                watched.choose(choice, &wall);
            } else {
                tracing::debug!(container = container.short(), cgroup = container.cgroup_path, "container");
                self.watched.insert(container.cgroup, Watched::new(container, choice, &wall));
            }
        }
        for container in changes.removed {
            self.gone(&container);
        }
        self.policies_in_force();
    }

    fn gone(&mut self, container: &Container) {
        tracing::debug!(container = container.short(), "container gone");
        self.watched.remove(&container.cgroup);
        lock(&self.shared.seen).remove(&container.cgroup);
        for cgroup in cgroups_of(container) {
            self.observer.forget(cgroup);
        }
        self.shared.stores.metrics.remove_container(container.cgroup);
    }

    /// Keeps the counts of a nested cgroup that has ended with its container.
    pub(super) fn nested_ended(&mut self, id: CgroupId) {
        let owner = lock(&self.shared.inventory).resolve(id).map(|container| container.cgroup);
        let Some(watched) = owner.filter(|owner| *owner != id).and_then(|owner| self.watched.get_mut(&owner))
        else {
            return;
        };
        let before = self.last_counts.remove(&id);
        match self.observer.read() {
            // The observer shows an ended cgroup one last time: that may have been at the last tick.
            Ok(counts) => {
                if let Some(last) = counts.get(&id).copied().or(before) {
                    watched.ended.add(&last);
                }
                self.observer.forget(id);
            }
            Err(error) => tracing::warn!(%error, "counts of an ended cgroup not read"),
        }
    }

    /// Reads all counters; false where they cannot be read, and then nobody decides.
    pub(super) fn count(&mut self) -> bool {
        let started = std::time::Instant::now();
        let counts = match self.observer.read() {
            Ok(counts) => counts,
            Err(error) => {
                tracing::error!(%error, "counters not read: no policy decides until they are");
                return false;
            }
        };
        for watched in self.watched.values_mut() {
            for cgroup in &watched.container.nested {
                // Ended, and the event that says so is still on its way: its counts stay, once.
                if let Some(last) = self.last_counts.get(cgroup).filter(|_| !counts.contains_key(cgroup)) {
                    watched.ended.add(last);
                }
            }
            watched.counts = watched.total(&counts);
            watched.free = free(watched);
        }
        self.last_counts = counts;
        self.shared.stores.metrics.observe_read(started.elapsed());
        true
    }

    pub(super) fn top_directories(&mut self, container: &Container) -> Vec<(String, u64)> {
        let cgroups: Vec<CgroupId> = cgroups_of(container).collect();
        self.observer
            .top_directories(&cgroups, TOP_DIRECTORIES)
            .into_iter()
            .map(|top| (top.path.display().to_string(), top.creates))
            .collect()
    }

    /// `span`: time since the last figures.
    pub(super) fn figures(&mut self, span: Duration) {
        let metrics = &self.shared.stores.metrics;
        let mut seen = lock(&self.shared.seen);
        for (id, watched) in &self.watched {
            let before = seen.get(id).map_or(0, |seen| seen.counts.creates());
            let made = watched.counts.creates().saturating_sub(before);
            let (creates, removals) = (watched.counts.creates(), watched.counts.removals());
            metrics.container_counts(&watched.container, creates, removals);
            seen.insert(
                *id,
                Seen {
                    counts: watched.counts,
                    creates_per_second: made as f64 / span.as_secs_f64(),
                    policy: watched.policy_name(),
                    refusal: watched.refusal.clone(),
                    last_sweep: watched.last_sweep.clone(),
                },
            );
        }
        drop(seen);
        metrics.containers(self.watched.len());
        let loss = self.observer.loss();
        metrics.loss(LossTotals {
            recursion_misses: loss.recursion_misses,
            cgroups_not_counted: loss.cgroups_not_counted,
            operations_not_counted: loss.operations_not_counted,
            directories_not_named: loss.directories_not_named,
            cgroup_events: loss.cgroup_events,
        });
        for cost in self.observer.costs() {
            metrics.program(&cost.program, cost.runs, cost.run_time);
        }
        metrics.sweeps_running(lock(&self.shared.live).len());
        metrics.paused(self.shared.gate.paused().is_some());
        lock(&self.shared.observed).losses = BTreeMap::from([
            ("recursionMisses".into(), loss.recursion_misses),
            ("cgroupsNotCounted".into(), loss.cgroups_not_counted),
            ("operationsNotCounted".into(), loss.operations_not_counted),
            ("cgroupEvents".into(), loss.cgroup_events),
            ("directoriesNotNamed".into(), loss.directories_not_named),
        ]);
        for watch in self.shared.stores.pods.iter().flat_map(|index| index.watches()) {
            metrics.kubernetes_watch(watch.resource, watch.objects, watch.silence, watch.stale.is_none());
        }
        let breakers = lock(&self.shared.stores.board).views();
        metrics.breakers(&breakers);
        self.shared.outside.breakers(&breakers);
    }
}

fn cgroups_of(container: &Container) -> impl Iterator<Item = CgroupId> + '_ {
    std::iter::once(container.cgroup).chain(container.nested.iter().copied())
}

fn free(watched: &Watched) -> Option<Free> {
    let layer = watched.container.layer.as_ref().filter(|_| watched.wants_free())?;
    Free::of(&layer.upper).ok()
}
