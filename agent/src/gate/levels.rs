//! The questions that are asked of a sweep as a whole, level by level, in the order in which they are asked. The one
//! place that knows this order: the gate takes its first no from here, and `explain` shows the chain.
//!
//! In: a container, the policy that wants it swept (or all policies). Out: a chain of answers, ending with the first
//! no. Must never: change anything, or take a slot.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::memory::Memory;
use super::pods::Pods;
use crate::admission::{LocalAdmission, LocalSettings, Request, Window};
use crate::breaker::workload_key;
use crate::config::Config;
use crate::control::view::Paused;
use crate::inventory::{CgroupId, Container};
use crate::kubernetes::Index;
use crate::operation::unix_now;
use crate::policy::chain::Chain;
use crate::policy::{EntryLimits, Mode, NodeGuard, PolicySet, Reason, Refusal, SweepPolicy, choose, select};
use crate::report::Outcome;
use crate::sweep::plan_roots;

/// Who wants the container swept.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// This policy.
    By(&'a Arc<SweepPolicy>),
    /// The one of these that acts on it.
    ByOneOf(&'a PolicySet),
}

/// All that the levels know.
pub(super) struct Levels {
    pub(super) guard: NodeGuard,
    /// Levels 2 and 3; `None` on a host by itself.
    pub(super) pods: Option<Pods>,
    pub(super) limits: Mutex<EntryLimits>,
    pub(super) admission: LocalAdmission,
    pub(super) paused: Mutex<Option<Paused>>,
    pub(super) clock: Clock,
    /// Why what an agent would remember is not known; a sweep is never begun with this set.
    pub(super) unknown: Option<String>,
}

/// Time since 1970 as it was at the start, moved on by the monotonic clock: a wall clock that is set back by years
/// must not turn a cool-down of minutes into one of years.
pub(super) struct Clock {
    started: Instant,
    since_1970: Duration,
}

impl Clock {
    fn start() -> Self {
        Self { started: Instant::now(), since_1970: unix_now() }
    }

    pub(super) fn now(&self) -> Duration {
        self.since_1970 + self.started.elapsed()
    }
}

impl Levels {
    /// As the node's config says, with what is remembered. `index`: what the agent's watches of the Kubernetes API tell.
    pub(super) fn new(config: &Config, memory: Memory, index: Option<Arc<Index>>) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let mut limits = EntryLimits::new(config.sweeps_per_minute, config.cool_down);
        remember(&mut limits, memory.records, clock.since_1970);
        let allowed_hours = windows(config)?;
        Ok(Self {
            guard: NodeGuard::new(config)?,
            pods: Pods::new(config, index),
            limits: Mutex::new(limits),
            admission: LocalAdmission::new(LocalSettings { slots: config.slots, allowed_hours }),
            paused: Mutex::new(memory.paused),
            clock,
            unknown: None,
        })
    }

    /// Levels 0 to 4. The policy, where nobody said no.
    pub(super) fn until_policy(
        &self,
        container: &Container,
        wanted: Wanted<'_>,
        chain: &mut Chain,
    ) -> Result<Arc<SweepPolicy>, Refusal> {
        let policy = match wanted {
            Wanted::By(policy) => Ok(Arc::clone(policy)),
            Wanted::ByOneOf(set) => choose(set, container).policy().cloned(),
        };
        if let Ok(policy) = &policy {
            let said = something_to_sweep(container, policy);
            chain.hear(0, "has the container storage in which the policy may look?", "yes", said)?;
        }
        self.hear(chain, 1, "has a person paused the agent?", "no", self.not_paused())?;
        chain.hear(1, "does the node's config let it be swept?", "yes", self.guard.allows(container))?;
        if let Some(pods) = &self.pods {
            pods.hear(container, chain)?;
        }
        match wanted {
            Wanted::By(policy) => {
                let question = format!("does policy {} select it?", policy.metadata.name);
                chain.hear(4, &question, "yes", selected(container, policy))?;
            }
            Wanted::ByOneOf(set) => {
                tell_selecting(container, set, chain);
                let well = policy.as_ref().map_or_else(|_| String::new(), |policy| acting(policy));
                chain.hear(
                    4,
                    "which policy acts?",
                    &well,
                    policy.as_ref().map(drop).map_err(Clone::clone),
                )?;
            }
        }
        if let Some(policy) = policy.as_ref().ok().filter(|policy| !policy.spec.rollout.guards.is_empty()) {
            let said = self.has_coordinator(policy);
            chain.hear(4, "is somebody there to ask its guards?", "yes, the coordinator", said)?;
        }
        policy
    }

    fn has_coordinator(&self, policy: &SweepPolicy) -> Result<(), Refusal> {
        if self.pods.is_some() {
            return Ok(());
        }
        let message = format!(
            "policy {} has rollout.guards, which a cluster's coordinator asks; this host is no node of one",
            policy.metadata.name
        );
        Err(Refusal::new(Reason::GuardsUnavailable, message))
    }

    /// Whether the policy's mode lets anything be scanned: asked to explain only, since a sweep by hand may run in
    /// another mode, and a policy that observes asks for none.
    pub(super) fn mode(policy: &SweepPolicy, chain: &mut Chain) -> Result<(), Refusal> {
        let said = match policy.spec.mode {
            Mode::Observe => {
                let message =
                    format!("policy {} is in mode Observe: nothing is scanned", policy.metadata.name);
                Err(Refusal::new(Reason::ObserveOnly, message))
            }
            Mode::DryRun | Mode::Enforce => Ok(()),
        };
        chain.hear(4, "does its mode let it look?", &format!("yes, {:?}", policy.spec.mode), said)
    }

    /// Levels 5 and 6. `running`: the sweep of this container that has not ended. `breakers`: asked with the workload's
    /// key, while nothing else is locked.
    pub(super) fn limits_and_breakers(
        &self,
        container: &Container,
        running: Option<&str>,
        breakers: impl FnOnce(&str) -> Result<(), Refusal>,
        chain: &mut Chain,
    ) -> Result<(), Refusal> {
        self.hear(chain, 5, "does a sweep of it run already?", "no", none_running(running))?;
        let limits = self.limits().allow(container.cgroup, self.clock.now());
        self.hear(chain, 5, "do cool-down and rate limit let one begin?", "yes", limits)?;
        let breakers = breakers(&workload_key(container));
        self.hear(chain, 6, "do the breakers let one through?", "yes", breakers)
    }

    /// Level 7. Takes no slot.
    pub(super) fn hours_and_slots(
        &self,
        container: &Container,
        policy: &SweepPolicy,
        chain: &mut Chain,
    ) -> Result<(), Refusal> {
        chain.hear(7, "is it within the node's hours?", "yes", self.admission.open_now())?;
        let said = self.admission.would_give(&request(container, policy));
        self.hear(chain, 7, "is a slot free, and nothing related at work?", "yes", said)
    }

    /// Level 1 without a container: the pause and the node's switch.
    pub(super) fn closed(&self) -> Option<Refusal> {
        self.not_paused().and_then(|()| self.guard.switched_on()).err()
    }

    pub(super) fn paused(&self) -> MutexGuard<'_, Option<Paused>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn limits(&self) -> MutexGuard<'_, EntryLimits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Of what must be remembered or is going on: known to an agent, or to whoever reads its records.
    fn hear(
        &self,
        chain: &mut Chain,
        level: u8,
        question: &str,
        well: &str,
        said: Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let Some(why) = &self.unknown else { return chain.hear(level, question, well, said) };
        chain.goes_on(level, question, format!("not known: {why}"));
        Ok(())
    }

    fn not_paused(&self) -> Result<(), Refusal> {
        let Some(Paused { since, reason }) = self.paused().clone() else { return Ok(()) };
        let message = format!("a person paused this agent at {since} ({reason}); `podsweep resume` ends it");
        Err(Refusal::new(Reason::Paused, message))
    }
}

/// What admission is asked for.
pub(super) fn request(container: &Container, policy: &SweepPolicy) -> Request {
    let namespace = container.names.namespace.clone();
    Request::new(&policy.metadata.name, &policy.spec, workload_key(container), namespace)
}

/// One sweep of a container at a time.
pub(crate) fn none_running(running: Option<&str>) -> Result<(), Refusal> {
    running.map_or(Ok(()), |id| {
        Err(Refusal::new(Reason::AlreadyRunning, format!("sweep {id} of this container has not ended")))
    })
}

fn tell_selecting(container: &Container, set: &PolicySet, chain: &mut Chain) {
    for (policy, matched) in set.matching(container) {
        let answer = match matched {
            Ok(()) => format!("yes, with priority {}", policy.spec.priority),
            Err(line) => format!("no, its `{line}` does not match"),
        };
        chain.goes_on(4, format!("does policy {} select it?", policy.metadata.name), answer);
    }
}

fn acting(policy: &SweepPolicy) -> String {
    policy.metadata.name.clone()
}

fn windows(config: &Config) -> anyhow::Result<Vec<Window>> {
    config.allowed_hours.iter().map(|hours| Ok(hours.parse()?)).collect()
}

fn something_to_sweep(container: &Container, policy: &SweepPolicy) -> Result<(), Refusal> {
    if !plan_roots(container, &policy.spec.junk).is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} has no storage in which policy {} may look: no overlayfs layer, and none of the volumes its rules name",
        container.short(),
        policy.metadata.name
    );
    Err(Refusal::new(Reason::NothingToSweep, message))
}

fn selected(container: &Container, policy: &SweepPolicy) -> Result<(), Refusal> {
    select::matches(&policy.spec.select, container).map_err(|line| {
        let (policy, container) = (&policy.metadata.name, container.short());
        let message =
            format!("policy {policy} does not select {container}: spec.select.{line} does not match it");
        Refusal::new(Reason::NotSelected, message)
    })
}

fn remember(limits: &mut EntryLimits, records: Vec<crate::report::SweepRecord>, now: Duration) {
    let swept = records.into_iter().filter(|record| record.outcome != Some(Outcome::Refused));
    // Newest first as listed; the last one told for a container stands.
    for record in swept.collect::<Vec<_>>().into_iter().rev() {
        let ended = record.ended_at.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
        if let Some(seconds) = ended.and_then(|at| u64::try_from(at.as_second()).ok()) {
            // Of a time when the clock was ahead: it cannot have been later than now.
            limits.ended(CgroupId(record.container.cgroup), Duration::from_secs(seconds).min(now));
        }
    }
}
