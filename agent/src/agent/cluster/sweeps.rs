//! The Sweep objects of this node, as the API server has them.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use kube::core::DeserializeGuard;
use tokio::sync::Notify;

use crate::kubernetes::Collection;
use crate::kubernetes::resources::Sweep;
use crate::rollout::SweepKey;

/// Sweeps of one node that are taken up. Ended ones are not kept, and each container has one open at most.
const MAX_SWEEPS: usize = 1_000;

/// Sweeps that have not ended.
#[derive(Default)]
pub(super) struct NodeSweeps {
    open: BTreeMap<SweepKey, Arc<Sweep>>,
    left_out: usize,
    changed: Arc<Notify>,
}

impl NodeSweeps {
    /// Rings with every change.
    pub(super) fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    pub(super) fn all(&self) -> BTreeMap<SweepKey, Arc<Sweep>> {
        self.open.clone()
    }

    /// The open Sweep of a container.
    pub(super) fn of_container(&self, pod_uid: &str, container: &str) -> Option<(SweepKey, Arc<Sweep>)> {
        let is_it = |sweep: &Sweep| sweep.spec.pod.uid == pod_uid && sweep.spec.container == container;
        let found = self.open.iter().find(|(_, sweep)| is_it(sweep))?;
        Some((found.0.clone(), Arc::clone(found.1)))
    }

    fn take(&mut self, object: DeserializeGuard<Sweep>) {
        let Some(key) = key_of(&object) else { return };
        match object.0 {
            Ok(sweep) if is_open(&sweep) => {
                if self.open.len() < MAX_SWEEPS || self.open.contains_key(&key) {
                    self.open.insert(key, Arc::new(sweep));
                } else {
                    self.left_out += 1;
                }
            }
            Ok(_) => {
                self.open.remove(&key);
            }
            Err(invalid) => {
                tracing::warn!(sweep = %key, error = invalid.error, "this Sweep cannot be read; nobody acts on it");
                self.open.remove(&key);
            }
        }
    }
}

fn is_open(sweep: &Sweep) -> bool {
    !sweep.status.as_ref().is_some_and(|status| status.phase.is_ended())
}

pub(super) fn key_of<K: kube::Resource>(object: &K) -> Option<SweepKey> {
    Some(SweepKey { namespace: object.namespace()?, name: object.meta().name.clone()? })
}

impl Collection for NodeSweeps {
    type Object = DeserializeGuard<Sweep>;
    const RESOURCE: &'static str = "sweeps";
    const LIMIT: &'static str = "node_sweeps";

    fn replace(&mut self, all: Vec<Self::Object>) {
        self.open.clear();
        self.left_out = 0;
        for object in all {
            self.take(object);
        }
        self.changed.notify_one();
    }

    fn put(&mut self, object: Self::Object) {
        self.take(object);
        self.changed.notify_one();
    }

    fn remove(&mut self, object: &Self::Object) {
        if let Some(key) = key_of(object) {
            self.open.remove(&key);
        }
        self.changed.notify_one();
    }

    fn count(&self) -> usize {
        self.open.len()
    }

    fn left_out(&self) -> usize {
        self.left_out
    }

    fn has_room(&self) -> bool {
        self.open.len() < MAX_SWEEPS
    }
}
