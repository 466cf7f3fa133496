//! Sweeps that the coordinator admitted, carried out one task each.
//!
//! In: this node's Sweep objects. Out: sweeps under their slots, statuses, freed slots. Must never: begin one that is
//! not about the container that runs now, or one whose slot is not this node's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::Cluster;
use super::status::{self, StatusWriter, Told};
use crate::admission::lease::HeldSlot;
use crate::agent::Shared;
use crate::agent::admit::{self, Order, Wish};
use crate::agent::follow::Follower;
use crate::agent::shared::lock;
use crate::inventory::Container;
use crate::kubernetes::resources::{RequestedBy, Sweep, SweepPhase};
use crate::policy::{Fired, Mode, Reason, Refusal, SweepPolicy};
use crate::report::Health;
use crate::rollout::{Holder, SweepKey};

/// Between two looks at the Sweeps, where nothing rang.
const LOOK: Duration = Duration::from_secs(5);
/// Before a slot that could not be taken is tried again: every change of any Sweep of the node rings, and somebody may
/// change them in a loop.
const TAKE_AGAIN: Duration = Duration::from_secs(1);
/// How a sweep ended whose slot was over, for its object. Not the coordinator's `SlotLost`, after which nobody knows how
/// the container fared: this agent has looked.
const SLOT_EXPIRED: &str = "SlotExpired";

/// Until the agent ends.
pub(super) async fn run(shared: Arc<Shared>, cluster: Arc<Cluster>) {
    let bell = cluster.sweeps.kept().bell();
    let mut begun = false;
    while !shared.shutdown.is_cancelled() {
        let look = tokio::time::timeout(LOOK, bell.notified());
        if shared.shutdown.run_until_cancelled(look).await.is_none() {
            return;
        }
        if cluster.sweeps.current().is_err() {
            continue;
        }
        let sweeps = cluster.sweeps.kept().all();
        if !std::mem::replace(&mut begun, true) {
            for (key, sweep) in &sweeps {
                close_orphan(&shared, &cluster, key, sweep);
            }
        }
        for (key, sweep) in &sweeps {
            look_at(&shared, &cluster, key, sweep);
        }
        let running = lock(&cluster.running);
        for (key, stop) in running.iter().filter(|(key, _)| !sweeps.contains_key(key)) {
            tracing::info!(sweep = %key, "its object is gone or closed: the sweep stops after its batch");
            stop.cancel();
        }
    }
}

fn look_at(shared: &Arc<Shared>, cluster: &Arc<Cluster>, key: &SweepKey, sweep: &Arc<Sweep>) {
    let Some(status) = &sweep.status else { return };
    let mut running = lock(&cluster.running);
    if let Some(stop) = running.get(key) {
        if (sweep.spec.abort || status.stop.is_some()) && !stop.is_cancelled() {
            tracing::info!(sweep = %key, reason = status.stop, "asked to stop after its batch");
            stop.cancel();
        }
        return;
    }
    if status.phase == SweepPhase::Admitted && sweep.spec.node == cluster.node {
        let stop = shared.shutdown.child_token();
        running.insert(key.clone(), stop.clone());
        let (shared_too, cluster, key, sweep) =
            (Arc::clone(shared), Arc::clone(cluster), key.clone(), Arc::clone(sweep));
        shared.tasks.spawn(async move {
            carry_out(&shared_too, &cluster, &key, &sweep, &stop).await;
            lock(&cluster.running).remove(&key);
        });
    }
}

/// A sweep of an agent that ended before it: how its container fared nobody knows.
fn close_orphan(shared: &Arc<Shared>, cluster: &Arc<Cluster>, key: &SweepKey, sweep: &Arc<Sweep>) {
    let phase = sweep.status.as_ref().map(|status| status.phase);
    let began = phase.is_some_and(|phase| phase.is_running() && phase != SweepPhase::Admitted);
    if !began || sweep.spec.node != cluster.node {
        return;
    }
    let mut end = status::without_record(
        SweepPhase::Aborted,
        "AgentRestarted",
        "its agent ended before it; the node's journal has what was removed",
    );
    end["health"] = json!(Health::Unknown);
    let writer = StatusWriter::new(cluster.client.clone(), key, sweep);
    let (cluster, sweep, key) = (Arc::clone(cluster), Arc::clone(sweep), key.clone());
    shared.tasks.spawn(async move {
        writer.end(&end).await;
        let slot = sweep.status.as_ref().and_then(|status| status.slot.clone());
        // Taking it over is how it can be freed.
        if let Some(slot) = slot
            && let Ok(held) = HeldSlot::take(&cluster.slots, &slot, &holder(&cluster, &key, &sweep)).await
        {
            held.free(&cluster.slots).await;
        }
    });
}

fn holder(cluster: &Cluster, key: &SweepKey, sweep: &Sweep) -> Holder {
    Holder { node: cluster.node.clone(), sweep: key.clone(), uid: sweep.uid().unwrap_or_default() }
}

async fn carry_out(
    shared: &Arc<Shared>,
    cluster: &Arc<Cluster>,
    key: &SweepKey,
    sweep: &Sweep,
    stop: &CancellationToken,
) {
    let Some(slot) = sweep.status.as_ref().and_then(|status| status.slot.as_deref()) else { return };
    let held = match HeldSlot::take(&cluster.slots, slot, &holder(cluster, key, sweep)).await {
        Ok(held) => held,
        Err(why) => {
            tracing::warn!(sweep = %key, slot, %why, "admitted, and its slot cannot be taken: not begun");
            tokio::time::sleep(TAKE_AGAIN).await;
            return;
        }
    };
    let done = CancellationToken::new();
    let until = held.until();
    let kept = {
        let (slots, fenced, done) = (cluster.slots.clone(), stop.clone(), done.clone());
        shared.tasks.spawn(async move { held.keep(&slots, &fenced, &done).await })
    };
    let writer = StatusWriter::new(cluster.client.clone(), key, sweep);
    let end = match wish(shared, sweep) {
        Ok(wish) => sweep_and_tell(shared, wish, &writer, stop, until).await,
        Err(refusal) => refused(&refusal),
    };
    // In this order: who sees the slot free must see that the sweep is over.
    writer.end(&end).await;
    done.cancel();
    let _ = kept.await;
}

async fn sweep_and_tell(
    shared: &Arc<Shared>,
    wish: Wish,
    writer: &StatusWriter,
    stop: &CancellationToken,
    slot: watch::Receiver<Instant>,
) -> Value {
    let (follow, wanted) = Told::new(Follower(Arc::clone(shared)));
    let (ended, record) = oneshot::channel();
    let held = slot.clone();
    let order = Order { stop: stop.clone(), slot: Some(slot), follow: Box::new(follow), ended: Some(ended) };
    if let Err(refusal) = admit::carry_out(shared, wish, order).await {
        return refused(&refusal);
    }
    let told = CancellationToken::new();
    let following = writer.follow(wanted, told.clone());
    let ending = async {
        let record = record.await;
        told.cancel();
        record
    };
    let ((), record) = tokio::join!(following, ending);
    if let Ok(record) = record {
        let mut end = status::of_record(&record);
        let was_told_to = matches!(record.reason.as_deref(), Some("Cancelled" | "PermitExpired"));
        if was_told_to && Instant::now() >= *held.borrow() {
            end["reason"] = json!(SLOT_EXPIRED);
            end["message"] = json!("its slot could not be renewed in time: it stopped by its own clock");
        }
        return end;
    }
    // Its task panicked: whatever it did, it does no more.
    let mut end = status::without_record(SweepPhase::Failed, "AgentFailed", "the agent's task broke off");
    end["health"] = json!(Health::Unknown);
    end
}

fn refused(refusal: &Refusal) -> Value {
    status::without_record(SweepPhase::Skipped, &refusal.reason, &refusal.message)
}

/// What the Sweep asks for, as this node sees it now.
fn wish(shared: &Shared, sweep: &Sweep) -> Result<Wish, Refusal> {
    let spec = &sweep.spec;
    let container = container(shared, sweep)?;
    let policy = policy(shared, &spec.policy)?;
    let mode = least(spec.mode.unwrap_or(policy.spec.mode), policy.spec.mode);
    if mode == Mode::Observe {
        return Err(Refusal::new(Reason::ObserveOnly, format!("policy {} is in mode Observe", spec.policy)));
    }
    let fired = match spec.requested_by {
        RequestedBy::Agent if spec.attempt > 0 => Fired::Retry { attempt: spec.attempt },
        _ => Fired::Asked { by: format!("{:?}", spec.requested_by), what: spec.asked.trigger.clone() },
    };
    Ok(Wish { container, policy, mode, fired, top_directories: Vec::new(), attempt: spec.attempt })
}

fn container(shared: &Shared, sweep: &Sweep) -> Result<Arc<Container>, Refusal> {
    let spec = &sweep.spec;
    let gone = |message: String| Refusal::new(Reason::ContainerGone, message);
    let inventory = lock(&shared.inventory);
    let is_it = |found: &&Arc<Container>| {
        let names = &found.names;
        names.pod_uid.as_deref() == Some(spec.pod.uid.as_str())
            && names.container.as_deref() == Some(spec.container.as_str())
            && names.namespace == sweep.metadata.namespace
    };
    let found = inventory.containers().find(is_it).cloned();
    drop(inventory);
    let place = format!("{}/{}", spec.pod.name, spec.container);
    let found = found.ok_or_else(|| gone(format!("container {place} does not run on this node")))?;
    if spec.container_id.as_ref().is_some_and(|id| *id != found.id) {
        return Err(gone(format!("container {place} was restarted since the sweep was asked for")));
    }
    if found.names.workload.as_deref() != Some(spec.workload.as_str()) {
        let is = found.names.workload.as_deref().unwrap_or("unknown");
        let message = format!("container {place} is of workload {is}; the Sweep says {}", spec.workload);
        return Err(Refusal::new(Reason::WorkloadDiffers, message));
    }
    Ok(found)
}

fn policy(shared: &Shared, name: &str) -> Result<Arc<SweepPolicy>, Refusal> {
    let policies = lock(&shared.policies);
    let found = policies.set.policies().iter().find(|policy| policy.metadata.name == name).cloned();
    found.ok_or_else(|| Refusal::new(Reason::NoPolicy, format!("policy {name} is not in force on this node")))
}

/// The one that goes less far.
fn least(one: Mode, other: Mode) -> Mode {
    let reach = |mode| match mode {
        Mode::Observe => 0,
        Mode::DryRun => 1,
        Mode::Enforce => 2,
    };
    if reach(one) <= reach(other) { one } else { other }
}
