//! Why a Sweep waits, told in few words: each is a write to the API server.

use std::time::Duration;

use crate::kubernetes::resources::SweepStatus;
use crate::policy::Reason;

/// A wait shorter than this is told to nobody.
const AFTER: Duration = Duration::from_secs(10);
/// Between two notes of one Sweep.
const APART: Duration = Duration::from_mins(1);
/// Notes of one Sweep, by all leaders together: with create, grant, admission, phases, renewals and the end, a Sweep
/// stays within 12 writes. The last one may be out of date; metrics and the coordinator's log are not.
const MOST: u32 = 2;

#[derive(Debug, Clone)]
pub(super) struct Notes {
    since: Duration,
    written: Option<Reason>,
    last: Option<Duration>,
    times: u32,
}

impl Notes {
    /// `status`: what the leader before this one wrote.
    pub(super) fn new(now: Duration, status: &SweepStatus) -> Self {
        let written = status.reason.as_deref().and_then(Reason::of_word);
        Self { since: now, written, last: None, times: status.notes.unwrap_or_default() }
    }

    /// How long it has waited.
    pub(super) fn waited(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }

    /// Whether this reason is worth a write now, and which one of the Sweep's notes it is; counts it as written.
    pub(super) fn worth_telling(&mut self, reason: Reason, now: Duration) -> Option<u32> {
        let told = self.written == Some(reason);
        let too_soon = now < self.since.saturating_add(AFTER)
            || self.last.is_some_and(|last| now < last.saturating_add(APART));
        if told || too_soon || self.times >= MOST {
            return None;
        }
        self.written = Some(reason);
        self.last = Some(now);
        self.times += 1;
        Some(self.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn waits_since(since: Duration, reason: &str, notes: u32) -> Notes {
        Notes::new(
            since,
            &SweepStatus { reason: Some(reason.into()), notes: Some(notes), ..SweepStatus::default() },
        )
    }

    #[test]
    fn a_short_wait_and_a_known_reason_cost_no_write() {
        let mut notes = waits_since(at(0), "NoSlot", 0);
        assert_eq!(notes.worth_telling(Reason::SerialNode, at(9)), None);
        assert_eq!(notes.worth_telling(Reason::NoSlot, at(10)), None);
        assert_eq!(notes.worth_telling(Reason::SerialNode, at(10)), Some(1));
        assert_eq!(notes.worth_telling(Reason::NoSlot, at(69)), None, "within a minute");
        assert_eq!(notes.worth_telling(Reason::NoSlot, at(70)), Some(2));
        assert_eq!(notes.worth_telling(Reason::SerialNode, at(1000)), None, "more than enough");
    }

    #[test]
    fn what_another_leader_wrote_counts() {
        let mut notes = waits_since(at(0), "NoSlot", 1);
        assert_eq!(notes.worth_telling(Reason::SerialNode, at(10)), Some(2));
        let mut notes = waits_since(at(0), "NoSlot", 2);
        assert_eq!(notes.worth_telling(Reason::SerialNode, at(1000)), None);
    }
}
