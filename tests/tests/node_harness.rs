//! The tests' own tools, without an agent: if these fail, no other node test means anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::path::PathBuf;
use std::time::Duration;

use podsweep_tests::container::{Container, lives};
use podsweep_tests::workload::{Plan, Said};

const PREFIX: &str = "podsweep-test";
const STORM_WITHIN: Duration = Duration::from_mins(1);

#[test]
fn a_storm_makes_what_it_says_it_makes() {
    let mut container = Container::start(PREFIX).unwrap();
    let said =
        container.storm(&Plan { trickle: 100, trickle_per_second: 1000, ..Plan::small(1000) }, STORM_WITHIN);
    let Said::StormEnded { created, .. } = said.unwrap() else { panic!("no end of the storm") };
    let jobs = container.inside("/tmp").unwrap().read_dir().unwrap().count();
    // 50 job folders, four others, the image's five files, one symlink.
    assert_eq!(jobs, 50 + 4 + 5 + 1);
    let downloads = container.inside("/app/cache").unwrap().read_dir().unwrap().count();
    assert_eq!(downloads, 500 + 3 + 1);
    let files_in_the_upper_layer = container.upper().join("tmp/trickle").read_dir().unwrap().count();
    assert_eq!(files_in_the_upper_layer, 100);
    assert_eq!(created.total(), created.create + 54 + 6 + 2);
    // Bulk, trickle, and of each odd sort: three held, two linked, one live, five that no policy names; one program.
    assert_eq!(created.create, 1000 + 100 + 3 * (3 + 2 + 1 + 5) + 1);
}

#[test]
fn a_container_has_its_own_cgroup_and_a_restart_its_own_process() {
    let mut container = Container::start(PREFIX).unwrap();
    let before = container.process().unwrap();
    let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", before.pid)).unwrap();
    assert!(cgroup.lines().any(|line| line == format!("0::{}", container.cgroup().path())), "{cgroup}");
    container.restart().unwrap();
    assert!(container.is_running());
    assert_ne!(container.process().unwrap(), before);
}

#[test]
fn nothing_of_a_container_stays() {
    let container = Container::start(PREFIX).unwrap();
    let (name, process) = (container.name().to_owned(), container.process().unwrap());
    drop(container);
    assert!(!lives(process), "its process runs on");
    assert!(!PathBuf::from("/var/tmp").join(&name).exists(), "its folder is there");
    assert!(podsweep_tests::cgroup::processes(&name).is_empty());
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        assert!(!hierarchy.path().join(&name).exists(), "{name} is in {:?}", hierarchy.path());
    }
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    assert!(!mounts.contains(&name), "its root is still mounted");
}

#[test]
fn the_service_beats() {
    let container = Container::start(PREFIX).unwrap();
    podsweep_tests::wait::until_true("ten beats", Duration::from_secs(10), || {
        Ok(container.beats()?.len() >= 10)
    })
    .unwrap();
    assert!(container.beats().unwrap().iter().all(|beat| beat.micros > 0));
}
