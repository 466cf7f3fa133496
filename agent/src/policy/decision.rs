//! What the policy stage hands on: act or not, and why.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Mode, Reason, SweepPolicy};
use crate::inventory::CgroupId;

/// What asked for a sweep, with the figures that made it ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "trigger")]
pub enum Fired {
    /// Creates a second.
    #[serde(rename_all = "camelCase")]
    Burst {
        /// Average over the window.
        creates_per_second: f64,
        /// The policy's limit.
        limit: u64,
        /// Seconds for which it has held.
        held_seconds: f64,
    },
    /// Files a minute, net.
    #[serde(rename_all = "camelCase")]
    Growth {
        /// Average over the window.
        files_per_minute: f64,
        /// The policy's limit.
        limit: u64,
        /// Seconds for which it has held.
        held_seconds: f64,
    },
    /// Percent of inodes free.
    #[serde(rename_all = "camelCase")]
    NodeInodesFree {
        /// Now.
        free_percent: f64,
        /// The policy's floor.
        below: f64,
    },
    /// Percent of bytes free.
    #[serde(rename_all = "camelCase")]
    NodeBytesFree {
        /// Now.
        free_percent: f64,
        /// The policy's floor.
        below: f64,
    },
    /// Cron.
    Schedule {
        /// The expression.
        expression: String,
    },
    /// A person or a program asked.
    ByHand,
    /// A Sweep object of the cluster.
    Asked {
        /// Who made it: Agent, Rollout, Person.
        by: String,
        /// What its maker says it is for: `Burst`, …
        what: String,
    },
    /// A failed sweep tries again.
    Retry {
        /// Which attempt, from 1.
        attempt: u32,
    },
}

/// Levels from here on (entry limits, breakers, admission) say no for a time; those before it, for the most part, until
/// somebody changes a configuration, a policy or a switch.
const FIRST_PASSING_LEVEL: u8 = 5;

/// Who says no, in the order in which they are asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// 0 built in, 1 node config, 2 namespace, 3 pod, 4 policy, 5 entry limits, 6 breakers, 7 admission.
    pub level: u8,
    /// One stable word, a label of metrics: `Conflict`, `CoolDown`, `BreakerOpen`, …
    pub reason: String,
    /// A sentence for people: what said no, and what would change its mind.
    pub message: String,
}

impl Refusal {
    /// A no; its level is the reason's.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { level: reason.level(), reason: reason.as_str(), message: message.into() }
    }

    /// Whether time alone may change it: entry limits, breakers, admission, and a few words of the others.
    pub fn passes(&self) -> bool {
        self.level >= FIRST_PASSING_LEVEL || Reason::of_word(&self.reason).is_some_and(Reason::passes)
    }
}

/// Act or not.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Go on, this far.
    Act(Mode),
    /// Do not.
    Refuse(Refusal),
}

/// One answer of the policy stage about one container.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Which container.
    pub container: CgroupId,
    /// Which policy.
    pub policy: Arc<SweepPolicy>,
    /// What asked.
    pub fired: Fired,
    /// The answer.
    pub verdict: Verdict,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_has_not_told_yet_passes_and_what_a_person_said_does_not() {
        let passing: Vec<_> =
            Reason::ALL.into_iter().filter(|reason| Refusal::new(*reason, "").passes()).collect();
        for reason in
            [Reason::NamespaceUnknown, Reason::PodUnknown, Reason::ApiStale, Reason::CoolDown, Reason::NoSlot]
        {
            assert!(passing.contains(&reason), "{reason:?}");
        }
        for reason in [Reason::Paused, Reason::NamespaceDisabled, Reason::PodDisabled, Reason::NotSelected] {
            assert!(!passing.contains(&reason), "{reason:?}");
        }
    }
}
