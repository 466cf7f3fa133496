//! From a wish to a running sweep: the gate is asked, and a task of its own runs the operation.
//!
//! In: [`Wish`]. Out: the id of a sweep that runs in a task of its own, or the [`Refusal`]. Must never: start a
//! second sweep of a container, or one that a level refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::follow::Follower;
use super::refused::on_record;
use super::shared::{Ended, Live, lock};
use crate::admission::Permit;
use crate::gate::{Entry, none_running};
use crate::inventory::{CgroupId, Container};
use crate::operation::{self, Begun, Follow, Operation, Stop};
use crate::policy::{Fired, Mode, Refusal, SweepPolicy};
use crate::report::{Outcome, SweepRecord};
use crate::sweep;

/// Somebody asks for a sweep.
#[derive(Clone)]
pub(super) struct Wish {
    pub(super) container: Arc<Container>,
    pub(super) policy: Arc<SweepPolicy>,
    pub(super) mode: Mode,
    pub(super) fired: Fired,
    pub(super) top_directories: Vec<(String, u64)>,
    pub(super) attempt: u32,
}

/// How a sweep is carried out, and who hears of it.
pub(super) struct Order {
    /// Ends it after its batch.
    pub(super) stop: CancellationToken,
    /// The slot of the cluster that it has besides the node's own.
    pub(super) slot: Option<watch::Receiver<Instant>>,
    /// Who follows it.
    pub(super) follow: Box<dyn Follow>,
    /// Gets its record.
    pub(super) ended: Option<oneshot::Sender<SweepRecord>>,
}

/// Asks every level and starts the sweep. In a cluster, asks the cluster: the sweep starts when that has granted a
/// slot, and the answer until then is a refusal that says so.
pub(super) async fn start(shared: &Arc<Shared>, wish: Wish) -> Result<String, Refusal> {
    if let Some(cluster) = &shared.cluster {
        let running = running(shared, wish.container.cgroup);
        let refusal = shared.gate.refusal(&wish.container, &wish.policy, running.as_deref());
        let Some(refusal) = refusal else { return Err(cluster.ask(&wish).await) };
        return Err(on_record(shared, &ulid::Ulid::new().to_string(), &wish, refusal));
    }
    let stop = shared.shutdown.child_token();
    let follow = Box::new(Follower(Arc::clone(shared)));
    carry_out(shared, wish, Order { stop, slot: None, follow, ended: None }).await
}

/// Asks every level and starts the sweep.
pub(super) async fn carry_out(shared: &Arc<Shared>, wish: Wish, order: Order) -> Result<String, Refusal> {
    let id = ulid::Ulid::new().to_string();
    let stop = Stop { sweeping: order.stop.clone(), watching: shared.shutdown.clone() };
    let entered =
        enter(shared, &id, &wish, &stop).await.map_err(|refusal| on_record(shared, &id, &wish, refusal))?;
    lock(&shared.refusals).forget(wish.container.cgroup);
    shared.tasks.spawn(run(entered, order, stop));
    Ok(id)
}

/// Everything that a sweep needs to run.
struct Entered {
    place: Place,
    operation: Operation,
    begun: Begun,
    permit: Permit,
}

async fn enter(shared: &Arc<Shared>, id: &str, wish: &Wish, stop: &Stop) -> Result<Entered, Refusal> {
    // Level by level: whether one runs already is asked after the pause, the config and the policy.
    let running = running(shared, wish.container.cgroup);
    if let Some(refusal) = shared.gate.refusal(&wish.container, &wish.policy, running.as_deref()) {
        return Err(refusal);
    }
    let place = reserve(shared, id, wish, &stop.sweeping)?;
    let Entry { permit, pass } = shared.gate.enter(&wish.container, &wish.policy).await?;
    let operation = operation(shared, id, wish.clone());
    let begun = operation::begin(&operation, &shared.stores, Some(pass))?;
    Ok(Entered { place, operation, begun, permit })
}

/// The sweep of this container that has not ended.
pub(super) fn running(shared: &Shared, container: CgroupId) -> Option<String> {
    let live = lock(&shared.live);
    live.values().find(|live| live.record.container.cgroup == container.0).map(|live| live.record.id.clone())
}

/// A sweep's place among the live ones. Given back when dropped, also where the sweep's task panics: else its
/// container could not be swept again until the agent is started anew.
struct Place {
    shared: Arc<Shared>,
    id: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.shared.live).remove(&self.id);
    }
}

async fn run(entered: Entered, order: Order, stop: Stop) {
    let Entered { place, operation, begun, permit } = entered;
    let shared = Arc::clone(&place.shared);
    let container = operation.container.clone();
    let retries = operation.policy.spec.sweep.retries;
    let until = permit.until().within(order.slot);
    let mut record = operation::run(operation, begun, &shared.stores, &*order.follow, until, &stop).await;
    if worth_another_try(&record) && record.attempt >= retries.limit {
        give_up(&shared, &mut record);
    }
    shared.outside.ended(container.as_deref(), &record);
    let Some(container) = container.map(|container| container.cgroup) else { return };
    // The cool-down begins before the place is free: nobody slips in between.
    shared.gate.left(container);
    drop((permit, place));
    if let Some(ended) = order.ended {
        // Who asked for the sweep may have ended with the agent.
        let _ = ended.send(record.clone());
    }
    // The loop may be gone already at the end of the agent; then nobody needs to know.
    let _ = shared.ended.0.send(Ended { container, record }).await;
}

/// Failures of the sweep as a whole may pass; what a policy, a person, the host's set-up or the container's end
/// decided stays decided, and so does that a scan worker was not believed.
pub(super) fn worth_another_try(record: &SweepRecord) -> bool {
    match record.outcome {
        Some(Outcome::Failed) => record.reason.as_deref() != Some("LimitsMissing"),
        Some(Outcome::Stopped) => matches!(record.reason.as_deref(), Some("SweepBreaker" | "SignalMissing")),
        _ => false,
    }
}

/// When to try again: the policy's backoff, doubled each time.
pub(super) fn retry_delay(policy: &SweepPolicy, attempt: u32) -> Option<Duration> {
    let retries = policy.spec.sweep.retries;
    (attempt < retries.limit).then(|| retries.backoff.0.saturating_mul(2u32.saturating_pow(attempt)))
}

fn give_up(shared: &Shared, record: &mut SweepRecord) {
    record.notes.push(format!(
        "GivenUp: after {} tries; asks again when what asked has ended and begun anew",
        record.attempt + 1
    ));
    shared.stores.metrics.given_up(&record.policy);
    tracing::warn!(
        sweep = record.id,
        container = record.container.name,
        tries = record.attempt + 1,
        "given up"
    );
    operation::keep(&shared.stores, record);
}

/// Puts the sweep among the live ones, in one step with the check that none of this container is there.
fn reserve(shared: &Arc<Shared>, id: &str, wish: &Wish, stop: &CancellationToken) -> Result<Place, Refusal> {
    let record = operation(shared, id, wish.clone()).record(Timestamp::now());
    let mut live = lock(&shared.live);
    let cgroup = wish.container.cgroup.0;
    let other = live.values().find(|live| live.record.container.cgroup == cgroup);
    none_running(other.map(|live| live.record.id.as_str()))?;
    live.insert(id.to_owned(), Live { record, stop: stop.clone() });
    Ok(Place { shared: Arc::clone(shared), id: id.to_owned() })
}

pub(super) fn operation(shared: &Shared, id: &str, wish: Wish) -> Operation {
    let roots = sweep::plan_roots(&wish.container, &wish.policy.spec.junk);
    let never = shared.gate.never(&wish.policy);
    Operation {
        id: id.to_owned(),
        container: Some(wish.container),
        policy: wish.policy,
        mode: wish.mode,
        fired: wish.fired,
        roots,
        never,
        top_directories: wish.top_directories,
        attempt: wish.attempt,
    }
}
