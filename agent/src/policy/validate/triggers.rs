//! Triggers: bounds, syntax, and words of the format that are not available yet.

use super::super::schedule::Schedule;
use super::super::{NodeFree, Spec, Trigger};
use crate::document::Problems;
use crate::units::{Percent, Span};

/// Triggers of one policy: each keeps a ring of samples for each container.
const MAX_TRIGGERS: usize = 16;
/// Below one second nothing is a burst: the rate itself is taken over a second.
const SHORTEST: Span = Span::from_secs(1);

pub(super) fn check(spec: &Spec, problems: &mut Problems) {
    let count = spec.triggers.len();
    if count > MAX_TRIGGERS {
        let message =
            format!("has {count} triggers, each with samples for every container; at most {MAX_TRIGGERS}");
        problems.add("spec.triggers", message);
    }
    for (index, trigger) in spec.triggers.iter().enumerate() {
        one(&format!("spec.triggers[{index}]"), trigger, spec, problems);
    }
}

fn one(field: &str, trigger: &Trigger, spec: &Spec, problems: &mut Problems) {
    match trigger {
        Trigger::Burst { creates_per_second, r#for } => {
            let rate = format!("{field}.burst.createsPerSecond");
            problems.within(rate, creates_per_second, 1..=10_000_000, "0 would always hold");
            let hour = Span::from_secs(3600);
            problems.within(format!("{field}.burst.for"), r#for, SHORTEST..=hour, "use growth for slower changes");
        }
        Trigger::Growth { files_per_minute, r#for } => {
            let rate = format!("{field}.growth.filesPerMinute");
            problems.within(rate, files_per_minute, 1..=1_000_000_000, "0 would always hold");
            let day = Span::from_secs(24 * 3600);
            problems.within(format!("{field}.growth.for"), r#for, SHORTEST..=day, "use schedule for daily work");
        }
        Trigger::NodeInodesFree(floor) => {
            free(&format!("{field}.nodeInodesFree"), *floor, spec.sweep.stop_when.node_inodes_free, problems);
        }
        Trigger::NodeBytesFree(floor) => {
            free(&format!("{field}.nodeBytesFree"), *floor, spec.sweep.stop_when.node_bytes_free, problems);
        }
        Trigger::Exhaustion(_) => problems.add(
            format!("{field}.exhaustion"),
            "is not available in this version; use nodeInodesFree or nodeBytesFree, with a floor that leaves time",
        ),
        Trigger::Schedule(text) => {
            if let Err(error) = Schedule::parse(text) {
                problems.add(format!("{field}.schedule"), format!("{text:?} {error}"));
            }
        }
    }
}

fn free(field: &str, floor: NodeFree, enough: Option<Percent>, problems: &mut Problems) {
    let field = format!("{field}.below");
    problems.within(&*field, &floor.below, Percent(0.1)..=Percent(99.0), "it is a share of the filesystem");
    if let Some(enough) = enough.filter(|enough| *enough <= floor.below) {
        let message =
            format!("{} is reached only when stopWhen ({enough}) is past; make stopWhen larger", floor.below);
        problems.add(field, message);
    }
}
