//! Kubernetes Events on pods, on a real API server: few, as series, and never in anybody's way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use podsweep::kubernetes::events::{Kind, PodEvent, PodEvents, PodReference};
use podsweep::report::metrics::{BuildInfo, Metrics};
use podsweep_tests::cluster::audit::Record;
use podsweep_tests::cluster::control_plane::{ControlPlane, Options};
use podsweep_tests::exposition;
use podsweep_tests::wait;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const PREFIX: &str = "podsweep-test";
const TOLD_WITHIN: Duration = Duration::from_mins(1);
/// In place of the ten minutes of an agent.
const QUIET: Duration = Duration::from_secs(3);

struct Stage {
    plane: ControlPlane,
    runtime: Runtime,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
}

impl Stage {
    fn start() -> Self {
        let plane = ControlPlane::start(PREFIX, Options { audit: true }).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let metrics = Arc::new(Metrics::new(BuildInfo { version: "1", commit: "a" }).unwrap());
        Self { plane, runtime, metrics, shutdown: CancellationToken::new() }
    }

    fn events(&self, kubeconfig: &Path) -> PodEvents {
        self.events_after(kubeconfig, QUIET)
    }

    fn events_after(&self, kubeconfig: &Path, quiet: Duration) -> PodEvents {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        self.runtime.block_on(async {
            let options = KubeConfigOptions::default();
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
            let client = kube::Client::try_from(config).unwrap();
            PodEvents::start(client, "node-1".into(), quiet, Arc::clone(&self.metrics), self.shutdown.clone())
        })
    }

    /// A pod, which needs no node to be told of.
    fn pod(&self, name: &str) -> PodReference {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [{"name": "main", "image": "none"}]},
        });
        let kubectl = self.plane.kubectl().unwrap();
        kubectl.apply_object(&pod).unwrap();
        let pod = kubectl.get(&["pod", name]).unwrap();
        let uid = pod.pointer("/metadata/uid").and_then(Value::as_str).unwrap().to_owned();
        PodReference { uid, namespace: "default".into(), name: name.into() }
    }

    fn on_record(&self) -> Vec<Value> {
        let list = self.plane.kubectl().unwrap().get(&["events.events.k8s.io", "-n", "default"]).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    fn until(&self, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let found = wait::until(what, TOLD_WITHIN, || Ok(Some(self.on_record()).filter(|all| wanted(all))));
        found.unwrap_or_else(|error| panic!("{error:#}: {:#?}", self.on_record()))
    }

    fn count(&self, result: &str) -> f64 {
        let samples = exposition::parse(&self.metrics.render().unwrap()).unwrap();
        let wanted = ("result".to_owned(), result.to_owned());
        let of = |sample: &&exposition::Sample| {
            sample.name == "podsweep_kubernetes_events_total" && sample.labels.contains(&wanted)
        };
        samples.iter().find(of).map_or(0.0, |sample| sample.value)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn event(pod: &PodReference, kind: Kind, note: &str) -> PodEvent {
    PodEvent { pod: pod.clone(), container: Some("main".into()), kind, note: note.into() }
}

fn of<'a>(all: &'a [Value], reason: &str) -> Vec<&'a Value> {
    all.iter().filter(|event| event["reason"] == reason).collect()
}

#[test]
fn what_repeats_is_one_event_with_a_series_and_kubectl_describe_shows_it() {
    let stage = Stage::start();
    let pod = stage.pod("web");
    let events = stage.events(&stage.plane.admin());
    for number in 1..=5 {
        events.tell(event(&pod, Kind::Swept, &format!("policy scratch: removed {number} files")));
    }
    events.tell(event(&pod, Kind::Harmed, "came to harm"));
    let all =
        stage.until("a series of five", |all| of(all, "Swept").iter().any(|one| one["series"]["count"] == 5));
    assert_eq!((of(&all, "Swept").len(), of(&all, "Harmed").len(), all.len()), (1, 1, 2));
    let swept = of(&all, "Swept")[0];
    for (pointer, value) in [
        ("/type", "Normal"),
        ("/note", "policy scratch: removed 1 files"),
        ("/regarding/uid", pod.uid.as_str()),
        ("/regarding/fieldPath", "spec.containers{main}"),
        ("/reportingController", "podsweep.io/agent"),
        ("/reportingInstance", "node-1"),
    ] {
        assert_eq!(swept.pointer(pointer).and_then(Value::as_str), Some(value), "{pointer}: {swept:#}");
    }
    let described = stage.plane.kubectl().unwrap().run(&["describe", "pod", "web"]).unwrap();
    assert!(described.contains("Harmed") && described.contains("came to harm"), "{described}");

    let writes = stage.plane.audit().unwrap();
    let writes = writes.iter().filter(|record| record.is_of("events") && record.has_written());
    let verbs: Vec<_> = writes.map(|record| record.verb.as_str()).collect();
    assert_eq!(verbs, ["create", "create", "patch"]);
    assert_eq!((stage.count("sent"), stage.count("failed")), (3.0, 0.0));
}

#[test]
fn a_series_whose_event_the_server_has_forgotten_begins_anew() {
    /// Long enough for kubectl to delete an object on a busy machine.
    const LONG: Duration = Duration::from_secs(20);
    let stage = Stage::start();
    let pod = stage.pod("web");
    let events = stage.events_after(&stage.plane.admin(), LONG);
    events.tell(event(&pod, Kind::Swept, "old"));
    stage.until("the first", |all| all.len() == 1);
    events.tell(event(&pod, Kind::Swept, "new"));
    stage
        .plane
        .kubectl()
        .unwrap()
        .run(&["delete", "events.events.k8s.io", "--all", "-n", "default"])
        .unwrap();
    let all = stage.until("another", |all| all.len() == 1);
    assert_eq!((&all[0]["note"], &all[0]["series"]), (&json!("new"), &Value::Null));
    let writes = stage.plane.audit().unwrap();
    let codes: Vec<_> =
        writes.iter().filter(|one| one.is_of("events") && one.verb == "patch").map(Record::code).collect();
    assert_eq!(codes, [Some(404)], "it was no series");
}

#[test]
fn who_may_not_write_events_is_told_so_once_each_and_goes_on() {
    let stage = Stage::start();
    let pod = stage.pod("web");
    let nobody = stage.plane.kubeconfig_of("nobody", None, &stage.plane.server()).unwrap();
    let events = stage.events(&nobody);
    events.tell(event(&pod, Kind::Swept, "1"));
    events.tell(event(&pod, Kind::Harmed, "2"));
    wait::until_true("both are refused", TOLD_WITHIN, || Ok(stage.count("failed") >= 2.0)).unwrap();
    assert_eq!(stage.on_record(), Vec::<Value>::new());
}

#[test]
fn an_api_server_that_hangs_holds_nobody_up() {
    /// More than wait, and than one that is on its way.
    const MANY: u32 = 600;
    let mut stage = Stage::start();
    let pod = stage.pod("web");
    let events = stage.events(&stage.plane.admin());
    stage.plane.pause().unwrap();
    for number in 0..MANY {
        // Each of another pod, so that none is told with the one before.
        let other = PodReference { uid: number.to_string(), ..pod.clone() };
        events.tell(event(&other, Kind::Swept, "x"));
    }
    // All of them were taken or dropped, and the server has answered nothing.
    assert!(stage.count("dropped") >= 300.0 && stage.count("sent") == 0.0);
    stage.plane.resume().unwrap();
    stage.until("those that waited", |all| all.len() >= 100);
}
