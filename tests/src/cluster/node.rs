//! A whole cluster of one real node: control plane, controller-manager, scheduler, containerd and kubelet, in processes,
//! network and mounts of its own. In: how large its disk is, when it evicts. Out: pods that run, restart, are evicted;
//! commands and work on the node itself. It takes some 15 s to start, and 650 MB.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::statvfs;
use serde_json::{Value, json};

use super::containerd::{self, Network};
use super::control_plane::{ControlPlane, Options, SERVICE};
use super::daemon::Daemon;
use super::enclosure::Enclosure;
use super::image_archive::{self, Image, PAUSE, SERVICE as SERVICE_IMAGE};
use super::kubectl::Kubectl;
use super::kubelet::Kubelet;
use super::node_cgroup;
use crate::cgroup::Cgroup;
use crate::disk::{self, Size};
use crate::{image, wait};

/// Its name.
pub const NAME: &str = "node-1";
/// Of the bridge that its pods are on.
const ADDRESS: &str = "10.88.7.1";
const NETWORK: Network = Network { bridge: "podsweep0", subnet: "10.88.7.0/24" };
/// Six times what an idle machine takes.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// A pod's namespace where a test names none.
const NAMESPACE: &str = "default";

/// What a test wants of it.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// A small disk for images, containers, logs and volumes. None: the machine's.
    pub disk: Option<Size>,
    /// When the kubelet evicts: `nodefs.inodesFree` to a number or a percentage, for example. It looks every 10 s.
    pub eviction: BTreeMap<&'static str, String>,
    /// Keep a record of every request.
    pub audit: bool,
    /// containerd and the kubelet keep what they have where everybody's do, in /var/lib on the node. Else it is in the
    /// node's folder, where this machine sees it, too, unless it is on a disk of its own.
    pub usual_folders: bool,
}

/// Where containerd and the kubelet keep what they have, as the node sees it.
#[derive(Debug)]
struct Homes {
    containerd: PathBuf,
    kubelet: PathBuf,
}

/// A running one. Dropped, nothing of it stays.
#[derive(Debug)]
pub struct Node {
    // Dropped in this order: clients before servers, then whatever the enclosure still holds, then its cgroups.
    daemons: Vec<Daemon>,
    plane: ControlPlane,
    enclosure: Arc<Enclosure>,
    cgroup: Cgroup,
}

impl Node {
    /// Starts it, and waits until it is ready for pods.
    pub fn start(prefix: &str, options: &NodeOptions) -> Result<Self> {
        let enclosure = Arc::new(Enclosure::of_a_node()?);
        enclosure.run(make_network)?;
        let plane = ControlPlane::start_in(&enclosure, prefix, Options { audit: options.audit })?;
        let name = plane.folder().file_name().context("a folder has a name")?.to_string_lossy().into_owned();
        let cgroup = node_cgroup::make(&name)?;
        let mut node = Self { daemons: Vec::new(), plane, enclosure, cgroup };
        let data = node.make_disk(options.disk)?;
        let homes = node.make_homes(&data, options.usual_folders)?;
        node.start_controllers()?;
        let containerd = containerd::start(&node.plane, &node.enclosure, &homes.containerd, NETWORK)?;
        node.daemons.push(containerd);
        node.add_own_images()?;
        let kubelet = Kubelet {
            name: NAME,
            address: ADDRESS,
            server: &format!("https://{SERVICE}"),
            data: &homes.kubelet,
            cgroup: &node.cgroup.path(),
            eviction: &options.eviction,
        };
        let kubelet = kubelet.start(&node.plane)?;
        node.daemons.push(kubelet);
        node.wait_until_ready()?;
        Ok(node)
    }

    /// Its API server.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// kubectl as somebody who may do everything.
    pub fn kubectl(&self) -> Result<Kubectl> {
        self.plane.kubectl()
    }

    /// Its namespaces: to start a program on the node, or do work there. It sees /run, mounts and processes as the
    /// kubelet does.
    pub fn enclosure(&self) -> &Enclosure {
        &self.enclosure
    }

    /// The API server's address on the node and in pods, where this machine's loopback is not.
    pub fn server_on_node() -> String {
        format!("https://{SERVICE}")
    }

    /// The cgroup below which all its pods are.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Makes images of one layer, and gives them to the node.
    pub fn add_images(&self, layer: &Path, images: &[Image<'_>]) -> Result<()> {
        let folder = self.plane.path("images");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let archive = image_archive::write(&folder, layer, images)?;
        containerd::import(self.plane.programs(), &self.enclosure, &archive)?;
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
    }

    /// A pod of one container of the tests' image, `main`, in the namespace `default`; `container` is written over what
    /// that has.
    pub fn pod(name: &str, container: &Value) -> Value {
        Self::pod_in(NAMESPACE, name, container)
    }

    /// The same in another namespace.
    pub fn pod_in(namespace: &str, name: &str, container: &Value) -> Value {
        let mut whole =
            json!({"name": "main", "image": SERVICE_IMAGE.name, "imagePullPolicy": "Never", "stdin": true});
        if let (Some(whole), Some(container)) = (whole.as_object_mut(), container.as_object()) {
            whole.extend(container.clone());
        }
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [whole]},
        })
    }

    /// Waits until a pod of the namespace `default` is as wanted; the pod. `what` names in the error what did not come.
    pub fn wait_for_pod(
        &mut self,
        name: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        self.wait_for_pod_in(NAMESPACE, name, what, limit, wanted)
    }

    fn wait_for_pod_in(
        &mut self,
        namespace: &str,
        name: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let kubectl = self.kubectl()?;
        let mut last = Value::Null;
        let found = wait::until(what, limit, || {
            self.check_alive()?;
            last = kubectl.get(&["pod", name, "-n", namespace])?;
            Ok(wanted(&last).then(|| last.clone()))
        });
        found.with_context(|| format!("pod {name} is now {}", last["status"]))
    }

    /// Creates a pod and waits until its containers are ready.
    pub fn run_pod(&mut self, pod: &Value, limit: Duration) -> Result<Value> {
        let text =
            |field| pod["metadata"][field].as_str().with_context(|| format!("a pod without a {field}"));
        let (namespace, name) = (text("namespace")?, text("name")?);
        self.kubectl()?.apply_object(pod)?;
        let what = format!("pod {name} is ready");
        self.wait_for_pod_in(namespace, name, &what, limit, |pod| has_condition(pod, "Ready"))
    }

    /// How many inodes are free where its images, containers and volumes are.
    pub fn free_inodes(&self) -> Result<u64> {
        let data = self.plane.path("data");
        let read = || statvfs(&data).with_context(|| format!("cannot stat the disk of {}", data.display()));
        Ok(self.enclosure.run(read)?.files_available())
    }

    /// An error with the end of its log, where one of its programs has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::check_alive)
    }

    /// Where the kubelet and containerd keep everything.
    fn make_disk(&self, size: Option<Size>) -> Result<PathBuf> {
        let data = self.plane.path("data");
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        if let Some(size) = size {
            let image = self.plane.path("disk.img");
            disk::format(&image, size)?;
            // It goes with the mounts of the enclosure.
            self.enclosure.run(|| disk::mount(&image, &data))?;
        }
        Ok(data)
    }

    fn make_homes(&self, data: &Path, usual: bool) -> Result<Homes> {
        let [containerd, kubelet] = ["containerd", "kubelet"].map(|name| {
            let (there, usual_place) = (data.join(name), Path::new("/var/lib").join(name));
            let home = if usual { &usual_place } else { &there };
            // On the node: a disk of its own is mounted there alone.
            self.enclosure.run(|| {
                for folder in [&there, home] {
                    fs::create_dir_all(folder)
                        .with_context(|| format!("cannot make {}", folder.display()))?;
                }
                if usual {
                    let none: Option<&str> = None;
                    mount(Some(&there), home, none, MsFlags::MS_BIND, none)
                        .with_context(|| format!("cannot bind {}", home.display()))?;
                }
                Ok(home.clone())
            })
        });
        Ok(Homes { containerd: containerd?, kubelet: kubelet? })
    }

    fn start_controllers(&mut self) -> Result<()> {
        let admin =
            self.plane.kubeconfig_of("controllers", Some("system:masters"), &Self::server_on_node())?;
        let kubeconfig = format!("--kubeconfig={}", admin.display());
        let path = |name| self.plane.path(name).display().to_string();
        let mut manager = self.plane.programs().command("kube-controller-manager")?;
        manager.args([&kubeconfig, "--leader-elect=false", "--use-service-account-credentials"]);
        manager.arg(format!("--root-ca-file={}", path("ca.crt")));
        manager.arg(format!("--service-account-private-key-file={}", path("tokens.key")));
        manager.arg(format!("--cert-dir={}", path("controller-manager")));
        let mut scheduler = self.plane.programs().command("kube-scheduler")?;
        scheduler.args([&kubeconfig, "--leader-elect=false"]);
        scheduler.arg(format!("--cert-dir={}", path("scheduler")));
        for (name, command) in [("kube-controller-manager", &mut manager), ("kube-scheduler", &mut scheduler)]
        {
            let daemon = self.plane.daemon(name, command)?;
            self.daemons.push(daemon);
        }
        Ok(())
    }

    /// The images that every test's pods are made of. Again, where the kubelet may have removed them as unused: it does
    /// when its disk is full.
    pub fn add_own_images(&self) -> Result<()> {
        let layer = self.plane.path("layer");
        fs::create_dir_all(&layer).with_context(|| format!("cannot make {}", layer.display()))?;
        image::build(&layer)?;
        self.add_images(&layer, &[PAUSE, SERVICE_IMAGE])?;
        fs::remove_dir_all(&layer).with_context(|| format!("cannot remove {}", layer.display()))
    }

    /// Pods are admitted only where their namespace has its service account.
    fn wait_until_ready(&mut self) -> Result<()> {
        let kubectl = self.kubectl()?;
        wait::until_true("the node is ready", READY_WITHIN, || {
            self.check_alive()?;
            let node = kubectl.get(&["node", NAME]);
            let account = kubectl.get(&["serviceaccount", "default", "-n", NAMESPACE]);
            Ok(account.is_ok() && node.is_ok_and(|node| has_condition(&node, "Ready")))
        })
    }
}

/// Whether an object's status has a condition that is true.
pub fn has_condition(object: &Value, kind: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// The bridge is there before the first pod: the kubelet's address is on it. The address of the service `kubernetes` is
/// the node's own.
fn make_network() -> Result<()> {
    let subnet = NETWORK.subnet.rsplit_once('/').map_or("24", |(_, length)| length);
    let service = format!("{SERVICE}/32");
    let address = format!("{ADDRESS}/{subnet}");
    for words in [
        &["link", "add", NETWORK.bridge, "type", "bridge"][..],
        &["address", "add", &address, "dev", NETWORK.bridge],
        &["link", "set", NETWORK.bridge, "up"],
        &["address", "add", &service, "dev", "lo"],
    ] {
        let output =
            Command::new("ip").args(words).output().context("cannot start ip: apt-get install iproute2")?;
        if !output.status.success() {
            bail!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
    }
    Ok(())
}
