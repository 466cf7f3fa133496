//! What one container does to podsweep is that container's affair: others are seen as soon, counted as exactly, and
//! swept as before.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use podsweep::report::{Health, Outcome, Phase};
use podsweep_tests::agent::Agent;
use podsweep_tests::attacker::{Attack, Errand, Order, fill};
use podsweep_tests::cgroup::Cgroup;
use podsweep_tests::container::Container;
use podsweep_tests::policies::{NEVER, Scratch};
use podsweep_tests::wait;
use podsweep_tests::workspace::Workspace;
use serde_json::{Value, json};

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const SWEPT_WITHIN: Duration = Duration::from_mins(1);
/// The policy's `for`, microseconds.
const FOR: u64 = 1_000_000;
/// The promise: a burst is seen within a second of its condition having held. Milliseconds.
const SEEN_WITHIN: u64 = 1000;
/// Bursts of the quiet neighbour, alone and during the storm.
const BURSTS: usize = 2;
/// Files a second: six times the policy's limit.
const BURST: u32 = 300;
/// Then the policy has forgotten a burst, and the next is another.
const CEASED: Duration = Duration::from_secs(3);

/// When the agent's log says that this container's policy asked for a sweep; microseconds since 1970.
fn decisions(agent: &Agent, container: &Container) -> Vec<u64> {
    let path = container.cgroup().path();
    let lines = agent.log();
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let asked = lines.filter(|line| line["message"] == "policy asks for a sweep" && line["cgroup"] == path);
    let times = asked.map(|line| line["timestamp"].as_str().unwrap().parse::<Timestamp>().unwrap());
    times.map(|time| u64::try_from(time.as_microsecond()).unwrap()).collect()
}

fn storm(container: &Container, below: &str, directories: u32, per_second: Option<u32>) -> Attack {
    let errand = Errand::Storm { below: below.into(), directories, per_second };
    Attack::start(container, &Order { errand, bystand: vec![], supply: false }, &[]).unwrap()
}

/// How long after a burst's condition had held the agent decided, milliseconds.
fn detection(agent: &Agent, container: &Container) -> u64 {
    let before = decisions(agent, container).len();
    let burst = storm(container, "/tmp/burst", 10, Some(BURST));
    let decided = wait::until("the burst is seen", KNOWN_WITHIN, || {
        Ok(decisions(agent, container).get(before).copied())
    });
    let began = burst.end().unwrap().began;
    thread::sleep(CEASED);
    decided.unwrap().saturating_sub(began + FOR) / 1000
}

fn worst(agent: &Agent, container: &Container) -> u64 {
    (0..BURSTS).map(|_| detection(agent, container)).max().unwrap()
}

/// Cgroups nested in the container's, made and removed one after another, each with a process that makes a file: what
/// a container can do to which its runtime has delegated its cgroup. How many there were.
fn nest(container: &Container, over: &AtomicBool, nested: &AtomicU64) {
    let file = container.upper().join("tmp/nested");
    while !over.load(Ordering::Relaxed) {
        let number = nested.fetch_add(1, Ordering::Relaxed);
        let cgroup = container.cgroup().directory().join(format!("nested-{number}"));
        fs::create_dir(&cgroup).unwrap();
        let script = "echo 0 > \"$1/cgroup.procs\" && : > \"$2\" && rm \"$2\"";
        let status = Command::new("sh").args(["-c", script, "sh"]).arg(&cgroup).arg(&file).status().unwrap();
        assert!(status.success());
        wait::until_true("the nested cgroup is empty", KNOWN_WITHIN, || Ok(fs::remove_dir(&cgroup).is_ok()))
            .unwrap();
    }
}

/// Two attackers in one container, in thousands of directories each, and its nested cgroups, while `meanwhile` runs.
fn during_a_storm<T>(container: &Container, meanwhile: impl FnOnce() -> T) -> T {
    const DIRECTORIES: u32 = 5000;
    /// Two attackers' worth on a busy machine; an idle one has a hundred times as many.
    const CREATES: u64 = 10_000;
    let storms = ["/tmp/storm", "/srv/storm"].map(|below| storm(container, below, DIRECTORIES, None));
    let (over, nested) = (AtomicBool::new(false), AtomicU64::new(0));
    let result = thread::scope(|scope| {
        scope.spawn(|| nest(container, &over, &nested));
        let result = meanwhile();
        over.store(true, Ordering::Relaxed);
        result
    });
    let tallies = storms.map(|storm| storm.end().unwrap());
    eprintln!("{} nested cgroups; {tallies:?}", nested.load(Ordering::Relaxed));
    for tally in tallies {
        assert!(tally.swaps >= CREATES && tally.failed.is_empty(), "no storm: {tally:?}");
    }
    result
}

/// Each of the agent's own counts of what it may have missed.
fn losses(agent: &Agent) -> Value {
    let status: Value =
        serde_json::from_str(&agent.api().ask("GET", "/v1/status", None).unwrap().body).unwrap();
    status["losses"].clone()
}

#[test]
fn a_storm_delays_nobody_elses_detection_and_fills_no_map() {
    let neighbour = Container::start(PREFIX).unwrap();
    let attacker = Container::start(PREFIX).unwrap();
    let bursts = "[{burst: {createsPerSecond: 50, for: 1s}}]";
    let policy =
        |name, container| Scratch { name, mode: "Observe", triggers: bursts, sweep: "{}" }.of(container);
    let policies =
        [("neighbour", policy("neighbour", &neighbour)), ("attacker", policy("attacker", &attacker))];
    let policies: Vec<_> = policies.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let agent = Agent::start(PREFIX, &policies).unwrap();
    for container in [&neighbour, &attacker] {
        agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    }
    let before = losses(&agent);

    let quiet = worst(&agent, &neighbour);
    let (stormy, known) = during_a_storm(&attacker, || {
        let stormy = worst(&agent, &neighbour);
        // A container that starts meanwhile is known as soon as ever.
        let newcomer = Container::start(PREFIX).unwrap();
        (stormy, agent.knows(newcomer.cgroup_id().unwrap(), KNOWN_WITHIN).is_ok())
    });
    eprintln!("a burst was seen {quiet} ms after it held, at worst, and {stormy} ms during the storm");
    eprintln!("losses {before} -> {}", losses(&agent));
    assert!(!decisions(&agent, &attacker).is_empty(), "the storm itself was not seen");
    assert!(
        known && stormy <= quiet.max(SEEN_WITHIN) + SEEN_WITHIN,
        "{quiet} ms alone, {stormy} ms in the storm"
    );
    let lost = losses(&agent);
    let what = ["cgroupsNotCounted", "operationsNotCounted", "cgroupEvents"];
    assert!(what.iter().all(|what| lost[what] == 0), "{lost}");
}

/// State of the breakers with these names; `None`: there is no such breaker.
fn breaker(agent: &Agent, name: &str) -> Option<String> {
    let answer = agent.api().ask("GET", "/v1/breakers", None).unwrap();
    let list: Value = serde_json::from_str(&answer.body).unwrap();
    let found = list["breakers"].as_array().unwrap().iter().find(|breaker| breaker["name"] == name)?;
    Some(found["state"].as_str().unwrap().to_owned())
}

fn asked(agent: &Agent, container: &Container, policy: &str) -> String {
    let target = container.cgroup().path();
    agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    wait::until("a sweep may begin", SWEPT_WITHIN, || Ok(agent.api().request_sweep(&target, policy).ok()))
        .unwrap()
}

#[test]
fn a_container_that_dies_after_each_sweep_stops_its_own_sweeps_only() {
    /// The global breaker opens at the third workload; this one alone is not to open it, however often it dies.
    const DEATHS: usize = 5;
    let folder = Workspace::new(PREFIX).unwrap();
    let parent = Cgroup::make(folder.name()).unwrap();
    let mut hostile = Container::start_below(PREFIX, &parent).unwrap();
    let other = Container::start(PREFIX).unwrap();
    let policy = |name, container: &Container| {
        let sweep = "{batchSize: 50, batchInterval: 10ms, maxFiles: 100}";
        let policy = Scratch { name, mode: "Enforce", triggers: NEVER, sweep }.of(container);
        format!("{policy}\x20 breakers: {{workload: {{coolDown: 1s}}}}\n")
            .replace("observe: 2s", "observe: 5s")
    };
    let policies = [("hostile", policy("hostile", &hostile)), ("other", policy("other", &other))];
    let policies: Vec<_> = policies.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let agent =
        Agent::start_with(PREFIX, &policies, &json!({"sweepsPerMinute": 600, "coolDown": "0s"})).unwrap();
    for container in [&hostile, &other] {
        fill(&container.inside("/tmp/junk").unwrap(), 2000, "").unwrap();
    }
    hostile.grow_old();
    let own = format!("workload/{}", parent.path());

    for death in 1..=DEATHS {
        let id = asked(&agent, &hostile, "hostile");
        let observing = || Ok(agent.api().sweep(&id)?.phase == Phase::Observing);
        wait::until_true("the sweep removed and observes", SWEPT_WITHIN, observing).unwrap();
        hostile.restart().unwrap();
        let sweep = agent.ended(&id, SWEPT_WITHIN).unwrap();
        assert!(sweep.sweep.removed > 0, "{sweep:?}");
        assert_eq!(sweep.health, Some(Health::Harmed), "death {death}: {sweep:?}");
        assert_ne!(breaker(&agent, &own).as_deref(), Some("Closed"), "death {death}");
        assert!(breaker(&agent, &own).is_some(), "death {death}");
        assert_eq!(breaker(&agent, "global").as_deref(), Some("Closed"), "death {death}");
    }
    let id = asked(&agent, &other, "other");
    let sweep = agent.ended(&id, SWEPT_WITHIN).unwrap();
    assert_eq!(sweep.outcome, Some(Outcome::Partial), "{sweep:?}");
    assert_eq!((sweep.sweep.removed, sweep.health), (100, Some(Health::Healthy)), "{sweep:?}");
}
