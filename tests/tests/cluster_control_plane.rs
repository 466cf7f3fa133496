//! The tests' own control plane: if these fail, no other test of a cluster means anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::io::{BufRead as _, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use podsweep_tests::cluster::audit::Record;
use podsweep_tests::cluster::control_plane::{ControlPlane, Options};
use podsweep_tests::cluster::enclosure::Enclosure;
use podsweep_tests::cluster::kubectl::Kubectl;
use podsweep_tests::wait;
use serde_json::{Value, json};

const PREFIX: &str = "podsweep-test";
const GONE_WITHIN: Duration = Duration::from_secs(20);

fn plane() -> ControlPlane {
    ControlPlane::start(PREFIX, Options::default()).unwrap()
}

fn lease(holder: &str, version: Option<&str>) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "slot-0", "namespace": "default", "resourceVersion": version},
        "spec": {"holderIdentity": holder},
    })
}

/// Verb, holder that was sent, answer, whether it has changed something.
fn writes_of_slot(plane: &ControlPlane) -> Vec<(String, String, u16, bool)> {
    let of_slot =
        |record: &Record| record.is_of("leases") && record.object_ref.as_ref().unwrap().name == "slot-0";
    let records = plane.audit().unwrap().into_iter().filter(|record| of_slot(record) && record.verb != "get");
    records
        .map(|record| {
            let holder =
                record.request_object.as_ref().and_then(|lease| lease["spec"]["holderIdentity"].as_str());
            let holder = holder.unwrap_or_default().to_owned();
            (record.verb.clone(), holder, record.code().unwrap(), record.has_written())
        })
        .collect()
}

fn replace(kubectl: &Kubectl, object: &Value) -> anyhow::Result<String> {
    kubectl.run_with(&["replace", "-f", "-"], &object.to_string())
}

#[test]
fn a_service_account_may_do_what_it_was_given_and_nothing_else() {
    let plane = plane();
    let admin = plane.kubectl().unwrap();
    admin.run(&["create", "serviceaccount", "reader", "-n", "default"]).unwrap();
    let own = plane.kubeconfig_of_service_account("default", "reader", &plane.server()).unwrap();
    let reader = plane.kubectl_with(&own).unwrap();

    let refused = reader.get(&["leases", "-n", "default"]).unwrap_err().to_string();
    assert!(refused.contains("\"system:serviceaccount:default:reader\" cannot list"), "{refused}");

    admin.run(&["create", "role", "read", "-n", "default", "--verb=list", "--resource=leases"]).unwrap();
    let account = "--serviceaccount=default:reader";
    admin.run(&["create", "rolebinding", "read", "-n", "default", "--role=read", account]).unwrap();
    reader.get(&["leases", "-n", "default"]).unwrap();
    let refused = reader.run_with(&["create", "-f", "-"], &lease("me", None).to_string()).unwrap_err();
    assert!(refused.to_string().contains("cannot create"), "{refused}");
}

#[test]
fn a_stale_write_is_refused_and_the_audit_has_every_write() {
    let plane = ControlPlane::start(PREFIX, Options { audit: true }).unwrap();
    let kubectl = plane.kubectl().unwrap();
    kubectl.run_with(&["create", "-f", "-"], &lease("a", None).to_string()).unwrap();
    let read = kubectl.get(&["lease", "slot-0", "-n", "default"]).unwrap();
    let version = read["metadata"]["resourceVersion"].as_str().unwrap();

    replace(&kubectl, &lease("b", Some(version))).unwrap();
    let refused = replace(&kubectl, &lease("c", Some(version))).unwrap_err().to_string();
    assert!(refused.contains("Conflict") || refused.contains("object has been modified"), "{refused}");

    // Its last record is written a moment after the answer.
    wait::until_true("three writes in the audit", GONE_WITHIN, || Ok(writes_of_slot(&plane).len() == 3))
        .unwrap();
    let expected = [("create", "a", 201, true), ("update", "b", 200, true), ("update", "c", 409, false)];
    let seen = writes_of_slot(&plane);
    let seen: Vec<_> =
        seen.iter().map(|(verb, holder, code, wrote)| (&**verb, &**holder, *code, *wrote)).collect();
    assert_eq!(seen, expected);
}

/// With a Go newer than its libraries, an API server dies of the first custom resource that is written.
#[test]
fn custom_resources_are_checked_by_their_schema_and_stored() {
    let plane = plane();
    let kubectl = plane.kubectl().unwrap();
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"waves": {"type": "integer", "minimum": 1}}},
    }});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "trials.podsweep.test"},
        "spec": {
            "group": "podsweep.test",
            "scope": "Cluster",
            "names": {"plural": "trials", "singular": "trial", "kind": "Trial"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    kubectl.apply_object(&definition).unwrap();
    kubectl
        .run(&["wait", "--for=condition=Established", "crd/trials.podsweep.test", "--timeout=30s"])
        .unwrap();
    let trial = |waves: i32| json!({"apiVersion": "podsweep.test/v1", "kind": "Trial", "metadata": {"name": "t"}, "spec": {"waves": waves}});
    // It is served a moment after it is established.
    wait::until_true("the resource is served", GONE_WITHIN, || Ok(kubectl.get(&["trials"]).is_ok())).unwrap();
    let refused = kubectl.apply_object(&trial(0)).unwrap_err().to_string();
    assert!(refused.contains("spec.waves"), "{refused}");
    kubectl.run_with(&["apply", "--server-side", "-f", "-"], &trial(3).to_string()).unwrap();
    assert_eq!(kubectl.get(&["trial", "t"]).unwrap()["spec"]["waves"], 3);
}

#[test]
fn a_paused_api_server_answers_nobody_and_a_killed_one_keeps_what_it_had() {
    let mut plane = plane();
    let kubectl = plane.kubectl().unwrap();
    kubectl.run_with(&["create", "-f", "-"], &lease("a", None).to_string()).unwrap();
    let answers =
        || kubectl.output(&["get", "--raw", "/readyz", "--request-timeout=1s"]).unwrap().status.success();
    assert!(answers());
    plane.pause().unwrap();
    assert!(!answers(), "it answers though it is paused");
    plane.resume().unwrap();
    wait::until_true("it answers again", GONE_WITHIN, || Ok(answers())).unwrap();

    plane.stop_api_server();
    assert!(!answers(), "it answers though it was killed");
    plane.start_api_server().unwrap();
    let read = kubectl.get(&["lease", "slot-0", "-n", "default"]).unwrap();
    assert_eq!(read["spec"]["holderIdentity"], "a");
}

#[test]
fn one_client_can_be_cut_off_and_the_others_go_on() {
    let plane = plane();
    let proxy = plane.proxy().unwrap();
    let own = plane.kubeconfig_of("alone", Some("system:masters"), &proxy.server()).unwrap();
    let alone = plane.kubectl_with(&own).unwrap();
    let answers =
        || alone.output(&["get", "--raw", "/readyz", "--request-timeout=1s"]).unwrap().status.success();
    assert!(answers());
    for make_bad in [podsweep_tests::cluster::proxy::Proxy::cut, podsweep_tests::cluster::proxy::Proxy::stall]
    {
        make_bad(&proxy);
        assert!(!answers(), "it is answered though it is cut off");
        plane.kubectl().unwrap().run(&["get", "--raw", "/readyz"]).unwrap();
        proxy.restore();
        assert!(answers());
    }
}

#[test]
fn nothing_of_a_control_plane_stays_not_even_after_a_panic() {
    let mut left = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let plane = plane();
        let folder = plane.folder().to_owned();
        left = Some((processes_naming(&folder), folder));
        panic!("a test fails");
    }));
    assert!(panicked.is_err());
    let (processes, folder) = left.unwrap();
    assert_eq!(processes.len(), 2, "etcd and kube-apiserver");
    assert!(!folder.exists(), "{} is there", folder.display());
    assert_eq!(processes_naming(&folder), [""; 0]);
}

/// In a process of its own, which is killed: nothing in it can tidy up.
#[test]
#[allow(
    clippy::zombie_processes,
    clippy::print_stdout,
    reason = "the child's own child ends with it; it tells its parent"
)]
fn an_enclosure_ends_with_the_process_that_made_it() {
    const IN_THE_CHILD: &str = "PODSWEEP_TEST_ENCLOSURE";
    if std::env::var_os(IN_THE_CHILD).is_some() {
        let enclosure = Enclosure::of_a_node().unwrap();
        // A daemon: no child of anybody here.
        let script = "setsid sleep 98761 & setsid sleep 98762 & wait";
        let _child = enclosure.spawn(Command::new("sh").args(["-c", script])).unwrap();
        wait::until_true("they run", GONE_WITHIN, || Ok(sleepers() == 2)).unwrap();
        println!("\nready");
        std::thread::sleep(Duration::from_mins(1));
        return;
    }
    assert_eq!(sleepers(), 0, "of an earlier run");
    let own = std::thread::current().name().unwrap().to_owned();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &own, "--nocapture"])
        .env(IN_THE_CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "ready"), "the child failed");
    child.kill().unwrap();
    child.wait().unwrap();
    wait::until_true("its processes are gone", GONE_WITHIN, || Ok(sleepers() == 0)).unwrap();
}

fn sleepers() -> usize {
    ["sleep\098761", "sleep\098762"].iter().filter(|line| !command_lines(line).is_empty()).count()
}

fn processes_naming(folder: &Path) -> Vec<String> {
    command_lines(&folder.display().to_string())
}

/// Command lines that contain `text`.
fn command_lines(text: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).filter(|line| line.contains(text)).collect()
}
