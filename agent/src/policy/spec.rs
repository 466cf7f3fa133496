//! The policy as people write it (POLICY format). Defaults are those of the reference in docs/policy.md.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

mod junk;
mod settings;

pub use crate::inventory::VolumeKind;
use crate::units::{Percent, Span};
pub use junk::{Action, FileType, JunkRule};
pub use settings::{
    Breakers, Executor, Guard, Pressure, Retries, Rollout, ScanSettings, SerialBy, StopWhen, SweepBreaker,
    SweepSettings, WorkloadBreaker,
};

/// One policy file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// A DNS label; unique among the policies of a node.
    pub name: String,
}

/// How far a policy goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    #[schemars(length(max = 16))]
    pub triggers: Vec<Trigger>,
    /// What.
    #[schemars(length(min = 1, max = 64))]
    pub junk: Vec<JunkRule>,
    /// What never; beats every rule.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(min = 1, max = 4096)))]
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1))]
pub struct Select {
    /// Globs over the namespace.
    #[serde(deserialize_with = "filled", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 4096)))]
    pub namespaces: Vec<String>,
    /// Labels the pod must have.
    #[serde(deserialize_with = "filled", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 256))]
    pub pod_labels: BTreeMap<String, String>,
    /// Like a Kubernetes label selector's matchExpressions.
    #[serde(deserialize_with = "filled", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 256))]
    pub pod_expressions: Vec<LabelExpression>,
    /// Globs over `Kind/name`.
    #[serde(deserialize_with = "filled", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 4096)))]
    pub workloads: Vec<String>,
    /// Globs over the container's name.
    #[serde(deserialize_with = "filled", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 4096)))]
    pub containers: Vec<String>,
    /// Globs over the image reference.
    #[serde(deserialize_with = "filled", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 4096)))]
    pub images: Vec<String>,
    /// Globs over the cgroup path.
    #[serde(deserialize_with = "filled", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 4096)))]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Trigger {
    /// Creates of this container, gross.
    #[serde(rename_all = "camelCase")]
    Burst {
        /// Files a second, averaged over each second of the window.
        #[schemars(range(min = 1, max = 10_000_000))]
        creates_per_second: u64,
        /// How long it must last.
        r#for: Span,
    },
    /// Creates minus removals.
    #[serde(rename_all = "camelCase")]
    Growth {
        /// Files a minute.
        #[schemars(range(min = 1, max = 1_000_000_000))]
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeFree {
    /// Below this share of the whole.
    pub below: Percent,
}

/// A forecast.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exhaustion {
    /// Time until the filesystem is full.
    pub within: Span,
}
