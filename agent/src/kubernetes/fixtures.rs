//! Pods for tests, written by hand in the shape in which a kube-apiserver 1.20 answers (`kubectl get pod -o json`).

use serde_json::{Value, json};

use super::Index;
use super::view::Collection;

pub(crate) const ID: &str = "4c01db0b339c4c01db0b339c4c01db0b339c4c01db0b339c4c01db0b339c4c01";
pub(crate) const RESTARTED_ID: &str = "5d12ec1c44ad5d12ec1c44ad5d12ec1c44ad5d12ec1c44ad5d12ec1c44ad5d12";
pub(crate) const UID: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

/// A pod of Deployment cart with one container, app, that runs.
pub(crate) fn cart() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "cart-7d9f5c-x2x4z",
            "generateName": "cart-7d9f5c-",
            "namespace": "shop",
            "uid": UID,
            "resourceVersion": "1200",
            "creationTimestamp": "2026-11-22T07:00:00Z",
            "labels": {"app": "cart", "pod-template-hash": "7d9f5c"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-7d9f5c",
                "uid": "0c1d", "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "nodeName": "node-1",
            "containers": [{"name": "app", "image": "shop/cart:1.4", "resources": {"requests": {"cpu": "100m"}}}],
            "restartPolicy": "Always",
        },
        "status": {
            "phase": "Running",
            "qosClass": "Burstable",
            "podIP": "10.85.0.4",
            "startTime": "2026-11-22T07:00:00Z",
            "containerStatuses": [{
                "name": "app",
                "containerID": format!("containerd://{ID}"),
                "image": "registry.example/shop/cart:1.4",
                "imageID": "sha256:9f1e",
                "ready": true,
                "started": true,
                "restartCount": 0,
                "state": {"running": {"startedAt": "2026-11-22T07:00:02Z"}},
                "lastState": {},
            }],
        },
    })
}

/// The API's copy of a pod that the kubelet makes from a file.
pub(crate) fn static_pod() -> Value {
    let mut pod = cart();
    pod["metadata"]["annotations"] = json!({
        "kubernetes.io/config.hash": "0123456789abcdef0123456789abcdef",
        "kubernetes.io/config.mirror": "0123456789abcdef0123456789abcdef",
        "kubernetes.io/config.source": "file",
    });
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "77", "controller": true,
    }]);
    pod
}

/// As after the first lists: these pods, namespace shop, no policies.
pub(crate) fn listed(index: &Index, pods: Vec<Value>) {
    let of = |value: Value| serde_json::from_value(value).unwrap();
    index.pods.kept().replace(pods.into_iter().map(of).collect());
    let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    index.namespaces.kept().replace(vec![serde_json::from_value(shop).unwrap()]);
    index.policies.kept().replace(vec![]);
    index.pods.heard();
    index.namespaces.heard();
    index.policies.heard();
}
