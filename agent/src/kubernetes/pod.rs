//! A pod of the API, cut down to what podsweep asks of it. Pure.
//!
//! In: a whole `v1.Pod`, some 10 KiB. Out: a [`Pod`], under 1 KiB for most; or nothing where a bound would cut off what
//! a guard or a selector must see. Must never: keep a part of a pod's labels (`DoesNotExist` would match).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, Pod as Whole, PodStatus,
};

use super::annotation::Annotation;
use super::workload::workload;
use crate::config::QosClass;
use crate::inventory::Names;

/// Most labels of a pod; one with more is not kept. Five to ten are common.
pub const MAX_LABELS: usize = 64;
/// Most containers of a pod, init and ephemeral ones included; the API server itself sets no bound.
pub const MAX_CONTAINERS: usize = 128;
/// Longest image reference, in bytes, as in [`crate::inventory`]; a container with a longer one is not known.
const MAX_IMAGE: usize = 1024;

/// On the API's copy of a static pod: the static pod's own uid (`kubelet`, `types.ConfigMirrorAnnotationKey`).
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What is kept of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// The API object's own uid.
    pub uid: String,
    /// The uid that its cgroups have: the object's, or of a static pod the hash of its file.
    pub cgroup_uid: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// Its owner's word on sweeping.
    pub annotation: Annotation,
    /// `None` where the API does not say, or says a class that is not known here.
    pub qos: Option<QosClass>,
    /// Owner, as `Kind/name`.
    pub workload: String,
    /// Made from a file on the node; the API has only a copy, which nothing can be asked of in earnest.
    pub is_static: bool,
    /// Somebody has deleted it; it ends within its grace period.
    pub leaving: bool,
    /// The kubelet has thrown it out (phase Failed, reason Evicted).
    pub evicted: bool,
    /// Its containers, as the kubelet last reported them.
    pub containers: Vec<PodContainer>,
}

/// What is kept of a container in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodContainer {
    /// Name within the pod.
    pub name: String,
    /// The runtime's id of the one that runs or ran last; `None` before the first.
    pub id: Option<String>,
    /// Image reference.
    pub image: String,
    /// Whether it counts as ready; `None` for init and ephemeral containers, which are never asked, and for one that has
    /// ended as it should.
    pub ready: Option<bool>,
    /// How often the kubelet has started it anew.
    pub restarts: u32,
    /// The OOM killer made its newest end.
    pub oom_killed: bool,
    /// When it last ended, where that was a failure; seconds since 1970 on the kubelet's clock.
    pub failed_at: Option<i64>,
}

impl Pod {
    /// What is kept; `None` where it has more of something than the bounds allow, or lacks what every pod has.
    pub fn of(whole: &Whole) -> Option<Self> {
        let metadata = &whole.metadata;
        let labels = metadata.labels.clone().unwrap_or_default();
        if labels.len() > MAX_LABELS {
            return None;
        }
        let uid = metadata.uid.clone()?;
        let mirror = metadata.annotations.as_ref().and_then(|annotations| annotations.get(MIRROR));
        let status = whole.status.as_ref();
        Some(Self {
            cgroup_uid: mirror.unwrap_or(&uid).clone(),
            uid,
            namespace: metadata.namespace.clone()?,
            name: metadata.name.clone()?,
            labels,
            annotation: Annotation::of(metadata.annotations.as_ref()),
            qos: status.and_then(|status| status.qos_class.as_deref()).and_then(QosClass::of_word),
            workload: workload(metadata),
            is_static: mirror.is_some(),
            leaving: metadata.deletion_timestamp.is_some(),
            evicted: status.is_some_and(is_evicted),
            containers: status.map(|status| containers(whole, status)).unwrap_or_default(),
        })
    }

    /// The container with this id of the runtime.
    pub fn container(&self, id: &str) -> Option<&PodContainer> {
        self.containers.iter().find(|container| container.id.as_deref() == Some(id))
    }

    /// The names of its container with this id. `own`: what the runtime calls the container, for one that the kubelet
    /// has not reported yet, and for the pod's sandbox, which it never reports.
    pub fn names(&self, id: &str, own: Option<Names>) -> Names {
        let own = own.unwrap_or_default();
        let (container, image) = match self.container(id) {
            Some(known) => (Some(known.name.clone()), Some(known.image.clone())),
            None => (own.container, own.image),
        };
        Names {
            namespace: Some(self.namespace.clone()),
            pod: Some(self.name.clone()),
            pod_uid: Some(self.cgroup_uid.clone()),
            container,
            image,
            workload: Some(self.workload.clone()),
            labels: self.labels.clone(),
        }
    }
}

fn is_evicted(status: &PodStatus) -> bool {
    status.phase.as_deref() == Some("Failed") && status.reason.as_deref() == Some("Evicted")
}

fn containers(whole: &Whole, status: &PodStatus) -> Vec<PodContainer> {
    let asked = status.container_statuses.iter().flatten().map(|container| (container, true));
    let others = [&status.init_container_statuses, &status.ephemeral_container_statuses];
    let others = others.into_iter().flatten().flatten().map(|container| (container, false));
    asked
        .chain(others)
        .filter_map(|(container, asked)| PodContainer::of(whole, container, asked))
        .take(MAX_CONTAINERS)
        .collect()
}

impl PodContainer {
    fn of(whole: &Whole, status: &ContainerStatus, asked_for_readiness: bool) -> Option<Self> {
        let image = image(whole, status)?;
        let now = ended(status.state.as_ref());
        let done = now.is_some_and(|end| end.exit_code == 0);
        let newest = now.or_else(|| ended(status.last_state.as_ref()));
        let failed = newest.filter(|newest| newest.exit_code != 0);
        Some(Self {
            name: status.name.clone(),
            id: status.container_id.as_deref().and_then(runtimes_id),
            image,
            ready: (asked_for_readiness && !done).then_some(status.ready),
            restarts: u32::try_from(status.restart_count).unwrap_or_default(),
            oom_killed: newest.and_then(|newest| newest.reason.as_deref()) == Some("OOMKilled"),
            failed_at: failed.and_then(|failed| failed.finished_at.as_ref()).map(|at| at.0.as_second()),
        })
    }
}

fn ended(state: Option<&ContainerState>) -> Option<&ContainerStateTerminated> {
    state?.terminated.as_ref()
}

// `containerd://ID` -> `ID`
fn runtimes_id(container_id: &str) -> Option<String> {
    let (_, id) = container_id.split_once("://")?;
    (!id.is_empty()).then(|| id.to_owned())
}

// The status has the full reference (`docker.io/library/nginx:1.27`), but only an id where the runtime has forgotten
// the name.
fn image(whole: &Whole, status: &ContainerStatus) -> Option<String> {
    let named = Some(&status.image).filter(|image| !image.is_empty() && !image.starts_with("sha256:"));
    let image = named.or_else(|| written(whole, &status.name)).unwrap_or(&status.image);
    (image.len() <= MAX_IMAGE).then(|| image.clone())
}

fn written<'a>(whole: &'a Whole, container: &str) -> Option<&'a String> {
    let spec = whole.spec.as_ref()?;
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.filter(|written| written.name == container).find_map(|written| written.image.as_ref())
}

#[cfg(test)]
mod tests;
