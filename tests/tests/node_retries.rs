//! A sweep that fails on a real container is tried again after its backoff, as often as the policy says; then it is
//! given up, with a reason on record.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use podsweep::policy::Fired;
use podsweep::report::{Outcome, SweepRecord};
use podsweep_tests::agent::Agent;
use podsweep_tests::container::Container;
use podsweep_tests::disk::Size;
use podsweep_tests::policies::Scratch;
use podsweep_tests::wait;
use podsweep_tests::workload::Plan;

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const STORM_WITHIN: Duration = Duration::from_mins(1);
const SWEPT_WITHIN: Duration = Duration::from_mins(1);
/// What would come, had it not been given up: ten times the backoff and the cool-down.
const QUIET: Duration = Duration::from_secs(20);
const SMALL: Size = Size { bytes: 512 << 20, inodes: 4096 };

/// Directories of the writable layer whose names the kernel keeps, whoever asks; let go when this is dropped.
struct Immutable<'a>(&'a Container);

impl<'a> Immutable<'a> {
    fn make(container: &'a Container) -> Self {
        chattr("+i", container);
        Self(container)
    }
}

impl Drop for Immutable<'_> {
    fn drop(&mut self) {
        chattr("-i", self.0);
    }
}

fn chattr(flag: &str, container: &Container) {
    let (jobs, cache) = (container.upper().join("tmp"), container.upper().join("app/cache"));
    let jobs = fs::read_dir(jobs).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let status = Command::new("chattr").arg(flag).args(jobs).arg(cache).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_failing_sweep_is_tried_again_and_then_given_up() {
    let mut container = Container::start_on_small_disk(PREFIX, SMALL).unwrap();
    container.storm(&Plan { odd: 0, ..Plan::small(3500) }, STORM_WITHIN).unwrap();
    container.grow_old();
    let _immutable = Immutable::make(&container);

    let policy = Scratch {
        name: "asks",
        mode: "Enforce",
        triggers: "[{nodeInodesFree: {below: 20%}}]",
        sweep: "{batchSize: 100, batchInterval: 50ms, retries: {limit: 2, backoff: 1s}}",
    };
    let policy = policy.of(&container) + "\x20 breakers: {sweep: {errors: 3}}\n";
    let agent = Agent::start(PREFIX, &[("asks", &policy)]).unwrap();
    let id = container.cgroup_id().unwrap();
    agent.knows(id, KNOWN_WITHIN).unwrap();

    let third = || Ok(agent.api().sweeps_of(id)?.into_iter().nth(2));
    let third = wait::until("the third try", SWEPT_WITHIN, third).unwrap();
    agent.ended(&third.id, SWEPT_WITHIN).unwrap();
    std::thread::sleep(QUIET);
    let sweeps = agent.api().sweeps_of(id).unwrap();

    let tries: Vec<_> =
        sweeps.iter().map(|sweep| (sweep.attempt, sweep.outcome, sweep.sweep.removed)).collect();
    let stopped = |attempt| (attempt, Some(Outcome::Stopped), 0);
    assert_eq!(tries, [stopped(0), stopped(1), stopped(2)], "{}", agent.log_end());
    assert!(sweeps.iter().all(|sweep| sweep.reason.as_deref() == Some("SweepBreaker")), "{sweeps:?}");
    assert!(matches!(sweeps[0].fired, Fired::NodeInodesFree { .. }), "{:?}", sweeps[0].fired);
    assert_eq!(
        [&sweeps[1].fired, &sweeps[2].fired],
        [&Fired::Retry { attempt: 1 }, &Fired::Retry { attempt: 2 }]
    );
    let given_up =
        |sweep: &SweepRecord| sweep.notes.iter().any(|note| note.starts_with("GivenUp: after 3 tries"));
    assert_eq!(sweeps.iter().map(given_up).collect::<Vec<_>>(), [false, false, true], "{sweeps:?}");
    let metrics = agent.api().metrics().unwrap();
    assert!(metrics.contains("podsweep_sweeps_given_up_total{policy=\"asks\"} 1"), "{metrics}");
}
