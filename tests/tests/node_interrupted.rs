//! A sweep whose container, or whose agent, is no longer there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use podsweep::report::{Outcome, Phase};
use podsweep_tests::agent::Agent;
use podsweep_tests::container::Container;
use podsweep_tests::listing::{Listing, list};
use podsweep_tests::policies::{SLOW, Scratch};
use podsweep_tests::wait;
use podsweep_tests::workload::Plan;

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const STORM_WITHIN: Duration = Duration::from_mins(1);
const ACCEPTED_WITHIN: Duration = Duration::from_secs(20);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// A container with thousands of old files, and an agent that would need a minute for them.
fn slow_sweep() -> (Agent, Container) {
    let mut container = Container::start(PREFIX).unwrap();
    let policy = Scratch { sweep: SLOW, ..Scratch::by_hand("slow") }.of(&container);
    let agent = Agent::start(PREFIX, &[("slow", &policy)]).unwrap();
    agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    container.storm(&Plan { odd: 0, ..Plan::small(6000) }, STORM_WITHIN).unwrap();
    container.grow_old();
    (agent, container)
}

/// The id of a new sweep. Asked again while a guard (cool-down, a slot not yet free) says no.
fn begin(agent: &Agent, container: &Container) -> String {
    let target = container.cgroup().path();
    wait::until("a sweep is accepted", ACCEPTED_WITHIN, || {
        Ok(agent.api().request_sweep(&target, "slow").ok())
    })
    .unwrap()
}

fn until_it_removes(agent: &Agent, id: &str) {
    wait::until_true("the sweep removes", STOPPED_WITHIN, || Ok(agent.api().sweep(id)?.sweep.removed >= 40))
        .unwrap();
}

fn storm_files(container: &Container) -> Listing {
    list(&container.root().unwrap(), &["/tmp", "/app/cache"]).unwrap()
}

#[test]
fn a_restart_in_mid_sweep_leaves_the_new_container_alone() {
    let (agent, mut container) = slow_sweep();
    let id = begin(&agent, &container);
    until_it_removes(&agent, &id);

    container.restart().unwrap();
    let left = storm_files(&container);
    let sweep = agent.ended(&id, STOPPED_WITHIN).unwrap();

    assert_eq!(sweep.outcome, Some(Outcome::Stopped), "{sweep:?}");
    assert!(sweep.reason.is_some());
    assert!(!left.is_empty(), "the sweep was over before the restart");
    assert_eq!(storm_files(&container), left);
    assert!(container.is_running());
}

#[test]
fn a_container_that_is_gone_stops_its_sweep() {
    let (agent, mut container) = slow_sweep();
    let cgroup = container.cgroup_id().unwrap();
    let id = begin(&agent, &container);
    until_it_removes(&agent, &id);

    container.kill().unwrap();
    let sweep = agent.ended(&id, STOPPED_WITHIN).unwrap();

    assert_eq!(sweep.outcome, Some(Outcome::Stopped), "{sweep:?}");
    wait::until_true("the agent forgets the container", SETTLED_WITHIN, || {
        Ok(agent.api().container(cgroup)?.is_none())
    })
    .unwrap();
    assert!(agent.api().is_ready());
    assert_eq!(agent.orphans(), Vec::<String>::new());
}

#[test]
fn an_agent_killed_at_any_point_leaves_no_orphan_and_no_open_sweep() {
    const KILLS: u32 = 5;
    let (mut agent, container) = slow_sweep();
    let mut begun = Vec::new();
    for kill in 0..KILLS {
        begun.push(begin(&agent, &container));
        let delay = random_delay();
        eprintln!("kill {kill}: {delay:?} after the request");
        std::thread::sleep(delay);
        agent.kill().unwrap();
        agent.restart().unwrap();
        wait::until_true("the sweep is finished or abandoned", SETTLED_WITHIN, || {
            let sweeps = agent.api().sweeps()?;
            Ok(sweeps
                .iter()
                .filter(|sweep| begun.contains(&sweep.id))
                .all(|sweep| sweep.phase == Phase::Ended))
        })
        .unwrap();
        wait::until_true("no orphan", SETTLED_WITHIN, || Ok(agent.orphans().is_empty())).unwrap();
    }
    let on_record = agent.api().sweeps().unwrap();
    let ids: Vec<_> = on_record.iter().map(|sweep| &sweep.id).collect();
    assert!(begun.iter().all(|id| ids.contains(&id)), "begun {begun:?}, on record {ids:?}");
    assert!(on_record.iter().any(|sweep| sweep.outcome == Some(Outcome::Abandoned)), "{on_record:?}");
    assert!(container.is_running());
}

/// Up to two seconds: from before the scan's start to the middle of the removal. Printed, so that a failure can be
/// looked into.
fn random_delay() -> Duration {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    Duration::from_millis(u64::from(nanos / 1000 % 2000))
}
