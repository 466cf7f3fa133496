//! Slots: each a Lease, free, held, or left behind by somebody who does not renew any more.
//!
//! Whether a Lease has expired is judged by when this process saw it change, on its own monotonic clock, never by the
//! times that are written in it: the clocks of two machines may differ by any amount. A holder counts its time from
//! before it sent its renewal, and so ends before the observer, who counts from after the server took it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::key::{Holder, SweepKey};

/// A slot's Lease as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotSeen {
    /// The Lease's resourceVersion, for the compare-and-swap.
    pub version: String,
    /// `holderIdentity`; `None` or empty: free.
    pub holder: Option<String>,
    /// `leaseDurationSeconds`.
    pub lease: Duration,
}

#[derive(Debug, Clone)]
pub(super) struct Slot {
    seen: SlotSeen,
    changed_at: Duration,
}

impl Slot {
    fn is_taken(&self, now: Duration) -> bool {
        self.seen.holder.is_some() && now < self.changed_at.saturating_add(self.seen.lease)
    }
}

/// All slots of a cluster. Bounded by the Leases that an operator made.
#[derive(Debug, Default)]
pub(super) struct Slots(BTreeMap<String, Slot>);

impl Slots {
    /// Takes a Lease as it was read. A version that is not newer changes nothing.
    pub(super) fn observe(&mut self, name: &str, mut seen: SlotSeen, now: Duration) {
        seen.holder = seen.holder.filter(|holder| !holder.is_empty());
        match self.0.get(name) {
            Some(known) if !is_newer(&seen.version, &known.seen.version) => {}
            _ => {
                self.0.insert(name.to_owned(), Slot { seen, changed_at: now });
            }
        }
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// Slots that somebody may work under now.
    pub(super) fn taken(&self, now: Duration) -> usize {
        self.0.values().filter(|slot| slot.is_taken(now)).count()
    }

    /// Free slots, with the version to compare and swap on.
    pub(super) fn free(&self, now: Duration) -> Vec<(String, String)> {
        self.0
            .iter()
            .filter(|(_, slot)| !slot.is_taken(now))
            .map(|(name, slot)| (name.clone(), slot.seen.version.clone()))
            .collect()
    }

    /// Which Sweep (with its uid) holds which slot now. A holder that podsweep did not write keeps its slot until it
    /// expires, for nobody.
    pub(super) fn holders(&self, now: Duration) -> BTreeMap<SweepKey, (String, String)> {
        let taken = self.0.iter().filter(|(_, slot)| slot.is_taken(now));
        taken
            .filter_map(|(name, slot)| {
                let holder: Holder = slot.seen.holder.as_deref()?.parse().ok()?;
                Some((holder.sweep, (name.clone(), holder.uid)))
            })
            .collect()
    }
}

/// Whether one resourceVersion came after another. They are numbers in every API server there is; what is not one is
/// taken for newer, since an event that is lost is worse than one seen twice.
pub(super) fn is_newer(version: &str, known: &str) -> bool {
    match (version.parse::<u64>(), known.parse::<u64>()) {
        (Ok(version), Ok(known)) => version > known,
        _ => version != known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_mins(1);

    fn seen(version: &str, holder: Option<&str>) -> SlotSeen {
        SlotSeen { version: version.into(), holder: holder.map(Into::into), lease: LEASE }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_slot_is_free_again_when_nobody_changed_it_for_its_whole_duration() {
        let mut slots = Slots::default();
        slots.observe("s", seen("1", Some("n/a/b/u")), at(100));
        assert!(slots.free(at(159)).is_empty());
        slots.observe("s", seen("2", Some("n/a/b/u")), at(159));
        assert!(slots.free(at(218)).is_empty());
        assert_eq!(slots.free(at(219)), [("s".to_owned(), "2".to_owned())]);
        assert!(slots.holders(at(219)).is_empty());
    }

    #[test]
    fn what_was_seen_before_is_no_sign_of_life() {
        let mut slots = Slots::default();
        slots.observe("s", seen("2", Some("n/a/b/u")), at(0));
        slots.observe("s", seen("2", Some("n/a/b/u")), at(59));
        slots.observe("s", seen("1", None), at(59));
        assert_eq!(slots.taken(at(59)), 1);
        assert_eq!(slots.taken(at(60)), 0);
    }

    #[test]
    fn a_stranger_keeps_its_slot_until_it_expires_and_holds_it_for_nobody() {
        let mut slots = Slots::default();
        slots.observe("s", seen("1", Some("kubectl")), at(0));
        assert_eq!(slots.taken(at(1)), 1);
        assert!(slots.holders(at(1)).is_empty());
        slots.observe("s", seen("2", Some("")), at(1));
        assert_eq!(slots.taken(at(1)), 0);
    }
}
