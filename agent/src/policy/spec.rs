//! The policy as people write it (POLICY format). Defaults are those of the reference in docs/policy.md.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

pub use crate::inventory::VolumeKind;
use crate::units::{Bytes, Percent, Span};

/// One policy file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SweepPolicy {
    /// Always `podsweep.io/v1alpha1`.
    pub api_version: String,
    /// Always `SweepPolicy`.
    pub kind: String,
    /// The name.
    pub metadata: Metadata,
    /// Everything else.
    pub spec: Spec,
}

/// The part of Kubernetes object metadata that a file needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// A DNS label; unique among the policies of a node.
    pub name: String,
}

/// How far a policy goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Count and report.
    Observe,
    /// Scan too, report what would go.
    #[default]
    DryRun,
    /// Remove.
    Enforce,
}

/// The policy's body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// How far it goes.
    #[serde(default)]
    pub mode: Mode,
    /// Several policies match one container: the highest acts; a tie is a conflict.
    #[serde(default)]
    pub priority: i32,
    /// Which containers.
    pub select: Select,
    /// When; none: only by hand.
    #[serde(default)]
    pub triggers: Vec<Trigger>,
    /// What.
    pub junk: Vec<JunkRule>,
    /// What never; beats every rule.
    #[serde(default)]
    pub never: Vec<String>,
    /// How gently to look.
    #[serde(default)]
    pub scan: ScanSettings,
    /// How gently to remove.
    #[serde(default)]
    pub sweep: SweepSettings,
    /// How many at a time, and how long to watch.
    #[serde(default)]
    pub rollout: Rollout,
    /// When to stop.
    #[serde(default)]
    pub breakers: Breakers,
}

/// Which containers: every line given must match.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Select {
    /// Globs over the namespace.
    #[serde(deserialize_with = "filled", skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Labels the pod must have.
    #[serde(deserialize_with = "filled", skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_labels: BTreeMap<String, String>,
    /// Like a Kubernetes label selector's matchExpressions.
    #[serde(deserialize_with = "filled", skip_serializing_if = "Vec::is_empty")]
    pub pod_expressions: Vec<LabelExpression>,
    /// Globs over `Kind/name`.
    #[serde(deserialize_with = "filled", skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<String>,
    /// Globs over the container's name.
    #[serde(deserialize_with = "filled", skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<String>,
    /// Globs over the image reference.
    #[serde(deserialize_with = "filled", skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Globs over the cgroup path.
    #[serde(deserialize_with = "filled", skip_serializing_if = "Vec::is_empty")]
    pub cgroups: Vec<String>,
}

/// A line that is given must say something: `namespaces: []` could be meant as "none" or as "all".
fn filled<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default + PartialEq,
    D: Deserializer<'de>,
{
    let value = T::deserialize(deserializer)?;
    if value == T::default() {
        return Err(D::Error::custom("is empty; fill it, or remove the line so that it does not count"));
    }
    Ok(value)
}

/// One requirement on labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelExpression {
    /// Label key.
    pub key: String,
    /// In, NotIn, Exists, DoesNotExist.
    pub operator: LabelOperator,
    /// Values for In and NotIn.
    #[serde(default)]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelOperator {
    /// One of the values.
    In,
    /// None of the values (or no such label).
    NotIn,
    /// The label is there.
    Exists,
    /// It is not.
    DoesNotExist,
}

/// When to ask for a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Trigger {
    /// Creates of this container, gross.
    #[serde(rename_all = "camelCase")]
    Burst {
        /// Files a second, averaged over each second of the window.
        creates_per_second: u64,
        /// How long it must last.
        r#for: Span,
    },
    /// Creates minus removals.
    #[serde(rename_all = "camelCase")]
    Growth {
        /// Files a minute.
        files_per_minute: u64,
        /// How long it must last.
        r#for: Span,
    },
    /// Free inodes of the filesystem that holds the writable layer.
    NodeInodesFree(NodeFree),
    /// Free bytes of it.
    NodeBytesFree(NodeFree),
    /// Forecast from the node's net growth: not available yet.
    Exhaustion(Exhaustion),
    /// Cron, five fields, the node's time zone.
    Schedule(String),
}

/// A floor of free space.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeFree {
    /// Below this share of the whole.
    pub below: Percent,
}

/// A forecast.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exhaustion {
    /// Time until the filesystem is full.
    pub within: Span,
}

/// What a file must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FileType {
    /// Regular file.
    File,
    /// Symbolic link (itself, never what it points to).
    Symlink,
    /// Socket.
    Socket,
    /// Named pipe.
    Fifo,
}

/// What to do with junk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Unlink it.
    #[default]
    Delete,
    /// Cut it to zero length: a log that a process still holds open.
    Truncate,
}

/// One rule. A file is junk if one rule matches it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JunkRule {
    /// A DNS label; unique in the policy.
    pub name: String,
    /// Globs over the path as the container sees it.
    pub paths: Vec<String>,
    /// Globs that take out again.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Where the rule may look.
    #[serde(default = "JunkRule::default_volumes")]
    pub volumes: Vec<VolumeKind>,
    /// Which types.
    #[serde(default = "JunkRule::default_types")]
    pub types: Vec<FileType>,
    /// Age of the newest of mtime and ctime.
    #[serde(default = "JunkRule::default_age")]
    pub older_than: Span,
    /// Bytes.
    #[serde(default)]
    pub min_size: Bytes,
    /// Newest files of each directory that stay.
    #[serde(default)]
    pub keep_newest: u32,
    /// Uids on the host's side of the container's user namespace; empty: any.
    #[serde(default)]
    pub owners: Vec<u32>,
    /// Remove directories that this sweep emptied.
    #[serde(default)]
    pub empty_directories: bool,
    /// What to do.
    #[serde(default)]
    pub action: Action,
    /// The author knows that the rule names nearly everything.
    #[serde(default)]
    pub i_know_this_is_broad: bool,
}

impl JunkRule {
    fn default_volumes() -> Vec<VolumeKind> {
        vec![VolumeKind::WritableLayer]
    }
    fn default_types() -> Vec<FileType> {
        vec![FileType::File]
    }
    fn default_age() -> Span {
        Span::from_secs(3600)
    }
}

/// Limits of a scan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ScanSettings {
    /// Of one core.
    pub cpu: Percent,
    /// Bytes a second read from the device that holds the layer.
    pub read_bytes_per_second: Bytes,
    /// Reads a second.
    #[serde(rename = "readIOPS")]
    pub read_iops: u64,
    /// Memory of the worker, page and dentry cache included.
    pub memory: Bytes,
    /// Directory entries; reached: stop, report Partial.
    pub max_entries: u64,
    /// Time.
    pub timeout: Span,
    /// Scan even where the host cannot give one of the limits. Default: no.
    pub allow_missing_limits: bool,
}

impl Default for ScanSettings {
    fn default() -> Self {
        Self {
            cpu: Percent(20.0),
            read_bytes_per_second: Bytes(20 << 20),
            read_iops: 500,
            memory: Bytes(64 << 20),
            max_entries: 5_000_000,
            timeout: Span::from_secs(600),
            allow_missing_limits: false,
        }
    }
}

/// Who removes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Executor {
    /// From the host through the container's mount view.
    #[default]
    Host,
    /// `rm` in the container through the Kubernetes API.
    Exec,
}

/// Limits of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SweepSettings {
    /// Who removes.
    pub executor: Executor,
    /// Files between two pauses.
    pub batch_size: u32,
    /// From the start of a batch to the start of the next.
    pub batch_interval: Span,
    /// Files in all.
    pub max_files: u64,
    /// Time.
    pub timeout: Span,
    /// Enough is enough.
    pub stop_when: StopWhen,
    /// PSI of the container above which the pace halves; twice that: wait.
    pub max_pressure: Pressure,
    /// After a failure of the sweep as a whole.
    pub retries: Retries,
}

impl Default for SweepSettings {
    fn default() -> Self {
        Self {
            executor: Executor::Host,
            batch_size: 200,
            batch_interval: Span::from_secs(1),
            max_files: 1_000_000,
            timeout: Span::from_secs(1800),
            stop_when: StopWhen::default(),
            max_pressure: Pressure { cpu: 20.0, io: 20.0, memory: 10.0 },
            retries: Retries { limit: 3, backoff: Span::from_secs(60) },
        }
    }
}

/// The end condition: either reached is enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StopWhen {
    /// Free inodes of the filesystem that holds the layer.
    pub node_inodes_free: Option<Percent>,
    /// Free bytes of it.
    pub node_bytes_free: Option<Percent>,
}

/// PSI "some avg10", percent of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pressure {
    /// cpu.pressure.
    pub cpu: f64,
    /// io.pressure.
    pub io: f64,
    /// memory.pressure.
    pub memory: f64,
}

/// How often to try again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retries {
    /// Times; then given up with a reason.
    pub limit: u32,
    /// Before the first; doubled each time.
    pub backoff: Span,
}

/// How many at a time, and how long to watch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rollout {
    /// Containers of a workload before the first observation.
    pub canary: u32,
    /// Each healthy wave may be this many times the last.
    pub growth: u32,
    /// Time after a sweep in which the container must stay healthy.
    pub observe: Span,
    /// Dimensions of which only one sweep runs at a time.
    pub serial_by: Vec<SerialBy>,
    /// Sweeps of this policy at a time.
    pub max_parallel: u32,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            canary: 1,
            growth: 2,
            observe: Span::from_secs(60),
            serial_by: vec![SerialBy::Workload, SerialBy::Node],
            max_parallel: 10,
        }
    }
}

/// A dimension in which related containers are swept one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SerialBy {
    /// Same workload.
    Workload,
    /// Same node.
    Node,
    /// Same namespace.
    Namespace,
    /// Same zone.
    Zone,
}

/// When to stop.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Breakers {
    /// Ends one sweep.
    pub sweep: SweepBreaker,
    /// Stops a workload.
    pub workload: WorkloadBreaker,
}

/// Ends one sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SweepBreaker {
    /// Consecutive refusals by the kernel.
    pub errors: u32,
}

impl Default for SweepBreaker {
    fn default() -> Self {
        Self { errors: 10 }
    }
}

/// Stops a workload after harm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WorkloadBreaker {
    /// Containers gone or restarted in the observation window.
    pub restarts: u32,
    /// OOM kills.
    pub oom_kills: u32,
    /// Pods that ceased to be ready (Kubernetes only).
    pub not_ready: u32,
    /// Open for this long, then one probe may try.
    pub cool_down: Span,
}

impl Default for WorkloadBreaker {
    fn default() -> Self {
        Self { restarts: 1, oom_kills: 1, not_ready: 1, cool_down: Span::from_secs(1800) }
    }
}
