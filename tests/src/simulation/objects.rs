//! An API server's objects: each write gives a new version, and one on an old version is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use podsweep::kubernetes::resources::{Breaker, Sweep, SweepPhase, SweepSpec, SweepStatus, WORKLOAD_HEALTHY};
use podsweep::report::Health;
use podsweep::rollout::{Holder, Index, SlotSeen, Step, SweepKey};

/// One slot's Lease.
#[derive(Clone, Default)]
pub struct Slot {
    /// Its holder.
    pub holder: Option<String>,
    version: u64,
    lease: Duration,
}

/// What became of one Sweep.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    /// When it was asked for.
    pub asked: Duration,
    /// When it was admitted.
    pub admitted: Option<Duration>,
    /// Its last phase.
    pub phase: SweepPhase,
    /// Writes about it: of its object, and of the Lease that it held.
    pub writes: u32,
}

/// What was refused since it was written on an old version.
#[derive(Debug, PartialEq, Eq)]
pub struct Conflict;

/// All of them.
#[derive(Default)]
pub struct Objects {
    version: u64,
    made: usize,
    sweeps: BTreeMap<SweepKey, Sweep>,
    slots: BTreeMap<String, Slot>,
    breakers: BTreeMap<String, Breaker>,
    changed: BTreeSet<SweepKey>,
    changed_for_agents: BTreeSet<SweepKey>,
    gone: Vec<SweepKey>,
    breakers_gone: Vec<String>,
    last_waves: BTreeMap<String, u64>,
    /// What became of each Sweep, those included that are forgotten.
    pub fates: BTreeMap<SweepKey, Fate>,
    /// Waves that were begun.
    pub waves: u64,
    /// Writes that were taken, by what they were for.
    pub writes: BTreeMap<&'static str, u64>,
}

pub(super) fn key(sweep: &Sweep) -> SweepKey {
    SweepKey {
        namespace: sweep.metadata.namespace.clone().unwrap_or_default(),
        name: sweep.metadata.name.clone().unwrap_or_default(),
    }
}

impl Objects {
    /// Writes in all.
    pub fn all_writes(&self) -> u64 {
        self.writes.values().sum()
    }

    /// Breakers by name, with their state and cause.
    pub fn breakers(&self) -> &BTreeMap<String, Breaker> {
        &self.breakers
    }

    /// A Sweep that is there.
    pub fn sweep(&self, key: &SweepKey) -> Option<&Sweep> {
        self.sweeps.get(key)
    }

    /// All Sweeps that are there.
    pub fn sweeps(&self) -> impl Iterator<Item = &Sweep> {
        self.sweeps.values()
    }

    /// A slot.
    pub fn slot(&self, name: &str) -> Slot {
        self.slots.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn sweeps_made(&self) -> usize {
        self.made
    }

    pub(super) fn make_slot(&mut self, name: &str) {
        self.version += 1;
        self.slots.insert(name.to_owned(), Slot { version: self.version, ..Slot::default() });
    }

    pub(super) fn make_sweep(
        &mut self,
        namespace: &str,
        name: &str,
        spec: SweepSpec,
        now: Duration,
    ) -> SweepKey {
        self.made += 1;
        let mut sweep = Sweep::new(name, spec);
        sweep.metadata.namespace = Some(namespace.into());
        sweep.metadata.uid = Some(format!("uid-{}", self.made));
        sweep.metadata.creation_timestamp = Some(Time(Timestamp::UNIX_EPOCH + now));
        let key = key(&sweep);
        self.sweeps.insert(key.clone(), sweep);
        self.fates.insert(key.clone(), Fate { asked: now, ..Fate::default() });
        self.wrote("create", Some(&key));
        self.touch(&key);
        key
    }

    /// Changes a Sweep's status.
    pub fn write_status(
        &mut self,
        key: &SweepKey,
        what: &'static str,
        change: impl FnOnce(&mut SweepStatus),
    ) {
        let Some(sweep) = self.sweeps.get_mut(key) else { return };
        let status = sweep.status.get_or_insert_default();
        change(status);
        if let Some(fate) = self.fates.get_mut(key) {
            fate.phase = status.phase;
        }
        self.wrote(what, Some(key));
        self.touch(key);
    }

    /// Changes a Sweep's spec, as a person does.
    pub fn edit(&mut self, key: &SweepKey, change: impl FnOnce(&mut SweepSpec)) {
        if let Some(sweep) = self.sweeps.get_mut(key) {
            change(&mut sweep.spec);
        }
        self.touch(key);
    }

    /// Compare and swap of a slot's holder.
    pub fn write_slot(
        &mut self,
        name: &str,
        version: u64,
        what: &'static str,
        change: impl FnOnce(&mut Slot),
    ) -> Result<u64, Conflict> {
        let slot = self.slots.get_mut(name).filter(|slot| slot.version == version).ok_or(Conflict)?;
        let before = slot.holder.clone();
        change(slot);
        self.version += 1;
        slot.version = self.version;
        let (version, holder) = (slot.version, slot.holder.clone().or(before));
        let sweep = holder.and_then(|holder| holder.parse::<Holder>().ok()).map(|holder| holder.sweep);
        self.wrote(what, sweep.as_ref());
        Ok(version)
    }

    pub(super) fn slot_version(&self, name: &str) -> u64 {
        self.slots.get(name).map_or(0, |slot| slot.version)
    }

    /// Sweeps that changed since the agents last looked.
    pub(super) fn take_changed_for_agents(&mut self) -> BTreeSet<SweepKey> {
        std::mem::take(&mut self.changed_for_agents)
    }

    pub(super) fn delete_breaker(&mut self, name: &str) {
        if self.breakers.remove(name).is_some() {
            self.breakers_gone.push(name.to_owned());
        }
    }

    pub(super) fn all_changed(&mut self) {
        self.changed = self.sweeps.keys().cloned().collect();
    }

    /// What the watches bring.
    pub(super) fn tell(&mut self, index: &mut Index, now: Duration) {
        let wall = Timestamp::UNIX_EPOCH + now;
        for key in std::mem::take(&mut self.changed) {
            if let Some(sweep) = self.sweeps.get(&key) {
                index.observe_sweep(sweep, now);
            }
        }
        for key in std::mem::take(&mut self.gone) {
            index.forget_sweep(&key, None);
        }
        for (name, slot) in &self.slots {
            let seen = SlotSeen {
                version: slot.version.to_string(),
                holder: slot.holder.clone(),
                lease: slot.lease,
            };
            index.observe_slot(name, seen, now);
        }
        for name in std::mem::take(&mut self.breakers_gone) {
            index.forget_breaker(&name, wall);
        }
        for breaker in self.breakers.values() {
            index.observe_breaker(breaker, now, wall);
        }
    }

    pub(super) fn carry_out(&mut self, step: Step, lease: Duration, now: Duration) {
        let wall = (Timestamp::UNIX_EPOCH + now).to_string();
        match step {
            Step::Grant { slot, version, holder } => {
                let version = version.parse().unwrap_or_default();
                let granted = self.write_slot(&slot, version, "grant", |slot| {
                    slot.holder = Some(holder.to_string());
                    slot.lease = lease;
                });
                assert_eq!(granted.err(), None, "one leader, and nobody else writes in between");
            }
            Step::Admit { sweep, slot, wave, others } => {
                self.begin_wave(&sweep, wave.number);
                if let Some(fate) = self.fates.get_mut(&sweep) {
                    fate.admitted = Some(now);
                }
                self.write_status(&sweep, "admit", |status| {
                    status.phase = SweepPhase::Admitted;
                    (status.slot, status.wave, status.others) = (Some(slot), Some(wave), Some(others));
                    (status.reason, status.admitted_at) = (None, Some(wall));
                });
            }
            Step::Note { sweep, reason, message, notes } => self.write_status(&sweep, "note", |status| {
                (status.reason, status.message, status.notes) = (Some(reason), Some(message), Some(notes));
            }),
            Step::Stop { sweep, reason } => {
                self.write_status(&sweep, "stop", |status| status.stop = Some(reason));
            }
            Step::End { sweep, phase, reason, message } => self.write_status(&sweep, "end", |status| {
                status.phase = phase;
                (status.reason, status.message, status.ended_at) = (Some(reason), Some(message), Some(wall));
            }),
            Step::Tell { sweep, health, reason, message } => self.write_status(&sweep, "tell", |status| {
                status.conditions.retain(|condition| condition.type_ != WORKLOAD_HEALTHY);
                status.conditions.push(Condition {
                    type_: WORKLOAD_HEALTHY.into(),
                    status: if health == Health::Harmed { "False" } else { "Unknown" }.into(),
                    reason,
                    message,
                    last_transition_time: Time(Timestamp::UNIX_EPOCH + now),
                    observed_generation: None,
                });
            }),
            Step::CountHarm { sweep } => {
                self.write_status(&sweep, "count-harm", |status| status.harm_counted = true);
            }
            Step::SaveBreaker { name, spec, status } => {
                let breaker = self.breakers.entry(name.clone()).or_insert_with(|| Breaker::new(&name, spec));
                breaker.status = Some(status);
                self.wrote("breaker", None);
            }
            Step::CloseBreaker { name } => {
                self.delete_breaker(&name);
                self.wrote("breaker", None);
            }
            Step::Forget { sweep } => {
                self.sweeps.remove(&sweep);
                self.wrote("forget", Some(&sweep));
                self.gone.push(sweep);
            }
        }
    }

    /// An Event on the sweep's pod.
    pub(super) fn event(&mut self, key: &SweepKey) {
        self.wrote("event", Some(key));
    }

    fn touch(&mut self, key: &SweepKey) {
        self.version += 1;
        if let Some(sweep) = self.sweeps.get_mut(key) {
            sweep.metadata.resource_version = Some(self.version.to_string());
        }
        self.changed.insert(key.clone());
        self.changed_for_agents.insert(key.clone());
    }

    fn begin_wave(&mut self, sweep: &SweepKey, number: u64) {
        let Some(workload) = self.sweeps.get(sweep).map(|sweep| sweep.spec.workload.clone()) else { return };
        if self.last_waves.insert(workload, number) != Some(number) {
            self.waves += 1;
        }
    }

    fn wrote(&mut self, what: &'static str, sweep: Option<&SweepKey>) {
        *self.writes.entry(what).or_default() += 1;
        if let Some(fate) = sweep.and_then(|sweep| self.fates.get_mut(sweep)) {
            fate.writes += 1;
        }
    }
}
