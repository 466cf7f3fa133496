//! The agent in its pod: not privileged, in a cgroup namespace of its own, with what deploy/base/agent.yaml gives it and
//! nothing else. In guests, where cgroup2 is alone: only there do runtimes give containers such a namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use podsweep::kernel::Cgroups;
use podsweep::report::Outcome;
use podsweep_tests::agent::Agent;
use podsweep_tests::container::Container;
use podsweep_tests::policies::Scratch;
use podsweep_tests::workload::Plan;

const PREFIX: &str = "podsweep-vm";
const KNOWN_WITHIN: Duration = Duration::from_secs(30);
const STORM_WITHIN: Duration = Duration::from_mins(2);
const SWEPT_WITHIN: Duration = Duration::from_mins(3);
const FILES: u32 = 2000;

/// As systemd mounts it: no process is moved across the root of a cgroup namespace.
fn delegate_to_namespaces() {
    let mounted = Cgroups::find().unwrap().unified;
    let none: Option<&str> = None;
    mount(none, &mounted, none, MsFlags::MS_REMOUNT, Some("nsdelegate")).unwrap();
}

fn cgroup_namespace(process: &str) -> std::path::PathBuf {
    fs::read_link(Path::new("/proc").join(process).join("ns/cgroup")).unwrap()
}

#[test]
fn an_agent_in_its_pod_sweeps_another_container_under_every_limit() {
    delegate_to_namespaces();
    let mut container = Container::start(PREFIX).unwrap();
    let policy = Scratch::by_hand("pod").of(&container);
    let agent = Agent::start_in_a_pod(PREFIX, &[("pod", &policy)]).unwrap();
    let pid = agent.pod().unwrap().pid().unwrap();
    assert_ne!(cgroup_namespace(&pid.to_string()), cgroup_namespace("self"), "it has the host's namespace");

    let seen = agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    let plan = Plan { odd: 0, ..Plan::small(FILES) };
    container.storm(&plan, STORM_WITHIN).unwrap();
    container.grow_old();
    let id = agent.api().request_sweep(&seen.id, "pod").unwrap();
    let sweep = agent.ended(&id, SWEPT_WITHIN).unwrap();

    assert_eq!(sweep.outcome, Some(Outcome::Complete), "{sweep:?}");
    assert_eq!(sweep.sweep.removed, u64::from(FILES), "{sweep:?}");
    let scan = sweep.scan.expect("a scan");
    assert!(scan.missing_limits.is_empty(), "{:?}", scan.missing_limits);
    assert!(container.is_running());
}
