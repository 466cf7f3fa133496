//! How many containers of a workload may be swept before the next observation.
//!
//! ```text
//! wave 1: canary ── all healthy ──► wave 2: canary x growth ── all healthy ──► wave 3 …
//!            ▲                          │
//!            └── harmed, or a new policy generation: a canary again; unknown: only after a cool-down
//! ```
//!
//! The wave of each Sweep stands in its status: a new leader reads there what the last one knew. Sweeps that touched
//! nothing are no members: nothing was learned from them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::entry::{Entry, Verdict};
use super::rules::Rules;
use crate::kubernetes::resources::Wave;
use crate::policy::Reason;

/// Why a Sweep waits.
pub(super) type Wait = (Reason, String);

/// The newest wave of one workload and policy.
#[derive(Debug, Default)]
pub(super) struct Tally {
    wave: Option<Wave>,
    members: u32,
    awaited: u32,
    harmed: u32,
    /// When the last member ended of which nobody knows how its container fared.
    unknown_at: Option<Duration>,
    /// Have a slot and no wave yet.
    coming: u32,
    /// Of waves of another generation of the policy, and not ended.
    older: u32,
}

impl Tally {
    fn count(&mut self, entry: &Entry) {
        let Some(wave) = entry.wave else { return };
        if self.wave.is_none_or(|newest| newest.number < wave.number) {
            *self = Self { wave: Some(wave), coming: self.coming, older: self.older, ..Self::default() };
        }
        if self.wave.is_some_and(|newest| newest.number > wave.number) {
            return;
        }
        match entry.verdict() {
            Verdict::Untouched => return,
            Verdict::Awaited => self.awaited += 1,
            Verdict::Harmed => self.harmed += 1,
            Verdict::Unknown => self.unknown_at = self.unknown_at.max(entry.ended_at),
            Verdict::Healthy => {}
        }
        self.members += 1;
    }

    /// The wave that the next one would be in.
    fn next(&self, rules: &Rules, now: Duration) -> Result<Wave, Wait> {
        let generation = rules.generation;
        let first = Wave { number: 1, size: rules.canary, generation };
        if self.older > 0 {
            return Err(observed(first, self.older));
        }
        let Some(wave) = self.wave else { return Ok(first) };
        let canary = Wave { number: wave.number + 1, size: rules.canary, generation };
        if let Some(at) = self.unknown_at {
            let over = at.saturating_add(rules.cool_down());
            if now < over {
                return Err(paused(over.saturating_sub(now)));
            }
        }
        let over_soon = self.unknown_at.is_some() || self.harmed > 0;
        if over_soon || self.members >= wave.size {
            if self.awaited > 0 {
                return Err(observed(wave, self.awaited));
            }
            let size = wave.size.saturating_mul(rules.growth);
            return Ok(if over_soon { canary } else { Wave { size, ..canary } });
        }
        Ok(wave)
    }

    fn members_of(&self, wave: Wave) -> u32 {
        if self.wave.is_some_and(|newest| newest.number == wave.number) { self.members } else { 0 }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Waves {
    tallies: Vec<Tally>,
    /// Which of them, by policy and by workload.
    places: BTreeMap<String, BTreeMap<String, usize>>,
}

impl Waves {
    /// Counts a Sweep; `rules` are its policy's.
    pub(super) fn count(&mut self, entry: &Entry, rules: &Rules) {
        match entry.wave {
            Some(wave) if wave.generation == rules.generation => self.tally(entry).count(entry),
            Some(_) if entry.verdict() == Verdict::Awaited => self.tally(entry).older += 1,
            _ => {}
        }
    }

    /// A slot is granted, or was, and the Sweep is not admitted yet.
    pub(super) fn expect(&mut self, entry: &Entry) {
        self.tally(entry).coming += 1;
    }

    /// Whether one more may come.
    pub(super) fn room(&mut self, entry: &Entry, rules: &Rules, now: Duration) -> Result<(), Wait> {
        let tally = self.tally(entry);
        let wave = tally.next(rules, now)?;
        let taken = tally.members_of(wave) + tally.coming;
        if taken < wave.size { Ok(()) } else { Err(observed(wave, taken)) }
    }

    /// The wave of one that has its slot.
    pub(super) fn admit(&mut self, entry: &Entry, rules: &Rules, now: Duration) -> Result<Wave, Wait> {
        let tally = self.tally(entry);
        let wave = tally.next(rules, now)?;
        let before = tally.members_of(wave);
        let awaited = if before > 0 { tally.awaited } else { 0 };
        let coming = tally.coming.saturating_sub(1);
        *tally =
            Tally { wave: Some(wave), members: before + 1, awaited: awaited + 1, coming, ..Tally::default() };
        Ok(wave)
    }

    // Asked for every Sweep in every turn: a name that is known is not copied.
    fn tally(&mut self, entry: &Entry) -> &mut Tally {
        let known = self.places.get(&entry.policy).and_then(|of_policy| of_policy.get(&entry.workload));
        let place = known.copied().unwrap_or_else(|| {
            let of_policy = self.places.entry(entry.policy.clone()).or_default();
            of_policy.insert(entry.workload.clone(), self.tallies.len());
            self.tallies.push(Tally::default());
            self.tallies.len() - 1
        });
        &mut self.tallies[place]
    }
}

fn observed(wave: Wave, of: u32) -> Wait {
    let message = format!(
        "wave {} of this workload may have {} containers, and {of} must be observed first",
        wave.number, wave.size
    );
    (Reason::WaveObserved, message)
}

fn paused(rest: Duration) -> Wait {
    let message = format!(
        "how the last sweep of this workload ended is unknown; a canary may try in {} s",
        rest.as_secs().max(1)
    );
    (Reason::WorkloadPaused, message)
}
