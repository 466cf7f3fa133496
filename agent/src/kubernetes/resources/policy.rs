//! `SweepPolicy` as an API server holds it: the policy file's spec, with a status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::{Metadata, Spec, SweepPolicy};

/// The policy's body, the same that files have.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "podsweep.io",
    version = "v1alpha1",
    kind = "SweepPolicy",
    plural = "sweeppolicies",
    root = "PolicyObject",
    shortname = "swp",
    category = "podsweep",
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "What counts as junk, when to act, how gently.",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(transparent)]
pub struct PolicySpec(pub Spec);

impl PolicyObject {
    /// The policy that a file with the same text would give.
    pub fn policy(&self) -> SweepPolicy {
        SweepPolicy {
            api_version: "podsweep.io/v1alpha1".into(),
            kind: "SweepPolicy".into(),
            metadata: Metadata { name: self.name_any() },
            spec: self.spec.0.clone(),
        }
    }
}

/// What the coordinator makes of the policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyStatus {
    /// The generation that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`: False with what is wrong, where the policy cannot be used; nobody acts by it then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
