//! `Breaker`: where nothing flows, and why. Made by the coordinator; deleting one resets it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What it stops.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "podsweep.io",
    version = "v1alpha1",
    kind = "Breaker",
    shortname = "swb",
    category = "podsweep",
    status = "BreakerStatus",
    derive = "PartialEq",
    doc = "Open: no sweep begins in its place. Deleting it resets it.",
    printcolumn(name = "Level", type_ = "string", json_path = ".spec.level"),
    printcolumn(name = "Workload", type_ = "string", json_path = ".spec.workload"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.since"),
    printcolumn(name = "Half-open-at", type_ = "string", json_path = ".status.halfOpenAt"),
    printcolumn(name = "Cause", type_ = "string", json_path = ".status.cause", priority = "1")
)]
#[serde(rename_all = "camelCase")]
pub struct BreakerSpec {
    /// What it stops.
    pub level: BreakerLevel,
    /// `namespace/Kind/name`, at level Workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub workload: Option<String>,
}

/// How much a breaker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BreakerLevel {
    /// One workload, on every node.
    Workload,
    /// Everything. Only a person closes it.
    Global,
}

/// Where a breaker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BreakerState {
    /// Work flows; harms below the threshold are remembered.
    Closed,
    /// Nothing flows. What is missing or unreadable counts as this.
    #[default]
    Open,
    /// One probe flows.
    HalfOpen,
}

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BreakerStatus {
    /// Where it is.
    pub state: BreakerState,
    /// What opened it: the sign, the sweep, the figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// When it came to this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When one probe may try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_open_at: Option<String>,
}
