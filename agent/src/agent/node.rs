//! The agent as its control endpoint sees it: looks at what the loop and the sweeps share, passes wishes on.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::admit::{self, Wish};
use super::shared::{Seen, lock};
use crate::control::view::{
    ActiveSweep, ApiWatch, BreakerView, ContainerView, ExplainRequest, Status, SweepRequest, SweepsQuery,
};
use crate::control::{Node, Refused, RefusedKind};
use crate::gate::{Standing, Wanted};
use crate::inventory::{Container, Target};
use crate::kernel::Free;
use crate::observe::Kind;
use crate::operation::keep_breakers;
use crate::policy::{Fired, Mode, SweepPolicy, validate};
use crate::report::{HistoryError, Phase, SweepRecord};

/// A loop that has not turned for this long does not work: forty ticks at the default interval.
const STUCK: Duration = Duration::from_secs(10);
/// The first turn looks at every container: 4,096 of them take 2 s (0.3 ms each, `Inventory::rescan`), on a node in
/// trouble many times that.
const FIRST_TURN: Duration = Duration::from_mins(1);

/// The control endpoint's view of the agent.
pub(super) fn view(shared: &Arc<Shared>) -> Arc<dyn Node> {
    Arc::new(View { shared: Arc::clone(shared), runtime: tokio::runtime::Handle::current() })
}

struct View {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Handle,
}

impl Node for View {
    fn status(&self) -> Result<Status, Refused> {
        let shared = &self.shared;
        let observed = lock(&shared.observed).clone();
        let free = Free::of(&shared.config.state).ok();
        // Each lock in a statement of its own: within the expression below, all would be held to its end.
        let (policies, policy_errors) = {
            let policies = lock(&shared.policies);
            (policies.in_force.clone(), policies.errors.clone())
        };
        let containers = lock(&shared.seen).len() as u64;
        let containers_skipped = lock(&shared.inventory).skipped();
        let sweeps = lock(&shared.live).values().map(|live| active(&live.record)).collect();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            node: nix::unistd::gethostname()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            started_at: shared.started_at.to_string(),
            tier: observed.tier.to_string(),
            gaps: observed.gaps,
            sweeps_enabled: shared.gate.guard().switched_on().is_ok(),
            paused: shared.gate.paused(),
            containers,
            containers_skipped,
            policies,
            policy_errors,
            sweeps,
            breakers: self.breakers()?.into_iter().filter(BreakerView::is_not_closed).collect(),
            losses: observed.losses,
            watches: shared
                .stores
                .pods
                .iter()
                .flat_map(|index| index.watches())
                .map(ApiWatch::from)
                .collect(),
            inodes_free_percent: free.map(|free| free.inodes_percent),
            bytes_free_percent: free.map(|free| free.bytes_percent),
        })
    }

    fn containers(&self) -> Result<Vec<ContainerView>, Refused> {
        let containers: Vec<Arc<Container>> = lock(&self.shared.inventory).containers().cloned().collect();
        let seen = lock(&self.shared.seen);
        let mut views: Vec<ContainerView> = containers
            .iter()
            .map(|container| {
                container_view(container, seen.get(&container.cgroup).cloned().unwrap_or_default())
            })
            .collect();
        views.sort_by(|a, b| b.creates_per_second.total_cmp(&a.creates_per_second).then(a.name.cmp(&b.name)));
        Ok(views)
    }

    fn sweeps(&self, query: &SweepsQuery) -> Result<Vec<SweepRecord>, Refused> {
        let mut records = self
            .shared
            .stores
            .history
            .list(query.limit() as usize, query.container.as_deref(), query.before.as_deref())
            .map_err(failed)?;
        let live = lock(&self.shared.live);
        for record in &mut records {
            if let Some(live) = live.get(&record.id) {
                *record = live.record.clone();
            }
        }
        Ok(records)
    }

    fn sweep(&self, id: &str) -> Result<SweepRecord, Refused> {
        if let Some(live) = lock(&self.shared.live).get(id) {
            return Ok(live.record.clone());
        }
        self.shared.stores.history.get(id).map_err(failed)?.ok_or_else(|| no_sweep(id))
    }

    fn request_sweep(&self, request: SweepRequest) -> Result<String, Refused> {
        let policy = self.policy(request.policy.as_deref(), request.policy_spec.as_deref())?;
        let container = self.container(&request.target)?;
        let mode = request.mode.unwrap_or(policy.spec.mode);
        if mode == Mode::Observe {
            let message = "mode Observe never scans; ask with mode DryRun or Enforce";
            return Err(Refused::new(RefusedKind::Invalid, "ObserveOnly", message));
        }
        let wish =
            Wish { container, policy, mode, fired: Fired::ByHand, top_directories: Vec::new(), attempt: 0 };
        self.runtime.block_on(admit::start(&self.shared, wish)).map_err(Refused::from)
    }

    fn explain(&self, request: ExplainRequest) -> Result<Standing, Refused> {
        let container = self.container(&request.target)?;
        let running = admit::running(&self.shared, container.cgroup);
        if request.policy.is_none() && request.policy_spec.is_none() {
            let set = Arc::clone(&lock(&self.shared.policies).set);
            return Ok(self.shared.gate.explain(&container, Wanted::ByOneOf(&set), running.as_deref()));
        }
        let policy = self.policy(request.policy.as_deref(), request.policy_spec.as_deref())?;
        Ok(self.shared.gate.explain(&container, Wanted::By(&policy), running.as_deref()))
    }

    fn cancel_sweep(&self, id: &str) -> Result<(), Refused> {
        if let Some(live) = lock(&self.shared.live).get(id).filter(|live| live.record.phase != Phase::Ended) {
            live.stop.cancel();
            return Ok(());
        }
        let record = self.shared.stores.history.get(id).map_err(failed)?.ok_or_else(|| no_sweep(id))?;
        let message = format!("sweep {} has ended ({:?}): nothing to stop", record.id, record.outcome);
        Err(Refused::new(RefusedKind::Conflict, "Ended", message))
    }

    fn breakers(&self) -> Result<Vec<BreakerView>, Refused> {
        Ok(lock(&self.shared.stores.board).views().into_iter().map(BreakerView::from).collect())
    }

    fn reset_breaker(&self, name: &str) -> Result<(), Refused> {
        lock(&self.shared.stores.board)
            .reset(name)
            .map_err(|error| Refused::new(RefusedKind::NotFound, "NoSuchBreaker", error.to_string()))?;
        tracing::info!(breaker = name, "breaker closed by a person");
        keep_breakers(&self.shared.stores);
        Ok(())
    }

    fn pause(&self, reason: &str) -> Result<(), Refused> {
        let on_record = self.shared.gate.pause(reason);
        for live in lock(&self.shared.live).values() {
            live.stop.cancel();
        }
        tracing::info!(reason, "paused by a person");
        on_record.map_err(failed)
    }

    fn resume(&self) -> Result<(), Refused> {
        self.shared.gate.resume().map_err(failed)?;
        tracing::info!("resumed by a person");
        Ok(())
    }

    fn healthy(&self) -> Result<(), String> {
        match self.shared.since_turn() {
            Some(since) if since > STUCK => Err(format!("the loop has not turned for {} s", since.as_secs())),
            None if self.shared.now() > FIRST_TURN => {
                Err(format!("the first look at the node takes longer than {} s", FIRST_TURN.as_secs()))
            }
            _ => Ok(()),
        }
    }

    fn ready(&self) -> Result<(), String> {
        if self.shared.since_turn().is_none() {
            return Err("the first look at the node is not over".into());
        }
        if !lock(&self.shared.policies).read {
            return Err("policies have not been read".into());
        }
        lock(&self.shared.history).ready(self.shared.now())
    }

    fn metrics(&self) -> Result<String, Refused> {
        self.shared
            .stores
            .metrics
            .render()
            .map_err(|error| Refused::new(RefusedKind::Failed, "MetricsFailed", error.to_string()))
    }
}

impl View {
    fn container(&self, target: &str) -> Result<Arc<Container>, Refused> {
        let target = Target::from_str(target)
            .map_err(|error| Refused::new(RefusedKind::Invalid, "BadTarget", error.to_string()))?;
        lock(&self.shared.inventory)
            .find(&target)
            .map_err(|error| Refused::new(RefusedKind::NotFound, "TargetNotFound", error.to_string()))
    }

    fn policy(&self, name: Option<&str>, spec: Option<&SweepPolicy>) -> Result<Arc<SweepPolicy>, Refused> {
        let invalid = |message: String| Refused::new(RefusedKind::Invalid, "BadPolicy", message);
        match (name, spec) {
            (Some(name), None) => lock(&self.shared.policies).set.named(name).cloned().ok_or_else(|| {
                let message = format!("no policy {name:?} is in force; `podsweep status` lists them");
                Refused::new(RefusedKind::NotFound, "NoSuchPolicy", message)
            }),
            (None, Some(policy)) => match validate(policy).as_slice() {
                [] => Ok(Arc::new(policy.clone())),
                [first, ..] => Err(invalid(format!("{}: {}", first.field, first.message))),
            },
            _ => Err(invalid("give exactly one of policy and policySpec".into())),
        }
    }
}

fn container_view(container: &Container, seen: Seen) -> ContainerView {
    ContainerView {
        id: container.id.clone(),
        name: container.short(),
        cgroup: container.cgroup.0,
        cgroup_path: container.cgroup_path.clone(),
        runtime: container.runtime,
        image: container.names.image.clone(),
        pid: container.first.pid,
        upper: container.layer.as_ref().map(|layer| layer.upper.display().to_string()),
        creates: seen.counts.creates(),
        removals: seen.counts.removals(),
        counts: counts(&seen),
        creates_per_second: seen.creates_per_second,
        policy: seen.policy,
        refusal: seen.refusal,
        last_sweep: seen.last_sweep,
    }
}

fn counts(seen: &Seen) -> BTreeMap<String, u64> {
    Kind::ALL.into_iter().map(|kind| (kind.as_str().to_owned(), seen.counts.get(kind))).collect()
}

fn active(record: &SweepRecord) -> ActiveSweep {
    ActiveSweep {
        id: record.id.clone(),
        container: record.container.name.clone(),
        policy: record.policy.clone(),
        phase: record.phase,
        removed: record.sweep.removed,
        started_at: record.started_at.clone(),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "given to map_err")]
fn failed(error: HistoryError) -> Refused {
    Refused::new(RefusedKind::Failed, "HistoryUnavailable", error.to_string())
}

fn no_sweep(id: &str) -> Refused {
    Refused::new(
        RefusedKind::NotFound,
        "NoSuchSweep",
        format!("no sweep {id:?} on record; `podsweep history` lists them"),
    )
}
