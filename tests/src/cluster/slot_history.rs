//! Who held which slot when, in the API server's own words. In: its audit. Out: each slot's writes in their order, and
//! whether the cap was kept: no slot is given on while its last holder may still work.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use podsweep::rollout::Holder;
use serde_json::Value;

use super::audit::Record;

/// How the Leases begin that are slots.
const SLOT: &str = "podsweep-slot-";

/// One write of a slot's Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The version that it made: their order.
    pub version: u64,
    /// When it came to the API server; it was stored after that.
    pub at: Timestamp,
    /// Who wrote.
    pub user: String,
    /// Who holds the slot since; `None`: nobody.
    pub holder: Option<Holder>,
}

/// All writes of all slots, by slot, in their order.
#[derive(Debug, Default)]
pub struct SlotHistory(BTreeMap<String, Vec<Write>>);

impl SlotHistory {
    /// Of every write that was taken.
    pub fn of(records: &[Record]) -> Result<Self> {
        let mut slots: BTreeMap<String, Vec<Write>> = BTreeMap::new();
        let written = records.iter().filter(|record| record.is_of("leases") && record.has_written());
        for record in written {
            let Some(lease) = &record.response_object else { continue };
            let name = lease["metadata"]["name"].as_str().unwrap_or_default();
            if name.starts_with(SLOT) {
                let write = write(record, lease).with_context(|| format!("audit of Lease {name}"))?;
                slots.entry(name.to_owned()).or_default().push(write);
            }
        }
        for writes in slots.values_mut() {
            writes.sort_by_key(|write| write.version);
        }
        Ok(Self(slots))
    }

    /// One slot's.
    pub fn writes(&self, slot: &str) -> &[Write] {
        self.0.get(slot).map_or(&[], Vec::as_slice)
    }

    /// Slots that were taken from a holder that had not given them back, sooner than `lease` after their last write.
    pub fn taken_too_early(&self, lease: Duration) -> Vec<String> {
        let mut early = Vec::new();
        for (slot, writes) in &self.0 {
            for (before, after) in writes.iter().zip(writes.iter().skip(1)) {
                let other =
                    before.holder.is_some() && after.holder.is_some() && before.holder != after.holder;
                let rest = after.at.duration_since(before.at);
                if other && Duration::try_from(rest).is_ok_and(|rest| rest < lease) {
                    early.push(format!("{slot} after {rest:#}: {before:?}, then {after:?}"));
                }
            }
        }
        early
    }

    /// The most slots that were held at one moment.
    pub fn most_at_once(&self) -> usize {
        let mut changes: Vec<(Timestamp, i32)> = Vec::new();
        for writes in self.0.values() {
            let mut held = false;
            for write in writes {
                match (held, write.holder.is_some()) {
                    (false, true) => changes.push((write.at, 1)),
                    (true, false) => changes.push((write.at, -1)),
                    _ => {}
                }
                held = write.holder.is_some();
            }
        }
        // Given back before taken, where it is the same moment.
        changes.sort_unstable();
        let at_each = changes.iter().scan(0, |held, (_, change)| {
            *held += change;
            Some(*held)
        });
        at_each.max().and_then(|most| usize::try_from(most).ok()).unwrap_or_default()
    }

    /// Writes for each sweep that held a slot, by its name: the grant, renewals, and that it gave the slot back.
    pub fn writes_by_sweep(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for writes in self.0.values() {
            let mut before: Option<&Holder> = None;
            for write in writes {
                if let Some(holder) = write.holder.as_ref().or(before) {
                    *counts.entry(holder.sweep.name.clone()).or_default() += 1;
                }
                before = write.holder.as_ref();
            }
        }
        counts
    }

    /// Sweeps that held a slot.
    pub fn sweeps(&self) -> BTreeSet<String> {
        self.writes_by_sweep().into_keys().collect()
    }
}

fn write(record: &Record, lease: &Value) -> Result<Write> {
    let version = lease["metadata"]["resourceVersion"].as_str().context("no resourceVersion")?;
    let holder = lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty());
    Ok(Write {
        version: version.parse().context("resourceVersion")?,
        at: record.request_received_timestamp,
        user: record.user.username.clone(),
        holder: holder.map(str::parse).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(second: u32, version: u32, holder: Option<&str>) -> Record {
        let at = format!("2026-11-22T12:00:{second:02}Z");
        serde_json::from_value(json!({
            "verb": "patch", "user": {"username": "somebody"}, "responseStatus": {"code": 200},
            "objectRef": {"resource": "leases", "name": "podsweep-slot-0"},
            "requestReceivedTimestamp": at, "stageTimestamp": at,
            "responseObject": {
                "metadata": {"name": "podsweep-slot-0", "resourceVersion": version.to_string()},
                "spec": {"holderIdentity": holder},
            },
        }))
        .unwrap()
    }

    const LEASE: Duration = Duration::from_secs(12);

    #[test]
    fn a_slot_that_was_given_back_may_be_given_on_at_once() {
        let records = [
            record(1, 10, Some("n/a/one/u")),
            record(5, 11, Some("n/a/one/u")),
            record(6, 12, None),
            record(6, 13, Some("n/a/two/u")),
        ];
        let history = SlotHistory::of(&records).unwrap();
        assert_eq!(history.taken_too_early(LEASE), [""; 0]);
        assert_eq!(history.most_at_once(), 1);
        assert_eq!(history.writes_by_sweep(), [("one".to_owned(), 3), ("two".to_owned(), 1)].into());
    }

    #[test]
    fn a_slot_that_was_not_must_be_over_first() {
        let taken_at = |second| {
            // In the order of their versions, whatever the log's is.
            let records = [record(second, 12, Some("n/a/two/u")), record(5, 11, Some("n/a/one/u"))];
            SlotHistory::of(&records).unwrap().taken_too_early(LEASE).len()
        };
        assert_eq!((taken_at(16), taken_at(17)), (1, 0));
    }
}
