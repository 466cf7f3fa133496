use super::*;
use crate::observe::Kind;
use crate::operation::Operation;
use crate::policy::Mode;
use crate::policy::fixtures::{container, policy};
use crate::report::Outcome;

const BURST: &str = "  triggers: [{burst: {createsPerSecond: 10, for: 2s}}]\n  mode: Enforce";
const BY_THE_CLOCK: &str = "  triggers: [{schedule: '* * * * *'}]\n  mode: Enforce";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn wall(second: u64) -> Zoned {
    let start: Zoned = "2026-01-01T00:00:30[UTC]".parse().unwrap();
    start + seconds(second)
}

fn watched(more: &str) -> Watched {
    Watched::new(Arc::new(container()), Choice::One(policy("p", more)), &wall(0))
}

/// Ticks twice a second from second `from` to `to`, while 100 files are made in each; what fired, and when.
fn storm(watched: &mut Watched, from: u64, to: u64, sweeping: bool) -> Vec<(u64, Fired)> {
    let ticks = (from * 2..to * 2).map(|half| {
        watched.counts = [(Kind::Create, half * 50)].into_iter().collect();
        let now = Duration::from_millis(half * 500);
        watched.tick(now, &wall(half / 2), sweeping).map(|fired| (half / 2, fired))
    });
    ticks.flatten().collect()
}

fn refusal(level: u8) -> Refusal {
    Refusal { level, reason: "No".into(), message: "no".into() }
}

fn ended(of: &str, mode: Mode, fired: Fired, attempt: u32) -> SweepRecord {
    let operation = Operation {
        id: "1".into(),
        container: None,
        policy: policy(of, ""),
        mode,
        fired,
        roots: Vec::new(),
        never: Vec::new(),
        top_directories: Vec::new(),
        attempt,
    };
    let mut record = operation.record(jiff::Timestamp::UNIX_EPOCH);
    record.outcome = Some(Outcome::Failed);
    record
}

fn burst() -> Fired {
    Fired::Burst { creates_per_second: 100.0, limit: 10, held_seconds: 2.0 }
}

#[test]
fn a_burst_asks_once_and_again_when_its_sweep_is_over() {
    let mut watched = watched(BURST);
    assert_eq!(storm(&mut watched, 0, 10, false).len(), 1);
    let mut record = ended("p", Mode::Enforce, burst(), 0);
    record.outcome = Some(Outcome::Complete);
    watched.sweep_ended(&record, seconds(10));
    let again = storm(&mut watched, 10, 20, false);
    assert_eq!(again.len(), 1);
    assert!(again[0].0 >= 12, "held for its whole time again: {again:?}");
}

#[test]
fn what_fires_while_a_sweep_runs_is_no_wish() {
    let mut watched = watched(BURST);
    assert_eq!(storm(&mut watched, 0, 10, true), []);
    watched.sweep_ended(&ended("other", Mode::DryRun, Fired::ByHand, 0), seconds(10));
    assert_eq!(watched.tick(seconds(10), &wall(10), false), None);
}

#[test]
fn after_a_no_it_is_quiet_for_a_while() {
    let mut watched = watched(BURST);
    let (at, fired) = storm(&mut watched, 0, 10, false).remove(0);
    watched.refused(refusal(7), fired, seconds(at));
    let again = storm(&mut watched, at, 60, false);
    assert!(again[0].0 >= at + ASK_AGAIN.as_secs(), "{again:?}");
    assert_eq!(watched.refusal, Some(refusal(7)));
}

#[test]
fn a_failed_sweep_is_tried_again_after_the_backoff() {
    let mut watched = watched(BURST);
    watched.sweep_ended(&ended("p", Mode::Enforce, burst(), 0), seconds(100));
    assert_eq!(watched.tick(seconds(159), &wall(159), false), None);
    assert_eq!(watched.tick(seconds(160), &wall(160), false), Some(Fired::Retry { attempt: 1 }));
    assert_eq!(watched.tick(seconds(161), &wall(161), false), None);
    watched.sweep_ended(&ended("p", Mode::Enforce, Fired::Retry { attempt: 1 }, 1), seconds(200));
    assert_eq!(watched.tick(seconds(319), &wall(319), false), None, "the backoff doubles");
    assert_eq!(watched.tick(seconds(320), &wall(320), false), Some(Fired::Retry { attempt: 2 }));
    watched.sweep_ended(&ended("p", Mode::Enforce, Fired::Retry { attempt: 3 }, 3), seconds(400));
    assert_eq!(watched.tick(seconds(9_999), &wall(9_999), false), None, "three tries again, no more");
}

#[test]
fn what_was_given_up_asks_again_when_it_has_ended_and_begun_anew() {
    let mut watched = watched(BURST);
    assert_eq!(storm(&mut watched, 0, 10, false).len(), 1);
    watched.sweep_ended(&ended("p", Mode::Enforce, Fired::Retry { attempt: 3 }, 3), seconds(10));
    assert_eq!(storm(&mut watched, 10, 60, false), [], "the same burst still lasts");
    for second in 60..70 {
        assert_eq!(watched.tick(seconds(second), &wall(second), false), None);
    }
    assert_eq!(storm(&mut watched, 70, 80, false).len(), 1);
}

#[test]
fn a_worker_that_was_not_believed_is_not_asked_again() {
    for (reason, again) in [("ScanNotBelieved", None), ("SweepBreaker", Some(Fired::Retry { attempt: 1 }))] {
        let mut record = ended("p", Mode::Enforce, burst(), 0);
        (record.outcome, record.reason) = (Some(Outcome::Stopped), Some(reason.into()));
        let mut watched = watched(BURST);
        watched.sweep_ended(&record, seconds(100));
        assert_eq!(watched.tick(seconds(999), &wall(999), false), again, "{reason}");
    }
}

#[test]
fn only_what_the_policy_itself_asked_for_is_tried_again() {
    for (of, mode, fired) in
        [("p", Mode::Enforce, Fired::ByHand), ("p", Mode::DryRun, burst()), ("other", Mode::Enforce, burst())]
    {
        let mut watched = watched(BURST);
        watched.sweep_ended(&ended(of, mode, fired.clone(), 0), seconds(100));
        assert_eq!(watched.tick(seconds(999), &wall(999), false), None, "{of} {mode:?} {fired:?}");
    }
}

#[test]
fn a_retry_outlasts_a_no_that_passes_and_no_other() {
    let retry = Fired::Retry { attempt: 2 };
    for (level, expected) in [(5, Some(retry.clone())), (7, Some(retry.clone())), (1, None), (4, None)] {
        let mut watched = watched(BURST);
        watched.refused(refusal(level), retry.clone(), seconds(100));
        assert_eq!(watched.tick(seconds(109), &wall(109), false), None);
        assert_eq!(watched.tick(seconds(110), &wall(110), false), expected, "level {level}");
    }
}

#[test]
fn a_moment_of_the_schedule_waits_for_a_slot() {
    let mut watched = watched(BY_THE_CLOCK);
    let fired = watched.tick(seconds(31), &wall(31), false).unwrap();
    watched.refused(refusal(7), fired.clone(), seconds(31));
    assert_eq!(watched.tick(seconds(40), &wall(40), false), None);
    assert_eq!(watched.tick(seconds(41), &wall(41), false), Some(fired));
}

#[test]
fn an_equal_policy_after_a_reload_changes_nothing_but_the_object() {
    let mut watched = watched(BURST);
    assert_eq!(storm(&mut watched, 0, 2, false), []);
    let reloaded = policy("p", BURST);
    watched.choose(Choice::One(Arc::clone(&reloaded)), &wall(2));
    assert!(matches!(&watched.choice, Choice::One(now) if Arc::ptr_eq(now, &reloaded)));
    assert_eq!(storm(&mut watched, 2, 4, false).len(), 1, "the burst goes on as if nothing had happened");
}

#[test]
fn a_conflict_is_told_and_nobody_acts() {
    let mut watched = watched(BURST);
    watched.choose(Choice::Conflict(vec![policy("a", BURST), policy("b", BURST)]), &wall(0));
    assert_eq!(watched.refusal.as_ref().map(|refusal| refusal.reason.as_str()), Some("Conflict"));
    assert_eq!(storm(&mut watched, 0, 10, false), []);
    watched.choose(Choice::One(policy("a", BURST)), &wall(10));
    assert_eq!(watched.refusal, None);
}

#[test]
fn a_container_is_the_sum_of_its_cgroups_and_of_those_that_ended() {
    let mut container = container();
    container.nested = vec![CgroupId(8)];
    let mut watched = Watched::new(Arc::new(container), Choice::None, &wall(0));
    let made = |files: u64| -> Counts { [(Kind::Create, files)].into_iter().collect() };
    watched.ended = made(100);
    let counts = [(7, made(10)), (8, made(1)), (9, made(1_000))].map(|(id, counts)| (CgroupId(id), counts));
    assert_eq!(watched.total(&BTreeMap::from(counts)).creates(), 111);
}
