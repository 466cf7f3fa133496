use serde_json::{Value, json};

use super::*;
use crate::kubernetes::fixtures::{ID, RESTARTED_ID, cart, static_pod};

fn pod(value: Value) -> Option<Pod> {
    Pod::of(&serde_json::from_value(value).unwrap())
}

#[test]
fn a_pod_keeps_what_is_asked_of_it() {
    let pod = pod(cart()).unwrap();
    assert_eq!((pod.namespace.as_str(), pod.name.as_str()), ("shop", "cart-7d9f5c-x2x4z"));
    assert_eq!(pod.workload, "Deployment/cart");
    assert_eq!(pod.qos, Some(QosClass::Burstable));
    assert_eq!(pod.cgroup_uid, pod.uid);
    assert_eq!(pod.labels.get("app").map(String::as_str), Some("cart"));
    assert!(!pod.is_static && !pod.leaving && !pod.evicted);
    let app = pod.container(ID).unwrap();
    assert_eq!((app.name.as_str(), app.image.as_str()), ("app", "registry.example/shop/cart:1.4"));
    assert_eq!((app.ready, app.restarts, app.oom_killed), (Some(true), 0, false));
}

#[test]
fn a_restart_shows_in_the_count_and_in_what_ended_the_last_one() {
    let mut value = cart();
    let status = &mut value["status"]["containerStatuses"][0];
    status["containerID"] = json!(format!("containerd://{RESTARTED_ID}"));
    status["restartCount"] = json!(3);
    status["ready"] = json!(false);
    status["lastState"] = json!({"terminated": {
        "exitCode": 137, "reason": "OOMKilled", "containerID": format!("containerd://{ID}"),
    }});
    let pod = pod(value).unwrap();
    assert_eq!(pod.container(ID), None);
    let app = pod.container(RESTARTED_ID).unwrap();
    assert_eq!((app.ready, app.restarts, app.oom_killed), (Some(false), 3, true));
}

#[test]
fn a_failure_shows_before_its_container_is_started_anew_and_a_good_end_is_none() {
    let ended = |exit_code: i32, reason: &str| {
        let mut value = cart();
        let status = &mut value["status"]["containerStatuses"][0];
        status["ready"] = json!(false);
        status["state"] = json!({"terminated": {
            "exitCode": exit_code, "reason": reason, "finishedAt": "2026-01-01T00:00:09Z",
        }});
        pod(value).unwrap().container(ID).cloned().unwrap()
    };
    let killed = ended(137, "OOMKilled");
    assert_eq!((killed.ready, killed.oom_killed), (Some(false), true));
    assert_eq!(killed.failed_at, Some(1_767_225_609));
    let done = ended(0, "Completed");
    assert_eq!((done.ready, done.oom_killed, done.failed_at), (None, false, None));
}

#[test]
fn an_evicted_pod_and_one_that_fails_otherwise_are_told_apart() {
    let mut value = cart();
    value["status"]["phase"] = json!("Failed");
    assert!(!pod(value.clone()).unwrap().evicted);
    value["status"]["reason"] = json!("Evicted");
    assert!(pod(value).unwrap().evicted);
}

#[test]
fn a_static_pod_is_known_by_the_hash_that_its_cgroups_have() {
    let pod = pod(static_pod()).unwrap();
    assert!(pod.is_static);
    assert_eq!(pod.cgroup_uid, "0123456789abcdef0123456789abcdef");
    assert_ne!(pod.uid, pod.cgroup_uid);
}

#[test]
fn a_container_that_was_not_reported_has_the_names_of_its_pod_and_its_runtime() {
    let pod = pod(cart()).unwrap();
    let own =
        Names { container: Some("sidecar".into()), namespace: Some("other".into()), ..Names::default() };
    let names = pod.names("not-reported", Some(own));
    assert_eq!((names.namespace.as_deref(), names.container.as_deref()), (Some("shop"), Some("sidecar")));
    assert_eq!(pod.names("not-reported", None).container, None);
    assert_eq!(pod.names(ID, None).container.as_deref(), Some("app"));
}

#[test]
fn the_image_is_the_one_that_people_wrote_where_the_runtime_knows_only_an_id() {
    let mut value = cart();
    value["status"]["containerStatuses"][0]["image"] = json!("sha256:abc");
    assert_eq!(pod(value.clone()).unwrap().container(ID).unwrap().image, "shop/cart:1.4");
    value["spec"]["containers"] = json!([]);
    assert_eq!(pod(value).unwrap().container(ID).unwrap().image, "sha256:abc");
}

#[test]
fn init_and_ephemeral_containers_are_known_and_never_ready_or_not() {
    let mut value = cart();
    for (list, name) in [("initContainerStatuses", "init"), ("ephemeralContainerStatuses", "debug")] {
        value["status"][list] = json!([{
            "name": name, "containerID": format!("cri-o://{name}"), "image": "i", "imageID": "", "ready": false,
            "restartCount": 0,
        }]);
    }
    let pod = pod(value).unwrap();
    assert_eq!(pod.container("init").map(|found| found.ready), Some(None));
    assert_eq!(pod.container("debug").map(|found| found.ready), Some(None));
}

#[test]
fn past_a_bound_it_is_not_known_rather_than_known_in_part() {
    let mut value = cart();
    let labels: serde_json::Map<_, _> =
        (0..=MAX_LABELS).map(|number| (format!("l{number}"), json!("x"))).collect();
    value["metadata"]["labels"] = Value::Object(labels);
    assert_eq!(pod(value), None);

    let mut value = cart();
    value["status"]["containerStatuses"][0]["image"] = json!("i".repeat(MAX_IMAGE + 1));
    assert_eq!(pod(value).unwrap().container(ID), None);
}

#[test]
fn a_pod_that_nobody_has_reported_on_has_no_containers() {
    let mut value = cart();
    value.as_object_mut().unwrap().remove("status");
    let pod = pod(value).unwrap();
    assert_eq!((pod.containers.len(), pod.qos), (0, None));
}
