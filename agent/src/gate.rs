//! Everybody who may say no to a sweep, asked in the order of the levels; the first no stands.
//!
//! In: a container and the policy that wants it swept. Out: an [`Entry`], or the [`Refusal`]; to explain, the chain of
//! answers. The agent and the one-shot command ask the same gate. Must never: start anything.
//!
//! ```text
//! gate (permits, counts, the pause) -> levels (the questions, in their order) <- memory (what outlived a process)
//!                                      standing (explain: the whole chain)    <- pods (levels 2 and 3)
//! ```

mod levels;
mod memory;
mod pods;
mod standing;

use std::sync::{Arc, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::admission::{Admission, Permit};
use crate::breaker::{Board, Pass, workload_key};
use crate::config::Config;
use crate::control::view::Paused;
use crate::inventory::{CgroupId, Container};
use crate::operation::{Stores, keep_breakers, unix_now};
use crate::policy::chain::Chain;
use crate::policy::{NodeGuard, Refusal, SweepPolicy};
use crate::report::HistoryError;

pub use self::levels::Wanted;
pub(crate) use self::levels::none_running;
use self::levels::{Levels, request};
use self::memory::{Memory, keep_pause};
pub use self::standing::Standing;

/// What a sweep needs to begin: nobody said no.
pub struct Entry {
    /// The slot, with the time it is for.
    pub permit: Permit,
    /// What the breakers want back when the sweep is over.
    pub pass: Pass,
}

/// Levels 1 to 7, and of level 0 whether there is anything to sweep; the rest of that is the scanner's and the
/// sweeper's: it needs the file at hand.
pub struct Gate {
    stores: Arc<Stores>,
    levels: Levels,
}

impl Gate {
    /// As the node's config says, with the pause and the cool-downs that history remembers.
    pub fn new(config: &Config, stores: Arc<Stores>) -> anyhow::Result<Self> {
        let levels = Levels::new(config, Memory::of(&stores.history)?, stores.pods.clone())?;
        Ok(Self { stores, levels })
    }

    /// Levels 0 to 6: what can be said without asking for a slot. Changes nothing. `running`: the sweep of this
    /// container that has not ended.
    pub fn refusal(
        &self,
        container: &Container,
        policy: &Arc<SweepPolicy>,
        running: Option<&str>,
    ) -> Option<Refusal> {
        let chain = &mut Chain::default();
        self.levels
            .until_policy(container, Wanted::By(policy), chain)
            .and_then(|_| {
                self.levels.limits_and_breakers(container, running, |key| self.breakers(key), chain)
            })
            .err()
    }

    /// What every level says of a sweep of this container now: asked by nobody but those who want to know. Takes no
    /// slot, sends no probe, starts no cool-down.
    pub fn explain(&self, container: &Container, wanted: Wanted<'_>, running: Option<&str>) -> Standing {
        Standing::of(&self.levels, |key| self.breakers(key), container, wanted, running)
    }

    /// Level 1 without a container: the pause and the node's switch.
    pub fn closed(&self) -> Option<Refusal> {
        self.levels.closed()
    }

    /// All levels. The sweep that the permit is for counts from now on.
    pub async fn enter(&self, container: &Container, policy: &Arc<SweepPolicy>) -> Result<Entry, Refusal> {
        if let Some(refusal) = self.refusal(container, policy, None) {
            return Err(refusal);
        }
        let permit = self.levels.admission.ask(&request(container, policy)).await?;
        let pass = self.count(container)?;
        if pass.is_probe() {
            // An agent that is killed while the probe is out must not send another one at its next start.
            keep_breakers(&self.stores);
        }
        Ok(Entry { permit, pass })
    }

    /// Limits and breakers once more, for good and in one step with the count: several may have been let through up
    /// to here at once, and a half-open breaker lets exactly one probe through.
    fn count(&self, container: &Container) -> Result<Pass, Refusal> {
        let now = self.levels.clock.now();
        let mut limits = self.levels.limits();
        limits.allow(container.cgroup, now)?;
        let pass = self.board().allow(&workload_key(container), unix_now())?;
        limits.record(container.cgroup, now);
        Ok(pass)
    }

    /// The sweep is over: its container's cool-down begins.
    pub fn left(&self, container: CgroupId) {
        self.levels.limits().ended(container, self.levels.clock.now());
    }

    /// The node's own deny list of paths, and then the policy's.
    pub fn never(&self, policy: &SweepPolicy) -> Vec<String> {
        self.guard().never().iter().chain(&policy.spec.never).cloned().collect()
    }

    /// The node's own config as a guard.
    pub fn guard(&self) -> &NodeGuard {
        &self.levels.guard
    }

    /// The pause, if there is one.
    pub fn paused(&self) -> Option<Paused> {
        self.levels.paused().clone()
    }

    /// No new sweeps. Paused first, on record second: a disk that is full must not keep a person from stopping
    /// the agent.
    pub fn pause(&self, reason: &str) -> Result<(), HistoryError> {
        let paused = Some(Paused { since: Timestamp::now().to_string(), reason: reason.into() });
        self.levels.paused().clone_from(&paused);
        keep_pause(&self.stores.history, paused.as_ref())
    }

    /// Sweeps again. On record first: else the next start would find the agent paused that a person resumed.
    pub fn resume(&self) -> Result<(), HistoryError> {
        keep_pause(&self.stores.history, None)?;
        *self.levels.paused() = None;
        Ok(())
    }

    fn breakers(&self, workload: &str) -> Result<(), Refusal> {
        self.board().would_allow(workload, unix_now())
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.stores.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
