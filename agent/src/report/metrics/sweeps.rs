//! What sweeps do and cost.

use std::time::Duration;

use prometheus::{Counter, Histogram, IntCounter, IntCounterVec, IntGauge, Result};

use super::{Label, Metrics, Register};
use crate::policy::Refusal;
use crate::report::SweepRecord;
use crate::scan::ScanReport;

/// Distinct names of policies over an agent's life; further ones are `other`.
const MAX_POLICIES: usize = 256;
/// Distinct reasons; they are words of the program, so this is a guard and no limit in practice.
const MAX_REASONS: usize = 128;
/// A batch of 200 unlinks takes some milliseconds on an idle disk and seconds where the journal is busy.
const BATCH_SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];

pub(super) struct Sweeps {
    bursts: IntCounterVec,
    ended: IntCounterVec,
    running: IntGauge,
    health: IntCounterVec,
    given_up: IntCounterVec,
    refusals: IntCounterVec,
    batch: Histogram,
    files: Files,
    scan: Scan,
    policies: Label,
    reasons: Label,
}

struct Files {
    candidates: IntCounter,
    removed: IntCounter,
    bytes: IntCounter,
    directories: IntCounter,
    kept: IntCounterVec,
}

struct Scan {
    entries: IntCounter,
    errors: IntCounter,
    cpu: Counter,
    throttled: Counter,
    read: IntCounter,
}

impl Sweeps {
    pub(super) fn new(register: &mut Register) -> Result<Self> {
        Ok(Self {
            bursts: register.counters("podsweep_bursts_total", &["policy"], "Bursts seen, by the policy they broke.")?,
            ended: register.counters(
                "podsweep_sweeps_total",
                &["policy", "outcome", "reason"],
                "Sweeps that ended or were refused.",
            )?,
            running: register.gauge("podsweep_sweeps_running", "Sweeps under way, their observation included.")?,
            health: register.counters(
                "podsweep_observations_total",
                &["health", "reason"],
                "Verdicts on containers after their sweep. Unknown never counts as healthy.",
            )?,
            given_up: register.counters(
                "podsweep_sweeps_given_up_total",
                &["policy"],
                "Sweeps that failed at every try their policy allows.",
            )?,
            refusals: register.counters(
                "podsweep_refusals_total",
                &["level", "reason"],
                "Sweeps that somebody refused: 0 built in, 1 node config, 2 namespace, 3 pod, 4 policy, 5 entry limits, \
                 6 breakers, 7 admission.",
            )?,
            batch: register.histogram(
                "podsweep_batch_duration_seconds",
                &BATCH_SECONDS,
                "Time that a batch of removals took, without the pause after it.",
            )?,
            files: Files::new(register)?,
            scan: Scan::new(register)?,
            policies: Label::new(MAX_POLICIES),
            reasons: Label::new(MAX_REASONS),
        })
    }
}

impl Files {
    fn new(register: &mut Register) -> Result<Self> {
        Ok(Self {
            candidates: register.counter(
                "podsweep_candidates_total",
                "Files that scans found to match a policy; added as a sweep ends.",
            )?,
            removed: register.counter(
                "podsweep_files_removed_total",
                "Files removed or truncated; added as a sweep ends.",
            )?,
            bytes: register.counter(
                "podsweep_removed_bytes_total",
                "Bytes on disk freed by removals; added as a sweep ends.",
            )?,
            directories: register.counter(
                "podsweep_directories_removed_total",
                "Directories removed because a sweep emptied them; added as a sweep ends.",
            )?,
            kept: register.counters(
                "podsweep_files_kept_total",
                &["reason"],
                "Files that a rule's paths cover and that stayed; added as a sweep ends.",
            )?,
        })
    }

    fn add(&self, record: &SweepRecord) {
        let figures = &record.sweep;
        self.removed.inc_by(figures.removed);
        self.bytes.inc_by(figures.removed_bytes);
        self.directories.inc_by(figures.removed_directories);
        for (reason, files) in &figures.kept {
            // The same word as in JSON: the variant's name.
            self.kept.with_label_values(&[format!("{reason:?}")]).inc_by(*files);
        }
    }
}

impl Scan {
    fn new(register: &mut Register) -> Result<Self> {
        Ok(Self {
            entries: register
                .counter("podsweep_scan_entries_total", "Directory entries that scans looked at.")?,
            errors: register.counter("podsweep_scan_errors_total", "Entries that scans could not read.")?,
            cpu: register.seconds("podsweep_scan_cpu_seconds_total", "CPU time of scan workers.")?,
            throttled: register.seconds(
                "podsweep_scan_throttled_seconds_total",
                "Time for which scan workers were held back by their CPU quota.",
            )?,
            read: register
                .counter("podsweep_scan_read_bytes_total", "Bytes that scan workers read from devices.")?,
        })
    }

    fn add(&self, report: &ScanReport) {
        self.entries.inc_by(report.entries);
        self.errors.inc_by(report.errors);
        self.cpu.inc_by(report.cpu.as_secs_f64());
        self.throttled.inc_by(report.throttled.as_secs_f64());
        self.read.inc_by(report.read_bytes);
    }
}

impl Metrics {
    /// A failing sweep was tried as often as its policy allows.
    pub fn given_up(&self, policy: &str) {
        self.sweeps.given_up.with_label_values(&[self.sweeps.policies.bound(policy)]).inc();
    }

    /// A policy's trigger asked for a sweep.
    pub fn burst(&self, policy: &str) {
        self.sweeps.bursts.with_label_values(&[self.sweeps.policies.bound(policy)]).inc();
    }

    /// How many sweeps are under way.
    pub fn sweeps_running(&self, number: usize) {
        self.sweeps.running.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// A batch of removals took this long.
    pub fn batch(&self, took: Duration) {
        self.sweeps.batch.observe(took.as_secs_f64());
    }

    /// Somebody refused a sweep that has no record of its own (a refusal on record is counted by
    /// [`Self::sweep_ended`]).
    pub fn refused(&self, refusal: &Refusal) {
        let reason = self.sweeps.reasons.bound(&refusal.reason);
        self.sweeps.refusals.with_label_values(&[refusal.level.to_string().as_str(), reason]).inc();
    }

    /// A sweep ended, in whatever way. Once for each record.
    pub fn sweep_ended(&self, record: &SweepRecord) {
        let sweeps = &self.sweeps;
        let outcome = record.outcome.map_or("None", crate::report::Outcome::as_str);
        let reason = sweeps.reasons.bound(record.reason.as_deref().unwrap_or("None"));
        sweeps.ended.with_label_values(&[sweeps.policies.bound(&record.policy), outcome, reason]).inc();
        sweeps.files.add(record);
        if let Some(report) = &record.scan {
            sweeps.files.candidates.inc_by(report.candidates);
            sweeps.scan.add(report);
        }
        if let Some(health) = record.health {
            let reason = sweeps.reasons.bound(record.health_reason.as_deref().unwrap_or("None"));
            sweeps.health.with_label_values(&[health.as_str(), reason]).inc();
        }
        if let Some(refusal) = &record.refusal {
            self.refused(refusal);
        }
    }
}
