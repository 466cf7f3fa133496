//! The tests' own node: if these fail, no other test on a node means anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::fs;
use std::time::Duration;

use podsweep_tests::cgroup;
use podsweep_tests::cluster::node::{NAME, Node, NodeOptions, has_condition};
use podsweep_tests::disk::Size;
use podsweep_tests::wait;
use serde_json::{Value, json};

const PREFIX: &str = "podsweep-test";
/// A pod starts within 3 s on an idle machine.
const POD_WITHIN: Duration = Duration::from_mins(1);

fn restarts(pod: &Value) -> u64 {
    pod.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_u64).unwrap_or_default()
}

fn container_id(pod: &Value) -> String {
    let id = pod.pointer("/status/containerStatuses/0/containerID").and_then(Value::as_str).unwrap();
    id.trim_start_matches("containerd://").to_owned()
}

#[test]
fn pods_run_restart_and_are_entered_each_in_a_cgroup_of_its_own() {
    let mut node = Node::start(PREFIX, &NodeOptions::default()).unwrap();
    let kubectl = node.kubectl().unwrap();
    let pod = node.run_pod(&Node::pod("web", &json!({})), POD_WITHIN).unwrap();
    assert_eq!(pod["spec"]["nodeName"], NAME);
    assert_eq!(restarts(&pod), 0);

    let said = kubectl.run(&["exec", "web", "--", "/bin/busybox", "hostname"]).unwrap();
    assert_eq!(said.trim(), "web");
    let failed = kubectl.output(&["exec", "web", "--", "/bin/busybox", "false"]).unwrap();
    assert_eq!(failed.status.code(), Some(1));

    let cgroup = format!("pod{}/{}", pod["metadata"]["uid"].as_str().unwrap(), container_id(&pod));
    let directory = find(node.cgroup().directory(), &cgroup).expect("no cgroup2 cgroup of the container");
    assert_eq!(fs::read_to_string(directory.join("cgroup.procs")).unwrap().lines().count(), 1);

    kubectl.run(&["exec", "web", "--", "/bin/busybox", "kill", "-9", "1"]).unwrap();
    // Of a container's first process, only the host can kill with certainty.
    let pid = fs::read_to_string(directory.join("cgroup.procs")).unwrap();
    let pid = pid.lines().next().map(|pid| pid.parse().unwrap());
    if let Some(pid) = pid {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    let again = node.wait_for_pod("web", "web has restarted", POD_WITHIN, |pod| {
        restarts(pod) == 1 && has_condition(pod, "Ready")
    });
    let again = again.unwrap();
    assert_eq!(again.pointer("/status/containerStatuses/0/lastState/terminated/exitCode").unwrap(), 137);
    assert_ne!(container_id(&again), container_id(&pod));

    kubectl.run(&["delete", "pod", "web", "--wait=true"]).unwrap();
    wait::until_true("its cgroup is gone", POD_WITHIN, || {
        Ok(find(node.cgroup().directory(), &cgroup).is_none())
    })
    .unwrap();
}

#[test]
fn a_pod_reaches_the_api_server_as_itself() {
    let mut node = Node::start(PREFIX, &NodeOptions::default()).unwrap();
    let kubectl = node.kubectl().unwrap();
    node.run_pod(&Node::pod("client", &json!({})), POD_WITHIN).unwrap();
    let script =
        "echo | /bin/busybox nc -w 5 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT && echo connected";
    let said = kubectl.run(&["exec", "client", "--", "/bin/sh", "-c", script]).unwrap();
    assert!(said.contains("connected"), "{said}");

    let file = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    let token = kubectl.run(&["exec", "client", "--", "/bin/busybox", "cat", file]).unwrap();
    let own = node.control_plane().kubeconfig_of_token("client", token.trim()).unwrap();
    let refused = node.control_plane().kubectl_with(&own).unwrap().get(&["pods"]).unwrap_err().to_string();
    assert!(refused.contains("\"system:serviceaccount:default:default\" cannot list"), "{refused}");
}

#[test]
fn nothing_of_a_node_stays() {
    let mut node = Node::start(
        PREFIX,
        &NodeOptions { disk: Some(Size { bytes: 2 << 30, inodes: 20_000 }), ..Default::default() },
    )
    .unwrap();
    node.run_pod(&Node::pod("web", &json!({})), POD_WITHIN).unwrap();
    let folder = node.control_plane().folder().to_owned();
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let has_bridge = || std::path::Path::new("/sys/class/net/podsweep0").exists();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!has_bridge() && !mounts().contains(&name), "it is in the machine's own network or mounts");
    drop(node);
    assert!(!folder.exists(), "its folder is there");
    assert_eq!(cgroup::processes(&name), [0; 0]);
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        assert!(!hierarchy.path().join(&name).exists(), "{name} is in {:?}", hierarchy.path());
    }
    let loops = fs::read_dir("/sys/block").unwrap().flatten();
    let loops = loops.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    assert_eq!(loops.filter(|file| file.contains(&name)).count(), 0, "its disk is there");
    assert!(!has_bridge());
}

/// The directory below `directory` whose path ends like this.
fn find(directory: &std::path::Path, end: &str) -> Option<std::path::PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut directories = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    directories.find_map(|path| if path.ends_with(end) { Some(path) } else { find(&path, end) })
}
