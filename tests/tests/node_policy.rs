//! Policies are reloaded when they change; a bad file changes nothing but what the status says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::time::Duration;

use podsweep_tests::agent::Agent;
use podsweep_tests::api::Status;
use podsweep_tests::container::Container;
use podsweep_tests::policies::Scratch;
use podsweep_tests::wait;

const PREFIX: &str = "podsweep-test";
/// The folder is looked at every two seconds.
const RELOADED_WITHIN: Duration = Duration::from_secs(15);

fn names(status: &Status) -> Vec<&str> {
    let mut names: Vec<_> = status.policies.iter().map(|policy| policy.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn until(agent: &Agent, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
    wait::until(what, RELOADED_WITHIN, || Ok(Some(agent.api().status()?).filter(&wanted))).unwrap()
}

#[test]
fn a_new_policy_is_in_force_within_seconds_and_a_removed_one_is_not() {
    let container = Container::start(PREFIX).unwrap();
    let agent = Agent::start(PREFIX, &[("first", &Scratch::by_hand("first").of(&container))]).unwrap();
    agent.write_policy("second", &Scratch::by_hand("second").of(&container)).unwrap();
    until(&agent, "both policies are in force", |status| names(status) == ["first", "second"]);
    std::fs::remove_file(agent.path("policies/first.yaml")).unwrap();
    until(&agent, "one policy is in force", |status| names(status) == ["second"]);
}

#[test]
fn a_bad_policy_is_refused_whole_and_the_old_ones_stay() {
    let container = Container::start(PREFIX).unwrap();
    let good = Scratch::by_hand("good").of(&container);
    let agent = Agent::start(PREFIX, &[("good", &good)]).unwrap();

    agent.write_policy("good", &good.replace("olderThan: 10s", "olderThan: 10x")).unwrap();
    agent.write_policy("other", &Scratch::by_hand("other").of(&container)).unwrap();
    let status = until(&agent, "the error is told", |status| !status.policy_errors.is_empty());

    let error = &status.policy_errors[0];
    assert!(error.contains("good.yaml:"), "the error names no file and line: {error}");
    assert!(error.contains("olderThan"), "the error names no field: {error}");
    assert_eq!(names(&status), ["good"], "a set with a bad file is refused whole");
    let text = agent.log();
    assert!(text.contains("olderThan"), "the error is not in the log");

    agent.write_policy("good", &good).unwrap();
    until(&agent, "the mended set is in force", |status| {
        status.policy_errors.is_empty() && names(status) == ["good", "other"]
    });
}
