//! What the agent itself does, costs and misses on this node.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::{CounterVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Result};

use super::total::Total;
use super::{BuildInfo, Label, Metrics, Register};
use crate::breaker::{BreakerView, GLOBAL};
use crate::report::log;

/// Distinct eBPF programs; one tier has about twenty.
const MAX_PROGRAMS: usize = 64;
/// Distinct limits; they are words of the program.
const MAX_LIMITS: usize = 64;
/// Reading the counters of one container takes microseconds, of thousands some milliseconds.
const READ_SECONDS: [f64; 9] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.25, 1.0];
/// What [`BreakerView::state`] can say.
const STATES: [&str; 3] = ["Closed", "Open", "HalfOpen"];

/// Where a write failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// The history database.
    History,
    /// The audit journal.
    Journal,
}

/// What observation missed, in all, since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LossTotals {
    /// Upper bound of operations skipped because the program ran on that CPU already.
    pub recursion_misses: u64,
    /// Cgroups that found the map full.
    pub cgroups_not_counted: u64,
    /// Operations of these.
    pub operations_not_counted: u64,
    /// Creations whose directory could not be named.
    pub directories_not_named: u64,
    /// Cgroups made or removed that were not told.
    pub cgroup_events: u64,
}

pub(super) struct Node {
    breakers: IntGaugeVec,
    paused: IntGauge,
    policies: IntGauge,
    reloads: IntCounterVec,
    writes_failed: IntCounterVec,
    limits: IntCounterVec,
    limit_names: Label,
    log_lines: IntCounter,
    log_total: Total,
    observe: Observe,
}

struct Observe {
    tier: IntGaugeVec,
    gaps: IntGaugeVec,
    read: Histogram,
    recursion: (IntCounter, Total),
    cgroups: (IntCounter, Total),
    operations: (IntCounter, Total),
    directories: (IntCounter, Total),
    events: (IntCounter, Total),
    runs: IntCounterVec,
    run_time: CounterVec,
    program_names: Label,
    programs: Mutex<BTreeMap<String, (Total, Total)>>,
}

impl Node {
    pub(super) fn new(register: &mut Register, build: BuildInfo) -> Result<Self> {
        let info = register.gauges(
            "podsweep_build_info",
            &["version", "commit"],
            "Which program this is; always 1.",
        )?;
        info.with_label_values(&[build.version, build.commit]).set(1);
        Ok(Self {
            breakers: register.gauges(
                "podsweep_breakers",
                &["breaker", "state"],
                "Breakers by state. `global`: the one that stops everything; `workload`: only workloads that were harmed \
                 have one.",
            )?,
            paused: register.gauge("podsweep_paused", "1 while a person has paused sweeping.")?,
            policies: register.gauge("podsweep_policies", "Policies in force.")?,
            reloads: register.counters(
                "podsweep_policy_reloads_total",
                &["result"],
                "Loads of the policies, from the folder or the Kubernetes API. `refused`: the old policies stay in force.",
            )?,
            writes_failed: register.counters(
                "podsweep_history_writes_failed_total",
                &["store"],
                "Writes to history or the audit journal that failed (a full disk, for the most part).",
            )?,
            limits: register.counters(
                "podsweep_limit_reached_total",
                &["limit"],
                "Times that one of the agent's own bounds was reached and something was left out.",
            )?,
            limit_names: Label::new(MAX_LIMITS),
            log_lines: register
                .counter("podsweep_log_lines_suppressed_total", "Log lines left out because they repeated too fast.")?,
            log_total: Total::default(),
            observe: Observe::new(register)?,
        })
    }

    pub(super) fn collect(&self) {
        self.log_lines.inc_by(self.log_total.advance(log::suppressed()));
    }
}

impl Observe {
    fn new(register: &mut Register) -> Result<Self> {
        let mut total = |name, help| Result::Ok((register.counter(name, help)?, Total::default()));
        Ok(Self {
            recursion: total(
                "podsweep_observe_recursion_misses_total",
                "Upper bound of operations not counted because an eBPF program ran on that CPU already.",
            )?,
            cgroups: total(
                "podsweep_observe_cgroups_not_counted_total",
                "Cgroups not counted because the kernel's map was full.",
            )?,
            operations: total(
                "podsweep_observe_operations_not_counted_total",
                "Operations of cgroups that were not counted because the kernel's map was full.",
            )?,
            directories: total(
                "podsweep_observe_directories_not_named_total",
                "Creates left out of the directory counts because their directory could not be named.",
            )?,
            events: total(
                "podsweep_observe_cgroup_events_lost_total",
                "Cgroups made or removed that were not told; the slow rescan finds them.",
            )?,
            tier: register.gauges(
                "podsweep_tier_info",
                &["tier"],
                "How the kernel is observed; 1 for the tier in use.",
            )?,
            gaps: register.gauges(
                "podsweep_observe_gap_info",
                &["tier", "gap"],
                "1 for each gap: what the tier in use cannot see on this kernel. `podsweep doctor` says it in a sentence, with \
                 a remedy; docs/kernels.md lists all.",
            )?,
            read: register.histogram(
                "podsweep_observe_read_duration_seconds",
                &READ_SECONDS,
                "Time that reading all counters took.",
            )?,
            runs: register.counters(
                "podsweep_program_runs_total",
                &["program"],
                "Runs of an eBPF program, as the kernel counts them; 0 unless bpf_stats_enabled.",
            )?,
            run_time: register.all_seconds(
                "podsweep_program_run_seconds_total",
                &["program"],
                "Time spent in an eBPF program, as the kernel counts it; 0 unless bpf_stats_enabled.",
            )?,
            program_names: Label::new(MAX_PROGRAMS),
            programs: Mutex::default(),
        })
    }
}

impl Metrics {
    /// All breakers, as [`crate::breaker::Board::views`] shows them.
    pub fn breakers(&self, views: &[BreakerView]) {
        for state in STATES {
            let count = |global: bool| {
                views.iter().filter(move |view| view.state == state && (view.name == GLOBAL) == global)
            };
            let set = |breaker, number| {
                self.node
                    .breakers
                    .with_label_values(&[breaker, state])
                    .set(i64::try_from(number).unwrap_or(i64::MAX));
            };
            set("global", count(true).count());
            set("workload", count(false).count());
        }
    }

    /// Whether sweeping is paused.
    pub fn paused(&self, paused: bool) {
        self.node.paused.set(i64::from(paused));
    }

    /// The policies were loaded, this many are in force now.
    pub fn policies_loaded(&self, policies: usize) {
        self.node.policies.set(i64::try_from(policies).unwrap_or(i64::MAX));
        self.node.reloads.with_label_values(&["loaded"]).inc();
    }

    /// The policies were refused; the old ones stay.
    pub fn policies_refused(&self) {
        self.node.reloads.with_label_values(&["refused"]).inc();
    }

    /// A write to history or the journal failed.
    pub fn write_failed(&self, store: Store) {
        let store = match store {
            Store::History => "history",
            Store::Journal => "journal",
        };
        self.node.writes_failed.with_label_values(&[store]).inc();
    }

    /// One of the agent's own bounds was reached. `limit`: a word of the program.
    pub fn limit_reached(&self, limit: &str) {
        self.node.limits.with_label_values(&[self.node.limit_names.bound(limit)]).inc();
    }

    /// How the kernel is observed, `lsm`, `fexit` or `sys_exit`, and which gaps that leaves. `gap`: words of
    /// [`crate::observe::GapId`], so that their number is bounded.
    pub fn tier(&self, tier: &'static str, gaps: impl IntoIterator<Item = &'static str>) {
        let observe = &self.node.observe;
        observe.tier.reset();
        observe.gaps.reset();
        observe.tier.with_label_values(&[tier]).set(1);
        for gap in gaps {
            observe.gaps.with_label_values(&[tier, gap]).set(1);
        }
    }

    /// The counters were read in this time.
    pub fn observe_read(&self, took: Duration) {
        self.node.observe.read.observe(took.as_secs_f64());
    }

    /// What was not counted, in all.
    pub fn loss(&self, loss: LossTotals) {
        let observe = &self.node.observe;
        for ((counter, last), total) in [
            (&observe.recursion, loss.recursion_misses),
            (&observe.cgroups, loss.cgroups_not_counted),
            (&observe.operations, loss.operations_not_counted),
            (&observe.directories, loss.directories_not_named),
            (&observe.events, loss.cgroup_events),
        ] {
            counter.inc_by(last.advance(total));
        }
    }

    /// What an eBPF program has cost, in all.
    pub fn program(&self, program: &str, runs: u64, run_time: Duration) {
        let observe = &self.node.observe;
        let program = observe.program_names.bound(program);
        let mut programs = observe.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let (last_runs, last_time) = programs.entry(program.to_owned()).or_default();
        observe.runs.with_label_values(&[program]).inc_by(last_runs.advance(runs));
        let nanoseconds = last_time.advance(u64::try_from(run_time.as_nanos()).unwrap_or(u64::MAX));
        observe
            .run_time
            .with_label_values(&[program])
            .inc_by(Duration::from_nanos(nanoseconds).as_secs_f64());
    }
}
