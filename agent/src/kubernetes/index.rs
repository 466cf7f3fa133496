//! What the Kubernetes API tells of this node, asked container by container.
//!
//! In: the views that watches keep. Out: names for the inventory, [`Known`] for the gate, [`PodSigns`] for observation,
//! policies. Must never: answer for a container that the API does not name; call old news true.

use std::sync::Arc;
use std::time::Duration;

use super::annotation::Annotation;
use super::namespaces::Namespaces;
use super::pod::Pod;
use super::pods::{Pods, Touched};
use super::policies::Policies;
use super::view::{Collection, View};
use crate::breaker::PodSigns;
use crate::inventory::{Container, NameSource, Names, RuntimePaths};
use crate::policy::{PolicyError, PolicySet};

/// Everything that the agent's watches keep.
#[derive(Debug, Default)]
pub struct Index {
    /// Pods of this node.
    pub pods: Arc<View<Pods>>,
    /// Namespaces of the cluster.
    pub namespaces: Arc<View<Namespaces>>,
    /// SweepPolicy objects.
    pub policies: Arc<View<Policies>>,
}

/// What the API knows of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its place in a pod.
    pub membership: Membership,
    /// The word of its namespace's owner; `None` where the namespace is not known.
    pub namespace: Option<Annotation>,
    /// Why nothing of this may be relied on.
    pub stale: Option<String>,
}

/// A container's place in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// Its cgroup is in no pod: a unit of the host, or a container of somebody else's.
    NoPod,
    /// Its cgroup is in a pod that the API does not show on this node: just made, or static and not yet copied.
    PodUnknown,
    /// The pod is known, and none of its containers as reported is this one: just started, the pod's sandbox, or a
    /// container within a container.
    ContainerUnknown(Arc<Pod>),
    /// The kubelet has it from a file.
    Static(Arc<Pod>),
    /// A container of this pod.
    Member(Arc<Pod>),
}

/// How one watch is doing, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchState {
    /// Plural name of the resource.
    pub resource: &'static str,
    /// Objects kept.
    pub objects: usize,
    /// Time since the last sign of life; `None` before the first list.
    pub silence: Option<Duration>,
    /// Why what it told may not hold.
    pub stale: Option<String>,
}

impl Index {
    /// What the API knows of a container.
    pub fn of(&self, container: &Container) -> Known {
        let membership = self.membership(container);
        let name =
            membership.pod().map(|pod| pod.namespace.clone()).or_else(|| container.names.namespace.clone());
        let namespaces = self.namespaces.kept();
        let namespace = name.and_then(|name| namespaces.get(&name).cloned());
        drop(namespaces);
        Known { membership, namespace, stale: self.stale() }
    }

    /// The first watch of which what it told may not hold.
    pub fn stale(&self) -> Option<String> {
        self.watches().into_iter().find_map(|watch| Some(format!("{}: {}", watch.resource, watch.stale?)))
    }

    /// How each watch is doing.
    pub fn watches(&self) -> [WatchState; 3] {
        [state(&self.pods), state(&self.namespaces), state(&self.policies)]
    }

    /// Pods that changed since this was last asked, by the uid of their cgroups.
    pub fn take_touched(&self) -> Touched {
        self.pods.kept().take_touched()
    }

    /// The policies, once after each change.
    pub fn poll_policies(&self) -> Option<Result<PolicySet, Vec<PolicyError>>> {
        self.policies.kept().poll()
    }

    /// What the API shows of a container's health; `None` where that cannot be relied on, or where it does not name
    /// the container.
    pub fn signs(&self, container: &Container) -> Option<PodSigns> {
        self.pods.current().ok()?;
        let uid = container.names.pod_uid.as_deref()?;
        let Some(pod) = self.pods.kept().get(uid).cloned() else {
            // Known to be gone: the last step of being deleted.
            return Some(PodSigns { leaving: true, ..PodSigns::default() });
        };
        let name = container.names.container.as_deref()?;
        // By name: restarted, it has another id.
        let found = pod.containers.iter().find(|found| found.name == name)?;
        Some(PodSigns {
            restarts: found.restarts,
            oom_killed: found.oom_killed,
            failed_at: found.failed_at,
            ready: found.ready,
            evicted: pod.evicted,
            leaving: pod.leaving,
        })
    }

    fn membership(&self, container: &Container) -> Membership {
        let Some(uid) = container.names.pod_uid.as_deref() else { return Membership::NoPod };
        match self.pods.kept().get(uid) {
            None => Membership::PodUnknown,
            Some(pod) if pod.is_static => Membership::Static(Arc::clone(pod)),
            Some(pod) if pod.container(&container.id).is_none() => {
                Membership::ContainerUnknown(Arc::clone(pod))
            }
            Some(pod) => Membership::Member(Arc::clone(pod)),
        }
    }
}

impl Membership {
    /// The pod, where it is known.
    pub fn pod(&self) -> Option<&Pod> {
        match self {
            Self::NoPod | Self::PodUnknown => None,
            Self::ContainerUnknown(pod) | Self::Static(pod) | Self::Member(pod) => Some(pod),
        }
    }
}

fn state<C: Collection>(view: &View<C>) -> WatchState {
    WatchState {
        resource: C::RESOURCE,
        objects: view.kept().count(),
        silence: view.silence(),
        stale: view.current().err().map(|stale| stale.to_string()),
    }
}

/// Names from the API; of what it does not name, from the runtimes' own files.
#[derive(Debug)]
pub struct PodNames {
    index: Arc<Index>,
    runtime: RuntimePaths,
}

impl PodNames {
    /// As the index has them.
    pub fn new(index: Arc<Index>, runtime: RuntimePaths) -> Self {
        Self { index, runtime }
    }
}

impl NameSource for PodNames {
    fn names(&self, id: &str, pod_uid: Option<&str>) -> Option<Names> {
        let Some(pod) = pod_uid.and_then(|uid| self.index.pods.kept().get(uid).cloned()) else {
            return self.runtime.names(id, pod_uid);
        };
        let own = if pod.container(id).is_some() { None } else { self.runtime.names(id, pod_uid) };
        Some(pod.names(id, own))
    }
}

#[cfg(test)]
mod tests;
