//! The coordinator against a real API server: the cap, failover, and what kubectl shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]
#![allow(clippy::print_stdout, reason = "figures that --no-capture shows")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use podsweep::report::Health;
use podsweep_tests::cluster::control_plane::{ControlPlane, Options};
use podsweep_tests::cluster::daemon::Daemon;
use podsweep_tests::cluster::kubectl::Kubectl;
use podsweep_tests::cluster::test_agent::{self, Book, Course};
use podsweep_tests::wait;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const PREFIX: &str = "podsweep-test";
const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/base");
/// What the coordinators of these tests have for `leaseDuration` and `slotDuration`.
const LEASE: Duration = Duration::from_secs(6);
const SLOT: Duration = Duration::from_secs(12);
const SLOTS: usize = 5;

/// A control plane with podsweep's objects, test agents and coordinators.
struct Cluster {
    coordinators: Vec<Daemon>,
    book: Arc<Book>,
    stop: CancellationToken,
    client: Client,
    runtime: Runtime,
    plane: ControlPlane,
}

impl Cluster {
    fn start(nodes: usize, course: &Course) -> Self {
        let plane = ControlPlane::start(PREFIX, Options { audit: true }).unwrap();
        let kubectl = plane.kubectl().unwrap();
        for file in ["namespace.yaml", "crds.yaml", "slots.yaml"] {
            kubectl.apply(&fs::read_to_string(Path::new(BASE).join(file)).unwrap()).unwrap();
        }
        for crd in ["sweeps", "sweeppolicies", "sweeprollouts", "breakers"] {
            let crd = format!("crd/{crd}.podsweep.io");
            kubectl.run(&["wait", "--for=condition=Established", &crd, "--timeout=30s"]).unwrap();
        }
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(test_agent::client(&plane.admin())).unwrap();
        let (book, stop) = (Arc::new(Book::default()), CancellationToken::new());
        for node in 0..nodes {
            let (client, course, book, stop) =
                (client.clone(), course.clone(), Arc::clone(&book), stop.clone());
            runtime.spawn(test_agent::run(client, format!("n{node}"), course, book, stop));
        }
        let mut cluster = Self { coordinators: Vec::new(), book, stop, client, runtime, plane };
        cluster.policy(&json!({ "canary": 1, "growth": 2, "serialBy": [], "maxParallel": 100 }));
        cluster
    }

    fn policy(&mut self, rollout: &serde_json::Value) {
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

    fn coordinator(&mut self) {
        let number = self.coordinators.len();
        let config = self.plane.path(&format!("coordinator-{number}.yaml"));
        let text = format!(
            "kubeconfig: {}\nleaseDuration: {}s\nslotDuration: {}s\nlisten: 127.0.0.1:0\n",
            self.plane.admin().display(),
            LEASE.as_secs(),
            SLOT.as_secs(),
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(podsweep_tests::image::program("podsweep").unwrap());
        command.args(["coordinator", "--config"]).arg(&config).env("PODSWEEP_LOG", "podsweep=debug");
        self.coordinators.push(self.plane.daemon(&format!("coordinator-{number}"), &mut command).unwrap());
    }

    /// The coordinator that leads.
    fn leader(&self) -> usize {
        let leads = |number: &usize| {
            let log =
                fs::read_to_string(self.plane.path(&format!("coordinator-{number}.log"))).unwrap_or_default();
            let (begun, ended) = (log.matches("\"leads\"").count(), log.matches("leads no more").count());
            begun > ended
        };
        let found = || Ok((0..self.coordinators.len()).filter(leads).last());
        wait::until("one leads", Duration::from_secs(30), found).unwrap()
    }

    fn ask(&self, node: &str, workload: &str, pod: &str) {
        self.runtime.block_on(test_agent::ask(&self.client, node, workload, pod, "p")).unwrap();
    }

    fn phases(&self) -> BTreeMap<String, usize> {
        let sweeps = self.kubectl().get(&["sweeps", "-A"]).unwrap();
        let mut phases = BTreeMap::new();
        for sweep in sweeps["items"].as_array().unwrap() {
            let phase = sweep["status"]["phase"].as_str().unwrap_or("Pending").to_owned();
            *phases.entry(phase).or_default() += 1;
        }
        phases
    }

    fn until_phase(&self, phase: &str, count: usize, limit: Duration) {
        let reached = || Ok((self.phases().get(phase).copied().unwrap_or_default() >= count).then_some(()));
        let what = format!("{count} sweeps are {phase}");
        wait::until(&what, limit, reached).unwrap_or_else(|error| {
            let logs: Vec<_> = self.coordinators.iter().map(Daemon::log_end).collect();
            panic!("{error}: {:?}\n{}", self.phases(), logs.join("\n----\n"))
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn course(seconds: f64) -> Course {
    Course { works: Duration::from_secs_f64(seconds), ..Course::default() }
}

#[test]
fn sweeps_are_admitted_in_waves_and_kubectl_shows_who_waits_and_why() {
    let mut cluster = Cluster::start(8, &course(3.0));
    for n in 0..7 {
        cluster.ask(&format!("n{n}"), "cart", &format!("cart-{n}"));
    }
    cluster.coordinator();
    cluster.until_phase("Sweeping", 1, Duration::from_secs(30));
    assert_eq!(cluster.phases().get("Pending"), Some(&6), "a canary alone");
    cluster.until_phase("Succeeded", 7, Duration::from_mins(1));
    let (most, twice) = cluster.book.most_at_once();
    assert_eq!((most, twice), (4, false), "waves of one, two and four");
    let shown = cluster.kubectl().run(&["get", "sweeps", "-n", "default"]).unwrap();
    let head = shown.lines().next().unwrap();
    for column in ["POD", "CONTAINER", "PHASE", "REASON", "REMOVED", "HEALTH"] {
        assert!(head.contains(column), "{head}");
    }
    assert!(shown.contains("Succeeded") && shown.contains("Healthy"), "{shown}");
}

#[test]
fn another_leads_within_the_lease_and_two_seconds_and_goes_on() {
    let mut cluster = Cluster::start(4, &course(1.0));
    for _ in 0..3 {
        cluster.coordinator();
    }
    let leader = cluster.leader();
    cluster.ask("n0", "first", "first");
    cluster.until_phase("Succeeded", 1, Duration::from_secs(30));
    let killed = Instant::now();
    cluster.coordinators[leader].kill().unwrap();
    cluster.ask("n1", "second", "second");
    let granted = || {
        let phases = cluster.phases();
        Ok((phases.get("Pending").copied().unwrap_or_default() == 0).then_some(()))
    };
    wait::until("the next one grants", Duration::from_mins(1), granted).unwrap();
    let took = killed.elapsed();
    println!("failover: {} ms, lease {} ms", took.as_millis(), LEASE.as_millis());
    assert!(took <= LEASE + Duration::from_secs(2), "{took:?}");
}

#[test]
fn the_cap_holds_whatever_happens_to_coordinators_and_the_api_server() {
    let mut cluster = Cluster::start(50, &course(2.0));
    cluster.policy(&json!({ "canary": 50, "growth": 1, "serialBy": [], "maxParallel": 100 }));
    for _ in 0..3 {
        cluster.coordinator();
    }
    for n in 0..60 {
        cluster.ask(&format!("n{}", n % 50), &format!("w{n}"), &format!("pod-{n}"));
    }
    cluster.until_phase("Succeeded", 5, Duration::from_mins(1));
    // Stopped past its lease, then going on as if nothing had been.
    let leader = cluster.leader();
    cluster.coordinators[leader].pause().unwrap();
    std::thread::sleep(LEASE + Duration::from_secs(3));
    cluster.coordinators[leader].resume().unwrap();
    cluster.until_phase("Succeeded", 20, Duration::from_secs(90));
    // The API server gone, and back.
    cluster.plane.stop_api_server();
    std::thread::sleep(Duration::from_secs(4));
    cluster.plane.start_api_server().unwrap();
    // A leader killed, another one started.
    let leader = cluster.leader();
    cluster.coordinators[leader].kill().unwrap();
    cluster.coordinator();
    let all = || {
        let phases = cluster.phases();
        let ended: usize =
            ["Succeeded", "Aborted", "Failed", "Skipped"].iter().filter_map(|phase| phases.get(*phase)).sum();
        Ok((ended == 60).then_some(phases))
    };
    let phases = wait::until("all have ended", Duration::from_mins(4), all).unwrap();
    let (most, twice) = cluster.book.most_at_once();
    println!("{phases:?}; at most {most} at once; {} worked", cluster.book.worked().len());
    assert!(most <= SLOTS && !twice, "{most} at once under {SLOTS} slots, one twice: {twice}");
    assert!(phases.get("Succeeded").copied().unwrap_or_default() >= 50, "{phases:?}");
}

#[test]
fn harm_stops_the_workload_everywhere_and_three_stop_everything() {
    let fates = ["cart-0", "shop-0", "mail-0"].map(|pod| (pod.to_owned(), (Health::Harmed, "Restarted")));
    let mut cluster = Cluster::start(4, &Course { fates: fates.into(), ..course(0.5) });
    cluster.coordinator();
    cluster.ask("n0", "cart", "cart-0");
    cluster.until_phase("Failed", 1, Duration::from_secs(30));
    cluster.ask("n1", "cart", "cart-1");
    cluster.ask("n2", "other", "other-0");
    cluster.until_phase("Succeeded", 1, Duration::from_secs(30));
    let breakers = cluster.kubectl().run(&["get", "breakers"]).unwrap();
    assert!(breakers.contains("default/Deployment/cart") && breakers.contains("Open"), "{breakers}");
    let told = || {
        let sweep = cluster.kubectl().get(&["sweep", "app-cart-1", "-n", "default"])?;
        Ok((sweep["status"]["reason"] == "BreakerOpen").then_some(()))
    };
    wait::until("who waits is told why", Duration::from_secs(30), told).unwrap();
    for workload in ["shop", "mail"] {
        cluster.ask("n3", workload, &format!("{workload}-0"));
    }
    cluster.until_phase("Failed", 3, Duration::from_secs(30));
    let global = || Ok(cluster.kubectl().run(&["get", "breaker", "global"]).ok());
    wait::until("the global breaker opens", Duration::from_secs(30), global).unwrap();
    cluster.ask("n0", "calm", "calm-0");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(cluster.phases().get("Pending"), Some(&2));
    cluster.kubectl().run(&["delete", "breaker", "global"]).unwrap();
    cluster.until_phase("Succeeded", 2, Duration::from_secs(30));
}

impl Cluster {
    /// A pod as a kubelet would report it: there is none here.
    fn pod(&self, name: &str, node: &str) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": "cart"}},
            "spec": {
                "nodeName": node, "automountServiceAccountToken": false,
                "containers": [{"name": "app", "image": "cart:1"}],
            },
        });
        self.kubectl().apply_object(&pod).unwrap();
        let status = json!({ "status": {
            "phase": "Running",
            "containerStatuses": [{
                "name": "app", "image": "cart:1", "imageID": "", "ready": true, "restartCount": 0,
                "containerID": format!("containerd://{:0>64}", name.replace("cart-", "a")),
            }],
        }});
        self.runtime.block_on(async {
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), "default");
            pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        });
    }

    fn rollout(&self) -> serde_json::Value {
        self.kubectl().get(&["sweeprollout", "all"]).unwrap()["status"].clone()
    }

    fn until_rollout(&self, phase: &str) -> serde_json::Value {
        let reached = || Ok(Some(self.rollout()).filter(|status| status["phase"] == phase));
        wait::until(&format!("the rollout is {phase}"), Duration::from_secs(90), reached).unwrap_or_else(
            |error| panic!("{error}: {:?} {}", self.rollout(), self.coordinators[0].log_end()),
        )
    }
}

fn rollout(more: &[(&str, serde_json::Value)]) -> serde_json::Value {
    let mut rollout = json!({
        "apiVersion": "podsweep.io/v1alpha1", "kind": "SweepRollout", "metadata": {"name": "all"},
        "spec": {"policy": "p", "select": {"podLabels": {"app": "cart"}}, "canary": 1, "growth": 2},
    });
    for (field, value) in more {
        rollout["spec"][*field] = value.clone();
    }
    rollout
}

#[test]
fn a_rollout_sweeps_what_it_names_wave_by_wave_and_can_be_paused() {
    let mut cluster = Cluster::start(4, &course(1.0));
    for n in 0..7 {
        cluster.pod(&format!("cart-{n}"), &format!("n{}", n % 4));
    }
    cluster.kubectl().apply_object(&rollout(&[("paused", json!(true))])).unwrap();
    cluster.coordinator();
    let paused = cluster.until_rollout("Paused");
    assert_eq!((paused["reason"].as_str(), paused["total"].as_u64()), (Some("PausedByPerson"), Some(7)));
    assert_eq!(cluster.phases(), BTreeMap::new());
    cluster.kubectl().apply_object(&rollout(&[])).unwrap();
    let done = cluster.until_rollout("Succeeded");
    assert_eq!(done["wave"], 3, "one, two, four: {done}");
    assert_eq!((done["healthy"].as_u64(), done["done"].as_u64()), (Some(7), Some(7)), "{done}");
    let (most, twice) = cluster.book.most_at_once();
    assert!((2..=4).contains(&most) && !twice, "{most} at once");
}

#[test]
fn harm_ends_a_rollout_and_what_waits_of_it() {
    let fates = BTreeMap::from([("cart-0".to_owned(), (Health::Harmed, "Restarted"))]);
    let mut cluster = Cluster::start(4, &Course { fates, ..course(0.5) });
    for n in 0..5 {
        cluster.pod(&format!("cart-{n}"), &format!("n{}", n % 4));
    }
    cluster.kubectl().apply_object(&rollout(&[])).unwrap();
    cluster.coordinator();
    let failed = cluster.until_rollout("Failed");
    assert_eq!((failed["reason"].as_str(), failed["harmed"].as_u64()), (Some("Harmed"), Some(1)), "{failed}");
    assert_eq!(cluster.phases().values().sum::<usize>(), 1, "the canary alone was made");
}

#[test]
fn a_policy_that_cannot_be_used_says_so_in_its_status() {
    let mut cluster = Cluster::start(1, &course(1.0));
    let broad = json!({
        "apiVersion": "podsweep.io/v1alpha1", "kind": "SweepPolicy", "metadata": {"name": "broad"},
        "spec": {"select": {"namespaces": ["*"]}, "junk": [{"name": "all", "paths": ["/**"]}]},
    });
    cluster.kubectl().apply_object(&broad).unwrap();
    cluster.coordinator();
    let condition = |name: &str| {
        let policy = cluster.kubectl().get(&["sweeppolicy", name]).unwrap();
        policy["status"]["conditions"][0].clone()
    };
    let told = || Ok((!condition("broad").is_null() && !condition("p").is_null()).then_some(()));
    wait::until("both are told", Duration::from_secs(30), told).unwrap();
    assert_eq!(
        (condition("p")["type"].as_str(), condition("p")["status"].as_str()),
        (Some("Accepted"), Some("True"))
    );
    let broad = condition("broad");
    assert_eq!(broad["status"], "False");
    assert!(broad["message"].as_str().unwrap().contains("iKnowThisIsBroad"), "{broad}");
}
