//! deploy/ on a real API server: it is taken, it can be applied again, its rights are these and no others, its schemas
//! refuse what nobody can have meant, and what the program writes fits them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use podsweep::kubernetes::resources::{
    Asked, Breaker, BreakerLevel, BreakerSpec, BreakerStatus, Figures, PodReference, RequestedBy, Sweep,
    SweepPhase, SweepSpec, SweepStatus, Wave,
};
use podsweep::report::Health;
use podsweep::units::Span;
use podsweep_tests::cluster::control_plane::{ControlPlane, Options};
use podsweep_tests::cluster::kubectl::Kubectl;
use podsweep_tests::wait;
use serde_json::{Value, json};

const PREFIX: &str = "podsweep-cluster";
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(30);
const SYSTEM: &str = "podsweep-system";
/// Of those that kubernetes-validate has the schemas of: the oldest that is still supported, and the newest.
const CURRENT_SERVERS: [&str; 2] = ["1.33.0", "1.37.0"];
const KINDS: [&str; 4] = ["sweeppolicies", "sweeps", "sweeprollouts", "breakers"];

/// A policy with every field that has a pattern, a bound or a word of its own.
const POLICY: &str = r#"
apiVersion: podsweep.io/v1alpha1
kind: SweepPolicy
metadata: {name: billing-scratch}
spec:
  mode: Enforce
  priority: 3
  select:
    namespaces: ["prod-*"]
    podLabels: {app: billing}
    podExpressions: [{key: tier, operator: In, values: [back]}]
    workloads: ["Deployment/billing-*"]
    containers: [app]
    images: ["*/billing:*"]
    cgroups: ["/system.slice/billing*.service"]
  triggers:
  - burst: {createsPerSecond: 200, for: 10s}
  - growth: {filesPerMinute: 5000, for: 1m}
  - nodeInodesFree: {below: 15%}
  - nodeBytesFree: {below: 2.5%}
  - exhaustion: {within: 1h30m}
  - schedule: "*/30 * * * *"
  junk:
  - name: scratch
    paths: ["/tmp/**", "/app/cache/*.part"]
    exclude: ["**/*.lock"]
    volumes: [WritableLayer, EmptyDir]
    types: [File, Symlink]
    olderThan: 10m
    minSize: 0
    keepNewest: 3
    owners: [0, 1000]
    emptyDirectories: true
    action: Delete
    iKnowThisIsBroad: false
  never: ["/app/data/**"]
  scan: {cpu: 20%, readBytesPerSecond: 20Mi, readIOPS: 500, memory: 64Mi, maxEntries: 5000000, timeout: 10m}
  sweep:
    executor: Host
    batchSize: 200
    batchInterval: 100ms
    maxFiles: 1000000
    timeout: 30m
    stopWhen: {nodeInodesFree: 30%}
    maxPressure: {cpu: 20.5, io: 20, memory: 10}
    retries: {limit: 3, backoff: 1m}
  rollout:
    canary: 1
    growth: 2
    observe: 60s
    serialBy: [Workload, Node]
    maxParallel: 10
    guards: [{name: latency, query: min(up) == bool 1}]
  breakers: {sweep: {errors: 10}, workload: {restarts: 1, oomKills: 1, notReady: 1, coolDown: 30m}}
"#;

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

fn manifest(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap()
}

/// An API server with podsweep installed, and who may do everything there.
fn installed() -> (ControlPlane, Kubectl) {
    let plane = ControlPlane::start(PREFIX, Options::default()).unwrap();
    let kubectl = plane.kubectl().unwrap();
    kubectl.apply(&manifest("podsweep-older.yaml")).unwrap();
    for kind in KINDS {
        wait::until_true(&format!("{kind} are served"), ESTABLISHED_WITHIN, || {
            Ok(kubectl.get(&[kind, "-A"]).is_ok())
        })
        .unwrap();
    }
    kubectl.run(&["create", "namespace", "shop"]).unwrap();
    (plane, kubectl)
}

fn parsed(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// The documents of a file, by kind and name.
fn objects(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let mut objects: Vec<_> = documents.into_iter().filter(Value::is_object).collect();
    objects.sort_by_key(|object| (object["kind"].to_string(), object["metadata"]["name"].to_string()));
    objects
}

#[test]
fn what_is_applied_again_takes_no_slot_away() {
    let (_plane, kubectl) = installed();
    let lease = ["lease", "podsweep-slot-0", "-n", SYSTEM];
    let holder = r#"{"spec":{"holderIdentity":"node-1/shop/s/uid","leaseDurationSeconds":15}}"#;
    kubectl.run(&[&["patch"], &lease[..], &["--type", "merge", "-p", holder]].concat()).unwrap();

    kubectl.apply(&manifest("podsweep-older.yaml")).unwrap();

    assert_eq!(kubectl.get(&lease).unwrap()["spec"]["holderIdentity"], "node-1/shop/s/uid");
    let slots = kubectl.get(&["leases", "-n", SYSTEM, "-l", "podsweep.io/slot=sweeps"]).unwrap();
    assert_eq!(slots["items"].as_array().map(Vec::len), Some(5));
}

#[test]
fn kustomize_makes_of_the_base_what_is_rendered() {
    let plane = ControlPlane::start(PREFIX, Options::default()).unwrap();
    let base = deploy("base");
    let made = plane.kubectl().unwrap().run(&["kustomize", base.to_str().unwrap()]).unwrap();
    assert_eq!(objects(&made), objects(&manifest("podsweep-older.yaml")));
}

/// In xtask's cache, by the same variable and default as in xtask/src/command.rs.
fn kubernetes_validate() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    let cache =
        std::env::var_os("PODSWEEP_CACHE").map_or_else(|| home().join(".cache/podsweep"), PathBuf::from);
    cache.join("kubernetes-validate/environment/bin/kubernetes-validate")
}

#[test]
fn what_is_rendered_is_valid_for_current_servers() {
    let program = kubernetes_validate();
    assert!(program.exists(), "no {}: run `cargo xtask setup --level cluster`", program.display());
    for version in CURRENT_SERVERS {
        for file in ["podsweep.yaml", "podsweep-older.yaml", "components/exec/rights.yaml"] {
            let mut validate = Command::new(&program);
            let said =
                validate.args(["-k", version, "--strict", "--quiet"]).arg(deploy(file)).output().unwrap();
            assert!(said.status.success(), "{file} on {version}: {}", String::from_utf8_lossy(&said.stderr));
        }
    }
}

#[test]
fn a_policy_is_stored_as_it_was_written() {
    let (_plane, kubectl) = installed();
    for policy in [POLICY, &manifest("policies/example.yaml")] {
        kubectl.apply(policy).unwrap();
        let written = parsed(policy);
        let stored = kubectl.get(&["sweeppolicy", written["metadata"]["name"].as_str().unwrap()]).unwrap();
        assert_eq!(stored["spec"], written["spec"], "something was pruned or filled in");
    }
}

#[test]
fn a_policy_that_nobody_can_have_meant_is_refused_with_its_field() {
    let (_plane, kubectl) = installed();
    for (from, to, complaint) in [
        ("olderThan: 10m", "olderThan: 10x", "spec.junk.olderThan"),
        ("olderThan: 10m", "olderThan: \"\"", "spec.junk.olderThan"),
        ("mode: Enforce", "mode: enforce", "spec.mode: Unsupported value: \"enforce\""),
        ("below: 15%", "below: a lot", "spec.triggers.nodeInodesFree.below"),
        ("for: 10s}", "for: 10s}\n    schedule: \"* * * * *\"", "one and only one"),
        ("createsPerSecond: 200", "createsPerSecond: 0", "should be greater than or equal to 1"),
        ("minSize: 0", "minSize: -1", "spec.junk.minSize"),
        ("minSize: 0", "minSize: 1.5Gi", "spec.junk.minSize"),
        ("keepNewest: 3", "keepNewest: 10001", "should be less than or equal to 10000"),
        ("readIOPS: 500", "readIOPS: 5", "spec.scan.readIOPS"),
        ("types: [File, Symlink]", "types: []", "spec.junk.types"),
        ("name: scratch", "name: Scratch", "spec.junk.name"),
        ("name: billing-scratch", "name: billing.scratch", "metadata.name"),
        ("name: latency", "name: Latency", "spec.rollout.guards.name"),
        ("query: min(up) == bool 1", "query: ''", "spec.rollout.guards.query"),
        ("namespaces: [\"prod-*\"]", "namespaces: []", "spec.select.namespaces"),
        (
            "retries: {limit: 3, backoff: 1m}",
            "retries: {limit: 3}",
            "spec.sweep.retries.backoff: Required value",
        ),
    ] {
        assert!(POLICY.contains(from), "{from:?} is not in the policy");
        let error = refused(&kubectl, &POLICY.replacen(from, to, 1));
        assert!(error.contains(complaint), "{from:?} -> {to:?}: {error}");
    }
    let mut empty = parsed(POLICY);
    empty["spec"]["select"] = json!({});
    let error = refused(&kubectl, &empty.to_string());
    assert!(error.contains("spec.select") && error.contains("at least 1 properties"), "{error}");
}

#[test]
fn a_field_that_nobody_knows_is_refused_by_kubectl() {
    let (_plane, kubectl) = installed();
    let policy = POLICY.replace("olderThan: 10m", "olderthan: 10m");
    // kubectl checks against what the server publishes, some time after the definitions are there.
    let refused = || Ok(kubectl.run_with(&["apply", "--dry-run=server", "-f", "-"], &policy).err());
    let error = wait::until("it is refused", Duration::from_secs(30), refused).unwrap().to_string();
    assert!(error.contains("unknown field \"olderthan\""), "{error}");
}

/// What the server says; kubectl's own check aside.
fn refused(kubectl: &Kubectl, manifest: &str) -> String {
    let words = ["apply", "--dry-run=server", "--validate=false", "-f", "-"];
    match kubectl.run_with(&words, manifest) {
        Ok(said) => panic!("taken: {said}\n{manifest}"),
        Err(error) => error.to_string(),
    }
}

fn whole_sweep() -> SweepSpec {
    SweepSpec {
        node: "node-1".into(),
        pod: PodReference {
            name: "cart-7d9f5c-x2x4z".into(),
            uid: "2f3b8a4c-9d1e-4a77-8c55-0a1b2c3d4e5f".into(),
        },
        container: "app".into(),
        container_id: Some("ab".repeat(32)),
        workload: "Deployment/cart".into(),
        policy: "billing-scratch".into(),
        mode: None,
        requested_by: RequestedBy::Agent,
        rollout: None,
        asked: Asked { trigger: "Burst".into(), message: "250 creates/s for 10s".into(), urgency: 700 },
        zone: Some("a".into()),
        attempt: 1,
        ttl: Some(Span::from_secs(5400)),
        abort: false,
    }
}

#[test]
fn what_the_program_writes_fits_the_schema_and_a_person_sees_what_runs_and_why() {
    let (_plane, kubectl) = installed();
    let mut sweep = serde_json::to_value(Sweep::new("cart-1", whole_sweep())).unwrap();
    sweep["metadata"]["namespace"] = json!("shop");
    let waiting = SweepStatus {
        reason: Some("WorkloadBusy".into()),
        message: Some("waits for shop/cart-0".into()),
        ..SweepStatus::default()
    };
    let ended = SweepStatus {
        phase: SweepPhase::Succeeded,
        reason: Some("Complete".into()),
        slot: Some("podsweep-slot-0".into()),
        wave: Some(Wave { number: 1, size: 1, generation: 1 }),
        figures: Some(Figures { entries: 10, candidates: 8, removed: 7, removed_bytes: 4096, kept: 1 }),
        health: Some(Health::Healthy),
        ..SweepStatus::default()
    };
    kubectl.apply_object(&sweep).unwrap();
    let path = "/apis/podsweep.io/v1alpha1/namespaces/shop/sweeps/cart-1";
    for (status, shown) in [
        (waiting, "cart-7d9f5c-x2x4z app Pending WorkloadBusy"),
        (ended, "cart-7d9f5c-x2x4z app Succeeded Complete 7 Healthy"),
    ] {
        let mut stored = kubectl.get(&["sweep", "cart-1", "-n", "shop"]).unwrap();
        stored["status"] = serde_json::to_value(&status).unwrap();
        kubectl
            .run_with(&["replace", "--raw", &format!("{path}/status"), "-f", "-"], &stored.to_string())
            .unwrap();
        let stored = kubectl.get(&["sweep", "cart-1", "-n", "shop"]).unwrap();
        assert_eq!(stored["spec"], sweep["spec"], "something was pruned or filled in");
        assert_eq!(serde_json::from_value::<SweepStatus>(stored["status"].clone()).unwrap(), status);
        let table = kubectl.run(&["get", "sw", "-n", "shop"]).unwrap();
        let words: Vec<_> = table.split_whitespace().collect();
        assert!(words.join(" ").contains(shown), "{table}");
    }

    let spec = BreakerSpec { level: BreakerLevel::Workload, workload: Some("shop/Deployment/cart".into()) };
    let breaker = serde_json::to_value(Breaker::new("workload-ab12", spec)).unwrap();
    kubectl.apply_object(&breaker).unwrap();
    let mut stored = kubectl.get(&["swb", "workload-ab12"]).unwrap();
    stored["status"] = serde_json::to_value(BreakerStatus::default()).unwrap();
    let path = "/apis/podsweep.io/v1alpha1/breakers/workload-ab12/status";
    kubectl.run_with(&["replace", "--raw", path, "-f", "-"], &stored.to_string()).unwrap();
    let table = kubectl.run(&["get", "podsweep", "-A"]).unwrap();
    assert!(table.contains("shop/Deployment/cart") && table.contains("Open"), "{table}");
}

#[test]
fn a_sweep_without_its_pod_and_a_breaker_of_no_level_are_refused() {
    let (_plane, kubectl) = installed();
    let mut sweep = serde_json::to_value(Sweep::new("cart-1", whole_sweep())).unwrap();
    sweep["metadata"]["namespace"] = json!("shop");
    for (pointer, value, complaint) in [
        ("/spec/pod/uid", json!(""), "spec.pod.uid"),
        ("/spec/node", json!(""), "spec.node"),
        ("/spec/asked/urgency", json!(1001), "spec.asked.urgency"),
        ("/spec/ttl", json!("a day"), "spec.ttl"),
        ("/spec/requestedBy", json!("Nobody"), "spec.requestedBy"),
    ] {
        let mut wrong = sweep.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        let error = refused(&kubectl, &wrong.to_string());
        assert!(error.contains(complaint), "{pointer}: {error}");
    }
    let breaker = json!({"apiVersion": "podsweep.io/v1alpha1", "kind": "Breaker", "metadata": {"name": "b"},
                         "spec": {"level": "Node"}});
    let error = refused(&kubectl, &breaker.to_string());
    assert!(error.contains("spec.level: Unsupported value"), "{error}");
}

/// What the server would let a service account do in a namespace, as `verb group/resource[ name]`; what everybody may
/// ask about himself aside.
fn rights(kubectl: &Kubectl, account: &str, namespace: &str) -> BTreeSet<String> {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
                        "spec": {"namespace": namespace}});
    let who = format!("--as=system:serviceaccount:{SYSTEM}:{account}");
    let answer = kubectl.run_with(&["create", &who, "-f", "-", "-o", "json"], &review.to_string()).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["status"]["incomplete"], false, "{answer}");
    let mut found = BTreeSet::new();
    for rule in answer["status"]["resourceRules"].as_array().unwrap() {
        let words = |field: &str| -> Vec<String> {
            let words = rule[field].as_array().into_iter().flatten();
            words.map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        let names = Some(words("resourceNames")).filter(|names| !names.is_empty());
        let names = names.map_or_else(
            || vec![String::new()],
            |names| names.iter().map(|name| format!(" {name}")).collect(),
        );
        for group in words("apiGroups").iter().filter(|group| *group != "authorization.k8s.io") {
            for resource in words("resources") {
                for verb in words("verbs") {
                    found.extend(names.iter().map(|name| format!("{verb} {group}/{resource}{name}")));
                }
            }
        }
    }
    found
}

fn each(verbs: &[&str], resources: &[&str]) -> BTreeSet<String> {
    resources.iter().flat_map(|resource| verbs.iter().map(move |verb| format!("{verb} {resource}"))).collect()
}

fn all(parts: &[BTreeSet<String>]) -> BTreeSet<String> {
    parts.iter().flatten().cloned().collect()
}

fn slots() -> Vec<String> {
    (0..5).map(|slot| format!("coordination.k8s.io/leases podsweep-slot-{slot}")).collect()
}

#[test]
fn an_agent_may_do_this_and_nothing_else() {
    let (_plane, kubectl) = installed();
    let everywhere = all(&[
        each(&["list", "watch"], &["/pods", "/namespaces", "podsweep.io/sweeppolicies"]),
        each(&["get"], &["/nodes"]),
        each(&["get", "list", "watch", "create"], &["podsweep.io/sweeps"]),
        each(&["patch"], &["podsweep.io/sweeps/status"]),
        each(&["create", "patch"], &["events.k8s.io/events"]),
    ]);
    assert_eq!(rights(&kubectl, "podsweep-agent", "shop"), everywhere);
    let slots = slots();
    let slots: Vec<_> = slots.iter().map(String::as_str).collect();
    let at_home = all(&[everywhere, each(&["get", "patch"], &slots)]);
    assert_eq!(rights(&kubectl, "podsweep-agent", SYSTEM), at_home);
}

#[test]
fn a_coordinator_may_do_this_and_nothing_else() {
    let (_plane, kubectl) = installed();
    let statuses = ["sweeps", "sweeppolicies", "sweeprollouts", "breakers"]
        .map(|kind| format!("podsweep.io/{kind}/status"));
    let everywhere = all(&[
        each(&["list", "watch"], &["/pods"]),
        each(&["get", "list", "watch"], &["podsweep.io/sweeppolicies", "podsweep.io/sweeprollouts"]),
        each(&["get", "list", "watch", "create", "delete"], &["podsweep.io/sweeps", "podsweep.io/breakers"]),
        each(&["patch"], &statuses.each_ref().map(String::as_str)),
        each(&["create", "patch"], &["events.k8s.io/events"]),
    ]);
    assert_eq!(rights(&kubectl, "podsweep-coordinator", "shop"), everywhere);
    let slots = slots();
    let slots: Vec<_> = slots.iter().map(String::as_str).collect();
    let at_home = all(&[
        everywhere,
        each(&["list", "watch"], &["coordination.k8s.io/leases"]),
        each(&["get", "patch"], &slots),
        each(&["get", "update"], &["coordination.k8s.io/leases podsweep-coordinator"]),
    ]);
    assert_eq!(rights(&kubectl, "podsweep-coordinator", SYSTEM), at_home);
}

/// Asked as the server asks itself for each request, one by one.
#[test]
fn neither_reads_secrets_starts_programs_or_changes_policies() {
    let (_plane, kubectl) = installed();
    let must_not = [
        ("get", "", "secrets", ""),
        ("list", "", "secrets", ""),
        ("get", "", "configmaps", ""),
        ("create", "", "pods", "exec"),
        ("get", "", "pods", "exec"),
        ("create", "", "pods", "ephemeralcontainers"),
        ("create", "", "serviceaccounts", "token"),
        ("delete", "", "pods", ""),
        ("patch", "", "nodes", ""),
        ("get", "", "nodes", "proxy"),
        ("create", "podsweep.io", "sweeppolicies", ""),
        ("update", "podsweep.io", "sweeppolicies", ""),
        ("create", "coordination.k8s.io", "leases", ""),
        ("delete", "coordination.k8s.io", "leases", ""),
        ("bind", "rbac.authorization.k8s.io", "clusterroles", ""),
        ("impersonate", "", "users", ""),
    ];
    let accounts = ["podsweep-agent", "podsweep-coordinator"];
    for account in accounts {
        for (verb, group, resource, subresource) in must_not {
            let asked = [verb, group, resource, subresource];
            assert!(!may(&kubectl, account, asked), "{account} may {asked:?}");
        }
        assert!(may(&kubectl, account, ["list", "", "pods", ""]), "{account}: the question itself is wrong");
    }
    kubectl.apply(&manifest("components/exec/rights.yaml")).unwrap();
    for verb in ["get", "create"] {
        assert!(may(&kubectl, "podsweep-agent", [verb, "", "pods", "exec"]));
        assert!(!may(&kubectl, "podsweep-coordinator", [verb, "", "pods", "exec"]));
    }
}

fn may(kubectl: &Kubectl, account: &str, [verb, group, resource, subresource]: [&str; 4]) -> bool {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": format!("system:serviceaccount:{SYSTEM}:{account}"),
            "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{SYSTEM}"), "system:authenticated"],
            "resourceAttributes": {"namespace": SYSTEM, "verb": verb, "group": group, "resource": resource,
                                   "subresource": subresource},
        },
    });
    let answer = kubectl.run_with(&["create", "-f", "-", "-o", "json"], &review.to_string()).unwrap();
    serde_json::from_str::<Value>(&answer).unwrap()["status"]["allowed"].as_bool().unwrap()
}

#[test]
fn with_an_agents_own_token_the_server_says_the_same() {
    let (plane, _admin) = installed();
    let kubeconfig = plane.kubeconfig_of_service_account(SYSTEM, "podsweep-agent", &plane.server()).unwrap();
    let agent = plane.kubectl_with(&kubeconfig).unwrap();
    agent.run(&["get", "pods", "-A"]).unwrap();
    agent.run(&["get", "lease", "podsweep-slot-4", "-n", SYSTEM]).unwrap();
    for refused in [
        &["get", "secrets", "-A"][..],
        &["get", "lease", "podsweep-coordinator", "-n", SYSTEM],
        &["delete", "sweeppolicy", "any"],
    ] {
        let error = agent.run(refused).unwrap_err().to_string();
        assert!(error.contains("forbidden") || error.contains("Forbidden"), "{refused:?}: {error}");
    }
}
