//! Why a Sweep waits, told in few words: each is a write to the API server.

use std::time::Duration;

/// A wait shorter than this is told to nobody.
const AFTER: Duration = Duration::from_secs(10);
/// Between two notes of one Sweep.
const APART: Duration = Duration::from_mins(1);
/// Notes of one Sweep, by one leader: with create, grant, admission, phases, renewals and the end, a Sweep stays
/// within 12 writes. The last one may be out of date; metrics and the coordinator's log are not.
const MOST: u32 = 2;

#[derive(Debug, Clone)]
pub(super) struct Notes {
    since: Duration,
    written: Option<String>,
    last: Option<Duration>,
    times: u32,
}

impl Notes {
    pub(super) fn new(now: Duration, written: Option<String>) -> Self {
        Self { since: now, written, last: None, times: 0 }
    }

    /// How long it has waited.
    pub(super) fn waited(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }

    /// Whether this reason is worth a write now; counts it as written.
    pub(super) fn worth_telling(&mut self, reason: &str, now: Duration) -> bool {
        let told = self.written.as_deref() == Some(reason);
        let too_soon = now < self.since.saturating_add(AFTER)
            || self.last.is_some_and(|last| now < last.saturating_add(APART));
        if told || too_soon || self.times >= MOST {
            return false;
        }
        self.written = Some(reason.to_owned());
        self.last = Some(now);
        self.times += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_wait_and_a_known_reason_cost_no_write() {
        let at = Duration::from_secs;
        let mut notes = Notes::new(at(0), Some("NoSlot".into()));
        assert!(!notes.worth_telling("SerialNode", at(9)));
        assert!(!notes.worth_telling("NoSlot", at(10)));
        assert!(notes.worth_telling("SerialNode", at(10)));
        assert!(!notes.worth_telling("NoSlot", at(69)), "within a minute");
        assert!(notes.worth_telling("NoSlot", at(70)));
        assert!(!notes.worth_telling("SerialNode", at(1000)), "more than enough");
    }
}
