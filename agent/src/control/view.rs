//! What the control endpoint answers and accepts, as plain serde types: the server writes them, the command line
//! reads them. Fields may be added; a field once here keeps its name and meaning. No I/O.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::breaker;
use crate::inventory::Runtime;
use crate::kubernetes::WatchState;
use crate::policy::{Mode, Refusal, SweepPolicy};
use crate::report::{Phase, SweepRecord};

/// `GET /v1/status`: the node at a glance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// The node's host name.
    pub node: String,
    /// When the agent started, RFC 3339.
    pub started_at: String,
    /// Which hooks count creates: `lsm`, `fexit`, `sys_exit`.
    pub tier: String,
    /// What this tier cannot see on this kernel, a sentence each.
    pub gaps: Vec<String>,
    /// False where the node's config switches sweeps off.
    pub sweeps_enabled: bool,
    /// Set while a person has paused the agent.
    pub paused: Option<Paused>,
    /// Containers known.
    pub containers: u64,
    /// Containers not taken in because the inventory's limit was reached.
    pub containers_skipped: u64,
    /// Policies in force.
    pub policies: Vec<PolicyInForce>,
    /// What is wrong with the policy files as they are now; the policies in force are the last good ones.
    pub policy_errors: Vec<String>,
    /// Sweeps that wait, run or are observed.
    pub sweeps: Vec<ActiveSweep>,
    /// Breakers that are not closed.
    pub breakers: Vec<BreakerView>,
    /// Events that may make counts too low, by name; all zero on a healthy node.
    pub losses: BTreeMap<String, u64>,
    /// The watches of the Kubernetes API; empty on a host by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watches: Vec<ApiWatch>,
    /// Free inodes of the filesystem that holds the agent's state, percent.
    pub inodes_free_percent: Option<f64>,
    /// Free bytes of it, percent.
    pub bytes_free_percent: Option<f64>,
}

/// One watch of the Kubernetes API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiWatch {
    /// What it watches: `pods`, `namespaces`, `sweeppolicies`.
    pub resource: String,
    /// Objects kept.
    pub objects: u64,
    /// Seconds since its last sign of life; none before the first list.
    pub silence_seconds: Option<u64>,
    /// Why what it told may not hold any more; while there is such a reason, no sweep begins.
    pub stale: Option<String>,
}

impl From<WatchState> for ApiWatch {
    fn from(state: WatchState) -> Self {
        Self {
            resource: state.resource.to_owned(),
            objects: state.objects as u64,
            silence_seconds: state.silence.map(|silence| silence.as_secs()),
            stale: state.stale,
        }
    }
}

/// A person stopped all new sweeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Paused {
    /// When, RFC 3339.
    pub since: String,
    /// Why, in that person's words.
    pub reason: String,
}

/// One policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyInForce {
    /// Its name.
    pub name: String,
    /// How far it goes.
    pub mode: Mode,
    /// Containers for which it was chosen.
    pub containers: u64,
}

/// A sweep that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveSweep {
    /// Its id.
    pub id: String,
    /// The container's name to show.
    pub container: String,
    /// The policy.
    pub policy: String,
    /// Where it is.
    pub phase: Phase,
    /// Files removed so far.
    pub removed: u64,
    /// When it started, RFC 3339.
    pub started_at: String,
}

/// `GET /v1/containers`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerList {
    /// All known containers, highest create rate first.
    pub containers: Vec<ContainerView>,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerView {
    /// The runtime's id; for a systemd unit, its cgroup path.
    pub id: String,
    /// The name to show.
    pub name: String,
    /// Cgroup id.
    pub cgroup: u64,
    /// Cgroup path.
    pub cgroup_path: String,
    /// Who made it.
    pub runtime: Runtime,
    /// Image, where known.
    pub image: Option<String>,
    /// First process, in the host's pid namespace.
    pub pid: i32,
    /// The writable layer on the host, where there is one.
    pub upper: Option<String>,
    /// Names and inodes made since the agent began to count, nested cgroups included.
    pub creates: u64,
    /// Names removed since then.
    pub removals: u64,
    /// The same by kind: `create`, `mkdir`, `unlink`, …
    pub counts: BTreeMap<String, u64>,
    /// Creates a second, over the last second.
    pub creates_per_second: f64,
    /// The policy chosen for it.
    pub policy: Option<String>,
    /// Who would say no to a sweep now, if anybody would.
    pub refusal: Option<Refusal>,
    /// Id of its last sweep.
    pub last_sweep: Option<String>,
}

/// Query of `GET /v1/sweeps`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepsQuery {
    /// How many, newest first; 1 to [`SweepsQuery::MAX_LIMIT`], default [`SweepsQuery::DEFAULT_LIMIT`].
    pub limit: Option<u32>,
    /// Only of this container: its id, a unique prefix of it, or its name as shown.
    pub container: Option<String>,
    /// Only sweeps older than the one with this id: pass the last id of a page to get the next.
    pub before: Option<String>,
}

impl SweepsQuery {
    /// A screenful.
    pub const DEFAULT_LIMIT: u32 = 20;
    /// Keeps an answer in the low megabytes: a record is one to four KiB of JSON.
    pub const MAX_LIMIT: u32 = 1000;

    /// The limit to apply.
    pub fn limit(&self) -> u32 {
        self.limit.unwrap_or(Self::DEFAULT_LIMIT).clamp(1, Self::MAX_LIMIT)
    }
}

/// Answer of `GET /v1/sweeps`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SweepList {
    /// Newest first.
    pub sweeps: Vec<SweepRecord>,
}

/// Body of `POST /v1/sweeps`. Exactly one of `policy` and `policySpec`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SweepRequest {
    /// Container id, `namespace/pod[/container]`, `pid:N`, or a cgroup path.
    pub target: String,
    /// Name of a policy in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// A whole policy, for this one sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_spec: Option<Box<SweepPolicy>>,
    /// Instead of the policy's own mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// Answer of `POST /v1/sweeps`, status 202; the `Location` header names the sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Id of the sweep.
    pub id: String,
}

/// Body of `POST /v1/explain`; the answer is a [`Standing`](crate::gate::Standing). At most one of `policy` and
/// `policySpec`; with neither, the policies in force are asked which of them acts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExplainRequest {
    /// Container id, `namespace/pod[/container]`, `pid:N`, or a cgroup path.
    pub target: String,
    /// Name of a policy in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// A whole policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_spec: Option<Box<SweepPolicy>>,
}

/// `GET /v1/breakers`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BreakerList {
    /// The global breaker first, then workloads by name.
    pub breakers: Vec<BreakerView>,
}

/// Closed: work flows. Open: nothing flows. Half-open: one probe flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BreakerState {
    /// Work flows.
    Closed,
    /// Nothing flows.
    Open,
    /// One probe flows.
    HalfOpen,
}

/// One breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerView {
    /// `global`, or `workload/KEY`.
    pub name: String,
    /// Its state.
    pub state: BreakerState,
    /// Why it opened, in one stable word.
    pub reason: Option<String>,
    /// When it lets a probe through, RFC 3339; none where only a person closes it.
    pub until: Option<String>,
}

impl BreakerView {
    /// Whether it holds work back.
    pub fn is_not_closed(&self) -> bool {
        self.state != BreakerState::Closed
    }
}

impl From<breaker::BreakerView> for BreakerView {
    fn from(breaker: breaker::BreakerView) -> Self {
        let state = match breaker.state.as_str() {
            "Closed" => BreakerState::Closed,
            "HalfOpen" => BreakerState::HalfOpen,
            _ => BreakerState::Open,
        };
        let time =
            |seconds: u64| Some(jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?.to_string());
        Self { name: breaker.name, state, reason: breaker.reason, until: breaker.until.and_then(time) }
    }
}

/// Body of `POST /v1/pause`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// Why, for whoever finds the agent paused; at most [`PauseRequest::MAX_REASON`] bytes.
    #[serde(default)]
    pub reason: String,
}

impl PauseRequest {
    /// A sentence or two; it is stored and logged.
    pub const MAX_REASON: usize = 512;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breakers_time_is_for_people_and_its_state_for_programs() {
        let board = breaker::BreakerView {
            name: "workload/cart:2".into(),
            state: "HalfOpen".into(),
            reason: Some("OomKilled".into()),
            until: Some(1_795_262_400),
        };
        let view = BreakerView::from(board);
        assert_eq!(
            (view.state, view.until.as_deref()),
            (BreakerState::HalfOpen, Some("2026-11-21T12:00:00Z"))
        );
        assert!(view.is_not_closed());
    }
}
