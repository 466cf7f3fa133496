//! One Sweep, as far as decisions need it. Some hundred bytes each: a cluster may have 100,000.

use std::time::Duration;

use super::key::{Holder, SweepKey};
use super::notes::Notes;
use super::observation::{KINDS, Observation, Seen, kind};
use crate::kubernetes::resources::{Sweep, SweepPhase, SweepStatus, WORKLOAD_HEALTHY, Wave};
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
    /// How the workload's other pods were at the admission, as its status has it.
    pub(super) others: Option<String>,
    /// What its status says that was seen of them: how they fare, and the word.
    told: Option<(Health, String)>,
    /// What this process sees of them. From the admission on.
    pub(super) observation: Option<Box<Observation>>,
    pub(super) wave: Option<Wave>,
    pub(super) stop: Option<String>,
    /// Whether it holds a slot, as this turn sees it.
    pub(super) has_slot: bool,
    /// Where this turn counts its wave.
    pub(super) tally: usize,
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
        let notes = Notes::new(now, &status);
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
            others: None,
            told: None,
            observation: None,
            wave: None,
            stop: None,
            has_slot: false,
            tally: 0,
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
        self.told = told(&status);
        self.phase = status.phase;
        self.reason = status.reason;
        self.health = status.health;
        self.health_reason = status.health_reason;
        self.harm_counted = status.harm_counted;
        self.others = status.others;
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

    /// `Kind/name`.
    pub(super) fn owner(&self) -> &str {
        self.workload.split_once('/').map_or("", |(_, owner)| owner)
    }

    /// How its container fared by its agent's word, and its workload's other pods by the coordinator's: the worse.
    pub(super) fn verdict(&self) -> Verdict {
        match (self.own_verdict(), self.others_health()) {
            (Verdict::Healthy | Verdict::Unknown, Some(Health::Harmed)) => Verdict::Harmed,
            (Verdict::Healthy, Some(Health::Unknown)) => Verdict::Unknown,
            (own, _) => own,
        }
    }

    fn own_verdict(&self) -> Verdict {
        match self.health {
            _ if !self.phase.is_ended() => Verdict::Awaited,
            Some(Health::Healthy) => Verdict::Healthy,
            Some(Health::Harmed) => Verdict::Harmed,
            Some(Health::Unknown) => Verdict::Unknown,
            None if self.reason.as_deref() == Some(SLOT_LOST) => Verdict::Unknown,
            None => Verdict::Untouched,
        }
    }

    /// Its agent found harm, of which the breakers have not heard.
    pub(super) fn has_uncounted_harm(&self) -> bool {
        self.own_verdict() == Verdict::Harmed && !self.harm_counted
    }

    /// Whether it may have touched its container by now.
    pub(super) fn has_touched(&self) -> bool {
        matches!(self.phase, SweepPhase::Sweeping | SweepPhase::Observing)
            || (self.phase.is_ended() && self.own_verdict() != Verdict::Untouched)
    }

    /// Harms by kind: of its container, and of its workload's other pods.
    pub(super) fn harms(&self) -> [u32; KINDS] {
        let mut harms = self.observation.as_ref().map_or([0; KINDS], |observation| observation.harms());
        let before = self.told.as_ref().filter(|(health, _)| *health == Health::Harmed);
        let before = before.filter(|_| harms == [0; KINDS]).map(|(_, reason)| reason.as_str());
        let own = (self.own_verdict() == Verdict::Harmed)
            .then(|| self.health_reason.as_deref().unwrap_or_default());
        for reason in [before, own].into_iter().flatten() {
            if let Some(harms) = harms.get_mut(kind(reason)) {
                *harms += 1;
            }
        }
        harms
    }

    /// What this process saw and its status does not say.
    pub(super) fn untold(&self) -> Option<&Seen> {
        let seen = self.observation.as_ref()?.seen()?;
        let told = self.told.as_ref().map(|(health, _)| *health);
        let is_news = match seen.health {
            Health::Harmed => told != Some(Health::Harmed),
            // Where its agent says worse already, that stands.
            _ => told.is_none() && self.own_verdict() == Verdict::Healthy,
        };
        is_news.then_some(seen)
    }

    fn others_health(&self) -> Option<Health> {
        let seen = self.observation.as_ref().and_then(|observation| observation.seen());
        let told = self.told.as_ref().map(|(health, _)| *health);
        match (seen.map(|seen| seen.health), told) {
            (Some(Health::Harmed), _) | (_, Some(Health::Harmed)) => Some(Health::Harmed),
            (seen, told) => seen.or(told),
        }
    }
}

fn told(status: &SweepStatus) -> Option<(Health, String)> {
    let condition = status.conditions.iter().find(|condition| condition.type_ == WORKLOAD_HEALTHY)?;
    let health = match condition.status.as_str() {
        "True" => return None,
        "False" => Health::Harmed,
        _ => Health::Unknown,
    };
    Some((health, condition.reason.clone()))
}
