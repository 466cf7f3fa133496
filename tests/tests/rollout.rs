//! The coordinator's decisions, seen from outside: what happens to Sweeps, slots and breakers as time passes.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use podsweep::policy::{Mode, Reason, Spec};
use podsweep::report::Health;
use podsweep_tests::simulation::{Course, World};

const COURSE: Course =
    Course { scan: Duration::from_secs(2), sweep: Duration::from_secs(20), observe: Duration::from_mins(1) };
/// From the admission to the end, with a turn to spare.
const ONE: u64 = 84;

fn spec(rollout: &str) -> Spec {
    let text = format!(
        r#"{{"mode":"Enforce","select":{{"namespaces":["*"]}},"junk":[{{"name":"tmp","paths":["/tmp/x/**"]}}],"rollout":{rollout}}}"#
    );
    let spec: Spec = serde_json::from_str(&text).unwrap();
    assert_eq!(spec.mode, Mode::Enforce);
    spec
}

fn waves() -> Spec {
    spec(r#"{"canary":1,"growth":2,"serialBy":[],"maxParallel":100}"#)
}

fn world(slots: usize, spec: &Spec) -> World {
    let mut world = World::new(slots, COURSE);
    world.policy("p", spec);
    world
}

#[test]
fn no_more_run_than_there_are_slots_and_the_most_urgent_first() {
    let mut world = world(2, &waves());
    let calm: Vec<_> = (0..4).map(|n| world.ask(&format!("calm-{n}"), "n1", "p", 100)).collect();
    let urgent: Vec<_> = (0..2).map(|n| world.ask(&format!("urgent-{n}"), "n2", "p", 900)).collect();
    world.seconds(1);
    assert_eq!(world.running(), urgent);
    assert_eq!(world.figures.waiting.get(&Reason::NoSlot), Some(&4));
    world.seconds(ONE);
    assert_eq!(world.running(), calm[..2], "then the oldest");
    world.seconds(3 * ONE);
    assert!(calm.iter().chain(&urgent).all(|key| world.phase(key) == "Succeeded"));
    assert_eq!(world.most_running, 2);
}

#[test]
fn who_waits_long_is_told_why_in_few_writes() {
    let mut world = world(1, &waves());
    world.ask("a", "n1", "p", 900);
    let waits = world.ask("b", "n1", "p", 100);
    world.seconds(5);
    assert_eq!(world.status(&waits).reason, None, "not after five seconds");
    world.seconds(10);
    assert_eq!(world.status(&waits).reason.as_deref(), Some("NoSlot"));
    assert_eq!(world.objects.writes["note"], 1);
}

#[test]
fn leaders_that_follow_one_another_write_no_more_notes_than_one() {
    let mut world = world(1, &waves());
    world.hours = Err("only at night".into());
    let waits = world.ask("a", "n1", "p", 100);
    world.seconds(15);
    assert_eq!(world.status(&waits).reason.as_deref(), Some("OutsideHours"));
    for hours in [Ok(()), Err("only at night".to_owned())].into_iter().cycle().take(6) {
        world.new_leader();
        world.hours = hours;
        // While the hours allow it, one of another workload has the slot: the reason is another one each time.
        world.ask("b", "n2", "p", 900);
        world.seconds(70);
    }
    assert_eq!(world.objects.fates[&waits].writes, 1 + 3, "its creation, and three notes");
}

#[test]
fn serial_dimensions_hold_across_the_cluster() {
    for (serial_by, related, reason) in [
        ("Workload", ("a", "n2"), Reason::SerialWorkload),
        ("Node", ("b", "n1"), Reason::SerialNode),
        ("Namespace", ("b", "n2"), Reason::SerialNamespace),
        ("Zone", ("b", "n2"), Reason::SerialZone),
    ] {
        let policy = format!(r#"{{"canary":9,"serialBy":["{serial_by}"],"maxParallel":9}}"#);
        let mut world = world(9, &spec(&policy));
        let first = world.ask("a", "n1", "p", 900);
        world.ask(related.0, related.1, "p", 100);
        world.seconds(30);
        assert_eq!(world.running(), [first], "{serial_by}");
        assert_eq!(world.figures.waiting.get(&reason), Some(&1), "{serial_by}: {:?}", world.figures);
    }
}

#[test]
fn a_hundred_requests_for_one_workload_become_waves() {
    let mut world = world(100, &waves());
    let keys: Vec<_> = (0..31).map(|n| world.ask("a", &format!("n{n}"), "p", 100)).collect();
    for (wave, size) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16)] {
        world.seconds(1);
        assert_eq!(world.running().len(), size, "wave {wave}");
        assert!(world.running().iter().all(|key| world.status(key).wave.unwrap().number == wave));
        world.seconds(ONE);
    }
    assert!(keys.iter().all(|key| world.phase(key) == "Succeeded"));
}

#[test]
fn a_new_policy_generation_begins_with_a_canary_again() {
    let mut world = world(100, &waves());
    for n in 0..40 {
        world.ask("a", &format!("n{n}"), "p", 100);
    }
    world.seconds(2 * (ONE + 1) + 1);
    assert_eq!(world.running().len(), 4);
    world.policy("p", &waves());
    world.seconds(ONE);
    assert_eq!(world.running().len(), 1);
}

#[test]
fn harm_stops_the_workload_on_every_node_and_a_probe_closes_the_breaker() {
    let mut world = world(100, &waves());
    for n in 0..40 {
        world.ask("a", &format!("n{n}"), "p", 100);
    }
    let other = world.ask("b", "n1", "p", 50);
    world.seconds(ONE + 2);
    let harmed = world.running()[0].clone();
    world.will_be(&harmed, Health::Harmed, "Restarted");
    world.seconds(ONE + 1);
    assert_eq!(world.phase(&harmed), "Failed");
    assert!(world.status(&harmed).harm_counted);
    assert_eq!(world.phase(&other), "Succeeded", "another workload goes on");
    assert_eq!(world.running(), []);
    let breaker = world.objects.breakers().values().next().unwrap().clone();
    assert_eq!(breaker.spec.workload.as_deref(), Some("shop/Deployment/a"));
    let status = breaker.status.unwrap();
    assert!(status.cause.unwrap().contains("Restarted"));
    assert_eq!(world.figures.waiting.get(&Reason::BreakerOpen), Some(&37));

    world.seconds(1800);
    assert_eq!(world.running().len(), 1, "half-open: one probe");
    world.seconds(ONE);
    assert!(world.objects.breakers().is_empty(), "the probe was healthy");
    assert_eq!(world.running().len(), 2, "and after that canary the next wave");
}

/// Whoever may make pods in a namespace may give them any owner there: one that is called as another namespace's is.
#[test]
fn a_workload_of_the_same_name_in_another_namespace_is_another_workload() {
    let mut world = world(100, &waves());
    let theirs: Vec<_> = (0..2).map(|n| world.ask_in("mallory", "a", &format!("m{n}"), "p", 900)).collect();
    let ours: Vec<_> = (0..2).map(|n| world.ask("a", &format!("n{n}"), "p", 100)).collect();
    world.seconds(1);
    assert_eq!(world.running().len(), 2, "each has a canary of its own");
    world.will_be(&theirs[0], Health::Harmed, "Restarted");
    world.seconds(ONE + 2);
    let stopped: Vec<_> =
        world.objects.breakers().values().map(|breaker| breaker.spec.workload.clone()).collect();
    assert_eq!(stopped, [Some("mallory/Deployment/a".to_owned())]);
    world.seconds(ONE);
    assert_eq!(world.phase(&theirs[1]), "Pending");
    assert!(ours.iter().all(|key| world.phase(key) == "Succeeded"), "harm next door is none of theirs");
}

#[test]
fn what_runs_is_stopped_when_its_workload_came_to_harm() {
    let mut world = world(100, &spec(r#"{"canary":4,"serialBy":[],"maxParallel":100}"#));
    let keys: Vec<_> = (0..3).map(|n| world.ask("a", &format!("n{n}"), "p", 100)).collect();
    world.seconds(70);
    let late = world.ask("a", "n9", "p", 100);
    world.will_be(&keys[0], Health::Harmed, "OomKilled");
    world.seconds(15);
    assert_eq!(world.phase(&keys[0]), "Failed");
    world.seconds(3);
    assert_eq!(world.status(&late).stop.as_deref(), Some("BreakerOpen"));
    assert_eq!(world.phase(&late), "Observing", "stopped, and watched all the same");
}

#[test]
fn a_person_resets_a_breaker_by_deleting_it() {
    let mut world = world(100, &waves());
    let harmed = world.ask("a", "n1", "p", 100);
    world.will_be(&harmed, Health::Harmed, "NotReady");
    world.seconds(ONE + 1);
    let next = world.ask("a", "n2", "p", 100);
    world.seconds(30);
    assert_eq!(world.phase(&next), "Pending");
    let name = world.objects.breakers().keys().next().unwrap().clone();
    world.reset(&name);
    world.seconds(1);
    assert_eq!(world.running(), [next]);
}

#[test]
fn harm_in_three_workloads_stops_everything_until_a_person_says_so() {
    let mut world = world(100, &waves());
    for workload in ["a", "b", "c"] {
        let key = world.ask(workload, "n1", "p", 100);
        world.will_be(&key, Health::Harmed, "Restarted");
    }
    world.seconds(ONE + 2);
    assert!(world.objects.breakers().contains_key("global"));
    let next = world.ask("d", "n1", "p", 100);
    world.seconds(4 * 3600);
    assert_eq!(world.phase(&next), "Pending");
    assert_eq!(world.figures.waiting.get(&Reason::GlobalBreakerOpen), Some(&1));
    world.new_leader();
    world.seconds(60);
    assert_eq!(world.phase(&next), "Pending", "a new leader knows it, too");
    world.reset("global");
    world.seconds(2);
    assert_eq!(world.running(), [next]);
}

#[test]
fn a_new_leader_takes_no_sweep_of_before_for_the_probe_of_a_breaker() {
    let mut world = world(100, &waves());
    let healthy = world.ask("a", "n1", "p", 100);
    world.seconds(ONE + 1);
    let harmed = world.ask("a", "n2", "p", 100);
    world.will_be(&harmed, Health::Harmed, "Restarted");
    world.seconds(ONE + 1 + 1800);
    assert_eq!(world.phase(&healthy), "Succeeded");
    assert_eq!(world.figures.breakers, (0, 1, false), "half-open");
    world.new_leader();
    world.seconds(2);
    assert_eq!(world.objects.breakers().len(), 1, "no probe has run");
    world.ask("a", "n3", "p", 100);
    world.seconds(ONE + 1);
    assert!(world.objects.breakers().is_empty());
}

#[test]
fn three_harms_far_apart_do_not_stop_everything() {
    let mut world = world(100, &waves());
    for workload in ["a", "b", "c"] {
        let key = world.ask(workload, "n1", "p", 100);
        world.will_be(&key, Health::Harmed, "Restarted");
        world.seconds(900);
    }
    assert!(!world.objects.breakers().contains_key("global"), "{:?}", world.objects.breakers().keys());
}

#[test]
fn unknown_pauses_the_workload_and_then_a_canary_tries() {
    let mut world = world(100, &waves());
    for n in 0..9 {
        world.ask("a", &format!("n{n}"), "p", 100);
    }
    world.seconds(ONE + 2);
    let unknown = world.running()[0].clone();
    world.will_be(&unknown, Health::Unknown, "SignalMissing");
    world.seconds(ONE);
    assert_eq!(world.running(), []);
    assert_eq!(world.figures.waiting.get(&Reason::WorkloadPaused), Some(&6));
    assert!(world.objects.breakers().is_empty(), "nobody came to harm");
    world.seconds(1800);
    assert_eq!(world.running().len(), 1);
}

#[test]
fn a_dead_agents_slot_is_free_when_its_lease_is_over_and_its_sweep_is_unknown() {
    let mut world = world(1, &waves());
    let dead = world.ask("a", "n1", "p", 900);
    let next = world.ask("b", "n2", "p", 100);
    world.seconds(10);
    world.kill_agent_of(&dead);
    world.seconds(105);
    assert_eq!(world.phase(&next), "Pending", "its lease may still be renewed");
    world.seconds(20);
    assert_eq!(world.running().last(), Some(&next));
    world.seconds(30);
    assert_eq!(
        (world.phase(&dead), world.status(&dead).reason.as_deref()),
        ("Aborted".into(), Some("SlotLost"))
    );
    world.ask("a", "n3", "p", 100);
    world.seconds(ONE + 30);
    assert_eq!(world.figures.waiting.get(&Reason::WorkloadPaused), Some(&1));
}

#[test]
fn a_new_leader_goes_on_where_the_last_one_was() {
    let mut world = world(100, &waves());
    for n in 0..40 {
        world.ask("a", &format!("n{n}"), "p", 100);
    }
    world.seconds(2 * (ONE + 1) + 10);
    let before = world.running();
    assert_eq!(before.len(), 4);
    world.new_leader();
    world.seconds(5);
    assert_eq!(world.running(), before, "nothing more, nothing less");
    world.seconds(ONE);
    assert_eq!(world.running().len(), 8);
    assert_eq!(world.most_running, 8);
}

#[test]
fn outside_the_hours_nothing_begins_and_what_runs_goes_on() {
    let mut world = world(9, &waves());
    let first = world.ask("a", "n1", "p", 100);
    world.seconds(5);
    world.hours = Err("it is night".into());
    let second = world.ask("b", "n1", "p", 100);
    world.seconds(ONE);
    assert_eq!(world.phase(&first), "Succeeded");
    assert_eq!(world.phase(&second), "Pending");
    assert_eq!(world.status(&second).reason.as_deref(), Some("OutsideHours"));
}

#[test]
fn an_aborted_sweep_is_not_admitted_and_one_without_a_policy_is_skipped() {
    let mut world = world(1, &waves());
    let aborted = world.ask("a", "n1", "p", 100);
    world.objects.edit(&aborted, |spec| spec.abort = true);
    let orphan = world.ask("a", "n1", "nobody", 100);
    world.seconds(1);
    assert_eq!(world.phase(&aborted), "Aborted");
    assert_eq!(
        (world.phase(&orphan), world.status(&orphan).reason.as_deref()),
        ("Skipped".into(), Some("NoPolicy"))
    );
}

#[test]
fn an_ended_sweep_is_forgotten_after_its_time() {
    let mut world = world(1, &waves());
    let key = world.ask("a", "n1", "p", 100);
    world.seconds(3600);
    assert!(world.objects.sweep(&key).is_some());
    world.seconds(ONE + 5);
    assert!(world.objects.sweep(&key).is_none());
}

#[test]
fn a_sweep_costs_at_most_twelve_writes() {
    let mut world = world(5, &spec(r#"{"canary":1,"growth":2,"maxParallel":10}"#));
    for n in 0..60 {
        world.ask(&format!("w{}", n % 12), &format!("n{n}"), "p", n % 7);
    }
    world.seconds(60 * ONE);
    let each = world.objects.all_writes() as f64 / 60.0;
    assert!(each <= 12.0, "{each}: {:?}", world.objects.writes);
    assert_eq!(world.most_running, 5);
}
