//! One sweep from its beginning to the verdict: put it on record, scan and remove, watch the container, tell the
//! breakers.
//!
//! In: an [`Operation`] that every guard has let through. Out: its [`SweepRecord`], ended. The agent and the one-shot
//! command share it. Must never: begin what cannot be put on record, or decide whether a sweep may begin.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::admission::Until;
use crate::breaker::{Board, Change, Finding, Pass, Vitals, WatchSettings};
use crate::inventory::Container;
use crate::kernel::Cgroups;
use crate::kubernetes::Index;
use crate::observation::{self, Sources};
use crate::policy::{Fired, Mode, Reason, Refusal, SweepPolicy};
use crate::report::metrics::{Metrics, Store};
use crate::report::{History, Outcome, Phase, Subject, SweepFigures, SweepRecord};
use crate::scan::{ScanPlace, ScanRoot};
use crate::sweep::{self, Done, Event, Plan, Tools};

/// Events between the sweep and whoever follows it: enough for a second of batches at the shortest interval.
const EVENT_QUEUE: usize = 256;

/// Key of the breakers in the history's state.
pub const BREAKERS: &str = "breakers";

/// What operations work with. One set for the whole process.
pub struct Stores {
    /// Every sweep on record.
    pub history: Arc<History>,
    /// Figures for Prometheus.
    pub metrics: Arc<Metrics>,
    /// The breakers.
    pub board: Mutex<Board>,
    /// Where the cgroup hierarchies are.
    pub cgroups: Arc<Cgroups>,
    /// What the Kubernetes API tells; `None` on a host by itself, never filled where no agent runs.
    pub pods: Option<Arc<Index>>,
    /// What the sweep stage needs: worker, scan cgroup, audit journal.
    pub tools: Tools<ScanPlace>,
}

/// Whoever wants to know how a sweep goes: the agent's log and live view, or a terminal. Called often: be quick.
pub trait Follow: Send + Sync {
    /// The record has reached another phase.
    fn phase(&self, record: &SweepRecord);
    /// Something happened within the sweep with this id.
    fn event(&self, id: &str, event: &Event);
}

/// One sweep that may begin.
#[derive(Debug, Clone)]
pub struct Operation {
    /// ULID.
    pub id: String,
    /// The container; `None` for a plain directory.
    pub container: Option<Arc<Container>>,
    /// The policy that acts.
    pub policy: Arc<SweepPolicy>,
    /// How far this sweep goes.
    pub mode: Mode,
    /// What asked for it.
    pub fired: Fired,
    /// Trees to walk.
    pub roots: Vec<ScanRoot>,
    /// Deny lists: the node's, then the policy's.
    pub never: Vec<String>,
    /// Directories with the most creates, most first.
    pub top_directories: Vec<(String, u64)>,
    /// Which attempt, from 0.
    pub attempt: u32,
}

impl Operation {
    /// The record as it stands before anything happens.
    pub fn record(&self, now: Timestamp) -> SweepRecord {
        SweepRecord {
            id: self.id.clone(),
            container: self.subject(),
            policy: self.policy.metadata.name.clone(),
            mode: self.mode,
            fired: self.fired.clone(),
            top_directories: self.top_directories.clone(),
            started_at: now.to_string(),
            ended_at: None,
            phase: Phase::Waiting,
            outcome: None,
            reason: None,
            message: None,
            refusal: None,
            scan: None,
            sweep: SweepFigures::default(),
            health: None,
            health_reason: None,
            notes: Vec::new(),
            attempt: self.attempt,
        }
    }

    fn subject(&self) -> Subject {
        let Some(container) = &self.container else { return self.directory() };
        Subject {
            cgroup: container.cgroup.0,
            cgroup_path: container.cgroup_path.clone(),
            id: container.id.clone(),
            name: container.short(),
            image: container.names.image.clone(),
            pid: container.first.pid,
            start_time: container.first.start_time,
        }
    }

    fn directory(&self) -> Subject {
        let path = self.roots.first().map(|root| root.host.display().to_string()).unwrap_or_default();
        Subject {
            cgroup: 0,
            cgroup_path: path.clone(),
            id: path.clone(),
            name: format!("dir:{path}"),
            image: None,
            pid: 0,
            start_time: 0,
        }
    }

    fn plan(&self) -> Plan {
        Plan {
            id: self.id.clone(),
            container: self.container.clone(),
            policy: Arc::clone(&self.policy),
            mode: self.mode,
            roots: self.roots.clone(),
            never: self.never.clone(),
        }
    }
}

/// Who asks a sweep to end. A sweep that a person stops has touched its container all the same: it is watched on.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Ends scanning and removing, after the batch.
    pub sweeping: CancellationToken,
    /// Ends the observation, whose finding is then "unknown".
    pub watching: CancellationToken,
}

/// A sweep on record, with what the breakers want back when it is over.
#[must_use = "on record as running: run it"]
pub struct Begun {
    record: SweepRecord,
    pass: Option<Pass>,
}

/// Puts a sweep on record, before anybody is told that there is one. `pass`: what the breakers gave (none for a plain
/// directory). Needs a runtime with several threads, as [`run`] does.
pub fn begin(operation: &Operation, stores: &Stores, pass: Option<Pass>) -> Result<Begun, Refusal> {
    let mut record = operation.record(Timestamp::now());
    record.phase = Phase::Sweeping;
    match tokio::task::block_in_place(|| stores.history.begin(&record)) {
        Ok(()) => Ok(Begun { record, pass }),
        Err(error) => {
            stores.metrics.write_failed(Store::History);
            withdraw(stores, pass);
            Err(history_unavailable(&error.to_string()))
        }
    }
}

/// Runs one operation to its end, `until` the caller's permit is over.
pub async fn run(
    operation: Operation,
    begun: Begun,
    stores: &Stores,
    follow: &dyn Follow,
    until: Until,
    stop: &Stop,
) -> SweepRecord {
    let Begun { mut record, pass } = begun;
    follow.phase(&record);
    let before = operation.container.as_deref().map(|found| vitals(found, stores));
    let metrics = Some(&*stores.metrics);
    let done = sweep_and_follow(&operation, &stores.tools, metrics, follow, until, &stop.sweeping).await;
    note_done(&mut record, done);
    match (&operation.container, before, pass) {
        (Some(container), Some(before), Some(pass)) if touched(&record) => {
            record.phase = Phase::Observing;
            keep(stores, &record);
            follow.phase(&record);
            let finding = watch(&operation, container, stores, before, &stop.watching).await;
            judge(&operation, stores, &mut record, pass, &finding);
        }
        (_, _, pass) => withdraw(stores, pass),
    }
    end(&mut record);
    keep(stores, &record);
    stores.metrics.sweep_ended(&record);
    follow.phase(&record);
    record
}

/// A sweep that did not begin, with who said no.
pub fn refuse(record: &mut SweepRecord, refusal: Refusal) {
    record.outcome = Some(Outcome::Refused);
    record.reason = Some(refusal.reason.clone());
    record.message = Some(refusal.message.clone());
    record.refusal = Some(refusal);
    end(record);
}

/// Puts a refused sweep on record, for whoever asks later why nothing happened.
pub fn keep_refused(stores: &Stores, record: &SweepRecord) {
    if let Err(error) = stores.history.begin(record) {
        stores.metrics.write_failed(Store::History);
        tracing::warn!(sweep = record.id, %error, "refused sweep not on record");
    }
}

/// Closes a record.
pub(crate) fn end(record: &mut SweepRecord) {
    record.phase = Phase::Ended;
    record.ended_at = Some(Timestamp::now().to_string());
}

fn history_unavailable(error: &str) -> Refusal {
    Refusal::new(
        Reason::HistoryUnavailable,
        format!("a sweep that cannot be put on record does not begin: {error}"),
    )
}

/// The sweep stage, with its events passed on as they come.
pub(crate) async fn sweep_and_follow(
    operation: &Operation,
    tools: &Tools<ScanPlace>,
    metrics: Option<&Metrics>,
    follow: &dyn Follow,
    until: Until,
    stop: &CancellationToken,
) -> Done {
    let (events, mut received) = mpsc::channel(EVENT_QUEUE);
    let sweeping = sweep::run(operation.plan(), tools, events, stop.clone(), Some(until));
    let following = async {
        while let Some(event) = received.recv().await {
            if let (Event::Batch { took, .. }, Some(metrics)) = (&event, metrics) {
                metrics.batch(*took);
            }
            follow.event(&operation.id, &event);
        }
    };
    let (done, ()) = tokio::join!(sweeping, following);
    done
}

/// Takes over what the sweep stage reports.
pub(crate) fn note_done(record: &mut SweepRecord, done: Done) {
    if done.outcome == Outcome::Refused {
        record.refusal = Reason::of_word(&done.reason).map(|reason| Refusal::new(reason, &done.message));
    }
    record.outcome = Some(done.outcome);
    record.reason = Some(done.reason);
    record.message = Some(done.message);
    record.scan = done.scan;
    record.sweep = done.figures;
    record.notes = done.notes;
}

// Reading cgroup files can wait for a lock in the kernel.
fn vitals(container: &Container, stores: &Stores) -> Vitals {
    tokio::task::block_in_place(|| sources(stores).read(container))
}

fn sources(stores: &Stores) -> Sources {
    Sources { cgroups: Arc::clone(&stores.cgroups), pods: stores.pods.clone() }
}

// A dry run, or a sweep that removed nothing, cannot have harmed anybody: there is nothing to watch for.
fn touched(record: &SweepRecord) -> bool {
    record.mode == Mode::Enforce && (record.sweep.removed > 0 || record.sweep.removed_directories > 0)
}

async fn watch(
    operation: &Operation,
    container: &Arc<Container>,
    stores: &Stores,
    before: Vitals,
    stop: &CancellationToken,
) -> Finding {
    let settings = WatchSettings { window: operation.policy.spec.rollout.observe.0 };
    observation::observe(Arc::clone(container), sources(stores), before, settings, stop.clone()).await
}

fn judge(operation: &Operation, stores: &Stores, record: &mut SweepRecord, pass: Pass, finding: &Finding) {
    record.health = Some(finding.health);
    record.health_reason = Some(finding.reason().to_owned());
    let limits = operation.policy.spec.breakers.workload;
    let recorded = board(stores).record(pass, finding, unix_now(), &limits);
    if recorded.workload != Change::None || recorded.global != Change::None {
        tracing::warn!(sweep = record.id, workload = ?recorded.workload, global = ?recorded.global, "breaker");
    }
    keep_breakers(stores);
}

fn withdraw(stores: &Stores, pass: Option<Pass>) {
    if let Some(pass) = pass {
        board(stores).withdraw(pass);
        keep_breakers(stores);
    }
}

/// Puts the breakers on record, so that they outlive the process.
pub fn keep_breakers(stores: &Stores) {
    let snapshot = serde_json::json!(board(stores).snapshot());
    if let Err(error) = tokio::task::block_in_place(|| stores.history.put_state(BREAKERS, &snapshot)) {
        stores.metrics.write_failed(Store::History);
        tracing::warn!(%error, "breakers not saved; they hold until this process ends");
    }
}

fn board(stores: &Stores) -> std::sync::MutexGuard<'_, Board> {
    stores.board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Brings a sweep's record up to date; a sweep that runs does not end because that fails.
pub(crate) fn keep(stores: &Stores, record: &SweepRecord) {
    if let Err(error) = tokio::task::block_in_place(|| stores.history.update(record)) {
        stores.metrics.write_failed(Store::History);
        tracing::warn!(sweep = record.id, %error, "sweep's record not updated");
    }
}

/// Seconds since 1970: the breakers' clock, which must go on through a restart.
pub fn unix_now() -> Duration {
    Duration::from_secs(u64::try_from(Timestamp::now().as_second()).unwrap_or_default())
}

#[cfg(test)]
mod tests;
