//! One sweep as labels and values: the end of `scan` and `sweep`, and `history ID`.

use super::figures::{bytes, count, duration};
use super::output::Table;
use crate::policy::Fired;
use crate::policy::Mode;
use crate::report::{Health, Outcome, SweepRecord};
use crate::scan::{KeptCounts, ScanReport};
use std::time::Duration;

/// Whether the command that ran this sweep ends well: it did its work, and its container was seen to be well. `None`:
/// there was nothing to watch (nothing was removed, or from a plain directory).
pub(super) fn is_good(record: &SweepRecord) -> bool {
    let done = matches!(record.outcome, Some(Outcome::Complete | Outcome::Partial));
    done && matches!(record.health, None | Some(Health::Healthy))
}

/// Everything a person asks of a sweep.
pub(super) fn table(record: &SweepRecord) -> Table {
    let mut table = Table::plain();
    for (label, value) in lines(record) {
        table.row([label, &value]);
    }
    table.keep_first_column();
    table
}

/// `Complete`, or `Partial/StopWhen` where the reason says more.
pub(super) fn outcome(record: &SweepRecord) -> String {
    let outcome =
        record.outcome.map_or_else(|| format!("{:?}", record.phase), |outcome| format!("{outcome:?}"));
    match &record.reason {
        Some(reason) if *reason != outcome => format!("{outcome}/{reason}"),
        _ => outcome,
    }
}

fn lines(record: &SweepRecord) -> Vec<(&'static str, String)> {
    let subject = &record.container;
    let image = subject.image.as_deref().map(|image| format!(" ({image})")).unwrap_or_default();
    let mut lines = vec![
        ("sweep", record.id.clone()),
        ("container", format!("{}{image}", subject.name)),
        ("policy", format!("{}, mode {:?}", record.policy, record.mode)),
        ("asked by", fired(&record.fired)),
        ("started", record.started_at.clone()),
    ];
    lines.extend(record.ended_at.clone().map(|ended| ("ended", ended)));
    let why = record.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    lines.push(("outcome", format!("{}{why}", outcome(record))));
    lines
        .extend(record.health.map(|health| ("health", with_reason(health, record.health_reason.as_deref()))));
    lines.extend(record.scan.iter().flat_map(scan));
    if record.sweep.batches > 0 {
        lines.push(match record.mode {
            Mode::Enforce => ("removed", removed(record)),
            Mode::DryRun | Mode::Observe => ("would go", would_go(record)),
        });
    }
    if record.sweep.pressure_wait_ms > 0 {
        lines.push(("waited", format!("{} for pressure to fall", ms(record.sweep.pressure_wait_ms))));
    }
    if !record.sweep.kept.is_empty() {
        lines.push(("kept", kept(&record.sweep.kept)));
    }
    let directories =
        record.top_directories.iter().map(|(path, creates)| format!("{path} ({})", count(*creates)));
    lines.extend(directories.map(|directory| ("created in", directory)));
    lines.extend(record.notes.iter().map(|note| ("note", note.clone())));
    lines
}

fn with_reason(health: Health, reason: Option<&str>) -> String {
    reason.map_or_else(|| format!("{health:?}"), |reason| format!("{health:?}/{reason}"))
}

fn fired(fired: &Fired) -> String {
    match fired {
        Fired::Burst { creates_per_second, limit, held_seconds } => {
            format!("burst: {creates_per_second:.0} creates/s for {held_seconds:.1}s (limit {limit})")
        }
        Fired::Growth { files_per_minute, limit, held_seconds } => {
            format!("growth: {files_per_minute:.0} files/min for {held_seconds:.1}s (limit {limit})")
        }
        Fired::NodeInodesFree { free_percent, below } => {
            format!("free inodes: {free_percent:.1}% (floor {below}%)")
        }
        Fired::NodeBytesFree { free_percent, below } => {
            format!("free bytes: {free_percent:.1}% (floor {below}%)")
        }
        Fired::Schedule { expression } => format!("schedule {expression}"),
        Fired::ByHand => "hand".into(),
        Fired::Asked { by, what } => format!("{what}, by {by}"),
        Fired::Retry { attempt } => format!("retry {attempt}"),
    }
}

fn scan(report: &ScanReport) -> Vec<(&'static str, String)> {
    let found = format!(
        "{} entries in {} directories, {} candidates ({}) in {}; ended: {:?}",
        count(report.entries),
        count(report.directories),
        count(report.candidates),
        bytes(report.candidate_bytes),
        duration(report.wall),
        report.end
    );
    let cost = format!(
        "CPU {}, throttled {}, read {} in {} reads",
        duration(report.cpu),
        duration(report.throttled),
        bytes(report.read_bytes),
        count(report.reads)
    );
    let limits: Vec<_> = report.limits.iter().map(|(file, value)| format!("{file}={value}")).collect();
    let mut lines = vec![("scan", found), ("cost", cost), ("limits", limits.join(", "))];
    if !report.missing_limits.is_empty() {
        lines.push(("missing", report.missing_limits.join(", ")));
    }
    if report.errors > 0 {
        lines.push(("unreadable", format!("{} entries; the log has the paths", count(report.errors))));
    }
    lines
}

fn removed(record: &SweepRecord) -> String {
    let figures = &record.sweep;
    format!(
        "{} files ({}), {} directories, {} already gone; {} batches in {}",
        count(figures.removed),
        bytes(figures.removed_bytes),
        count(figures.removed_directories),
        count(figures.gone),
        count(figures.batches),
        ms(figures.wall_ms)
    )
}

fn would_go(record: &SweepRecord) -> String {
    let figures = &record.sweep;
    let (files, freed) = (count(figures.would_remove), bytes(figures.would_remove_bytes));
    format!("{files} files ({freed}); nothing was removed")
}

fn kept(kept: &KeptCounts) -> String {
    let reasons: Vec<_> =
        kept.iter().map(|(reason, files)| format!("{reason:?} {}", count(*files))).collect();
    reasons.join(", ")
}

fn ms(milliseconds: u64) -> String {
    duration(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::history::tests::ended;

    #[test]
    fn only_a_sweep_that_did_its_work_and_was_seen_to_harm_nobody_is_good() {
        let good = |outcome, health| is_good(&SweepRecord { outcome: Some(outcome), health, ..ended("01A") });
        assert!(good(Outcome::Complete, Some(Health::Healthy)));
        assert!(good(Outcome::Partial, None), "a dry run is not watched");
        assert!(!good(Outcome::Complete, Some(Health::Harmed)));
        assert!(!good(Outcome::Complete, Some(Health::Unknown)), "unknown is never healthy");
        assert!(!good(Outcome::Stopped, Some(Health::Healthy)));
    }
}
