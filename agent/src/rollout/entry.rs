//! One Sweep, as far as decisions need it. Some hundred bytes each: a cluster may have 100,000.

use std::time::Duration;

use super::key::{Holder, SweepKey};
use super::notes::Notes;
use crate::kubernetes::resources::{Sweep, SweepPhase, SweepStatus, Wave};
use crate::report::Health;

/// A sweep whose agent or slot was lost, as its `reason` says: what it did to its container nobody knows.
pub(super) const SLOT_LOST: &str = "SlotLost";

/// What a Sweep says of its workload's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has not ended.
    Awaited,
    /// Its container is well.
    Healthy,
    /// It came to harm.
    Harmed,
    /// Nobody knows.
    Unknown,
    /// It touched nothing.
    Untouched,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) uid: String,
    pub(super) version: String,
    pub(super) node: String,
    pub(super) pod_uid: String,
    pub(super) container: String,
    pub(super) rollout: Option<String>,
    /// `namespace/Kind/name`.
    pub(super) workload: String,
    pub(super) zone: Option<String>,
    pub(super) policy: String,
    pub(super) urgency: u32,
    /// Seconds since 1970 on the API server's clock: only to order Sweeps among one another.
    pub(super) created: i64,
    pub(super) abort: bool,
    pub(super) ttl: Option<Duration>,
    pub(super) phase: SweepPhase,
    pub(super) reason: Option<String>,
    pub(super) health: Option<Health>,
    pub(super) health_reason: Option<String>,
    pub(super) harm_counted: bool,
    pub(super) wave: Option<Wave>,
    pub(super) stop: Option<String>,
    /// Whether it holds a slot, as this turn sees it.
    pub(super) has_slot: bool,
    /// Since when this process has seen it run without a slot.
    pub(super) unslotted_since: Option<Duration>,
    /// When this process first saw it ended.
    pub(super) ended_at: Option<Duration>,
    pub(super) notes: Notes,
}

impl Entry {
    pub(super) fn of(key: &SweepKey, sweep: &Sweep, now: Duration) -> Self {
        let spec = &sweep.spec;
        let status = sweep.status.clone().unwrap_or_default();
        let created = sweep.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
        let notes = Notes::new(now, status.reason.clone());
        let mut entry = Self {
            uid: sweep.metadata.uid.clone().unwrap_or_default(),
            version: sweep.metadata.resource_version.clone().unwrap_or_default(),
            node: spec.node.clone(),
            pod_uid: spec.pod.uid.clone(),
            container: spec.container.clone(),
            rollout: spec.rollout.clone(),
            workload: format!("{}/{}", key.namespace, spec.workload),
            zone: spec.zone.clone(),
            policy: spec.policy.clone(),
            urgency: spec.asked.urgency,
            created,
            abort: spec.abort,
            ttl: spec.ttl.map(|ttl| ttl.0),
            phase: SweepPhase::Pending,
            reason: None,
            health: None,
            health_reason: None,
            harm_counted: false,
            wave: None,
            stop: None,
            has_slot: false,
            unslotted_since: None,
            ended_at: None,
            notes,
        };
        entry.take(status, now);
        entry
    }

    /// The same Sweep, read again.
    pub(super) fn update(&mut self, sweep: &Sweep, now: Duration) {
        self.version = sweep.metadata.resource_version.clone().unwrap_or_default();
        self.abort = sweep.spec.abort;
        self.take(sweep.status.clone().unwrap_or_default(), now);
    }

    fn take(&mut self, status: SweepStatus, now: Duration) {
        self.phase = status.phase;
        self.reason = status.reason;
        self.health = status.health;
        self.health_reason = status.health_reason;
        self.harm_counted = status.harm_counted;
        self.wave = status.wave;
        self.stop = status.stop;
        if self.phase.is_ended() && self.ended_at.is_none() {
            self.ended_at = Some(now);
        }
    }

    pub(super) fn holder(&self, key: &SweepKey) -> Holder {
        Holder { node: self.node.clone(), sweep: key.clone(), uid: self.uid.clone() }
    }

    pub(super) fn namespace(&self) -> &str {
        self.workload.split('/').next().unwrap_or_default()
    }

    pub(super) fn verdict(&self) -> Verdict {
        match self.health {
            _ if !self.phase.is_ended() => Verdict::Awaited,
            Some(Health::Healthy) => Verdict::Healthy,
            Some(Health::Harmed) => Verdict::Harmed,
            Some(Health::Unknown) => Verdict::Unknown,
            None if self.reason.as_deref() == Some(SLOT_LOST) => Verdict::Unknown,
            None => Verdict::Untouched,
        }
    }
}
