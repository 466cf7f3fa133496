//! What asks for a sweep besides a burst: net growth, a disk short of inodes or bytes, the clock. Each on a real
//! container, and each sweep says what asked for it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::fs::File;
use std::time::Duration;

use nix::fcntl::{FallocateFlags, fallocate};
use podsweep::policy::Fired;
use podsweep::report::{Outcome, SweepRecord};
use podsweep_tests::agent::Agent;
use podsweep_tests::container::Container;
use podsweep_tests::disk::Size;
use podsweep_tests::policies::{FAST, Scratch};
use podsweep_tests::wait;
use podsweep_tests::workload::Plan;

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const STORM_WITHIN: Duration = Duration::from_mins(1);
const FIRED_WITHIN: Duration = Duration::from_mins(2);
const SWEPT_WITHIN: Duration = Duration::from_mins(1);
/// The image takes some 60 inodes and 60 MiB of it.
const SMALL: Size = Size { bytes: 512 << 20, inodes: 4096 };

fn agent(container: &Container, triggers: &str, sweep: &str) -> Agent {
    let policy = Scratch { name: "asks", mode: "Enforce", triggers, sweep }.of(container);
    let agent = Agent::start(PREFIX, &[("asks", &policy)]).unwrap();
    agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    agent
}

/// All sweeps so far, as soon as the newest has ended and removed something.
fn swept(agent: &Agent, container: &Container) -> Vec<SweepRecord> {
    let id = container.cgroup_id().unwrap();
    let found = wait::until("a sweep that removed something", FIRED_WITHIN, || {
        let sweeps = agent.api().sweeps_of(id)?;
        Ok(sweeps.last().is_some_and(|sweep| sweep.sweep.removed > 0).then_some(sweeps))
    });
    let mut sweeps = found.unwrap_or_else(|error| panic!("{error:#}\n{}", agent.log_end()));
    let newest = sweeps.pop().unwrap();
    sweeps.push(agent.ended(&newest.id, SWEPT_WITHIN).unwrap());
    sweeps
}

#[test]
fn files_that_pile_up_are_growth_and_files_that_come_and_go_are_not() {
    let mut container = Container::start(PREFIX).unwrap();
    let agent = agent(&container, "[{growth: {filesPerMinute: 600, for: 12s}}]", FAST);
    let id = container.cgroup_id().unwrap();
    let touch_and_remove =
        "i=0; while [ $i -lt 1500 ]; do i=$((i+1)); : > /srv/keep/x; busybox rm /srv/keep/x; done";
    let done = container.exec(&["/bin/sh", "-c", touch_and_remove]).unwrap();
    assert!(done.status.success(), "{done:?}");
    let creates = || Ok(agent.api().container(id)?.is_some_and(|seen| seen.creates >= 1500));
    wait::until_true("the files that came and went are counted", KNOWN_WITHIN, creates).unwrap();
    container.grow_old();
    container.grow_old();
    assert_eq!(agent.api().sweeps_of(id).unwrap().len(), 0, "{}", agent.log_end());

    container.storm(&Plan { odd: 0, ..Plan::small(1000) }, STORM_WITHIN).unwrap();
    let sweeps = swept(&agent, &container);
    assert!(matches!(sweeps[0].fired, Fired::Growth { limit: 600, .. }), "{:?}", sweeps[0]);
    assert_eq!(
        (sweeps[0].outcome, sweeps[0].sweep.removed),
        (Some(Outcome::Complete), 1000),
        "{:?}",
        sweeps[0]
    );
}

#[test]
fn a_disk_short_of_inodes_asks_and_is_swept_until_enough_are_free() {
    let mut container = Container::start_on_small_disk(PREFIX, SMALL).unwrap();
    let sweep = "{batchSize: 100, batchInterval: 50ms, stopWhen: {nodeInodesFree: 50%}}";
    let agent = agent(&container, "[{nodeInodesFree: {below: 20%}}]", sweep);
    container.grow_old();
    assert_eq!(agent.api().sweeps().unwrap(), [], "nothing is short yet");

    container.storm(&Plan { odd: 0, ..Plan::small(3500) }, STORM_WITHIN).unwrap();
    let sweeps = swept(&agent, &container);
    let asked = |sweep: &SweepRecord| matches!(sweep.fired, Fired::NodeInodesFree { free_percent, below } if free_percent < below);
    assert!(sweeps.iter().all(asked), "{sweeps:?}");
    let last = sweeps.last().unwrap();
    assert_eq!(
        (last.outcome, last.reason.as_deref()),
        (Some(Outcome::Partial), Some("StopWhen")),
        "{last:?}"
    );
    // Half of 4096 free: some 2,000 may stay, and the sweep ends with the batch that made room.
    assert!((1300..=1900).contains(&last.sweep.removed), "{last:?}");
}

#[test]
fn a_disk_short_of_bytes_asks() {
    let container = Container::start_on_small_disk(PREFIX, SMALL).unwrap();
    let agent = agent(&container, "[{nodeBytesFree: {below: 40%}}]", FAST);
    let large = container.inside("/tmp/large").unwrap();
    fallocate(File::create(&large).unwrap(), FallocateFlags::empty(), 0, 300 << 20).unwrap();

    let sweeps = swept(&agent, &container);
    let asked = |sweep: &SweepRecord| matches!(sweep.fired, Fired::NodeBytesFree { free_percent, below } if free_percent < below);
    assert!(sweeps.iter().all(asked), "{sweeps:?}");
    let last = sweeps.last().unwrap();
    assert_eq!((last.sweep.removed, last.outcome), (1, Some(Outcome::Complete)), "{last:?}");
    assert!(last.sweep.removed_bytes >= 300 << 20, "{last:?}");
    assert!(!large.exists());
}

#[test]
fn the_clock_asks_each_minute() {
    let mut container = Container::start(PREFIX).unwrap();
    container.storm(&Plan { odd: 0, ..Plan::small(500) }, STORM_WITHIN).unwrap();
    container.grow_old();
    let agent = agent(&container, "[{schedule: \"* * * * *\"}]", FAST);

    let sweeps = swept(&agent, &container);
    assert_eq!(sweeps[0].fired, Fired::Schedule { expression: "* * * * *".into() });
    assert_eq!(
        (sweeps[0].sweep.removed, sweeps[0].outcome),
        (500, Some(Outcome::Complete)),
        "{:?}",
        sweeps[0]
    );
    let second: jiff::Timestamp = sweeps[0].started_at.parse().unwrap();
    assert!(second.as_second() % 60 < 30, "not at the minute: {}", sweeps[0].started_at);
}
