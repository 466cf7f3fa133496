//! What the rest of the pipeline knows of a container. Plain data; no I/O.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A cgroup's id: the inode number of its directory in cgroup2, the value `bpf_get_current_cgroup_id` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CgroupId(pub u64);

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Process id in the host's pid namespace.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks after boot at which the process started.
    pub start_time: u64,
}

/// Who made the container, read off its cgroup's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// containerd (also through the CRI).
    Containerd,
    /// Docker Engine.
    Docker,
    /// CRI-O.
    Crio,
    /// Podman (libpod).
    Podman,
    /// A container of an unknown runtime: its first process has a root of its own.
    Other,
    /// A systemd service or scope that shares the host's root.
    Unit,
}

/// What kind of storage a mount of the container is, as far as policies tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum VolumeKind {
    /// The overlayfs upper directory.
    WritableLayer,
    /// An emptyDir volume: a bind mount of a directory that the kubelet made for this pod alone.
    EmptyDir,
    /// A directory of the host that the node's config allows.
    HostPath,
}

/// The container's overlayfs, as mountinfo shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// The writable layer on the host. Read only: the kernel forbids changing it while it is mounted.
    pub upper: PathBuf,
    /// The image's layers on the host, topmost first.
    pub lower: Vec<PathBuf>,
    /// Mount id of the container's root mount in mountinfo.
    pub mount_id: u64,
}

/// A mount inside the container that a policy may name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Which kind.
    pub kind: VolumeKind,
    /// Where the container sees it.
    pub mount_point: PathBuf,
    /// Where the host sees it.
    pub host_path: PathBuf,
    /// Mount id in the container's mountinfo.
    pub mount_id: u64,
}

/// The names people know the container by, as far as the runtime's own paths (or, in a cluster, the API) tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Names {
    /// Kubernetes namespace.
    pub namespace: Option<String>,
    /// Pod name.
    pub pod: Option<String>,
    /// Pod uid, from the cgroup path.
    pub pod_uid: Option<String>,
    /// Container name within the pod.
    pub container: Option<String>,
    /// Image reference.
    pub image: Option<String>,
    /// Owner, as `Kind/name`.
    pub workload: Option<String>,
    /// Pod labels.
    pub labels: BTreeMap<String, String>,
}

/// One container: one cgroup that holds a container's processes, whatever runtime made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its cgroup.
    pub cgroup: CgroupId,
    /// Path of the cgroup below the cgroup2 mount, as in `/proc/PID/cgroup` (`/system.slice/x.service`).
    pub cgroup_path: String,
    /// Cgroups nested in it (crun's `container`, systemd inside), whose counts are this container's.
    pub nested: Vec<CgroupId>,
    /// Who made it.
    pub runtime: Runtime,
    /// The runtime's id (64 hex digits for most); for [`Runtime::Unit`], the cgroup path.
    pub id: String,
    /// Names for people and selectors.
    pub names: Names,
    /// Its first process: the one with the earliest start.
    pub first: Process,
    /// Its overlayfs; `None` where the root is not one.
    pub layer: Option<Layer>,
    /// Volumes that a policy may name.
    pub volumes: Vec<Volume>,
    /// Every other mount point, as the container sees it: never entered, never touched.
    pub other_mounts: Vec<PathBuf>,
}

impl Container {
    /// The name to show: `namespace/pod/container` where known, else the first 12 characters of the id.
    pub fn short(&self) -> String {
        match (&self.names.namespace, &self.names.pod) {
            (Some(namespace), Some(pod)) => match &self.names.container {
                Some(container) => format!("{namespace}/{pod}/{container}"),
                None => format!("{namespace}/{pod}"),
            },
            _ if self.runtime == Runtime::Unit => self.id.clone(),
            _ => self.id.chars().take(12).collect(),
        }
    }
}
