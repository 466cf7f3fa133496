//! Makes metrics, registers them, and remembers what the reference says of each.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Counter, CounterVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result,
};

/// What the reference says of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) labels: Vec<String>,
    pub(super) help: String,
}

#[derive(Default)]
pub(super) struct Register {
    registry: Registry,
    entries: Vec<Entry>,
}

impl Register {
    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn counter(&mut self, name: &str, help: &str) -> Result<IntCounter> {
        self.add("counter", IntCounter::new(name, help)?)
    }

    pub(super) fn counters(&mut self, name: &str, labels: &[&str], help: &str) -> Result<IntCounterVec> {
        self.add("counter", IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn seconds(&mut self, name: &str, help: &str) -> Result<Counter> {
        self.add("counter", Counter::new(name, help)?)
    }

    pub(super) fn all_seconds(&mut self, name: &str, labels: &[&str], help: &str) -> Result<CounterVec> {
        self.add("counter", CounterVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Result<IntGauge> {
        self.add("gauge", IntGauge::new(name, help)?)
    }

    pub(super) fn gauges(&mut self, name: &str, labels: &[&str], help: &str) -> Result<IntGaugeVec> {
        self.add("gauge", IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn histogram(&mut self, name: &str, buckets: &[f64], help: &str) -> Result<Histogram> {
        self.add("histogram", Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
    }

    fn add<C: Collector + Clone + 'static>(&mut self, kind: &'static str, metric: C) -> Result<C> {
        self.registry.register(Box::new(metric.clone()))?;
        self.entries.extend(metric.desc().into_iter().map(|desc| Entry {
            name: desc.fq_name.clone(),
            kind,
            labels: desc.variable_labels.clone(),
            help: desc.help.clone(),
        }));
        Ok(metric)
    }
}
