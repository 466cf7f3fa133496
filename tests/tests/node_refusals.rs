//! Each level says no once: the word is in the answer, in the metrics, in history, and `podsweep explain` says the same
//! before; asking changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use podsweep::policy::chain::Step;
use podsweep::report::{Health, Outcome, Phase};
use podsweep_tests::agent::Agent;
use podsweep_tests::container::Container;
use podsweep_tests::policies::{SLOW, Scratch};
use podsweep_tests::wait;
use podsweep_tests::workload::Plan;
use serde_json::{Value, json};

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const STORM_WITHIN: Duration = Duration::from_mins(1);
const SWEPT_WITHIN: Duration = Duration::from_mins(2);
const ON_RECORD_WITHIN: Duration = Duration::from_secs(10);
const ACCEPTED_WITHIN: Duration = Duration::from_secs(20);

/// A container with old junk.
fn container(files: u32) -> Container {
    let mut container = Container::start(PREFIX).unwrap();
    container.storm(&Plan { odd: 0, ..Plan::small(files) }, STORM_WITHIN).unwrap();
    container
}

fn known(agent: &Agent, container: &Container) {
    agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
}

/// A path that the policy names and that is there now.
fn junk(container: &Container) -> String {
    let folder = container.inside("/app/cache").unwrap();
    let names = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let last = names.filter(|name| name.starts_with("download-")).max().expect("no junk is left");
    format!("/app/cache/{last}")
}

fn deciding(steps: &[Step]) -> (u8, String) {
    let step =
        steps.iter().find(|step| step.deciding).unwrap_or_else(|| panic!("nobody decides: {steps:#?}"));
    (step.level, step.reason.clone().unwrap_or_else(|| step.answer.clone()))
}

fn counted(agent: &Agent, level: u8, word: &str) -> u64 {
    let name = format!("podsweep_refusals_total{{level=\"{level}\",reason=\"{word}\"}} ");
    let metrics = agent.api().metrics().unwrap();
    metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

/// The container is refused by this policy, at this level with this word, wherever that is shown.
fn is_refused(agent: &Agent, container: &Container, policy: &str, level: u8, word: &str) {
    let (api, cgroup) = (agent.api(), container.cgroup_id().unwrap());
    let file = agent.path("policies").join(format!("{policy}.yaml"));
    let explain =
        || agent.explain(container, &junk(container), &["--policy", file.to_str().unwrap()]).unwrap();
    assert_eq!(deciding(&explain()), (level, word.to_owned()), "{:#?}", explain());
    let before = counted(agent, level, word);

    let body = json!({"target": container.cgroup().path(), "policy": policy});
    let answer = api.ask("POST", "/v1/sweeps", Some(&body)).unwrap();
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap()["reason"], word);

    assert_eq!(counted(agent, level, word), before + 1, "{word}: asking alone must not count");
    wait::until_true("the refusal is on record", ON_RECORD_WITHIN, || {
        Ok(api.sweeps_of(cgroup)?.iter().any(|sweep| {
            let refusal = sweep.refusal.as_ref().map(|refusal| (refusal.level, refusal.reason.as_str()));
            sweep.outcome == Some(Outcome::Refused) && refusal == Some((level, word))
        }))
    })
    .unwrap();
}

fn ask(agent: &Agent, method: &str, path: &str, body: Option<&Value>) {
    let answer = agent.api().ask(method, path, body).unwrap();
    assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
}

#[test]
fn levels_0_to_5_say_no_in_every_place_that_shows_it() {
    let (one, other) = (container(3000), container(10));
    let slow = Scratch { sweep: SLOW, ..Scratch::by_hand("slow") }.of(&one);
    let no_storage = Scratch::by_hand("volumes").of(&one).replace("paths:", "volumes: [EmptyDir], paths:");
    let no_storage = no_storage.replace("mode: Enforce", "mode: Enforce\n  priority: -1");
    let policies =
        [("slow", slow.as_str()), ("volumes", &no_storage), ("other", &Scratch::by_hand("other").of(&other))];
    let agent =
        Agent::start_with(PREFIX, &policies, &json!({"coolDown": "1h", "sweepsPerMinute": 1})).unwrap();
    known(&agent, &one);
    known(&agent, &other);
    one.grow_old();

    is_refused(&agent, &one, "volumes", 0, "NothingToSweep");
    is_refused(&agent, &one, "other", 4, "NotSelected");
    ask(&agent, "POST", "/v1/pause", Some(&json!({"reason": "release day"})));
    is_refused(&agent, &one, "slow", 1, "Paused");
    ask(&agent, "POST", "/v1/resume", None);

    // Explained any number of times, it may still begin: no slot is taken, no cool-down started.
    for _ in 0..3 {
        assert_eq!(deciding(&agent.explain(&one, &junk(&one), &[]).unwrap()), (4, "yes: Delete".into()));
    }
    let id = agent.api().request_sweep(&one.cgroup().path(), "slow").unwrap();
    let removes = || Ok(agent.api().sweep(&id)?.sweep.removed >= 20);
    wait::until_true("the sweep removes", SWEPT_WITHIN, removes).unwrap();
    is_refused(&agent, &one, "slow", 5, "AlreadyRunning");
    is_refused(&agent, &other, "other", 5, "RateLimit");
    ask(&agent, "DELETE", &format!("/v1/sweeps/{id}"), None);
    agent.ended(&id, SWEPT_WITHIN).unwrap();
    wait::until_true("its place is free", ACCEPTED_WITHIN, || {
        Ok(deciding(&agent.explain(&one, &junk(&one), &[])?).1 != "AlreadyRunning")
    })
    .unwrap();
    is_refused(&agent, &one, "slow", 5, "CoolDown");
}

#[test]
fn a_slot_that_is_taken_and_a_late_hour_are_refusals_of_level_7() {
    let (one, other) = (container(3000), container(10));
    let slow = Scratch { sweep: SLOW, ..Scratch::by_hand("slow") }.of(&one);
    let policies = [("slow", slow.as_str()), ("other", &Scratch::by_hand("other").of(&other))];
    let agent = Agent::start(PREFIX, &policies).unwrap();
    known(&agent, &one);
    known(&agent, &other);
    one.grow_old();
    let id = agent.api().request_sweep(&one.cgroup().path(), "slow").unwrap();
    let removes = || Ok(agent.api().sweep(&id)?.sweep.removed >= 20);
    wait::until_true("the sweep removes", SWEPT_WITHIN, removes).unwrap();
    is_refused(&agent, &other, "other", 7, "NoSlot");
    drop(agent);

    let agent = Agent::start_with(PREFIX, &policies, &json!({"allowedHours": [an_hour_long_ago()]})).unwrap();
    known(&agent, &other);
    is_refused(&agent, &other, "other", 7, "OutsideHours");
}

/// A window of an hour, half a day from now.
fn an_hour_long_ago() -> String {
    let hour = jiff::Zoned::now().time().hour();
    format!("{:02}:00-{:02}:00", (hour + 12) % 24, (hour + 13) % 24)
}

#[test]
fn an_open_breaker_is_a_refusal_of_level_6_with_an_agent_and_without() {
    let mut container = container(500);
    let policy = Scratch::by_hand("scratch").of(&container).replace("observe: 2s", "observe: 1m");
    let mut agent = Agent::start(PREFIX, &[("scratch", &policy)]).unwrap();
    known(&agent, &container);
    container.grow_old();
    let id = agent.api().request_sweep(&container.cgroup().path(), "scratch").unwrap();
    let observing = || Ok(agent.api().sweep(&id)?.phase == Phase::Observing);
    wait::until_true("the sweep removed and observes", SWEPT_WITHIN, observing).unwrap();
    container.restart().unwrap();
    assert_eq!(agent.ended(&id, SWEPT_WITHIN).unwrap().health, Some(Health::Harmed));
    known(&agent, &container);
    fs::write(container.inside("/app/cache/download-late.part").unwrap(), "junk").unwrap();
    container.grow_old();
    is_refused(&agent, &container, "scratch", 6, "BreakerOpen");

    // By what lies on the disk. The socket's file stays when an agent is killed: nobody answers there.
    agent.kill().unwrap();
    let state = listing(&agent.path("state"));
    let steps = agent.explain(&container, &junk(&container), &[]).unwrap();
    assert_eq!(deciding(&steps), (6, "BreakerOpen".into()), "{steps:#?}");
    assert_eq!(listing(&agent.path("state")), state, "explain changed the state folder");
}

/// Names, sizes and contents.
fn listing(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}
