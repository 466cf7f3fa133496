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

use std::collections::HashMap;
use std::time::Duration;

use super::entry::{Entry, Verdict};
use super::rules::Rules;
use super::wait::Wait;
use crate::kubernetes::resources::Wave;

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
    fn next(&self, rules: &Rules, now: Duration) -> Result<Wave, Wait<'static>> {
        let generation = rules.generation;
        let first = Wave { number: 1, size: rules.canary, generation };
        if self.older > 0 {
            return Err(Wait::Wave { wave: first, of: self.older });
        }
        let Some(wave) = self.wave else { return Ok(first) };
        let canary = Wave { number: wave.number + 1, size: rules.canary, generation };
        if let Some(at) = self.unknown_at {
            let over = at.saturating_add(rules.cool_down());
            if now < over {
                return Err(Wait::Paused { rest: over.saturating_sub(now) });
            }
        }
        let over_soon = self.unknown_at.is_some() || self.harmed > 0;
        if over_soon || self.members >= wave.size {
            if self.awaited > 0 {
                return Err(Wait::Wave { wave, of: self.awaited });
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
    places: HashMap<String, HashMap<String, usize>>,
}

impl Waves {
    /// Finds the tally of a Sweep; before anything else is asked about it in this turn.
    pub(super) fn place(&mut self, entry: &mut Entry) {
        let known = self.places.get(&entry.policy).and_then(|of_policy| of_policy.get(&entry.workload));
        // Of every Sweep in every turn: a name that is known is not copied.
        entry.tally = known.copied().unwrap_or_else(|| {
            let of_policy = self.places.entry(entry.policy.clone()).or_default();
            of_policy.insert(entry.workload.clone(), self.tallies.len());
            self.tallies.push(Tally::default());
            self.tallies.len() - 1
        });
    }

    /// Counts a Sweep; `rules` are its policy's.
    pub(super) fn count(&mut self, entry: &Entry, rules: &Rules) {
        match entry.wave {
            Some(wave) if wave.generation == rules.generation => self.tallies[entry.tally].count(entry),
            Some(_) if entry.verdict() == Verdict::Awaited => self.tallies[entry.tally].older += 1,
            _ => {}
        }
    }

    /// A slot is granted, or was, and the Sweep is not admitted yet.
    pub(super) fn expect(&mut self, entry: &Entry) {
        self.tallies[entry.tally].coming += 1;
    }

    /// Whether one more may come.
    pub(super) fn room(&self, entry: &Entry, rules: &Rules, now: Duration) -> Result<(), Wait<'static>> {
        let tally = &self.tallies[entry.tally];
        let wave = tally.next(rules, now)?;
        let taken = tally.members_of(wave) + tally.coming;
        if taken < wave.size { Ok(()) } else { Err(Wait::Wave { wave, of: taken }) }
    }

    /// The wave of one that has its slot.
    pub(super) fn admit(
        &mut self,
        entry: &Entry,
        rules: &Rules,
        now: Duration,
    ) -> Result<Wave, Wait<'static>> {
        let tally = &mut self.tallies[entry.tally];
        let wave = tally.next(rules, now)?;
        let before = tally.members_of(wave);
        let awaited = if before > 0 { tally.awaited } else { 0 };
        let coming = tally.coming.saturating_sub(1);
        *tally =
            Tally { wave: Some(wave), members: before + 1, awaited: awaited + 1, coming, ..Tally::default() };
        Ok(wave)
    }
}
