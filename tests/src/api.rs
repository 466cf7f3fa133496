//! The agent's control endpoint, as a test asks it. The few fields that tests look at are written down here once
//! more, on purpose: a field that the agent renames by mistake fails a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use podsweep::report::SweepRecord;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::http::{self, Answer};

/// `GET /v1/status`, as far as tests look at it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Which hooks count.
    pub tier: String,
    /// Policies in force.
    pub policies: Vec<Named>,
    /// What is wrong with the policy files as they are now.
    pub policy_errors: Vec<String>,
}

/// Something with a name.
#[derive(Debug, Clone, Deserialize)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// One container of `GET /v1/containers`, as far as tests look at it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSeen {
    /// What to name it by.
    pub id: String,
    /// Cgroup id.
    pub cgroup: u64,
    /// Path of its cgroup below the root of cgroup2.
    pub cgroup_path: String,
    /// First process.
    pub pid: i32,
    /// The writable layer.
    pub upper: Option<PathBuf>,
    /// Names and inodes made.
    pub creates: u64,
    /// The same by kind.
    pub counts: BTreeMap<String, u64>,
    /// The policy chosen for it.
    pub policy: Option<String>,
}

/// The control endpoint behind one socket.
#[derive(Debug, Clone)]
pub struct Api {
    socket: PathBuf,
}

impl Api {
    /// Of the agent that listens there.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Any request.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        http::ask(&self.socket, method, path, body.map(Value::to_string).as_deref())
    }

    /// The agent counts, knows its containers and has read its policies.
    pub fn is_ready(&self) -> bool {
        self.ask("GET", "/readyz", None).is_ok_and(|answer| answer.status == 200)
    }

    /// The node at a glance.
    pub fn status(&self) -> Result<Status> {
        self.get("/v1/status")
    }

    /// The container with this cgroup, if the agent knows it.
    pub fn container(&self, cgroup: u64) -> Result<Option<ContainerSeen>> {
        Ok(self.containers()?.into_iter().find(|container| container.cgroup == cgroup))
    }

    /// All containers that the agent knows.
    pub fn containers(&self) -> Result<Vec<ContainerSeen>> {
        #[derive(Deserialize)]
        struct List {
            containers: Vec<ContainerSeen>,
        }
        Ok(self.get::<List>("/v1/containers")?.containers)
    }

    /// Sweeps of the container with this cgroup, oldest first.
    pub fn sweeps_of(&self, cgroup: u64) -> Result<Vec<SweepRecord>> {
        let all = self.sweeps()?;
        Ok(all.into_iter().filter(|record| record.container.cgroup == cgroup).collect())
    }

    /// All sweeps on record, oldest first.
    pub fn sweeps(&self) -> Result<Vec<SweepRecord>> {
        #[derive(Deserialize)]
        struct List {
            sweeps: Vec<SweepRecord>,
        }
        let mut list: List = self.get("/v1/sweeps?limit=1000")?;
        list.sweeps.reverse();
        Ok(list.sweeps)
    }

    /// One sweep.
    pub fn sweep(&self, id: &str) -> Result<SweepRecord> {
        self.get(&format!("/v1/sweeps/{id}"))
    }

    /// Asks for a sweep by hand; its id.
    pub fn request_sweep(&self, target: &str, policy: &str) -> Result<String> {
        #[derive(Deserialize)]
        struct Accepted {
            id: String,
        }
        let body = json!({"target": target, "policy": policy});
        let answer = self.ask("POST", "/v1/sweeps", Some(&body))?;
        if answer.status != 202 {
            bail!("POST /v1/sweeps {body}: {} {}", answer.status, answer.body);
        }
        Ok(serde_json::from_str::<Accepted>(&answer.body)?.id)
    }

    /// The metrics in Prometheus' text format.
    pub fn metrics(&self) -> Result<String> {
        Ok(self.ask("GET", "/metrics", None)?.body)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.ask("GET", path, None)?;
        if answer.status != 200 {
            bail!("GET {path}: {} {}", answer.status, answer.body);
        }
        serde_json::from_str(&answer.body).with_context(|| format!("GET {path}: {}", answer.body))
    }
}
