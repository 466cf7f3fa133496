//! How pressing a sweep is, for the cluster's queue. Pure.
//!
//! Up to 1000: a disk that is all but full comes before any storm, a storm before slow growth, growth before what only
//! the clock asked for.

use crate::kubernetes::resources::Asked;
use crate::policy::Fired;

/// A person or a program of theirs waits for it.
const BY_HAND: u32 = 500;
/// A floor of free space was reached; the rest up to 1000 by how little is left of it.
const FREE: u32 = 600;
/// A burst; up to [`BURST_MORE`] more by how many times its limit it is.
const BURST: u32 = 300;
const BURST_MORE: f64 = 200.0;
const GROWTH: u32 = 200;
const SCHEDULE: u32 = 50;
const RETRY: u32 = 100;

/// What asked, in words, and how pressing it is.
pub(super) fn asked(fired: &Fired) -> Asked {
    let (trigger, message, urgency) = match fired {
        Fired::Burst { creates_per_second, limit, held_seconds } => (
            "Burst",
            format!(
                "{creates_per_second:.0} creates/s for {held_seconds:.0} s; the policy's limit is {limit}"
            ),
            BURST + more(*creates_per_second, *limit),
        ),
        Fired::Growth { files_per_minute, limit, held_seconds } => (
            "Growth",
            format!("{files_per_minute:.0} files/min for {held_seconds:.0} s; the policy's limit is {limit}"),
            GROWTH,
        ),
        Fired::NodeInodesFree { free_percent, below } => {
            ("NodeInodesFree", free(*free_percent, *below, "inodes"), FREE + left(*free_percent, *below))
        }
        Fired::NodeBytesFree { free_percent, below } => {
            ("NodeBytesFree", free(*free_percent, *below, "bytes"), FREE + left(*free_percent, *below))
        }
        Fired::Schedule { expression } => ("Schedule", format!("schedule {expression}"), SCHEDULE),
        Fired::ByHand => ("ByHand", "asked for by hand".into(), BY_HAND),
        Fired::Asked { by, what } => ("ByHand", format!("{what}, by {by}"), BY_HAND),
        Fired::Retry { attempt } => ("Retry", format!("attempt {attempt} after a failure"), RETRY),
    };
    Asked { trigger: trigger.into(), message, urgency }
}

fn free(percent: f64, below: f64, what: &str) -> String {
    format!("{percent:.1}% of {what} free; the policy's floor is {below}%")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 400")]
fn left(percent: f64, below: f64) -> u32 {
    if below <= 0.0 {
        return 0;
    }
    ((1.0 - percent / below).clamp(0.0, 1.0) * 400.0) as u32
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 200")]
fn more(rate: f64, limit: u64) -> u32 {
    let times = rate / (limit.max(1) as f64);
    // Ten times the limit is as bad as it gets.
    (times.max(1.0).log10().clamp(0.0, 1.0) * BURST_MORE) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_comes_before_a_storm_and_a_storm_before_growth() {
        let urgency = |fired| asked(&fired).urgency;
        let inodes = |free_percent| urgency(Fired::NodeInodesFree { free_percent, below: 10.0 });
        let burst =
            |creates_per_second| urgency(Fired::Burst { creates_per_second, limit: 100, held_seconds: 1.0 });
        assert_eq!(inodes(0.0), 1000);
        assert!(inodes(1.0) > inodes(9.0) && inodes(9.9) > burst(1e9));
        assert!(burst(2000.0) > burst(200.0));
        assert_eq!(burst(1e9), 500);
        let growth = Fired::Growth { files_per_minute: 1e9, limit: 1, held_seconds: 60.0 };
        assert!(burst(101.0) > urgency(growth));
    }
}
