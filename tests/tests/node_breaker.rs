//! A container that comes to harm after its sweep stops the sweeps of its workload, also through a restart of the
//! agent, until time or a person lets them flow again. So does a person's pause.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::time::Duration;

use podsweep::report::{Health, Phase};
use podsweep_tests::agent::Agent;
use podsweep_tests::container::Container;
use podsweep_tests::policies::Scratch;
use podsweep_tests::wait;
use podsweep_tests::workload::Plan;
use serde_json::{Value, json};

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const STORM_WITHIN: Duration = Duration::from_mins(1);
const OBSERVED_WITHIN: Duration = Duration::from_mins(1);

/// An agent, and a container with some old junk. Observation is long enough to do harm in it.
fn container_and_agent() -> (Agent, Container) {
    let mut container = Container::start(PREFIX).unwrap();
    let policy = Scratch::by_hand("scratch").of(&container).replace("observe: 2s", "observe: 1m");
    let agent = Agent::start(PREFIX, &[("scratch", &policy)]).unwrap();
    agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    container.storm(&Plan { odd: 0, ..Plan::small(500) }, STORM_WITHIN).unwrap();
    container.grow_old();
    (agent, container)
}

fn breakers(agent: &Agent) -> Vec<Value> {
    let answer = agent.api().ask("GET", "/v1/breakers", None).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let list: Value = serde_json::from_str(&answer.body).unwrap();
    list["breakers"].as_array().unwrap().clone()
}

fn open_workload(agent: &Agent) -> Option<String> {
    let breakers = breakers(agent);
    let open = breakers.iter().find(|breaker| breaker["state"] == "Open" && breaker["name"] != "global")?;
    Some(open["name"].as_str().unwrap().to_owned())
}

/// The word with which a sweep is refused; `None`: it was accepted.
fn refusal(agent: &Agent, container: &Container) -> Option<String> {
    agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    let body = json!({"target": container.cgroup().path(), "policy": "scratch"});
    let answer = agent.api().ask("POST", "/v1/sweeps", Some(&body)).unwrap();
    if answer.status == 202 {
        return None;
    }
    let problem: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(problem["status"], answer.status, "{problem}");
    Some(problem["reason"].as_str().unwrap().to_owned())
}

#[test]
fn a_harmed_container_stops_its_workload_until_a_person_resets_the_breaker() {
    let (mut agent, mut container) = container_and_agent();
    let id = agent.api().request_sweep(&container.cgroup().path(), "scratch").unwrap();
    let observing = || Ok(agent.api().sweep(&id)?.phase == Phase::Observing);
    wait::until_true("the sweep removed and observes", OBSERVED_WITHIN, observing).unwrap();
    assert_eq!(open_workload(&agent), None);

    container.restart().unwrap();
    let record = agent.ended(&id, OBSERVED_WITHIN).unwrap();
    assert_eq!(record.health, Some(Health::Harmed), "{record:?}");
    let open = open_workload(&agent).expect("an open breaker");
    assert_eq!(refusal(&agent, &container).as_deref(), Some("BreakerOpen"));

    agent.kill().unwrap();
    agent.restart().unwrap();
    assert_eq!(open_workload(&agent).as_deref(), Some(open.as_str()));
    assert_eq!(refusal(&agent, &container).as_deref(), Some("BreakerOpen"));

    let path = format!("/v1/breakers/{}/reset", open.replace('/', "%2F"));
    let reset = agent.api().ask("POST", &path, None).unwrap();
    assert!((200..300).contains(&reset.status), "{} {}", reset.status, reset.body);
    assert_eq!(open_workload(&agent), None);
    assert_eq!(refusal(&agent, &container), None);
}

#[test]
fn a_frozen_container_is_harmed() {
    let (agent, container) = container_and_agent();
    let id = agent.api().request_sweep(&container.cgroup().path(), "scratch").unwrap();
    let observing = || Ok(agent.api().sweep(&id)?.phase == Phase::Observing);
    wait::until_true("the sweep removed and observes", OBSERVED_WITHIN, observing).unwrap();

    let freeze = container.cgroup().directory().join("cgroup.freeze");
    std::fs::write(&freeze, "1").unwrap();
    let record = agent.ended(&id, OBSERVED_WITHIN);
    std::fs::write(&freeze, "0").unwrap();
    let record = record.unwrap();
    assert_eq!(record.health, Some(Health::Harmed), "{record:?}");
    assert_eq!(record.health_reason.as_deref(), Some("Frozen"));
}

#[test]
fn a_pause_outlives_the_agent() {
    let (mut agent, container) = container_and_agent();
    let pause = agent.api().ask("POST", "/v1/pause", Some(&json!({"reason": "release day"}))).unwrap();
    assert!((200..300).contains(&pause.status), "{} {}", pause.status, pause.body);
    assert_eq!(refusal(&agent, &container).as_deref(), Some("Paused"));

    agent.kill().unwrap();
    agent.restart().unwrap();
    assert_eq!(refusal(&agent, &container).as_deref(), Some("Paused"));

    let resume = agent.api().ask("POST", "/v1/resume", None).unwrap();
    assert!((200..300).contains(&resume.status), "{} {}", resume.status, resume.body);
    assert_eq!(refusal(&agent, &container), None);
}

#[test]
fn an_oom_kill_after_a_sweep_is_harm() {
    let (agent, container) = container_and_agent();
    container.cgroup().limit_memory(96 << 20).unwrap();
    let id = agent.api().request_sweep(&container.cgroup().path(), "scratch").unwrap();
    let observing = || Ok(agent.api().sweep(&id)?.phase == Phase::Observing);
    wait::until_true("the sweep removed and observes", OBSERVED_WITHIN, observing).unwrap();

    // Its buffer is twice what the container may have.
    let eater = container
        .exec(&["/bin/busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=192M", "count=1"])
        .unwrap();
    assert!(!eater.status.success(), "nobody was killed: {eater:?}");
    assert!(container.is_running(), "the service itself was killed");
    let record = agent.ended(&id, OBSERVED_WITHIN).unwrap();
    assert_eq!(record.health, Some(Health::Harmed), "{record:?}");
    assert_eq!(record.health_reason.as_deref(), Some("OomKilled"));
    assert!(open_workload(&agent).is_some(), "{:?}", breakers(&agent));
}
