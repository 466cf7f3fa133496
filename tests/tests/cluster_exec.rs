//! Executor Exec on a real node: the container's own rm, through a real API server, kubelet and runtime.
//!
//! The sweep stage runs here in the test's process, with a real scan worker; names come from kubectl.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use podsweep::inventory::{Container, Inventory, InventorySettings, NameSource, Names};
use podsweep::kernel::Cgroups;
use podsweep::kubernetes::exec::ClusterExec;
use podsweep::policy::{Mode, Pressure, SweepPolicy, parse};
use podsweep::report::Outcome;
use podsweep::scan::ScanPlace;
use podsweep::sweep::{
    Audit, AuditEntry, AuditResult, Done, Fate, Plan, PodExec, Program, Stuck, Tools, plan_roots, run,
};
use podsweep_tests::cluster::image_archive::Image;
use podsweep_tests::cluster::node::{Node, NodeOptions};
use podsweep_tests::image::{self, WORKLOAD};
use podsweep_tests::workspace::Workspace;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const PREFIX: &str = "podsweep-test";
const POD_WITHIN: Duration = Duration::from_mins(1);
/// Nothing younger than 10 s is ever removed.
const OLD: Duration = Duration::from_secs(12);
const ANY_PRESSURE: Pressure = Pressure { cpu: 100.0, io: 100.0, memory: 100.0 };
/// With programs by their names, as images for people have them. The tests' own image has none.
const WITH_RM: Image<'static> = Image { name: "podsweep.test/with-rm:1", command: &[WORKLOAD, "serve"] };

/// The names of one container, as the API server has them.
struct OneName(String, Names);

impl NameSource for OneName {
    fn names(&self, id: &str, _: Option<&str>) -> Option<Names> {
        (id == self.0).then(|| self.1.clone())
    }
}

/// What was written down, in its order.
#[derive(Default)]
struct Remembers(Mutex<Vec<Written>>);

#[derive(Debug, Clone, PartialEq)]
enum Written {
    Announced(usize),
    Became(Vec<Fate>),
}

impl Audit for Remembers {
    fn will_remove(&self, _: &str, batch: &[AuditEntry]) -> std::io::Result<()> {
        self.0.lock().unwrap().push(Written::Announced(batch.len()));
        Ok(())
    }

    fn done(&self, _: &str, results: &[AuditResult]) -> std::io::Result<()> {
        self.0.lock().unwrap().push(Written::Became(results.iter().map(|one| one.result).collect()));
        Ok(())
    }
}

struct Stage {
    node: Node,
    runtime: Runtime,
    workspace: Workspace,
}

impl Stage {
    fn start() -> Self {
        let node = Node::start(PREFIX, &NodeOptions::default()).unwrap();
        let workspace = Workspace::new(PREFIX).unwrap();
        let layer = workspace.folder("layer").unwrap();
        image::build(&layer).unwrap();
        // The machine's own, as images for people have them; their libraries are there for the workload.
        for program in ["rm", "rmdir", "nice"] {
            fs::copy(Path::new("/bin").join(program), layer.join("bin").join(program)).unwrap();
        }
        node.add_images(&layer, &[WITH_RM]).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { node, runtime, workspace }
    }

    fn pod(&mut self, name: &str, container: &Value) -> Value {
        self.node.run_pod(&Node::pod(name, container), POD_WITHIN).unwrap()
    }

    fn shell(&self, pod: &str, script: &str) {
        self.node.kubectl().unwrap().run(&["exec", pod, "--", "/bin/busybox", "sh", "-c", script]).unwrap();
    }

    /// Somebody's way to the API server.
    fn exec(&self, kubeconfig: &Path) -> Arc<dyn PodExec> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        self.runtime.block_on(async {
            let options = KubeConfigOptions::default();
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
            let client = kube::Client::try_from(config).unwrap();
            Arc::new(ClusterExec::new(client)) as Arc<dyn PodExec>
        })
    }

    fn admin(&self) -> Arc<dyn PodExec> {
        self.exec(&self.node.control_plane().admin())
    }

    fn sweep(&self, container: Container, exec: Arc<dyn PodExec>, mode: Mode) -> (Done, Vec<Written>) {
        let policy: Arc<SweepPolicy> = Arc::new(parse(POLICY, Path::new("exec.yaml")).unwrap());
        let roots = plan_roots(&container, &policy.spec.junk);
        let id = "exec".to_owned();
        let plan = Plan { id, container: Some(Arc::new(container)), policy, mode, roots, never: Vec::new() };
        let audit = Arc::new(Remembers::default());
        let tools = Tools {
            scans: ScanPlace {
                worker: image::program("podsweep").unwrap(),
                cgroup_parent: format!("{}.slice", self.workspace.name()),
                cgroups: Cgroups::find().unwrap(),
            },
            cgroups: Cgroups::find().unwrap(),
            audit: Arc::clone(&audit) as Arc<dyn Audit>,
            deleters: Arc::new(Program::this()),
            exec: OnceLock::from(exec),
            stuck: Stuck::default(),
            node_pressure: ANY_PRESSURE,
        };
        let (events, _received) = tokio::sync::mpsc::channel(1000);
        let done = self.runtime.block_on(run(plan, &tools, events, CancellationToken::new(), None));
        let written = audit.0.lock().unwrap().clone();
        (done, written)
    }
}

const POLICY: &str = r#"apiVersion: podsweep.io/v1alpha1
kind: SweepPolicy
metadata: {name: exec}
spec:
  mode: Enforce
  select: {namespaces: [default]}
  junk:
  - {name: tmp, paths: ["/tmp/**"], olderThan: 10s, emptyDirectories: true}
  scan: {cpu: 50%, readBytesPerSecond: 50Mi, readIOPS: 5000, allowMissingLimits: true}
  sweep:
    executor: Exec
    batchInterval: 100ms
    maxPressure: {cpu: 100, io: 100, memory: 100}
"#;

fn text(pod: &Value, pointer: &str) -> String {
    pod.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer}: {pod}")).to_owned()
}

/// The container of a pod as the inventory finds it.
fn container(pod: &Value) -> Container {
    let id = text(pod, "/status/containerStatuses/0/containerID").replace("containerd://", "");
    let names = Names {
        namespace: Some(text(pod, "/metadata/namespace")),
        pod: Some(text(pod, "/metadata/name")),
        pod_uid: Some(text(pod, "/metadata/uid")),
        container: Some("main".into()),
        image: None,
        workload: None,
        labels: BTreeMap::new(),
    };
    let names = Box::new(OneName(id.clone(), names));
    let mut inventory = Inventory::new(Cgroups::find().unwrap(), names, InventorySettings::default());
    inventory.rescan();
    let found = inventory.containers().find(|found| found.id == id);
    (**found.unwrap_or_else(|| panic!("the inventory does not know container {id}"))).clone()
}

fn junk(container: &Container) -> PathBuf {
    container.layer.as_ref().unwrap().upper.join("tmp")
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, std::iter::Iterator::count)
}

#[test]
fn the_containers_own_rm_removes_what_was_checked_from_outside() {
    let mut stage = Stage::start();
    let pod = stage.pod("web", &json!({"image": WITH_RM.name}));
    stage.shell("web", "mkdir -p /tmp/a/b && cd /tmp/a && for i in $(seq 210); do echo x > $i; done");
    stage.shell("web", "mkdir /tmp/c && cd /tmp/c && for i in $(seq 20); do echo x > $i; done");
    stage.shell(
        "web",
        "cd /tmp && echo x > -rf && echo x > 'a b' && echo x > \"$(printf 'new\\nline')\" && echo x > 文件",
    );
    stage.shell("web", "echo x > /tmp/held; /bin/busybox sh -c 'exec 9</tmp/held; exec /bin/busybox sleep 600' > /dev/null 2>&1 &");
    std::thread::sleep(OLD);
    let container = container(&pod);
    let (done, _) = stage.sweep(container.clone(), stage.admin(), Mode::DryRun);
    assert_eq!((done.outcome, done.figures.would_remove), (Outcome::Complete, 234), "{}", done.message);

    let (done, written) = stage.sweep(container.clone(), stage.admin(), Mode::Enforce);
    assert_eq!(done.outcome, Outcome::Complete, "{} {:?}", done.message, done.notes);
    assert_eq!((done.figures.removed, done.figures.removed_directories), (234, 1), "{:?}", done.figures);
    let left: Vec<_> =
        fs::read_dir(junk(&container)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    // `a/b` was empty before and is nothing that the sweep has emptied; so `a` is not empty.
    assert_eq!(left.iter().collect::<BTreeSet<_>>(), BTreeSet::from([&"a".into(), &"held".into()]));
    assert!(matches!(written.first(), Some(Written::Announced(_))), "{written:?}");
    let fates: Vec<_> = written
        .iter()
        .filter_map(|one| if let Written::Became(all) = one { Some(all) } else { None })
        .flatten()
        .collect();
    assert!(fates.iter().filter(|fate| ***fate == Fate::Removed).count() >= 234, "{fates:?}");
    let pod = stage.node.kubectl().unwrap().get(&["pod", "web"]).unwrap();
    assert_eq!(pod.pointer("/status/containerStatuses/0/restartCount"), Some(&json!(0)));
}

#[test]
fn a_sweep_is_refused_before_its_scan_where_it_cannot_be_carried_out() {
    let mut stage = Stage::start();
    let plain = stage.pod("plain", &json!({}));
    let web = stage.pod("web", &json!({"image": WITH_RM.name}));
    for pod in ["plain", "web"] {
        stage.shell(pod, "echo x > /tmp/junk");
    }
    std::thread::sleep(OLD);

    let (done, written) = stage.sweep(container(&plain), stage.admin(), Mode::Enforce);
    assert_eq!((done.outcome, done.reason.as_str()), (Outcome::Refused, "NoRm"), "{}", done.message);
    assert!(done.scan.is_none() && written.is_empty(), "{written:?}");

    // Somebody who may read pods and nothing else.
    let plane = stage.node.control_plane();
    let kubectl = stage.node.kubectl().unwrap();
    kubectl.run(&["create", "clusterrole", "reader", "--verb=get", "--resource=pods"]).unwrap();
    kubectl
        .run(&["create", "clusterrolebinding", "reader", "--clusterrole=reader", "--user=reader"])
        .unwrap();
    let reader = plane.kubeconfig_of("reader", None, &plane.server()).unwrap();
    let web = container(&web);
    let (done, _) = stage.sweep(web.clone(), stage.exec(&reader), Mode::Enforce);
    assert_eq!((done.outcome, done.reason.as_str()), (Outcome::Refused, "ExecForbidden"), "{}", done.message);
    assert!(done.message.contains("pods/exec"), "{}", done.message);

    // A pod of the name with another uid, as after a deletion by force; a container that is not the one.
    for (uid, id) in [("another", web.id.as_str()), (web.names.pod_uid.as_deref().unwrap(), "another")] {
        let mut other = web.clone();
        (other.names.pod_uid, other.id) = (Some(uid.to_owned()), id.to_owned());
        let (done, _) = stage.sweep(other, stage.admin(), Mode::Enforce);
        assert_eq!(
            (done.outcome, done.reason.as_str()),
            (Outcome::Stopped, "ContainerChanged"),
            "{}",
            done.message
        );
    }
    assert_eq!(count(&junk(&web)), 1);
}

#[test]
fn what_its_user_may_not_remove_stays_and_the_sweep_says_what_rm_said() {
    let mut stage = Stage::start();
    // The image's own command writes where only root may.
    let command = ["/bin/busybox", "sleep", "2147483647"];
    let user = json!({"image": WITH_RM.name, "command": command, "securityContext": {"runAsUser": 1000}});
    let pod = stage.pod("user", &user);
    stage.shell("user", "cd /tmp && for i in $(seq 20); do echo x > $i; done");
    let container = container(&pod);
    // Somebody else's, in a directory with the sticky bit: as another container of the pod would leave it.
    let first = container.first.pid;
    fs::write(format!("/proc/{first}/root/tmp/root"), "x").unwrap();
    std::thread::sleep(OLD);
    let (done, _) = stage.sweep(container.clone(), stage.admin(), Mode::Enforce);
    assert_eq!(
        (done.outcome, done.figures.removed),
        (Outcome::Complete, 20),
        "{} {:?}",
        done.message,
        done.notes
    );
    let said = done.notes.iter().find(|note| note.starts_with("RmSaid: ")).expect("what rm said");
    assert!(said.contains("/tmp/root") && said.contains("not permitted"), "{said}");
    assert_eq!(count(&junk(&container)), 1);
}
