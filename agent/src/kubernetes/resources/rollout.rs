//! `SweepRollout`: many sweeps by a person's wish, wave by wave.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::{Mode, Select};

/// What is asked for.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "podsweep.io",
    version = "v1alpha1",
    kind = "SweepRollout",
    shortname = "swr",
    category = "podsweep",
    status = "RolloutStatus",
    derive = "PartialEq",
    doc = "Sweeps of all containers that a selector names, in waves that grow while all stay healthy.",
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policy"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Wave", type_ = "integer", json_path = ".status.wave"),
    printcolumn(name = "Done", type_ = "integer", json_path = ".status.done"),
    printcolumn(name = "Total", type_ = "integer", json_path = ".status.total"),
    printcolumn(name = "Harmed", type_ = "integer", json_path = ".status.harmed"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = "1")
)]
#[serde(rename_all = "camelCase")]
pub struct SweepRolloutSpec {
    /// Name of the SweepPolicy. It must select a container too: a rollout narrows a policy, it never widens one.
    #[schemars(length(min = 1, max = 253))]
    pub policy: String,
    /// Which of the policy's containers; every line given must match. Empty: an error, never "everything".
    pub select: Select,
    /// Not further than this; left out: the policy's mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Containers of the first wave.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub canary: u32,
    /// Each healthy wave may be this many times the last.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 10))]
    pub growth: u32,
    /// Containers of a wave at most.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_wave: u32,
    /// No new wave begins.
    #[serde(default)]
    pub paused: bool,
    /// No new wave begins, ever, and what runs is stopped after its batch.
    #[serde(default)]
    pub abort: bool,
}

fn one() -> u32 {
    1
}

fn two() -> u32 {
    2
}

fn fifty() -> u32 {
    50
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Where a rollout is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutPhase {
    /// Not looked at yet.
    #[default]
    Pending,
    /// A wave runs.
    Running,
    /// A person, or an unknown outcome, holds it.
    Paused,
    /// All containers were swept.
    Succeeded,
    /// A container came to harm, or the rollout cannot be carried out.
    Failed,
    /// A person ended it.
    Aborted,
}

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// Where it is.
    pub phase: RolloutPhase,
    /// One stable word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The wave, from 1.
    pub wave: u64,
    /// Containers of this wave.
    pub wave_size: u32,
    /// Containers in all.
    pub total: u64,
    /// Of these, ended.
    pub done: u64,
    /// Of these, healthy.
    pub healthy: u64,
    /// Of these, harmed.
    pub harmed: u64,
    /// Of these, nobody knows.
    pub unknown: u64,
    /// Of the unknown, those that were seen by whoever changed the spec last.
    #[serde(skip_serializing_if = "is_zero")]
    pub unknown_accepted: u64,
    /// Of these, not swept since somebody with a right to said no.
    pub skipped: u64,
    /// The spec's generation that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Progressing`, `Complete`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
