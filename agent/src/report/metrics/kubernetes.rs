//! What the agent hears of the Kubernetes API. No series on a host by itself.

use std::time::Duration;

use prometheus::{IntCounterVec, IntGaugeVec, Result};

use super::{Metrics, Register};

pub(super) struct Kubernetes {
    current: IntGaugeVec,
    objects: IntGaugeVec,
    silence: IntGaugeVec,
    lists: IntCounterVec,
    events: IntCounterVec,
    failures: IntCounterVec,
}

impl Kubernetes {
    pub(super) fn new(register: &mut Register) -> Result<Self> {
        let resource = ["resource"];
        Ok(Self {
            current: register.gauges(
                "podsweep_kubernetes_watch_current",
                &resource,
                "1 while what this watch of the API told is held for true. 0: no sweep begins (`ApiStale`).",
            )?,
            objects: register.gauges(
                "podsweep_kubernetes_watch_objects",
                &resource,
                "Objects of the API that this watch keeps.",
            )?,
            silence: register.gauges(
                "podsweep_kubernetes_watch_silence_seconds",
                &resource,
                "Time since this watch last showed a sign of life: a list, an event, a bookmark. Up to 290 s is usual.",
            )?,
            lists: register.counters(
                "podsweep_kubernetes_watch_lists_total",
                &resource,
                "Times that everything was listed: at the start, and where a watch could not go on.",
            )?,
            events: register.counters(
                "podsweep_kubernetes_watch_events_total",
                &resource,
                "Events that this watch told, bookmarks included.",
            )?,
            failures: register.counters(
                "podsweep_kubernetes_watch_failures_total",
                &["resource", "reason"],
                "Lists and watches that failed. `Expired` is usual; `Forbidden`, `Unauthorized` and `NotFound` need a person.",
            )?,
        })
    }
}

impl Metrics {
    /// How a watch is doing. `resource`: a word of the program, here and below.
    pub fn kubernetes_watch(&self, resource: &str, objects: usize, silence: Option<Duration>, current: bool) {
        let kubernetes = &self.kubernetes;
        kubernetes.current.with_label_values(&[resource]).set(current.into());
        kubernetes.objects.with_label_values(&[resource]).set(i64::try_from(objects).unwrap_or(i64::MAX));
        if let Some(silence) = silence {
            let seconds = i64::try_from(silence.as_secs()).unwrap_or(i64::MAX);
            kubernetes.silence.with_label_values(&[resource]).set(seconds);
        }
    }

    /// Everything of a resource was listed.
    pub fn kubernetes_listed(&self, resource: &str) {
        self.kubernetes.lists.with_label_values(&[resource]).inc();
    }

    /// A watch told something.
    pub fn kubernetes_event(&self, resource: &str) {
        self.kubernetes.events.with_label_values(&[resource]).inc();
    }

    /// A list or a watch failed. `reason`: a word of the program.
    pub fn kubernetes_watch_failed(&self, resource: &str, reason: &str) {
        self.kubernetes.failures.with_label_values(&[resource, reason]).inc();
    }
}
