//! What the loop remembers of one container: its counts, its policy, its triggers, what was last answered. Pure: time
//! comes in as an argument, free space from the caller.

use std::sync::Arc;
use std::time::Duration;

use jiff::Zoned;

use super::super::admit;
use crate::inventory::Container;
use crate::kernel::Free;
use crate::observe::Counts;
use crate::policy::{Choice, Fired, Refusal, SweepPolicy, Triggers};

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

    /// Takes a choice of policy; triggers start anew only where the policy is another one.
    pub(super) fn choose(&mut self, choice: Choice, wall: &Zoned) {
        if let (Choice::One(old), Choice::One(new)) = (&self.choice, &choice)
            && old == new
        {
            return;
        }
        self.triggers = match &choice {
            Choice::One(policy) => triggers(policy, wall),
            _ => None,
        };
        (self.retry, self.waiting, self.quiet_until) = (None, None, Duration::ZERO);
        self.choice = choice;
    }

    /// What asks for a sweep at this tick, if anything does.
    pub(super) fn tick(&mut self, now: Duration, wall: &Zoned) -> Option<Fired> {
        let fired = self.triggers.as_mut()?.tick(now, wall, &self.counts, self.free);
        self.waiting = fired.or(self.waiting.take());
        if now < self.quiet_until {
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

    /// Somebody said no: asked again after a while, if the condition still holds then.
    pub(super) fn refused(&mut self, refusal: Refusal, now: Duration) {
        if self.refusal.as_ref().is_none_or(|last| last.reason != refusal.reason) {
            tracing::info!(
                container = self.container.short(),
                level = refusal.level,
                reason = refusal.reason,
                message = refusal.message,
                "no sweep"
            );
        }
        self.refusal = Some(refusal);
        self.quiet_until = now + ASK_AGAIN;
        self.rearm(now);
    }

    pub(super) fn rearm(&mut self, now: Duration) {
        self.waiting = None;
        if let Some(triggers) = &mut self.triggers {
            triggers.rearm(now);
        }
    }

    pub(super) fn retry_at(&mut self, at: Duration, attempt: u32) {
        self.retry = Some((at, attempt));
    }

    pub(super) fn retry_delay(&self, attempt: u32) -> Option<Duration> {
        match &self.choice {
            Choice::One(policy) => admit::retry_delay(policy, attempt),
            _ => None,
        }
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

fn triggers(policy: &SweepPolicy, wall: &Zoned) -> Option<Triggers> {
    Triggers::new(&policy.spec.triggers, wall)
        .inspect_err(|error| {
            tracing::error!(policy = policy.metadata.name, %error, "triggers do not work: only by hand");
        })
        .ok()
}
