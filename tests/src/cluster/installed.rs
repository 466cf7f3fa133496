//! podsweep in a control plane: its namespace, definitions and slots as deploy/base has them, a policy, and coordinators
//! as processes of their own. In: how long leases last. Out: what its objects say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::control_plane::{ControlPlane, Options};
use super::daemon::Daemon;
use super::kubectl::Kubectl;
use crate::{image, wait};

/// Where the manifests are.
const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/base");
/// The API server takes a second or two to serve a definition.
const SERVED_WITHIN: Duration = Duration::from_secs(30);
/// Names of the definitions, plural.
const DEFINITIONS: [&str; 4] = ["sweeps", "sweeppolicies", "sweeprollouts", "breakers"];
/// Between two looks at all Sweeps: each is a kubectl, a fifth of a second of a core.
const LOOK: Duration = Duration::from_secs(1);
/// Slots that deploy/base has.
pub const SLOTS: usize = 5;
/// Where they are.
pub const SYSTEM: &str = "podsweep-system";
/// The one policy of [`Installed::policy`].
pub const POLICY: &str = "p";
/// Phases that nothing follows.
const ENDED: [&str; 4] = ["Succeeded", "Failed", "Aborted", "Skipped"];

/// It. Dropped, nothing of it stays.
pub struct Installed {
    // Dropped in this order: coordinators that outlive the API server only fill their logs.
    coordinators: Vec<Daemon>,
    kubectl: Kubectl,
    /// The control plane.
    pub plane: ControlPlane,
}

impl Installed {
    /// With an audit, and without a coordinator.
    pub fn start(prefix: &str) -> Result<Self> {
        let plane = ControlPlane::start(prefix, Options { audit: true })?;
        let kubectl = plane.kubectl()?;
        for file in ["namespace.yaml", "crds.yaml", "slots.yaml"] {
            let file = Path::new(BASE).join(file);
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            kubectl.apply(&text)?;
        }
        wait::until_true("podsweep's resources are served", SERVED_WITHIN, || {
            Ok(DEFINITIONS.iter().all(|plural| kubectl.get(&[plural, "-A"]).is_ok()))
        })?;
        Ok(Self { coordinators: Vec::new(), kubectl, plane })
    }

    /// kubectl as somebody who may do everything.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// A kubeconfig of somebody who may do everything under a name of their own, for the audit to tell.
    pub fn kubeconfig_of(&self, user: &str) -> Result<PathBuf> {
        self.plane.kubeconfig_of(user, Some("system:masters"), &self.plane.server())
    }

    /// So many slots in all, no more and no fewer.
    pub fn slots(&self, wanted: usize) -> Result<()> {
        for number in wanted..SLOTS {
            self.kubectl.run(&["delete", "lease", &format!("podsweep-slot-{number}"), "-n", SYSTEM])?;
        }
        let more = (SLOTS..wanted).map(|number| {
            json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {
                    "name": format!("podsweep-slot-{number}"), "namespace": SYSTEM,
                    "labels": {"podsweep.io/slot": "sweeps"},
                },
            })
        });
        let more: Vec<_> = more.collect();
        if more.is_empty() {
            return Ok(());
        }
        self.kubectl.apply_object(&json!({"apiVersion": "v1", "kind": "List", "items": more})).map(drop)
    }

    /// Makes or changes the policy [`POLICY`]: `spec` over one that would sweep /tmp/x of every container.
    pub fn policy(&self, spec: &Value) -> Result<()> {
        let mut whole = json!({
            "mode": "Enforce", "select": {"namespaces": ["*"]},
            "junk": [{"name": "tmp", "paths": ["/tmp/x/**"]}],
        });
        if let (Some(whole), Some(spec)) = (whole.as_object_mut(), spec.as_object()) {
            whole.extend(spec.clone());
        }
        let policy = json!({
            "apiVersion": "podsweep.io/v1alpha1", "kind": "SweepPolicy", "metadata": {"name": POLICY}, "spec": whole,
        });
        self.kubectl.apply_object(&policy).map(drop)
    }

    /// Starts one more coordinator, with these settings over its own; to the API server it is `coordinator`.
    pub fn coordinator(&mut self, settings: &Value) -> Result<()> {
        let name = format!("coordinator-{}", self.coordinators.len());
        let mut config = json!({"kubeconfig": self.kubeconfig_of("coordinator")?, "listen": "127.0.0.1:0"});
        if let (Some(config), Some(settings)) = (config.as_object_mut(), settings.as_object()) {
            config.extend(settings.clone());
        }
        let file = self.plane.path(&format!("{name}.yaml"));
        fs::write(&file, config.to_string()).with_context(|| file.display().to_string())?;
        let mut command = Command::new(image::program("podsweep")?);
        command.args(["coordinator", "--config"]).arg(&file);
        self.coordinators.push(self.plane.daemon(&name, &mut command)?);
        Ok(())
    }

    /// The ends of the coordinators' logs.
    pub fn coordinators_said(&self) -> String {
        self.coordinators.iter().map(Daemon::log_end).collect::<Vec<_>>().join("\n----\n")
    }

    /// How many Sweeps are in which phase.
    pub fn phases(&self) -> Result<BTreeMap<String, usize>> {
        let sweeps = self.kubectl.get(&["sweeps", "-A"])?;
        let mut phases = BTreeMap::new();
        for sweep in sweeps["items"].as_array().context("no list of Sweeps")? {
            let phase = sweep["status"]["phase"].as_str().unwrap_or("Pending").to_owned();
            *phases.entry(phase).or_default() += 1;
        }
        Ok(phases)
    }

    /// Waits until so many Sweeps have ended; how.
    pub fn until_ended(&self, count: usize, limit: Duration) -> Result<BTreeMap<String, usize>> {
        let what = format!("{count} sweeps have ended");
        self.until_phases(&what, limit, |phases| {
            ENDED.iter().filter_map(|phase| phases.get(*phase)).sum::<usize>() >= count
        })
    }

    /// Waits until so many Sweeps are in this phase.
    pub fn until_phase(&self, phase: &str, count: usize, limit: Duration) -> Result<()> {
        let reached =
            |phases: &BTreeMap<String, usize>| phases.get(phase).is_some_and(|found| *found >= count);
        self.until_phases(&format!("{count} sweeps are {phase}"), limit, reached).map(drop)
    }

    /// Waits until there is none.
    pub fn until_forgotten(&self, limit: Duration) -> Result<()> {
        self.until_phases("ended sweeps are forgotten", limit, BTreeMap::is_empty).map(drop)
    }

    fn until_phases(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&BTreeMap<String, usize>) -> bool,
    ) -> Result<BTreeMap<String, usize>> {
        let look = || {
            thread::sleep(LOOK);
            Ok(Some(self.phases()?).filter(&wanted))
        };
        wait::until(what, limit, look)
            .with_context(|| format!("{:?}\n{}", self.phases(), self.coordinators_said()))
    }
}
