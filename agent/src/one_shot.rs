//! One scan, or one sweep, from the command line, with no agent running.
//!
//! In: a target and a policy. Out: the sweep's record. Must never: sweep beside a running agent (the state directory's
//! lock keeps them apart), or pass a guard that the agent would ask.

mod directory;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::Context;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::admission::{Permit, Until};
use crate::agent::{scan_place, stores};
use crate::config::Config;
use crate::explain::{Means, explain_file};
use crate::gate::{Entry, Gate, Standing, Wanted};
use crate::inventory::{Container, Inventory, InventorySettings, RuntimePaths, Target};
use crate::kernel::Cgroups;
use crate::operation::{self, Follow, Operation, Stop};
use crate::policy::chain::Step;
use crate::policy::{Fired, Mode, PolicyError, Refusal, SweepPolicy, load_folder};
use crate::report::SweepRecord;
use crate::scan::ScanRoot;
use crate::sweep::{self, Audit, AuditEntry, AuditResult, Done};

// A plain directory has no workload that could ask for a permit: it has the policy's own time.
fn directory_deadline(policy: &SweepPolicy) -> Until {
    Until::at(Instant::now() + policy.spec.sweep.timeout.0)
}

/// A file that would go: path as the container sees it, rule, bytes on disk.
pub type Sampled = (Vec<u8>, String, u64);

/// What the command line names.
pub struct Subject {
    /// The container; `None` for a plain directory.
    pub container: Option<Arc<Container>>,
    /// Trees to walk.
    pub roots: Vec<ScanRoot>,
}

/// Finds the target on this node.
pub fn find(target: &Target, policy: &SweepPolicy, config: &Config) -> anyhow::Result<Subject> {
    if let Target::Dir(path) = target {
        // The scan's process has a working directory of its own, and history wants one name for one directory.
        let path = path.canonicalize().with_context(|| format!("target dir:{}", path.display()))?;
        return Ok(Subject { container: None, roots: vec![sweep::directory_root(&path)] });
    }
    let container = container(target, config)?;
    let roots = sweep::plan_roots(&container, &policy.spec.junk);
    Ok(Subject { container: Some(container), roots })
}

/// Finds a container on this node.
pub fn container(target: &Target, config: &Config) -> anyhow::Result<Arc<Container>> {
    Ok(inventory(config)?.find(target)?)
}

fn inventory(config: &Config) -> anyhow::Result<Inventory> {
    let settings = InventorySettings {
        host_paths: config.host_paths.clone(),
        units: config.units,
        ..InventorySettings::default()
    };
    let mut inventory = Inventory::new(Cgroups::find()?, Box::new(RuntimePaths::default()), settings);
    inventory.rescan();
    Ok(inventory)
}

/// Looks only: what a sweep would remove, and why the rest stays. Needs no state directory and no agent.
pub async fn scan(
    subject: Subject,
    policy: Arc<SweepPolicy>,
    config: &Config,
    follow: &dyn Follow,
    stop: &CancellationToken,
) -> anyhow::Result<(SweepRecord, Vec<Sampled>)> {
    let cgroups = Cgroups::find()?;
    let place = scan_place(config, &cgroups);
    let tools = sweep::Tools {
        scans: place,
        cgroups,
        audit: Arc::new(NothingToAudit),
        deleters: Arc::new(sweep::Program::this()),
        exec: OnceLock::new(),
        stuck: sweep::Stuck::default(),
        node_pressure: config.node_pressure,
    };
    let mut never = config.never.clone();
    never.extend(policy.spec.never.iter().cloned());
    let operation = operation(subject, policy, Mode::DryRun, never);
    let mut record = operation.record(Timestamp::now());
    let until = directory_deadline(&operation.policy);
    let done: Done = operation::sweep_and_follow(&operation, &tools, None, follow, until, stop).await;
    let sample = done.sample.clone();
    operation::note_done(&mut record, done);
    operation::end(&mut record);
    Ok((record, sample))
}

/// One sweep now, every guard asked.
pub async fn sweep(
    subject: Subject,
    policy: Arc<SweepPolicy>,
    mode: Mode,
    config: &Config,
    follow: &dyn Follow,
    stop: &CancellationToken,
) -> anyhow::Result<SweepRecord> {
    if subject.container.is_none() {
        for root in &subject.roots {
            directory::may_be_swept(&root.host, &config.state, &inventory(config)?)?;
        }
    }
    let stores = stores(config, Cgroups::find()?)?;
    let gate = Gate::new(config, Arc::clone(&stores))?;
    let never = gate.never(&policy);
    let container = subject.container.clone();
    let operation = operation(subject, policy, mode, never);
    let entered = match &container {
        Some(container) => gate.enter(container, &operation.policy).await.map(Some),
        None => gate.closed().map_or(Ok(None), Err),
    };
    // Whoever ends this command does not wait for the observation.
    let stop = Stop { sweeping: stop.clone(), watching: stop.clone() };
    // The permit is held to the end of the sweep.
    let begun = entered.and_then(|entry| {
        let (permit, pass) = entry.map(|Entry { permit, pass }| (permit, pass)).unzip();
        operation::begin(&operation, &stores, pass).map(|begun| (permit, begun))
    });
    match begun {
        Ok((permit, begun)) => {
            let until = permit.as_ref().map_or_else(|| directory_deadline(&operation.policy), Permit::until);
            Ok(operation::run(operation, begun, &stores, follow, until, &stop).await)
        }
        Err(refusal) => {
            let record = refused(&operation, refusal);
            tokio::task::block_in_place(|| operation::keep_refused(&stores, &record));
            Ok(record)
        }
    }
}

/// A scan removes nothing. Whatever would, must not find a journal here.
pub(crate) struct NothingToAudit;

impl Audit for NothingToAudit {
    fn will_remove(&self, _: &str, _: &[AuditEntry]) -> std::io::Result<()> {
        Err(std::io::Error::other("a scan has no journal and removes nothing"))
    }

    fn done(&self, _: &str, _: &[AuditResult]) -> std::io::Result<()> {
        Ok(())
    }
}

fn refused(operation: &Operation, refusal: Refusal) -> SweepRecord {
    let mut record = operation.record(Timestamp::now());
    operation::refuse(&mut record, refusal);
    record
}

fn operation(subject: Subject, policy: Arc<SweepPolicy>, mode: Mode, never: Vec<String>) -> Operation {
    Operation {
        id: ulid::Ulid::new().to_string(),
        container: subject.container,
        policy,
        mode,
        fired: Fired::ByHand,
        roots: subject.roots,
        never,
        top_directories: Vec::new(),
        attempt: 0,
    }
}

/// What every level says of a sweep of a container, by this policy or by those of the node, where no agent answers.
pub fn standing(
    config: &Config,
    container: &Container,
    policy: Option<&Arc<SweepPolicy>>,
) -> anyhow::Result<Standing> {
    if let Some(policy) = policy {
        return Standing::without_agent(config, container, Wanted::By(policy));
    }
    let set = load_folder(&config.policies).map_err(|errors| anyhow::anyhow!(first(&errors)))?;
    Standing::without_agent(config, container, Wanted::ByOneOf(&set))
}

/// Why a file would, or would not, be removed.
pub async fn explain(
    container: &Arc<Container>,
    path: &Path,
    standing: Standing,
) -> anyhow::Result<Vec<Step>> {
    let now = Timestamp::now();
    let means = Means {
        container,
        standing,
        cgroups: &Cgroups::find()?,
        audit: Arc::new(NothingToAudit),
        now: (now.as_second(), u32::try_from(now.subsec_nanosecond()).unwrap_or_default()),
    };
    Ok(explain_file(means, path).await?)
}

fn first(errors: &[PolicyError]) -> String {
    errors.first().map_or_else(|| "policies cannot be read".into(), ToString::to_string)
}

#[cfg(test)]
mod tests;
