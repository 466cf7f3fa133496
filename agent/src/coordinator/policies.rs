//! Whether each SweepPolicy can be used, told in its own status: one write for each generation.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::kubernetes::client::{RequestError, request};
use crate::kubernetes::resources::PolicyObject;

/// The condition.
const ACCEPTED: &str = "Accepted";

/// What is to be told of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    generation: i64,
    problem: Option<String>,
}

/// Policies whose status does not say yet what is known here. Bounded by the policies.
pub(super) type Untold = BTreeMap<String, Verdict>;

impl Verdict {
    /// Of a policy with this problem; `None` where its status says so already.
    pub(super) fn of(object: &PolicyObject, problem: Option<&str>) -> Option<Self> {
        let generation = object.metadata.generation.unwrap_or_default();
        let status = object.status.clone().unwrap_or_default();
        let condition = status.conditions.iter().find(|condition| condition.type_ == ACCEPTED);
        let told = condition.is_some_and(|condition| (condition.status == "True") == problem.is_none());
        let current = status.observed_generation == Some(generation);
        (!(told && current)).then(|| Self { generation, problem: problem.map(str::to_owned) })
    }

    fn condition(&self) -> Condition {
        let (status, reason, message) = match &self.problem {
            None => ("True", "Valid", "agents act by it"),
            Some(problem) => ("False", "Invalid", problem.as_str()),
        };
        Condition {
            type_: ACCEPTED.into(),
            status: status.into(),
            reason: reason.into(),
            message: message.into(),
            last_transition_time: Time(Timestamp::now()),
            observed_generation: Some(self.generation),
        }
    }
}

/// Writes one policy's status.
pub(super) async fn tell(client: &Client, name: &str, verdict: &Verdict) -> Result<(), RequestError> {
    let api: Api<PolicyObject> = Api::all(client.clone());
    let status = json!({ "observedGeneration": verdict.generation, "conditions": [verdict.condition()] });
    let patch = json!({ "status": status });
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    let patched = api.patch_status(name, &params, &patch);
    match request(|| format!("write status of SweepPolicy {name}"), patched).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
