//! Everybody who may say no to a sweep, asked in the order of the levels; the first no stands.
//!
//! In: a container and the policy that wants it swept. Out: an [`Entry`], or the [`Refusal`]. The agent and the
//! one-shot command ask the same gate. Must never: start anything.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;

use crate::admission::{Admission, LocalAdmission, LocalSettings, Permit, Request, Window};
use crate::breaker::{Pass, workload_key};
use crate::config::Config;
use crate::control::view::Paused;
use crate::inventory::{CgroupId, Container};
use crate::operation::{Stores, keep_breakers, unix_now};
use crate::policy::{EntryLimits, NodeGuard, Refusal, SweepPolicy, select};
use crate::report::{HistoryError, Outcome};
use crate::sweep::plan_roots;

/// History rows looked at for cool-downs, all that history lists at once. The default six sweeps a minute fill it in
/// close to three hours; the default cool-down is five minutes.
const COOL_DOWN_ROWS: usize = crate::report::history::MAX_LIST;

/// What a sweep needs to begin: nobody said no.
pub struct Entry {
    /// The slot, with the time it is for.
    pub permit: Permit,
    /// What the breakers want back when the sweep is over.
    pub pass: Pass,
}

/// Levels 1 to 7, and of level 0 whether there is anything to sweep; the rest of that is the scanner's and the
/// sweeper's: it needs the file at hand.
pub struct Gate {
    stores: Arc<Stores>,
    guard: NodeGuard,
    limits: Mutex<EntryLimits>,
    admission: LocalAdmission,
    paused: Mutex<Option<Paused>>,
    clock: Clock,
}

/// Time since 1970 as it was at the start, moved on by the monotonic clock: a wall clock that is set back by years
/// must not turn a cool-down of minutes into one of years.
struct Clock {
    started: Instant,
    since_1970: Duration,
}

impl Clock {
    fn start() -> Self {
        Self { started: Instant::now(), since_1970: unix_now() }
    }

    fn now(&self) -> Duration {
        self.since_1970 + self.started.elapsed()
    }
}

impl Gate {
    /// As the node's config says, with the pause and the cool-downs that history remembers.
    pub fn new(config: &Config, stores: Arc<Stores>) -> anyhow::Result<Self> {
        let mut limits = EntryLimits::new(config.sweeps_per_minute, config.cool_down);
        let clock = Clock::start();
        remember(&mut limits, &stores, clock.since_1970)?;
        let paused = kept_pause(&stores)?;
        Ok(Self {
            guard: NodeGuard::new(config)?,
            limits: Mutex::new(limits),
            admission: LocalAdmission::new(LocalSettings {
                slots: config.slots,
                allowed_hours: windows(config)?,
            }),
            paused: Mutex::new(paused),
            clock,
            stores,
        })
    }

    /// Levels 0 to 6: what can be said without asking for a slot. Changes nothing.
    pub fn refusal(&self, container: &Container, policy: &SweepPolicy) -> Option<Refusal> {
        nothing_to_sweep(container, policy)
            .or_else(|| self.closed())
            .or_else(|| self.guard.allows(container).err())
            .or_else(|| not_selected(container, policy))
            .or_else(|| self.limits().allow(container.cgroup, self.clock.now()).err())
            .or_else(|| self.board().would_allow(&workload_key(container), unix_now()).err())
    }

    /// Level 1 without a container: the pause and the node's switch.
    pub fn closed(&self) -> Option<Refusal> {
        self.paused()
            .map(|paused| Refusal {
                level: 1,
                reason: "Paused".into(),
                message: format!(
                    "a person paused this agent at {} ({}); `podsweep resume` ends it",
                    paused.since, paused.reason
                ),
            })
            .or_else(|| self.guard.switched_on().err())
    }

    /// All levels. The sweep that the permit is for counts from now on.
    pub async fn enter(&self, container: &Container, policy: &SweepPolicy) -> Result<Entry, Refusal> {
        if let Some(refusal) = self.refusal(container, policy) {
            return Err(refusal);
        }
        let permit = self.admission.ask(&request(container, policy)).await?;
        let pass = self.count(container)?;
        if pass.is_probe() {
            // An agent that is killed while the probe is out must not send another one at its next start.
            keep_breakers(&self.stores);
        }
        Ok(Entry { permit, pass })
    }

    /// Limits and breakers once more, for good and in one step with the count: several may have been let through up
    /// to here at once, and a half-open breaker lets exactly one probe through.
    fn count(&self, container: &Container) -> Result<Pass, Refusal> {
        let now = self.clock.now();
        let mut limits = self.limits();
        limits.allow(container.cgroup, now)?;
        let pass = self.board().allow(&workload_key(container), unix_now())?;
        limits.record(container.cgroup, now);
        Ok(pass)
    }

    /// The sweep is over: its container's cool-down begins.
    pub fn left(&self, container: CgroupId) {
        self.limits().ended(container, self.clock.now());
    }

    /// The node's own deny list of paths, and then the policy's.
    pub fn never(&self, policy: &SweepPolicy) -> Vec<String> {
        self.guard.never().iter().chain(&policy.spec.never).cloned().collect()
    }

    /// The node's own config as a guard.
    pub fn guard(&self) -> &NodeGuard {
        &self.guard
    }

    /// The pause, if there is one.
    pub fn paused(&self) -> Option<Paused> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// No new sweeps. Paused first, on record second: a disk that is full must not keep a person from stopping
    /// the agent.
    pub fn pause(&self, reason: &str) -> Result<(), HistoryError> {
        let paused = Some(Paused { since: Timestamp::now().to_string(), reason: reason.into() });
        self.paused.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&paused);
        self.stores.history.put_state("paused", &serde_json::json!(paused))
    }

    /// Sweeps again. On record first: else the next start would find the agent paused that a person resumed.
    pub fn resume(&self) -> Result<(), HistoryError> {
        self.stores.history.put_state("paused", &serde_json::Value::Null)?;
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    fn limits(&self) -> std::sync::MutexGuard<'_, EntryLimits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn board(&self) -> std::sync::MutexGuard<'_, crate::breaker::Board> {
        self.stores.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kept_pause(stores: &Stores) -> anyhow::Result<Option<Paused>> {
    match stores.history.state("paused")? {
        Some(kept) => serde_json::from_value(kept).context("the state \"paused\" in the history database"),
        None => Ok(None),
    }
}

fn windows(config: &Config) -> anyhow::Result<Vec<Window>> {
    config.allowed_hours.iter().map(|hours| Ok(hours.parse()?)).collect()
}

fn nothing_to_sweep(container: &Container, policy: &SweepPolicy) -> Option<Refusal> {
    plan_roots(container, &policy.spec.junk).is_empty().then(|| Refusal {
        level: 0,
        reason: "NothingToSweep".into(),
        message: format!(
            "{} has no storage in which policy {} may look: no overlayfs layer, and none of the volumes its rules name",
            container.short(),
            policy.metadata.name
        ),
    })
}

fn not_selected(container: &Container, policy: &SweepPolicy) -> Option<Refusal> {
    let line = select::matches(&policy.spec.select, container).err()?;
    let (policy, container) = (&policy.metadata.name, container.short());
    Some(Refusal {
        level: 4,
        reason: "NotSelected".into(),
        message: format!("policy {policy} does not select {container}: spec.select.{line} does not match it"),
    })
}

fn request(container: &Container, policy: &SweepPolicy) -> Request {
    let namespace = container.names.namespace.clone();
    Request::new(&policy.metadata.name, &policy.spec, workload_key(container), namespace)
}

fn remember(limits: &mut EntryLimits, stores: &Stores, now: Duration) -> Result<(), HistoryError> {
    let mut records = stores.history.list(COOL_DOWN_ROWS, None, None)?;
    records.retain(|record| record.outcome != Some(Outcome::Refused));
    // Newest first as listed; the last one told for a container stands.
    for record in records.into_iter().rev() {
        let ended = record.ended_at.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
        if let Some(seconds) = ended.and_then(|at| u64::try_from(at.as_second()).ok()) {
            // Of a time when the clock was ahead: it cannot have been later than now.
            limits.ended(CgroupId(record.container.cgroup), Duration::from_secs(seconds).min(now));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
