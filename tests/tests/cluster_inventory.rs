//! What the Kubernetes API tells an agent of its containers: names, owners, annotations, policies; and what an agent
//! that cannot hear the API any more still dares to say.
//!
//! The API server is a real one, and so are agent and containers. Kubelet there is none: what it would report of a pod,
//! the test writes into the pod's status.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use podsweep::policy::chain::Step;
use podsweep::report::{Health, Phase};
use podsweep_tests::agent::Agent;
use podsweep_tests::cgroup::Cgroup;
use podsweep_tests::cluster::control_plane::{ControlPlane, Options};
use podsweep_tests::cluster::daemon::Daemon;
use podsweep_tests::cluster::kubectl::Kubectl;
use podsweep_tests::container::Container;
use podsweep_tests::wait;
use podsweep_tests::workload::Plan;
use podsweep_tests::workspace::Workspace;
use serde_json::{Value, json};

const PREFIX: &str = "podsweep-test";
const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/base");
const NODE: &str = "node-1";
const NAMESPACE: &str = "shop";
const POD: &str = "cart-7d9f5c-x2x4z";
/// A watch tells within milliseconds; an unoptimised agent on a busy machine takes longer to act by it.
const TOLD_WITHIN: Duration = Duration::from_secs(20);
/// `kubernetes::MAX_CUT`, the longest wait between two tries, and some.
const STALE_WITHIN: Duration = Duration::from_secs(150);
const STORM_WITHIN: Duration = Duration::from_mins(1);
const OBSERVED_WITHIN: Duration = Duration::from_mins(1);
const MASTERS: Option<&str> = Some("system:masters");

/// A control plane with podsweep's definitions and the namespace of the test's pod.
struct Cluster {
    plane: ControlPlane,
    kubectl: Kubectl,
}

impl Cluster {
    fn start() -> Self {
        let plane = ControlPlane::start(PREFIX, Options::default()).unwrap();
        let kubectl = plane.kubectl().unwrap();
        for file in ["namespace.yaml", "crds.yaml", "slots.yaml"] {
            kubectl.apply(&fs::read_to_string(Path::new(BASE).join(file)).unwrap()).unwrap();
        }
        let served = || Ok(["sweeppolicies", "sweeps"].iter().all(|plural| kubectl.get(&[*plural]).is_ok()));
        wait::until_true("the custom resources are served", TOLD_WITHIN, served).unwrap();
        kubectl.run(&["create", "namespace", NAMESPACE]).unwrap();
        Self { plane, kubectl }
    }

    fn agent(&self, server: &str, more: &Value) -> Agent {
        let kubeconfig = self.plane.kubeconfig_of("agent", MASTERS, server).unwrap();
        agent(&kubeconfig, more)
    }

    /// The pod that `in_pod` is the container of; its uid.
    fn make_pod(&self) -> String {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": POD,
                "namespace": NAMESPACE,
                "labels": {"app": "cart", "pod-template-hash": "7d9f5c"},
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-7d9f5c", "uid": "0c1d",
                    "controller": true,
                }],
            },
            "spec": {"nodeName": NODE, "containers": [{"name": "app", "image": "shop/cart:1.4"}]},
        });
        self.kubectl.run_with(&["create", "-f", "-"], &pod.to_string()).unwrap();
        let pod = self.kubectl.get(&["pod", POD, "-n", NAMESPACE]).unwrap();
        pod["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    /// What a kubelet reports of it.
    fn report(&self, id: &str) {
        let mut pod = self.kubectl.get(&["pod", POD, "-n", NAMESPACE]).unwrap();
        pod["status"]["phase"] = json!("Running");
        pod["status"]["containerStatuses"] = json!([{
            "name": "app", "containerID": format!("containerd://{id}"), "image": "registry.example/shop/cart:1.4",
            "imageID": "sha256:9f1e", "ready": true, "started": true, "restartCount": 0,
            "state": {"running": {"startedAt": "2026-11-22T07:00:02Z"}},
        }]);
        self.put_status(&pod);
    }

    /// Another report on the container that was reported last.
    fn change_status(&self, change: impl Fn(&mut Value)) {
        let mut pod = self.kubectl.get(&["pod", POD, "-n", NAMESPACE]).unwrap();
        change(&mut pod["status"]["containerStatuses"][0]);
        self.put_status(&pod);
    }

    fn put_status(&self, pod: &Value) {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{POD}/status");
        self.kubectl.run_with(&["replace", "--raw", &path, "-f", "-"], &pod.to_string()).unwrap();
    }

    /// Writes, or with `-` after the key removes, the annotation of a `pod/NAME` or a `namespace/NAME`.
    fn annotate(&self, object: &str, word: &str) {
        let annotation = format!("podsweep.io/sweep{word}");
        self.kubectl.run(&["annotate", "--overwrite", object, &annotation, "-n", NAMESPACE]).unwrap();
    }

    /// Grants slots for as long as it is kept.
    fn coordinator(&self) -> Daemon {
        let config = self.plane.path("coordinator.yaml");
        let kubeconfig = self.plane.admin();
        fs::write(&config, json!({"kubeconfig": kubeconfig, "listen": "127.0.0.1:0"}).to_string()).unwrap();
        let mut command = Command::new(podsweep_tests::image::program("podsweep").unwrap());
        command.args(["coordinator", "--config"]).arg(&config);
        self.plane.daemon("coordinator", &mut command).unwrap()
    }

    fn policy(&self, name: &str, spec: &Value) -> anyhow::Result<String> {
        self.kubectl.apply_object(&json!({
            "apiVersion": "podsweep.io/v1alpha1", "kind": "SweepPolicy", "metadata": {"name": name}, "spec": spec,
        }))
    }
}

fn agent(kubeconfig: &Path, more: &Value) -> Agent {
    let mut kubernetes = json!({"kubeconfig": kubeconfig, "nodeName": NODE});
    kubernetes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    // Policies are objects: the folder that the tests' agents have is not read.
    let settings = json!({"kubernetes": kubernetes, "policies": "/etc/podsweep/policies"});
    Agent::start_with(PREFIX, &[], &settings).unwrap()
}

/// A container where the kubelet would have it.
struct InPod {
    container: Container,
    _pod: Cgroup,
    _above: Cgroup,
    id: String,
    _name: Workspace,
}

fn in_pod(uid: &str) -> InPod {
    let name = Workspace::new(PREFIX).unwrap();
    let above = Cgroup::make(name.name()).unwrap();
    let pod = Cgroup::make(&format!("{}/pod{uid}", name.name())).unwrap();
    let id = "4c01db0b339c5d1e".repeat(4);
    let container = Container::start_in_pod(PREFIX, &pod, &id).unwrap();
    InPod { container, _pod: pod, _above: above, id, _name: name }
}

fn cart() -> Value {
    json!({
        "mode": "Enforce",
        "select": {"namespaces": [NAMESPACE], "workloads": ["Deployment/cart"], "podLabels": {"app": "cart"}},
        "junk": [{"name": "tmp", "paths": ["/tmp/**"], "olderThan": "10s"}],
    })
}

/// Who decides about a file, and with which word.
fn decides(agent: &Agent, container: &Container) -> (u8, Option<String>) {
    let steps: Vec<Step> = agent.explain(container, "/tmp/x", &[]).unwrap();
    let step = steps.iter().find(|step| step.deciding).unwrap();
    (step.level, step.reason.clone())
}

fn wait_until_decides(agent: &Agent, container: &Container, level: u8, word: &str, limit: Duration) {
    let mut last = None;
    let decided = wait::until_true(&format!("{word} decides"), limit, || {
        last = Some(decides(agent, container));
        Ok(last == Some((level, Some(word.to_owned()))))
    });
    if let Err(error) = decided {
        panic!("{error:#}; at last: {last:?}\n{}", agent.log_end());
    }
}

/// Nobody says no to a sweep as a whole: it is about the file, which is not there.
fn wait_until_let_through(agent: &Agent, container: &Container) {
    wait_until_decides(agent, container, 0, "NotThere", TOLD_WITHIN);
}

fn name_of(agent: &Agent, container: &Container) -> Option<(String, Option<String>)> {
    let id = container.cgroup_id().unwrap();
    let answer = agent.api().ask("GET", "/v1/containers", None).unwrap();
    let all: Value = serde_json::from_str(&answer.body).unwrap();
    let found = all["containers"].as_array().unwrap().iter().find(|found| found["cgroup"] == id)?;
    Some((found["name"].as_str()?.to_owned(), found["policy"].as_str().map(str::to_owned)))
}

#[test]
fn a_container_has_the_apis_names_as_soon_as_it_tells_and_is_not_swept_before() {
    let cluster = Cluster::start();
    let agent = cluster.agent(&cluster.plane.server(), &json!({}));
    cluster.policy("cart", &cart()).unwrap();
    let uid = cluster.make_pod();
    let pod = in_pod(&uid);
    agent.knows(pod.container.cgroup_id().unwrap(), TOLD_WITHIN).unwrap();
    // The pod is there, and nobody has reported this container of it.
    wait_until_decides(&agent, &pod.container, 3, "PodUnknown", TOLD_WITHIN);

    cluster.report(&pod.id);
    let expected = Some((format!("{NAMESPACE}/{POD}/app"), Some("cart".to_owned())));
    wait::until_true("it has its names and its policy", TOLD_WITHIN, || {
        Ok(name_of(&agent, &pod.container) == expected)
    })
    .unwrap_or_else(|error| panic!("{error:#}; it is {:?}", name_of(&agent, &pod.container)));
    wait_until_let_through(&agent, &pod.container);

    // A restart gives it another id, which has to be reported anew.
    cluster.report(&"5d12ec1c44ad6e2f".repeat(4));
    wait_until_decides(&agent, &pod.container, 3, "PodUnknown", TOLD_WITHIN);
    cluster.kubectl.run(&["delete", "pod", POD, "-n", NAMESPACE, "--force", "--grace-period=0"]).unwrap();
    wait_until_decides(&agent, &pod.container, 3, "PodUnknown", TOLD_WITHIN);
}

#[test]
fn the_owners_of_namespace_and_pod_have_a_word() {
    let cluster = Cluster::start();
    let agent = cluster.agent(&cluster.plane.server(), &json!({"protectQos": ["Guaranteed"]}));
    cluster.policy("cart", &cart()).unwrap();
    let pod = in_pod(&cluster.make_pod());
    cluster.report(&pod.id);
    wait_until_let_through(&agent, &pod.container);

    let (of_pod, of_namespace) = (format!("pod/{POD}"), format!("namespace/{NAMESPACE}"));
    for (word, decides) in [("=Disabled", true), ("=Enabled", false), ("=disabled", true), ("-", false)] {
        cluster.annotate(&of_pod, word);
        if decides {
            wait_until_decides(&agent, &pod.container, 3, "PodDisabled", TOLD_WITHIN);
        } else {
            wait_until_let_through(&agent, &pod.container);
        }
    }
    cluster.annotate(&of_namespace, "=Disabled");
    wait_until_decides(&agent, &pod.container, 2, "NamespaceDisabled", TOLD_WITHIN);
    // The pod's own word does not overrule it.
    cluster.annotate(&of_pod, "=Enabled");
    wait_until_decides(&agent, &pod.container, 2, "NamespaceDisabled", TOLD_WITHIN);
    cluster.annotate(&of_namespace, "-");
    wait_until_let_through(&agent, &pod.container);

    for resource in ["pods", "namespaces", "sweeppolicies"] {
        let current = format!("podsweep_kubernetes_watch_current{{resource=\"{resource}\"}} 1");
        let shown = || Ok(agent.api().metrics()?.contains(&current));
        wait::until_true(&current, TOLD_WITHIN, shown).unwrap();
    }
}

#[test]
fn what_is_in_no_pod_of_this_node_is_seen_and_never_swept() {
    let cluster = Cluster::start();
    let agent = cluster.agent(&cluster.plane.server(), &json!({}));
    let of_nobody = in_pod("6f9619ff-8b86-4d01-b42d-00cf4fc964ff");
    let on_its_own = Container::start(PREFIX).unwrap();
    let paths = [of_nobody.container.cgroup().path(), on_its_own.cgroup().path()];
    let spec = json!({
        "mode": "Enforce",
        "select": {"cgroups": paths},
        "junk": [{"name": "tmp", "paths": ["/tmp/**"], "olderThan": "10s"}],
    });
    cluster.policy("all", &spec).unwrap();
    for (container, word) in [(&of_nobody.container, "PodUnknown"), (&on_its_own, "NotInAPod")] {
        agent.knows(container.cgroup_id().unwrap(), TOLD_WITHIN).unwrap();
        wait_until_decides(&agent, container, 3, word, TOLD_WITHIN);
        let refused = wait::until("its policy is in force", TOLD_WITHIN, || {
            let asked = agent.api().request_sweep(&container.cgroup().path(), "all");
            let refused = asked.expect_err("a sweep began").to_string();
            Ok((!refused.contains("NoSuchPolicy")).then_some(refused))
        });
        let refused = refused.unwrap();
        assert!(refused.contains(word), "{refused}");
    }
}

#[test]
fn a_policy_that_cannot_be_used_is_named_and_changes_nothing() {
    let cluster = Cluster::start();
    let agent = cluster.agent(&cluster.plane.server(), &json!({}));
    let names = || {
        let status = agent.api().status().unwrap();
        (status.policies.into_iter().map(|policy| policy.name).collect::<Vec<_>>(), status.policy_errors)
    };
    let wait_for = |what: &str, wanted: &dyn Fn(&[String], &[String]) -> bool| {
        wait::until_true(what, TOLD_WITHIN, || {
            let (names, errors) = names();
            Ok(wanted(&names, &errors))
        })
        .unwrap_or_else(|error| panic!("{error:#}: {:?}", names()));
    };
    cluster.policy("cart", &cart()).unwrap();
    wait_for("cart is in force", &|names, errors| names == ["cart"] && errors.is_empty());

    // Nothing that a schema can see.
    let mut broad = cart();
    broad["junk"][0]["paths"] = json!(["/**"]);
    cluster.policy("broad", &broad).unwrap();
    wait_for("broad is named", &|names, errors| {
        names == ["cart"]
            && errors.iter().any(|error| error.starts_with("sweeppolicies/broad: spec.junk[0].paths[0]"))
    });
    cluster.kubectl.run(&["delete", "sweeppolicy", "broad"]).unwrap();
    wait_for("nothing is wrong", &|names, errors| names == ["cart"] && errors.is_empty());
    cluster.kubectl.run(&["delete", "sweeppolicy", "cart"]).unwrap();
    wait_for("none is in force", &|names, errors| names.is_empty() && errors.is_empty());
}

#[test]
fn an_agent_that_is_cut_off_lets_nothing_begin_and_comes_back_by_itself() {
    let cluster = Cluster::start();
    let way = cluster.plane.proxy().unwrap();
    let agent = cluster.agent(&way.server(), &json!({}));
    cluster.policy("cart", &cart()).unwrap();
    let pod = in_pod(&cluster.make_pod());
    cluster.report(&pod.id);
    wait_until_let_through(&agent, &pod.container);

    way.cut();
    wait_until_decides(&agent, &pod.container, 3, "ApiStale", STALE_WITHIN);
    // Metrics are brought up to date once a second.
    let shown =
        || Ok(agent.api().metrics()?.contains("podsweep_kubernetes_watch_current{resource=\"pods\"} 0"));
    wait::until_true("the metric shows it", TOLD_WITHIN, shown).unwrap();
    // It goes on looking.
    let another = Container::start(PREFIX).unwrap();
    agent.knows(another.cgroup_id().unwrap(), TOLD_WITHIN).unwrap();
    // What happens meanwhile is heard later.
    cluster.annotate(&format!("pod/{POD}"), "=Disabled");

    way.restore();
    wait_until_decides(&agent, &pod.container, 3, "PodDisabled", STALE_WITHIN);
}

#[test]
fn an_api_server_that_starts_again_is_heard_again_though_nothing_has_changed() {
    let mut cluster = Cluster::start();
    let agent = cluster.agent(&cluster.plane.server(), &json!({}));
    cluster.policy("cart", &cart()).unwrap();
    let pod = in_pod(&cluster.make_pod());
    cluster.report(&pod.id);
    wait_until_let_through(&agent, &pod.container);

    cluster.plane.stop_api_server();
    wait_until_decides(&agent, &pod.container, 3, "ApiStale", STALE_WITHIN);
    cluster.plane.start_api_server().unwrap();
    wait_until_decides(&agent, &pod.container, 0, "NotThere", STALE_WITHIN);
    cluster.annotate(&format!("pod/{POD}"), "=Disabled");
    wait_until_decides(&agent, &pod.container, 3, "PodDisabled", TOLD_WITHIN);
}

#[test]
fn a_container_that_ceases_to_be_ready_after_its_sweep_was_harmed() {
    let harmed = observed_while(|cluster| {
        cluster.change_status(|container| container["ready"] = json!(false));
    });
    assert_eq!(harmed, (Health::Harmed, "NotReady".to_owned()));
}

#[test]
fn of_a_container_whose_pod_is_deleted_after_its_sweep_nobody_knows() {
    let deleted = observed_while(|cluster| {
        // With its grace period: nobody is there to end it, so it stays as one that is leaving.
        cluster.kubectl.run(&["delete", "pod", POD, "-n", NAMESPACE, "--wait=false"]).unwrap();
    });
    assert_eq!(deleted, (Health::Unknown, "PodDeleted".to_owned()));
}

/// What the observation after a sweep finds when this happens meanwhile.
fn observed_while(happens: impl Fn(&Cluster)) -> (Health, String) {
    let cluster = Cluster::start();
    let _coordinator = cluster.coordinator();
    let agent = cluster.agent(&cluster.plane.server(), &json!({}));
    let mut spec = cart();
    spec["sweep"] = json!({"batchSize": 1000, "batchInterval": "100ms"});
    spec["rollout"] = json!({"observe": "1m"});
    cluster.policy("cart", &spec).unwrap();
    let mut pod = in_pod(&cluster.make_pod());
    cluster.report(&pod.id);
    wait_until_let_through(&agent, &pod.container);
    pod.container.storm(&Plan { odd: 0, ..Plan::small(500) }, STORM_WITHIN).unwrap();
    pod.container.grow_old();

    // In a cluster a wish is never granted at once.
    let waits = agent.api().request_sweep(&pod.container.cgroup().path(), "cart").unwrap_err().to_string();
    assert!(waits.contains("AwaitsSlot"), "{waits}");
    let cgroup = pod.container.cgroup_id().unwrap();
    let id = wait::until("the sweep removed and observes", OBSERVED_WITHIN, || {
        let sweeps = agent.api().sweeps_of(cgroup)?;
        Ok(sweeps.into_iter().find(|sweep| sweep.phase == Phase::Observing).map(|sweep| sweep.id))
    });
    let id = id.unwrap_or_else(|error| panic!("{error:#}\n{}", agent.log_end()));
    happens(&cluster);
    let record = agent.ended(&id, OBSERVED_WITHIN).unwrap();
    (record.health.unwrap(), record.health_reason.unwrap())
}

/// What a server with somebody else's definitions lets through.
const ANY_MODE: &str = r#"[{"op": "remove",
    "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/mode/enum"}]"#;

#[test]
fn a_sweep_that_lies_is_skipped_and_one_that_cannot_be_read_stops_nobody() {
    let cluster = Cluster::start();
    cluster.kubectl.run(&["patch", "crd", "sweeps.podsweep.io", "--type=json", "-p", ANY_MODE]).unwrap();
    let _coordinator = cluster.coordinator();
    let agent = cluster.agent(&cluster.plane.server(), &json!({}));
    let mut spec = cart();
    spec["rollout"] = json!({"observe": "10s"});
    cluster.policy("cart", &spec).unwrap();
    let uid = cluster.make_pod();
    let pod = in_pod(&uid);
    cluster.report(&pod.id);
    wait_until_let_through(&agent, &pod.container);

    let make = |name: &str, workload: &str, mode: &str| {
        cluster.kubectl.apply_object(&json!({
            "apiVersion": "podsweep.io/v1alpha1", "kind": "Sweep",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"podsweep.io/node": NODE}},
            "spec": {"node": NODE, "pod": {"name": POD, "uid": uid}, "container": "app", "workload": workload,
                "policy": "cart", "mode": mode},
        }))
    };
    let ended = |name: &str| {
        let get = || cluster.kubectl.get(&["sweep", name, "-n", NAMESPACE]);
        wait::until(&format!("{name} has ended"), OBSERVED_WITHIN, || {
            let sweep = get()?;
            Ok((!sweep["status"]["endedAt"].is_null()).then_some(sweep["status"].clone()))
        })
        .unwrap_or_else(|error| panic!("{error:#}: {:?}\n{}", get(), agent.log_end()))
    };
    // The server has taken the change when it takes this one.
    let taken = || Ok(make("unreadable", "Deployment/cart", "Whatever").is_ok());
    wait::until_true("a Sweep that nobody can read is taken", TOLD_WITHIN, taken).unwrap();

    make("liar", "Deployment/payments", "DryRun").unwrap();
    let liar = ended("liar");
    assert_eq!((&liar["phase"], &liar["reason"]), (&json!("Skipped"), &json!("WorkloadDiffers")), "{liar}");
    make("honest", "Deployment/cart", "DryRun").unwrap();
    assert_eq!(ended("honest")["phase"], "Succeeded");
    let unreadable = cluster.kubectl.get(&["sweep", "unreadable", "-n", NAMESPACE]).unwrap();
    assert!(unreadable["status"].is_null(), "{unreadable}");
}
