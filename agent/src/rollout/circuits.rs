//! The breakers of a cluster: one for each workload that came to harm, and the global one.
//!
//! Open for a cool-down, counted on this process's own clock from when it first saw the breaker open; then half-open:
//! one sweep of the workload may run, and when that one ends healthy the breaker closes, which is the end of its
//! object. Whoever deletes the object resets the breaker. The global one never becomes half-open.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::step::Step;
use super::wait::Wait;
use crate::kubernetes::labels;
use crate::kubernetes::resources::{Breaker, BreakerLevel, BreakerSpec, BreakerState, BreakerStatus};
use crate::policy::Reason;

/// Name of the object that stops everything.
pub const GLOBAL: &str = "global";
/// Breakers at a time; a cluster that harmed more workloads than this is stopped as a whole.
const MAX_OPEN: usize = 4096;
/// Cool-down of a breaker whose policy's is not known any more: the default of a policy.
const DEFAULT_COOL_DOWN: Duration = Duration::from_mins(30);
/// Longest name of an object: RFC 1123 subdomain.
const MAX_NAME: usize = 253;

/// When harm in several places stops everything.
pub(super) type GlobalRule = crate::breaker::GlobalBreaker;

#[derive(Debug, Clone)]
struct Circuit {
    state: BreakerState,
    cause: String,
    /// For people, and to tell whether several opened within a window: both times are coordinators'.
    since: Timestamp,
    /// On this process's clock: since when it has known this state.
    known_since: Duration,
    cool_down: Duration,
    /// The object's status as it was last read; `None`: not there yet.
    saved: Option<BreakerStatus>,
}

impl Circuit {
    fn status(&self) -> BreakerStatus {
        let half_open_at = (self.state == BreakerState::Open)
            .then(|| self.since.checked_add(self.cool_down).ok().map(|at| at.to_string()))
            .flatten();
        BreakerStatus {
            state: self.state,
            cause: Some(self.cause.clone()),
            since: Some(self.since.to_string()),
            half_open_at,
        }
    }

    fn of(status: &BreakerStatus, now: Duration, wall: Timestamp) -> Self {
        let time = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        let since = time(&status.since).unwrap_or(wall);
        let cool_down = time(&status.half_open_at)
            .and_then(|at| Duration::try_from(at.duration_since(since)).ok())
            .unwrap_or(DEFAULT_COOL_DOWN);
        // What says that it is closed, and is still there, was not written by us.
        let state = match status.state {
            BreakerState::HalfOpen => BreakerState::HalfOpen,
            BreakerState::Open | BreakerState::Closed => BreakerState::Open,
        };
        let cause = status.cause.clone().unwrap_or_else(|| "made by a person".into());
        Self { state, cause, since, known_since: now, cool_down, saved: Some(status.clone()) }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Circuits {
    workloads: BTreeMap<String, Circuit>,
    global: Option<Circuit>,
    global_reset: Option<Timestamp>,
    /// Objects of breakers that closed, to be deleted.
    closed: Vec<String>,
}

impl Circuits {
    /// Takes a Breaker as it was read.
    pub(super) fn observe(&mut self, breaker: &Breaker, now: Duration, wall: Timestamp) {
        let status = breaker.status.clone().unwrap_or_default();
        let known = match (breaker.spec.level, &breaker.spec.workload) {
            (BreakerLevel::Global, _) => self.global.get_or_insert_with(|| Circuit::of(&status, now, wall)),
            (BreakerLevel::Workload, Some(workload)) => {
                self.workloads.entry(workload.clone()).or_insert_with(|| Circuit::of(&status, now, wall))
            }
            (BreakerLevel::Workload, None) => return,
        };
        known.saved = Some(status);
    }

    /// A Breaker is gone: a person reset it, or it is the one that we closed.
    pub(super) fn forget(&mut self, name: &str, wall: Timestamp) {
        self.closed.retain(|closed| closed != name);
        if name == GLOBAL {
            self.global = None;
            self.global_reset = Some(wall);
        } else {
            self.workloads.retain(|workload, circuit| circuit.saved.is_none() || name_of(workload) != name);
        }
    }

    /// Time passes: what was open long enough becomes half-open.
    pub(super) fn tick(&mut self, now: Duration, wall: Timestamp) {
        for circuit in self.workloads.values_mut() {
            if circuit.state == BreakerState::Open
                && now >= circuit.known_since.saturating_add(circuit.cool_down)
            {
                circuit.state = BreakerState::HalfOpen;
                (circuit.known_since, circuit.since) = (now, wall);
            }
        }
    }

    /// Whether a sweep of this workload may begin. `busy`: whether one of it runs; asked only where that matters.
    pub(super) fn judge(
        &self,
        workload: &str,
        busy: impl FnOnce() -> bool,
        now: Duration,
    ) -> Result<(), Wait<'_>> {
        if let Some(global) = &self.global {
            return Err(Wait::GlobalBreaker { cause: &global.cause });
        }
        let Some(circuit) = self.workloads.get(workload) else { return Ok(()) };
        if circuit.state == BreakerState::HalfOpen {
            if !busy() {
                return Ok(());
            }
            return Err(Wait::Probe { cause: &circuit.cause });
        }
        let rest = circuit.known_since.saturating_add(circuit.cool_down).saturating_sub(now);
        Err(Wait::Breaker { cause: &circuit.cause, rest })
    }

    /// Whether the breaker of this workload is open.
    pub(super) fn is_open(&self, workload: &str) -> bool {
        self.workloads.get(workload).is_some_and(|circuit| circuit.state == BreakerState::Open)
    }

    /// Whether what runs must be stopped.
    pub(super) fn stops(&self, workload: &str) -> Option<Reason> {
        if self.global.is_some() {
            return Some(Reason::GlobalBreakerOpen);
        }
        self.is_open(workload).then_some(Reason::BreakerOpen)
    }

    /// A sweep of this workload ended healthy; where the breaker is half-open it was the probe.
    pub(super) fn healthy(&mut self, workload: &str) {
        if self.workloads.get(workload).is_some_and(|circuit| circuit.state == BreakerState::HalfOpen) {
            self.workloads.remove(workload);
            self.closed.push(name_of(workload));
        }
    }

    /// Nobody knows how a sweep of this workload fared: the next probe waits another cool-down.
    pub(super) fn unknown(&mut self, workload: &str, now: Duration, wall: Timestamp) {
        if let Some(circuit) = self.workloads.get_mut(workload)
            && circuit.state == BreakerState::HalfOpen
        {
            circuit.state = BreakerState::Open;
            (circuit.known_since, circuit.since) = (now, wall);
        }
    }

    /// Opens the breaker of a workload, and where `rule` says so the global one.
    pub(super) fn open(
        &mut self,
        workload: &str,
        cause: String,
        cool_down: Duration,
        rule: GlobalRule,
        now: Duration,
        wall: Timestamp,
    ) {
        let saved = self.workloads.get(workload).and_then(|circuit| circuit.saved.clone());
        if saved.is_none() && self.workloads.len() >= MAX_OPEN {
            self.open_global(format!("more than {MAX_OPEN} workloads came to harm"), now, wall);
            return;
        }
        let state = BreakerState::Open;
        let circuit = Circuit { state, cause, since: wall, known_since: now, cool_down, saved };
        self.closed.retain(|closed| *closed != name_of(workload));
        self.workloads.insert(workload.to_owned(), circuit);
        let harmed = self.harmed_within(rule.window, wall);
        if harmed.len() >= rule.open.max(1) as usize {
            let seconds = rule.window.as_secs();
            let cause =
                format!("{} workloads were harmed within {seconds} s: {}", harmed.len(), harmed.join(", "));
            self.open_global(cause, now, wall);
        }
    }

    fn harmed_within(&self, window: Duration, wall: Timestamp) -> Vec<&str> {
        let lately = |circuit: &Circuit| {
            self.global_reset.is_none_or(|reset| circuit.since > reset)
                && wall.duration_since(circuit.since).unsigned_abs() <= window
        };
        let open = self
            .workloads
            .iter()
            .filter(|(_, circuit)| circuit.state == BreakerState::Open && lately(circuit));
        // Of workloads that opened for the very same cause, a guard that they share, one counts.
        let mut causes = BTreeSet::new();
        open.filter(|(_, circuit)| causes.insert(circuit.cause.as_str()))
            .map(|(workload, _)| workload.as_str())
            .collect()
    }

    fn open_global(&mut self, cause: String, now: Duration, wall: Timestamp) {
        if self.global.is_none() {
            let state = BreakerState::Open;
            let cool_down = DEFAULT_COOL_DOWN;
            self.global =
                Some(Circuit { state, cause, since: wall, known_since: now, cool_down, saved: None });
        }
    }

    /// Whether what was decided about this workload is on the API server, so that another leader would know it.
    pub(super) fn is_saved(&self, workload: &str) -> bool {
        let global = self.global.as_ref().is_none_or(|circuit| circuit.saved.is_some());
        global
            && self
                .workloads
                .get(workload)
                .is_none_or(|circuit| circuit.saved.as_ref() == Some(&circuit.status()))
    }

    /// What must be written so that the API server shows what is known here.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<_> =
            self.closed.iter().map(|name| Step::CloseBreaker { name: name.clone() }).collect();
        for (workload, circuit) in &self.workloads {
            let spec = BreakerSpec { level: BreakerLevel::Workload, workload: Some(workload.clone()) };
            steps.extend(save(name_of(workload), spec, circuit, circuit.status()));
        }
        if let Some(circuit) = &self.global {
            let spec = BreakerSpec { level: BreakerLevel::Global, workload: None };
            // Only a person closes it.
            let status = BreakerStatus { half_open_at: None, state: BreakerState::Open, ..circuit.status() };
            steps.extend(save(GLOBAL.to_owned(), spec, circuit, status));
        }
        steps
    }

    /// How many are in each state: open, half-open; and whether the global one is open.
    pub(super) fn count(&self) -> (u64, u64, bool) {
        let half =
            self.workloads.values().filter(|circuit| circuit.state == BreakerState::HalfOpen).count() as u64;
        (self.workloads.len() as u64 - half, half, self.global.is_some())
    }
}

fn save(name: String, spec: BreakerSpec, circuit: &Circuit, status: BreakerStatus) -> Option<Step> {
    (circuit.saved.as_ref() != Some(&status)).then_some(Step::SaveBreaker { name, spec, status })
}

/// The object of a workload's breaker: its key, readable, and a hash, since two keys may read alike.
fn name_of(workload: &str) -> String {
    let hash = labels::hash(workload);
    let mut readable = workload.to_lowercase().replace('/', ".");
    readable.retain(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    readable.truncate(MAX_NAME - hash.len() - 1);
    format!("{}-{hash}", readable.trim_matches(['-', '.']))
}
