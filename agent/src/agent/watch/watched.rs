//! What the loop remembers of one container: its counts, its policy, its triggers, what was last answered. Pure: time
//! comes in as an argument, free space from the caller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Zoned;

use super::super::admit;
use crate::inventory::{CgroupId, Container};
use crate::kernel::Free;
use crate::observe::Counts;
use crate::policy::{Choice, Fired, Refusal, SweepPolicy, Triggers};
use crate::report::SweepRecord;

/// After a no, the same wish is not repeated for this long: long enough to keep log and metrics calm, short against
/// the cool-downs and windows that say no.
const ASK_AGAIN: Duration = Duration::from_secs(10);

pub(super) struct Watched {
    pub(super) container: Arc<Container>,
    /// Of all its cgroups, also those that have ended.
    pub(super) counts: Counts,
    /// Of nested cgroups that have ended.
    pub(super) ended: Counts,
    pub(super) choice: Choice,
    pub(super) refusal: Option<Refusal>,
    pub(super) last_sweep: Option<String>,
    pub(super) free: Option<Free>,
    triggers: Option<Triggers>,
    retry: Option<(Duration, u32)>,
    quiet_until: Duration,
    waiting: Option<Fired>,
}

impl Watched {
    pub(super) fn new(container: Arc<Container>, choice: Choice, wall: &Zoned) -> Self {
        let mut watched = Self {
            container,
            counts: Counts::default(),
            ended: Counts::default(),
            choice: Choice::None,
            refusal: None,
            last_sweep: None,
            free: None,
            triggers: None,
            retry: None,
            quiet_until: Duration::ZERO,
            waiting: None,
        };
        watched.choose(choice, wall);
        watched
    }

    /// What all its cgroups have done, also those that have ended.
    pub(super) fn total(&self, counts: &BTreeMap<CgroupId, Counts>) -> Counts {
        let mut total = self.ended;
        let cgroups = std::iter::once(&self.container.cgroup).chain(&self.container.nested);
        cgroups.filter_map(|cgroup| counts.get(cgroup)).for_each(|counts| total.add(counts));
        total
    }

    /// Takes a choice of policy; triggers start anew only where the policy is another one.
    pub(super) fn choose(&mut self, choice: Choice, wall: &Zoned) {
        let same = self.choice == choice;
        // Equal, but after a reload another object: it is told apart by address (`policies_in_force`).
        self.choice = choice;
        if same {
            return;
        }
        self.triggers = match &self.choice {
            Choice::One(policy) => triggers(policy, wall),
            _ => None,
        };
        (self.retry, self.waiting, self.quiet_until) = (None, None, Duration::ZERO);
        self.refusal = match &self.choice {
            Choice::Conflict(_) => self.choice.policy().err().inspect(|refusal| self.tell(refusal)),
            _ => None,
        };
    }

    /// What asks for a sweep at this tick, if anything does. `sweeping`: one of this container has not ended; what
    /// fires meanwhile is no wish of its own.
    pub(super) fn tick(&mut self, now: Duration, wall: &Zoned, sweeping: bool) -> Option<Fired> {
        let fired = self.triggers.as_mut()?.tick(now, wall, &self.counts, self.free);
        self.waiting = fired.or(self.waiting.take());
        if sweeping || now < self.quiet_until {
            return None;
        }
        if let Some((at, attempt)) = self.retry {
            if now < at {
                return None;
            }
            self.retry = None;
            return Some(Fired::Retry { attempt });
        }
        self.waiting.take()
    }

    /// Somebody said no: asked again after a while, if the condition still holds then. What has no condition that
    /// could hold (a retry, a moment of the schedule) waits for a no that time changes, and is gone after any other.
    pub(super) fn refused(&mut self, refusal: Refusal, fired: Fired, now: Duration) {
        if self.refusal.as_ref().is_none_or(|last| last.reason != refusal.reason) {
            self.tell(&refusal);
        }
        self.quiet_until = now + ASK_AGAIN;
        self.rearm(now);
        if refusal.passes() {
            match fired {
                Fired::Retry { attempt } => self.retry = Some((self.quiet_until, attempt)),
                Fired::Schedule { .. } => self.waiting = Some(fired),
                _ => {}
            }
        }
        self.refusal = Some(refusal);
    }

    fn tell(&self, refusal: &Refusal) {
        tracing::info!(
            container = self.container.short(),
            level = refusal.level,
            reason = refusal.reason,
            // Not "message": that is the line's own.
            detail = refusal.message,
            "no sweep"
        );
    }

    /// A sweep of this container is over: it is tried again, or the triggers are asked anew. After the last try
    /// neither: what still holds has been given up, and must end before it can ask again.
    pub(super) fn sweep_ended(&mut self, record: &SweepRecord, now: Duration) {
        self.waiting = None;
        match self.policy_to_retry(record).map(|policy| admit::retry_delay(policy, record.attempt)) {
            Some(Some(delay)) => self.retry = Some((now + delay, record.attempt + 1)),
            Some(None) => {}
            None => self.rearm(now),
        }
        self.refusal.clone_from(&record.refusal);
    }

    fn rearm(&mut self, now: Duration) {
        self.waiting = None;
        if let Some(triggers) = &mut self.triggers {
            triggers.rearm(now);
        }
    }

    /// Only what this policy itself asked for, and as it would ask for it now: a person's dry run that failed must
    /// not come back as a sweep that removes.
    fn policy_to_retry(&self, record: &SweepRecord) -> Option<&SweepPolicy> {
        let Choice::One(policy) = &self.choice else { return None };
        let own =
            is_own(&record.fired) && record.policy == policy.metadata.name && record.mode == policy.spec.mode;
        (own && admit::worth_another_try(record)).then_some(policy)
    }

    pub(super) fn policy_name(&self) -> Option<String> {
        match &self.choice {
            Choice::One(policy) => Some(policy.metadata.name.clone()),
            _ => None,
        }
    }

    pub(super) fn wants_free(&self) -> bool {
        self.triggers.as_ref().is_some_and(Triggers::wants_free)
    }
}

/// In a cluster every sweep comes by way of a Sweep object; this agent's own say so.
fn is_own(fired: &Fired) -> bool {
    match fired {
        Fired::ByHand => false,
        Fired::Asked { by, .. } => by == "Agent",
        _ => true,
    }
}

fn triggers(policy: &SweepPolicy, wall: &Zoned) -> Option<Triggers> {
    Triggers::new(&policy.spec.triggers, wall)
        .inspect_err(|error| {
            tracing::error!(policy = policy.metadata.name, %error, "triggers do not work: only by hand");
        })
        .ok()
}

#[cfg(test)]
mod tests;
