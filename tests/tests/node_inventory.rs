//! A container is known soon after it starts, and forgotten after it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::time::{Duration, Instant};

use podsweep_tests::agent::Agent;
use podsweep_tests::container::Container;
use podsweep_tests::wait;

const PREFIX: &str = "podsweep-test";
/// The promise: a new container is known within a second.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(10);
/// One of them may meet a busy moment of the machine.
const CONTAINERS: usize = 5;

#[test]
fn a_new_container_is_known_within_a_second_with_its_layer_and_forgotten_when_it_ends() {
    let agent = Agent::start(PREFIX, &[]).unwrap();
    let mut in_time = 0;
    for _ in 0..CONTAINERS {
        let mut container = Container::start(PREFIX).unwrap();
        let (id, upper) = (container.cgroup_id().unwrap(), container.upper());
        let started = Instant::now();
        let known = wait::until("the container is known with its layer", FORGOTTEN_WITHIN, || {
            let seen = agent.api().container(id)?;
            Ok(seen.filter(|seen| seen.upper.as_deref() == Some(&upper)))
        });
        known.unwrap();
        in_time += usize::from(started.elapsed() <= KNOWN_WITHIN);
        container.kill().unwrap();
        wait::until_true("the container is forgotten", FORGOTTEN_WITHIN, || {
            Ok(agent.api().container(id)?.is_none())
        })
        .unwrap();
    }
    assert!(in_time >= CONTAINERS - 1, "only {in_time} of {CONTAINERS} were known within {KNOWN_WITHIN:?}");
}
