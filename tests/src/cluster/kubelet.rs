//! The kubelet of a test's node. In: where things are, when it is to evict. Out: a running kubelet that registers its
//! node and is trusted as that node only.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::containerd::SOCKET;
use super::control_plane::ControlPlane;
use super::daemon::Daemon;
use super::image_archive::PAUSE;
use super::kubeconfig::{self, Identity};

/// RBAC's group of nodes (authorization mode `Node`).
const NODES: &str = "system:nodes";
/// Below nothing that a test does: a kubelet without any threshold takes the defaults.
const NEVER: (&str, &str) = ("memory.available", "10Mi");

/// What a kubelet is told.
#[derive(Debug)]
pub(super) struct Kubelet<'a> {
    /// Of its node.
    pub(super) name: &'a str,
    /// Of its node: neither loopback nor anybody else's.
    pub(super) address: &'a str,
    /// The API server, as the node reaches it.
    pub(super) server: &'a str,
    /// Pods, volumes.
    pub(super) data: &'a Path,
    /// Below which its pods are.
    pub(super) cgroup: &'a str,
    /// `evictionHard`.
    pub(super) eviction: &'a BTreeMap<&'static str, String>,
}

/// What its configuration names.
#[derive(Clone, Copy)]
struct Files<'a> {
    authority: &'a Path,
    certificate: &'a Path,
    key: &'a Path,
    resolver: &'a Path,
}

impl Kubelet<'_> {
    /// Starts it.
    pub(super) fn start(&self, plane: &ControlPlane) -> Result<Daemon> {
        let folder = plane.path("kubelet");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let credentials =
            plane.certificate(&format!("system:node:{}", self.name), NODES, &[self.address, self.name])?;
        let (certificate, key) = kubeconfig::write_credentials(&folder, "serving", &credentials)?;
        let authority = plane.path("ca.crt");
        fs::copy(&authority, folder.join("ca.crt")).context("cannot copy the authority's certificate")?;
        let own = kubeconfig::write(&folder, "kubelet", self.server, &Identity::Certificate(credentials))?;
        // The machine's own may be a link into its /run.
        let resolver = folder.join("resolv.conf");
        fs::write(&resolver, "")?;
        let config = folder.join("config.json");
        let files =
            Files { authority: &authority, certificate: &certificate, key: &key, resolver: &resolver };
        fs::write(&config, self.configuration(files).to_string())?;

        let mut kubelet = plane.programs().command("kubelet")?;
        for (flag, path) in [
            ("config", config.as_path()),
            ("kubeconfig", &own),
            ("root-dir", self.data),
            ("cert-dir", &folder.join("pki")),
            ("volume-plugin-dir", &folder.join("plugins")),
        ] {
            kubelet.arg(format!("--{flag}={}", path.display()));
        }
        kubelet.arg(format!("--hostname-override={}", self.name)).arg(format!("--node-ip={}", self.address));
        kubelet
            .args(["--container-runtime=remote", &format!("--container-runtime-endpoint=unix://{SOCKET}")]);
        // Else it would be removed as unused when the disk is full, and no pod start any more.
        kubelet.arg(format!("--pod-infra-container-image={}", PAUSE.name));
        plane.daemon("kubelet", &mut kubelet)
    }

    fn configuration(&self, files: Files<'_>) -> Value {
        let eviction: BTreeMap<_, _> = [(NEVER.0, NEVER.1)]
            .into_iter()
            .chain(self.eviction.iter().map(|(k, v)| (*k, v.as_str())))
            .collect();
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.address,
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": files.authority},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": files.certificate,
            "tlsPrivateKeyFile": files.key,
            "resolvConf": files.resolver,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.cgroup,
            "enforceNodeAllocatable": ["pods"],
            "failSwapOn": false,
            "makeIPTablesUtilChains": false,
            "nodeStatusUpdateFrequency": "4s",
            // Which of the pods is to go is decided by what its volumes hold, too.
            "volumeStatsAggPeriod": "10s",
            "imageGCHighThresholdPercent": 100,
            "evictionHard": eviction,
            "evictionPressureTransitionPeriod": "5s",
        })
    }
}
