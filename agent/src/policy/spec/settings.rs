//! How gently: scan, sweep, rollout, breakers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Bytes, Percent, Span};

/// Limits of a scan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ScanSettings {
    /// Of one core.
    pub cpu: Percent,
    /// Bytes a second read from the device that holds the layer.
    pub read_bytes_per_second: Bytes,
    /// Reads a second.
    #[serde(rename = "readIOPS")]
    #[schemars(range(min = 10, max = 10_000_000))]
    pub read_iops: u64,
    /// Memory of the worker, page and dentry cache included.
    pub memory: Bytes,
    /// Directory entries; reached: stop, report Partial.
    #[schemars(range(min = 1, max = 10_000_000_000_u64))]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Executor {
    /// From the host through the container's mount view.
    #[default]
    Host,
    /// `rm` in the container through the Kubernetes API.
    Exec,
}

/// Limits of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SweepSettings {
    /// Who removes.
    pub executor: Executor,
    /// Files between two pauses.
    #[schemars(range(min = 1, max = 10_000))]
    pub batch_size: u32,
    /// From the start of a batch to the start of the next.
    pub batch_interval: Span,
    /// Files in all.
    #[schemars(range(min = 1, max = 10_000_000_000_u64))]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StopWhen {
    /// Free inodes of the filesystem that holds the layer.
    pub node_inodes_free: Option<Percent>,
    /// Free bytes of it.
    pub node_bytes_free: Option<Percent>,
}

/// PSI "some avg10", percent of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pressure {
    /// cpu.pressure.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub cpu: f64,
    /// io.pressure.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub io: f64,
    /// memory.pressure.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub memory: f64,
}

/// How often to try again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retries {
    /// Times; then given up with a reason.
    #[schemars(range(max = 10))]
    pub limit: u32,
    /// Before the first; doubled each time.
    pub backoff: Span,
}

/// How many at a time, and how long to watch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rollout {
    /// Containers of a workload before the first observation.
    #[schemars(range(min = 1, max = 100))]
    pub canary: u32,
    /// Each healthy wave may be this many times the last.
    #[schemars(range(min = 1, max = 10))]
    pub growth: u32,
    /// Time after a sweep in which the container must stay healthy.
    pub observe: Span,
    /// Dimensions of which only one sweep runs at a time.
    pub serial_by: Vec<SerialBy>,
    /// Sweeps of this policy at a time.
    #[schemars(range(min = 1, max = 1000))]
    pub max_parallel: u32,
    /// What must hold before a sweep begins, and until its observation ends. Clusters only.
    #[schemars(length(max = 8))]
    pub guards: Vec<Guard>,
}

/// A query that must hold: asked of the Prometheus that the coordinator's configuration names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Guard {
    /// A DNS label; unique in the policy.
    #[schemars(length(max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// PromQL. Holds where each value of its result is a number other than 0; a result without values is unknown.
    #[schemars(length(min = 1, max = 2048))]
    pub query: String,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            canary: 1,
            growth: 2,
            observe: Span::from_secs(60),
            serial_by: vec![SerialBy::Workload, SerialBy::Node],
            max_parallel: 10,
            guards: Vec::new(),
        }
    }
}

/// A dimension in which related containers are swept one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Breakers {
    /// Ends one sweep.
    pub sweep: SweepBreaker,
    /// Stops a workload.
    pub workload: WorkloadBreaker,
}

/// Ends one sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SweepBreaker {
    /// Consecutive refusals by the kernel.
    #[schemars(range(min = 1, max = 1000))]
    pub errors: u32,
}

impl Default for SweepBreaker {
    fn default() -> Self {
        Self { errors: 10 }
    }
}

/// Stops a workload after harm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WorkloadBreaker {
    /// Containers gone or restarted in the observation window.
    #[schemars(range(min = 1, max = 100))]
    pub restarts: u32,
    /// OOM kills.
    #[schemars(range(min = 1, max = 100))]
    pub oom_kills: u32,
    /// Pods that ceased to be ready (Kubernetes only).
    #[schemars(range(min = 1, max = 100))]
    pub not_ready: u32,
    /// Open for this long, then one probe may try.
    pub cool_down: Span,
}

impl Default for WorkloadBreaker {
    fn default() -> Self {
        Self { restarts: 1, oom_kills: 1, not_ready: 1, cool_down: Span::from_secs(1800) }
    }
}
