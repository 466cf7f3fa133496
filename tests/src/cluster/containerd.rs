//! containerd on a test's node. In: folders, images. Out: a container runtime that the kubelet can use, with the images
//! in it. It listens in the node's own /run, and pulls nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::control_plane::ControlPlane;
use super::daemon::Daemon;
use super::enclosure::Enclosure;
use super::image_archive::PAUSE;
use super::programs::Programs;
use crate::{image, wait};

/// Where it listens, on the node.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";
/// The kubelet's images and containers, among those of others.
const NAMESPACE: &str = "k8s.io";
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A network that pods have in common with their node: its bridge and their subnet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Network {
    pub(super) bridge: &'static str,
    pub(super) subnet: &'static str,
}

/// Starts it; images and layers are kept below `data`.
pub(super) fn start(
    plane: &ControlPlane,
    enclosure: &Enclosure,
    data: &Path,
    network: Network,
) -> Result<Daemon> {
    let programs = plane.programs();
    let networks = plane.path("cni");
    fs::create_dir_all(&networks).with_context(|| format!("cannot make {}", networks.display()))?;
    fs::write(networks.join("10-pods.conflist"), cni(network))?;
    let config = plane.path("containerd.toml");
    fs::write(&config, configuration(programs, data, &networks)?)?;
    let mut containerd = programs.command("containerd")?;
    containerd.arg("--config").arg(&config).env("PATH", path(programs));
    let mut containerd = plane.daemon("containerd", &mut containerd)?;
    wait::until_true("containerd answers", READY_WITHIN, || {
        containerd.check_alive()?;
        Ok(ctr(programs, enclosure, &["version"]).is_ok())
    })?;
    Ok(containerd)
}

/// Reads an archive of images.
pub(super) fn import(programs: &Programs, enclosure: &Enclosure, archive: &Path) -> Result<()> {
    let archive = archive.to_str().context("a path of a test is text")?;
    ctr(programs, enclosure, &["--namespace", NAMESPACE, "images", "import", archive])
}

fn ctr(programs: &Programs, enclosure: &Enclosure, words: &[&str]) -> Result<()> {
    let mut ctr = programs.command("ctr")?;
    ctr.args(["--address", SOCKET]).args(words).env("PATH", path(programs));
    let output = enclosure.run(|| ctr.output().context("cannot start ctr"))?;
    if !output.status.success() {
        bail!("ctr {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// It looks for its shim in PATH, and that for runc, which is among root's programs.
fn path(programs: &Programs) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}:/usr/sbin:/sbin", programs.folder().display())
}

/// TOML; strings are quoted as in JSON.
fn configuration(programs: &Programs, data: &Path, networks: &Path) -> Result<String> {
    let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
    let runc = image::program("node-runc")?;
    let [data, opt] = [data.to_owned(), data.join("opt")].map(|path| json!(path).to_string());
    let [plugins, networks, runc] =
        [programs.path("cni")?, networks.to_owned(), runc].map(|path| json!(path).to_string());
    Ok(format!(
        "version = 2\n\
         root = {data}\n\
         state = \"/run/containerd\"\n\
         [grpc]\n\
         address = \"{SOCKET}\"\n\
         [{cri}]\n\
         sandbox_image = \"{pause}\"\n\
         stream_server_address = \"127.0.0.1\"\n\
         stream_server_port = \"0\"\n\
         disable_hugetlb_controller = true\n\
         # Nobody may be made less likely to be killed than this process is.\n\
         restrict_oom_score_adj = true\n\
         [{cri}.cni]\n\
         bin_dir = {plugins}\n\
         conf_dir = {networks}\n\
         [{cri}.containerd.runtimes.runc]\n\
         runtime_type = \"io.containerd.runc.v2\"\n\
         [{cri}.containerd.runtimes.runc.options]\n\
         BinaryName = {runc}\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\n\
         path = {opt}\n",
        pause = PAUSE.name,
    ))
}

fn cni(network: Network) -> String {
    json!({
        "cniVersion": "0.3.1",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": network.bridge,
            "isGateway": true,
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni",
                "ranges": [[{"subnet": network.subnet}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
    .to_string()
}
