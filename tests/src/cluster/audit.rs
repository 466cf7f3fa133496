//! What was written through an API server, in its own words: kube-apiserver's audit log. In: a policy, which decides
//! what is recorded. Out: one record for each write. The order of writes to one object is that of the resource versions
//! in their answers; times are the API server's.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// What is recorded with request and answer. All other requests: who, what, when.
const WITH_BODIES: [(&str, &str); 2] = [("coordination.k8s.io", "leases"), ("podsweep.io", "*")];

/// A request that has been answered.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// `create`, `update`, `patch`, `delete`, `get`, `list`, `watch`, …
    pub verb: String,
    /// Who asked.
    pub user: User,
    /// Of what, where it is an object.
    pub object_ref: Option<ObjectRef>,
    /// The answer's status.
    pub response_status: Option<Status>,
    /// When it came.
    pub request_received_timestamp: jiff::Timestamp,
    /// When it was answered; of a watch, when it ended.
    pub stage_timestamp: jiff::Timestamp,
    /// What was sent, of writes that are recorded whole.
    pub request_object: Option<Value>,
    /// What was answered, likewise: of a write that succeeded, the object as it is stored.
    pub response_object: Option<Value>,
}

/// Who asked.
#[derive(Debug, Clone, Deserialize)]
pub struct User {
    /// `system:serviceaccount:NAMESPACE:NAME`, for example.
    pub username: String,
}

/// Of what.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// `leases`.
    pub resource: String,
    /// `status`, or empty.
    pub subresource: String,
    /// Empty where it has none.
    pub namespace: String,
    /// Empty of lists.
    pub name: String,
}

/// The answer's status.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// HTTP's number.
    pub code: u16,
}

impl Record {
    /// Whether it changed something.
    pub fn has_written(&self) -> bool {
        let writes =
            matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection");
        writes && self.code().is_some_and(|code| (200..300).contains(&code))
    }

    /// The answer's status.
    pub fn code(&self) -> Option<u16> {
        self.response_status.as_ref().map(|status| status.code)
    }

    /// Whether it is about this kind of objects.
    pub fn is_of(&self, resource: &str) -> bool {
        self.object_ref.as_ref().is_some_and(|object| object.resource == resource)
    }
}

/// The policy for kube-apiserver.
pub(super) fn policy() -> Value {
    let with_bodies = WITH_BODIES.map(|(group, resource)| {
        // The status of a Sweep is a resource of its own here.
        let resources = [resource.to_owned(), format!("{resource}/status")];
        let resources =
            if resource == "*" { vec!["*"] } else { resources.iter().map(String::as_str).collect() };
        json!({"level": "RequestResponse", "verbs": ["create", "update", "patch", "delete"],
               "resources": [{"group": group, "resources": resources}]})
    });
    let rules: Vec<_> = with_bodies.into_iter().chain([json!({"level": "Metadata"})]).collect();
    json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived", "ResponseStarted"],
           "rules": rules})
}

/// Every record so far. A line that is being written is left for the next time.
pub(super) fn read(log: &Path) -> Result<Vec<Record>> {
    let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |line| serde_json::from_str(line).with_context(|| format!("{}: {line}", log.display()));
    whole.lines().map(parse).collect()
}
