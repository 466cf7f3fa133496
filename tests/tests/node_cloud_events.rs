//! A collector outside is told of sweeps and breakers, and one that hangs costs a sweep nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::time::Duration;

use podsweep::report::{Health, Outcome, Phase, SweepRecord};
use podsweep_tests::agent::Agent;
use podsweep_tests::collector::{Collector, Manner};
use podsweep_tests::container::Container;
use podsweep_tests::policies::Scratch;
use podsweep_tests::wait;
use podsweep_tests::workload::Plan;
use serde_json::json;

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const STORM_WITHIN: Duration = Duration::from_mins(1);
const SWEPT_WITHIN: Duration = Duration::from_mins(2);
const TOLD_WITHIN: Duration = Duration::from_mins(1);

/// An agent that tells this collector, and a container with some old junk.
fn container_and_agent(collector: &Collector, observe: &str) -> (Agent, Container) {
    let mut container = Container::start(PREFIX).unwrap();
    let policy =
        Scratch::by_hand("scratch").of(&container).replace("observe: 2s", &format!("observe: {observe}"));
    let settings = json!({"cloudEvents": {"url": collector.url(), "timeout": "1m"}, "coolDown": "0s"});
    let agent = Agent::start_with(PREFIX, &[("scratch", &policy)], &settings).unwrap();
    agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    container.storm(&Plan { odd: 0, ..Plan::small(500) }, STORM_WITHIN).unwrap();
    container.grow_old();
    (agent, container)
}

#[test]
fn a_collector_hears_of_the_sweep_and_of_the_breaker_that_its_harm_opened() {
    let collector = Collector::start(Manner::Takes).unwrap();
    let (agent, mut container) = container_and_agent(&collector, "1m");
    let id = agent.api().request_sweep(&container.cgroup().path(), "scratch").unwrap();
    let observing = || Ok(agent.api().sweep(&id)?.phase == Phase::Observing);
    wait::until_true("the sweep removed and observes", SWEPT_WITHIN, observing).unwrap();
    container.restart().unwrap();
    let record = agent.ended(&id, SWEPT_WITHIN).unwrap();
    assert_eq!(record.health, Some(Health::Harmed), "{record:?}");

    let subject = &record.container.name;
    let event = collector.event("io.podsweep.sweep.ended", subject, TOLD_WITHIN).unwrap();
    assert_eq!((event["specversion"].as_str(), event["id"].as_str()), (Some("1.0"), Some(id.as_str())));
    let told: SweepRecord = serde_json::from_value(event["data"].clone()).unwrap();
    assert_eq!((told.health, told.sweep.removed), (record.health, record.sweep.removed));
    let opened = || {
        let changed = |event: &serde_json::Value| {
            event["type"] == "io.podsweep.breaker.changed" && event["data"]["state"] == "Open"
        };
        Ok(collector.received().into_iter().find(changed))
    };
    let opened = wait::until("the collector has the breaker", TOLD_WITHIN, opened).unwrap();
    assert_eq!(opened["data"]["before"], "Closed", "{opened}");
    assert!(opened["subject"].as_str().unwrap().starts_with("workload/"), "{opened}");
}

#[test]
fn a_collector_that_hangs_costs_a_sweep_nothing() {
    let collector = Collector::start(Manner::Hangs).unwrap();
    let (agent, container) = container_and_agent(&collector, "1s");
    for _ in 0..2 {
        let id = agent.api().request_sweep(&container.cgroup().path(), "scratch").unwrap();
        let record = agent.ended(&id, SWEPT_WITHIN).unwrap();
        assert_eq!(record.outcome, Some(Outcome::Complete), "{record:?}");
    }
    // The first is still on its way: with a timeout of a minute it cannot have been given up.
    wait::until_true("the collector has the first", TOLD_WITHIN, || Ok(collector.received().len() == 1))
        .unwrap();
    let metrics = agent.api().metrics().unwrap();
    assert!(metrics.contains("podsweep_cloud_events_sent_total 0\n"), "{metrics}");
}
