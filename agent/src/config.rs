//! The node's configuration file.
//!
//! In: `/etc/podsweep/podsweep.yaml`. Out: [`Config`], checked. Every field has a default; docs/config.md explains each.
//! Must never: accept a field that it does not know, or a way for strangers to reach the control endpoint.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::document::{self, FileError};
use crate::policy::Pressure;
use crate::report::cloud_events;
use crate::units::{Bytes, Span};

mod check;
mod kubernetes;

pub use kubernetes::{KubernetesConfig, QosClass};

/// The node's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Folder of policies.
    pub policies: PathBuf,
    /// Folder for history, journal and breakers.
    pub state: PathBuf,
    /// Unix socket of the control endpoint.
    pub socket: PathBuf,
    /// TCP address of the control endpoint besides the socket; loopback only, and only with `tokenFile`.
    pub listen: Option<SocketAddr>,
    /// File that holds the bearer token for `listen`.
    pub token_file: Option<PathBuf>,
    /// The node's global switch.
    pub sweeps: Switch,
    /// Only these containers may be swept; an empty list allows all.
    pub allow: Lists,
    /// These containers are never swept; beats `allow`.
    pub deny: Lists,
    /// Globs of paths, as containers see them, that no policy may name.
    pub never: Vec<String>,
    /// Directories of the host that policies may name as HostPath volumes.
    pub host_paths: Vec<PathBuf>,
    /// Between two reads of the kernel's counters.
    pub interval: Span,
    /// Between two walks of the whole cgroup tree.
    pub rescan: Span,
    /// Sweeps at a time.
    pub slots: u32,
    /// Sweeps begun in any minute.
    pub sweeps_per_minute: u32,
    /// Between the end of a container's sweep and the start of its next.
    pub cool_down: Span,
    /// Local times of day in which sweeps may begin, as `22:00-06:00`; empty: always.
    pub allowed_hours: Vec<String>,
    /// PSI "some avg10" of the node above which sweeps slow down.
    pub node_pressure: Pressure,
    /// Cgroup below which scans run, at the root of each hierarchy.
    pub scan_cgroup: String,
    /// How much history stays.
    pub history: HistoryLimits,
    /// How large the journal of removed paths grows.
    pub journal: JournalLimits,
    /// The node's own breakers.
    pub breakers: NodeBreakers,
    /// Whether systemd units count as containers.
    pub units: bool,
    /// The cluster that this node is part of; left out: none, and policies come from files.
    #[serde(deserialize_with = "kubernetes::given", skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesConfig>,
    /// Where CloudEvents go; none: none are sent.
    pub cloud_events: Option<cloud_events::Settings>,
}

/// On or off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Switch {
    /// Sweeps may run.
    #[default]
    Enabled,
    /// No sweep begins; counting and reporting go on.
    Disabled,
}

/// Globs over what a container is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Lists {
    /// Over the namespace.
    pub namespaces: Vec<String>,
    /// Over the image reference.
    pub images: Vec<String>,
    /// Over the cgroup path.
    pub cgroups: Vec<String>,
}

/// Limits of the history database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HistoryLimits {
    /// Sweeps; the oldest go first.
    pub max_sweeps: u64,
    /// Age of a sweep.
    pub max_age: Span,
}

/// Limits of the audit journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JournalLimits {
    /// Bytes of all files together.
    pub max_bytes: Bytes,
    /// Files, the one being written and the one in reserve included.
    pub files: u32,
}

/// Breakers of the node as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeBreakers {
    /// The one that only a person closes.
    pub global: GlobalBreaker,
}

/// Opens when several workloads came to harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GlobalBreaker {
    /// Workload breakers opened within the window.
    pub open: u32,
    /// The window.
    pub window: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policies: "/etc/podsweep/policies".into(),
            state: "/var/lib/podsweep".into(),
            socket: "/run/podsweep/podsweep.sock".into(),
            listen: None,
            token_file: None,
            sweeps: Switch::Enabled,
            allow: Lists::default(),
            deny: Lists::default(),
            never: Vec::new(),
            host_paths: Vec::new(),
            interval: Span::from_millis(250),
            rescan: Span::from_secs(30),
            slots: 1,
            sweeps_per_minute: 6,
            cool_down: Span::from_secs(300),
            allowed_hours: Vec::new(),
            node_pressure: Pressure { cpu: 60.0, io: 40.0, memory: 20.0 },
            scan_cgroup: "podsweep.slice".to_owned(),
            history: HistoryLimits::default(),
            journal: JournalLimits::default(),
            breakers: NodeBreakers::default(),
            units: true,
            kubernetes: None,
            cloud_events: None,
        }
    }
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { max_sweeps: 10_000, max_age: Span::from_secs(720 * 3600) }
    }
}

impl Default for JournalLimits {
    fn default() -> Self {
        Self { max_bytes: Bytes(64 << 20), files: 4 }
    }
}

impl Default for GlobalBreaker {
    fn default() -> Self {
        Self { open: 3, window: Span::from_secs(600) }
    }
}

impl Config {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        Self::parse(&document::read(path)?, path)
    }

    /// Reads and checks text; `path` is for errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        // An empty file is a whole configuration: every field has a default.
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let (config, fields): (Self, _) = document::parse(text, path)?;
        let problems = check::problems(&config);
        if problems.is_empty() { Ok(config) } else { Err(FileError::located(path, &problems, &fields)) }
    }
}
