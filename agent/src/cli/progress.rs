//! Progress of a scan or sweep: one line on stderr where that is a terminal, nothing elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::figures::{count, duration};
use super::output::printable;
use crate::operation::Follow;
use crate::report::{Phase, SweepRecord};
use crate::sweep::Event;

/// How often the spinner turns: alive to the eye, nothing to the CPU.
const TICK: Duration = Duration::from_millis(200);

/// One line that says what goes on; gone when dropped.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn start() -> Self {
        // Hidden by indicatif itself where stderr is no terminal.
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed}  {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    fn show(&self, text: &str) {
        self.0.set_message(printable(text));
    }

    // A line that stays above the moving one.
    fn keep(&self, text: &str) {
        self.0.println(printable(text));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Follow for Progress {
    fn phase(&self, record: &SweepRecord) {
        let phase = match record.phase {
            Phase::Waiting => "waiting for a slot",
            Phase::Sweeping => "sweeping",
            Phase::Observing => "observing the container",
            Phase::Ended => "ended",
        };
        let figures = &record.sweep;
        let went = went(figures.removed, figures.would_remove);
        self.show(&format!("{phase}: {went} in {} batches", count(figures.batches)));
    }

    fn event(&self, _id: &str, event: &Event) {
        match event {
            Event::ScanStarted { limits, missing } => self.keep(&started(limits, missing)),
            Event::ScanProgress { entries, candidates } => {
                self.show(&format!("scan: {} entries, {} candidates", count(*entries), count(*candidates)));
            }
            Event::Batch { number, removed, would_remove, kept, took, next_pause } => self.show(&format!(
                "batch {number}: {}, {} kept in {}; next in {}",
                went(*removed, *would_remove),
                count(*kept),
                duration(*took),
                duration(*next_pause)
            )),
            Event::Waiting { psi } => self.show(&format!(
                "waiting for pressure to fall: cpu {:.0}, io {:.0}, memory {:.0}",
                psi.cpu, psi.io, psi.memory
            )),
            Event::ScanEnded(report) => self.keep(&format!(
                "scan: {} candidates in {}",
                count(report.candidates),
                duration(report.wall)
            )),
            Event::Note(note) => self.keep(note),
        }
    }
}

/// A dry run removes nothing, and then nothing must be called removed.
fn went(removed: u64, would_remove: u64) -> String {
    if would_remove > 0 {
        format!("{} would go", count(would_remove))
    } else {
        format!("{} removed", count(removed))
    }
}

fn started(limits: &BTreeMap<String, String>, missing: &[String]) -> String {
    let limits: Vec<_> = limits.iter().map(|(file, value)| format!("{file}={value}")).collect();
    let without =
        if missing.is_empty() { String::new() } else { format!("; without {}", missing.join(", ")) };
    format!("scan under {}{without}", limits.join(", "))
}
