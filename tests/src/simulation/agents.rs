//! Agents, as the API server sees them: they take their slot, renew it, tell phases, and free it at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use podsweep::kubernetes::resources::{Sweep, SweepPhase};
use podsweep::report::Health;
use podsweep::rollout::SweepKey;

use super::LEASE;
use super::objects::Objects;

/// How long a sweep takes.
#[derive(Clone, Copy)]
pub struct Course {
    /// Until the first batch.
    pub scan: Duration,
    /// From there to the last one.
    pub sweep: Duration,
    /// The observation window.
    pub observe: Duration,
}

struct Running {
    slot: String,
    version: u64,
    began: Duration,
    renewed: Duration,
    phase: SweepPhase,
    stopped: Option<Duration>,
}

/// All of them.
pub(super) struct Agents {
    course: Course,
    running: BTreeMap<SweepKey, Running>,
    dead: BTreeSet<SweepKey>,
    /// How long after its beginning the agent of a sweep will be killed.
    doomed: BTreeMap<SweepKey, Duration>,
    fates: BTreeMap<SweepKey, (Health, String)>,
}

impl Agents {
    pub(super) fn new(course: Course) -> Self {
        let (running, dead) = (BTreeMap::new(), BTreeSet::new());
        Self { course, running, dead, doomed: BTreeMap::new(), fates: BTreeMap::new() }
    }

    pub(super) fn working(&self) -> usize {
        self.running.len()
    }

    /// Whether two of them work under one slot.
    pub(super) fn share_a_slot(&self) -> bool {
        let slots: BTreeSet<_> = self.running.values().map(|running| &running.slot).collect();
        slots.len() < self.running.len()
    }

    pub(super) fn doom(&mut self, key: &SweepKey, after: Duration) {
        self.doomed.insert(key.clone(), after);
    }

    pub(super) fn kill(&mut self, key: &SweepKey) {
        self.running.remove(key);
        self.dead.insert(key.clone());
    }

    pub(super) fn will_be(&mut self, key: &SweepKey, health: Health, sign: &str) {
        self.fates.insert(key.clone(), (health, sign.to_owned()));
    }

    pub(super) fn act(&mut self, objects: &mut Objects, now: Duration) {
        self.take_orders(objects, now);
        let keys: Vec<_> = self.running.keys().cloned().collect();
        for key in keys {
            self.go_on(&key, objects, now);
        }
    }

    fn take_orders(&mut self, objects: &mut Objects, now: Duration) {
        for key in objects.take_changed_for_agents() {
            if self.running.contains_key(&key) || self.dead.contains(&key) {
                continue;
            }
            let Some(slot) = objects.sweep(&key).and_then(granted) else { continue };
            let version = objects.slot_version(&slot);
            let Ok(version) = objects.write_slot(&slot, version, "renew", |_| {}) else { continue };
            let phase = SweepPhase::Admitted;
            let running = Running { slot, version, began: now, renewed: now, phase, stopped: None };
            self.running.insert(key, running);
        }
    }

    fn go_on(&mut self, key: &SweepKey, objects: &mut Objects, now: Duration) {
        let Course { scan, sweep, observe } = self.course;
        let Some(running) = self.running.get_mut(key) else { return };
        if self.doomed.get(key).is_some_and(|after| now >= running.began + *after) {
            self.kill(key);
            return;
        }
        let stop =
            objects.sweep(key).and_then(|sweep| sweep.status.as_ref()).and_then(|status| status.stop.clone());
        if stop.is_some() && running.stopped.is_none() {
            running.stopped = Some(now);
        }
        let observing_at = running.stopped.unwrap_or(running.began + scan + sweep);
        let phase = match now {
            now if now >= observing_at + observe => {
                self.end(key, stop, objects);
                return;
            }
            now if now >= observing_at => SweepPhase::Observing,
            now if now >= running.began + scan => SweepPhase::Sweeping,
            _ => SweepPhase::Scanning,
        };
        // As an agent does: what lasts less than five seconds is not told.
        let told = phase != running.phase && (phase != SweepPhase::Scanning || scan > Duration::from_secs(5));
        if told {
            running.phase = phase;
            objects.write_status(key, "phase", |status| status.phase = phase);
        }
        if now >= running.renewed + LEASE / 2 {
            running.renewed = now;
            let renewed = objects.write_slot(&running.slot, running.version, "renew", |_| {});
            match renewed {
                Ok(version) => running.version = version,
                Err(_) => self.kill(key),
            }
        }
    }

    fn end(&mut self, key: &SweepKey, stop: Option<String>, objects: &mut Objects) {
        let Some(running) = self.running.remove(key) else { return };
        objects.event(key);
        let (health, sign) = self.fates.remove(key).unwrap_or((Health::Healthy, "Well".into()));
        objects.write_status(key, "end", |status| {
            status.phase = match (health, &stop) {
                (Health::Healthy, None) => SweepPhase::Succeeded,
                (Health::Healthy, Some(_)) => SweepPhase::Aborted,
                _ => SweepPhase::Failed,
            };
            (status.health, status.health_reason, status.reason) = (Some(health), Some(sign), stop);
        });
        let freed = objects.write_slot(&running.slot, running.version, "free", |slot| slot.holder = None);
        assert_eq!(freed.err(), None, "an agent that renewed in time still holds its slot");
    }
}

/// The slot of a Sweep that is admitted and whose agent has not begun.
fn granted(sweep: &Sweep) -> Option<String> {
    let status = sweep.status.as_ref()?;
    (status.phase == SweepPhase::Admitted).then(|| status.slot.clone().unwrap_or_default())
}
