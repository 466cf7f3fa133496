//! What the Kubernetes API shows of a container's health, before a sweep and after it. Pure.
//!
//! In: two looks at its pod. Out: a [`Finding`], where they differ for the worse. Must never: take a pod that somebody
//! deletes for one that the sweep has harmed.

use serde::{Deserialize, Serialize};

use super::{Finding, Sign};

/// One look. The kubelet reports within a second or two of what it sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSigns {
    /// How often the kubelet has started it anew.
    pub restarts: u32,
    /// The OOM killer made its newest end.
    pub oom_killed: bool,
    /// When it last ended in a failure, seconds since 1970 on the kubelet's clock: compared with itself only.
    pub failed_at: Option<i64>,
    /// Whether it counts as ready; `None` where it is never asked.
    pub ready: Option<bool>,
    /// The kubelet has evicted its pod.
    pub evicted: bool,
    /// Somebody has deleted its pod.
    pub leaving: bool,
}

impl PodSigns {
    /// Why the container ended, or is about to. Asked before its processes are: an eviction and a rollout end them,
    /// too, and mean something else.
    pub(super) fn ended(before: Option<Self>, now: Option<Self>) -> Option<Finding> {
        let (before, now) = (before?, now?);
        if now.evicted && !before.evicted {
            return Some(Finding::new(Sign::Evicted, "the kubelet evicted its pod"));
        }
        if now.leaving {
            return Some(Finding::new(
                Sign::PodDeleted,
                "its pod was deleted: how it fares can no longer be seen",
            ));
        }
        let restarts = now.restarts.saturating_sub(before.restarts);
        if restarts == 0 {
            return Self::failed(before, now);
        }
        let times = format!("the kubelet has started it {restarts} times since the sweep began");
        Some(if now.oom_killed {
            Finding::new(Sign::OomKilled(restarts.into()), format!("{times}, after an OOM kill"))
        } else {
            Finding::new(Sign::Restarted, times)
        })
    }

    /// It has not been started anew: the kubelet waits, or never will.
    fn failed(before: Self, now: Self) -> Option<Finding> {
        (now.failed_at > before.failed_at).then(|| {
            if now.oom_killed {
                Finding::new(Sign::OomKilled(1), "the OOM killer ended it since the sweep began")
            } else {
                Finding::new(Sign::Gone, "it ended in a failure since the sweep began")
            }
        })
    }

    /// What a container has suffered that nobody sweeps, in a pod that nobody deletes.
    pub fn harm(before: Self, now: Self) -> Option<Finding> {
        Self::ended(Some(before), Some(now)).or_else(|| Self::not_ready(Some(before), Some(now)))
    }

    /// Whether it ceased to be ready.
    pub(super) fn not_ready(before: Option<Self>, now: Option<Self>) -> Option<Finding> {
        (before?.ready == Some(true) && now?.ready == Some(false))
            .then(|| Finding::new(Sign::NotReady, "it is not ready now and was before the sweep"))
    }
}
