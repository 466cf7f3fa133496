//! From what is known to what must be written. One turn; whatever it asks for and is not done, the next asks for again.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::crowd::Crowd;
use super::entry::{Entry, SLOT_LOST, Verdict};
use super::index::{Index, Rollout};
use super::key::SweepKey;
use super::rules::Rules;
use super::step::Step;
use super::waves::{Wait, Waves};
use crate::kubernetes::resources::SweepPhase;
use crate::policy::{Mode, Reason, WorkloadBreaker};
use crate::report::Health;

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
    pub waiting: BTreeMap<String, u64>,
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
        self.hear_of_ends(circumstances);
        self.circuits.tick(circumstances.now, circumstances.wall);
        let mut steps = self.circuits.steps();
        self.count_harms(&mut steps);
        let mut turn = Turn::of(self, circumstances);
        turn.close(self, &mut steps);
        turn.admit(self, &mut steps);
        turn.grant(self, &mut steps);
        turn.figures.slots_taken = self.slots.taken(circumstances.now) as u64;
        turn.figures.breakers = self.circuits.count();
        (steps, turn.figures)
    }

    /// Tells the breakers how sweeps ended.
    fn hear_of_ends(&mut self, Circumstances { now, wall, .. }: &Circumstances) {
        for key in std::mem::take(&mut self.ended) {
            let Some(entry) = self.sweeps.get(&key) else { continue };
            let workload = entry.workload.clone();
            match entry.verdict() {
                Verdict::Healthy => self.circuits.healthy(&workload),
                Verdict::Unknown => self.circuits.unknown(&workload, *now, *wall),
                Verdict::Harmed if !entry.harm_counted => {
                    let limits = self
                        .rules
                        .get(&entry.policy)
                        .map_or_else(WorkloadBreaker::default, |rules| rules.breaker);
                    if self.threshold_reached(&workload, &limits, *now) {
                        let sign = entry.health_reason.as_deref().unwrap_or("Harmed");
                        let cause = format!("{sign} after sweep {key}");
                        self.circuits.open(
                            &workload,
                            cause,
                            limits.cool_down.0,
                            self.settings.global,
                            *now,
                            *wall,
                        );
                    }
                }
                Verdict::Harmed | Verdict::Awaited | Verdict::Untouched => {}
            }
        }
    }

    /// Whether the harms of a workload within its cool-down open its breaker.
    fn threshold_reached(&self, workload: &str, limits: &WorkloadBreaker, now: Duration) -> bool {
        let mut times: BTreeMap<u8, u32> = BTreeMap::new();
        let lately =
            |entry: &&Entry| entry.ended_at.is_some_and(|at| now <= at.saturating_add(limits.cool_down.0));
        let of_workload = self.sweeps.values().filter(|entry| entry.workload == workload);
        for entry in of_workload.filter(|entry| entry.health == Some(Health::Harmed)).filter(lately) {
            *times.entry(kind(entry)).or_default() += 1;
        }
        let needed = [limits.restarts, limits.oom_kills, limits.not_ready, 1];
        times.into_iter().any(|(kind, times)| times >= needed[usize::from(kind)].max(1))
    }

    /// Marks the harms of which the breakers have heard, once that is on the API server.
    fn count_harms(&self, steps: &mut Vec<Step>) {
        let heard = self.sweeps.iter().filter(|(_, entry)| {
            entry.verdict() == Verdict::Harmed
                && !entry.harm_counted
                && self.circuits.is_saved(&entry.workload)
        });
        steps.extend(heard.map(|(key, _)| Step::CountHarm { sweep: key.clone() }));
    }
}

// The policy's thresholds: restarts, OOM kills, not ready; of anything else one is enough.
fn kind(entry: &Entry) -> u8 {
    match entry.health_reason.as_deref() {
        Some("Restarted" | "Gone") => 0,
        Some("OomKilled") => 1,
        Some("NotReady") => 2,
        _ => 3,
    }
}

/// One turn's view.
struct Turn {
    now: Duration,
    hours: Result<(), String>,
    /// Which slot each Sweep holds.
    slots: BTreeMap<SweepKey, String>,
    crowd: Crowd,
    waves: Waves,
    figures: Figures,
}

impl Turn {
    fn of(index: &mut Index, Circumstances { now, hours, .. }: &Circumstances) -> Self {
        let held = index.slots.holders(*now).into_iter();
        let slots: BTreeMap<_, _> = held
            .filter(|(key, (_, uid))| index.sweeps.get(key).is_some_and(|entry| entry.uid == *uid))
            .map(|(key, (slot, _))| (key, slot))
            .collect();
        let mut turn = Self {
            now: *now,
            hours: hours.clone(),
            slots,
            crowd: Crowd::default(),
            waves: Waves::default(),
            figures: Figures::default(),
        };
        for entry in index.sweeps.values_mut() {
            entry.has_slot = false;
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
    fn admit(&mut self, index: &Index, steps: &mut Vec<Step>) {
        for (key, slot) in &self.slots {
            let Some(entry) = index.sweeps.get(key).filter(|entry| entry.phase == SweepPhase::Pending) else {
                continue;
            };
            let Some(rules) = index.rules.get(&entry.policy) else { continue };
            let stopped = entry.abort || index.circuits.stops(&entry.workload).is_some();
            if let (false, Ok(wave)) = (stopped, self.waves.admit(entry, rules, self.now)) {
                steps.push(Step::Admit { sweep: key.clone(), slot: slot.clone(), wave });
            }
        }
    }

    /// The free slots, to the most urgent that may run.
    fn grant(&mut self, index: &mut Index, steps: &mut Vec<Step>) {
        let mut free = index.slots.free(self.now).into_iter();
        let mut next = free.next();
        for (key, entry) in queue(&mut index.sweeps) {
            let Some(rules) = index.rules.get(&entry.policy) else { continue };
            let busy = self.crowd.has_workload(&entry.workload);
            let said =
                index.circuits.judge(&entry.workload, busy, self.now).and_then(|()| self.judge(entry, rules));
            let said = said.and_then(|()| next.take().ok_or_else(no_slot));
            match said {
                Ok((slot, version)) => {
                    steps.push(Step::Grant { slot, version, holder: entry.holder(key) });
                    self.crowd.add(entry, Some(rules));
                    self.waves.expect(entry);
                    next = free.next();
                }
                Err((reason, message)) => {
                    self.figures.oldest = self.figures.oldest.max(entry.notes.waited(self.now));
                    *self.figures.waiting.entry(reason.as_str()).or_default() += 1;
                    if entry.notes.worth_telling(&reason.as_str(), self.now) {
                        steps.push(Step::Note { sweep: key.clone(), reason: reason.as_str(), message });
                    }
                }
            }
        }
    }

    fn judge(&mut self, entry: &Entry, rules: &Rules) -> Result<(), Wait> {
        self.hours.clone().map_err(|message| (Reason::OutsideHours, message))?;
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

fn no_slot() -> Wait {
    (Reason::NoSlot, "all slots of the cluster are taken, or wait for their holder's time to be over".into())
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
    let harmed = entry.health == Some(Health::Harmed);
    let mut keep = entry.ttl.unwrap_or(keep);
    if harmed {
        keep = keep.max(least);
    }
    let over = entry.ended_at.is_some_and(|at| now >= at.saturating_add(keep));
    (over && (!harmed || entry.harm_counted)).then(|| Step::Forget { sweep: key.clone() })
}
