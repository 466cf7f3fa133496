//! Tells a sweep's story in the log and keeps the live view of it. A [`Follow`]er: called often, must be quick.

use std::sync::Arc;

use super::Shared;
use super::shared::lock;
use crate::operation::Follow;
use crate::report::{Phase, SweepRecord};
use crate::sweep::Event;

/// Batches between two log lines at level info; the rest are at debug.
const BATCHES_PER_LINE: u64 = 10;

pub(super) struct Follower(pub(super) Arc<Shared>);

impl Follow for Follower {
    // An ended one stays in the view until its place is free (`admit`).
    fn phase(&self, record: &SweepRecord) {
        if let Some(live) = lock(&self.0.live).get_mut(&record.id) {
            live.record = record.clone();
        }
        match record.phase {
            Phase::Ended => tell_end(record),
            phase => tracing::info!(
                sweep = record.id,
                container = record.container.name,
                policy = record.policy,
                mode = ?record.mode,
                removed = record.sweep.removed,
                "sweep: {phase:?}"
            ),
        }
    }

    fn event(&self, id: &str, event: &Event) {
        if let Event::Batch { removed, would_remove, .. } = event
            && let Some(live) = lock(&self.0.live).get_mut(id)
        {
            live.record.sweep.removed += removed;
            live.record.sweep.would_remove += would_remove;
            live.record.sweep.batches += 1;
        }
        tell(id, event);
    }
}

fn tell(sweep: &str, event: &Event) {
    match event {
        Event::ScanStarted { limits, missing } => {
            tracing::info!(sweep, ?limits, ?missing, "scan started under its limits");
        }
        Event::ScanProgress { entries, candidates } => tracing::debug!(sweep, entries, candidates, "scan"),
        Event::Batch { number, removed, would_remove, kept, took, next_pause } => {
            let (took_ms, pause_ms) = (took.as_millis(), next_pause.as_millis());
            if number % BATCHES_PER_LINE == 1 {
                tracing::info!(sweep, number, removed, would_remove, kept, took_ms, pause_ms, "batch");
            } else {
                tracing::debug!(sweep, number, removed, would_remove, kept, took_ms, pause_ms, "batch");
            }
        }
        Event::Waiting { psi } => {
            tracing::info!(
                sweep,
                cpu = psi.cpu,
                io = psi.io,
                memory = psi.memory,
                "waits for pressure to fall"
            );
        }
        Event::ScanEnded(report) => {
            tracing::info!(
                sweep,
                end = ?report.end,
                entries = report.entries,
                candidates = report.candidates,
                cpu_ms = report.cpu.as_millis(),
                throttled_ms = report.throttled.as_millis(),
                "scan ended"
            );
        }
        Event::Note(note) => tracing::info!(sweep, note, "note"),
    }
}

fn tell_end(record: &SweepRecord) {
    tracing::info!(
        sweep = record.id,
        container = record.container.name,
        policy = record.policy,
        outcome = ?record.outcome,
        reason = record.reason,
        // Not "message": that is the line's own.
        detail = record.message,
        removed = record.sweep.removed,
        removed_bytes = record.sweep.removed_bytes,
        kept = ?record.sweep.kept,
        health = ?record.health,
        health_reason = record.health_reason,
        "sweep ended"
    );
}
