//! `Sweep`: one whole operation on one container. The queue, the history and the audit trail of a cluster are these.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::Mode;
use crate::report::Health;
use crate::units::Span;

/// The condition with which a coordinator says what it saw of the workload's other pods.
pub const WORKLOAD_HEALTHY: &str = "WorkloadHealthy";

/// What is asked for. Never changed after it is made, but for `abort`.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "podsweep.io",
    version = "v1alpha1",
    kind = "Sweep",
    namespaced,
    shortname = "sw",
    category = "podsweep",
    status = "SweepStatus",
    derive = "PartialEq",
    doc = "One sweep of one container: asked for, admitted, scanned, swept, observed.",
    printcolumn(name = "Pod", type_ = "string", json_path = ".spec.pod.name"),
    printcolumn(name = "Container", type_ = "string", json_path = ".spec.container"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Removed", type_ = "integer", json_path = ".status.figures.removed"),
    printcolumn(name = "Health", type_ = "string", json_path = ".status.health"),
    printcolumn(
        name = "Others",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"WorkloadHealthy\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policy", priority = "1"),
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.node", priority = "1"),
    printcolumn(name = "Trigger", type_ = "string", json_path = ".spec.asked.trigger", priority = "1"),
    printcolumn(name = "Slot", type_ = "string", json_path = ".status.slot", priority = "1"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = "1")
)]
#[serde(rename_all = "camelCase")]
pub struct SweepSpec {
    /// Node of the pod. The label `podsweep.io/node` must say the same.
    #[schemars(length(min = 1, max = 253))]
    pub node: String,
    /// The pod.
    pub pod: PodReference,
    /// Name of the container within the pod.
    #[schemars(length(min = 1, max = 63))]
    pub container: String,
    /// The runtime's id of the container that was decided on; a container restarted since is not swept. Left out by
    /// people: the one that runs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub container_id: Option<String>,
    /// Owner that the pod has in common with others, as `Deployment/cart`. An agent that finds another refuses.
    #[schemars(length(min = 1, max = 320))]
    pub workload: String,
    /// Name of the SweepPolicy.
    #[schemars(length(min = 1, max = 253))]
    pub policy: String,
    /// Not further than this; left out: the policy's mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Who asks.
    #[serde(default)]
    pub requested_by: RequestedBy,
    /// Name of the SweepRollout, where one asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub rollout: Option<String>,
    /// Why it is asked for.
    #[serde(default)]
    pub asked: Asked,
    /// Zone of the node, where the node says (topology.kubernetes.io/zone).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub zone: Option<String>,
    /// Which attempt, from 0.
    #[serde(default)]
    pub attempt: u32,
    /// How long the object stays after its end; left out: as the coordinator's config says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// A person wants it to end: a waiting one is not admitted any more, a running one stops after its batch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abort: bool,
}

/// Which pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its uid: a pod made anew under the same name is another pod.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// Who asks for a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RequestedBy {
    /// The node's agent, by a policy's trigger.
    Agent,
    /// A SweepRollout.
    Rollout,
    /// A person or a program of theirs.
    #[default]
    Person,
}

/// Why a sweep is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Asked {
    /// The policy's trigger: `Burst`, `Growth`, …; or `ByHand`.
    #[schemars(length(max = 63))]
    pub trigger: String,
    /// A sentence with the figures.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// How pressing: 1000 is a disk about to be full. The queue is in this order, then by age.
    #[schemars(range(max = 1000))]
    pub urgency: u32,
}

/// Where a sweep is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SweepPhase {
    /// Waits; `reason` says for what.
    #[default]
    Pending,
    /// Has a slot.
    Admitted,
    /// The worker looks.
    Scanning,
    /// Batches are being removed.
    Sweeping,
    /// Done; its container is watched.
    Observing,
    /// Ended as asked, its container well.
    Succeeded,
    /// Ended otherwise: an error, a container that came to harm, or a signal that was missing.
    Failed,
    /// Stopped by a person, a breaker, or because its agent or slot was lost.
    Aborted,
    /// Not begun: somebody with a right to said no.
    Skipped,
}

impl SweepPhase {
    /// Nothing follows.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Aborted | Self::Skipped)
    }

    /// Has a slot and may touch its container.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Admitted | Self::Scanning | Self::Sweeping | Self::Observing)
    }
}

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SweepStatus {
    /// Where it is.
    pub phase: SweepPhase,
    /// One stable word: what it waits for, or how it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub message: Option<String>,
    /// The Lease that is its slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// The wave that it was admitted in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<Wave>,
    /// Set by the coordinator: the agent shall end it after its batch, for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
    /// When it got its slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted_at: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// Its id in the node's own history: `podsweep history ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// What it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
    /// How its container fared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The sign that decided it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_reason: Option<String>,
    /// Set by the coordinator: the breakers have heard of this harm.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub harm_counted: bool,
    /// Set by the coordinator: how often it has written why this Sweep waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<u32>,
    /// How the workload's other pods were when it was admitted, as one word: by it another leader sees whether anything
    /// has happened to them since.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub others: Option<String>,
    /// `Admitted`; `WorkloadHealthy`, where the coordinator saw another pod of the workload come to harm (False), or could
    /// not look at them from the beginning to the end (Unknown).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// The wave of a workload by which a sweep was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    /// From 1, for each workload and policy.
    pub number: u64,
    /// Containers that this wave may have.
    pub size: u32,
    /// The policy's generation: another one begins with a canary again.
    pub generation: i64,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Figures {
    /// Entries that the scan looked at.
    pub entries: u64,
    /// Files that it named.
    pub candidates: u64,
    /// Files removed.
    pub removed: u64,
    /// Bytes of these.
    pub removed_bytes: u64,
    /// Files that the policy names and that stayed: open, changed, too young, …
    pub kept: u64,
}
