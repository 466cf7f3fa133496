//! podsweep as deploy/ installs it, on a test's node: the agent as a DaemonSet below the kubelet, three coordinators.
//!
//! In: a node whose folders are the usual ones, and what the agent's configuration shall say besides. Out: pods that are
//! ready. Must never change the manifests otherwise than a person would have to on such a node: [`adapt`] has every
//! change, with its reason.

use std::fs;
use std::path::Path;
use std::process;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

use super::image_archive::Image;
use super::kubectl::Kubectl;
use super::node::Node;
use crate::{cgroup, image, rights, wait};

/// The namespace of all that is podsweep's.
pub const NAMESPACE: &str = "podsweep-system";
/// What people with a server before 1.30 apply.
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/podsweep-older.yaml");
/// As the manifests name it. What it starts, they say, too.
const IMAGE: Image<'static> = Image { name: "podsweep.io/podsweep:0.1.0", command: &["podsweep"] };
/// linux/capability.h.
const CAP_SYS_RESOURCE: u32 = 24;
/// Four pods of a busy machine, each within half a minute.
const READY_WITHIN: Duration = Duration::from_mins(3);

/// What the agent makes outside of the node: the machine's cgroups have no walls. Drop it after the node.
#[derive(Debug)]
pub struct Scans(String);

impl Drop for Scans {
    fn drop(&mut self) {
        if let Err(error) = cgroup::remove(&self.0) {
            eprintln!("cgroup {}: {error:#}", self.0);
        }
    }
}

/// Installs it and waits until it is ready.
pub fn install(node: &mut Node, settings: &Value) -> Result<Scans> {
    add_image(node)?;
    let scans = scan_cgroup(node)?;
    let manifests = adapted(&scans, settings)?;
    let scans = Scans(scans);
    let kubectl = node.kubectl()?;
    kubectl.apply(&manifests)?;
    wait_until_ready(node, &kubectl)?;
    Ok(scans)
}

/// What to look at where something did not come: pods, their events, the ends of the logs.
pub fn state(kubectl: &Kubectl) -> String {
    let namespace = ["-n", NAMESPACE];
    let questions: [&[&str]; 5] = [
        &["get", "pods", "--all-namespaces", "--output=wide"],
        &["get", "sweeps,breakers", "--all-namespaces", "--output=wide"],
        &["get", "events", "--all-namespaces"],
        &["logs", "daemonset/podsweep-agent", "--tail=30"],
        &["logs", "deployment/podsweep-coordinator", "--tail=30"],
    ];
    let answer = |words: &[&str]| {
        let words = [words, if words[0] == "logs" { &namespace[..] } else { &[] }].concat();
        let said = kubectl.run(&words).unwrap_or_else(|error| format!("{error:#}"));
        format!("$ kubectl {}\n{said}", words.join(" "))
    };
    questions.map(answer).join("\n")
}

fn add_image(node: &Node) -> Result<()> {
    let layer = node.control_plane().path("podsweep-layer");
    fs::create_dir_all(&layer).with_context(|| format!("cannot make {}", layer.display()))?;
    image::build_podsweep(&layer)?;
    node.add_images(&layer, &[IMAGE])?;
    fs::remove_dir_all(&layer).with_context(|| format!("cannot remove {}", layer.display()))
}

/// A name that no other test has.
fn scan_cgroup(node: &Node) -> Result<String> {
    let name = node.control_plane().folder().file_name().context("a folder has a name")?;
    Ok(format!("{}.slice", name.to_string_lossy()))
}

fn adapted(scans: &str, settings: &Value) -> Result<String> {
    let text = fs::read_to_string(MANIFESTS).with_context(|| format!("cannot read {MANIFESTS}"))?;
    let mut objects: Vec<Value> =
        serde_saphyr::from_multiple(&text).with_context(|| Path::new(MANIFESTS).display().to_string())?;
    objects.retain(Value::is_object);
    for object in &mut objects {
        adapt(object, scans, settings)?;
    }
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())
}

/// What differs from the manifests.
fn adapt(object: &mut Value, scans: &str, settings: &Value) -> Result<()> {
    match (object["kind"].as_str(), object["metadata"]["name"].as_str()) {
        (Some("ConfigMap"), Some("podsweep-agent")) => {
            let file = &mut object["data"]["podsweep.yaml"];
            let text = file.as_str().context("the agent's ConfigMap has no podsweep.yaml")?;
            let mut config: Value = serde_saphyr::from_str(text)?;
            // The machine's cgroups are not the node's alone.
            config["scanCgroup"] = json!(scans);
            for (field, value) in settings.as_object().into_iter().flatten() {
                config[field] = value.clone();
            }
            *file = json!(config.to_string());
        }
        (Some("DaemonSet"), _) => {
            let pod = &mut object["spec"]["template"]["spec"];
            // Debian's containerd is 1.6: its profile forbids `bpf` to all but SYS_ADMIN (docs/kubernetes.md).
            pod["securityContext"]["seccompProfile"] = json!({"type": "Unconfined"});
            // Where root itself does not have it, no container starts that asks for it; kernels from 5.11 on need none.
            if !root_has(CAP_SYS_RESOURCE)? {
                let added = pod["containers"][0]["securityContext"]["capabilities"]["add"].as_array_mut();
                added
                    .context("the agent's container adds no capabilities")?
                    .retain(|name| name != "SYS_RESOURCE");
            }
        }
        _ => {}
    }
    Ok(())
}

/// Whether this process could give it to another: its bounding set has it.
fn root_has(capability: u32) -> Result<bool> {
    let own = i32::try_from(process::id()).context("a process id that is none")?;
    Ok(rights::of_all_threads(own)?.iter().all(|thread| thread.bounding & (1 << capability) != 0))
}

fn wait_until_ready(node: &mut Node, kubectl: &Kubectl) -> Result<()> {
    let ready = wait::until_true("podsweep's pods are ready", READY_WITHIN, || {
        node.check_alive()?;
        let agents = kubectl.get(&["daemonset", "podsweep-agent", "-n", NAMESPACE])?;
        let coordinators = kubectl.get(&["deployment", "podsweep-coordinator", "-n", NAMESPACE])?;
        Ok(agents["status"]["numberReady"] == 1
            && coordinators["status"]["readyReplicas"] == coordinators["spec"]["replicas"])
    });
    ready.map_err(|error| anyhow!("{error:#}\n{}", state(kubectl)))
}
