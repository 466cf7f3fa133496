//! From what is known to what must be written. One turn; whatever it asks for and is not done, the next asks for again.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::crowd::Crowd;
use super::entry::{Entry, SLOT_LOST, Verdict};
use super::guards::{Guards, Standing, questions};
use super::index::{Index, Rollout, Wants};
use super::key::SweepKey;
use super::neighbours::{Neighbours, Unread};
use super::notes::Corrections;
use super::observation::Observation;
use super::rules::Rules;
use super::step::Step;
use super::wait::Wait;
use super::waves::Waves;
use crate::kubernetes::resources::SweepPhase;
use crate::policy::{Mode, Reason};

/// A Sweep that runs and whose slot this process has not seen for this long has lost it: many times what one watch may
/// lag behind another.
const SLOT_UNSEEN: Duration = Duration::from_secs(30);

/// What a turn needs besides the index.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// On this process's monotonic clock.
    pub now: Duration,
    /// For people: the times in Breakers.
    pub wall: Timestamp,
    /// Whether sweeps may begin at this time of day; else why not.
    pub hours: Result<(), String>,
}

/// What a turn found, for metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Sweeps that wait, by what they wait for.
    pub waiting: BTreeMap<Reason, u64>,
    /// Sweeps that have a slot.
    pub running: u64,
    /// Slots that are taken.
    pub slots_taken: u64,
    /// How long the oldest that waits has been known to wait.
    pub oldest: Duration,
    /// Breakers that are open, half-open; whether the global one is open.
    pub breakers: (u64, u64, bool),
}

impl Index {
    /// One turn.
    pub fn decide(&mut self, circumstances: &Circumstances) -> (Vec<Step>, Figures) {
        self.look_at_workloads(circumstances);
        self.hear_of_ends(circumstances);
        self.circuits.tick(circumstances.now, circumstances.wall);
        let mut steps = self.circuits.steps();
        self.count_harms(&mut steps);
        self.tell(&mut steps);
        let mut turn = Turn::of(self, circumstances);
        turn.close(self, &mut steps);
        turn.admit(self, &mut steps);
        turn.grant(self, &mut steps);
        turn.figures.slots_taken = self.slots.taken(circumstances.now) as u64;
        turn.figures.breakers = self.circuits.count();
        self.guards.forget_but(&turn.wants.questions);
        self.wants = turn.wants;
        (steps, turn.figures)
    }
}

/// Whether what must be watched during a sweep can be.
enum Witness {
    Ready,
    /// In a moment.
    Awaited(Reason),
    /// No.
    Missing(Wait<'static>),
}

/// One turn's view.
struct Turn<'a> {
    now: Duration,
    hours: Result<(), &'a str>,
    /// Which slot each Sweep holds.
    slots: BTreeMap<SweepKey, String>,
    crowd: Crowd,
    waves: Waves,
    figures: Figures,
    wants: Wants,
}

impl<'a> Turn<'a> {
    fn of(index: &mut Index, Circumstances { now, hours, .. }: &'a Circumstances) -> Self {
        let held = index.slots.holders(*now).into_iter();
        let slots: BTreeMap<_, _> = held
            .filter(|(key, (_, uid))| index.sweeps.get(key).is_some_and(|entry| entry.uid == *uid))
            .map(|(key, (slot, _))| (key, slot))
            .collect();
        let mut turn = Self {
            now: *now,
            hours: hours.as_ref().copied().map_err(String::as_str),
            slots,
            crowd: Crowd::default(),
            waves: Waves::default(),
            figures: Figures::default(),
            wants: Wants::default(),
        };
        for entry in index.sweeps.values_mut() {
            entry.has_slot = false;
            turn.waves.place(entry);
        }
        for key in turn.slots.keys() {
            if let Some(entry) = index.sweeps.get_mut(key) {
                entry.has_slot = true;
            }
        }
        for entry in index.sweeps.values() {
            turn.count(entry, index.rules.get(&entry.policy));
        }
        turn
    }

    fn count(&mut self, entry: &Entry, rules: Option<&Rules>) {
        let has_slot = entry.has_slot && !entry.phase.is_ended();
        if has_slot || entry.phase.is_running() {
            self.crowd.add(entry, rules);
            self.figures.running += 1;
            self.want(entry, rules);
        }
        if let Some(rules) = rules {
            self.waves.count(entry, rules);
        }
        if has_slot && entry.phase == SweepPhase::Pending {
            self.waves.expect(entry);
        }
    }

    /// What is over, what must end, what is to be forgotten.
    fn close(&mut self, index: &mut Index, steps: &mut Vec<Step>) {
        let keep = index.settings.ttl;
        for (key, entry) in &mut index.sweeps {
            let rollout = entry.rollout.as_ref().and_then(|name| index.rollouts.get(name));
            match entry.phase {
                phase if phase.is_ended() => {
                    // Its waves are counted from its Sweeps.
                    if rollout.is_some_and(|rollout| !rollout.is_ended()) {
                        continue;
                    }
                    let least = index.rules.get(&entry.policy).map_or(Duration::ZERO, Rules::cool_down);
                    steps.extend(forget(key, entry, keep, least, self.now));
                }
                SweepPhase::Pending => {
                    if let Some((phase, reason, message)) =
                        hopeless(entry, index.rules.get(&entry.policy), rollout.is_some_and(Rollout::is_off))
                    {
                        steps.push(Step::End {
                            sweep: key.clone(),
                            phase,
                            reason: reason.to_owned(),
                            message,
                        });
                    }
                }
                phase => {
                    if let Some(lost) = lost(key, entry, self.now) {
                        steps.push(lost);
                    } else if phase != SweepPhase::Observing && entry.stop.is_none() {
                        let aborted = rollout.is_some_and(|rollout| rollout.spec.abort);
                        let breaker = index.circuits.stops(&entry.workload).map(Reason::as_str);
                        let why = breaker.or_else(|| aborted.then(|| "RolloutAborted".to_owned()));
                        steps.extend(why.map(|reason| Step::Stop { sweep: key.clone(), reason }));
                    }
                }
            }
        }
    }

    /// Who has a slot and does not know.
    fn admit(&mut self, index: &mut Index, steps: &mut Vec<Step>) {
        for (key, slot) in &self.slots {
            let waits = |entry: &&mut Entry| entry.phase == SweepPhase::Pending;
            let Some(entry) = index.sweeps.get_mut(key).filter(waits) else { continue };
            let Some(rules) = index.rules.get(&entry.policy) else { continue };
            if entry.abort || index.circuits.stops(&entry.workload).is_some() {
                continue;
            }
            // Without a look at the workload before the sweep nobody could say how it fares after it.
            let Ok(pods) = index.neighbours.read(entry.namespace()) else { continue };
            if index.guards.standing(&entry.policy, rules, self.now) != Standing::Hold {
                continue;
            }
            let Ok(wave) = self.waves.admit(entry, rules, self.now) else { continue };
            let begun = entry.observation.take();
            let observation = begun.unwrap_or_else(|| Box::new(Observation::begin(pods, entry.owner())));
            let others = observation.digest();
            entry.observation = Some(observation);
            steps.push(Step::Admit { sweep: key.clone(), slot: slot.clone(), wave, others });
        }
    }

    /// The free slots, to the most urgent that may run.
    fn grant(&mut self, index: &mut Index, steps: &mut Vec<Step>) {
        let mut free = index.slots.free(self.now).into_iter();
        let mut next = free.next();
        for (key, entry) in queue(&mut index.sweeps) {
            let Some(rules) = index.rules.get(&entry.policy) else { continue };
            let busy = || self.crowd.has_workload(&entry.workload);
            let said =
                index.circuits.judge(&entry.workload, busy, self.now).and_then(|()| self.judge(entry, rules));
            let said = said.and_then(|()| next.clone().ok_or(Wait::NoSlot));
            let (slot, version) = match said {
                Ok(slot) => slot,
                Err(wait) => {
                    steps.extend(self.waits(key, entry, &wait, &mut index.corrections));
                    continue;
                }
            };
            match self.witness(&index.neighbours, &index.guards, entry, rules) {
                Witness::Ready => {
                    steps.push(Step::Grant { slot, version, holder: entry.holder(key) });
                    self.crowd.add(entry, Some(rules));
                    self.waves.expect(entry);
                    entry.observation = None;
                    next = free.next();
                }
                Witness::Awaited(reason) => {
                    self.count_waiting(entry, reason);
                    // The slot is kept for it.
                    next = free.next();
                }
                Witness::Missing(wait) => {
                    steps.extend(self.waits(key, entry, &wait, &mut index.corrections));
                }
            }
        }
    }

    fn waits(
        &mut self,
        key: &SweepKey,
        entry: &mut Entry,
        wait: &Wait<'_>,
        corrections: &mut Corrections,
    ) -> Option<Step> {
        let reason = wait.reason();
        self.count_waiting(entry, reason);
        let notes = entry.notes.worth_telling(reason, self.now, corrections)?;
        let (reason, message) = (reason.as_str(), wait.to_string());
        Some(Step::Note { sweep: key.clone(), reason, message, notes })
    }

    fn count_waiting(&mut self, entry: &Entry, reason: Reason) {
        self.figures.oldest = self.figures.oldest.max(entry.notes.waited(self.now));
        *self.figures.waiting.entry(reason).or_default() += 1;
    }

    /// Asked last, of whoever else would run: a namespace is watched and guards are asked only for these, and for what
    /// runs.
    fn witness(&mut self, neighbours: &Neighbours, guards: &Guards, entry: &Entry, rules: &Rules) -> Witness {
        self.want(entry, Some(rules));
        let pods = neighbours.read(entry.namespace());
        if let Err(Unread::Because(why)) = &pods {
            return Witness::Missing(Wait::Neighbours(why.clone()));
        }
        match guards.standing(&entry.policy, rules, self.now) {
            Standing::Fails(guard, why) => Witness::Missing(Wait::GuardFails(guard, why)),
            Standing::Unknown(guard, why) => Witness::Missing(Wait::GuardUnknown(guard, why)),
            _ if pods.is_err() => Witness::Awaited(Reason::NeighboursUnknown),
            Standing::NotYet => Witness::Awaited(Reason::GuardUnknown),
            Standing::Hold => Witness::Ready,
        }
    }

    fn want(&mut self, entry: &Entry, rules: Option<&Rules>) {
        self.wants.namespaces.insert(entry.namespace().to_owned());
        if let Some(rules) = rules {
            self.wants.questions.extend(questions(&entry.policy, rules));
        }
    }

    fn judge(&self, entry: &Entry, rules: &Rules) -> Result<(), Wait<'a>> {
        self.hours.map_err(Wait::Hours)?;
        self.crowd.judge(entry, rules)?;
        self.waves.room(entry, rules, self.now)
    }
}

/// Who waits: the most urgent first, then the oldest.
fn queue(sweeps: &mut BTreeMap<SweepKey, Entry>) -> Vec<(&SweepKey, &mut Entry)> {
    let waits = |entry: &Entry| entry.phase == SweepPhase::Pending && !entry.abort && !entry.has_slot;
    let mut queue: Vec<_> = sweeps.iter_mut().filter(|(_, entry)| waits(entry)).collect();
    queue.sort_unstable_by_key(|(key, entry)| (Reverse(entry.urgency), entry.created, *key));
    queue
}

/// A Sweep that waits for what will not come.
fn hopeless(entry: &Entry, rules: Option<&Rules>, off: bool) -> Option<(SweepPhase, &'static str, String)> {
    if off {
        let name = entry.rollout.as_deref().unwrap_or_default();
        let message = format!("SweepRollout {name} ended before it began");
        return Some((SweepPhase::Aborted, "RolloutAborted", message));
    }
    if entry.abort {
        return Some((SweepPhase::Aborted, "AbortedByPerson", "its spec says abort: true".into()));
    }
    let policy = &entry.policy;
    let Some(rules) = rules else {
        return Some((SweepPhase::Skipped, "NoPolicy", format!("there is no SweepPolicy {policy}")));
    };
    if let Some(problem) = &rules.invalid {
        return Some((
            SweepPhase::Skipped,
            "PolicyInvalid",
            format!("SweepPolicy {policy} cannot be used: {problem}"),
        ));
    }
    let observes = rules.mode == Mode::Observe;
    observes.then(|| (SweepPhase::Skipped, "ObserveOnly", format!("SweepPolicy {policy} has mode Observe")))
}

/// A Sweep that runs, as far as it says itself, and whose slot is gone: its agent has stopped by its own clock.
fn lost(key: &SweepKey, entry: &mut Entry, now: Duration) -> Option<Step> {
    if entry.has_slot {
        entry.unslotted_since = None;
        return None;
    }
    let since = *entry.unslotted_since.get_or_insert(now);
    (now >= since.saturating_add(SLOT_UNSEEN)).then(|| Step::End {
        sweep: key.clone(),
        phase: SweepPhase::Aborted,
        reason: SLOT_LOST.into(),
        message: format!(
            "its slot was not renewed in time: the agent of node {} is gone or cut off",
            entry.node
        ),
    })
}

fn forget(key: &SweepKey, entry: &Entry, keep: Duration, least: Duration, now: Duration) -> Option<Step> {
    // A harm must stay for as long as it counts.
    let mut keep = entry.ttl.unwrap_or(keep);
    if entry.verdict() == Verdict::Harmed {
        keep = keep.max(least);
    }
    let over = entry.ended_at.is_some_and(|at| now >= at.saturating_add(keep));
    (over && !entry.has_uncounted_harm()).then(|| Step::Forget { sweep: key.clone() })
}
