//! What the coordinator sees of a workload while one of its containers is swept, on a real API server: a restart of another
//! pod stops the workload, a guard of the policy does; and a person closes the breaker over the coordinator's socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use podsweep_tests::cluster::audit::Record;
use podsweep_tests::cluster::control_plane::{ControlPlane, Options};
use podsweep_tests::cluster::daemon::Daemon;
use podsweep_tests::cluster::kubectl::Kubectl;
use podsweep_tests::cluster::prometheus::Prometheus;
use podsweep_tests::cluster::test_agent::{self, Book, Course};
use podsweep_tests::wait;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const PREFIX: &str = "podsweep-health";
const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/base");
const SYSTEM: &str = "podsweep-system";
const SOON: Duration = Duration::from_secs(30);

/// A control plane with podsweep's objects, an agent, and one coordinator.
struct Cluster {
    coordinator: Option<Daemon>,
    stop: CancellationToken,
    client: Client,
    runtime: Runtime,
    plane: ControlPlane,
}

impl Cluster {
    /// Sweeps work for so long.
    fn start(works: Duration) -> Self {
        let plane = ControlPlane::start(PREFIX, Options { audit: true }).unwrap();
        let kubectl = plane.kubectl().unwrap();
        for file in ["namespace.yaml", "crds.yaml", "slots.yaml"] {
            kubectl.apply(&manifest(file)).unwrap();
        }
        for crd in ["sweeps", "sweeppolicies", "sweeprollouts", "breakers"] {
            let crd = format!("crd/{crd}.podsweep.io");
            kubectl.run(&["wait", "--for=condition=Established", &crd, "--timeout=30s"]).unwrap();
        }
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(test_agent::client(&plane.admin())).unwrap();
        let stop = CancellationToken::new();
        let course = Course { works, ..Course::default() };
        let agent =
            test_agent::run(client.clone(), "n0".into(), course, Arc::new(Book::default()), stop.clone());
        runtime.spawn(agent);
        let cluster = Self { coordinator: None, stop, client, runtime, plane };
        cluster.policy(&json!({}));
        cluster
    }

    fn policy(&self, rollout: &Value) {
        let policy = json!({
            "apiVersion": "podsweep.io/v1alpha1", "kind": "SweepPolicy", "metadata": {"name": "p"},
            "spec": {
                "mode": "Enforce", "select": {"namespaces": ["*"]},
                "junk": [{"name": "tmp", "paths": ["/tmp/x/**"]}], "rollout": rollout,
            },
        });
        self.kubectl().apply_object(&policy).unwrap();
    }

    fn kubectl(&self) -> Kubectl {
        self.plane.kubectl().unwrap()
    }

    /// Starts it, and waits until it leads.
    fn coordinator(&mut self, kubeconfig: &Path, more: &str) {
        self.coordinator_at(0, kubeconfig, more);
    }

    fn coordinator_at(&mut self, port: u16, kubeconfig: &Path, more: &str) {
        let config = self.plane.path("coordinator.yaml");
        let text = format!(
            "kubeconfig: {}\nleaseDuration: 6s\nlisten: 127.0.0.1:{port}\n{more}",
            kubeconfig.display()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(podsweep_tests::image::program("podsweep").unwrap());
        command.args(["coordinator", "--config"]).arg(&config).env("PODSWEEP_LOG", "podsweep=debug");
        self.coordinator = Some(self.plane.daemon("coordinator", &mut command).unwrap());
        let leads = || Ok(fs::read_to_string(self.plane.path("coordinator.log"))?.contains("\"leads\""));
        wait::until_true("it leads", SOON, leads).unwrap();
    }

    fn with_coordinator(works: Duration) -> Self {
        let mut cluster = Self::start(works);
        cluster.coordinator(&cluster.plane.admin(), "");
        cluster
    }

    /// Asks for a sweep of a pod of Deployment cart.
    fn ask(&self, pod: &str) {
        self.runtime.block_on(test_agent::ask(&self.client, "n0", "cart", pod, "p")).unwrap();
    }

    fn status(&self, pod: &str) -> Value {
        let sweep = format!("app-{pod}");
        self.kubectl().get(&["sweep", &sweep, "-n", "default"]).unwrap()["status"].clone()
    }

    fn until(&self, what: &str, limit: Duration, is: impl Fn() -> bool) {
        wait::until_true(what, limit, || Ok(is())).unwrap_or_else(|error| {
            panic!("{error}\n{}", self.coordinator.as_ref().map(Daemon::log_end).unwrap_or_default())
        });
    }

    /// A pod of Deployment cart, as a kubelet would report it: there is none here.
    fn pod(&self, name: &str) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": "default", "labels": {"pod-template-hash": "7d9f5c"},
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-7d9f5c", "uid": "u",
                    "controller": true,
                }],
            },
            "spec": {
                "nodeName": "n1", "automountServiceAccountToken": false,
                "containers": [{"name": "app", "image": "cart:1"}],
            },
        });
        self.kubectl().apply_object(&pod).unwrap();
        self.report(name, 0);
    }

    fn report(&self, name: &str, restarts: u32) {
        let status = json!({ "status": {
            "phase": "Running",
            "containerStatuses": [{
                "name": "app", "image": "cart:1", "imageID": "", "ready": true, "restartCount": restarts,
            }],
        }});
        self.runtime.block_on(async {
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), "default");
            pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        });
    }

    /// Requests for all pods so far, by verb; of watches those that have ended.
    fn asked_for_pods(&self, verb: &str) -> usize {
        // The API server has a watch of its own.
        let by_us = |record: &&Record| record.user.username == "admin" && record.is_of("pods");
        let records = self.plane.audit().unwrap();
        records.iter().filter(by_us).filter(|record| record.verb == verb).count()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn manifest(file: &str) -> String {
    fs::read_to_string(Path::new(BASE).join(file)).unwrap()
}

/// What its condition says of the workload's other pods.
fn others(status: &Value) -> Option<&Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == "WorkloadHealthy")
}

#[test]
fn a_restart_of_another_pod_stops_the_workload_and_nobody_asks_for_pods_in_between() {
    let cluster = Cluster::with_coordinator(Duration::from_secs(12));
    for name in ["cart-0", "cart-1"] {
        cluster.pod(name);
    }
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(cluster.asked_for_pods("list"), 0, "nothing is swept");

    cluster.ask("cart-0");
    cluster.until("it works", SOON, || cluster.status("cart-0")["phase"] == "Sweeping");
    assert_eq!(cluster.asked_for_pods("list"), 1);
    cluster.report("cart-1", 1);
    cluster.until("it is told", SOON, || others(&cluster.status("cart-0")).is_some());
    let status = cluster.status("cart-0");
    let condition = others(&status).unwrap();
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("Restarted")));
    assert!(condition["message"].as_str().unwrap().contains("pod cart-1, container app"), "{condition}");
    let kept = status["conditions"].as_array().unwrap().iter().any(|kept| kept["type"] == "Admitted");
    assert!(kept, "the other conditions stay: {status}");
    let breakers = cluster.kubectl().run(&["get", "breakers", "-o", "wide"]).unwrap();
    assert!(breakers.contains("default/Deployment/cart") && breakers.contains("pod cart-1"), "{breakers}");
    let shown = cluster.kubectl().run(&["get", "sweeps", "-n", "default"]).unwrap();
    assert!(shown.contains("OTHERS") && shown.contains("Restarted"), "{shown}");

    cluster.until("it has ended", SOON, || !cluster.status("cart-0")["health"].is_null());
    cluster.until("the watch ends", SOON, || cluster.asked_for_pods("watch") == 1);
    cluster.ask("cart-2");
    let waits = || cluster.status("cart-2")["reason"] == "BreakerOpen";
    cluster.until("the next one is told why it waits", SOON, waits);
    assert_eq!(cluster.asked_for_pods("list"), 1, "who waits for a breaker needs no pods");
}

#[test]
fn who_may_not_see_pods_grants_nothing_and_says_so() {
    let mut cluster = Cluster::start(Duration::from_secs(1));
    let rights = manifest("rights-coordinator.yaml");
    let blind = rights.replace("resources: [pods]", "resources: [podtemplates]");
    assert_ne!(rights, blind);
    cluster.kubectl().apply(&blind).unwrap();
    let server = cluster.plane.server();
    let kubeconfig: PathBuf =
        cluster.plane.kubeconfig_of_service_account(SYSTEM, "podsweep-coordinator", &server).unwrap();
    cluster.coordinator(&kubeconfig, "");
    cluster.ask("cart-0");
    let told = || cluster.status("cart-0")["reason"] == "NeighboursUnknown";
    cluster.until("it is told", SOON, told);
    let message = cluster.status("cart-0")["message"].to_string();
    assert!(message.contains("forbidden"), "{message}");
    let slots = cluster.kubectl().get(&["leases", "-n", SYSTEM, "-l", "podsweep.io/slot=sweeps"]).unwrap();
    let free = slots["items"].as_array().unwrap().iter().all(|slot| slot["spec"]["holderIdentity"].is_null());
    assert!(free, "{slots}");

    cluster.kubectl().apply(&rights).unwrap();
    // A watch that was refused is tried again after half a minute at the latest.
    cluster.until("it is swept", 3 * SOON, || cluster.status("cart-0")["phase"] == "Succeeded");
}

#[test]
fn a_guard_that_is_not_known_holds_sweeps_back_one_that_holds_lets_them_go_and_one_that_fails_is_harm() {
    let mut cluster = Cluster::start(Duration::from_secs(25));
    cluster.policy(&json!({"guards": [{"name": "works", "query": "min(works) > bool 0"}]}));
    let mut prometheus = Prometheus::new().unwrap();
    let more = format!("prometheusUrl: {}\n", prometheus.url());
    cluster.coordinator(&cluster.plane.admin(), &more);

    cluster.ask("cart-0");
    cluster.until("it is told", SOON, || cluster.status("cart-0")["reason"] == "GuardUnknown");
    let message = cluster.status("cart-0")["message"].to_string();
    assert!(message.contains("guard works of policy p") && message.contains("refused"), "{message}");

    prometheus.start(&cluster.plane).unwrap();
    cluster.until("it works", 2 * SOON, || cluster.status("cart-0")["phase"] == "Sweeping");
    assert_eq!(others(&cluster.status("cart-0")), None);
    assert!(cluster.kubectl().run(&["get", "breakers", "-o", "name"]).unwrap().is_empty());

    prometheus.set(0);
    cluster.until("it is told", SOON, || others(&cluster.status("cart-0")).is_some());
    let condition = others(&cluster.status("cart-0")).cloned().unwrap();
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("GuardFails")));
    let breakers = cluster.kubectl().run(&["get", "breakers", "-o", "wide"]).unwrap();
    assert!(breakers.contains("GuardFails: guard works of policy p"), "{breakers}");
}

#[test]
fn a_guard_that_falls_silent_during_a_sweep_pauses_its_workload() {
    let mut cluster = Cluster::start(Duration::from_secs(15));
    cluster.policy(&json!({"guards": [{"name": "works", "query": "min(works) > bool 0"}]}));
    let mut prometheus = Prometheus::new().unwrap();
    prometheus.start(&cluster.plane).unwrap();
    let more = format!("prometheusUrl: {}\n", prometheus.url());
    cluster.coordinator(&cluster.plane.admin(), &more);
    cluster.ask("cart-0");
    cluster.until("it works", 2 * SOON, || cluster.status("cart-0")["phase"] == "Sweeping");
    prometheus.stop();
    cluster.until("it is told", 2 * SOON, || others(&cluster.status("cart-0")).is_some());
    let condition = others(&cluster.status("cart-0")).cloned().unwrap();
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("Unknown"), &json!("GuardUnknown")));
    cluster.ask("cart-1");
    cluster.until("the next one is told", SOON, || cluster.status("cart-1")["reason"] == "WorkloadPaused");
}

/// What answers over TCP.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: podsweep\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn breakers_are_listed_and_closed_over_the_socket_and_not_over_tcp() {
    let mut cluster = Cluster::start(Duration::from_secs(3));
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let socket = cluster.plane.path("run/podsweep.sock");
    let more = format!("socket: {}\n", socket.display());
    cluster.coordinator_at(port, &cluster.plane.admin(), &more);
    let podsweep = |words: &[&str]| {
        let mut command = Command::new(podsweep_tests::image::program("podsweep").unwrap());
        let said = command.arg("breakers").args(words).arg("--socket").arg(&socket).output().unwrap();
        (said.status.code(), String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned())
    };
    let (code, said) = podsweep(&[]);
    assert!(code == Some(0) && said.contains("global") && said.contains("Closed"), "{said}");

    cluster.pod("cart-1");
    cluster.ask("cart-0");
    cluster.until("it works", SOON, || cluster.status("cart-0")["phase"] == "Sweeping");
    cluster.report("cart-1", 1);
    let name = "workload/default/Deployment/cart";
    cluster.until("it is listed", SOON, || podsweep(&[]).1.contains(name));
    cluster.ask("cart-2");
    let (code, said) = podsweep(&["reset", "workload/default/Deployment/shop"]);
    assert!(code == Some(1) && said.contains("NoSuchBreaker"), "{said}");
    assert!(get(port, "/healthz").starts_with("HTTP/1.1 200"), "TCP is there");
    assert!(get(port, "/v1/breakers").starts_with("HTTP/1.1 404"), "and has no breakers");

    cluster.until("the sweep has ended", SOON, || !cluster.status("cart-0")["health"].is_null());
    assert_ne!(cluster.status("cart-2")["phase"], "Succeeded");
    let (code, said) = podsweep(&["reset", name]);
    assert!(code == Some(0) && !said.contains(name), "{said}");
    assert!(cluster.kubectl().run(&["get", "breakers", "-o", "name"]).unwrap().is_empty());
    cluster.until("the next one goes", SOON, || cluster.status("cart-2")["phase"] == "Succeeded");
}
