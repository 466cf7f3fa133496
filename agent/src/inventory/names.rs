//! Where a container's names come from: the one part of the inventory that Kubernetes does in its own way.

use super::Names;

/// Tells the names of a container. Asked when a container is found and at each rescan; must not block for long.
pub trait NameSource: Send + Sync {
    /// The names of the container with this runtime id, in this pod where its cgroup names one; `None` if unknown.
    fn names(&self, id: &str, pod_uid: Option<&str>) -> Option<Names>;
}
