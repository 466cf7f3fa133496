//! Why a Sweep waits, told in few words: each is a write to the API server.

use std::time::Duration;

use crate::kubernetes::resources::SweepStatus;
use crate::policy::Reason;

/// A wait shorter than this is told to nobody.
const AFTER: Duration = Duration::from_secs(10);
/// Between two notes of one Sweep.
const APART: Duration = Duration::from_mins(1);
/// Between two corrections of whatever Sweeps: where a breaker stops everything, thousands change their reason at once.
const CORRECTIONS_APART: Duration = Duration::from_secs(10);
/// Notes of one Sweep, by all leaders together: why it waits, and two corrections. With one note the creation, grant and
/// admission, two renewals, two phases, the end, the slot's return, an Event and the deletion are 12 writes.
const MOST: u32 = 3;

/// When a note was last put right, of whichever Sweep.
#[derive(Debug, Default)]
pub(super) struct Corrections {
    last: Option<Duration>,
}

impl Corrections {
    fn take(&mut self, now: Duration) -> bool {
        let may = self.last.is_none_or(|last| now >= last.saturating_add(CORRECTIONS_APART));
        if may {
            self.last = Some(now);
        }
        may
    }
}

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

    /// Whether this reason is worth a write now, and which one of the Sweep's notes it is; counts it as written. Of two
    /// Sweeps the one that is asked for first is put right first.
    pub(super) fn worth_telling(
        &mut self,
        reason: Reason,
        now: Duration,
        corrections: &mut Corrections,
    ) -> Option<u32> {
        let too_soon = now < self.since.saturating_add(AFTER)
            || self.last.is_some_and(|last| now < last.saturating_add(APART));
        if too_soon || self.times >= MOST {
            return None;
        }
        let worth = match self.written {
            None => true,
            Some(written) => misleads(written, reason) && corrections.take(now),
        };
        if !worth {
            return None;
        }
        self.written = Some(reason);
        self.last = Some(now);
        self.times += 1;
        Some(self.times)
    }
}

/// Whoever waits for its turn may wait for another part of it by now, and that is no news. What is in its way may be a
/// matter for a person.
fn misleads(written: Reason, reason: Reason) -> bool {
    written != reason && !(is_turn(written) && is_turn(reason))
}

/// Others are before it; time alone brings it on.
const fn is_turn(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoSlot
            | Reason::MaxParallel
            | Reason::SerialWorkload
            | Reason::SerialNode
            | Reason::SerialNamespace
            | Reason::SerialZone
            | Reason::WaveObserved
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn since_0(reason: Option<&str>, notes: u32) -> Notes {
        let reason = reason.map(str::to_owned);
        Notes::new(at(0), &SweepStatus { reason, notes: Some(notes), ..SweepStatus::default() })
    }

    fn told(notes: &mut Notes, reason: Reason, seconds: u64) -> Option<u32> {
        notes.worth_telling(reason, at(seconds), &mut Corrections::default())
    }

    #[test]
    fn a_short_wait_and_another_place_in_the_queue_cost_no_write() {
        let mut notes = since_0(None, 0);
        assert_eq!(told(&mut notes, Reason::SerialNode, 9), None);
        assert_eq!(told(&mut notes, Reason::SerialNode, 10), Some(1));
        for reason in [Reason::SerialNode, Reason::NoSlot, Reason::WaveObserved] {
            assert_eq!(told(&mut notes, reason, 1000), None, "{reason:?}");
        }
    }

    #[test]
    fn what_comes_into_its_way_and_goes_is_told_and_not_for_ever() {
        let mut notes = since_0(None, 0);
        assert_eq!(told(&mut notes, Reason::NoSlot, 10), Some(1));
        assert_eq!(told(&mut notes, Reason::BreakerOpen, 69), None, "within a minute");
        assert_eq!(told(&mut notes, Reason::BreakerOpen, 70), Some(2));
        assert_eq!(told(&mut notes, Reason::NoSlot, 130), Some(3));
        assert_eq!(told(&mut notes, Reason::BreakerOpen, 1000), None, "more than enough");
    }

    #[test]
    fn where_everything_stops_at_once_few_are_told_and_new_ones_always() {
        let mut corrections = Corrections::default();
        let mut tell = |notes: &mut Notes, seconds| {
            notes.worth_telling(Reason::GlobalBreakerOpen, at(seconds), &mut corrections)
        };
        let mut waiting = [since_0(Some("NoSlot"), 1), since_0(Some("NoSlot"), 1)];
        assert_eq!(tell(&mut waiting[0], 100), Some(2));
        assert_eq!(tell(&mut waiting[1], 109), None);
        assert_eq!(tell(&mut since_0(None, 0), 109), Some(1));
        assert_eq!(tell(&mut waiting[1], 110), Some(2));
    }

    #[test]
    fn what_another_leader_wrote_counts() {
        assert_eq!(told(&mut since_0(Some("NoSlot"), 1), Reason::SerialNode, 10), None);
        assert_eq!(told(&mut since_0(Some("BreakerOpen"), 1), Reason::SerialNode, 10), Some(2));
        assert_eq!(told(&mut since_0(Some("BreakerOpen"), 3), Reason::SerialNode, 1000), None);
    }
}
