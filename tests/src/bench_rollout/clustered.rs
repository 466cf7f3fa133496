//! The same questions put to a real API server: what many agents cost it that have nothing to do, and what a sweep costs
//! it, through real coordinators.
//!
//! Everything that is counted is counted by the API server, in its metrics and its audit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use podsweep::kubernetes::events::{PodEvents, QUIET};
use podsweep::kubernetes::resources::SweepPhase;
use podsweep::report::Metrics;
use podsweep::report::metrics::BuildInfo;
use serde::Serialize;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::figures::{Outcomes, Writes};
use super::fleet::{Fleet, node};
use super::requests::{Rate, answered, by_whom};
use crate::cluster::audit::Record;
use crate::cluster::installed::{Installed, POLICY};
use crate::cluster::slot_history::SlotHistory;
use crate::cluster::test_agent::{self, Course};

const PREFIX: &str = "podsweep-bench-rollout";
/// As many as deploy/base has.
const COORDINATORS: usize = 3;
const SLOTS: usize = 20;
const SWEEPS: u32 = 200;
const WORKLOADS: u32 = 20;
/// Short, so that two hundred take minutes. A sweep of a minute and more costs one renewal a minute besides.
const WORKS: Duration = Duration::from_secs(6);
const OBSERVES: Duration = Duration::from_secs(6);
/// The coordinator's default: what agents renew at half of.
const LEASE: Duration = Duration::from_mins(2);
/// The shortest that a coordinator takes: how ended sweeps are forgotten is counted, too.
const TTL: &str = "60s";
const FORGOTTEN_WITHIN: Duration = Duration::from_mins(20);
/// A watch that was just made has not failed yet.
const SETTLED: Duration = Duration::from_secs(10);
/// The audit has a record of each watch a moment after it has ended.
const WRITTEN: Duration = Duration::from_secs(5);

/// What it has shown.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Clustered {
    pub(super) agents: u32,
    pub(super) coordinators: usize,
    pub(super) idle: Idle,
    pub(super) sweeping: Sweeping,
}

/// Nobody has anything to do.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Idle {
    pub(super) seconds: u32,
    /// By the API server's own metrics; the question for them is in it.
    pub(super) answered_per_second: f64,
    pub(super) all: Rate,
    pub(super) by_whom: BTreeMap<String, Rate>,
    /// Watches of agents that failed since the first agent was started, and agents that knew of one at the end.
    pub(super) failed_watches: u64,
    pub(super) stale_agents: usize,
}

/// Sweeps go through.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sweeping {
    pub(super) sweeps: u32,
    pub(super) workloads: u32,
    pub(super) slots: usize,
    pub(super) seconds: f64,
    pub(super) outcomes: Outcomes,
    pub(super) writes: Writes,
    /// By the API server's audit of the Leases, and by the agents' own book.
    pub(super) most_at_once: usize,
    pub(super) most_worked: usize,
    /// Slots that were given on too early, or worked under twice.
    pub(super) cap_violations: usize,
}

/// Runs it: so many agents, idle for so many seconds.
pub(super) fn run(agents: u32, seconds: u32) -> Result<Clustered> {
    let runtime = Runtime::new().context("cannot start a runtime")?;
    let mut installed = Installed::start(PREFIX)?;
    installed.slots(SLOTS)?;
    installed.policy(
        &json!({ "rollout": {"canary": 1, "growth": 2, "serialBy": ["Node"], "maxParallel": 100} }),
    )?;
    for _ in 0..COORDINATORS {
        installed.coordinator(&json!({ "ttl": TTL }))?;
    }
    let course = runtime.block_on(course(&installed))?;
    let kubeconfig = installed.kubeconfig_of("agents")?;
    let fleet = runtime.block_on(Fleet::start(agents, &kubeconfig, &course))?;

    thread::sleep(SETTLED);
    let from = Timestamp::now();
    let before = answered(installed.kubectl())?;
    thread::sleep(Duration::from_secs(seconds.into()));
    let idle_answered = answered(installed.kubectl())? - before;
    let (failed_watches, stale_agents) = (fleet.book.lists_and_failures().1, fleet.stale());

    let asked = Timestamp::now();
    sweep(&runtime, &installed, agents)?;
    let (most_worked, twice) = fleet.book.most_at_once();
    runtime.block_on(fleet.end());
    thread::sleep(WRITTEN);
    let records = installed.plane.audit()?;
    let (by_whom, all) = by_whom(&records, from, seconds);
    let history = SlotHistory::of(&records)?;
    let early = history.taken_too_early(LEASE);
    let ends = ends(&records);
    Ok(Clustered {
        agents,
        coordinators: COORDINATORS,
        idle: Idle {
            seconds,
            answered_per_second: idle_answered / f64::from(seconds.max(1)),
            all,
            by_whom,
            failed_watches,
            stale_agents,
        },
        sweeping: Sweeping {
            sweeps: SWEEPS,
            workloads: WORKLOADS,
            slots: SLOTS,
            seconds: took(asked, &ends),
            outcomes: outcomes(&ends),
            writes: writes(&records, &history, asked),
            most_at_once: history.most_at_once(),
            most_worked,
            cap_violations: early.len() + usize::from(twice) + most_worked.saturating_sub(SLOTS),
        },
    })
}

/// With the product's own Events: they are writes, too.
async fn course(installed: &Installed) -> Result<Course> {
    let client = test_agent::client(&installed.kubeconfig_of("agents")?).await?;
    let metrics = Arc::new(Metrics::new(BuildInfo { version: "bench", commit: "bench" })?);
    let events = PodEvents::start(client, "bench".into(), QUIET, metrics, CancellationToken::new());
    Ok(Course { works: WORKS, observes: OBSERVES, events: Some(events), ..Course::default() })
}

/// Asks for them, and waits until all have ended and are forgotten: the first are before the last have begun.
fn sweep(runtime: &Runtime, installed: &Installed, agents: u32) -> Result<()> {
    let kubeconfig = installed.kubeconfig_of("who-asks")?;
    runtime.block_on(async {
        let client = test_agent::client(&kubeconfig).await?;
        for number in 0..SWEEPS {
            let (node, workload) = (node(number % agents), format!("w{}", number % WORKLOADS));
            test_agent::ask(&client, &node, &workload, &format!("pod-{number}"), POLICY).await?;
        }
        anyhow::Ok(())
    })?;
    installed.until_forgotten(FORGOTTEN_WITHIN)
}

/// How each Sweep ended, and when.
fn ends(records: &[Record]) -> BTreeMap<String, (SweepPhase, Timestamp)> {
    let told = records.iter().filter(|record| record.is_of("sweeps") && record.verb == "patch");
    let ends = told.filter_map(|record| {
        let status = &record.response_object.as_ref()?["status"];
        let phase: SweepPhase = serde_json::from_value(status["phase"].clone()).ok()?;
        phase.is_ended().then_some((sweep_of(record)?, (phase, record.request_received_timestamp)))
    });
    ends.collect()
}

fn took(asked: Timestamp, ends: &BTreeMap<String, (SweepPhase, Timestamp)>) -> f64 {
    let last = ends.values().map(|(_, at)| *at).max();
    last.map_or(0.0, |last| last.duration_since(asked).as_secs_f64())
}

fn outcomes(ends: &BTreeMap<String, (SweepPhase, Timestamp)>) -> Outcomes {
    let count = |wanted| ends.values().filter(|(phase, _)| *phase == wanted).count();
    let [succeeded, failed, aborted] =
        [SweepPhase::Succeeded, SweepPhase::Failed, SweepPhase::Aborted].map(count);
    let other = (SWEEPS as usize).saturating_sub(succeeded + failed + aborted);
    Outcomes { succeeded, failed, aborted, other }
}

/// Writes since then, but for the leader's own Lease. What is about one sweep is counted for it: its object, the slot that
/// it held, the Event on its pod.
fn writes(records: &[Record], history: &SlotHistory, since: Timestamp) -> Writes {
    let mut by_sweep = history.writes_by_sweep();
    let mut by_purpose: BTreeMap<String, u64> = BTreeMap::new();
    let later = |record: &&Record| record.request_received_timestamp >= since && record.has_written();
    for record in records.iter().filter(later) {
        let Some(object) = &record.object_ref else { continue };
        let purpose = match (object.resource.as_str(), object.subresource.as_str()) {
            ("leases", _) if !object.name.starts_with("podsweep-slot-") => continue,
            ("leases", _) => "slot".to_owned(),
            (resource, "") => format!("{} {resource}", record.verb),
            (resource, subresource) => format!("{} {resource}/{subresource}", record.verb),
        };
        *by_purpose.entry(purpose).or_default() += 1;
        if let Some(sweep) = sweep_of(record) {
            *by_sweep.entry(sweep).or_default() += 1;
        }
    }
    let all = by_purpose.values().sum();
    Writes::of(by_sweep.into_values(), all, &by_purpose)
}

/// The sweep that a write is about; of slots [`SlotHistory`] knows.
fn sweep_of(record: &Record) -> Option<String> {
    let object = record.object_ref.as_ref()?;
    match object.resource.as_str() {
        // Who creates it may leave the name to the request's body.
        "sweeps" if object.name.is_empty() => {
            Some(record.response_object.as_ref()?["metadata"]["name"].as_str()?.to_owned())
        }
        "sweeps" => Some(object.name.clone()),
        // POD.ULID, and the test's pods have no dot.
        "events" => Some(format!("app-{}", object.name.split_once('.')?.0)),
        _ => None,
    }
}
