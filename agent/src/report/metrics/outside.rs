//! What was told outside the node, and what was not: Kubernetes Events, CloudEvents.

use prometheus::{IntCounter, IntCounterVec, Result};

use super::{Metrics, Register};

/// What became of an Event on a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Written.
    Sent,
    /// No room.
    Dropped,
    /// The API server did not take it.
    Failed,
}

/// Why a CloudEvent was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// Those before it had not gone yet.
    QueueFull,
    /// The collector answered that it does not want it.
    Refused,
    /// The collector did not answer, or could not take it, at any try.
    Unreachable,
    /// The agent ended.
    Ended,
}

pub(super) struct Outside {
    pod_events: IntCounterVec,
    cloud_events: IntCounter,
    retries: IntCounter,
    given_up: IntCounterVec,
}

impl Outside {
    pub(super) fn new(register: &mut Register) -> Result<Self> {
        Ok(Self {
            pod_events: register.counters(
                "podsweep_kubernetes_events_total",
                &["result"],
                "Kubernetes Events on pods. `sent`; `dropped`: there were too many; `failed`: the API server did not take \
                 it. What a series counts is one.",
            )?,
            cloud_events: register
                .counter("podsweep_cloud_events_sent_total", "CloudEvents that the collector took.")?,
            retries: register.counter(
                "podsweep_cloud_events_retries_total",
                "Further tries to send a CloudEvent, after the first.",
            )?,
            given_up: register.counters(
                "podsweep_cloud_events_dropped_total",
                &["reason"],
                "CloudEvents that were given up. `queue_full`: the collector is too slow; `refused`: it does not want it; \
                 `unreachable`: it took it at no try; `ended`: the agent ended.",
            )?,
        })
    }
}

impl Metrics {
    /// What became of one Kubernetes Event.
    pub fn pod_event(&self, told: Told) {
        let result = match told {
            Told::Sent => "sent",
            Told::Dropped => "dropped",
            Told::Failed => "failed",
        };
        self.outside.pod_events.with_label_values(&[result]).inc();
    }

    /// A CloudEvent was taken.
    pub fn cloud_event_sent(&self) {
        self.outside.cloud_events.inc();
    }

    /// A CloudEvent is tried once more.
    pub fn cloud_event_retried(&self) {
        self.outside.retries.inc();
    }

    /// A CloudEvent is given up.
    pub fn cloud_event_given_up(&self, why: GivenUp) {
        let reason = match why {
            GivenUp::QueueFull => "queue_full",
            GivenUp::Refused => "refused",
            GivenUp::Unreachable => "unreachable",
            GivenUp::Ended => "ended",
        };
        self.outside.given_up.with_label_values(&[reason]).inc();
    }
}
