//! The coordinator's metrics. Labels are fixed sets of words: reasons, states, steps.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::kubernetes::WatchCounts;
use crate::rollout::{Answer, Figures};

/// What Prometheus reads from a coordinator.
pub struct CoordinatorMetrics {
    registry: Registry,
    leader: IntGauge,
    sweeps: IntGauge,
    waiting: IntGaugeVec,
    oldest: IntGauge,
    running: IntGauge,
    slots: IntGaugeVec,
    breakers: IntGaugeVec,
    steps: IntCounterVec,
    requests: IntCounterVec,
    dropped: IntGauge,
    stale: IntGauge,
    watches: IntCounterVec,
    watched_namespaces: IntGauge,
    guards: IntCounterVec,
    turn: Histogram,
}

/// A histogram's buckets, seconds: a turn over 20,000 sweeps takes some tens of milliseconds.
const TURN_BUCKETS: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

impl CoordinatorMetrics {
    /// All at zero.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(format!("podsweep_coordinator_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let gauges = |name: &str, help: &str, label: &str| -> Result<IntGaugeVec, prometheus::Error> {
            let gauges = IntGaugeVec::new(Opts::new(format!("podsweep_coordinator_{name}"), help), &[label])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok(gauges)
        };
        let counters =
            |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
                let counters = IntCounterVec::new(Opts::new(format!("podsweep_{name}"), help), labels)?;
                registry.register(Box::new(counters.clone()))?;
                Ok(counters)
            };
        let options =
            HistogramOpts::new("podsweep_coordinator_turn_seconds", "Time to decide, without the writes")
                .buckets(TURN_BUCKETS.to_vec());
        let turn = Histogram::with_opts(options)?;
        registry.register(Box::new(turn.clone()))?;
        Ok(Self {
            leader: gauge("leader", "1 on the replica that leads")?,
            sweeps: gauge("sweeps", "Sweep objects that are known")?,
            waiting: gauges("waiting_sweeps", "Sweeps that wait, by what they wait for", "reason")?,
            oldest: gauge("oldest_wait_seconds", "How long the oldest waiting Sweep has been known to wait")?,
            running: gauge("running_sweeps", "Sweeps that have a slot")?,
            slots: gauges("slots", "Slot Leases, by state", "state")?,
            breakers: gauges("breakers", "Breakers, by state", "state")?,
            steps: counters(
                "coordinator_steps_total",
                "Writes asked for, by step and result",
                &["step", "result"],
            )?,
            requests: counters("kubernetes_requests_total", "Requests to the API server", &["verb", "code"])?,
            dropped: gauge("sweeps_dropped", "Sweep objects beyond the limit, not taken up")?,
            watches: counters(
                "coordinator_watch_events_total",
                "What watches of the API did: listed, event, or why one failed",
                &["resource", "event"],
            )?,
            watched_namespaces: gauge(
                "watched_namespaces",
                "Namespaces whose pods are watched, because something is swept there",
            )?,
            guards: counters(
                "coordinator_guard_answers_total",
                "Answers to guards' queries: holds, fails, unknown",
                &["answer"],
            )?,
            stale: gauge("stale", "1 while nothing is granted since a watch is cut off")?,
            turn,
            registry,
        })
    }

    /// Counts requests by verb and code.
    pub fn requests(&self) -> IntCounterVec {
        self.requests.clone()
    }

    pub(super) fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
        if !leads {
            // Only the leader's figures mean anything.
            self.watched_namespaces.set(0);
            for family in [&self.waiting, &self.slots, &self.breakers] {
                family.reset();
            }
        }
    }

    pub(super) fn stale(&self, stale: bool) {
        self.stale.set(stale.into());
    }

    pub(super) fn watched_namespaces(&self, count: usize) {
        self.watched_namespaces.set(number(count as u64));
    }

    pub(super) fn guard_answered(&self, answer: &Answer) {
        let word = match answer {
            Answer::Holds => "holds",
            Answer::Fails(_) => "fails",
            Answer::Unknown(_) => "unknown",
        };
        self.guards.with_label_values(&[word]).inc();
    }

    pub(super) fn stepped(&self, step: &str, result: &str) {
        self.steps.with_label_values(&[step, result]).inc();
    }

    pub(super) fn turned(&self, figures: &Figures, sweeps: usize, slots: usize, dropped: u64, took: f64) {
        self.turn.observe(took);
        self.sweeps.set(number(sweeps as u64));
        self.dropped.set(number(dropped));
        self.oldest.set(number(figures.oldest.as_secs()));
        self.running.set(number(figures.running));
        self.waiting.reset();
        for (reason, count) in &figures.waiting {
            self.waiting.with_label_values(&[reason.as_str()]).set(number(*count));
        }
        self.slots.with_label_values(&["taken"]).set(number(figures.slots_taken));
        self.slots
            .with_label_values(&["free"])
            .set(number((slots as u64).saturating_sub(figures.slots_taken)));
        let (open, half_open, global) = figures.breakers;
        for (state, count) in [("open", open), ("half-open", half_open), ("global", global.into())] {
            self.breakers.with_label_values(&[state]).set(number(count));
        }
    }

    /// The text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl WatchCounts for CoordinatorMetrics {
    fn listed(&self, resource: &'static str) {
        self.watches.with_label_values(&[resource, "Listed"]).inc();
    }

    fn event(&self, resource: &'static str) {
        self.watches.with_label_values(&[resource, "Event"]).inc();
    }

    fn failed(&self, resource: &'static str, reason: &'static str) {
        self.watches.with_label_values(&[resource, reason]).inc();
    }

    fn limit_reached(&self, limit: &'static str) {
        self.watches.with_label_values(&[limit, "LimitReached"]).inc();
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
