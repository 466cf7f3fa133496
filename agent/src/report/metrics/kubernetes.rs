//! What the agent hears of the Kubernetes API. No series on a host by itself.

use std::time::Duration;

use prometheus::{IntCounterVec, IntGaugeVec, Result};

use super::{Metrics, Register};
use crate::kubernetes::WatchCounts;

pub(super) struct Kubernetes {
    current: IntGaugeVec,
    objects: IntGaugeVec,
    silence: IntGaugeVec,
    lists: IntCounterVec,
    events: IntCounterVec,
    failures: IntCounterVec,
    requests: IntCounterVec,
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
            requests: register.counters(
                "podsweep_kubernetes_requests_total",
                &["verb", "code"],
                "Requests to the Kubernetes API. Code `none`: no answer.",
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

    /// Counts requests by verb and code.
    pub fn kubernetes_requests(&self) -> IntCounterVec {
        self.kubernetes.requests.clone()
    }
}

impl WatchCounts for Metrics {
    fn listed(&self, resource: &'static str) {
        self.kubernetes.lists.with_label_values(&[resource]).inc();
    }

    fn event(&self, resource: &'static str) {
        self.kubernetes.events.with_label_values(&[resource]).inc();
    }

    fn failed(&self, resource: &'static str, reason: &'static str) {
        self.kubernetes.failures.with_label_values(&[resource, reason]).inc();
    }

    fn limit_reached(&self, limit: &'static str) {
        Self::limit_reached(self, limit);
    }
}
