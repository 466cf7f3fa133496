//! What each of podsweep's processes may do while it works on a real container: no more than `podsweep doctor
//! --capabilities` and docs/privileges.md say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podsweep::report::Outcome;
use podsweep_tests::agent::Agent;
use podsweep_tests::container::Container;
use podsweep_tests::image::program;
use podsweep_tests::listing::list;
use podsweep_tests::policies::{SLOW, Scratch};
use podsweep_tests::rights::{self, Rights};
use podsweep_tests::wait;
use podsweep_tests::workload::Plan;
use serde::Deserialize;

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const STORM_WITHIN: Duration = Duration::from_mins(1);
const STARTED_WITHIN: Duration = Duration::from_secs(30);
const SWEPT_WITHIN: Duration = Duration::from_mins(2);
const FILES: u32 = 3000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    #[serde(rename = "process")]
    name: String,
    keeps: Vec<Keeps>,
    in_reserve: Vec<Keeps>,
    leaves_to_children: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Keeps {
    capability: String,
    here: bool,
}

/// What `podsweep doctor --capabilities` says, by process.
fn told() -> BTreeMap<String, Process> {
    let doctor = Command::new(program("podsweep").unwrap())
        .args(["doctor", "--capabilities", "-o", "json"])
        .output()
        .unwrap();
    let processes: Vec<Process> = serde_json::from_slice(&doctor.stdout).unwrap();
    processes.into_iter().map(|process| (process.name.clone(), process)).collect()
}

fn bits<'n>(names: impl Iterator<Item = &'n str>) -> u64 {
    names.map(|name| 1 << caps_index(name)).fold(0, |all, bit: u64| all | bit)
}

/// Numbers of linux/capability.h, written down once more on purpose.
fn caps_index(name: &str) -> u32 {
    match name {
        "CAP_DAC_OVERRIDE" => 1,
        "CAP_DAC_READ_SEARCH" => 2,
        "CAP_FOWNER" => 3,
        "CAP_SETPCAP" => 8,
        "CAP_SYS_PTRACE" => 19,
        "CAP_SYS_NICE" => 23,
        "CAP_LEASE" => 28,
        "CAP_BPF" => 39,
        other => panic!("{other} is not expected of any process"),
    }
}

fn here(keeps: &[Keeps]) -> u64 {
    bits(keeps.iter().filter(|kept| kept.here).map(|kept| kept.capability.as_str()))
}

/// All threads of a process have the same rights: these.
fn only(pid: i32) -> Rights {
    let all = rights::of_all_threads(pid).unwrap();
    assert_eq!(all.len(), 1, "threads differ: {all:?}");
    all.into_iter().next().unwrap()
}

fn must_keep_only(pid: i32, told: &Process) {
    let rights = only(pid);
    let name = &told.name;
    assert_eq!(rights.effective, here(&told.keeps), "{name}: effective");
    assert_eq!(rights.permitted, here(&told.keeps) | here(&told.in_reserve), "{name}: permitted");
    let children = bits(told.leaves_to_children.iter().map(String::as_str));
    assert_eq!(rights.bounding & !children, 0, "{name}: bounding");
    assert_eq!(rights.inherited, 0, "{name}: inheritable or ambient");
}

fn must_be_confined(pid: i32) {
    let rights = only(pid);
    assert_eq!((rights.seccomp, rights.no_new_privileges), (2, 1));
}

fn sweep_of(mode: &str, sweep: &str) -> (Agent, Container, String) {
    let mut container = Container::start(PREFIX).unwrap();
    let policy = Scratch { sweep, mode, ..Scratch::by_hand("slow") }.of(&container);
    let agent = Agent::start(PREFIX, &[("slow", &policy)]).unwrap();
    agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    container.storm(&Plan { odd: 0, ..Plan::small(FILES) }, STORM_WITHIN).unwrap();
    container.grow_old();
    let id = agent.api().request_sweep(&container.cgroup().path(), "slow").unwrap();
    (agent, container, id)
}

fn one(subcommand: &str) -> i32 {
    let running = || Ok(rights::running(subcommand)?.into_iter().next());
    wait::until(&format!("a {subcommand} runs"), STARTED_WITHIN, running).unwrap()
}

#[test]
fn agent_scanner_and_deleter_keep_what_doctor_says_and_no_more() {
    let told = told();
    let (agent, container, id) = sweep_of("Enforce", SLOW);
    let own = rights::namespaces(agent.pid().unwrap()).unwrap();
    // The scanner first: it may be done long before the deleter is.
    let scanner = one("scan-worker");
    wait::until_true("it is confined", STARTED_WITHIN, || Ok(only(scanner).seccomp == 2)).unwrap();
    must_keep_only(scanner, &told["scan worker"]);
    must_be_confined(scanner);
    assert_eq!(rights::namespaces(scanner).unwrap(), own);

    let removes = || Ok(agent.api().sweep(&id)?.sweep.removed >= 40);
    wait::until_true("the sweep removes", STARTED_WITHIN, removes).unwrap();
    let deleter = one("deleter");
    must_keep_only(agent.pid().unwrap(), &told["agent"]);
    must_keep_only(deleter, &told["deleter"]);
    must_be_confined(deleter);
    // No namespace entered.
    assert_eq!(rights::namespaces(deleter).unwrap(), own);
    // Nothing of the container is mapped.
    let root = container.root().unwrap();
    for path in rights::mapped(deleter).unwrap() {
        assert!(!path.starts_with(&root) && !path.starts_with(container.upper()), "{}", path.display());
    }
    // Socket, nothing, and where it says why it fails; in a batch besides: directories and names without content, and
    // files leased read-only.
    let path_only = u32::try_from(libc::O_PATH).unwrap();
    let access = u32::try_from(libc::O_ACCMODE).unwrap();
    for _ in 0..200 {
        for (number, target, flags) in rights::handles(deleter).unwrap() {
            let target = target.to_string_lossy().into_owned();
            let own = number <= 2;
            let harmless =
                flags & path_only != 0 || flags & access == 0 || target.starts_with("anon_inode:[pidfd]");
            assert!(own || harmless, "handle {number} on {target}, flags {flags:o}");
        }
    }
    assert!(
        agent.api().sweep(&id).unwrap().ended_at.is_none(),
        "the sweep was over too soon to be looked at"
    );
    agent.ended(&id, SWEPT_WITHIN).unwrap();
    assert_eq!(rights::running("deleter").unwrap(), [0; 0]);
}

#[test]
fn the_deleter_of_a_dry_run_only_reads() {
    let told = told();
    let (agent, _container, id) = sweep_of("DryRun", "{batchSize: 10}");
    // A dry run does not pause, so it is looked at while it works.
    let deleter = one("deleter");
    wait::until_true("it is confined", STARTED_WITHIN, || Ok(only(deleter).seccomp == 2)).unwrap();
    must_keep_only(deleter, &told["deleter of a dry run"]);
    must_be_confined(deleter);
    let record = agent.ended(&id, SWEPT_WITHIN).unwrap();
    assert_eq!((record.outcome, record.sweep.removed), (Some(Outcome::Complete), 0), "{record:?}");
    assert!(record.sweep.would_remove > 1000, "{record:?}");
}

#[test]
fn a_deleter_that_dies_ends_its_sweep_and_the_next_one_works() {
    let (agent, container, id) = sweep_of("Enforce", SLOW);
    let removes = || Ok(agent.api().sweep(&id)?.sweep.removed >= 40);
    wait::until_true("the sweep removes", STARTED_WITHIN, removes).unwrap();
    kill(Pid::from_raw(one("deleter")), Signal::SIGKILL).unwrap();
    let record = agent.ended(&id, STARTED_WITHIN).unwrap();
    assert_eq!(
        (record.outcome, record.reason.as_deref()),
        (Some(Outcome::Failed), Some("DeleterFailed")),
        "{record:?}"
    );
    let left = list(&container.root().unwrap(), &["/tmp", "/app/cache"]).unwrap();
    assert!(left.len() > 1000, "{} left", left.len());
    assert!(container.is_running());
    // As after any failure, its own retry follows; in the end nothing old is left of the storm, and nobody behind.
    let swept = || Ok(list(&container.root()?, &["/tmp", "/app/cache"])?.len() < left.len() / 2);
    wait::until_true("a later sweep removes", SWEPT_WITHIN, || {
        // Asked for as often as a guard says no.
        let _ = agent.api().request_sweep(&container.cgroup().path(), "slow");
        swept()
    })
    .unwrap();
}
