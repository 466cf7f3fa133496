//! Progress of a scan or sweep: one line on stderr where that is a terminal, nothing elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::figures::{count, duration};
use super::output::printable;
use super::pending::Event;
use crate::report::{Phase, SweepRecord};

/// How often the spinner turns: alive to the eye, nothing to the CPU.
const TICK: Duration = Duration::from_millis(200);

/// One line that says what goes on.
pub(super) struct Progress {
    bar: ProgressBar,
    removed: u64,
}

impl Progress {
    pub(super) fn start() -> Self {
        // Hidden by indicatif itself where stderr is no terminal.
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed}  {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self { bar, removed: 0 }
    }

    /// An event of a sweep in this process.
    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::ScanStarted { limits, missing } => self.keep(&started(&limits, &missing)),
            Event::ScanProgress { entries, candidates } => self.show(format!(
                "scan: {} entries, {} candidates; {} removed",
                count(entries),
                count(candidates),
                count(self.removed)
            )),
            Event::Batch { number, removed, kept, took, next_pause } => {
                self.removed += removed;
                self.show(format!(
                    "batch {number}: {removed} removed, {kept} kept in {}; pause {}; {} removed in all",
                    duration(took),
                    duration(next_pause),
                    count(self.removed)
                ));
            }
            Event::Waiting { psi } => self.show(format!(
                "waiting for pressure to fall: cpu {:.0}, io {:.0}, memory {:.0}",
                psi.cpu, psi.io, psi.memory
            )),
            Event::ScanEnded(report) => {
                self.keep(&format!(
                    "scan: {} candidates in {}",
                    count(report.candidates),
                    duration(report.wall)
                ));
            }
            Event::Note(note) => self.keep(&note),
        }
    }

    /// The record of a sweep that the agent runs.
    pub(super) fn record(&self, record: &SweepRecord) {
        let phase = match record.phase {
            Phase::Waiting => "waiting for a slot",
            Phase::Sweeping => "sweeping",
            Phase::Observing => "observing the container",
            Phase::Ended => "ended",
        };
        let figures = &record.sweep;
        self.show(format!(
            "{phase}: {} removed in {} batches",
            count(figures.removed),
            count(figures.batches)
        ));
    }

    pub(super) fn end(self) {
        self.bar.finish_and_clear();
    }

    fn show(&self, text: String) {
        self.bar.set_message(text);
    }

    // A line that stays above the moving one.
    fn keep(&self, text: &str) {
        self.bar.println(printable(text));
    }
}

fn started(limits: &std::collections::BTreeMap<String, String>, missing: &[String]) -> String {
    let limits: Vec<_> = limits.iter().map(|(file, value)| format!("{file}={value}")).collect();
    let mut text = format!("scan under {}", limits.join(", "));
    if !missing.is_empty() {
        text.push_str("; without ");
        text.push_str(&missing.join(", "));
    }
    text
}
