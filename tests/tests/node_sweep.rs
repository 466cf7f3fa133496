//! A storm is seen and swept; what no rule names stays; a dry run changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::time::Duration;

use jiff::Timestamp;
use podsweep::policy::Fired;
use podsweep::report::{Health, Outcome, SweepRecord};
use podsweep_tests::agent::Agent;
use podsweep_tests::container::Container;
use podsweep_tests::listing::{Listing, list, list_all};
use podsweep_tests::policies::{BURST, FAST, Scratch};
use podsweep_tests::wait;
use podsweep_tests::workload::{Plan, Said};

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const STORM_WITHIN: Duration = Duration::from_mins(1);
const SWEPT_WITHIN: Duration = Duration::from_mins(2);

fn is_bulk(path: &str) -> bool {
    path.starts_with("/tmp/job-") && path.strip_suffix(".tmp").is_some()
        || path.starts_with("/app/cache/download-")
}

/// Files of the bulk that were older than ten seconds when the sweep began. All of them, unless the machine is so busy
/// that making them took longer.
fn old_bulk<'l>(before: &'l Listing, sweep: &SweepRecord) -> Vec<&'l str> {
    const AGE: u64 = 10_000_000;
    let began: Timestamp = sweep.started_at.parse().unwrap();
    let began = u64::try_from(began.as_microsecond()).unwrap();
    let old = before.iter().filter(|(path, seen)| is_bulk(path) && seen.stamp + AGE <= began);
    old.map(|(path, _)| path.as_str()).collect()
}

fn listed(container: &Container) -> Listing {
    list_all(&container.root().unwrap()).unwrap()
}

#[test]
fn a_storm_is_seen_counted_and_swept() {
    let mut container = Container::start(PREFIX).unwrap();
    let policy = Scratch { name: "burst", mode: "Enforce", triggers: BURST, sweep: FAST }.of(&container);
    let agent = Agent::start(PREFIX, &[("burst", &policy)]).unwrap();
    let id = container.cgroup_id().unwrap();
    let seen = agent.knows(id, KNOWN_WITHIN).unwrap();
    assert_eq!(seen.policy.as_deref(), Some("burst"));
    let already = seen.counts;

    // Few enough that a slow guest has made them long before the burst has lasted; and a trickle for nearly a minute,
    // since a busy host may hold a guest up for some seconds, after which the burst has to last anew.
    let plan = Plan { trickle: 6000, trickle_per_second: 120, ..Plan::small(1000) };
    container.order(&plan).unwrap();
    let bulk = |said: &Said| matches!(said, Said::BulkMade { .. });
    container.hear("the bulk is made", STORM_WITHIN, bulk).unwrap();
    let before = listed(&container);
    let asked = || Ok(agent.api().sweeps_of(id)?.into_iter().next());
    let sweep = wait::until("the burst is seen", STORM_WITHIN, asked).unwrap();
    assert!(matches!(sweep.fired, Fired::Burst { limit: 50, .. }), "{:?}", sweep.fired);
    let sweep = agent.ended(&sweep.id, SWEPT_WITHIN).unwrap();

    assert_eq!(sweep.outcome, Some(Outcome::Complete), "{sweep:?}");
    assert_eq!(sweep.health, Some(Health::Healthy), "{sweep:?}");
    let old = old_bulk(&before, &sweep);
    assert!(!old.is_empty() && sweep.sweep.removed >= old.len() as u64, "{} old: {sweep:?}", old.len());
    let scan = sweep.scan.expect("a scan");
    assert!(scan.missing_limits.is_empty(), "{:?}", scan.missing_limits);
    let after = listed(&container);
    let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
    // The trickle that was made before the listing may be old enough to go.
    let is_trickle = |path: &str| path.starts_with("/tmp/trickle/");
    let wrong: Vec<_> = gone.iter().filter(|path| !is_bulk(path) && !is_trickle(path)).collect();
    assert!(wrong.is_empty(), "wrongly removed: {wrong:?}");
    let missed: Vec<_> = old.iter().filter(|path| after.contains_key(**path)).collect();
    assert!(missed.is_empty(), "missed: {missed:?}");
    assert!(container.is_running());

    let over = |said: &Said| matches!(said, Said::StormEnded { .. });
    let Said::StormEnded { created, .. } = container.hear("the storm is over", STORM_WITHIN, over).unwrap()
    else {
        panic!("no end of the storm")
    };
    let kinds = [
        ("create", created.create),
        ("mkdir", created.mkdir),
        ("link", created.link),
        ("symlink", created.symlink),
    ];
    wait::until_true("every kind is counted exactly", KNOWN_WITHIN, || {
        let counts = agent.api().container(id)?.expect("the container").counts;
        let of = |kind: &str| counts.get(kind).unwrap_or(&0) - already.get(kind).unwrap_or(&0);
        Ok(kinds.iter().all(|(kind, made)| of(kind) == *made))
    })
    .unwrap();
    let metrics = agent.api().metrics().unwrap();
    assert!(metrics.lines().any(|line| line.starts_with("podsweep_files_removed_total")), "{metrics}");
}

#[test]
fn a_dry_run_says_what_would_go_and_changes_nothing() {
    let mut container = Container::start(PREFIX).unwrap();
    let policy = Scratch { mode: "DryRun", ..Scratch::by_hand("dry") }.of(&container);
    let agent = Agent::start(PREFIX, &[("dry", &policy)]).unwrap();
    let seen = agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    // Nothing is touched by the workload itself while it is being compared.
    let plan = Plan { odd: 0, ..Plan::small(2000) };
    container.storm(&plan, STORM_WITHIN).unwrap();
    container.grow_old();
    let storm =
        |container: &Container| list(&container.root().unwrap(), &["/tmp", "/app/cache", "/srv"]).unwrap();
    let before = storm(&container);

    let id = agent.api().request_sweep(&seen.id, "dry").unwrap();
    let sweep = agent.ended(&id, SWEPT_WITHIN).unwrap();

    assert_eq!(sweep.outcome, Some(Outcome::Complete), "{sweep:?}");
    assert_eq!((sweep.sweep.removed, sweep.sweep.would_remove), (0, 2000), "{sweep:?}");
    assert_eq!(storm(&container), before);
}

#[test]
fn a_sweep_by_hand_removes_old_files_and_leaves_young_ones() {
    let mut container = Container::start(PREFIX).unwrap();
    let policy = Scratch::by_hand("hand").of(&container);
    let agent = Agent::start(PREFIX, &[("hand", &policy)]).unwrap();
    let seen = agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    container.storm(&Plan::small(1000), STORM_WITHIN).unwrap();
    container.grow_old();
    let young = container.inside("/tmp/young").unwrap();
    std::fs::write(&young, "just now").unwrap();

    let id = agent.api().request_sweep(&seen.id, "hand").unwrap();
    let sweep = agent.ended(&id, SWEPT_WITHIN).unwrap();

    assert_eq!(sweep.outcome, Some(Outcome::Complete), "{sweep:?}");
    assert_eq!(sweep.sweep.removed, 1000, "{sweep:?}");
    assert!(young.exists());
    let journal = std::fs::read_dir(agent.path("state")).unwrap().flatten();
    let names_a_path = |entry: std::fs::DirEntry| {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let wanted = b"/app/cache/download-7.part";
        bytes.windows(wanted.len()).any(|window| window == wanted)
    };
    assert!(journal.into_iter().any(names_a_path), "no file in the state folder names a removed path");
}
