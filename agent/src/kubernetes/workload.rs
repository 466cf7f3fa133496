//! The workload of a pod: the owner that it has in common with others, as `Kind/name`. Pure.
//!
//! Told by the pod's own metadata alone: a ReplicaSet's owner would have to be asked of the API, one object more for
//! each pod. A Deployment names its ReplicaSets `NAME-HASH` and labels their pods `pod-template-hash=HASH`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The label with which a Deployment tells its ReplicaSets' pods apart.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// The pod's owner; the pod itself where it has none.
pub fn workload(pod: &ObjectMeta) -> String {
    match owner(pod) {
        Some(owner) => deployment(pod, owner).unwrap_or_else(|| format!("{}/{}", owner.kind, owner.name)),
        None => format!("Pod/{}", pod.name.as_deref().unwrap_or_default()),
    }
}

// At most one owner is the controller; without one, what lists itself first is as good as any.
fn owner(pod: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = pod.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).or_else(|| owners.first())
}

fn deployment(pod: &ObjectMeta, owner: &OwnerReference) -> Option<String> {
    if owner.kind != "ReplicaSet" || !owner.api_version.starts_with("apps/") {
        return None;
    }
    let hash = pod.labels.as_ref()?.get(TEMPLATE_HASH).filter(|hash| !hash.is_empty())?;
    let name = owner.name.strip_suffix(hash.as_str())?.strip_suffix('-').filter(|name| !name.is_empty())?;
    Some(format!("Deployment/{name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(kind: &str, name: &str, hash: Option<&str>) -> String {
        let version = if kind == "Job" { "batch/v1" } else { "apps/v1" };
        let owner =
            json!({"apiVersion": version, "kind": kind, "name": name, "uid": "u", "controller": true});
        let labels = hash.map(|hash| json!({"pod-template-hash": hash}));
        let pod = json!({"name": "p", "ownerReferences": [owner], "labels": labels});
        workload(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_replica_set_of_a_deployment_is_the_deployment() {
        assert_eq!(of("ReplicaSet", "cart-7d9f5c", Some("7d9f5c")), "Deployment/cart");
        assert_eq!(of("ReplicaSet", "a-b-7d9f5c", Some("7d9f5c")), "Deployment/a-b");
    }

    #[test]
    fn a_replica_set_by_itself_stays_one() {
        assert_eq!(of("ReplicaSet", "cart-7d9f5c", None), "ReplicaSet/cart-7d9f5c");
        assert_eq!(of("ReplicaSet", "cart-7d9f5c", Some("other")), "ReplicaSet/cart-7d9f5c");
        // No name would be left, or the hash is only the end of a word.
        assert_eq!(of("ReplicaSet", "-7d9f5c", Some("7d9f5c")), "ReplicaSet/-7d9f5c");
        assert_eq!(of("ReplicaSet", "cart7d9f5c", Some("7d9f5c")), "ReplicaSet/cart7d9f5c");
    }

    #[test]
    fn other_owners_are_themselves() {
        for kind in ["StatefulSet", "DaemonSet", "Job"] {
            assert_eq!(of(kind, "x-1", Some("1")), format!("{kind}/x-1"));
        }
    }

    #[test]
    fn without_an_owner_it_is_the_pod() {
        let pod = serde_json::from_value(json!({"name": "alone"})).unwrap();
        assert_eq!(workload(&pod), "Pod/alone");
    }

    #[test]
    fn the_controller_comes_before_other_owners() {
        let pod = json!({"name": "p", "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1"},
            {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "2", "controller": true},
        ]});
        assert_eq!(workload(&serde_json::from_value(pod).unwrap()), "DaemonSet/d");
    }
}
