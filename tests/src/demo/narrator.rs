//! Tells the story as it happens, a line for each event. With `-o json` it is silent.

use std::collections::BTreeMap;
use std::time::Instant;

use podsweep::policy::Fired;
use podsweep::report::{Health, Outcome, Phase, SweepRecord};

use super::cluster;
use super::result::{Figures, Percentiles};

/// Batches that one line of the story stands for: some lines in all, not hundreds.
const BATCHES_A_LINE: u64 = 25;

/// Says lines with the time since it began, or nothing.
#[derive(Debug)]
pub(super) struct Narrator {
    begun: Instant,
    silent: bool,
}

impl Narrator {
    pub(super) fn new(silent: bool) -> Self {
        Self { begun: Instant::now(), silent }
    }

    pub(super) fn say(&self, what: &str) {
        if !self.silent {
            eprintln!("{:>6.1} s  {what}", self.begun.elapsed().as_secs_f64());
        }
    }

    /// The decision: what was seen, where, which policy, why.
    pub(super) fn decision(&self, record: &SweepRecord) {
        if let Fired::Burst { creates_per_second, limit, held_seconds } = &record.fired {
            self.say(&format!(
                "burst: {creates_per_second:.0} creates/s, more than {limit}/s for {held_seconds:.1} s"
            ));
        }
        for (directory, creates) in &record.top_directories {
            self.say(&format!("  {creates:>8} creates in {directory}"));
        }
        self.say(&format!("policy {}: {:?}, sweep {}", record.policy, record.mode, record.id));
    }

    /// What has changed between two looks at the same sweep.
    pub(super) fn progress(&self, before: &SweepRecord, now: &SweepRecord) {
        if let (None, Some(scan)) = (&before.scan, &now.scan) {
            self.say(&format!(
                "scan: {} entries, {} candidates in {} ms; {} ms CPU, throttled for {} ms; limits {:?}",
                scan.entries,
                scan.candidates,
                scan.wall.as_millis(),
                scan.cpu.as_millis(),
                scan.throttled.as_millis(),
                scan.limits
            ));
        }
        if now.sweep.batches / BATCHES_A_LINE > before.sweep.batches / BATCHES_A_LINE {
            self.say(&format!(
                "  batch {:>4}: {:>7} files removed so far",
                now.sweep.batches, now.sweep.removed
            ));
        }
        if before.phase != now.phase && now.phase == Phase::Observing {
            self.say("removal is over; watching the container");
        }
    }

    /// How it ended.
    pub(super) fn verdict(&self, record: &SweepRecord) {
        let outcome = record.outcome.map_or("none", Outcome::as_str);
        let health = record.health.map_or("not watched", Health::as_str);
        let why = |word: &Option<String>| word.as_ref().map(|word| format!(" ({word})")).unwrap_or_default();
        let (because, sign) = (why(&record.reason), why(&record.health_reason));
        self.say(&format!("verdict: sweep {outcome}{because}, container {health}{sign}"));
        for note in &record.notes {
            self.say(&format!("note: {note}"));
        }
    }

    /// The figures of the cluster's demo, for people.
    pub(super) fn cluster_summary(&self, figures: &cluster::Figures) {
        if self.silent {
            return;
        }
        let line = |name: &str, value: String| eprintln!("  {name:<20} {value}");
        let cluster::Figures { without, with, .. } = figures;
        eprintln!();
        line("kernel", figures.kernel.clone());
        line("files of the flood", figures.files_of_a_flood.to_string());
        line("evicted below", format!("{} free inodes", figures.evicted_below_free_inodes));
        line("without podsweep", format!("evicted after {} s", without.evicted_after_ms / 1000));
        let removed: u64 = with.sweeps.iter().map(|sweep| sweep.removed).sum();
        let fate = if with.evicted { "evicted" } else { "not evicted" };
        line("with podsweep", format!("{fate}, {} restarts; {removed} files removed", with.restarts));
        line("free at the lowest", format!("{}, {}", without.lowest_free_inodes, with.lowest_free_inodes));
        line("wrongly removed", with.wrongly_removed.to_string());
    }

    /// The figures, for people.
    pub(super) fn summary(&self, figures: &Figures) {
        if self.silent {
            return;
        }
        let Figures { kernel, tier, created, counted, detected_after_ms, candidates, removed, .. } = figures;
        let line = |name: &str, value: String| eprintln!("  {name:<20} {value}");
        eprintln!();
        line("kernel", format!("{kernel}, counting by {tier}"));
        line("created, counted", format!("{created}, {counted}"));
        line("detected after", format!("{detected_after_ms} ms"));
        line("candidates, removed", format!("{candidates}, {removed}"));
        line("kept", kept(&figures.kept));
        line("wrongly removed", figures.wrongly_removed.to_string());
        line("missed", figures.missed.to_string());
        line("restarts", figures.container_restarts.to_string());
        let beats = &figures.heartbeat_us;
        for (when, beats) in [("before", beats.before), ("during", beats.during), ("after", beats.after)] {
            line(&format!("heartbeat {when}"), percentiles(beats));
        }
        line("scan", format!("{} ms, {} ms CPU", figures.scan.wall_ms, figures.scan.cpu_ms));
        line("sweep", format!("{} batches in {} ms", figures.sweep.batches, figures.sweep.wall_ms));
    }
}

fn kept(kept: &BTreeMap<String, u64>) -> String {
    kept.iter().map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", ")
}

fn percentiles(of: Percentiles) -> String {
    format!("p50 {} us, p99 {} us", of.p50, of.p99)
}
