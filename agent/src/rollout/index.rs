//! What is known of the cluster: fed by watches and by the answers to our own writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::batch::{self, Next, Target};
use super::circuits::Circuits;
use super::entry::Entry;
use super::guards::{Answer, Guards, Question};
use super::key::SweepKey;
use super::neighbours::Neighbours;
use super::notes::Corrections;
use super::rules::Rules;
use super::slots::{SlotSeen, Slots, is_newer};
use crate::breaker::GlobalBreaker;
use crate::kubernetes::resources::{
    Breaker, RolloutPhase, RolloutStatus, Sweep, SweepRollout, SweepRolloutSpec,
};

/// Sweeps known at a time. More are not taken up until others are gone; [`Index::dropped`] counts them. Some 600 bytes
/// each: 60 MB.
pub const MAX_SWEEPS: usize = 100_000;

/// One SweepRollout.
#[derive(Debug)]
pub(super) struct Rollout {
    pub(super) spec: SweepRolloutSpec,
    generation: i64,
    status: RolloutStatus,
}

impl Rollout {
    fn of(rollout: &SweepRollout) -> Self {
        Self {
            spec: rollout.spec.clone(),
            generation: rollout.metadata.generation.unwrap_or_default(),
            status: rollout.status.clone().unwrap_or_default(),
        }
    }

    /// Nothing follows.
    pub(super) fn is_ended(&self) -> bool {
        use RolloutPhase::{Aborted, Failed, Succeeded};
        matches!(self.status.phase, Aborted | Failed | Succeeded)
    }

    /// What waits of it is closed, and what runs is stopped.
    pub(super) fn is_off(&self) -> bool {
        self.spec.abort || matches!(self.status.phase, RolloutPhase::Aborted | RolloutPhase::Failed)
    }
}

/// What must be known besides the objects of podsweep, for what runs and for what would run next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wants {
    /// The pods of these namespaces.
    pub namespaces: BTreeSet<String>,
    /// How these guards stand.
    pub questions: BTreeSet<Question>,
}

/// What the coordinator's config says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// When harm in several places stops everything.
    pub global: GlobalBreaker,
    /// How long an ended Sweep stays.
    pub ttl: Duration,
}

/// All that decisions are made of.
#[derive(Debug)]
pub struct Index {
    pub(super) settings: Settings,
    pub(super) sweeps: BTreeMap<SweepKey, Entry>,
    pub(super) slots: Slots,
    pub(super) rules: BTreeMap<String, Rules>,
    pub(super) circuits: Circuits,
    pub(super) rollouts: BTreeMap<String, Rollout>,
    /// Pods of the namespaces that are watched.
    pub(super) neighbours: Neighbours,
    /// What the guards said that are asked now.
    pub(super) guards: Guards,
    /// Sweeps whose end has not been told to the breakers. Bounded by the sweeps.
    pub(super) ended: Vec<SweepKey>,
    pub(super) corrections: Corrections,
    pub(super) wants: Wants,
    dropped: u64,
}

impl Index {
    /// Knows nothing yet: decide only after everything that there is was observed once.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            sweeps: BTreeMap::new(),
            slots: Slots::default(),
            rules: BTreeMap::new(),
            circuits: Circuits::default(),
            rollouts: BTreeMap::new(),
            neighbours: Neighbours::default(),
            guards: Guards::default(),
            ended: Vec::new(),
            corrections: Corrections::default(),
            wants: Wants::default(),
            dropped: 0,
        }
    }

    /// A Sweep as it was read. What is older than what is known changes nothing.
    pub fn observe_sweep(&mut self, sweep: &Sweep, now: Duration) {
        let Some(key) = key_of(sweep) else { return };
        let version = sweep.metadata.resource_version.as_deref().unwrap_or_default();
        let uid = sweep.metadata.uid.as_deref().unwrap_or_default();
        let full = self.sweeps.len() >= MAX_SWEEPS;
        match self.sweeps.get_mut(&key) {
            Some(known) if known.uid == uid => {
                if !is_newer(version, &known.version) {
                    return;
                }
                let ran = !known.phase.is_ended();
                known.update(sweep, now);
                if ran && known.phase.is_ended() {
                    self.ended.push(key);
                }
            }
            None if full => self.dropped += 1,
            _ => {
                let entry = Entry::of(&key, sweep, now);
                // Of a harm that the last leader did not count we hear as if it were now. Of nothing else: a sweep that
                // ended well before this process led is no probe of a breaker that is half-open now.
                if entry.has_uncounted_harm() {
                    self.ended.push(key.clone());
                }
                self.sweeps.insert(key, entry);
            }
        }
    }

    /// A Sweep is gone. `uid`: of the one that is; another under the same name stays.
    pub fn forget_sweep(&mut self, key: &SweepKey, uid: Option<&str>) {
        if self.sweeps.get(key).is_some_and(|known| uid.is_none_or(|uid| known.uid == uid)) {
            self.sweeps.remove(key);
        }
    }

    /// All Sweeps but these are gone.
    pub fn forget_sweeps_but(&mut self, there: &BTreeSet<SweepKey>) {
        self.sweeps.retain(|key, _| there.contains(key));
        self.dropped = 0;
    }

    /// The version at which a Sweep was last read, for a compare-and-swap.
    pub fn version(&self, key: &SweepKey) -> Option<&str> {
        self.sweeps.get(key).map(|entry| entry.version.as_str())
    }

    /// A slot's Lease as it was read.
    pub fn observe_slot(&mut self, name: &str, seen: SlotSeen, now: Duration) {
        self.slots.observe(name, seen, now);
    }

    /// A slot's Lease is gone: one slot fewer.
    pub fn forget_slot(&mut self, name: &str) {
        self.slots.forget(name);
    }

    /// A policy as it was read; `None`: it is gone.
    pub fn observe_policy(&mut self, name: &str, rules: Option<Rules>) {
        match rules {
            Some(rules) => self.rules.insert(name.to_owned(), rules),
            None => self.rules.remove(name),
        };
    }

    /// A Breaker as it was read.
    pub fn observe_breaker(&mut self, breaker: &Breaker, now: Duration, wall: Timestamp) {
        self.circuits.observe(breaker, now, wall);
    }

    /// A Breaker is gone.
    pub fn forget_breaker(&mut self, name: &str, wall: Timestamp) {
        self.circuits.forget(name, wall);
    }

    /// A SweepRollout as it was read; `None`: it is gone.
    pub fn observe_rollout(&mut self, name: &str, rollout: Option<&SweepRollout>) {
        match rollout {
            Some(rollout) => {
                self.rollouts.insert(name.to_owned(), Rollout::of(rollout));
            }
            None => {
                self.rollouts.remove(name);
            }
        }
    }

    /// SweepRollouts that have not ended, with what each asks for.
    pub fn open_rollouts(&self) -> Vec<(String, SweepRolloutSpec)> {
        let open = self.rollouts.iter().filter(|(_, rollout)| !rollout.is_ended());
        open.map(|(name, rollout)| (name.clone(), rollout.spec.clone())).collect()
    }

    /// What a SweepRollout needs next, and how it stands by its object. `targets`: the containers that it and its
    /// policy name now.
    pub fn rollout_next(&self, name: &str, targets: &[Target]) -> Option<(Next, RolloutStatus)> {
        let rollout = self.rollouts.get(name)?;
        let sweeps = self.sweeps.values().filter(|entry| entry.rollout.as_deref() == Some(name));
        let next = batch::next(&rollout.spec, rollout.generation, &rollout.status, sweeps, targets);
        Some((next, rollout.status.clone()))
    }

    /// What a guard says; `asked_at` on this process's clock.
    pub fn observe_answer(&mut self, question: &Question, answer: Answer, asked_at: Duration) {
        self.guards.hear(question, answer, asked_at);
    }

    /// What the last turn wanted to know besides.
    pub fn wants(&self) -> &Wants {
        &self.wants
    }

    /// Sweeps that were not taken up since [`MAX_SWEEPS`] are known.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Slots that there are.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Names of the slots.
    pub fn slot_names(&self) -> impl Iterator<Item = &String> {
        self.slots.names()
    }

    /// Sweeps that are known.
    pub fn sweeps(&self) -> usize {
        self.sweeps.len()
    }
}

fn key_of(sweep: &Sweep) -> Option<SweepKey> {
    let namespace = sweep.metadata.namespace.clone()?;
    let name = sweep.metadata.name.clone()?;
    Some(SweepKey { namespace, name })
}
