//! What befalls a workload's other pods while one of its containers is swept, and what guards say: in simulated time, by
//! the coordinator's decisions.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use podsweep::breaker::PodSigns;
use podsweep::kubernetes::resources::WORKLOAD_HEALTHY;
use podsweep::policy::{Reason, Spec};
use podsweep::report::Health;
use podsweep::rollout::{Answer, Neighbour, SweepKey};
use podsweep_tests::simulation::{Course, World};

const COURSE: Course =
    Course { scan: Duration::from_secs(2), sweep: Duration::from_secs(20), observe: Duration::from_mins(1) };
/// From the admission to the end, with a turn to spare.
const ONE: u64 = 84;

fn spec(rollout: &str, restarts: u32) -> Spec {
    let text = format!(
        r#"{{"mode":"Enforce","select":{{"namespaces":["*"]}},"junk":[{{"name":"tmp","paths":["/tmp/x/**"]}}],
            "rollout":{rollout},"breakers":{{"workload":{{"restarts":{restarts}}}}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn waves() -> Spec {
    spec(r#"{"canary":1,"growth":2,"serialBy":[],"maxParallel":100}"#, 1)
}

fn world(slots: usize, spec: &Spec) -> World {
    let mut world = World::new(slots, COURSE);
    world.policy("p", spec);
    world
}

/// What the Sweep's condition says of its workload's other pods: status, reason, message.
fn others(world: &World, key: &SweepKey) -> Option<(String, String, String)> {
    let status = world.status(key);
    let condition = status.conditions.iter().find(|condition| condition.type_ == WORKLOAD_HEALTHY)?;
    Some((condition.status.clone(), condition.reason.clone(), condition.message.clone()))
}

fn app(pod: &mut Neighbour) -> &mut PodSigns {
    pod.containers.get_mut("app").unwrap()
}

type Change = fn(&mut Neighbour);

#[test]
fn harm_to_another_pod_of_the_workload_stops_it_while_the_sweep_goes_on() {
    let harms: [(&str, Change); 4] = [
        ("Restarted", |pod| app(pod).restarts = 1),
        ("OomKilled", |pod| (app(pod).restarts, app(pod).oom_killed) = (1, true)),
        ("NotReady", |pod| app(pod).ready = Some(false)),
        ("Evicted", |pod| pod.evicted = true),
    ];
    for (sign, harm) in harms {
        let mut world = world(100, &waves());
        world.pod("a-1", "a", |_| {});
        world.pod("b-1", "b", |_| {});
        let swept = world.ask("a", "n1", "p", 100);
        world.seconds(10);
        world.pod("a-1", "a", harm);
        world.seconds(2);
        let breaker = world.objects.breakers().values().next().unwrap().clone();
        assert_eq!(breaker.spec.workload.as_deref(), Some("shop/Deployment/a"), "{sign}");
        let cause = breaker.status.unwrap().cause.unwrap();
        assert!(cause.contains(sign) && cause.contains("pod a-1"), "{cause}");
        let (status, reason, message) = others(&world, &swept).unwrap();
        assert_eq!((status.as_str(), reason.as_str()), ("False", sign));
        assert!(message.contains("pod a-1"), "{message}");
        assert_eq!(world.status(&swept).stop.as_deref(), Some("BreakerOpen"), "{sign}");
        world.seconds(ONE);
        // Its own container is well, and that does not close the breaker.
        assert_eq!(world.status(&swept).health, Some(Health::Healthy));
        assert_eq!(world.objects.breakers().len(), 1, "{sign}");
        assert_eq!(world.objects.writes.get("tell"), Some(&1), "{sign}");
    }
}

#[test]
fn what_a_rollout_does_to_the_other_pods_is_no_harm_and_costs_no_write() {
    let mut world = world(100, &waves());
    for name in ["a-1", "a-2", "a-3"] {
        world.pod(name, "a", |_| {});
    }
    // Not ready and restarting, as it was before.
    world.pod("a-4", "a", |pod| (app(pod).ready, app(pod).restarts) = (Some(false), 9));
    let first = world.ask("a", "n1", "p", 100);
    world.seconds(10);
    world.pod("a-1", "a", |pod| (pod.leaving, app(pod).ready) = (true, Some(false)));
    world.pod_gone("a-2");
    world.pod("a-5", "a", |pod| app(pod).ready = Some(false));
    world.pod("b-1", "b", |_| {});
    world.seconds(5);
    world.pod_gone("a-1");
    world.pod("a-5", "a", |pod| app(pod).ready = Some(true));
    world.pod("b-1", "b", |pod| app(pod).restarts = 5);
    world.seconds(ONE);
    assert_eq!(world.phase(&first), "Succeeded");
    assert_eq!(others(&world, &first), None);
    assert!(world.objects.breakers().is_empty());
    for n in 0..2 {
        world.ask("a", &format!("n{n}"), "p", 100);
    }
    world.seconds(1);
    assert_eq!(world.running().len(), 2, "the wave has grown");
}

#[test]
fn a_pod_made_during_the_sweep_counts_from_when_it_was_first_seen() {
    let mut world = world(100, &waves());
    world.ask("a", "n1", "p", 100);
    world.seconds(10);
    world.pod("a-1", "a", |pod| app(pod).restarts = 3);
    world.seconds(5);
    assert!(world.objects.breakers().is_empty());
    world.pod("a-1", "a", |pod| app(pod).restarts = 4);
    world.seconds(2);
    assert_eq!(world.objects.breakers().len(), 1);
}

#[test]
fn harm_after_the_window_is_anothers() {
    let mut world = world(100, &waves());
    world.pod("a-1", "a", |_| {});
    let key = world.ask("a", "n1", "p", 100);
    world.seconds(ONE + 1);
    assert_eq!(world.phase(&key), "Succeeded");
    world.pod("a-1", "a", |pod| app(pod).restarts = 1);
    world.seconds(30);
    assert!(world.objects.breakers().is_empty());
    assert_eq!(others(&world, &key), None);
}

#[test]
fn harm_to_another_pod_counts_once_however_many_sweeps_see_it() {
    let mut world = world(100, &spec(r#"{"canary":4,"serialBy":[],"maxParallel":100}"#, 2));
    for name in ["a-1", "a-2"] {
        world.pod(name, "a", |_| {});
    }
    let keys: Vec<_> = (0..4).map(|n| world.ask("a", &format!("n{n}"), "p", 100)).collect();
    world.seconds(10);
    world.pod("a-1", "a", |pod| app(pod).restarts = 1);
    world.seconds(5);
    assert!(world.objects.breakers().is_empty(), "the policy takes one restart");
    assert_eq!(keys.iter().filter(|key| others(&world, key).is_some()).count(), 1);
    world.pod("a-2", "a", |pod| app(pod).restarts = 1);
    world.seconds(2);
    assert_eq!(world.objects.breakers().len(), 1, "and no second one");
}

#[test]
fn after_harm_beside_it_the_next_wave_is_a_canary() {
    let rollout = r#"{"canary":1,"growth":2,"serialBy":[],"maxParallel":100}"#;
    let mut world = world(100, &spec(rollout, 9));
    world.pod("a-1", "a", |_| {});
    for n in 0..3 {
        world.ask("a", &format!("n{n}"), "p", 100);
    }
    world.seconds(ONE + 2);
    assert_eq!(world.running().len(), 2);
    world.pod("a-1", "a", |pod| app(pod).restarts = 1);
    world.seconds(ONE);
    assert!(world.running().is_empty() && world.objects.breakers().is_empty());
    // Another leader has only what the statuses say.
    world.new_leader();
    for n in 3..20 {
        world.ask("a", &format!("n{n}"), "p", 100);
    }
    world.seconds(1);
    assert_eq!(world.running().len(), 1, "not four");
}

#[test]
fn nothing_begins_while_the_other_pods_cannot_be_watched() {
    let mut world = world(1, &waves());
    world.pods_hold = Err("pods is forbidden".into());
    let key = world.ask("a", "n1", "p", 100);
    world.seconds(30);
    assert_eq!(world.phase(&key), "Pending");
    assert_eq!(world.figures.waiting.get(&Reason::NeighboursUnknown), Some(&1));
    let status = world.status(&key);
    assert_eq!(status.reason.as_deref(), Some("NeighboursUnknown"));
    assert!(status.message.unwrap().contains("pods is forbidden"));
    assert_eq!(world.objects.writes.get("grant"), None, "no slot is taken for it");
    world.pods_hold = Ok(());
    world.seconds(1);
    assert_eq!(world.running(), [key]);
}

#[test]
fn other_pods_that_could_not_be_watched_all_the_time_are_unknown_and_pause_the_workload() {
    let mut world = world(100, &waves());
    let first = world.ask("a", "n1", "p", 100);
    world.seconds(10);
    world.pods_hold = Err("cut off".into());
    world.seconds(5);
    world.pods_hold = Ok(());
    assert_eq!(others(&world, &first), None, "harm may still come");
    world.seconds(ONE);
    let (status, reason, message) = others(&world, &first).unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("Unknown", "NotWatched"));
    assert!(message.contains("cut off"), "{message}");
    let next = world.ask("a", "n2", "p", 100);
    world.seconds(30);
    assert_eq!(world.phase(&next), "Pending");
    assert_eq!(world.figures.waiting.get(&Reason::WorkloadPaused), Some(&1));
    assert!(world.objects.breakers().is_empty(), "nobody came to harm");
}

#[test]
fn a_new_leader_goes_on_only_where_the_other_pods_are_as_they_were() {
    for changed in [false, true] {
        let mut world = world(100, &waves());
        world.pod("a-1", "a", |pod| app(pod).restarts = 2);
        let key = world.ask("a", "n1", "p", 100);
        world.seconds(10);
        if changed {
            // Between the two leaders.
            world.pod("a-1", "a", |pod| app(pod).restarts = 3);
        }
        world.new_leader();
        world.seconds(ONE);
        let said = others(&world, &key).map(|(status, reason, _)| (status, reason));
        let unknown = ("Unknown".to_owned(), "NotWatched".to_owned());
        assert_eq!(said, changed.then_some(unknown));
        world.ask("a", "n2", "p", 100);
        world.seconds(2);
        assert_eq!(world.running().is_empty(), changed);
    }
}

#[test]
fn harm_after_a_new_leader_came_is_harm() {
    let mut world = world(100, &waves());
    world.pod("a-1", "a", |_| {});
    world.ask("a", "n1", "p", 100);
    world.seconds(10);
    world.new_leader();
    world.seconds(5);
    world.pod("a-1", "a", |pod| app(pod).restarts = 1);
    world.seconds(2);
    assert_eq!(world.objects.breakers().len(), 1);
}

fn guarded() -> Spec {
    let guards = r#"[{"name":"latency","query":"up"}]"#;
    spec(&format!(r#"{{"canary":1,"growth":2,"serialBy":[],"maxParallel":100,"guards":{guards}}}"#), 1)
}

#[test]
fn nothing_begins_while_a_guard_fails_or_is_not_known_and_its_reason_is_told() {
    let (fails, unknown) = (Answer::Fails("0 of 1".into()), Answer::Unknown("nobody answers".into()));
    for (answer, reason, why) in
        [(fails, Reason::GuardFails, "0 of 1"), (unknown, Reason::GuardUnknown, "nobody answers")]
    {
        let mut world = world(1, &guarded());
        world.policy("free", &waves());
        world.guards.insert("latency".into(), answer);
        let key = world.ask("a", "n1", "p", 900);
        let other = world.ask("b", "n1", "free", 100);
        world.seconds(30);
        assert_eq!(world.running(), [other], "a policy without guards goes on");
        world.seconds(ONE);
        assert_eq!(world.phase(&key), "Pending");
        assert_eq!(world.figures.waiting.get(&reason), Some(&1), "{:?}", world.figures);
        let status = world.status(&key);
        assert_eq!(status.reason, Some(reason.as_str()));
        let message = status.message.unwrap();
        assert!(message.contains("guard latency of policy p") && message.contains(why), "{message}");
        assert!(world.objects.writes["note"] <= 2, "{:?}", world.objects.writes);
        assert!(world.objects.breakers().is_empty());
        world.guards.insert("latency".into(), Answer::Holds);
        world.seconds(11);
        assert_eq!(world.running(), [key]);
    }
}

#[test]
fn a_guard_that_holds_throughout_lets_waves_grow_and_costs_no_write() {
    let mut world = world(100, &guarded());
    world.guards.insert("latency".into(), Answer::Holds);
    let keys: Vec<_> = (0..3).map(|n| world.ask("a", &format!("n{n}"), "p", 100)).collect();
    world.seconds(ONE + 2);
    assert_eq!(world.running().len(), 2);
    world.seconds(ONE);
    assert!(keys.iter().all(|key| world.phase(key) == "Succeeded" && others(&world, key).is_none()));
    assert_eq!(world.objects.writes.get("tell"), None);
    assert!(world.objects.breakers().is_empty());
}

#[test]
fn a_guard_that_fails_during_a_sweep_is_harm() {
    let mut world = world(100, &guarded());
    world.guards.insert("latency".into(), Answer::Holds);
    let key = world.ask("a", "n1", "p", 100);
    world.seconds(15);
    world.guards.insert("latency".into(), Answer::Fails("0 of 1".into()));
    world.seconds(12);
    let breaker = world.objects.breakers().values().next().unwrap().clone();
    let cause = breaker.status.unwrap().cause.unwrap();
    assert_eq!(cause, "GuardFails: guard latency of policy p does not hold");
    let (status, reason, message) = others(&world, &key).unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "GuardFails"));
    assert!(message.contains("0 of 1"), "{message}");
    world.seconds(ONE);
    assert_eq!(world.objects.writes.get("tell"), Some(&1), "once, however often it fails");
}

#[test]
fn one_guard_that_fails_under_many_workloads_is_one_place() {
    let mut world = world(100, &guarded());
    world.guards.insert("latency".into(), Answer::Holds);
    for workload in ["a", "b", "c", "d"] {
        world.ask(workload, "n1", "p", 100);
    }
    world.seconds(15);
    world.guards.insert("latency".into(), Answer::Fails("0 of 1".into()));
    world.seconds(15);
    assert_eq!(world.objects.breakers().len(), 4);
    assert!(!world.objects.breakers().contains_key("global"));
}

#[test]
fn a_guard_that_cannot_be_heard_to_the_end_pauses_the_workload_and_one_lost_answer_does_not() {
    for lost_at_the_end in [false, true] {
        let mut world = world(100, &guarded());
        world.guards.insert("latency".into(), Answer::Holds);
        let key = world.ask("a", "n1", "p", 100);
        world.seconds(if lost_at_the_end { ONE - 15 } else { 15 });
        world.guards.insert("latency".into(), Answer::Unknown("nobody answers".into()));
        world.seconds(15);
        world.guards.insert("latency".into(), Answer::Holds);
        world.seconds(ONE);
        let said = others(&world, &key).map(|(status, reason, _)| (status, reason));
        let unknown = ("Unknown".to_owned(), "GuardUnknown".to_owned());
        assert_eq!(said, lost_at_the_end.then_some(unknown));
        assert!(world.objects.breakers().is_empty());
        world.ask("a", "n2", "p", 100);
        world.seconds(12);
        assert_eq!(world.running().is_empty(), lost_at_the_end, "{:?}", world.figures);
    }
}

#[test]
fn a_guard_that_is_silent_for_long_in_mid_sweep_is_unknown_even_if_it_holds_again() {
    let mut world = world(100, &guarded());
    world.guards.insert("latency".into(), Answer::Holds);
    let key = world.ask("a", "n1", "p", 100);
    world.seconds(5);
    world.guards.clear();
    world.seconds(40);
    world.guards.insert("latency".into(), Answer::Holds);
    world.seconds(ONE);
    assert_eq!(others(&world, &key).map(|(status, ..)| status).as_deref(), Some("Unknown"));
}
