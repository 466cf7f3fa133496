//! podsweep as deploy/ installs it, below a real kubelet: what `cargo xtask demo --cluster` tells, and what a container
//! that comes to harm does to its workload's sweeps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::thread::sleep;
use std::time::Duration;

use podsweep_tests::cluster::deployed::{self, Scans};
use podsweep_tests::cluster::node::{Node, NodeOptions};
use podsweep_tests::demo;
use podsweep_tests::demo::cluster::{NAMESPACE, POLICY, Sweep};
use podsweep_tests::wait;
use serde_json::{Value, json};

const PREFIX: &str = "podsweep-test";
const POD_WITHIN: Duration = Duration::from_mins(1);
const SWEPT_WITHIN: Duration = Duration::from_mins(3);
const TOLD_WITHIN: Duration = Duration::from_secs(30);
/// The policy's 20 s, the 10 s of the first back-off of the kubelet, and what a decision takes.
const LONGER_THAN_A_BURST: Duration = Duration::from_secs(50);

#[test]
fn a_pod_that_floods_its_disk_is_evicted_and_with_podsweep_it_is_swept_and_stays() {
    let figures = demo::cluster::run(true).unwrap();
    assert_eq!(figures.failures(), [""; 0], "{figures:#?}");
}

/// Serves until its junk goes: then it ends with an error, and again after each restart, as soon as its junk goes.
const FRAGILE: &str = "mkdir -p /tmp/junk && cd /tmp/junk || exit 2\n\
    for i in $(seq 3000); do : > $i; done\n\
    for t in $(seq 200); do for i in $(seq 12); do : > $t-$i; done; [ -e 1 ] || exit 1; sleep 0.2; done\n\
    while [ -e 1 ]; do sleep 1; done\n\
    exit 1\n";

#[test]
fn a_container_that_fails_when_it_is_swept_stops_its_workload() {
    let options = NodeOptions { usual_folders: true, ..NodeOptions::default() };
    let mut cluster = Cluster { node: Node::start(PREFIX, &options).unwrap(), scans: None };
    // A container that was harmed could be swept again at once, if nothing but the cool-down kept it from it.
    cluster.scans = Some(deployed::install(&mut cluster.node, &json!({"coolDown": "1s"})).unwrap());
    let kubectl = cluster.node.kubectl().unwrap();
    kubectl.apply(POLICY).unwrap();
    kubectl.run(&["create", "namespace", NAMESPACE]).unwrap();
    let account = ["serviceaccount", "default", "-n", NAMESPACE];
    wait::until_true("its service account", POD_WITHIN, || Ok(kubectl.get(&account).is_ok())).unwrap();
    let command = json!({"command": ["/bin/busybox", "sh", "-c", FRAGILE]});
    cluster.node.run_pod(&Node::pod_in(NAMESPACE, "fragile", &command), POD_WITHIN).unwrap();

    let ended = wait::until("its sweep has ended", SWEPT_WITHIN, || {
        let sweeps = kubectl.get(&["sweeps", "-n", NAMESPACE])?;
        let first = sweeps["items"].as_array().and_then(|items| items.first()).map(Sweep::of);
        Ok(first.filter(Sweep::is_ended))
    });
    let ended = ended.unwrap_or_else(|error| panic!("{error:#}\n{}", deployed::state(&kubectl)));
    assert_eq!(ended.health, "Harmed", "{ended:?}\n{}", deployed::state(&kubectl));
    assert!(ended.removed > 0, "{ended:?}");
    let breaker = wait::until("its breaker is open", TOLD_WITHIN, || {
        let breakers = kubectl.get(&["breakers"])?;
        Ok(breakers["items"].as_array().and_then(|items| items.first().cloned()))
    });
    let breaker = breaker.unwrap();
    assert_eq!(
        breaker["spec"]["workload"].as_str().map(|name| name.contains("fragile")),
        Some(true),
        "{breaker}"
    );
    assert_eq!(breaker["status"]["state"], "Open", "{breaker}");

    // It restarts and writes as before; it is let be.
    let restarted = |pod: &Value| pod.pointer("/status/containerStatuses/0/restartCount") == Some(&json!(1));
    wait::until_true("it has restarted", POD_WITHIN, || {
        Ok(restarted(&kubectl.get(&["pod", "fragile", "-n", NAMESPACE])?))
    })
    .unwrap();
    sleep(LONGER_THAN_A_BURST);
    let sweeps = kubectl.get(&["sweeps", "-n", NAMESPACE]).unwrap();
    let begun = sweeps["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|sweep| !sweep.pointer("/status/admittedAt").unwrap_or(&Value::Null).is_null());
    assert_eq!(begun.count(), 1, "{sweeps:#}");
    let pod = kubectl.get(&["pod", "fragile", "-n", NAMESPACE]).unwrap();
    assert!(restarted(&pod), "{}", pod["status"]);

    // A person who has looked at it says so, in a replica's pod; any of the three will do.
    let podsweep = |words: &[&str]| {
        let within = ["exec", "-n", deployed::NAMESPACE, "deployment/podsweep-coordinator", "--", "podsweep"];
        kubectl.run(&[&within[..], words].concat())
    };
    let listed: Value = serde_json::from_str(&podsweep(&["breakers", "-o", "json"]).unwrap()).unwrap();
    let open = listed.as_array().unwrap().iter().find(|breaker| breaker["state"] == "Open").unwrap();
    podsweep(&["breakers", "reset", open["name"].as_str().unwrap()]).unwrap();
    wait::until_true("its breaker is gone", TOLD_WITHIN, || {
        Ok(kubectl.get(&["breakers"])?["items"] == json!([]))
    })
    .unwrap();
}

struct Cluster {
    node: Node,
    // Goes after the node, whose agent may hold it.
    scans: Option<Scans>,
}
