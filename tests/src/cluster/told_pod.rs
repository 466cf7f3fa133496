//! A real container in the place where a kubelet would have it, and the pod that the API is told of: what a kubelet
//! would report is written here. In: a node's name. Out: both, gone when this is dropped (the pod with its cluster).

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::kubectl::Kubectl;
use crate::cgroup::Cgroup;
use crate::container::Container;
use crate::workspace::Workspace;

/// Where the pod is.
pub const NAMESPACE: &str = "default";

/// It.
#[derive(Debug)]
pub struct ToldPod {
    /// Its one container.
    pub container: Container,
    // Dropped after the container, from the inside out.
    _pod: Cgroup,
    _above: Cgroup,
    _name: Workspace,
}

impl ToldPod {
    /// Makes the pod `WORKLOAD-7d9f5c-x2x4z` of a Deployment, starts its container `app`, and reports it as running.
    pub fn start(kubectl: &Kubectl, prefix: &str, node: &str, workload: &str) -> Result<Self> {
        let pod = format!("{workload}-7d9f5c-x2x4z");
        let owner = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{workload}-7d9f5c"), "uid": "0c1d",
            "controller": true,
        });
        let object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": pod, "namespace": NAMESPACE, "ownerReferences": [owner],
                "labels": {"app": workload, "pod-template-hash": "7d9f5c"},
            },
            "spec": {"nodeName": node, "containers": [{"name": "app", "image": "shop/cart:1.4"}]},
        });
        kubectl.run_with(&["create", "-f", "-"], &object.to_string())?;
        let mut made = kubectl.get(&["pod", &pod, "-n", NAMESPACE])?;
        let uid = made["metadata"]["uid"].as_str().context("a pod without a uid")?.to_owned();

        let name = Workspace::new(prefix)?;
        let above = Cgroup::make(name.name())?;
        let cgroup = Cgroup::make(&format!("{}/pod{uid}", name.name()))?;
        let id = "4c01db0b339c5d1e".repeat(4);
        let container = Container::start_in_pod(prefix, &cgroup, &id)?;
        report(kubectl, &mut made, &pod, &id)?;
        Ok(Self { container, _pod: cgroup, _above: above, _name: name })
    }
}

fn report(kubectl: &Kubectl, object: &mut Value, pod: &str, id: &str) -> Result<()> {
    object["status"]["phase"] = json!("Running");
    object["status"]["containerStatuses"] = json!([{
        "name": "app", "containerID": format!("containerd://{id}"), "image": "registry.example/shop/cart:1.4",
        "imageID": "sha256:9f1e", "ready": true, "started": true, "restartCount": 0,
        "state": {"running": {"startedAt": "2026-11-22T07:00:02Z"}},
    }]);
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}/status");
    kubectl.run_with(&["replace", "--raw", &path, "-f", "-"], &object.to_string()).map(drop)
}
